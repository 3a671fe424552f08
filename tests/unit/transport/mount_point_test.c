/*
 * Mount points of FUSE servers that hang: nothing that castor does to them waits, and nothing that it
 * leaves behind holds a descriptor. Needs root and /dev/fuse, else it is skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fs/fuse_wire.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "transport/mount.h"
#include "transport/mount_point.h"

enum { SKIP = 77, PATIENCE_MS = 20000 };

/* A FUSE server that answers INIT and nothing else, but reads what comes. */
struct hung {
	int fd;
	pthread_t thread;
	atomic_uint requests; /* after INIT, FORGETs and INTERRUPTs aside */
};

struct fixture {
	char dir[64];
	struct hung hung;
};

static void *hung_run(void *arg)
{
	static _Thread_local char buffer[1 << 17];
	struct hung *hung = arg;
	ssize_t got;

	while ((got = read(hung->fd, buffer, sizeof(buffer))) > 0 || errno == EINTR) {
		const struct fuse_in_header *in = (const void *)buffer;
		struct {
			struct fuse_out_header header;
			struct fuse_init_out init;
		} out = { .header = { .len = sizeof(out), .unique = in->unique },
			  .init = { .major = 7, .minor = 31, .max_write = 4096 } };

		if (in->opcode == FUSE_INIT)
			assert_int_equal(write(hung->fd, &out, sizeof(out)), sizeof(out));
		else if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
			 in->opcode != FUSE_INTERRUPT)
			atomic_fetch_add(&hung->requests, 1);
	}
	return NULL;
}

static void hung_start(struct fixture *fixture, const char *type)
{
	struct hung *hung = &fixture->hung;
	char data[96];

	hung->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	assert_true(hung->fd >= 0);
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40555,user_id=0,group_id=0,default_permissions", hung->fd);
	assert_int_equal(mount("hung", fixture->dir, type, MS_RDONLY, data), 0);
	assert_int_equal(pthread_create(&hung->thread, NULL, hung_run, hung), 0);
}

/* Takes every mount away that is there: whoever waits for the server is told, its reader ends. */
static void clear(struct fixture *fixture)
{
	while (umount2(fixture->dir, MNT_FORCE) == 0 || umount2(fixture->dir, MNT_DETACH) == 0)
		;
}

static void hung_end(struct fixture *fixture)
{
	clear(fixture);
	pthread_join(fixture->hung.thread, NULL);
	close(fixture->hung.fd);
}

static int setup(void **state)
{
	struct fixture *fixture = mem_zalloc(sizeof(*fixture));

	snprintf(fixture->dir, sizeof(fixture->dir), "%s", "/tmp/castor-point-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	clear(fixture);
	rmdir(fixture->dir);
	free(fixture);
	return 0;
}

/* What is mounted there; "" for nothing. */
static void expect_type(const char *dir, const char *type)
{
	CLEANUP(mount_point_release) struct mount_point point;
	struct err err = ERR_INIT;

	assert_int_equal(mount_point_look(dir, &point, &err), RC_OK);
	assert_string_equal(point.mount.point ? point.mount.type : "", type);
}

static void looking_sends_no_request(void **state)
{
	struct fixture *fixture = *state;
	CLEANUP(mount_point_release) struct mount_point point;
	struct err err = ERR_INIT;
	AUTO_FREE char *with_slash = mem_printf("%s/", fixture->dir);

	expect_type(fixture->dir, "");
	hung_start(fixture, "fuse.hung");
	assert_int_equal(mount_point_look(with_slash, &point, &err), RC_OK);
	assert_string_equal(point.path, fixture->dir);
	assert_string_equal(point.mount.type, "fuse.hung");
	assert_true(point.directory);
	assert_int_equal(point.minor, point.mount.minor);
	assert_true(mount_point_is_served(point.minor));
	assert_false(mount_point_is_served(point.minor + 100000));
	assert_int_equal(atomic_load(&fixture->hung.requests), 0);
	hung_end(fixture);
}

/* It is asked, does not answer, and is no dead one; the child that asked holds nothing of ours. */
static void one_that_hangs_is_not_dead(void **state)
{
	struct fixture *fixture = *state;
	int ends[2];
	char byte;

	hung_start(fixture, "fuse.hung");
	assert_int_equal(pipe(ends), 0);
	int64_t before = clock_monotonic_ns();
	assert_false(mount_point_is_dead(fixture->dir));
	assert_true(clock_monotonic_ns() - before < PATIENCE_MS * NS_PER_MS);
	assert_int_equal(atomic_load(&fixture->hung.requests), 1);
	/* That child still hangs. */
	int status;
	assert_int_equal(waitpid(-1, &status, WNOHANG), 0);
	close(ends[1]);
	struct pollfd poller = { .fd = ends[0], .events = POLLIN };
	assert_int_equal(poll(&poller, 1, 0), 1);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	hung_end(fixture);
	/* It ends with the server. */
	assert_true(waitpid(-1, &status, 0) > 0);
}

static void a_path_through_one_that_hangs(void **state)
{
	struct fixture *fixture = *state;
	CLEANUP(mount_point_release) struct mount_point point;
	struct err err = ERR_INIT;
	AUTO_FREE char *below = mem_printf("%s/a/b", fixture->dir);

	hung_start(fixture, "fuse.hung");
	int64_t before = clock_monotonic_ns();
	assert_int_equal(mount_point_look(below, &point, &err), RC_DEADLINE);
	assert_true(clock_monotonic_ns() - before < PATIENCE_MS * NS_PER_MS);
	hung_end(fixture);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* ---- Whole mounts ---- */

static struct fs *make_fs(void)
{
	struct err err = ERR_INIT;
	struct blob_service *blobs = blob_memory_new();
	struct directory_service *directories = directory_memory_new();
	const struct node node = { .kind = NODE_SYMLINK,
				   .name = view_of_string("link"),
				   .target = view_of_string("target") };
	struct fs_options options = { .deadline_ns = 0 };
	struct roots *roots;
	struct fs *fs;

	assert_int_equal(roots_list_new(&node, 1, &roots, &err), RC_OK);
	assert_int_equal(fs_new(blobs, directories, roots, &options, &fs, &err), RC_OK);
	blob_service_unref(blobs);
	directory_service_unref(directories);
	return fs;
}

static struct mount *start(struct fs *fs, const char *dir)
{
	const struct mount_options options = { .threads = 1, .no_io_uring = true };
	struct mount *mount;
	struct err err = ERR_INIT;

	if (mount_start(fs, dir, &options, &mount, &err) != RC_OK)
		fail_msg("%s", err.message);
	return mount;
}

static void a_mount_over_one_that_hangs_is_refused(void **state)
{
	struct fixture *fixture = *state;
	const struct mount_options options = { .threads = 1 };
	struct fs *fs = make_fs();
	struct mount *mount;
	struct err err = ERR_INIT;

	hung_start(fixture, "fuse.castor");
	assert_int_equal(mount_start(fs, fixture->dir, &options, &mount, &err), RC_BUSY);
	assert_null(mount);
	/* It is not even asked. */
	assert_int_equal(atomic_load(&fixture->hung.requests), 0);
	expect_type(fixture->dir, "fuse.castor");
	assert_int_equal(mount_umount(fixture->dir, &err), RC_OK);
	expect_type(fixture->dir, "");
	hung_end(fixture);
	fs_free(fs);
}

/* A mount that has been unmounted is stopped when another castor's lies at its place, under the same
 * numbers. */
static void another_mount_at_its_place_stays(void **state)
{
	struct fixture *fixture = *state;
	struct fs *fs = make_fs();
	struct err err = ERR_INIT;
	struct mount *mount = start(fs, fixture->dir);
	struct pollfd poller = { .fd = mount_ended_fd(mount), .events = POLLIN };

	assert_int_equal(mount_umount(fixture->dir, &err), RC_OK);
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	hung_start(fixture, "fuse.castor");
	mount_stop(mount);
	expect_type(fixture->dir, "fuse.castor");
	hung_end(fixture);
	while (waitpid(-1, NULL, 0) > 0)
		;
	fs_free(fs);
}

/* Nor is one that was mounted over it. */
static void a_mount_on_top_stays(void **state)
{
	struct fixture *fixture = *state;
	struct fs *fs = make_fs();
	struct mount *ours = start(fs, fixture->dir);

	assert_int_equal(mount("tmpfs", fixture->dir, "tmpfs", 0, "size=64k"), 0);
	mount_stop(ours);
	expect_type(fixture->dir, "tmpfs");
	assert_int_equal(umount2(fixture->dir, 0), 0);
	/* What lay below is dead, and replaced by the next. */
	expect_type(fixture->dir, "fuse.castor");
	assert_true(mount_point_is_dead(fixture->dir));
	ours = start(fs, fixture->dir);
	mount_stop(ours);
	expect_type(fixture->dir, "");
	fs_free(fs);
}

int main(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
		puts("skipped: needs root and /dev/fuse");
		return SKIP;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(looking_sends_no_request, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_hangs_is_not_dead, setup, teardown),
		cmocka_unit_test_setup_teardown(a_path_through_one_that_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mount_over_one_that_hangs_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(another_mount_at_its_place_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mount_on_top_stays, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
