/*
 * One list of cases, over both transports: /dev/fuse (a socket that keeps messages apart, as the
 * device does) and virtqueues. Every operation has to be answered by both as the list says, and byte
 * for byte alike.
 */
#include "unit/transport/guest.h"

#include <sys/stat.h>

#include "transport/connection.h"
#include "transport/dev_fuse.h"

enum { REPLY_MAX = 100000, NODES = 8 };

/* A nodeid in the list: one that an earlier case looked up, or a plain number. */
#define NODE(slot) (UINT64_C(1000000) + (slot))

struct outcome {
	int error; /* or VU_NO_REPLY */
	struct buf reply;
};

struct transport {
	const char *name;
	void (*open)(struct transport *transport);
	void (*ask)(struct transport *transport, uint32_t opcode, uint64_t nodeid, const void *body,
		    size_t len, struct outcome *out);
	void (*close)(struct transport *transport);
	struct guest guest; /* of which /dev/fuse uses the filesystem alone */
	struct connection connection;
	struct dev_fuse *dev;
	int peer;
	uint64_t unique;
	uint64_t nodes[NODES];
};

/* /dev/fuse */

static void dev_send(struct transport *transport, uint32_t opcode, uint64_t nodeid,
		     const void *body, size_t len)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;
	struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + len),
					 .opcode = opcode,
					 .unique = transport->unique += 2,
					 .nodeid = nodeid };
	buf_append(&message, &header, sizeof(header));
	buf_append(&message, body, len);
	assert_int_equal(write(transport->peer, message.ptr, message.len), message.len);
}

static void dev_receive(struct transport *transport, struct outcome *out)
{
	uint8_t *bytes = mem_alloc(REPLY_MAX + 4096);
	struct fuse_out_header header;
	struct pollfd poller = { .fd = transport->peer, .events = POLLIN };
	do {
		assert_int_equal(poll(&poller, 1, VU_PATIENCE_MS), 1);
		ssize_t got = read(transport->peer, bytes, REPLY_MAX + 4096);
		assert_true(got >= (ssize_t)sizeof(header));
		memcpy(&header, bytes, sizeof(header));
		assert_int_equal(header.len, got);
	} while (header.unique == 0); /* a notification: virtqueues have none */
	assert_int_equal(header.unique, transport->unique);
	out->error = header.error;
	buf_append(&out->reply, bytes + sizeof(header), header.len - sizeof(header));
	free(bytes);
}

static void dev_ask(struct transport *transport, uint32_t opcode, uint64_t nodeid, const void *body,
		    size_t len, struct outcome *out)
{
	dev_send(transport, opcode, nodeid, body, len);
	out->error = VU_NO_REPLY;
	if (connection_wants_reply(opcode) && opcode != FUSE_NOTIFY_REPLY)
		dev_receive(transport, out);
}

static const struct fuse_init_in init_body = { .major = FUSE_KERNEL_VERSION,
					       .minor = FUSE_KERNEL_MINOR_VERSION,
					       .max_readahead = 131072,
					       .flags = UINT32_MAX,
					       .flags2 = 0 };

static void dev_open(struct transport *transport)
{
	int ends[2], bytes = 4 << 20;
	struct err err = ERR_INIT;
	struct outcome out = { .reply = BUF_INIT };
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	transport->peer = ends[0];
	assert_ok(connection_init(&transport->connection, transport->guest.fs, ends[1], false, 0,
				  &err),
		  &err);
	dev_send(transport, FUSE_INIT, 0, &init_body, sizeof(init_body));
	assert_ok(dev_fuse_new(&transport->connection, &transport->dev, &err), &err);
	dev_receive(transport, &out);
	assert_int_equal(out.error, 0);
	buf_release(&out.reply);
	assert_ok(dev_fuse_serve(transport->dev, 2, NULL), NULL);
}

static void dev_close(struct transport *transport)
{
	fs_session_cancel_all(transport->connection.session);
	atomic_store(&transport->connection.stopping, true);
	dev_fuse_quiesce(transport->dev);
	connection_free_session(&transport->connection);
	dev_fuse_free(transport->dev);
	connection_release(&transport->connection);
	close(transport->peer);
	guest_release(&transport->guest);
}

/* Virtqueues */

static void queue_open(struct transport *transport)
{
	struct vu_client *client = &transport->guest.client;
	guest_connect(&transport->guest, 2, REPLY_MAX + 4096);
	vu_start(client, ALL_RING_FEATURES);
	assert_int_equal(vu_fuse(client, 1, FUSE_INIT, 0, &init_body, sizeof(init_body),
				 sizeof(struct fuse_init_out), NULL),
			 0);
}

/* FORGETs go where the driver puts them, all else by turns to the two other queues. */
static void queue_ask(struct transport *transport, uint32_t opcode, uint64_t nodeid,
		      const void *body, size_t len, struct outcome *out)
{
	bool forget = opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
	unsigned ring = forget ? 0 : 1 + (unsigned)(transport->unique++ % 2);
	out->error = vu_fuse(&transport->guest.client, ring, opcode, nodeid, body, len, REPLY_MAX,
			     &out->reply);
	assert_int_not_equal(out->error, VU_TIMEOUT);
}

static void queue_close(struct transport *transport)
{
	guest_close(&transport->guest);
}

/* The list */

struct test_case {
	const char *what;
	uint32_t opcode;
	uint64_t nodeid;
	const void *body;
	size_t len;
	int error;
	long reply;       /* bytes; -1: as many as it likes */
	const char *text; /* that the reply is, or NULL */
	unsigned keep;    /* a LOOKUP's nodeid is kept as that node; 0: not */
};

#define TEXT(string)      .body = (string), .len = sizeof(string)
#define STRUCT(type, ...) .body = &(const struct type){ __VA_ARGS__ }, .len = sizeof(struct type)
#define FORGET_BODY       STRUCT(fuse_forget_in, .nlookup = 1)

enum { README = 1, TOOL, LINK, DIR, MANY_FILES, BIG, INNER };

static const struct {
	struct fuse_batch_forget_in head;
	struct fuse_forget_one ones[2];
} batch = { .head = { .count = 2 }, .ones = { { 4711, 1 }, { 4712, 1 } } };

static const struct {
	struct fuse_getxattr_in get;
	char name[24];
} get_digest = { { .size = 200 }, "user.castor.blob.digest" },
  get_digest_size = { { .size = 0 }, "user.castor.blob.digest" },
  get_other = { { .size = 200 }, "user.other" };

static const struct test_case list[] = {
	{ "statfs", FUSE_STATFS, 1, NULL, 0, 0, sizeof(struct fuse_kstatfs) },
	{ "getattr of the root", FUSE_GETATTR, 1, STRUCT(fuse_getattr_in, 0), 0,
	  sizeof(struct fuse_attr_out) },
	{ "lookup", FUSE_LOOKUP, 1, TEXT("readme"), 0, sizeof(struct fuse_entry_out),
	  .keep = README },
	{ "lookup of an executable", FUSE_LOOKUP, 1, TEXT("tool"), 0, sizeof(struct fuse_entry_out),
	  .keep = TOOL },
	{ "lookup of a symlink", FUSE_LOOKUP, 1, TEXT("link"), 0, sizeof(struct fuse_entry_out),
	  .keep = LINK },
	{ "lookup of a directory", FUSE_LOOKUP, 1, TEXT("dir"), 0, sizeof(struct fuse_entry_out),
	  .keep = DIR },
	{ "lookup of a large directory", FUSE_LOOKUP, 1, TEXT("many"), 0,
	  sizeof(struct fuse_entry_out), .keep = MANY_FILES },
	{ "lookup of a large file", FUSE_LOOKUP, 1, TEXT("big"), 0, sizeof(struct fuse_entry_out),
	  .keep = BIG },
	{ "lookup below", FUSE_LOOKUP, NODE(DIR), TEXT("inner"), 0, sizeof(struct fuse_entry_out),
	  .keep = INNER },
	{ "lookup of nothing", FUSE_LOOKUP, NODE(DIR), TEXT("nothing"), 0,
	  sizeof(struct fuse_entry_out) },
	{ "lookup without an end", FUSE_LOOKUP, NODE(DIR), "inner", 5, -EINVAL, 0 },
	{ "lookup in a file", FUSE_LOOKUP, NODE(README), TEXT("x"), -ENOTDIR, 0 },
	{ "lookup nowhere", FUSE_LOOKUP, 99999, TEXT("x"), -ESTALE, 0 },
	{ "getattr", FUSE_GETATTR, NODE(README), STRUCT(fuse_getattr_in, 0), 0,
	  sizeof(struct fuse_attr_out) },
	{ "getattr, short", FUSE_GETATTR, NODE(README), "short", 5, -EINVAL, 0 },
	{ "statx", FUSE_STATX, NODE(TOOL), STRUCT(fuse_statx_in, 0), 0,
	  sizeof(struct fuse_statx_out) },
	{ "readlink", FUSE_READLINK, NODE(LINK), NULL, 0, 0, 6, "readme" },
	{ "readlink of a file", FUSE_READLINK, NODE(README), NULL, 0, -EINVAL, 0 },
	{ "access", FUSE_ACCESS, NODE(TOOL), STRUCT(fuse_access_in, .mask = X_OK), 0, 0 },
	{ "access to execute", FUSE_ACCESS, NODE(README), STRUCT(fuse_access_in, .mask = X_OK),
	  -EACCES, 0 },
	{ "access to write", FUSE_ACCESS, NODE(README), STRUCT(fuse_access_in, .mask = W_OK),
	  -EROFS, 0 },
	{ "open", FUSE_OPEN, NODE(README), STRUCT(fuse_open_in, 0), -ENOSYS, 0 },
	{ "open to write", FUSE_OPEN, NODE(README), STRUCT(fuse_open_in, .flags = O_RDWR), -EROFS,
	  0 },
	{ "read", FUSE_READ, NODE(README), STRUCT(fuse_read_in, .size = 4096), 0, 12,
	  "hello, world" },
	{ "read from the middle", FUSE_READ, NODE(README),
	  STRUCT(fuse_read_in, .offset = 7, .size = 3), 0, 3, "wor" },
	{ "read at the end", FUSE_READ, NODE(README), STRUCT(fuse_read_in, .offset = 12, .size = 3),
	  0, 0 },
	{ "read past all", FUSE_READ, NODE(README),
	  STRUCT(fuse_read_in, .offset = UINT64_MAX, .size = 3), 0, 0 },
	{ "read below", FUSE_READ, NODE(INNER), STRUCT(fuse_read_in, .size = 4096), 0, 6,
	  "inside" },
	{ "read much", FUSE_READ, NODE(BIG), STRUCT(fuse_read_in, .offset = 250000, .size = 98304),
	  0, 98304 },
	{ "read the rest", FUSE_READ, NODE(BIG),
	  STRUCT(fuse_read_in, .offset = BIG_SIZE - 5000, .size = 98304), 0, 5000 },
	{ "read a directory", FUSE_READ, NODE(DIR), STRUCT(fuse_read_in, .size = 10), -EISDIR, 0 },
	{ "lseek to data", FUSE_LSEEK, NODE(BIG),
	  STRUCT(fuse_lseek_in, .offset = 77, .whence = SEEK_DATA), 0,
	  sizeof(struct fuse_lseek_out) },
	{ "lseek past all", FUSE_LSEEK, NODE(BIG),
	  STRUCT(fuse_lseek_in, .offset = BIG_SIZE, .whence = SEEK_HOLE), -ENXIO, 0 },
	{ "poll", FUSE_POLL, NODE(README), STRUCT(fuse_poll_in, .events = POLLIN), 0,
	  sizeof(struct fuse_poll_out) },
	{ "fsync", FUSE_FSYNC, NODE(README), "0123456789abcdef", 16, 0, 0 },
	{ "release", FUSE_RELEASE, NODE(README), STRUCT(fuse_release_in, 0), 0, 0 },
	{ "opendir", FUSE_OPENDIR, NODE(DIR), STRUCT(fuse_open_in, 0), -ENOSYS, 0 },
	{ "readdir of the root", FUSE_READDIR, 1, STRUCT(fuse_read_in, .size = 4096), 0, -1 },
	{ "readdir", FUSE_READDIR, NODE(MANY_FILES), STRUCT(fuse_read_in, .size = 2000), 0, -1 },
	{ "readdir, on", FUSE_READDIR, NODE(MANY_FILES),
	  STRUCT(fuse_read_in, .offset = 100, .size = 65536), 0, -1 },
	{ "readdir, at its end", FUSE_READDIR, NODE(MANY_FILES),
	  STRUCT(fuse_read_in, .offset = MANY + 2, .size = 65536), 0, 0 },
	{ "readdirplus", FUSE_READDIRPLUS, NODE(MANY_FILES), STRUCT(fuse_read_in, .size = 65536), 0,
	  -1 },
	{ "readdirplus of the root", FUSE_READDIRPLUS, 1, STRUCT(fuse_read_in, .size = 65536), 0,
	  -1 },
	{ "readdir of a file", FUSE_READDIR, NODE(README), STRUCT(fuse_read_in, .size = 4096),
	  -ENOTDIR, 0 },
	{ "releasedir", FUSE_RELEASEDIR, NODE(DIR), STRUCT(fuse_release_in, 0), 0, 0 },
	{ "fsyncdir", FUSE_FSYNCDIR, NODE(DIR), "0123456789abcdef", 16, 0, 0 },
	{ "syncfs", FUSE_SYNCFS, 1, "01234567", 8, 0, 0 },
	{ "getxattr", FUSE_GETXATTR, NODE(README), &get_digest, sizeof(get_digest), 0, 64 },
	{ "getxattr's size", FUSE_GETXATTR, NODE(README), &get_digest_size, sizeof(get_digest_size),
	  0, sizeof(struct fuse_getxattr_out) },
	{ "getxattr of another", FUSE_GETXATTR, NODE(README), &get_other, sizeof(get_other),
	  -ENODATA, 0 },
	{ "listxattr", FUSE_LISTXATTR, NODE(README), STRUCT(fuse_getxattr_in, .size = 200), 0,
	  sizeof("user.castor.blob.digest") },
	{ "listxattr of a symlink", FUSE_LISTXATTR, NODE(LINK),
	  STRUCT(fuse_getxattr_in, .size = 200), 0, 0 },
	{ "setattr", FUSE_SETATTR, NODE(README), NULL, 0, -EROFS, 0 },
	{ "symlink", FUSE_SYMLINK, 1, TEXT("a\0b"), -EROFS, 0 },
	{ "mknod", FUSE_MKNOD, 1, TEXT("x"), -EROFS, 0 },
	{ "mkdir", FUSE_MKDIR, 1, TEXT("x"), -EROFS, 0 },
	{ "unlink", FUSE_UNLINK, 1, TEXT("readme"), -EROFS, 0 },
	{ "rmdir", FUSE_RMDIR, 1, TEXT("dir"), -EROFS, 0 },
	{ "rename", FUSE_RENAME, 1, TEXT("readme"), -EROFS, 0 },
	{ "rename2", FUSE_RENAME2, 1, TEXT("readme"), -EROFS, 0 },
	{ "link", FUSE_LINK, 1, TEXT("readme"), -EROFS, 0 },
	{ "write", FUSE_WRITE, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "setxattr", FUSE_SETXATTR, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "removexattr", FUSE_REMOVEXATTR, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "create", FUSE_CREATE, 1, TEXT("x"), -EROFS, 0 },
	{ "tmpfile", FUSE_TMPFILE, 1, TEXT("x"), -EROFS, 0 },
	{ "fallocate", FUSE_FALLOCATE, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "copy_file_range", FUSE_COPY_FILE_RANGE, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "copy_file_range_64", FUSE_COPY_FILE_RANGE_64, NODE(README), TEXT("x"), -EROFS, 0 },
	{ "flush", FUSE_FLUSH, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "getlk", FUSE_GETLK, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "setlk", FUSE_SETLK, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "setlkw", FUSE_SETLKW, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "bmap", FUSE_BMAP, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "ioctl", FUSE_IOCTL, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "setupmapping", FUSE_SETUPMAPPING, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "removemapping", FUSE_REMOVEMAPPING, NODE(README), TEXT("x"), -ENOSYS, 0 },
	{ "an unknown operation", 1234, 1, TEXT("x"), -ENOSYS, 0 },
	{ "interrupt", FUSE_INTERRUPT, 0, STRUCT(fuse_interrupt_in, .unique = 7), VU_NO_REPLY, 0 },
	{ "notify_reply", FUSE_NOTIFY_REPLY, 0, TEXT("x"), VU_NO_REPLY, 0 },
	{ "batch_forget", FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), VU_NO_REPLY, 0 },
	{ "forget", FUSE_FORGET, NODE(INNER), FORGET_BODY, VU_NO_REPLY, 0 },
	{ "getattr after it", FUSE_GETATTR, NODE(INNER), STRUCT(fuse_getattr_in, 0), -ESTALE, 0 },
	{ "destroy", FUSE_DESTROY, 0, NULL, 0, 0, 0 },
	{ "getattr after destroy", FUSE_GETATTR, 1, STRUCT(fuse_getattr_in, 0), -EIO, 0 },
	{ "init again", FUSE_INIT, 0, &init_body, sizeof(init_body), 0,
	  sizeof(struct fuse_init_out) },
	{ "getattr after init", FUSE_GETATTR, 1, STRUCT(fuse_getattr_in, 0), 0,
	  sizeof(struct fuse_attr_out) },
	{ "a file of before", FUSE_GETATTR, NODE(README), STRUCT(fuse_getattr_in, 0), -ESTALE, 0 },
	{ "init of another version", FUSE_INIT, 0, STRUCT(fuse_init_in, .major = 6), -EPROTO, 0 },
};

static void run_case(struct transport *transport, const struct test_case *at, struct outcome *out)
{
	uint64_t nodeid = at->nodeid;
	if (nodeid >= NODE(0) && nodeid < NODE(NODES))
		nodeid = transport->nodes[nodeid - NODE(0)];
	transport->ask(transport, at->opcode, nodeid, at->body, at->len, out);
	if (out->error != at->error || (at->reply >= 0 && out->reply.len != (size_t)at->reply))
		fail_msg("%s by %s: error %d and %zu bytes instead of %d and %ld", at->what,
			 transport->name, out->error, out->reply.len, at->error, at->reply);
	if (at->text)
		assert_view_equal(buf_view(&out->reply), view_of_string(at->text));
	if (at->keep) {
		struct fuse_entry_out entry;
		memcpy(&entry, out->reply.ptr, sizeof(entry));
		assert_true(entry.nodeid != 0);
		transport->nodes[at->keep] = entry.nodeid;
	}
}

static void both_transports(void **state)
{
	static struct transport transports[] = {
		{ .name = "/dev/fuse", .open = dev_open, .ask = dev_ask, .close = dev_close },
		{ .name = "virtqueue", .open = queue_open, .ask = queue_ask, .close = queue_close },
	};
	const struct fs_options options = { .show_xattr = true };
	bool seen[FUSE_OPCODE_COUNT_] = { false };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		guest_prepare(&transports[i].guest, &options, NULL, false);
		transports[i].open(&transports[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		struct outcome outs[ARRAY_LEN(transports)];
		for (size_t j = 0; j < ARRAY_LEN(transports); j++) {
			outs[j] = (struct outcome){ .reply = BUF_INIT };
			run_case(&transports[j], &list[i], &outs[j]);
		}
		if (!view_equal(buf_view(&outs[0].reply), buf_view(&outs[1].reply)))
			fail_msg("%s: the replies differ", list[i].what);
		for (size_t j = 0; j < ARRAY_LEN(transports); j++)
			buf_release(&outs[j].reply);
		if (list[i].opcode < FUSE_OPCODE_COUNT_)
			seen[list[i].opcode] = true;
	}
	for (size_t i = 0; i < ARRAY_LEN(transports); i++)
		transports[i].close(&transports[i]);
	/* Nothing that castor knows is left out. */
	for (unsigned i = 0; i < FUSE_OPCODE_COUNT_; i++)
		if (fs_opcode_name(i) && !seen[i])
			fail_msg("%s has no case", fs_opcode_name(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(both_transports) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
