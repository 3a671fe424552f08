/*
 * Real mounts of a small tree in memory: over /dev/fuse and over io_uring (whose kernel parameter
 * is switched on for the test, and put back). Needs root and /dev/fuse, else it is skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "castore/directory.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "transport/mount.h"

/* The channel under test is this program's own, whose rings can be broken: the first queue's, at its
 * next turn. */
static atomic_bool broken;
static int submit_and_wait(struct io_uring *ring, unsigned count);
#define io_uring_submit_and_wait submit_and_wait
#include "transport/fuse_uring.c"
#undef io_uring_submit_and_wait

static int submit_and_wait(struct io_uring *ring, unsigned count)
{
	struct queue *queue = CONTAINER_OF(ring, struct queue, ring);
	return atomic_load(&broken) && queue->id == 0 ? -EINVAL
						      : io_uring_submit_and_wait(ring, count);
}

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
enum { BIG = 3000000, FILES = 300, SKIP = 77, PATIENCE_MS = 10000 };

static uint8_t big[BIG];

struct fixture {
	struct fs *fs;
	char dir[64];
};

/* The tree */

static struct node put_blob(struct blob_service *blobs, const char *name, const void *bytes,
			    size_t len)
{
	struct err err = ERR_INIT;
	struct node node = { .kind = NODE_FILE, .size = len, .name = view_of_string(name) };
	struct blob_batch *batch;
	struct blob_writer *writer;
	assert_int_equal(blob_service_open_batch(blobs, &op_none, &batch, &err), RC_OK);
	assert_int_equal(blob_writer_open(batch, &writer, &err), RC_OK);
	assert_int_equal(blob_writer_write(writer, &op_none, view_of(bytes, len), &err), RC_OK);
	assert_int_equal(blob_writer_close(writer, &op_none, &node.digest, &node.size, &err),
			 RC_OK);
	blob_writer_free(writer);
	assert_int_equal(blob_batch_commit(batch, &op_none, &err), RC_OK);
	blob_batch_free(batch);
	return node;
}

static struct node put_directory(struct directory_service *directories, const struct node *nodes,
				 size_t count)
{
	struct err err = ERR_INIT;
	struct directory_put *put;
	AUTO_DIRECTORY struct directory *dir = NULL;
	struct node node = { .kind = NODE_DIRECTORY };
	assert_int_equal(directory_from_nodes(nodes, count, &dir, &err), RC_OK);
	assert_int_equal(directory_service_open_put(directories, &op_none, &put, &err), RC_OK);
	assert_int_equal(directory_put_add(put, &op_none, dir, &err), RC_OK);
	assert_int_equal(directory_put_close(put, &op_none, &node.digest, &err), RC_OK);
	directory_put_free(put);
	node.size = directory_size(dir);
	return node;
}

static void make_fs(struct fixture *fixture)
{
	struct err err = ERR_INIT;
	struct blob_service *blobs = blob_memory_new();
	struct directory_service *directories = directory_memory_new();
	struct node nodes[FILES + 4];
	static char names[FILES][16];
	for (int i = 0; i < FILES; i++) {
		snprintf(names[i], sizeof(names[i]), "f%03d", i);
		nodes[i] = put_blob(blobs, names[i], names[i], 4);
	}
	nodes[FILES] = put_blob(blobs, "hello", "hello\n", 6);
	nodes[FILES + 1] = put_blob(blobs, "run", "#!/bin/sh\nexit 5\n", 17);
	nodes[FILES + 1].executable = true;
	for (size_t i = 0; i < BIG; i++)
		big[i] = (uint8_t)(i * 2654435761U >> 13);
	nodes[FILES + 2] = put_blob(blobs, "big", big, BIG);
	nodes[FILES + 3] = (struct node){ .kind = NODE_SYMLINK,
					  .name = view_of_string("link"),
					  .target = view_of_string("hello") };
	struct node root = put_directory(directories, nodes, ARRAY_LEN(nodes));
	root.name = view_of_string("tree");
	struct roots *roots;
	struct fs_options options = { .show_xattr = true };
	assert_int_equal(roots_list_new(&root, 1, &roots, &err), RC_OK);
	assert_int_equal(fs_new(blobs, directories, roots, &options, &fixture->fs, &err), RC_OK);
	blob_service_unref(blobs);
	directory_service_unref(directories);
}

static int setup(void **state)
{
	struct fixture *fixture = mem_zalloc(sizeof(*fixture));
	make_fs(fixture);
	snprintf(fixture->dir, sizeof(fixture->dir), "%s", "/tmp/castor-mount-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	while (umount2(fixture->dir, MNT_DETACH) == 0)
		;
	rmdir(fixture->dir);
	fs_free(fixture->fs);
	free(fixture);
	return 0;
}

/* What is done with it */

static struct buf read_file(const char *dir, const char *name)
{
	struct err err = ERR_INIT;
	struct buf out = BUF_INIT;
	AUTO_FREE char *path = mem_printf("%s/tree/%s", dir, name);
	if (file_read_path(AT_FDCWD, path, BIG, &out, &err) != RC_OK)
		fail_msg("%s", err.message);
	return out;
}

static void expect_file(const char *dir, const char *name, const void *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf got = read_file(dir, name);
	assert_int_equal(got.len, len);
	assert_memory_equal(got.ptr, bytes, len);
}

static void use(const char *dir)
{
	char name[16], target[16];
	struct stat status;
	AUTO_FREE char *link = mem_printf("%s/tree/link", dir);
	AUTO_FREE char *run = mem_printf("%s/tree/run", dir);
	AUTO_FREE char *missing = mem_printf("%s/tree/missing", dir);
	expect_file(dir, "hello", "hello\n", 6);
	expect_file(dir, "big", big, BIG);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%03d", i);
		expect_file(dir, name, name, 4);
	}
	assert_int_equal(readlink(link, target, sizeof(target)), 5);
	assert_memory_equal(target, "hello", 5);
	expect_file(dir, "link", "hello\n", 6);
	assert_int_equal(stat(run, &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0555);
	assert_int_equal(WEXITSTATUS(system(run)), 5);
	assert_int_equal(open(missing, O_RDONLY | O_CLOEXEC), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(open(missing, O_RDWR | O_CREAT | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
}

static struct mount *start(struct fixture *fixture, const struct mount_options *options)
{
	struct mount *mount;
	struct err err = ERR_INIT;
	if (mount_start(fixture->fs, fixture->dir, options, &mount, &err) != RC_OK)
		fail_msg("%s", err.message);
	return mount;
}

static bool is_mounted(const char *dir)
{
	struct stat at, above;
	AUTO_FREE char *parent = mem_printf("%s/..", dir);
	assert_int_equal(stat(dir, &at), 0);
	assert_int_equal(stat(parent, &above), 0);
	return at.st_dev != above.st_dev;
}

static void serves(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .no_io_uring = true };
	for (int i = 0; i < 3; i++) {
		struct mount *mount = start(fixture, &options);
		assert_true(is_mounted(fixture->dir));
		use(fixture->dir);
		mount_stop(mount);
		assert_false(is_mounted(fixture->dir));
	}
}

static bool set_parameter(char value)
{
	AUTO_FD int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, &value, 1) == 1;
}

static void serves_over_io_uring(void **state)
{
	struct fixture *fixture = *state;
	char before = 0;
	AUTO_FD int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &before, 1) != 1 || !set_parameter('Y'))
		skip();
	struct mount_options options = { .threads = 2 };
	struct mount_facts facts;
	for (int i = 0; i < 3; i++) {
		struct mount *mount = start(fixture, &options);
		mount_get_facts(mount, &facts);
		use(fixture->dir);
		mount_stop(mount);
		assert_false(is_mounted(fixture->dir));
	}
	assert_true(set_parameter(before));
	assert_true(facts.io_uring);
}

static void *ask_on_first_processor(void *arg)
{
	struct fixture *fixture = arg;
	AUTO_FREE char *path = mem_printf("%s/hello", fixture->dir);
	struct stat status;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	assert_int_equal(pthread_setaffinity_np(pthread_self(), sizeof(set), &set), 0);
	return stat(path, &status) == 0 ? NULL : arg;
}

/* A queue that brings no more requests ends the mount, and with it who waits for an answer. */
static void lost_queue_ends_the_mount(void **state)
{
	struct fixture *fixture = *state;
	char before = 0;
	AUTO_FD int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &before, 1) != 1 || !set_parameter('Y'))
		skip();
	struct mount_options options = { .threads = 2 };
	struct mount *mount = start(fixture, &options);
	assert_true(set_parameter(before));
	assert_false(mount_lost_io_uring(mount));
	pthread_t waiter;
	atomic_store(&broken, true);
	assert_int_equal(pthread_create(&waiter, NULL, ask_on_first_processor, fixture), 0);
	struct pollfd poller = { .fd = mount_ended_fd(mount), .events = POLLIN };
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	atomic_store(&broken, false);
	assert_true(mount_lost_io_uring(mount));
	mount_stop(mount);
	void *failed;
	assert_int_equal(pthread_join(waiter, &failed), 0);
	assert_non_null(failed);
	assert_false(is_mounted(fixture->dir));
	options.no_io_uring = true;
	mount = start(fixture, &options);
	assert_false(mount_lost_io_uring(mount));
	use(fixture->dir);
	mount_stop(mount);
}

static void read_ahead_is_set(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .read_ahead_kb = 512 };
	struct mount *mount = start(fixture, &options);
	struct mount_facts facts;
	struct stat status;
	struct err err = ERR_INIT;
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	mount_get_facts(mount, &facts);
	assert_true(facts.read_ahead);
	assert_int_equal(stat(fixture->dir, &status), 0);
	AUTO_FREE char *path = mem_printf("/sys/class/bdi/%u:%u/read_ahead_kb",
					  major(status.st_dev), minor(status.st_dev));
	assert_int_equal(file_read_path(AT_FDCWD, path, 64, &text, &err), RC_OK);
	assert_string_equal(buf_string(&text), "512\n");
	mount_stop(mount);
}

static void a_live_mount_is_busy(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 1 };
	struct mount *mount = start(fixture, &options), *second;
	struct err err = ERR_INIT;
	assert_int_equal(mount_start(fixture->fs, fixture->dir, &options, &second, &err), RC_BUSY);
	assert_null(second);
	expect_file(fixture->dir, "hello", "hello\n", 6);
	mount_stop(mount);
}

static void a_dead_mount_is_replaced(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 1 };
	struct stat status;
	/* A connection whose only descriptor is closed. */
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char data[64];
	snprintf(data, sizeof(data), "fd=%d,rootmode=40555,user_id=0,group_id=0", fd);
	assert_int_equal(mount("dead", fixture->dir, "fuse.castor", 0, data), 0);
	close(fd);
	assert_int_equal(stat(fixture->dir, &status), -1);
	assert_int_equal(errno, ENOTCONN);
	struct mount *mount = start(fixture, &options);
	expect_file(fixture->dir, "hello", "hello\n", 6);
	mount_stop(mount);
	assert_false(is_mounted(fixture->dir));
}

static void end_is_seen(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 0 };
	struct err err = ERR_INIT;
	struct mount *mount = start(fixture, &options);
	struct pollfd poller = { .fd = mount_ended_fd(mount), .events = POLLIN };
	assert_int_equal(poll(&poller, 1, 0), 0);
	assert_int_equal(mount_umount(fixture->dir, &err), RC_OK);
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	mount_stop(mount);
	assert_int_equal(mount_umount(fixture->dir, &err), RC_NOT_FOUND);
}

/* In use by an open file: out of sight at once, and whoever has it gets errors after the end. */
static void stops_while_in_use(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 0 };
	struct mount *mount = start(fixture, &options);
	AUTO_FREE char *path = mem_printf("%s/tree/big", fixture->dir);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	mount_stop(mount);
	assert_false(is_mounted(fixture->dir));
	assert_int_equal(pread(fd, &byte, 1, BIG - 1), -1);
}

/* Aborted under an open file: the kernel keeps the mount, dead; stopping takes it away. */
static void an_aborted_mount_is_removed(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 0 };
	struct mount *mount = start(fixture, &options);
	struct pollfd poller = { .fd = mount_ended_fd(mount), .events = POLLIN };
	AUTO_FREE char *path = mem_printf("%s/tree/big", fixture->dir);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(umount2(fixture->dir, MNT_FORCE), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	assert_true(is_mounted(fixture->dir)); /* by what the kernel remembers of it */
	mount_stop(mount);
	assert_false(is_mounted(fixture->dir));
}

static void only_castor_mounts_are_unmounted(void **state)
{
	struct fixture *fixture = *state;
	struct err err = ERR_INIT;
	assert_int_equal(mount("tmpfs", fixture->dir, "tmpfs", 0, "size=64k"), 0);
	assert_int_equal(mount_umount(fixture->dir, &err), RC_NOT_FOUND);
	assert_true(is_mounted(fixture->dir));
	/* It does not keep castor from being mounted there. */
	struct mount_options options = { .threads = 1 };
	struct mount *mount = start(fixture, &options);
	expect_file(fixture->dir, "hello", "hello\n", 6);
	mount_stop(mount);
	assert_true(is_mounted(fixture->dir));
	assert_int_equal(umount2(fixture->dir, 0), 0);
}

static void needs_a_directory(void **state)
{
	struct fixture *fixture = *state;
	struct mount_options options = { .threads = 1 };
	struct mount *mount;
	struct err err = ERR_INIT;
	assert_int_equal(mount_start(fixture->fs, "/dev/null", &options, &mount, &err),
			 rc_from_errno(ENOTDIR));
	assert_null(mount);
	AUTO_FREE char *path = mem_printf("%s/missing", fixture->dir);
	assert_int_equal(mount_start(fixture->fs, path, &options, &mount, &err), RC_NOT_FOUND);
}

int main(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
		puts("skipped: needs root and /dev/fuse");
		return SKIP;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(serves, setup, teardown),
		cmocka_unit_test_setup_teardown(serves_over_io_uring, setup, teardown),
		cmocka_unit_test_setup_teardown(lost_queue_ends_the_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(read_ahead_is_set, setup, teardown),
		cmocka_unit_test_setup_teardown(a_live_mount_is_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(a_dead_mount_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(end_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(stops_while_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(an_aborted_mount_is_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(only_castor_mounts_are_unmounted, setup, teardown),
		cmocka_unit_test_setup_teardown(needs_a_directory, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
