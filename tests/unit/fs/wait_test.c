/* Services that hang under a mount: who waits, who does not, and what an interrupt does. */
#include "unit/fs/fake.h"

#include <errno.h>

#include "base/clock.h"
#include "base/pool.h"
#include "double/double.h"

enum { HANGING = 64 };

struct remote {
	struct fake_store inner, store;
	struct double_plan plan;
	struct fake *fake;
	uint64_t near, far_file, far_directory;
};

/* /near (its directory is known), /far/file behind services that the plan can stop */
static void open_remote(struct remote *remote, const struct fs_options *options)
{
	struct directory *directory;
	struct node top[2], below;

	memset(remote, 0, sizeof(*remote));
	fake_store_open(&remote->inner);
	remote->store.blobs = double_blob_new(remote->inner.blobs, &remote->plan);
	remote->store.directories = double_directory_new(remote->inner.directories, &remote->plan);
	below = fake_file(&remote->inner, "file", "far away", 8, false);
	top[0] = fake_file(&remote->inner, "near", "near by", 7, false);
	top[1] = fake_directory("far", &below, 1, &directory);
	fake_store_put(&remote->inner, &directory, 1);
	directory_unref(directory);
	remote->fake = fake_open_nodes(&remote->store, top, 2, options);
	remote->near = fake_find(remote->fake, 1, "near");
	remote->far_directory = fake_find(remote->fake, 1, "far");
}

static void close_remote(struct remote *remote)
{
	fake_close(remote->fake);
	fake_store_close(&remote->store);
	fake_store_close(&remote->inner);
}

static void send_lookup(struct remote *remote, struct fake_call *call)
{
	fake_send(remote->fake, call, FUSE_LOOKUP, remote->far_directory, view_of("file\0", 5));
}

static void interrupt(struct fake *fake, uint64_t unique)
{
	AUTO_CALL struct fake_call call;
	struct fuse_interrupt_in interrupt = { .unique = unique };

	fake_send(fake, &call, FUSE_INTERRUPT, 0, view_of(&interrupt, sizeof(interrupt)));
	assert_true(fake_wait(&call));
	assert_false(call.replied);
}

static void cached_file_reads_while_lookups_hang(void **state)
{
	static struct fake_call calls[HANGING];
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct remote remote;
	int64_t before;

	(void)state;
	open_remote(&remote, NULL);
	/* Into the chunk cache, which keeps what the kernel has not got whole. */
	assert_int_equal(fake_read(remote.fake, FUSE_READ, remote.near, 0, 4, &got), 0);
	atomic_store(&remote.plan.where, DOUBLE_READ);
	atomic_store(&remote.plan.hang, true);
	for (int i = 0; i < HANGING; i++)
		send_lookup(&remote, &calls[i]);
	assert_true(double_plan_wait_hanging(&remote.plan, HANGING));
	buf_clear(&got);
	before = clock_monotonic_ns();
	assert_int_equal(fake_read(remote.fake, FUSE_READ, remote.near, 0, 100, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("near by"));
	assert_true(clock_monotonic_ns() - before < 2 * NS_PER_S);
	atomic_store(&remote.plan.hang, false);
	for (int i = 0; i < HANGING; i++) {
		assert_true(fake_wait(&calls[i]));
		assert_int_equal(calls[i].error, 0);
		fake_call_release(&calls[i]);
	}
	close_remote(&remote);
}

static void interrupt_ends_the_waiting_reader(void **state)
{
	struct remote remote;
	struct fake_call call;

	(void)state;
	open_remote(&remote, NULL);
	atomic_store(&remote.plan.hang, true);
	send_lookup(&remote, &call);
	assert_true(double_plan_wait_hanging(&remote.plan, 1));
	interrupt(remote.fake, call.request.unique);
	assert_true(fake_wait(&call));
	assert_int_equal(call.error, -EINTR);
	fake_call_release(&call);
	/* One that comes before its request counts as well. */
	interrupt(remote.fake, atomic_load(&remote.fake->unique) + 4);
	send_lookup(&remote, &call);
	assert_true(fake_wait(&call));
	assert_int_equal(call.error, -EINTR);
	fake_call_release(&call);
	/* And one that nobody waits for any more is ignored. */
	interrupt(remote.fake, 2);
	close_remote(&remote);
}

static void interrupt_of_a_queued_request(void **state)
{
	struct fs_options options = { .pool_threads = 2 };
	struct fake_call calls[4];
	struct remote remote;

	(void)state;
	open_remote(&remote, &options);
	atomic_store(&remote.plan.hang, true);
	for (int i = 0; i < 4; i++)
		send_lookup(&remote, &calls[i]);
	assert_true(double_plan_wait_hanging(&remote.plan, 2));
	interrupt(remote.fake, calls[3].request.unique);
	assert_true(fake_wait(&calls[3]));
	assert_int_equal(calls[3].error, -EINTR);
	interrupt(remote.fake, calls[0].request.unique);
	assert_true(fake_wait(&calls[0]));
	/* Its thread takes the one that still waits. */
	assert_true(double_plan_wait_hanging(&remote.plan, 2));
	atomic_store(&remote.plan.hang, false);
	for (int i = 0; i < 4; i++) {
		assert_true(fake_wait(&calls[i]));
		fake_call_release(&calls[i]);
	}
	close_remote(&remote);
}

static void deadline_passes(void **state)
{
	struct fs_options options = { .deadline_ns = 200 * NS_PER_MS };
	struct remote remote;
	struct fake_call call;

	(void)state;
	open_remote(&remote, &options);
	atomic_store(&remote.plan.hang, true);
	send_lookup(&remote, &call);
	assert_true(fake_wait(&call));
	assert_int_equal(call.error, -ETIMEDOUT);
	fake_call_release(&call);
	atomic_store(&remote.plan.hang, false);
	/* It was no proof that something is missing. */
	fake_find(remote.fake, remote.far_directory, "file");
	close_remote(&remote);
}

/* Many readers of one chunk that is being fetched: one call, and all get it. */
static void one_fetch_for_many_readers(void **state)
{
	static struct fake_call calls[16];
	struct fuse_read_in read = { .size = 100 };
	struct remote remote;

	(void)state;
	open_remote(&remote, NULL);
	atomic_store(&remote.plan.where, DOUBLE_READ);
	atomic_store(&remote.plan.hang, true);
	for (int i = 0; i < 16; i++)
		fake_send(remote.fake, &calls[i], FUSE_READ, remote.near,
			  view_of(&read, sizeof(read)));
	assert_true(double_plan_wait_hanging(&remote.plan, 1));
	clock_sleep_ns(100 * NS_PER_MS);
	/* The one who fetches gives up: another goes on. */
	for (int i = 0; i < 4; i++)
		interrupt(remote.fake, calls[i].request.unique);
	for (int i = 0; i < 4; i++) {
		assert_true(fake_wait(&calls[i]));
		assert_int_equal(calls[i].error, -EINTR);
	}
	clock_sleep_ns(100 * NS_PER_MS);
	atomic_store(&remote.plan.hang, false);
	for (int i = 4; i < 16; i++) {
		assert_true(fake_wait(&calls[i]));
		assert_int_equal(calls[i].error, 0);
		assert_view_equal(buf_view(&calls[i].out), view_of_string("near by"));
	}
	for (int i = 0; i < 16; i++)
		fake_call_release(&calls[i]);
	assert_true(atomic_load(&remote.plan.calls) <= 5);
	close_remote(&remote);
}

static void failures_and_damage(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct remote remote;
	struct fuse_entry_out entry;

	(void)state;
	open_remote(&remote, NULL);
	atomic_store(&remote.plan.rc, RC_UNAVAILABLE);
	assert_int_equal(
		fake_lookup(remote.fake, remote.far_directory, view_of_string("file"), &entry),
		-EIO);
	assert_int_equal(fake_read(remote.fake, FUSE_READ, remote.near, 0, 100, &got), -EIO);
	atomic_store(&remote.plan.rc, RC_OK);
	atomic_store(&remote.plan.corrupt, true);
	assert_int_equal(fake_read(remote.fake, FUSE_READ, remote.near, 0, 100, &got), -EIO);
	assert_int_equal(
		fake_lookup(remote.fake, remote.far_directory, view_of_string("file"), &entry),
		-EIO);
	atomic_store(&remote.plan.corrupt, false);
	/* Nothing of it was kept. */
	assert_int_equal(fake_read(remote.fake, FUSE_READ, remote.near, 0, 100, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("near by"));
	fake_find(remote.fake, remote.far_directory, "file");
	close_remote(&remote);
}

static void end_with_requests_under_way(void **state)
{
	struct fs_options options = { .pool_threads = 2 };
	struct fake_call calls[5];
	struct remote remote;

	(void)state;
	open_remote(&remote, &options);
	atomic_store(&remote.plan.hang, true);
	for (int i = 0; i < 5; i++)
		send_lookup(&remote, &calls[i]);
	assert_true(double_plan_wait_hanging(&remote.plan, 2));
	fs_session_cancel_all(remote.fake->session);
	for (int i = 0; i < 5; i++) {
		assert_true(fake_wait(&calls[i]));
		assert_int_equal(calls[i].error, -EINTR);
		fake_call_release(&calls[i]);
	}
	/* What comes after the end is ended at once. */
	send_lookup(&remote, &calls[0]);
	assert_true(fake_wait(&calls[0]));
	assert_int_equal(calls[0].error, -EINTR);
	fake_call_release(&calls[0]);
	close_remote(&remote);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cached_file_reads_while_lookups_hang),
		cmocka_unit_test(interrupt_ends_the_waiting_reader),
		cmocka_unit_test(interrupt_of_a_queued_request),
		cmocka_unit_test(deadline_passes),
		cmocka_unit_test(one_fetch_for_many_readers),
		cmocka_unit_test(failures_and_damage),
		cmocka_unit_test(end_with_requests_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
