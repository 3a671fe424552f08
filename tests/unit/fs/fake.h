/*
 * A transport in memory for the tests of fs/: it hands requests to a session and keeps what comes
 * back. And a small tree in memory services for it to show.
 */
#ifndef CASTOR_TESTS_FS_FAKE_H
#define CASTOR_TESTS_FS_FAKE_H

#include "unit/testing.h"

#include <pthread.h>

#include "castore/directory.h"
#include "fs/fs.h"
#include "fs/fuse_wire.h"
#include "fs/session.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/services.h"

/* ---- The transport ---- */

struct fake_call {
	struct fs_request request; /* first: the transport finds the call by it */
	struct buf in;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under the lock. */
	unsigned answers; /* replies and dones */
	bool replied;
	int error;
	struct buf out;
};

struct fake_push {
	struct fuse_notify_store_out head;
	struct buf bytes;
};

struct fake {
	struct fs *fs;
	struct fs_session *session;
	atomic_uint_fast64_t unique;
	pthread_mutex_t lock;
	struct fake_push pushes[4096];
	size_t push_count;
	int push_result;
	size_t told;        /* how often that the root's attributes are not true any more */
	int tell_result;    /* what comes of it; then it does not count */
	int backing_result; /* what backing_open says; 0: a new id */
	int backing_next;
	unsigned backings; /* open ones */
};

static inline void fake_reply(struct fs_request *request, int error, const struct iovec *iov,
			      int count)
{
	struct fake_call *call = (struct fake_call *)(void *)request;

	pthread_mutex_lock(&call->lock);
	call->answers++;
	call->replied = true;
	call->error = error;
	for (int i = 0; i < count; i++)
		buf_append(&call->out, iov[i].iov_base, iov[i].iov_len);
	pthread_cond_broadcast(&call->wake);
	pthread_mutex_unlock(&call->lock);
}

static inline void fake_done(struct fs_request *request)
{
	struct fake_call *call = (struct fake_call *)(void *)request;

	pthread_mutex_lock(&call->lock);
	call->answers++;
	pthread_cond_broadcast(&call->wake);
	pthread_mutex_unlock(&call->lock);
}

static inline int fake_tell(struct fake *fake, struct buf *bytes)
{
	struct fuse_notify_inval_inode_out inval;
	int result;

	assert_int_equal(bytes->len, sizeof(inval));
	memcpy(&inval, bytes->ptr, sizeof(inval));
	buf_release(bytes);
	assert_int_equal(inval.nodeid, FUSE_ROOT_ID);
	assert_true(inval.offset < 0); /* attributes; pages stay */
	pthread_mutex_lock(&fake->lock);
	result = fake->tell_result;
	fake->told += result == 0;
	pthread_mutex_unlock(&fake->lock);
	return result;
}

static inline int fake_notify(struct fs_session *session, int code, const struct iovec *iov,
			      int count)
{
	struct fake *fake = fs_session_context(session);
	struct buf all = BUF_INIT;
	int result;

	for (int i = 0; i < count; i++)
		buf_append(&all, iov[i].iov_base, iov[i].iov_len);
	if (code == FUSE_NOTIFY_INVAL_INODE)
		return fake_tell(fake, &all);
	assert_int_equal(code, FUSE_NOTIFY_STORE);
	pthread_mutex_lock(&fake->lock);
	result = fake->push_result;
	if (!result && fake->push_count < ARRAY_LEN(fake->pushes)) {
		struct fake_push *push = &fake->pushes[fake->push_count++];

		assert_true(all.len >= sizeof(push->head));
		memcpy(&push->head, all.ptr, sizeof(push->head));
		assert_int_equal(push->head.size, all.len - sizeof(push->head));
		buf_append(&push->bytes, all.ptr + sizeof(push->head),
			   all.len - sizeof(push->head));
	}
	pthread_mutex_unlock(&fake->lock);
	buf_release(&all);
	return result;
}

static inline int fake_backing_open(struct fs_session *session, int fd)
{
	struct fake *fake = fs_session_context(session);

	assert_true(fd >= 0);
	if (fake->backing_result)
		return fake->backing_result;
	fake->backings++;
	return ++fake->backing_next;
}

static inline void fake_backing_close(struct fs_session *session, int id)
{
	struct fake *fake = fs_session_context(session);

	assert_true(id > 0);
	assert_true(fake->backings > 0);
	fake->backings--;
}

static const struct fs_transport_ops fake_ops = {
	.reply = fake_reply,
	.done = fake_done,
	.notify = fake_notify,
	.backing_open = fake_backing_open,
	.backing_close = fake_backing_close,
};

/* As virtiofs is: no notifications, no passthrough. */
static const struct fs_transport_ops fake_plain_ops __attribute__((unused)) = {
	.reply = fake_reply,
	.done = fake_done,
};

/* Sends what `call->in` holds, as it is. */
static inline void fake_send_raw(struct fake *fake, struct fake_call *call)
{
	call->request.in = buf_view(&call->in);
	call->request.reply_max = 1 << 20;
	fs_session_handle(fake->session, &call->request);
}

static inline void fake_call_init(struct fake_call *call)
{
	memset(call, 0, sizeof(*call));
	pthread_mutex_init(&call->lock, NULL);
	pthread_cond_init(&call->wake, NULL);
}

static inline void fake_call_release(struct fake_call *call)
{
	buf_release(&call->in);
	buf_release(&call->out);
	pthread_cond_destroy(&call->wake);
	pthread_mutex_destroy(&call->lock);
}
#define AUTO_CALL CLEANUP(fake_call_release)

static inline void fake_fill(struct fake *fake, struct fake_call *call, uint32_t opcode,
			     uint64_t nodeid, struct view body)
{
	struct fuse_in_header header = {
		.len = (uint32_t)(sizeof(header) + body.len),
		.opcode = opcode,
		.unique = atomic_fetch_add(&fake->unique, 2) + 2,
		.nodeid = nodeid,
	};

	fake_call_init(call);
	buf_append(&call->in, &header, sizeof(header));
	buf_append_view(&call->in, body);
}

static inline void fake_send(struct fake *fake, struct fake_call *call, uint32_t opcode,
			     uint64_t nodeid, struct view body)
{
	fake_fill(fake, call, opcode, nodeid, body);
	fake_send_raw(fake, call);
}

/* Waits (ten seconds at most) until it was answered. */
static inline bool fake_wait(struct fake_call *call)
{
	struct timespec until;
	bool answered;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&call->lock);
	while (!call->answers && pthread_cond_timedwait(&call->wake, &call->lock, &until) == 0)
		;
	answered = call->answers == 1;
	pthread_mutex_unlock(&call->lock);
	return answered;
}

/* One request and its reply: the (negative) error, or 0. */
static inline int fake_ask(struct fake *fake, struct fake_call *call, uint32_t opcode,
			   uint64_t nodeid, const void *body, size_t len)
{
	fake_send(fake, call, opcode, nodeid, view_of(body, len));
	if (!fake_wait(call))
		fail_msg("opcode %u was not answered once", opcode);
	return call->error;
}

/* ---- Requests that tests make often ---- */

static inline int fake_lookup(struct fake *fake, uint64_t parent, struct view name,
			      struct fuse_entry_out *out)
{
	AUTO_CALL struct fake_call call;
	CLEANUP(buf_release) struct buf body = BUF_INIT;
	int error;

	memset(out, 0, sizeof(*out));
	buf_append_view(&body, name);
	buf_append_byte(&body, 0);
	error = fake_ask(fake, &call, FUSE_LOOKUP, parent, body.ptr, body.len);
	if (!error) {
		assert_int_equal(call.out.len, sizeof(*out));
		memcpy(out, call.out.ptr, sizeof(*out));
	}
	return error;
}

/* The nodeid; the test fails where there is none. */
static inline uint64_t fake_find(struct fake *fake, uint64_t parent, const char *name)
{
	struct fuse_entry_out entry;

	assert_int_equal(fake_lookup(fake, parent, view_of_string(name), &entry), 0);
	assert_true(entry.nodeid != 0);
	return entry.nodeid;
}

static inline void fake_forget(struct fake *fake, uint64_t nodeid, uint64_t lookups)
{
	AUTO_CALL struct fake_call call;
	struct fuse_forget_in forget = { .nlookup = lookups };

	fake_send(fake, &call, FUSE_FORGET, nodeid, view_of(&forget, sizeof(forget)));
	assert_true(fake_wait(&call));
	assert_false(call.replied);
}

static inline int fake_getattr(struct fake *fake, uint64_t nodeid, struct fuse_attr_out *out)
{
	AUTO_CALL struct fake_call call;
	struct fuse_getattr_in get = { 0 };
	int error = fake_ask(fake, &call, FUSE_GETATTR, nodeid, &get, sizeof(get));

	memset(out, 0, sizeof(*out));
	if (!error) {
		assert_int_equal(call.out.len, sizeof(*out));
		memcpy(out, call.out.ptr, sizeof(*out));
	}
	return error;
}

/* READ, READDIR, READDIRPLUS, by a handle that was opened with these flags; appends. */
static inline int fake_read_opened(struct fake *fake, uint32_t opcode, uint64_t nodeid,
				   uint32_t open_flags, uint64_t offset, uint32_t size,
				   struct buf *out)
{
	AUTO_CALL struct fake_call call;
	struct fuse_read_in read = { .offset = offset, .size = size, .flags = open_flags };
	int error = fake_ask(fake, &call, opcode, nodeid, &read, sizeof(read));

	assert_true(call.out.len <= size);
	buf_append_view(out, buf_view(&call.out));
	return error;
}

static inline int fake_read(struct fake *fake, uint32_t opcode, uint64_t nodeid, uint64_t offset,
			    uint32_t size, struct buf *out)
{
	return fake_read_opened(fake, opcode, nodeid, 0, offset, size, out);
}

/* ---- The tree ---- */

struct fake_store {
	struct blob_service *blobs;
	struct directory_service *directories;
};

static inline void fake_store_open(struct fake_store *store)
{
	store->blobs = blob_memory_new();
	store->directories = directory_memory_new();
}

static inline void fake_store_close(struct fake_store *store)
{
	blob_service_unref(store->blobs);
	directory_service_unref(store->directories);
}

static inline struct node fake_file(struct fake_store *store, const char *name, const void *bytes,
				    size_t len, bool executable)
{
	struct node node = { .kind = NODE_FILE,
			     .executable = executable,
			     .size = len,
			     .name = view_of_string(name) };
	struct err err = ERR_INIT;

	assert_ok(blob_service_put(store->blobs, &op_none, view_of(bytes, len), &node.digest, &err),
		  &err);
	return node;
}

static inline struct node fake_symlink(const char *name, const char *target)
{
	return (struct node){ .kind = NODE_SYMLINK,
			      .name = view_of_string(name),
			      .target = view_of_string(target) };
}

/* Only made, not stored: fake_store_put stores a tree of them at once. */
static inline struct node fake_directory(const char *name, const struct node *nodes, size_t count,
					 struct directory **out)
{
	struct err err = ERR_INIT;

	assert_ok(directory_from_nodes(nodes, count, out, &err), &err);
	return (struct node){ .kind = NODE_DIRECTORY,
			      .name = view_of_string(name),
			      .digest = *directory_digest(*out),
			      .size = directory_size(*out) };
}

/* Leaves first. */
static inline void fake_store_put(struct fake_store *store, struct directory *const *directories,
				  size_t count)
{
	struct directory_put *put;
	struct digest root;
	struct err err = ERR_INIT;

	assert_ok(directory_service_open_put(store->directories, &op_none, &put, &err), &err);
	for (size_t i = 0; i < count; i++)
		assert_ok(directory_put_add(put, &op_none, directories[i], &err), &err);
	assert_ok(directory_put_close(put, &op_none, &root, &err), &err);
	directory_put_free(put);
}

/* ---- Opening and closing ---- */

/* Takes roots over. INIT is not sent. */
static inline struct fake *fake_open(struct fake_store *store, struct roots *roots,
				     const struct fs_options *options,
				     const struct fs_transport_ops *ops)
{
	struct fake *fake = mem_zalloc(sizeof(*fake));
	struct err err = ERR_INIT;

	pthread_mutex_init(&fake->lock, NULL);
	assert_ok(fs_new(store->blobs, store->directories, roots, options, &fake->fs, &err), &err);
	fake->session = fs_session_new(fake->fs, ops ? ops : &fake_ops, fake);
	return fake;
}

static inline void fake_init(struct fake *fake, uint64_t flags, struct fuse_init_out *out)
{
	AUTO_CALL struct fake_call call;
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION,
				     .minor = FUSE_KERNEL_MINOR_VERSION,
				     .max_readahead = 131072,
				     .flags = (uint32_t)flags,
				     .flags2 = (uint32_t)(flags >> 32) };

	assert_int_equal(fake_ask(fake, &call, FUSE_INIT, 0, &init, sizeof(init)), 0);
	assert_int_equal(call.out.len, sizeof(*out));
	memcpy(out, call.out.ptr, sizeof(*out));
}

/* Over a list of nodes, INIT done with every flag offered. */
static inline struct fake *fake_open_nodes(struct fake_store *store, const struct node *nodes,
					   size_t count, const struct fs_options *options)
{
	struct fuse_init_out out;
	struct err err = ERR_INIT;
	struct roots *roots;
	struct fake *fake;

	assert_ok(roots_list_new(nodes, count, &roots, &err), &err);
	fake = fake_open(store, roots, options, NULL);
	fake_init(fake, UINT64_MAX, &out);
	return fake;
}

static inline void fake_close(struct fake *fake)
{
	fs_session_cancel_all(fake->session);
	fs_session_free(fake->session);
	fs_free(fake->fs);
	for (size_t i = 0; i < fake->push_count; i++)
		buf_release(&fake->pushes[i].bytes);
	pthread_mutex_destroy(&fake->lock);
	free(fake);
}

#endif
