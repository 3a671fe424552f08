/* A session by its wire: negotiation, every opcode with good and bad sizes, refusals, interrupts.
 */
#include "unit/fs/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "double/double.h"

/* /readme, /tool (executable), /link → readme, /dir/inner */
static struct fake *open_small(struct fake_store *store, const struct fs_options *options)
{
	struct node inner[1], top[4];
	struct directory *directory;
	struct fake *fake;

	fake_store_open(store);
	inner[0] = fake_file(store, "inner", "inside", 6, false);
	top[0] = fake_file(store, "readme", "hello, world", 12, false);
	top[1] = fake_file(store, "tool", "hello, world", 12, true);
	top[2] = fake_symlink("link", "readme");
	top[3] = fake_directory("dir", inner, 1, &directory);
	fake_store_put(store, &directory, 1);
	fake = fake_open_nodes(store, top, 4, options);
	directory_unref(directory);
	return fake;
}

static void close_small(struct fake *fake, struct fake_store *store)
{
	fake_close(fake);
	fake_store_close(store);
}

static void init_negotiates(void **state)
{
	struct fs_transport_ops fake_checked_ops;
	struct fs_session_features features;
	struct fake_store store;
	struct fuse_init_out out;
	struct fake *fake = open_small(&store, NULL);

	(void)state;
	fs_session_get_features(fake->session, &features);
	assert_true(features.initialised);
	assert_false(features.passthrough);
	assert_false(features.io_uring);
	assert_int_equal(features.max_pages, 256);

	/* Nothing that was not offered is agreed. */
	fake_init(fake, FUSE_DO_READDIRPLUS, &out);
	assert_int_equal(out.major, 7);
	assert_int_equal(out.flags, FUSE_DO_READDIRPLUS);
	assert_int_equal(out.flags2, 0);
	fs_session_get_features(fake->session, &features);
	assert_int_equal(features.max_pages, 32);

	fake_init(fake, FUSE_INIT_EXT | FUSE_PASSTHROUGH | FUSE_NO_OPEN_SUPPORT, &out);
	assert_true(out.flags & FUSE_NO_OPEN_SUPPORT);

	/* id-mapped mounts only where the kernel checks permissions itself. */
	fake_init(fake, FUSE_INIT_EXT | FUSE_ALLOW_IDMAP, &out);
	assert_int_equal(out.flags2, 0);
	fake_checked_ops = fake_ops;
	fake_checked_ops.default_permissions = true;
	fs_session_free(fake->session);
	fake->session = fs_session_new(fake->fs, &fake_checked_ops, fake);
	fake_init(fake, FUSE_INIT_EXT | FUSE_ALLOW_IDMAP, &out);
	assert_int_equal(out.flags2, FUSE_ALLOW_IDMAP >> 32);
	fake_init(fake, FUSE_INIT_EXT, &out);
	assert_int_equal(out.flags2, 0);
	close_small(fake, &store);
}

static void init_of_other_versions(void **state)
{
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	struct fuse_init_in init = { .major = 8, .minor = 3 };
	AUTO_CALL struct fake_call newer;
	AUTO_CALL struct fake_call older;
	AUTO_CALL struct fake_call short_one;
	AUTO_CALL struct fake_call too_short;

	(void)state;
	assert_int_equal(fake_ask(fake, &newer, FUSE_INIT, 0, &init, sizeof(init)), 0);
	assert_int_equal(((struct fuse_init_out *)(void *)newer.out.ptr)->major, 7);
	init.major = 6;
	assert_int_equal(fake_ask(fake, &older, FUSE_INIT, 0, &init, sizeof(init)), -EPROTO);
	/* Before 7.36 the request has 16 bytes. */
	init.major = 7;
	init.minor = 31;
	assert_int_equal(fake_ask(fake, &short_one, FUSE_INIT, 0, &init, 16), 0);
	assert_int_equal(fake_ask(fake, &too_short, FUSE_INIT, 0, &init, 15), -EINVAL);
	close_small(fake, &store);
}

static void nothing_before_init_nor_after_destroy(void **state)
{
	struct fs_session_features features;
	struct fake_store store;
	struct fuse_attr_out attr;
	struct fuse_init_out out;
	struct fake *fake = open_small(&store, NULL);
	AUTO_CALL struct fake_call destroy;
	uint64_t nodeid = fake_find(fake, FUSE_ROOT_ID, "dir");

	(void)state;
	assert_int_equal(fake_getattr(fake, nodeid, &attr), 0);
	assert_int_equal(fake_ask(fake, &destroy, FUSE_DESTROY, 0, NULL, 0), 0);
	fs_session_get_features(fake->session, &features);
	assert_true(features.destroyed);
	assert_int_equal(fake_getattr(fake, FUSE_ROOT_ID, &attr), -EIO);
	fake_forget(fake, nodeid, 1);
	/* A guest may start again; it knows no inode then. */
	fake_init(fake, UINT64_MAX, &out);
	assert_int_equal(fake_getattr(fake, FUSE_ROOT_ID, &attr), 0);
	assert_int_equal(fake_getattr(fake, nodeid, &attr), -ESTALE);
	close_small(fake, &store);
}

static void attributes(void **state)
{
	struct fuse_entry_out readme, tool, link, dir, none;
	struct fuse_attr_out root;
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);

	(void)state;
	assert_int_equal(fake_lookup(fake, 1, view_of_string("readme"), &readme), 0);
	assert_int_equal(fake_lookup(fake, 1, view_of_string("tool"), &tool), 0);
	assert_int_equal(fake_lookup(fake, 1, view_of_string("link"), &link), 0);
	assert_int_equal(fake_lookup(fake, 1, view_of_string("dir"), &dir), 0);
	assert_int_equal(readme.attr.mode, S_IFREG | 0444);
	assert_int_equal(tool.attr.mode, S_IFREG | 0555);
	assert_int_equal(link.attr.mode, S_IFLNK | 0444);
	assert_int_equal(dir.attr.mode, S_IFDIR | 0555);
	assert_int_equal(readme.attr.size, 12);
	assert_int_equal(readme.attr.blocks, 8);
	assert_int_equal(link.attr.size, 6);
	assert_int_equal(readme.attr.mtime, 1);
	assert_int_equal(readme.attr.nlink, 1);
	assert_int_equal(readme.entry_valid, 0xffffffff);
	assert_int_not_equal(readme.nodeid, tool.nodeid);
	assert_int_not_equal(readme.attr.ino, tool.attr.ino);
	/* A fixed root: what is not there never will be. */
	assert_int_equal(fake_lookup(fake, 1, view_of_string("nothing"), &none), 0);
	assert_int_equal(none.nodeid, 0);
	assert_int_equal(none.entry_valid, 0xffffffff);
	assert_int_equal(fake_getattr(fake, 1, &root), 0);
	assert_int_equal(root.attr.mode, S_IFDIR | 0555);
	assert_int_equal(root.attr.ino, 1);
	assert_int_equal(root.attr.blocks, 8);
	assert_int_equal(root.attr.mtime, 1);
	assert_int_equal(fake_lookup(fake, readme.nodeid, view_of_string("x"), &none), -ENOTDIR);
	assert_int_equal(fake_lookup(fake, 4711, view_of_string("x"), &none), -ESTALE);
	close_small(fake, &store);
}

static void lookup_of_bad_names(void **state)
{
	struct fake_store store;
	struct fuse_entry_out entry;
	struct fake *fake = open_small(&store, NULL);
	uint64_t dir = fake_find(fake, 1, "dir");
	char longest[300];
	AUTO_CALL struct fake_call unended;
	AUTO_CALL struct fake_call empty;

	(void)state;
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(fake_lookup(fake, dir, view_of(longest, 255), &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(fake_lookup(fake, dir, view_of(longest, 256), &entry), -ENAMETOOLONG);
	assert_int_equal(fake_ask(fake, &unended, FUSE_LOOKUP, dir, "inner", 5), -EINVAL);
	assert_int_equal(fake_ask(fake, &empty, FUSE_LOOKUP, dir, "\0\0", 2), -EINVAL);
	close_small(fake, &store);
}

/* What each opcode says to a body of the right size for a file, and to one byte less. */
static void sizes(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t size;
		int error;
	} cases[] = {
		{ FUSE_GETATTR, sizeof(struct fuse_getattr_in), 0 },
		{ FUSE_STATX, sizeof(struct fuse_statx_in), 0 },
		{ FUSE_ACCESS, sizeof(struct fuse_access_in), 0 },
		{ FUSE_OPEN, sizeof(struct fuse_open_in), -ENOSYS },
		{ FUSE_OPENDIR, sizeof(struct fuse_open_in), -ENOTDIR },
		{ FUSE_READ, sizeof(struct fuse_read_in), 0 },
		{ FUSE_READDIR, sizeof(struct fuse_read_in), -ENOTDIR },
		{ FUSE_READDIRPLUS, sizeof(struct fuse_read_in), -ENOTDIR },
		{ FUSE_RELEASE, sizeof(struct fuse_release_in), 0 },
		{ FUSE_LSEEK, sizeof(struct fuse_lseek_in), -EINVAL },
		{ FUSE_POLL, sizeof(struct fuse_poll_in), 0 },
		{ FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), -ENOSYS },
		{ FUSE_GETXATTR, sizeof(struct fuse_getxattr_in) + 2, -ENOSYS },
	};
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	uint64_t nodeid = fake_find(fake, 1, "readme");
	uint8_t zeros[512] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_CALL struct fake_call right;
		AUTO_CALL struct fake_call less;
		AUTO_CALL struct fake_call more;

		print_message("opcode %u\n", cases[i].opcode);
		assert_int_equal(
			fake_ask(fake, &right, cases[i].opcode, nodeid, zeros, cases[i].size),
			cases[i].error);
		assert_int_equal(
			fake_ask(fake, &less, cases[i].opcode, nodeid, zeros, cases[i].size - 1),
			-EINVAL);
		assert_int_equal(
			fake_ask(fake, &more, cases[i].opcode, nodeid, zeros, sizeof(zeros)),
			cases[i].error);
	}
	close_small(fake, &store);
}

static void writing_is_refused(void **state)
{
	static const uint32_t writing[] = {
		FUSE_SETATTR,
		FUSE_SYMLINK,
		FUSE_MKNOD,
		FUSE_MKDIR,
		FUSE_UNLINK,
		FUSE_RMDIR,
		FUSE_RENAME,
		FUSE_RENAME2,
		FUSE_LINK,
		FUSE_WRITE,
		FUSE_SETXATTR,
		FUSE_REMOVEXATTR,
		FUSE_CREATE,
		FUSE_TMPFILE,
		FUSE_FALLOCATE,
		FUSE_COPY_FILE_RANGE,
		FUSE_COPY_FILE_RANGE_64,
	};
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	uint64_t nodeid = fake_find(fake, 1, "readme");
	uint8_t zeros[128] = { 0 };
	struct fuse_open_in open = { .flags = O_RDWR };
	struct fuse_access_in access = { .mask = W_OK };
	AUTO_CALL struct fake_call opened;
	AUTO_CALL struct fake_call accessed;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(writing); i++) {
		AUTO_CALL struct fake_call call;

		assert_int_equal(fake_ask(fake, &call, writing[i], nodeid, zeros, sizeof(zeros)),
				 -EROFS);
	}
	assert_int_equal(fake_ask(fake, &opened, FUSE_OPEN, nodeid, &open, sizeof(open)), -EROFS);
	assert_int_equal(fake_ask(fake, &accessed, FUSE_ACCESS, nodeid, &access, sizeof(access)),
			 -EROFS);
	close_small(fake, &store);
}

static void unknown_opcodes(void **state)
{
	static const uint32_t unknown[] = { 0,          7,          54,         1000,
					    4096,       UINT32_MAX, FUSE_IOCTL, FUSE_BMAP,
					    FUSE_GETLK, FUSE_FLUSH };
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	uint8_t zeros[128] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		AUTO_CALL struct fake_call call;

		assert_int_equal(fake_ask(fake, &call, unknown[i], 1, zeros, sizeof(zeros)),
				 -ENOSYS);
	}
	close_small(fake, &store);
}

static void lying_headers(void **state)
{
	static const uint32_t lengths[] = { 0, 39, 57, 4096, UINT32_MAX };
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	struct fuse_getattr_in get = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		AUTO_CALL struct fake_call call;

		fake_fill(fake, &call, FUSE_GETATTR, 1, view_of(&get, sizeof(get)));
		memcpy(call.in.ptr, &lengths[i], sizeof(lengths[i]));
		fake_send_raw(fake, &call);
		assert_true(fake_wait(&call));
		assert_int_equal(call.error, -EINVAL);
	}
	/* Too short for a header: nobody to reply to. */
	for (size_t len = 0; len < sizeof(struct fuse_in_header); len++) {
		AUTO_CALL struct fake_call call;

		fake_fill(fake, &call, FUSE_GETATTR, 1, view_of(&get, sizeof(get)));
		call.in.len = len;
		fake_send_raw(fake, &call);
		assert_true(fake_wait(&call));
		assert_false(call.replied);
	}
	close_small(fake, &store);
}

static void reading(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	uint64_t nodeid = fake_find(fake, 1, "readme");

	(void)state;
	for (uint64_t offset = 0; offset < 14; offset++) {
		for (uint32_t size = 0; size < 14; size++) {
			size_t left = offset < 12 ? 12 - offset : 0;

			buf_clear(&got);
			assert_int_equal(fake_read(fake, FUSE_READ, nodeid, offset, size, &got), 0);
			assert_view_equal(buf_view(&got),
					  view_of(&"hello, world"[offset < 12 ? offset : 0],
						  left < size ? left : size));
		}
	}
	buf_clear(&got);
	assert_int_equal(fake_read(fake, FUSE_READ, nodeid, UINT64_MAX, UINT32_MAX, &got), 0);
	assert_int_equal(got.len, 0);
	assert_int_equal(fake_read(fake, FUSE_READ, 1, 0, 10, &got), -EISDIR);
	assert_int_equal(fake_read(fake, FUSE_READ, 999, 0, 10, &got), -ESTALE);
	assert_int_equal(fake_read(fake, FUSE_READ, fake_find(fake, 1, "link"), 0, 10, &got),
			 -EINVAL);
	close_small(fake, &store);
}

static void links(void **state)
{
	struct fake_store store;
	struct node link = fake_symlink("inner-link", "../up");
	struct directory *directory;
	struct node top[2];
	struct fake *fake;
	AUTO_CALL struct fake_call at_root;
	AUTO_CALL struct fake_call below;
	AUTO_CALL struct fake_call no_link;

	(void)state;
	fake_store_open(&store);
	top[0] = fake_directory("dir", &link, 1, &directory);
	top[1] = fake_symlink("link", "dir/inner-link");
	fake_store_put(&store, &directory, 1);
	fake = fake_open_nodes(&store, top, 2, NULL);
	directory_unref(directory);
	assert_int_equal(
		fake_ask(fake, &at_root, FUSE_READLINK, fake_find(fake, 1, "link"), NULL, 0), 0);
	assert_view_equal(buf_view(&at_root.out), view_of_string("dir/inner-link"));
	assert_int_equal(fake_ask(fake, &below, FUSE_READLINK,
				  fake_find(fake, fake_find(fake, 1, "dir"), "inner-link"), NULL,
				  0),
			 0);
	assert_view_equal(buf_view(&below.out), view_of_string("../up"));
	assert_int_equal(fake_ask(fake, &no_link, FUSE_READLINK, 1, NULL, 0), -EINVAL);
	close_small(fake, &store);
}

static void xattrs(void **state)
{
	struct fs_options options = { .show_xattr = true };
	struct fake_store store;
	struct fake *fake = open_small(&store, &options);
	uint64_t nodeid = fake_find(fake, 1, "readme");
	struct digest digest = digest_of(view_of_string("hello, world"));
	char hex[DIGEST_HEX_MAX];
	const char *names[] = { "user.castor.blob.digest", "user.castor.directory.digest" };

	(void)state;
	digest_hex(&digest, hex);
	for (uint32_t size = 0; size < 100; size++) {
		CLEANUP(buf_release) struct buf body = BUF_INIT;
		struct fuse_getxattr_in get = { .size = size };
		AUTO_CALL struct fake_call call;
		AUTO_CALL struct fake_call list;
		AUTO_CALL struct fake_call other;
		int error;

		buf_append(&body, &get, sizeof(get));
		buf_append_string(&body, names[0]);
		buf_append_byte(&body, 0);
		error = fake_ask(fake, &call, FUSE_GETXATTR, nodeid, body.ptr, body.len);
		if (size == 0)
			assert_int_equal(*(uint32_t *)(void *)call.out.ptr, 64);
		else if (size < 64)
			assert_int_equal(error, -ERANGE);
		else
			assert_view_equal(buf_view(&call.out), view_of_string(hex));

		error = fake_ask(fake, &list, FUSE_LISTXATTR, nodeid, &get, sizeof(get));
		if (size == 0)
			assert_int_equal(*(uint32_t *)(void *)list.out.ptr, 24);
		else if (size < 24)
			assert_int_equal(error, -ERANGE);
		else
			assert_view_equal(buf_view(&list.out), view_of(names[0], 24));

		body.len = sizeof(get);
		buf_append_string(&body, names[1]);
		buf_append_byte(&body, 0);
		assert_int_equal(fake_ask(fake, &other, FUSE_GETXATTR, nodeid, body.ptr, body.len),
				 -ENODATA);
	}
	close_small(fake, &store);
}

static void seek_poll_statfs(void **state)
{
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	uint64_t nodeid = fake_find(fake, 1, "readme");
	struct fuse_lseek_in seek = { .offset = 3, .whence = SEEK_DATA };
	struct fuse_poll_in poll = { .events = POLLIN | POLLPRI };
	AUTO_CALL struct fake_call data;
	AUTO_CALL struct fake_call hole;
	AUTO_CALL struct fake_call past;
	AUTO_CALL struct fake_call polled;
	AUTO_CALL struct fake_call statfs;

	(void)state;
	assert_int_equal(fake_ask(fake, &data, FUSE_LSEEK, nodeid, &seek, sizeof(seek)), 0);
	assert_int_equal(*(uint64_t *)(void *)data.out.ptr, 3);
	seek.whence = SEEK_HOLE;
	assert_int_equal(fake_ask(fake, &hole, FUSE_LSEEK, nodeid, &seek, sizeof(seek)), 0);
	assert_int_equal(*(uint64_t *)(void *)hole.out.ptr, 12);
	seek.offset = 12;
	assert_int_equal(fake_ask(fake, &past, FUSE_LSEEK, nodeid, &seek, sizeof(seek)), -ENXIO);
	assert_int_equal(fake_ask(fake, &polled, FUSE_POLL, nodeid, &poll, sizeof(poll)), 0);
	assert_int_equal(*(uint32_t *)(void *)polled.out.ptr, POLLIN);
	assert_int_equal(fake_ask(fake, &statfs, FUSE_STATFS, 1, NULL, 0), 0);
	assert_int_equal(statfs.out.len, sizeof(struct fuse_kstatfs));
	close_small(fake, &store);
}

/* A kernel that starts again knows nothing, and what it was told before is nobody's. */
static void init_again_drops_nodeids(void **state)
{
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	struct fuse_attr_out attr;
	struct fuse_init_out out;
	struct fs_stats stats;
	uint64_t dir = fake_find(fake, 1, "dir");
	uint64_t inner = fake_find(fake, dir, "inner");
	uint64_t again;

	(void)state;
	assert_int_equal(fake_getattr(fake, inner, &attr), 0);
	fake_init(fake, UINT64_MAX, &out);
	fs_get_stats(fake->fs, &stats);
	assert_int_equal(stats.inodes, 0);
	assert_int_equal(fake_getattr(fake, dir, &attr), -ESTALE);
	assert_int_equal(fake_getattr(fake, inner, &attr), -ESTALE);
	assert_int_equal(fake_getattr(fake, 1, &attr), 0);
	again = fake_find(fake, 1, "dir");
	assert_true(again > inner);
	/* A late FORGET of the old one takes nothing from the new one. */
	fake_forget(fake, dir, 1);
	assert_int_equal(fake_getattr(fake, again, &attr), 0);
	close_small(fake, &store);
}

static void forgets_are_counted(void **state)
{
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	struct fuse_attr_out attr;
	uint64_t nodeid = fake_find(fake, 1, "readme");

	(void)state;
	assert_int_equal(fake_find(fake, 1, "readme"), nodeid);
	assert_int_equal(fake_find(fake, 1, "readme"), nodeid);
	fake_forget(fake, nodeid, 2);
	assert_int_equal(fake_getattr(fake, nodeid, &attr), 0);
	/* A twin elsewhere has a count of its own. */
	fake_forget(fake, fake_find(fake, 1, "tool"), 1);
	assert_int_equal(fake_getattr(fake, nodeid, &attr), 0);
	fake_forget(fake, nodeid, 1);
	assert_int_equal(fake_getattr(fake, nodeid, &attr), -ESTALE);
	close_small(fake, &store);
}

static void batch_forget(void **state)
{
	struct fake_store store;
	struct fake *fake = open_small(&store, NULL);
	struct fs_stats stats;
	struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one ones[3];
	} batch = { .head = { .count = UINT32_MAX } };
	AUTO_CALL struct fake_call call;

	(void)state;
	batch.ones[0] = (struct fuse_forget_one){ fake_find(fake, 1, "readme"), 1 };
	batch.ones[1] = (struct fuse_forget_one){ 77777, 1 };
	batch.ones[2] = (struct fuse_forget_one){ fake_find(fake, 1, "tool"), 5 };
	fs_get_stats(fake->fs, &stats);
	assert_int_equal(stats.inodes, 2);
	/* Its count lies: only what is there is taken. */
	fake_send(fake, &call, FUSE_BATCH_FORGET, 0, view_of(&batch, sizeof(batch)));
	assert_true(fake_wait(&call));
	assert_false(call.replied);
	fs_get_stats(fake->fs, &stats);
	assert_int_equal(stats.inodes, 0);
	close_small(fake, &store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_negotiates),
		cmocka_unit_test(init_of_other_versions),
		cmocka_unit_test(nothing_before_init_nor_after_destroy),
		cmocka_unit_test(attributes),
		cmocka_unit_test(lookup_of_bad_names),
		cmocka_unit_test(sizes),
		cmocka_unit_test(writing_is_refused),
		cmocka_unit_test(unknown_opcodes),
		cmocka_unit_test(lying_headers),
		cmocka_unit_test(reading),
		cmocka_unit_test(links),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(seek_poll_statfs),
		cmocka_unit_test(batch_forget),
		cmocka_unit_test(init_again_drops_nodeids),
		cmocka_unit_test(forgets_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
