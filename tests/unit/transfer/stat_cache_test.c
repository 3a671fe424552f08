/* The stat cache alone, and what an import makes of it. */
#include "transfer/stat_cache.h"

#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tree_test_util.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "double/double.h"
#include "transfer/tree_in.h"

/* A cache directory of the test's own, and files that count as old at once. */
static int private_cache(void **state)
{
	char *dir = testing_dir();

	setenv("XDG_CACHE_HOME", dir, 1);
	stat_cache_age_s = -10;
	*state = dir;
	return 0;
}

static int remove_cache(void **state)
{
	char *dir = *state;

	testing_dir_cleanup(&dir);
	return 0;
}

static char *trees_path(void **state)
{
	return mem_printf("%s/castor/trees", (const char *)*state);
}

/* The names in the cache; none where it is not there. */
static size_t count_trees(void **state, char name[NAME_MAX + 1])
{
	char *path AUTO_FREE = trees_path(state);
	DIR *dir = opendir(path);
	const struct dirent *d;
	size_t count = 0;

	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		if (name)
			strcpy(name, d->d_name);
		count++;
	}
	if (dir)
		closedir(dir);
	return count;
}

static struct tree_stat stat_number(uint64_t i)
{
	return (struct tree_stat){ .mount = 5,
				   .filesystem = 7,
				   .device = 1,
				   .inode = i,
				   .size = i * 3,
				   .mtime = { .tv_sec = -5, .tv_nsec = (long)i },
				   .ctime = { .tv_sec = 1000000, .tv_nsec = (long)i } };
}

static struct digest digest_number(uint64_t i)
{
	return digest_of(view_of(&i, sizeof(i)));
}

static void remember(const struct tree_stat *root, uint64_t count)
{
	struct stat_cache_writer *writer = stat_cache_create(root);

	assert_non_null(writer);
	for (uint64_t i = 0; i < count; i++) {
		struct tree_stat stat = stat_number(i);
		struct digest digest = digest_number(i);

		stat_cache_add(writer, &stat, &digest);
	}
	stat_cache_commit(writer);
	stat_cache_free(writer);
}

/* Does it know `count` files, and no more? */
static bool recall(const struct tree_stat *root, uint64_t count)
{
	struct stat_cache_reader *reader = stat_cache_open(root);
	bool hit = reader != NULL, equal = true;

	for (uint64_t i = 0; hit && i < count; i++) {
		struct tree_stat stat = stat_number(i);
		struct digest digest, expected = digest_number(i);

		hit = stat_cache_next(reader, &stat, &digest);
		equal = equal && hit && digest_equal(&digest, &expected);
	}
	hit = hit && stat_cache_finish(reader);
	stat_cache_close(reader);
	assert_true(equal || !hit);
	return hit;
}

static void remembers(void **state)
{
	static const uint64_t counts[] = { 0, 1, 1023, 1024, 1025, 5000 };
	struct tree_stat root = stat_number(99), other = stat_number(98);

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		remember(&root, counts[i]);
		assert_true(recall(&root, counts[i]));
		assert_false(recall(&root, counts[i] + 1));
		if (counts[i] > 0)
			assert_false(recall(&root, counts[i] - 1));
	}
	assert_false(recall(&other, 5000));
	assert_int_equal(count_trees(state, NULL), 1);
}

static void every_field_counts(void **state)
{
	struct tree_stat root = stat_number(99), file = stat_number(0), changed[8];
	struct digest digest;

	(void)state;
	remember(&root, 1);
	for (size_t i = 0; i < ARRAY_LEN(changed); i++)
		changed[i] = file;
	changed[0].filesystem++;
	changed[1].inode++;
	changed[2].size++;
	changed[3].mtime.tv_sec++;
	changed[4].mtime.tv_nsec++;
	changed[5].ctime.tv_sec++;
	changed[6].ctime.tv_nsec++;
	changed[7].mount++;
	for (size_t i = 0; i < ARRAY_LEN(changed); i++) {
		struct stat_cache_reader *reader = stat_cache_open(&root);

		assert_non_null(reader);
		assert_false(stat_cache_next(reader, &changed[i], &digest));
		stat_cache_close(reader);
	}
	file.mount = root.mount = 0;
	assert_null(stat_cache_open(&root));
	assert_null(stat_cache_create(&root));
}

/* The cache's one file, with some bytes of its header changed, and the checksum made right again. */
static void change_header(void **state, size_t at, const void *bytes, size_t len)
{
	char name[NAME_MAX + 1];
	char *trees AUTO_FREE = trees_path(state), *path AUTO_FREE = NULL;
	struct buf file CLEANUP(buf_release) = BUF_INIT;
	struct digest checksum;
	struct err err = ERR_INIT;

	assert_int_equal(count_trees(state, name), 1);
	path = mem_printf("%s/%s", trees, name);
	assert_ok(file_read_path(AT_FDCWD, path, 1 << 20, &file, &err), &err);
	memcpy(file.ptr + at, bytes, len);
	checksum = digest_of(view_of(file.ptr, file.len - DIGEST_SIZE));
	memcpy(file.ptr + file.len - DIGEST_SIZE, checksum.bytes, DIGEST_SIZE);
	tree_test_write(trees, name, file.ptr, file.len);
}

static void what_is_of_another_boot_is_not_used(void **state)
{
	enum { CLOCK_AT = 16 + 40 };
	struct tree_stat root = stat_number(99);
	char name[NAME_MAX + 1];
	struct timespec up;
	int64_t offset;

	remember(&root, 3);
	assert_true(recall(&root, 3));
	change_header(state, 16, "ffffffff", 8);
	assert_false(recall(&root, 3));
	/* Nor what is older than a setting of the clock. */
	for (int64_t set = -30; set <= 30; set += 10) {
		remember(&root, 3);
		clock_gettime(CLOCK_BOOTTIME, &up);
		offset = clock_realtime_ns() - (up.tv_sec * NS_PER_S + up.tv_nsec) + set * NS_PER_S;
		change_header(state, CLOCK_AT, &offset, sizeof(offset));
		/* 20 itself is a matter of nanoseconds. */
		if (set != 20 && set != -20)
			assert_int_equal(recall(&root, 3), set > -20 && set < 20);
	}
	assert_int_equal(count_trees(state, name), 1);
}

static void young_files_are_not_remembered(void **state)
{
	struct tree_stat root = stat_number(99), young = stat_number(0);
	struct digest digest = digest_number(0);
	struct stat_cache_writer *writer;

	stat_cache_age_s = 60;
	writer = stat_cache_create(&root);
	clock_gettime(CLOCK_REALTIME, &young.ctime);
	young.ctime.tv_sec -= 58;
	stat_cache_add(writer, &young, &digest);
	stat_cache_commit(writer);
	stat_cache_free(writer);
	assert_null(stat_cache_open(&root));
	assert_int_equal(count_trees(state, NULL), 0);

	writer = stat_cache_create(&root);
	young.ctime.tv_sec -= 4;
	stat_cache_add(writer, &young, &digest);
	stat_cache_commit(writer);
	stat_cache_free(writer);
	assert_int_equal(count_trees(state, NULL), 1);
}

static void damage_is_noticed(void **state)
{
	struct tree_stat root = stat_number(99);
	char name[NAME_MAX + 1];
	char *trees AUTO_FREE = trees_path(state), *path AUTO_FREE = NULL;
	struct stat st;

	remember(&root, 100);
	assert_int_equal(count_trees(state, name), 1);
	path = mem_printf("%s/%s", trees, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	for (off_t at = 0; at < st.st_size; at += 41) {
		int fd = open(path, O_RDWR);
		uint8_t byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_false(recall(&root, 100));
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		assert_true(recall(&root, 100));
	}
	for (off_t size = st.st_size - 1; size >= 0; size = size * 9 / 10 - 1) {
		assert_int_equal(truncate(path, size), 0);
		assert_false(recall(&root, 100));
	}
}

static void only_a_private_directory_is_used(void **state)
{
	struct tree_stat root = stat_number(99);
	char *trees AUTO_FREE = trees_path(state);

	remember(&root, 3);
	assert_int_equal(chmod(trees, 0755), 0);
	assert_null(stat_cache_open(&root));
	assert_null(stat_cache_create(&root));
	assert_int_equal(chmod(trees, 0700), 0);
	assert_true(recall(&root, 3));
}

static void nowhere_to_keep_it(void **state)
{
	struct tree_stat root = stat_number(99);
	char *home = getenv("HOME") ? mem_strdup(getenv("HOME")) : NULL;

	setenv("XDG_CACHE_HOME", "relative", 1);
	unsetenv("HOME");
	assert_null(stat_cache_create(&root));
	assert_null(stat_cache_open(&root));
	/* A file where the directory should be. */
	setenv("XDG_CACHE_HOME", *state, 1);
	tree_test_write(*state, "castor", "x", 1);
	assert_null(stat_cache_create(&root));
	assert_null(stat_cache_open(&root));
	if (home)
		setenv("HOME", home, 1);
	free(home);
}

static void the_oldest_of_too_many_go(void **state)
{
	char *trees AUTO_FREE = trees_path(state);
	struct tree_stat root = stat_number(99);
	struct stat st;

	remember(&root, 1);
	for (int i = 0; i < 3; i++) {
		char *path AUTO_FREE = mem_printf("%s/%d", trees, i);
		const struct timespec times[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };
		int fd = open(path, O_CREAT | O_WRONLY, 0600);

		assert_int_equal(ftruncate(fd, 400 << 20), 0); /* sparse */
		assert_int_equal(futimens(fd, times), 0);
		close(fd);
	}
	remember(&root, 2);
	assert_int_equal(count_trees(state, NULL), 3);
	{
		char *path AUTO_FREE = mem_printf("%s/0", trees);

		assert_int_equal(stat(path, &st), -1);
	}
	assert_true(recall(&root, 2));
}

/* ---- Through an import ---- */

/* Skips the test where the cache is not for what lies in dir. */
static void need_a_vouched(const char *dir)
{
	struct tree_walk *walk;
	struct tree_walk_event event;
	struct err err = ERR_INIT;

	assert_ok(tree_walk_new(dir, NULL, &walk, &err), &err);
	assert_ok(tree_walk_next(walk, &event, &err), &err);
	tree_walk_free(walk);
	if (event.stat.mount == 0) {
		print_message("%s is on a filesystem, or a kernel, for which there is no cache\n",
			      dir);
		skip();
	}
}

static void an_unchanged_tree_is_not_read(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *file AUTO_FREE = mem_printf("%s/file", dir),
		   *more AUTO_FREE = mem_printf("%s/m", dir),
		   *below AUTO_FREE = mem_printf("%s/below", dir);
	struct services services = tree_test_services(), empty = tree_test_services();
	struct import_options options = { .name = "x" },
			      uncached = { .name = "x", .no_cache = true };
	struct import_progress first, second;
	char *last AUTO_FREE = NULL;

	need_a_vouched(dir);
	(void)state;
	assert_int_equal(mkdir(below, 0755), 0);
	tree_test_fill(below, 3, &random, &last);
	tree_test_write_random(dir, "file", 2 << 20, &random);
	assert_int_equal(symlink("somewhere", more), 0);

	first = tree_test_import(&services, dir, &options, NULL);
	assert_int_equal(first.bytes_read, first.bytes);
	second = tree_test_import(&services, dir, &options, NULL);
	assert_int_equal(second.bytes_read, 0);
	assert_int_equal(second.files, first.files);
	assert_int_equal(second.directories, first.directories);
	assert_int_equal(second.symlinks, first.symlinks);
	assert_int_equal(second.bytes, first.bytes);
	/* Unless the cache is not wanted. */
	assert_int_equal(tree_test_import(&services, dir, &uncached, NULL).bytes_read, first.bytes);
	/* Another store does not have the blobs. */
	assert_int_equal(tree_test_import(&empty, dir, &options, NULL).bytes_read, first.bytes);
	assert_int_equal(tree_test_import(&empty, dir, &options, NULL).bytes_read, 0);

	/* What is not of the files is seen without the cache: modes, names, targets. */
	assert_int_equal(unlink(more), 0);
	assert_int_equal(symlink("elsewhere", more), 0);
	second = tree_test_import(&services, dir, &options, NULL);
	assert_int_equal(second.bytes_read, first.bytes); /* a new root: its NAR is not known */
	assert_int_equal(second.bytes_stored, 0);
	assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read, 0);
	/* A changed file, a new one, one less. */
	tree_test_write_random(dir, "file", 2 << 20, &random);
	assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read, first.bytes);
	tree_test_write(dir, "new", "new", 3);
	assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read,
			 first.bytes + 3);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read,
			 first.bytes + 3 - (2 << 20));
	services_release(&services);
	services_release(&empty);
}

static void roots_that_are_files(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *file AUTO_FREE = mem_printf("%s/file", dir),
		   *link AUTO_FREE = mem_printf("%s/l", dir);
	struct services services = tree_test_services();
	struct import_options options = { .name = "x" };

	need_a_vouched(dir);
	tree_test_write(dir, "file", "12345", 5);
	assert_int_equal(symlink("file", link), 0);
	assert_int_equal(tree_test_import(&services, file, &options, NULL).bytes_read, 5);
	assert_int_equal(tree_test_import(&services, file, &options, NULL).bytes_read, 0);
	assert_int_equal(tree_test_import(&services, link, &options, NULL).symlinks, 1);
	assert_int_equal(tree_test_import(&services, link, &options, NULL).symlinks, 1);
	assert_int_equal(count_trees(state, NULL), 1);
	services_release(&services);
}

/* Bytes that a mapping changes long after the write that stamped the file. */
static void check_mapping(const char *dir, size_t size, bool cached)
{
	struct services services = tree_test_services();
	struct import_options options = { .name = "x" };
	char *path AUTO_FREE = mem_printf("%s/mapped", dir);
	uint8_t *map;
	int fd;

	map = mem_zalloc(size);
	tree_test_write(dir, "mapped", map, size);
	free(map);
	fd = open(path, O_RDWR);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	for (uint8_t i = 1; i < 4; i++) {
		struct path_info info;
		struct err err = ERR_INIT;
		struct digest expected;

		map[3] = i;
		expected = digest_of(view_of(map, size));
		assert_ok(tree_import(&services, &op_none, path, &options, &info, NULL, &err),
			  &err);
		assert_true(digest_equal(&info.node.digest, &expected));
		path_info_release(&info);
	}
	assert_int_equal(munmap(map, size), 0);
	close(fd);
	assert_int_equal(tree_test_import(&services, path, &options, NULL).bytes_read,
			 cached ? 0 : size);
	assert_int_equal(tree_test_import(&services, path, &options, NULL).bytes_read,
			 cached ? 0 : size);
	services_release(&services);
}

static void a_shared_mapping_is_seen(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();

	(void)state;
	need_a_vouched(dir);
	check_mapping(dir, 10, true);
	check_mapping(dir, 3 << 20, true);
}

static int run_quietly(const char *format, ...)
{
	char *command AUTO_FREE = NULL;
	va_list args;

	va_start(args, format);
	assert_true(vasprintf(&command, format, args) > 0);
	va_end(args);
	return system(command);
}

/* In the mounts of a child of its own, which end with it. */
static void check_kind(const char *kind, const char *dir)
{
	bool cached = strcmp(kind, "tmpfs") != 0;
	struct services services = tree_test_services();
	struct import_options options = { .name = "x" };
	char *mnt AUTO_FREE = mem_printf("%s/mnt", dir),
		  *file AUTO_FREE = mem_printf("%s/mnt/mapped", dir);

	if (cached && (run_quietly("PATH=$PATH:/sbin:/usr/sbin; truncate -s 320M %s/image && "
				   "mkfs.%s -q %s/image >/dev/null 2>&1",
				   dir, kind, dir) != 0 ||
		       run_quietly("mount -o loop %s/image %s 2>/dev/null", dir, mnt) != 0)) {
		print_message("%s: not tried\n", kind);
		return;
	}
	if (!cached)
		assert_int_equal(run_quietly("mount -t tmpfs none %s", mnt), 0);
	need_a_vouched(cached ? mnt : dir);
	check_mapping(mnt, 10, cached);
	/* Mounted again, it may be another, and read-only, it may be changed behind the mount. */
	for (int i = 0; cached && i < 3; i++) {
		uint64_t read = tree_test_import(&services, mnt, &options, NULL).bytes_read;

		assert_int_equal(read, 10);
		read = tree_test_import(&services, mnt, &options, NULL).bytes_read;
		assert_int_equal(read, i < 2 ? 0 : 10);
		read = tree_test_import(&services, file, &options, NULL).bytes_read;
		assert_int_equal(read, 10);
		read = tree_test_import(&services, file, &options, NULL).bytes_read;
		assert_int_equal(read, i < 2 ? 0 : 10);
		assert_int_equal(i == 0 ? run_quietly("umount %s && mount -o loop %s/image %s", mnt,
						      dir, mnt)
					: run_quietly("mount -o remount,ro %s", mnt),
				 0);
	}
	/* One such filesystem below, and all is read. */
	for (int i = 0; !cached && i < 2; i++)
		assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read, 10);
	services_release(&services);
	print_message("%s: %s\n", kind, cached ? "cached" : "not cached");
}

static void kinds_of_filesystems(void **state)
{
	static const char *const kinds[] = { "ext2", "ext4", "xfs", "btrfs", "tmpfs" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		AUTO_TESTING_DIR char *dir = testing_dir();
		char *mnt AUTO_FREE = mem_printf("%s/mnt", dir);
		int status;
		pid_t pid;

		assert_int_equal(mkdir(mnt, 0755), 0);
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			if (unshare(CLONE_NEWNS) != 0 ||
			    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
				_exit(77);
			check_kind(kinds[i], dir);
			fflush(NULL);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(status, 0);
	}
}

static void a_failed_import_remembers_nothing(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *fifo AUTO_FREE = mem_printf("%s/z", dir);
	struct services services = tree_test_services();
	struct import_options options = { .name = "x" };
	struct path_info info;
	struct err err = ERR_INIT;

	tree_test_write(dir, "file", "12345", 5);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_rc(RC_UNSUPPORTED,
		  tree_import(&services, &op_none, dir, &options, &info, NULL, &err), &err);
	assert_int_equal(count_trees(state, NULL), 0);
	services_release(&services);
}

static void count_lines(void *context, enum log_level level, const char *sentence)
{
	(void)level;
	*(unsigned *)context += strstr(sentence, "left out") != NULL;
}

/* Each import of a tree with special files tells of them, once; so it is read each time. */
static void what_is_left_out_is_told_each_time(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *fifo AUTO_FREE = mem_printf("%s/z", dir);
	struct services services = tree_test_services();
	struct import_options options = { .name = "x", .skip_special = true };
	struct import_progress stats;
	struct path_info info;
	struct err err = ERR_INIT;
	unsigned lines = 0;

	(void)state;
	need_a_vouched(dir);
	tree_test_write(dir, "file", "12345", 5);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	log_set_sink(count_lines, &lines);
	for (unsigned i = 1; i <= 3; i++) {
		assert_ok(tree_import(&services, &op_none, dir, &options, &info, &stats, &err),
			  &err);
		path_info_release(&info);
		assert_int_equal(stats.bytes_read, 5);
		assert_int_equal(lines, i);
	}
	log_set_sink(NULL, NULL);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(tree_test_import(&services, dir, &options, NULL).bytes_read, 0);
	services_release(&services);
}

#define cached_test(test) cmocka_unit_test_setup_teardown(test, private_cache, remove_cache)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cached_test(remembers),
		cached_test(every_field_counts),
		cached_test(what_is_of_another_boot_is_not_used),
		cached_test(young_files_are_not_remembered),
		cached_test(damage_is_noticed),
		cached_test(only_a_private_directory_is_used),
		cached_test(nowhere_to_keep_it),
		cached_test(the_oldest_of_too_many_go),
		cached_test(an_unchanged_tree_is_not_read),
		cached_test(roots_that_are_files),
		cached_test(a_shared_mapping_is_seen),
		cached_test(kinds_of_filesystems),
		cached_test(what_is_left_out_is_told_each_time),
		cached_test(a_failed_import_remembers_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
