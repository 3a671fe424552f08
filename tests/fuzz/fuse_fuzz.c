/*
 * A session by whatever a kernel, or a guest, may send: a sequence of raw requests. Each comes as a
 * u16 length, little-endian, and so many bytes; where the length's top bit is clear, the request's
 * own length field is put right first, so that more gets past the first check. Every request must
 * be answered once, within its limits.
 */
#include "fuzz/fuzz.h"

#include <stdatomic.h>
#include <string.h>

#include "base/cursor.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/fuse_wire.h"
#include "fs/session.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"

enum { REQUESTS_MAX = 64, REPLY_MAX = 8192 };

struct call {
	struct fs_request request; /* first */
	atomic_int answers;
	size_t reply_max;
};

static void reply(struct fs_request *request, int error, const struct iovec *iov, int count)
{
	struct call *call = (struct call *)(void *)request;
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	FUZZ_CHECK(error <= 0 && error > -4096);
	FUZZ_CHECK(error == 0 || count == 0);
	FUZZ_CHECK(len <= call->reply_max);
	atomic_fetch_add(&call->answers, 1);
}

static void done(struct fs_request *request)
{
	atomic_fetch_add(&((struct call *)(void *)request)->answers, 1);
}

static int notify(struct fs_session *session, int code, const struct iovec *iov, int count)
{
	(void)session;
	(void)code;
	(void)iov;
	(void)count;
	return 0;
}

static const struct fs_transport_ops ops = { .reply = reply, .done = done, .notify = notify };

static struct node put_file(struct blob_service *blobs, const char *name, struct view bytes)
{
	struct node node = { .kind = NODE_FILE, .size = bytes.len, .name = view_of_string(name) };

	FUZZ_CHECK(blob_service_put(blobs, &op_none, bytes, &node.digest, NULL) == RC_OK);
	return node;
}

/* /dir/{file,link}, /big, /link; made once. */
static struct fs *the_filesystem(void)
{
	static struct fs *fs;
	struct blob_service *blobs;
	struct directory_service *directories;
	struct directory_put *put;
	struct directory *directory;
	struct fs_options options = { .show_xattr = true, .inodes_max = 1000 };
	struct node below[2], top[3];
	struct roots *roots;
	struct digest root;
	uint8_t *big;

	if (fs)
		return fs;
	log_set_level(LOG_LEVEL_ERROR);
	blobs = blob_memory_new();
	directories = directory_memory_new();
	big = mem_zalloc(1 << 20);
	below[0] = put_file(blobs, "file", view_of_string("hello"));
	below[1] = (struct node){ .kind = NODE_SYMLINK,
				  .name = view_of_string("link"),
				  .target = view_of_string("file") };
	FUZZ_CHECK(directory_from_nodes(below, 2, &directory, NULL) == RC_OK);
	FUZZ_CHECK(directory_service_open_put(directories, &op_none, &put, NULL) == RC_OK);
	FUZZ_CHECK(directory_put_add(put, &op_none, directory, NULL) == RC_OK);
	FUZZ_CHECK(directory_put_close(put, &op_none, &root, NULL) == RC_OK);
	directory_put_free(put);
	top[0] = put_file(blobs, "big", view_of(big, 1 << 20));
	top[1] = (struct node){ .kind = NODE_DIRECTORY,
				.name = view_of_string("dir"),
				.size = directory_size(directory),
				.digest = root };
	top[2] = below[1];
	FUZZ_CHECK(roots_list_new(top, 3, &roots, NULL) == RC_OK);
	FUZZ_CHECK(fs_new(blobs, directories, roots, &options, &fs, NULL) == RC_OK);
	blob_service_unref(blobs);
	directory_service_unref(directories);
	directory_unref(directory);
	free(big);
	return fs;
}

static void send_one(struct fs_session *session, struct view bytes, bool raw)
{
	struct call call = { .reply_max = REPLY_MAX };
	uint8_t *copy = mem_alloc(bytes.len + 1);
	uint32_t len = (uint32_t)bytes.len;

	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	if (!raw && bytes.len >= sizeof(len))
		memcpy(copy, &len, sizeof(len));
	call.request.in = view_of(copy, bytes.len);
	call.request.reply_max = REPLY_MAX;
	fs_session_handle(session, &call.request);
	/* All services are in memory: nothing is deferred. */
	FUZZ_CHECK(atomic_load(&call.answers) == 1);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct fs_session *session = fs_session_new(the_filesystem(), &ops, NULL);
	struct cursor in = cursor_of(view_of(bytes, len));
	uint16_t head;

	for (int i = 0; i < REQUESTS_MAX && cursor_u16le(&in, &head); i++) {
		size_t size = head & 0x7fff;
		struct view request;

		if (size > cursor_left(&in))
			size = cursor_left(&in);
		cursor_view(&in, size, &request);
		send_one(session, request, head & 0x8000);
	}
	fs_session_cancel_all(session);
	fs_session_free(session);
	return 0;
}
