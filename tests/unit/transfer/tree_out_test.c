/* Export to disk: what is made, with which modes and times, and that nothing is left of a failure.
 */
#include "transfer/tree_out.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "double/double.h"
#include "sample.h"
#include "transfer/dir_stack.h"

struct fixture {
	struct sample sample;
	char *dir;
	char *out; /* dir/out */
};

static int set_up(void **state)
{
	struct fixture *fixture = mem_zalloc(sizeof(*fixture));

	sample_init(&fixture->sample);
	fixture->dir = testing_dir();
	fixture->out = mem_printf("%s/out", fixture->dir);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	struct err err = ERR_INIT;

	assert_ok(dir_remove(AT_FDCWD, fixture->dir, &err), &err);
	free(fixture->dir);
	free(fixture->out);
	sample_release(&fixture->sample);
	free(fixture);
	return 0;
}

static void expect_stat(const char *path, mode_t mode)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		fail_msg("%s is not there", path);
	if (S_ISLNK(mode))
		assert_true(S_ISLNK(st.st_mode));
	else
		assert_int_equal(st.st_mode, mode);
	assert_int_equal(st.st_mtime, 1);
	assert_int_equal(st.st_mtim.tv_nsec, 0);
}

static void expect_bytes(const char *path, struct view expected)
{
	AUTO_BUF found = BUF_INIT;
	struct err err = ERR_INIT;

	assert_ok(file_read_path(AT_FDCWD, path, 16 << 20, &found, &err), &err);
	assert_view_equal(buf_view(&found), expected);
}

static unsigned entries_of(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

/* Names at every limit, every kind, and what stands in nobody's way. */
static void makes_everything(void **state)
{
	struct fixture *fixture = *state;
	struct sample *sample = &fixture->sample;
	AUTO_FREE uint8_t *bytes = mem_alloc(3 << 20);
	char long_name[NODE_NAME_MAX + 1], long_target[NODE_TARGET_MAX + 1];
	char path[PATH_MAX], target[PATH_MAX];
	struct node nodes[7], inner, root;
	struct err err = ERR_INIT;
	mode_t mask = umask(077);

	memset(long_name, 'n', NODE_NAME_MAX);
	long_name[NODE_NAME_MAX] = '\0';
	memset(long_target, 't', NODE_TARGET_MAX);
	long_target[NODE_TARGET_MAX] = '\0';
	testing_fill_seeded(1, bytes, 3 << 20);
	inner = sample_file(sample, "\xff\n name", view_of_string("odd"), true);
	nodes[0] = sample_directory(sample, "dir", &inner, 1);
	nodes[1] = sample_directory(sample, "empty", NULL, 0);
	nodes[2] = sample_file(sample, "large", view_of(bytes, 3 << 20), false);
	nodes[3] = sample_symlink("link", "/nowhere/at/all");
	nodes[4] = sample_symlink("long", long_target);
	nodes[5] = sample_file(sample, long_name, view_of_string("x"), false);
	nodes[6] = sample_file(sample, "zero", view_of(NULL, 0), true);
	root = sample_directory(sample, "", nodes, ARRAY_LEN(nodes));
	sample_commit(sample, true);
	assert_ok(tree_export(&sample->services, &op_none, &root, fixture->out, &err), &err);
	umask(mask);

#define AT(name) (snprintf(path, sizeof(path), "%s/%s", fixture->out, name), path)
	expect_stat(fixture->out, S_IFDIR | 0555);
	expect_stat(AT("dir"), S_IFDIR | 0555);
	expect_stat(AT("dir/\xff\n name"), S_IFREG | 0555);
	expect_bytes(path, view_of_string("odd"));
	expect_stat(AT("empty"), S_IFDIR | 0555);
	expect_stat(AT("large"), S_IFREG | 0444);
	expect_bytes(path, view_of(bytes, 3 << 20));
	expect_stat(AT("link"), S_IFLNK);
	assert_int_equal(readlink(path, target, sizeof(target)), 15);
	assert_memory_equal(target, "/nowhere/at/all", 15);
	expect_stat(AT("long"), S_IFLNK);
	assert_int_equal(readlink(path, target, sizeof(target)), NODE_TARGET_MAX);
	expect_stat(AT(long_name), S_IFREG | 0444);
	expect_stat(AT("zero"), S_IFREG | 0555);
	assert_int_equal(entries_of(fixture->out), 7);
}

static void roots_of_every_kind(void **state)
{
	struct fixture *fixture = *state;
	struct sample *sample = &fixture->sample;
	struct node file = sample_file(sample, "", view_of_string("text"), true);
	struct node link = sample_symlink("", "target");
	struct err err = ERR_INIT;
	char path[PATH_MAX];

	sample_commit(sample, false);
	snprintf(path, sizeof(path), "%s/file", fixture->dir);
	assert_ok(tree_export(&sample->services, &op_none, &file, path, &err), &err);
	expect_stat(path, S_IFREG | 0555);
	snprintf(path, sizeof(path), "%s/link", fixture->dir);
	assert_ok(tree_export(&sample->services, &op_none, &link, path, &err), &err);
	expect_stat(path, S_IFLNK);
	assert_rc(RC_EXISTS, tree_export(&sample->services, &op_none, &file, path, &err), &err);
	assert_int_equal(entries_of(fixture->dir), 2);
}

/* What is there already stays as it is: a file, a directory, a symlink to an empty directory. */
static void replaces_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct node root = { .kind = NODE_DIRECTORY, .digest = digest_empty };
	static const char *const paths[] = { "file",     "dir", "dir/", "link",
					     "dangling", ".",   "..",   "dir/." };
	struct err err = ERR_INIT;
	char path[PATH_MAX];

	assert_int_equal(chdir(fixture->dir), 0);
	assert_int_equal(close(open("file", O_WRONLY | O_CREAT, 0600)), 0);
	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(symlink("dir", "link"), 0);
	assert_int_equal(symlink("absent", "dangling"), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		snprintf(path, sizeof(path), "%s/%s", fixture->dir, paths[i]);
		assert_rc(RC_EXISTS,
			  tree_export(&fixture->sample.services, &op_none, &root, path, &err),
			  &err);
	}
	assert_rc(RC_EXISTS, tree_export(&fixture->sample.services, &op_none, &root, "/", &err),
		  &err);
	assert_rc(RC_INVALID, tree_export(&fixture->sample.services, &op_none, &root, "", &err),
		  &err);
	assert_rc(RC_NOT_FOUND,
		  tree_export(&fixture->sample.services, &op_none, &root, "no/such/out", &err),
		  &err);
	assert_int_equal(entries_of(fixture->dir), 4);
	assert_int_equal(entries_of("dir"), 0);
	/* A relative path, and one that ends in a slash. */
	assert_ok(tree_export(&fixture->sample.services, &op_none, &root, "new/", &err), &err);
	expect_stat("new", S_IFDIR | 0555);
	assert_int_equal(chdir("/"), 0);
}

/* A thousand levels, with few descriptors. */
static void deep_trees_need_few_descriptors(void **state)
{
	struct fixture *fixture = *state;
	struct sample *sample = &fixture->sample;
	struct node root = sample_nest(sample, NODE_DEPTH_MAX);
	struct rlimit before, few;
	struct stat st;
	struct err err = ERR_INIT;
	int fd, levels = 0;

	sample_commit(sample, true);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ .rlim_cur = 64, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_ok(tree_export(&sample->services, &op_none, &root, fixture->out, &err), &err);

	fd = open(fixture->out, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	for (levels = 1;; levels++) {
		int inner = openat(fd, "d", O_RDONLY | O_DIRECTORY);

		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_mode, S_IFDIR | 0555);
		assert_int_equal(st.st_mtime, 1);
		if (inner < 0)
			break;
		close(fd);
		fd = inner;
	}
	assert_int_equal(levels, NODE_DEPTH_MAX - 1);
	assert_int_equal(faccessat(fd, "f", F_OK, 0), 0);
	close(fd);
	assert_ok(dir_remove(AT_FDCWD, fixture->out, &err), &err);
	assert_int_equal(entries_of(fixture->dir), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* A tree with a bit of everything in it; 40 files in 8 directories. */
static struct node make_tree(struct sample *sample)
{
	static char names[8][5][8], dir_names[8][8];
	struct node dirs[8];

	for (size_t i = 0; i < 8; i++) {
		struct node nodes[6];

		for (size_t j = 0; j < 5; j++) {
			AUTO_FREE uint8_t *bytes = mem_alloc(200000);

			testing_fill_seeded(i * 5 + j, bytes, 200000);
			snprintf(names[i][j], sizeof(names[i][j]), "f%zu", j);
			nodes[j] = sample_file(sample, names[i][j],
					       view_of(bytes, 200000 >> (2 * j)), j == 2);
		}
		nodes[5] = sample_symlink("link", "f0");
		snprintf(dir_names[i], sizeof(dir_names[i]), "d%zu", i);
		dirs[i] = sample_directory(sample, dir_names[i], nodes, 6);
	}
	return sample_directory(sample, "", dirs, 8);
}

static void nothing_is_left_of_a_failure(void **state)
{
	struct fixture *fixture = *state;
	struct sample *sample = &fixture->sample;
	struct node root = make_tree(sample);
	unsigned failures = 0;

	sample_commit(sample, true);
	for (unsigned skip = 0;; skip++) {
		struct double_plan plan = { 0 };
		struct services disturbed;
		struct err err = ERR_INIT;
		enum rc rc;

		plan.where = DOUBLE_READ;
		plan.skip = skip;
		plan.rc = RC_UNAVAILABLE;
		double_services(&sample->services, &plan, &disturbed);
		rc = tree_export(&disturbed, &op_none, &root, fixture->out, &err);
		services_release(&disturbed);
		if (rc == RC_OK)
			break;
		failures++;
		assert_rc(RC_UNAVAILABLE, rc, &err);
		assert_int_equal(entries_of(fixture->dir), 0);
	}
	assert_true(failures > 10);
	assert_int_equal(entries_of(fixture->out), 8);
}

/* Somebody replaces a directory that is being filled: nothing is made where the new one points to,
 * and what stands elsewhere is not removed. */
static void a_moved_directory_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct dir_stack stack = DIR_STACK_INIT;
	struct err err = ERR_INIT;

	assert_int_equal(chdir(fixture->dir), 0);
	assert_int_equal(mkdir("a", 0700), 0);
	assert_int_equal(mkdir("elsewhere", 0700), 0);
	assert_ok(dir_stack_push(&stack, AT_FDCWD, "a", &err), &err);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(mkdirat(dir_stack_fd(&stack), "d", 0700), 0);
		assert_ok(dir_stack_push(&stack, AT_FDCWD, "d", &err), &err);
	}
	assert_int_equal(rename("a/d/d", "elsewhere/d"), 0);
	for (int i = 0; i < 38; i++)
		assert_ok(dir_stack_pop(&stack, &err), &err);
	assert_rc(RC_FAILED_PRECONDITION, dir_stack_pop(&stack, &err), &err);
	assert_says(&err, "a/d/d was moved");
	dir_stack_release(&stack);

	assert_int_equal(symlink("elsewhere", "link"), 0);
	assert_rc(RC_NOT_FOUND, dir_stack_push(&stack, AT_FDCWD, "link", &err), &err);
	dir_stack_release(&stack);
	assert_ok(dir_remove(AT_FDCWD, "link", &err), &err);
	assert_int_equal(entries_of("elsewhere"), 1);
	assert_int_equal(chdir("/"), 0);
}

/* Does the filesystem of the tests have holes at all? */
static bool has_holes(const char *dir)
{
	AUTO_FREE char *path = mem_printf("%s/probe", dir);
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(pwrite(fd, "x", 1, 512 << 10), 1);
	assert_int_equal(unlink(path), 0);
	return lseek(fd, 0, SEEK_DATA) == 512 << 10;
}

static void zeros_become_holes(void **state)
{
	enum { SIZE = 8 << 20 };
	/* Where something is: alone in its block, at the ends of blocks, at both ends of the file or not. */
	static const struct {
		size_t at[4], len;
	} cases[] = {
		{ { 0 }, SIZE },
		{ { 1 << 20, (1 << 20) + 4095, (5 << 20) + 4096, (5 << 20) - 1 }, SIZE },
		{ { 3 << 20, 3 << 20, SIZE - 1, SIZE - 1 }, SIZE },
		{ { 300000, 300000, 300000, 300000 }, SIZE - 77 },
		{ { 4096, 4096, 4096, 4096 }, 8192 + 5 },
		{ { 0, 1, 2, 3 }, 4096 },
		{ { 0 }, 4095 },
	};
	struct fixture *fixture = *state;
	bool holes = has_holes(fixture->dir);
	uint8_t *bytes AUTO_FREE = mem_alloc(SIZE);
	struct node nodes[ARRAY_LEN(cases)], root;
	char names[ARRAY_LEN(cases)][8];
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memset(bytes, 0, SIZE);
		for (size_t j = 0; j < ARRAY_LEN(cases[i].at); j++)
			bytes[cases[i].at[j]] = cases[i].at[3] > 0;
		snprintf(names[i], sizeof(names[i]), "%zu", i);
		nodes[i] = sample_file(&fixture->sample, names[i], view_of(bytes, cases[i].len),
				       false);
	}
	root = sample_directory(&fixture->sample, "", nodes, ARRAY_LEN(nodes));
	sample_commit(&fixture->sample, true);
	assert_ok(tree_export(&fixture->sample.services, &op_none, &root, fixture->out, &err),
		  &err);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FREE char *path = mem_printf("%s/%zu", fixture->out, i);
		struct stat st;

		memset(bytes, 0, SIZE);
		for (size_t j = 0; j < ARRAY_LEN(cases[i].at); j++)
			bytes[cases[i].at[j]] = cases[i].at[3] > 0;
		expect_bytes(path, view_of(bytes, cases[i].len));
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mtime, 1);
		/* At most four blocks hold something; a filesystem may round them up. */
		if (holes && cases[i].len > 1 << 20)
			assert_true(st.st_blocks * 512 <= 4 * (64 << 10));
		if (holes && i == 0)
			assert_int_equal(st.st_blocks, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_everything, set_up, tear_down),
		cmocka_unit_test_setup_teardown(roots_of_every_kind, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replaces_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deep_trees_need_few_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_left_of_a_failure, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_moved_directory_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(zeros_become_holes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
