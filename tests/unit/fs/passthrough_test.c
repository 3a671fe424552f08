/* Opens that are answered: backing ids, one for all opens of an inode. */
#include "unit/fs/fake.h"

#include <errno.h>
#include <fcntl.h>

#include "service/blob/files.h"

struct opened {
	int error;
	struct fuse_open_out out;
};

static struct opened open_file(struct fake *fake, uint64_t nodeid)
{
	AUTO_CALL struct fake_call call;
	struct fuse_open_in open = { .flags = O_RDONLY };
	struct opened opened = { 0 };

	opened.error = fake_ask(fake, &call, FUSE_OPEN, nodeid, &open, sizeof(open));
	if (!opened.error)
		memcpy(&opened.out, call.out.ptr, sizeof(opened.out));
	return opened;
}

static void release_file(struct fake *fake, uint64_t nodeid)
{
	AUTO_CALL struct fake_call call;
	struct fuse_release_in release = { 0 };

	assert_int_equal(fake_ask(fake, &call, FUSE_RELEASE, nodeid, &release, sizeof(release)), 0);
}

struct setup {
	char *dir;
	struct fake_store store;
	struct fake *fake;
	uint64_t a, b;
};

static void set_up(struct setup *setup)
{
	struct fs_options options = { .passthrough = true };
	struct fs_session_features features;
	struct err err = ERR_INIT;
	struct node nodes[2];

	setup->dir = testing_dir();
	setup->store.directories = directory_memory_new();
	assert_ok(blob_files_open(setup->dir, &setup->store.blobs, &err), &err);
	nodes[0] = fake_file(&setup->store, "a", "raw file", 8, false);
	nodes[1] = fake_file(&setup->store, "b", "another", 7, true);
	setup->fake = fake_open_nodes(&setup->store, nodes, 2, &options);
	fs_session_get_features(setup->fake->session, &features);
	assert_true(features.passthrough);
	setup->a = fake_find(setup->fake, 1, "a");
	setup->b = fake_find(setup->fake, 1, "b");
}

static void tear_down(struct setup *setup)
{
	fake_close(setup->fake);
	fake_store_close(&setup->store);
	testing_dir_cleanup(&setup->dir);
}

static void one_id_for_an_inode(void **state)
{
	struct setup setup;
	struct opened first, second, other, again;

	(void)state;
	set_up(&setup);
	first = open_file(setup.fake, setup.a);
	second = open_file(setup.fake, setup.a);
	other = open_file(setup.fake, setup.b);
	assert_int_equal(first.error, 0);
	assert_true(first.out.open_flags & FOPEN_PASSTHROUGH);
	assert_int_equal(first.out.backing_id, second.out.backing_id);
	assert_int_not_equal(first.out.backing_id, other.out.backing_id);
	assert_int_equal(setup.fake->backings, 2);
	release_file(setup.fake, setup.a);
	assert_int_equal(setup.fake->backings, 2);
	release_file(setup.fake, setup.a);
	assert_int_equal(setup.fake->backings, 1);
	/* One release too many changes nothing. */
	release_file(setup.fake, setup.a);
	assert_int_equal(setup.fake->backings, 1);
	again = open_file(setup.fake, setup.a);
	assert_int_not_equal(again.out.backing_id, first.out.backing_id);
	/* What is still open is closed with the session: fake_backing_close counts. */
	assert_int_equal(setup.fake->backings, 2);
	tear_down(&setup);
}

/* ELOOP and EPERM: castor reads the file itself, and stays with that while it is open. */
static void refused_by_the_kernel(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct setup setup;
	struct opened opened;

	(void)state;
	set_up(&setup);
	setup.fake->backing_result = -ELOOP;
	opened = open_file(setup.fake, setup.a);
	assert_int_equal(opened.error, 0);
	assert_int_equal(opened.out.open_flags, FOPEN_KEEP_CACHE | FOPEN_NOFLUSH);
	setup.fake->backing_result = 0;
	opened = open_file(setup.fake, setup.a);
	assert_int_equal(opened.out.open_flags, FOPEN_KEEP_CACHE | FOPEN_NOFLUSH);
	assert_int_equal(fake_read(setup.fake, FUSE_READ, setup.a, 0, 100, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("raw file"));
	release_file(setup.fake, setup.a);
	release_file(setup.fake, setup.a);
	opened = open_file(setup.fake, setup.a);
	assert_true(opened.out.open_flags & FOPEN_PASSTHROUGH);
	tear_down(&setup);
}

static void what_cannot_be_opened(void **state)
{
	struct setup setup;

	(void)state;
	set_up(&setup);
	assert_int_equal(open_file(setup.fake, 1).error, -EISDIR);
	assert_int_equal(open_file(setup.fake, 999).error, -ESTALE);
	tear_down(&setup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_id_for_an_inode),
		cmocka_unit_test(refused_by_the_kernel),
		cmocka_unit_test(what_cannot_be_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
