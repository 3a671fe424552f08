/*
 * A session: INIT, the way of a request from its arrival to its reply, and what interrupts it
 * (session.h).
 *
 * A handler first runs in the transport's thread. If it would have to ask a remote service it
 * returns FS_DEFER; the request then stands in struct fs's queue, and a pool thread runs it again.
 * Only deferred requests can be interrupted: the others wait for nothing but a disk.
 */
#include "fs/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fs/internal.h"

enum {
	MAX_BACKGROUND = 96, /* READs of the kernel's read-ahead at a time: fewer than the pool */
	MIN_MINOR = 23,      /* 2013: the first with a fuse_init_out of 64 bytes */
};

struct fs_session *fs_session_new(struct fs *fs, const struct fs_transport_ops *ops, void *context)
{
	struct fs_session *session = mem_zalloc(sizeof(*session));
	const struct inode_table_options inodes = {
		.share_files = fs->options.share_files,
		.inode32 = fs->options.inode32,
	};

	session->fs = fs;
	session->ops = ops;
	session->context = context;
	session->inodes = inode_table_new(fs->options.inodes_max, &inodes);
	read_ahead_init(&session->ahead);
	hashmap_init(&session->backings, sizeof(uint64_t));
	pthread_mutex_init(&session->lock, NULL);
	pthread_mutex_lock(&fs->lock);
	session->next = fs->sessions;
	if (fs->sessions)
		fs->sessions->previous = session;
	fs->sessions = session;
	pthread_mutex_unlock(&fs->lock);
	return session;
}

void fs_session_free(struct fs_session *session)
{
	struct fs *fs;

	if (!session)
		return;
	fs = session->fs;
	read_ahead_release(session);
	pthread_mutex_lock(&fs->lock);
	assert(!session->deferred);
	session->ending = true;
	while (session->telling)
		pthread_cond_wait(&fs->root_changed, &fs->lock);
	if (session->previous)
		session->previous->next = session->next;
	else
		fs->sessions = session->next;
	if (session->next)
		session->next->previous = session->previous;
	pthread_mutex_unlock(&fs->lock);
	fs_close_backings(session);
	hashmap_release(&session->backings);
	inode_table_free(session->inodes);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

void *fs_session_context(const struct fs_session *session)
{
	return session->context;
}

void fs_session_get_features(struct fs_session *session, struct fs_session_features *out)
{
	pthread_mutex_lock(&session->lock);
	*out = session->features;
	pthread_mutex_unlock(&session->lock);
}

/* ---- INIT ---- */

/* What castor wants, where it is offered. */
static uint64_t wanted_flags(const struct fs_session *session)
{
	const struct fs *fs = session->fs;
	uint64_t flags = FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS | FUSE_PARALLEL_DIROPS |
			 FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
			 FUSE_NO_OPENDIR_SUPPORT | FUSE_INIT_EXT | FUSE_NO_EXPORT_SUPPORT;

	/* The kernel looks at the root's mtime before it believes its cached listing only so. */
	if (!fs->roots->ops->fixed)
		flags |= FUSE_AUTO_INVAL_DATA;
	if (fs->options.passthrough && session->ops->backing_open)
		flags |= FUSE_PASSTHROUGH;
	if (session->ops->io_uring)
		flags |= FUSE_OVER_IO_URING;
	/* Whose requests then carry no user: nothing here asks for one. */
	if (session->ops->default_permissions)
		flags |= FUSE_ALLOW_IDMAP;
	return flags;
}

static uint32_t max_read_of(const struct fs_session *session)
{
	uint32_t max_read = session->ops->max_read ? session->ops->max_read : FS_MAX_READ;

	max_read &= ~(uint32_t)(FS_PAGE - 1);
	if (max_read < FS_PAGE)
		max_read = FS_PAGE;
	return max_read < FS_MAX_READ ? max_read : FS_MAX_READ;
}

/* Takes a fuse_init_in of any length: old kernels send less. */
static void decode_init(struct cursor *in, struct fuse_init_in *out)
{
	size_t len = cursor_left(in);

	memset(out, 0, sizeof(*out));
	cursor_copy(in, out, len < sizeof(*out) ? len : sizeof(*out));
}

static void agree(struct fs_session *session, const struct fuse_init_in *in,
		  struct fuse_init_out *out)
{
	uint64_t offered = in->flags;
	uint64_t flags;
	uint32_t max_read = max_read_of(session);

	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	flags = offered & wanted_flags(session);
	/* Opens are answered only for the sake of passthrough. */
	if (!(flags & FUSE_PASSTHROUGH))
		flags |= offered & FUSE_NO_OPEN_SUPPORT;
	/* Without max_pages a kernel's requests have 32 pages. */
	if (!(flags & FUSE_MAX_PAGES) && max_read > 32 * FS_PAGE)
		max_read = 32 * FS_PAGE;

	*out = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = in->max_readahead,
		.flags = (uint32_t)flags,
		.max_background = MAX_BACKGROUND,
		.congestion_threshold = MAX_BACKGROUND * 3 / 4,
		.max_write = FS_MAX_WRITE,
		.time_gran = 1,
		.max_pages = (uint16_t)(max_read / FS_PAGE),
		.flags2 = (uint32_t)(flags >> 32),
		.max_stack_depth = flags & FUSE_PASSTHROUGH ? 1 : 0,
	};
	atomic_store(&session->flags, flags);
	pthread_mutex_lock(&session->lock);
	session->features = (struct fs_session_features){
		.initialised = true,
		.max_write = FS_MAX_WRITE,
		.max_pages = max_read / FS_PAGE,
		.io_uring = (flags & FUSE_OVER_IO_URING) != 0,
		.passthrough = (flags & FUSE_PASSTHROUGH) != 0,
	};
	pthread_mutex_unlock(&session->lock);
	atomic_store(&session->ready, true);
}

int fs_op_init(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;
	struct fuse_init_in init;
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
				     .minor = FUSE_KERNEL_MINOR_VERSION };

	decode_init(in, &init);
	/* A newer major: say ours, and the kernel asks again with it. */
	if (init.major > FUSE_KERNEL_VERSION)
		return fs_reply(request, &out, sizeof(out));
	if (init.major < FUSE_KERNEL_VERSION || init.minor < MIN_MINOR)
		return -EPROTO;
	/* A guest that starts again remembers nothing. */
	fs_close_backings(session);
	inode_table_clear(session->inodes);
	agree(session, &init, &out);
	return fs_reply(request, &out, sizeof(out));
}

int fs_op_destroy(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;

	(void)in;
	atomic_store(&session->ready, false);
	fs_close_backings(session);
	inode_table_clear(session->inodes);
	pthread_mutex_lock(&session->lock);
	session->features.initialised = false;
	session->features.destroyed = true;
	pthread_mutex_unlock(&session->lock);
	return fs_reply_empty(request);
}

/* ---- Deferred requests ---- */

static void reply_error(struct fs_request *request, int error);

static void list_deferred(struct fs_session *session, struct fs_request *request)
{
	request->previous = NULL;
	request->next = session->deferred;
	if (session->deferred)
		session->deferred->previous = request;
	session->deferred = request;
}

static void unlist_deferred(struct fs_session *session, struct fs_request *request)
{
	if (request->previous)
		request->previous->next = request->next;
	else
		session->deferred = request->next;
	if (request->next)
		request->next->previous = request->previous;
	request->next = request->previous = NULL;
}

static void queue_push(struct fs *fs, struct fs_request *request)
{
	request->queue_next = NULL;
	request->queued = true;
	if (fs->queue_tail)
		fs->queue_tail->queue_next = request;
	else
		fs->queue_head = request;
	fs->queue_tail = request;
}

static void queue_remove(struct fs *fs, struct fs_request *request)
{
	struct fs_request **link = &fs->queue_head;
	struct fs_request *before = NULL;

	while (*link != request) {
		before = *link;
		link = &before->queue_next;
	}
	*link = request->queue_next;
	if (fs->queue_tail == request)
		fs->queue_tail = before;
	request->queue_next = NULL;
	request->queued = false;
}

/* A pool thread: serves the queue until it is empty. */
static void serve_queue(void *arg)
{
	struct fs *fs = arg;

	pthread_mutex_lock(&fs->lock);
	while (fs->queue_head) {
		struct fs_request *request = fs->queue_head;
		int result;

		queue_remove(fs, request);
		pthread_mutex_unlock(&fs->lock);
		request->may_wait = true;
		result = fs_dispatch(request);
		assert(result <= 0);
		if (result)
			reply_error(request, result);
		pthread_mutex_lock(&fs->lock);
	}
	fs->pool_active--;
	pthread_mutex_unlock(&fs->lock);
}

/* Did its INTERRUPT come before it was deferred? Under fs->lock. */
static bool was_interrupted(const struct fs_session *session, uint64_t unique)
{
	for (size_t i = 0; i < ARRAY_LEN(session->interrupted); i++)
		if (session->interrupted[i] == unique)
			return true;
	return false;
}

static void defer(struct fs_request *request)
{
	struct fs_session *session = request->session;
	struct fs *fs = session->fs;
	bool start;

	pthread_mutex_lock(&fs->lock);
	list_deferred(session, request);
	request->deferred = true;
	if (session->ending || was_interrupted(session, request->unique))
		atomic_store(&request->cancelled, true);
	queue_push(fs, request);
	start = fs->pool_active < fs->options.pool_threads;
	if (start)
		fs->pool_active++;
	pthread_mutex_unlock(&fs->lock);
	/* Never blocks: as many jobs as threads are under way at most, and as many more fit. */
	if (start)
		pool_submit(fs->pool, serve_queue, fs);
}

/* Under fs->lock, which it gives up: ends a request that no thread has begun. */
static void end_queued(struct fs *fs, struct fs_request *request)
{
	queue_remove(fs, request);
	unlist_deferred(request->session, request);
	request->deferred = false;
	pthread_mutex_unlock(&fs->lock);
	reply_error(request, -EINTR);
}

int fs_op_interrupt(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;
	struct fs *fs = session->fs;
	struct fuse_interrupt_in interrupt;
	struct fs_request *other;

	cursor_copy(in, &interrupt, sizeof(interrupt));
	pthread_mutex_lock(&fs->lock);
	for (other = session->deferred; other; other = other->next)
		if (other->unique == interrupt.unique)
			break;
	if (other && other->queued) {
		end_queued(fs, other);
		return fs_done(request);
	}
	if (other) {
		atomic_store(&other->cancelled, true);
	} else {
		session->interrupted[session->interrupted_next] = interrupt.unique;
		session->interrupted_next =
			(session->interrupted_next + 1) % ARRAY_LEN(session->interrupted);
	}
	pthread_mutex_unlock(&fs->lock);
	return fs_done(request);
}

void fs_session_cancel_all(struct fs_session *session)
{
	struct fs *fs = session->fs;
	struct fs_request *request;

	read_ahead_end(session);
	pthread_mutex_lock(&fs->lock);
	session->ending = true;
	for (request = session->deferred; request; request = request->next)
		atomic_store(&request->cancelled, true);
	for (;;) {
		for (request = session->deferred; request && !request->queued;
		     request = request->next)
			;
		if (!request)
			break;
		end_queued(fs, request);
		pthread_mutex_lock(&fs->lock);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* ---- The way of a request ---- */

static void send_reply(struct fs_request *request, int error, const struct iovec *iov, int count)
{
	struct fs_session *session = request->session;

	if (request->deferred) {
		pthread_mutex_lock(&session->fs->lock);
		unlist_deferred(session, request);
		pthread_mutex_unlock(&session->fs->lock);
	}
	session->ops->reply(request, error, iov, count);
}

static void reply_error(struct fs_request *request, int error)
{
	send_reply(request, error, NULL, 0);
}

int fs_reply_iov(struct fs_request *request, const struct iovec *iov, int count)
{
	send_reply(request, 0, iov, count);
	return 0;
}

int fs_reply(struct fs_request *request, const void *bytes, size_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };

	if (len > request->reply_max)
		return -EIO;
	return fs_reply_iov(request, &iov, 1);
}

int fs_reply_empty(struct fs_request *request)
{
	return fs_reply_iov(request, NULL, 0);
}

int fs_done(struct fs_request *request)
{
	request->session->ops->done(request);
	return 0;
}

void fs_session_handle(struct fs_session *session, struct fs_request *request)
{
	struct cursor in = cursor_of(request->in);
	struct fuse_in_header header;
	int result;

	request->session = session;
	request->next = request->previous = request->queue_next = NULL;
	request->may_wait = request->queued = request->deferred = false;
	atomic_init(&request->cancelled, false);
	if (!cursor_copy(&in, &header, sizeof(header))) {
		fs_done(request);
		return;
	}
	request->opcode = header.opcode;
	request->unique = header.unique;
	request->nodeid = header.nodeid;
	request->op = (struct op){
		.deadline_ns = clock_monotonic_ns() + session->fs->options.deadline_ns,
		.cancel = &request->cancelled,
		.trace = request->unique,
	};
	atomic_fetch_add_explicit(
		&session->fs->requests[fs_opcode_name(header.opcode) ? header.opcode : 0], 1,
		memory_order_relaxed);
	result = fs_dispatch(request);
	if (result == FS_DEFER)
		defer(request);
	else if (result < 0)
		reply_error(request, result);
}
