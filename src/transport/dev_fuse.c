/*
 * The /dev/fuse channel.
 *
 * A reader keeps one request object and reads into it again if it was answered before
 * fs_session_handle came back, which is the rule; an object that stays behind (its answer comes
 * later, from another thread) returns to a free list. Which of both happens is settled by
 * `holders`: the last of reader and answer owns the object.
 *
 * Locks: `lock` alone; nothing is called under it.
 */
#include "transport/dev_fuse.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "fs/fuse_wire.h"

enum {
	RELIEF_MAX = 16,      /* readers beside the ordinary ones */
	WATCH_PERIOD_MS = 50, /* all readers busy for so long: start one more */
	FREE_KEPT = 32,       /* idle request objects */
	INIT_TIMEOUT_MS = 10000,
	INIT_ATTEMPTS = 4, /* the kernel asks again where major versions differ */
};

struct dev_request {
	struct channel_request base;
	struct dev_fuse *dev;
	struct dev_request *next; /* in the free list */
	atomic_int holders;       /* the reader and the answer */
	uint8_t buffer[];
};

enum reader_state { READER_NONE, READER_RUNNING, READER_FINISHED };

struct reader {
	struct dev_fuse *dev;
	pthread_t thread;
	bool relief;
	_Atomic(enum reader_state) state;
	atomic_uint turns; /* odd: it is working on a request */
	struct dev_request *request;
	unsigned seen; /* by the watch: turns at its last look */
};

struct dev_fuse {
	struct connection *connection;
	size_t buffer_size;
	struct reader *readers; /* the ordinary ones, then RELIEF_MAX more */
	unsigned ordinary, capacity;
	pthread_t watch;
	bool watching;
	atomic_bool watch_asleep;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool quit;
	struct dev_request *free;
	size_t free_count;
	ptrdiff_t outstanding; /* requests left behind by their readers; below 0 for a moment when
				* an answer overtakes its reader */
};

/* Requests */

static struct dev_request *request_of(struct channel_request *base)
{
	return CONTAINER_OF(base, struct dev_request, base);
}

static void request_put(struct dev_request *request)
{
	struct dev_fuse *dev = request->dev;
	pthread_mutex_lock(&dev->lock);
	dev->outstanding--;
	if (dev->free_count < FREE_KEPT) {
		request->next = dev->free;
		dev->free = request;
		dev->free_count++;
		request = NULL;
	}
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
	free(request);
}

static void on_done(struct channel_request *base)
{
	struct dev_request *request = request_of(base);
	if (atomic_fetch_sub(&request->holders, 1) == 1)
		request_put(request);
}

static void on_reply(struct channel_request *base, int error, const struct iovec *iov, int count)
{
	struct fuse_in_header header;
	memcpy(&header, base->fs.in.ptr, sizeof(header));
	int rc = connection_send(base->connection, header.unique, error, iov, count);
	/* ENOENT: interrupted, nobody waits for it. ENODEV and EPIPE: unmounted. */
	if (rc == -EINVAL || rc == -EFAULT || rc == -EOVERFLOW || rc == -ENOMEM) {
		log_error("the kernel refused the answer to FUSE request %u: %s", header.opcode,
			  strerror(-rc));
		if (connection_send(base->connection, header.unique, -EIO, NULL, 0) < 0)
			log_debug("FUSE request %u stays unanswered", header.opcode);
	}
	on_done(base);
}

static struct dev_request *request_get(struct dev_fuse *dev, bool leaves_one)
{
	pthread_mutex_lock(&dev->lock);
	if (leaves_one)
		dev->outstanding++;
	struct dev_request *request = dev->free;
	if (request) {
		dev->free = request->next;
		dev->free_count--;
	}
	pthread_mutex_unlock(&dev->lock);
	if (request)
		return request;

	request = mem_alloc(sizeof(*request) + dev->buffer_size);
	*request = (struct dev_request){ .dev = dev };
	request->base.connection = dev->connection;
	request->base.reply = on_reply;
	request->base.done = on_done;
	return request;
}

static void drop_free_requests(struct dev_fuse *dev)
{
	while (dev->free) {
		struct dev_request *request = dev->free;
		dev->free = request->next;
		free(request);
	}
	dev->free_count = 0;
}

/* In the session's place, when the connection ends. */
static void refuse(struct connection *connection, const struct fuse_in_header *header)
{
	if (connection_wants_reply(header->opcode))
		(void)connection_send(connection, header->unique, -ENOTCONN, NULL, 0);
}

/* Readers */

static void wake_watch(struct dev_fuse *dev)
{
	pthread_mutex_lock(&dev->lock);
	atomic_store(&dev->watch_asleep, false);
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
}

/* Works on the message that lies in the reader's request. */
static void take_turn(struct reader *reader, size_t len)
{
	struct dev_fuse *dev = reader->dev;
	struct dev_request *request = reader->request;
	struct fuse_in_header header;
	if (len < sizeof(header)) {
		log_error("the kernel sent a FUSE request of %zu bytes", len);
		return;
	}

	/* The watch and dev_fuse_quiesce rely on this order: odd turns first, then their flags. */
	atomic_fetch_add(&reader->turns, 1);
	if (atomic_load(&dev->watch_asleep))
		wake_watch(dev);
	if (atomic_load(&dev->connection->stopping)) {
		memcpy(&header, request->buffer, sizeof(header));
		refuse(dev->connection, &header);
	} else {
		atomic_store_explicit(&request->holders, 2, memory_order_relaxed);
		request->base.fs.in = view_of(request->buffer, len);
		request->base.fs.reply_max = UINT32_MAX - sizeof(struct fuse_out_header);
		fs_session_handle(dev->connection->session, &request->base.fs);
		if (atomic_fetch_sub(&request->holders, 1) != 1)
			reader->request = request_get(dev, true);
	}
	atomic_fetch_add(&reader->turns, 1);
}

/* The length of the next message, or a negative errno when the connection is gone. The one place
 * where a reader can be cancelled. */
static ssize_t receive(struct reader *reader)
{
	struct dev_fuse *dev = reader->dev;
	for (;;) {
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		ssize_t got = read(dev->connection->fd, reader->request->buffer, dev->buffer_size);
		int errnum = got < 0 ? errno : 0;
		if (errnum == EAGAIN) { /* somebody made the descriptor non-blocking */
			struct pollfd poller = { .fd = dev->connection->fd, .events = POLLIN };
			(void)poll(&poller, 1, -1);
		}
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		if (got > 0)
			return got;
		if (got == 0 || errnum == ENODEV || errnum == ECONNABORTED || errnum == EPERM)
			return -ENODEV; /* EPERM: the mount has not begun, or never will */
		if (errnum != EINTR && errnum != EAGAIN && errnum != ENOENT) {
			log_error("reading from /dev/fuse: %s", strerror(errnum));
			return -errnum;
		}
	}
}

static bool ordinary_reader_is_free(const struct dev_fuse *dev)
{
	for (unsigned i = 0; i < dev->ordinary; i++) {
		if (atomic_load_explicit(&dev->readers[i].turns, memory_order_relaxed) % 2 == 0)
			return true;
	}
	return false;
}

static void *reader_run(void *arg)
{
	struct reader *reader = arg;
	struct dev_fuse *dev = reader->dev;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	do {
		ssize_t got = receive(reader);
		if (got < 0) {
			connection_set_ended(dev->connection);
			break;
		}
		take_turn(reader, (size_t)got);
	} while (!reader->relief || !ordinary_reader_is_free(dev));
	atomic_store(&reader->state, READER_FINISHED);
	return NULL;
}

static enum rc reader_start(struct reader *reader, struct err *err)
{
	if (!reader->request)
		reader->request = request_get(reader->dev, false);
	atomic_store(&reader->state, READER_RUNNING);
	enum rc rc = thread_start(&reader->thread, reader->relief ? "castor-relief" : "castor-fuse",
				  reader_run, reader, err);
	if (rc != RC_OK)
		atomic_store(&reader->state, READER_NONE);
	return rc;
}

/* The watch */

struct look {
	bool stuck; /* every reader has been at the same request since the last look */
	bool quiet; /* no reader is at work, nor was since the last look */
};

static struct look look_at_readers(struct dev_fuse *dev)
{
	struct look look = { .stuck = true, .quiet = true };
	for (unsigned i = 0; i < dev->capacity; i++) {
		struct reader *reader = &dev->readers[i];
		if (atomic_load(&reader->state) != READER_RUNNING)
			continue;
		unsigned turns = atomic_load(&reader->turns);
		if (turns % 2 == 0 || turns != reader->seen)
			look.stuck = false;
		if (turns % 2 == 1 || turns != reader->seen)
			look.quiet = false;
		reader->seen = turns;
	}
	return look;
}

static void start_relief(struct dev_fuse *dev)
{
	for (unsigned i = dev->ordinary; i < dev->capacity; i++) {
		struct reader *reader = &dev->readers[i];
		if (atomic_load(&reader->state) == READER_RUNNING)
			continue;
		if (atomic_load(&reader->state) == READER_FINISHED)
			pthread_join(reader->thread, NULL);
		struct err err = ERR_INIT;
		if (reader_start(reader, &err) == RC_OK)
			log_debug("all FUSE threads wait: another was started");
		else
			log_warning("all FUSE threads wait: %s", err.message);
		return;
	}
}

/* Under the lock. */
static void watch_sleep(struct dev_fuse *dev, bool quiet)
{
	if (quiet) {
		/* A reader that missed this flag had odd turns before: look once more. */
		atomic_store(&dev->watch_asleep, true);
		if (look_at_readers(dev).quiet) {
			while (atomic_load(&dev->watch_asleep) && !dev->quit)
				pthread_cond_wait(&dev->changed, &dev->lock);
		}
		atomic_store(&dev->watch_asleep, false);
	}
	int64_t until = clock_monotonic_ns() + WATCH_PERIOD_MS * NS_PER_MS;
	while (!dev->quit && cond_wait_until(&dev->changed, &dev->lock, until))
		;
}

static void *watch_run(void *arg)
{
	struct dev_fuse *dev = arg;
	pthread_mutex_lock(&dev->lock);
	while (!dev->quit) {
		pthread_mutex_unlock(&dev->lock);
		struct look look = look_at_readers(dev);
		if (look.stuck)
			start_relief(dev);
		pthread_mutex_lock(&dev->lock);
		if (!dev->quit)
			watch_sleep(dev, look.quiet);
	}
	pthread_mutex_unlock(&dev->lock);
	return NULL;
}

/* Life */

static enum rc handshake(struct dev_fuse *dev, struct err *err)
{
	struct reader reader = { .dev = dev, .request = request_get(dev, false) };
	struct fs_session_features features = { .initialised = false };
	enum rc rc = RC_OK;
	for (int i = 0; i < INIT_ATTEMPTS && !features.initialised && rc == RC_OK; i++) {
		struct pollfd poller = { .fd = dev->connection->fd, .events = POLLIN };
		int ready = poll(&poller, 1, INIT_TIMEOUT_MS);
		if (ready <= 0) {
			rc = err_set(err, RC_DEADLINE, "the kernel sends no INIT on /dev/fuse");
			break;
		}
		ssize_t got = receive(&reader);
		if (got < 0) {
			rc = err_set(err, RC_IO, "the mount ended before it began");
			break;
		}
		take_turn(&reader, (size_t)got);
		fs_session_get_features(dev->connection->session, &features);
	}
	free(reader.request);
	if (rc == RC_OK && !features.initialised)
		rc = err_set(err, RC_UNSUPPORTED, "the kernel and castor agree on no FUSE version");
	if (rc != RC_OK)
		return rc;

	/* From here on messages may be larger. */
	dev_fuse_quiesce(dev);
	drop_free_requests(dev);
	if (features.max_write + (size_t)FUSE_REQUEST_HEADROOM > dev->buffer_size)
		dev->buffer_size = features.max_write + (size_t)FUSE_REQUEST_HEADROOM;
	return RC_OK;
}

enum rc dev_fuse_new(struct connection *connection, struct dev_fuse **out, struct err *err)
{
	*out = NULL;
	struct dev_fuse *dev = mem_zalloc(sizeof(*dev));
	dev->connection = connection;
	dev->buffer_size = FUSE_MIN_READ_BUFFER;
	pthread_mutex_init(&dev->lock, NULL);
	cond_init(&dev->changed);

	enum rc rc = handshake(dev, err);
	if (rc != RC_OK) {
		dev_fuse_free(dev);
		return rc;
	}
	*out = dev;
	return RC_OK;
}

enum rc dev_fuse_serve(struct dev_fuse *dev, unsigned threads, struct err *err)
{
	assert(threads > 0 && !dev->watching);
	dev->ordinary = threads;
	dev->capacity = threads + RELIEF_MAX;
	dev->readers = mem_array(dev->capacity, sizeof(*dev->readers));
	for (unsigned i = 0; i < dev->capacity; i++) {
		dev->readers[i].dev = dev;
		dev->readers[i].relief = i >= threads;
	}
	/* One serves a mount; the watch starts others where it waits. */
	enum rc rc = reader_start(&dev->readers[0], err);
	if (rc == RC_OK)
		rc = thread_start(&dev->watch, "castor-watch", watch_run, dev, err);
	if (rc != RC_OK)
		return rc;
	dev->watching = true;
	for (unsigned i = 1; i < threads; i++)
		(void)reader_start(&dev->readers[i], NULL);
	return RC_OK;
}

static void stop_watching(struct dev_fuse *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->quit = true;
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
	if (dev->watching)
		pthread_join(dev->watch, NULL);
	dev->watching = false;
}

void dev_fuse_quiesce(struct dev_fuse *dev)
{
	/* A turn that began before `stopping` was set may be in the session. */
	for (unsigned i = 0; i < dev->capacity; i++) {
		unsigned turns = atomic_load(&dev->readers[i].turns);
		while (turns % 2 == 1 && atomic_load(&dev->readers[i].turns) == turns)
			clock_sleep_ns(NS_PER_MS / 4);
	}
	pthread_mutex_lock(&dev->lock);
	while (dev->outstanding > 0)
		pthread_cond_wait(&dev->changed, &dev->lock);
	pthread_mutex_unlock(&dev->lock);
}

void dev_fuse_free(struct dev_fuse *dev)
{
	if (!dev)
		return;
	stop_watching(dev); /* first: it starts readers */
	for (unsigned i = 0; i < dev->capacity; i++) {
		struct reader *reader = &dev->readers[i];
		if (atomic_load(&reader->state) != READER_NONE) {
			pthread_cancel(reader->thread);
			pthread_join(reader->thread, NULL);
		}
		free(reader->request);
	}
	free(dev->readers);
	drop_free_requests(dev);
	pthread_cond_destroy(&dev->changed);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}
