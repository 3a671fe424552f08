/* tar archives: what goes out comes back as the same node; archives of other shapes; bad ones. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "double/double.h"
#include "sample_tree.h"
#include "transfer/tar.h"
#include "transfer/tar_tree.h"

static int memory_file(void)
{
	int fd = memfd_create("castor-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static enum rc import(const struct services *services, int fd, struct node *root, struct err *err)
{
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return tar_import(services, &op_none, fd, NULL, root, err);
}

/* Exports, imports into another store, and expects the same directory. */
static void expect_round_trip(const struct services *services, const struct node *root)
{
	struct sample to;
	AUTO_FD int fd = memory_file();
	struct err err = ERR_INIT;
	struct node copy;

	sample_init(&to);
	assert_ok(tar_export(services, &op_none, root, "", fd, &err), &err);
	assert_ok(import(&to.services, fd, &copy, &err), &err);
	assert_int_equal(copy.kind, NODE_DIRECTORY);
	assert_int_equal(copy.size, root->size);
	assert_true(digest_equal(&copy.digest, &root->digest));
	node_release(&copy);
	sample_release(&to);
}

static void random_trees_come_back(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct sample sample;
		AUTO_BUF nar = BUF_INIT;
		struct sample_generator generator = { &sample, &nar, seed * 5000, 0 };
		struct node root;

		sample_init(&sample);
		root = sample_tree(&generator, "", 4);
		sample_commit(&sample, true);
		print_message("seed %d: %u files\n", (int)seed, generator.files);
		expect_round_trip(&sample.services, &root);
		sample_release(&sample);
	}
}

static void odd_names_come_back(void **state)
{
	char long_name[NODE_NAME_MAX + 1], long_target[NODE_TARGET_MAX + 1];
	struct sample sample;
	struct node nodes[8], root;

	(void)state;
	memset(long_name, 0xe9, NODE_NAME_MAX);
	long_name[NODE_NAME_MAX] = '\0';
	memset(long_target, '/', NODE_TARGET_MAX);
	long_target[NODE_TARGET_MAX] = '\0';
	sample_init(&sample);
	nodes[0] = sample_file(&sample, "\xff\n name ", view_of_string("1"), true);
	nodes[1] = sample_file(&sample, "caf\xc3\xa9", view_of_string("2"), false);
	nodes[2] = sample_symlink("link", long_target);
	nodes[3] = sample_symlink("odd", "\xfe\x01\n");
	nodes[4] = sample_file(&sample, long_name, view_of_string("3"), false);
	nodes[5] = sample_file(&sample, "\\x41*?[", view_of_string("4"), false);
	nodes[6] = sample_file(&sample, " ", view_of(NULL, 0), false);
	nodes[7] = sample_directory(&sample, "-dir", nodes, 7);
	root = sample_directory(&sample, "", nodes, 8);
	sample_commit(&sample, true);
	expect_round_trip(&sample.services, &root);
	sample_release(&sample);
}

static void deep_trees_come_back(void **state)
{
	struct sample sample;
	struct node root;

	(void)state;
	sample_init(&sample);
	root = sample_nest(&sample, NODE_DEPTH_MAX);
	sample_commit(&sample, true);
	expect_round_trip(&sample.services, &root);
	sample_release(&sample);
}

/* Modes, times, owners, and the name on top. */
static void entries_are_canonical(void **state)
{
	static const struct {
		const char *path;
		unsigned mode;
	} expected[] = {
		{ "top/", S_IFDIR | 0555 },      { "top/dir/", S_IFDIR | 0555 },
		{ "top/dir/f", S_IFREG | 0444 }, { "top/dir.x", S_IFREG | 0555 },
		{ "top/link", S_IFLNK | 0777 },
	};
	struct sample sample;
	struct node nodes[3], root;
	AUTO_FD int fd = memory_file();
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	struct err err = ERR_INIT;

	(void)state;
	sample_init(&sample);
	nodes[0] = sample_file(&sample, "f", view_of_string("text"), false);
	nodes[0] = sample_directory(&sample, "dir", nodes, 1);
	nodes[1] = sample_file(&sample, "dir.x", view_of_string("text"), true);
	nodes[2] = sample_symlink("link", "dir");
	root = sample_directory(&sample, "ignored", nodes, 3);
	sample_commit(&sample, true);
	assert_ok(tar_export(&sample.services, &op_none, &root, "top", fd, &err), &err);

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	archive_read_support_format_tar(archive);
	assert_int_equal(archive_read_open_fd(archive, fd, 512), ARCHIVE_OK);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
		assert_string_equal(archive_entry_pathname(entry), expected[i].path);
		assert_int_equal(archive_entry_mode(entry), expected[i].mode);
		assert_int_equal(archive_entry_mtime(entry), 1);
		assert_int_equal(archive_entry_uid(entry), 0);
		assert_int_equal(archive_entry_gid(entry), 0);
	}
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_EOF);
	archive_read_free(archive);
	sample_release(&sample);
}

static void single_files_need_a_name(void **state)
{
	struct sample sample, to;
	AUTO_FD int fd = memory_file();
	struct err err = ERR_INIT;
	struct node file, root, expected;

	(void)state;
	sample_init(&sample);
	sample_init(&to);
	file = sample_file(&sample, "", view_of_string("text"), true);
	sample_commit(&sample, false);
	assert_rc(RC_INVALID, tar_export(&sample.services, &op_none, &file, "", fd, &err), &err);
	assert_rc(RC_INVALID, tar_export(&sample.services, &op_none, &file, "a/b", fd, &err), &err);
	assert_rc(RC_INVALID, tar_export(&sample.services, &op_none, &file, "..", fd, &err), &err);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_ok(tar_export(&sample.services, &op_none, &file, "name", fd, &err), &err);
	assert_ok(import(&to.services, fd, &root, &err), &err);
	file.name = view_of_string("name");
	expected = sample_directory(&sample, "", &file, 1);
	assert_true(digest_equal(&root.digest, &expected.digest));
	node_release(&root);
	sample_release(&sample);
	sample_release(&to);
}

/* ---- Archives of other programs ---- */

struct line {
	char kind; /* d, f, x (executable), l, h (hard link), p (fifo), c (device) */
	const char *path;
	const char *text; /* contents, or target */
};

static void write_line(struct archive *archive, const struct line *line)
{
	struct archive_entry *entry = archive_entry_new();
	size_t len = line->text ? strlen(line->text) : 0;

	archive_entry_copy_pathname(entry, line->path);
	archive_entry_set_perm(entry, line->kind == 'x' ? 0744 : 0644);
	archive_entry_set_size(entry, 0);
	switch (line->kind) {
	case 'd':
		archive_entry_set_filetype(entry, AE_IFDIR);
		break;
	case 'f':
	case 'x':
		archive_entry_set_filetype(entry, AE_IFREG);
		archive_entry_set_size(entry, (int64_t)len);
		break;
	case 'l':
		archive_entry_set_filetype(entry, AE_IFLNK);
		archive_entry_copy_symlink(entry, line->text);
		break;
	case 'h':
		archive_entry_set_filetype(entry, AE_IFREG);
		archive_entry_copy_hardlink(entry, line->text);
		break;
	case 'p':
		archive_entry_set_filetype(entry, AE_IFIFO);
		break;
	case 'c':
		archive_entry_set_filetype(entry, AE_IFCHR);
		break;
	}
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	if (line->kind == 'f' || line->kind == 'x')
		assert_int_equal(archive_write_data(archive, line->text, len), len);
	archive_entry_free(entry);
}

/* NULL path ends the lines. */
static enum rc import_lines_as(const struct services *services, const struct line *lines, bool zstd,
			       const struct tar_import_options *options, struct node *root,
			       struct err *err)
{
	struct archive *archive = archive_write_new();
	AUTO_FD int fd = memory_file();

	archive_write_set_format_pax_restricted(archive);
	if (zstd)
		archive_write_add_filter_zstd(archive);
	assert_int_equal(archive_write_open_fd(archive, fd), ARCHIVE_OK);
	for (; lines->path; lines++)
		write_line(archive, lines);
	assert_int_equal(archive_write_free(archive), ARCHIVE_OK);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return tar_import(services, &op_none, fd, options, root, err);
}

static enum rc import_lines(const struct services *services, const struct line *lines, bool zstd,
			    struct node *root, struct err *err)
{
	return import_lines_as(services, lines, zstd, NULL, root, err);
}

static void any_order_and_spelling(void **state)
{
	static const struct line one[] = {
		{ 'd', "./", NULL },          { 'f', "./b/two", "2" }, { 'x', "b/one", "1" },
		{ 'l', "a//./link", "../b" }, { 'd', "b", NULL },      { 'h', "z", "./b/one" },
		{ 'd', "b/", NULL },          { 'f', "b/two", "2" },   { 'h', "y", "a/link" },
		{ 'l', "a/link", "../b" },    { 0, NULL, NULL },
	};
	struct sample sample;
	struct node b[2], link, top[4], root, found;
	struct err err = ERR_INIT;

	(void)state;
	sample_init(&sample);
	b[0] = sample_file(&sample, "one", view_of_string("1"), true);
	b[1] = sample_file(&sample, "two", view_of_string("2"), false);
	link = sample_symlink("link", "../b");
	top[0] = sample_directory(&sample, "a", &link, 1);
	top[1] = sample_directory(&sample, "b", b, 2);
	top[2] = sample_symlink("y", "../b");
	top[3] = b[0];
	top[3].name = view_of_string("z");
	root = sample_directory(&sample, "", top, 4);
	for (int zstd = 0; zstd < 2; zstd++) {
		assert_ok(import_lines(&sample.services, one, zstd, &found, &err), &err);
		assert_true(digest_equal(&found.digest, &root.digest));
		assert_int_equal(found.size, root.size);
		node_release(&found);
	}
	/* No entries at all: the empty directory. */
	assert_ok(import_lines(&sample.services, &one[ARRAY_LEN(one) - 1], false, &found, &err),
		  &err);
	assert_true(digest_equal(&found.digest, &digest_empty));
	node_release(&found);
	sample_release(&sample);
}

/* With the options, `lines` are the same tree as `like` without any. */
static void expect_same(const struct tar_import_options *options, const struct line *lines,
			const struct line *like)
{
	struct err err = ERR_INIT;
	struct node found, expected;
	struct sample sample;

	sample_init(&sample);
	assert_ok(import_lines_as(&sample.services, lines, false, options, &found, &err), &err);
	assert_ok(import_lines(&sample.services, like, false, &expected, &err), &err);
	assert_true(digest_equal(&found.digest, &expected.digest));
	node_release(&found);
	node_release(&expected);
	sample_release(&sample);
}

static void components_are_stripped(void **state)
{
	static const struct tar_import_options one = { .strip_components = 1 };
	static const struct tar_import_options two = { .strip_components = 2 };
	static const struct line lines[] = {
		{ 'd', "top/", NULL },     { 'f', "top/a", "1" },       { 'd', "top/b/", NULL },
		{ 'x', "top//b/c", "22" }, { 'h', "top/d", "top/b/c" }, { 'l', "top/e", "top/b/c" },
		{ 'f', "README", "gone" }, { 0, NULL, NULL },
	};
	static const struct line stripped[] = {
		{ 'f', "a", "1" },       { 'x', "b/c", "22" }, { 'x', "d", "22" },
		{ 'l', "e", "top/b/c" }, { 0, NULL, NULL },
	};
	static const struct line with_dots[] = { { 'f', "./a", "1" }, { 0, NULL, NULL } };
	static const struct line plain[] = { { 'f', "a", "1" }, { 0, NULL, NULL } };
	static const struct line absolute[] = { { 'f', "/a/b", "1" }, { 0, NULL, NULL } };
	static const struct line up[] = { { 'f', "a/../b", "1" }, { 0, NULL, NULL } };
	static const struct line link[] = { { 'f', "a", "1" },
					    { 'h', "top/b", "a" },
					    { 0, NULL, NULL } };
	struct err err = ERR_INIT;
	struct sample sample;
	struct node root;

	(void)state;
	expect_same(&one, lines, stripped);
	expect_same(&one, with_dots, plain);
	sample_init(&sample);
	assert_rc(RC_INVALID, import_lines_as(&sample.services, absolute, false, &one, &root, &err),
		  &err);
	assert_says(&err, "an absolute path");
	assert_rc(RC_INVALID, import_lines_as(&sample.services, up, false, &one, &root, &err),
		  &err);
	assert_rc(RC_INVALID, import_lines_as(&sample.services, link, false, &one, &root, &err),
		  &err);
	assert_says(&err, "\"top/b\": the target of a hard link");
	assert_rc(RC_INVALID, import_lines_as(&sample.services, plain, false, &two, &root, &err),
		  &err);
	assert_says(&err, "no path of the archive has more than the 2");
	sample_release(&sample);
}

static void last_entry_wins(void **state)
{
	static const struct tar_import_options last = { .last_wins = true };
	static const struct {
		struct line lines[6], like[3];
	} cases[] = {
		{ { { 'f', "a", "1" }, { 'f', "a", "2" } }, { { 'f', "a", "2" } } },
		{ { { 'x', "a", "1" }, { 'f', "a", "1" } }, { { 'f', "a", "1" } } },
		{ { { 'f', "a", "1" }, { 'l', "a", "t" } }, { { 'l', "a", "t" } } },
		{ { { 'l', "a", "t" }, { 'd', "a", NULL } }, { { 'd', "a", NULL } } },
		/* A directory that comes again keeps what is in it; what was replaced does not come back. */
		{ { { 'f', "a/b", "1" }, { 'd', "a", NULL } }, { { 'f', "a/b", "1" } } },
		{ { { 'f', "a/b", "1" }, { 'f', "a", "2" } }, { { 'f', "a", "2" } } },
		{ { { 'f', "a/b", "1" },
		    { 'f', "a", "2" },
		    { 'd', "a", NULL },
		    { 'f', "a/c", "3" } },
		  { { 'f', "a/c", "3" } } },
		/* A hard link is the file that was there when it came. */
		{ { { 'f', "a", "1" }, { 'h', "b", "a" }, { 'f', "a", "2" } },
		  { { 'f', "a", "2" }, { 'f', "b", "1" } } },
	};
	static const struct line through[] = { { 'l', "a", "/etc" },
					       { 'f', "a/b", "1" },
					       { 0, NULL, NULL } };
	struct err err = ERR_INIT;
	struct sample sample;
	struct node root;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		expect_same(&last, cases[i].lines, cases[i].like);
	sample_init(&sample);
	assert_rc(RC_INVALID, import_lines_as(&sample.services, through, false, &last, &root, &err),
		  &err);
	assert_says(&err, "goes through");
	sample_release(&sample);
}

static void bad_entries_are_named(void **state)
{
	static const struct {
		struct line lines[3];
		enum rc rc;
		const char *sentence;
	} cases[] = {
		{ { { 'f', "../x", "" } }, RC_INVALID, "\"../x\": " },
		{ { { 'f', "a/../../x", "" } }, RC_INVALID, "\"a/../../x\": " },
		{ { { 'f', "/etc/x", "" } }, RC_INVALID, "\"/etc/x\": an absolute path" },
		{ { { 'd', "/", NULL } }, RC_INVALID, "an absolute path" },
		{ { { 'p', "fifo", NULL } }, RC_UNSUPPORTED, "\"fifo\": a device" },
		{ { { 'c', "dev", NULL } }, RC_UNSUPPORTED, "\"dev\": a device" },
		{ { { 'f', ".", "" } }, RC_INVALID, "no directory" },
		{ { { 'f', "a", "1" }, { 'f', "a", "2" } }, RC_INVALID, "\"a\" comes twice" },
		{ { { 'f', "a", "1" }, { 'x', "a", "1" } }, RC_INVALID, "different" },
		{ { { 'f', "a", "1" }, { 'd', "a", NULL } }, RC_INVALID, "different" },
		{ { { 'l', "a", "1" }, { 'l', "a", "2" } }, RC_INVALID, "different" },
		{ { { 'd', "a", NULL }, { 'l', "a", "/etc" } }, RC_INVALID, "different" },
		{ { { 'l', "a", "/etc" }, { 'f', "a/passwd", "" } }, RC_INVALID, "goes through" },
		{ { { 'f', "a", "" }, { 'f', "a/b", "" } }, RC_INVALID, "goes through" },
		{ { { 'h', "a", "b" }, { 'f', "b", "" } }, RC_INVALID, "\"a\": the target" },
		{ { { 'd', "a", NULL }, { 'h', "b", "a" } }, RC_INVALID, "it is a directory" },
		{ { { 'f', "a", "" }, { 'h', "b", "../a" } }, RC_INVALID, "hard link" },
		{ { { 'f', "a", "" }, { 'h', "b", "/a" } }, RC_INVALID, "absolute" },
	};
	struct sample sample;

	(void)state;
	sample_init(&sample);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		struct node root;

		assert_rc(cases[i].rc,
			  import_lines(&sample.services, cases[i].lines, false, &root, &err), &err);
		assert_says(&err, cases[i].sentence);
	}
	sample_release(&sample);
}

static void damage_is_noticed(void **state)
{
	struct sample sample, to;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 107, 0 };
	AUTO_FD int fd = memory_file(), other = memory_file();
	struct err err = ERR_INIT;
	struct node root, found;
	struct stat st;

	(void)state;
	sample_init(&sample);
	sample_init(&to);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	assert_ok(tar_export(&sample.services, &op_none, &root, "", fd, &err), &err);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size > 100000);
	/* Cut in the middle of a header or of contents; never taken for whole. */
	for (off_t len = st.st_size - 1024 - 1; len > 0; len -= st.st_size / 50) {
		enum rc rc;

		assert_int_equal(ftruncate(fd, len), 0);
		rc = import(&to.services, fd, &found, &err);
		if (rc != RC_OK) {
			assert_rc(RC_INVALID, rc, &err);
			assert_says(&err, "cut off, at byte ");
		} else /* cut between two entries, where libarchive sees an end */
			assert_false(digest_equal(&found.digest, &root.digest));
		node_release(&found);
	}
	/* No archive at all. */
	assert_rc(RC_INVALID, import(&to.services, other, &found, &err), &err);
	assert_int_equal(write(other, "hello, this is no archive", 25), 25);
	assert_rc(RC_INVALID, import(&to.services, other, &found, &err), &err);
	assert_says(&err, "this is no tar archive");
	assert_rc(RC_IO, tar_import(&to.services, &op_none, -1, NULL, &found, &err), &err);
	sample_release(&sample);
	sample_release(&to);
}

static void failures_go_through(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 107, 0 };
	AUTO_FD int fd = memory_file();
	AUTO_FD int full = open("/dev/full", O_WRONLY);
	struct err err = ERR_INIT;
	struct node root, found;

	(void)state;
	sample_init(&sample);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	if (full >= 0)
		assert_rc(RC_NO_SPACE,
			  tar_export(&sample.services, &op_none, &root, "", full, &err), &err);
	for (unsigned way = 0; way < 2; way++) {
		unsigned failures = 0;
		enum rc rc;

		do {
			struct double_plan plan = { 0 };
			struct services disturbed;

			plan.where = DOUBLE_OPEN | DOUBLE_READ | DOUBLE_WRITE | DOUBLE_COMMIT;
			plan.skip = failures;
			plan.rc = RC_UNAVAILABLE;
			double_services(&sample.services, &plan, &disturbed);
			if (way == 0) {
				assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
				assert_int_equal(ftruncate(fd, 0), 0);
				rc = tar_export(&disturbed, &op_none, &root, "", fd, &err);
			} else {
				rc = import(&disturbed, fd, &found, &err);
			}
			services_release(&disturbed);
			assert_true(rc == RC_OK || rc == RC_UNAVAILABLE);
			failures++;
		} while (rc != RC_OK);
		assert_true(failures > 5);
	}
	assert_true(digest_equal(&found.digest, &root.digest));
	node_release(&found);
	sample_release(&sample);
}

static void trees_have_limits(void **state)
{
	AUTO_BUF path = BUF_INIT;
	struct err err = ERR_INIT;
	struct tar_tree *tree = tar_tree_new(false);
	char name[257];

	(void)state;
	for (int i = 0; i < NODE_DEPTH_MAX - 1; i++)
		buf_append_string(&path, "a/");
	assert_ok(tar_tree_directory(tree, buf_view(&path), &err), &err);
	buf_append_string(&path, "a/");
	assert_rc(RC_TOO_LARGE, tar_tree_directory(tree, buf_view(&path), &err), &err);
	memset(name, 'n', sizeof(name));
	assert_ok(tar_tree_file(tree, view_of(name, 255), false, 0, &err), &err);
	assert_rc(RC_INVALID, tar_tree_file(tree, view_of(name, 256), false, 0, &err), &err);
	assert_rc(RC_INVALID, tar_tree_symlink(tree, view_of_string("l"), view_of("", 0), &err),
		  &err);
	tar_tree_free(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees_come_back),
		cmocka_unit_test(odd_names_come_back),
		cmocka_unit_test(deep_trees_come_back),
		cmocka_unit_test(entries_are_canonical),
		cmocka_unit_test(single_files_need_a_name),
		cmocka_unit_test(any_order_and_spelling),
		cmocka_unit_test(components_are_stripped),
		cmocka_unit_test(last_entry_wins),
		cmocka_unit_test(bad_entries_are_named),
		cmocka_unit_test(damage_is_noticed),
		cmocka_unit_test(failures_go_through),
		cmocka_unit_test(trees_have_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
