/*
 * FUSE requests over virtqueues.
 *
 * A request is copied out of the guest's memory once. Its reply goes from the filesystem's buffers
 * straight into the guest's: memory is held by the request, and stays mapped whatever the
 * front-end does meanwhile.
 *
 * As in dev_fuse.c, a queue's thread takes its next request into the same object if it was answered
 * in the call; the last of `holders` (who handed it to the session, and the answer) owns it.
 *
 * Locks: a queue's lock alone; nothing is called under it but the ring.
 */
#include "transport/virtio_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/fuse_wire.h"
#include "fs/session.h"
#include "transport/virtqueue.h"

enum {
	/* Nothing that castor answers other than by a refusal is longer: a LOOKUP of the longest
	 * name, a BATCH_FORGET, a WRITE of a page. */
	REQUEST_BYTES = 4096 + FUSE_REQUEST_HEADROOM,
	FREE_KEPT = 8, /* idle request objects of a queue */
	/* Requests in work: of a queue, and of the device beside those that each queue may have in
	 * any case. The others wait on the ring. So a guest holds at most 5,184 of them, of 26 KiB,
	 * and FREE_KEPT and a spare of each queue: under 150 MiB, whatever hangs. */
	IN_FLIGHT_MAX = 1024,
	IN_FLIGHT_SURE = 16,
	IN_FLIGHT_DEVICE = 4096,
	GRACE_MS = 5000,     /* for requests in flight when a queue is stopped */
	COMPLAINTS_MAX = 16, /* in the log, of one guest */
};

struct request {
	struct fs_request fs;
	struct queue *queue; /* NULL: an INTERRUPT of our own */
	struct guest_memory *memory;
	struct request *next, *previous; /* in flight; or, next, in the free list */
	atomic_int holders;
	struct virtqueue_chain chain;
	uint8_t bytes[REQUEST_BYTES];
};

struct queue {
	struct virtio_fs *device;
	unsigned index;
	/* The caller's thread's. */
	struct virtqueue_config config;
	bool started;
	pthread_t thread;
	int kick, wake; /* while it is started */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct virtqueue ring; /* while it is started */
	int call, error;       /* or -1 */
	bool enabled, quit;
	bool full; /* what comes back shall wake the thread up */
	struct request *in_flight;
	struct request *free;
	unsigned free_count;
	int left_behind; /* requests that the thread does not hold; see dev_fuse.c */
};

struct virtio_fs {
	struct fs_transport_ops ops;
	struct fs_session *session;
	struct pool *pool;
	struct guest_memory *memory;
	unsigned features;
	atomic_uint complaints;
	atomic_uint in_flight; /* of all queues */
	struct queue queues[VIRTIO_FS_QUEUES_MAX];
};

_Static_assert(sizeof(struct request) <= 26 << 10, "the memory of a request is stated");

/* Requests */

static struct request *request_of(struct fs_request *fs)
{
	return CONTAINER_OF(fs, struct request, fs);
}

static void notify(int fd)
{
	uint64_t one = 1;
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is readable already */
}

/* Who held it last gives it back. */
static void request_put(struct request *request)
{
	struct queue *queue = request->queue;
	guest_memory_unref(request->memory);
	pthread_mutex_lock(&queue->lock);
	queue->left_behind--;
	if (queue->free_count < FREE_KEPT) {
		request->next = queue->free;
		queue->free = request;
		queue->free_count++;
		request = NULL;
	}
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	free(request);
}

static bool request_drop(struct request *request)
{
	return atomic_fetch_sub(&request->holders, 1) == 1;
}

/* Under the lock. */
static struct request *request_get(struct queue *queue)
{
	struct request *request = queue->free;
	if (request) {
		queue->free = request->next;
		queue->free_count--;
		return request;
	}
	request = mem_alloc(sizeof(*request));
	request->queue = queue;
	return request;
}

/* Under the lock. */
static void list_in_flight(struct queue *queue, struct request *request)
{
	request->previous = NULL;
	request->next = queue->in_flight;
	if (queue->in_flight)
		queue->in_flight->previous = request;
	queue->in_flight = request;
	atomic_fetch_add(&queue->device->in_flight, 1);
}

/* Gives the chain back, with so many bytes written. */
static void finish(struct request *request, uint32_t written)
{
	struct queue *queue = request->queue;
	pthread_mutex_lock(&queue->lock);
	if (request->previous)
		request->previous->next = request->next;
	else
		queue->in_flight = request->next;
	if (request->next)
		request->next->previous = request->previous;
	atomic_fetch_sub(&queue->device->in_flight, 1);
	virtqueue_push(&queue->ring, request->chain.head, written);
	if (queue->full) {
		queue->full = false;
		notify(queue->wake);
	}
	if (virtqueue_wants_interrupt(&queue->ring))
		notify(queue->call);
	pthread_mutex_unlock(&queue->lock);
}

/* Fills the writable pieces of a chain, one after the other. */
struct scatter {
	struct iovec *piece;
	size_t at; /* in that piece */
};

/* There must be room. */
static void scatter_write(struct scatter *to, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	while (len > 0) {
		size_t room = to->piece->iov_len - to->at;
		size_t part = len < room ? len : room;
		memcpy((uint8_t *)to->piece->iov_base + to->at, from, part);
		from += part;
		len -= part;
		to->at += part;
		if (to->at == to->piece->iov_len) {
			to->piece++;
			to->at = 0;
		}
	}
}

static void on_reply(struct fs_request *fs, int error, const struct iovec *iov, int count)
{
	struct request *request = request_of(fs);
	struct fuse_out_header header = { .error = error, .unique = fs->unique };
	struct scatter to = { .piece = request->chain.pieces + request->chain.readable };
	size_t len = 0;
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len > fs->reply_max) {
		log_error("an answer of %zu bytes to FUSE request %u, which takes %zu", len,
			  fs->opcode, fs->reply_max);
		header.error = -EIO;
		count = 0;
		len = 0;
	}
	header.len = (uint32_t)(sizeof(header) + len);
	scatter_write(&to, &header, sizeof(header));
	for (int i = 0; i < count; i++)
		scatter_write(&to, iov[i].iov_base, iov[i].iov_len);
	finish(request, header.len);
	if (request_drop(request))
		request_put(request);
}

static void on_done(struct fs_request *fs)
{
	struct request *request = request_of(fs);
	if (!request->queue)
		return;
	finish(request, 0);
	if (request_drop(request))
		request_put(request);
}

/* The thread of a queue */

/* Under the lock. */
static void complain(struct queue *queue, const struct err *err)
{
	unsigned before = atomic_fetch_add(&queue->device->complaints, 1);
	if (before < COMPLAINTS_MAX)
		log_warning("the guest broke queue %u: %s%s", queue->index, err->message,
			    before == COMPLAINTS_MAX - 1 ? " (the last that is logged)" : "");
	notify(queue->error);
}

/* Under the lock. Returns as virtqueue_pop. */
static enum rc next_chain(struct queue *queue, struct virtqueue_chain *chain, struct err *err)
{
	struct virtqueue *ring = &queue->ring;
	enum rc rc = virtqueue_pop(ring, chain, err);
	if (rc == RC_NOT_FOUND) {
		virtqueue_set_kicks(ring, true);
		rc = virtqueue_pop(ring, chain, err);
		if (rc == RC_OK)
			virtqueue_set_kicks(ring, false);
	}
	/* An empty ring, or a wrong one: is it one at all? */
	if (rc != RC_OK && guest_memory_lost(ring->memory)) {
		ring->broken = true;
		return err_set(err, RC_INVALID,
			       "its memory is gone: the file became shorter, or lacks pages");
	}
	return rc;
}

/* Under the lock. What is refused waits until one of the queue's own is answered, of which there are
 * some. */
static bool may_take(const struct queue *queue)
{
	return queue->ring.in_flight < IN_FLIGHT_SURE ||
	       (queue->ring.in_flight < IN_FLIGHT_MAX &&
		atomic_load(&queue->device->in_flight) < IN_FLIGHT_DEVICE);
}

/* The next request into *spare, under the lock; false: there is none now. */
static bool take(struct queue *queue, struct request **spare)
{
	struct err err = ERR_INIT;
	if (queue->quit || !queue->enabled || queue->ring.broken)
		return false;
	queue->full = !may_take(queue);
	if (queue->full)
		return false;
	if (!*spare)
		*spare = request_get(queue);
	struct request *request = *spare;
	enum rc rc = next_chain(queue, &request->chain, &err);
	if (rc == RC_INVALID)
		complain(queue, &err);
	if (rc != RC_OK)
		return false;
	list_in_flight(queue, request);
	request->memory = guest_memory_ref(queue->ring.memory);
	return true;
}

/* Hands it to the session; true: it was answered, and is the caller's again. */
static bool handle(struct request *request)
{
	fs_session_handle(request->queue->device->session, &request->fs);
	return request_drop(request);
}

static void handle_in_pool(void *arg)
{
	struct request *request = arg;
	if (handle(request))
		request_put(request);
}

/* Its bytes, and what a reply may have. False: it cannot be answered, and is given back. */
static bool prepare(struct request *request)
{
	const struct virtqueue_chain *chain = &request->chain;
	size_t len = virtqueue_chain_read(chain, request->bytes, sizeof(request->bytes));
	size_t room = chain->writable_bytes < UINT32_MAX ? chain->writable_bytes : UINT32_MAX;
	struct fuse_in_header header = { .opcode = 0 };
	if (len >= sizeof(header))
		memcpy(&header, request->bytes, sizeof(header));
	bool no_reply = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET ||
			header.opcode == FUSE_INTERRUPT || header.opcode == FUSE_NOTIFY_REPLY;
	if (len < sizeof(header) || (room < sizeof(struct fuse_out_header) && !no_reply)) {
		finish(request, 0);
		return false;
	}
	request->fs.in = view_of(request->bytes, len);
	request->fs.reply_max = no_reply ? 0 : room - sizeof(struct fuse_out_header);
	atomic_store_explicit(&request->holders, 2, memory_order_relaxed);
	request->fs.opcode = header.opcode;
	return true;
}

/* Works on what was taken into *spare; where it stays behind, *spare is NULL afterwards. */
static void work_on(struct queue *queue, struct request **spare, bool more)
{
	struct request *request = *spare;
	if (!prepare(request)) {
		guest_memory_unref(request->memory);
		return;
	}
	if (more && request->fs.opcode == FUSE_READ) {
		pthread_mutex_lock(&queue->lock);
		queue->left_behind++;
		pthread_mutex_unlock(&queue->lock);
		*spare = NULL;
		if (!pool_try_submit(queue->device->pool, handle_in_pool, request))
			handle_in_pool(request);
		return;
	}
	if (handle(request)) {
		guest_memory_unref(request->memory);
		return;
	}
	pthread_mutex_lock(&queue->lock);
	queue->left_behind++;
	pthread_mutex_unlock(&queue->lock);
	*spare = NULL;
}

/* All that is there; false: the queue shall end. */
static bool serve(struct queue *queue, struct request **spare)
{
	pthread_mutex_lock(&queue->lock);
	if (queue->enabled)
		virtqueue_set_kicks(&queue->ring, false);
	while (take(queue, spare)) {
		bool more = virtqueue_has_more(&queue->ring);
		pthread_mutex_unlock(&queue->lock);
		work_on(queue, spare, more);
		pthread_mutex_lock(&queue->lock);
	}
	bool quit = queue->quit;
	pthread_mutex_unlock(&queue->lock);
	return !quit;
}

/* Empties an eventfd; false: it is none. */
static bool was_kicked(struct pollfd *polled)
{
	uint64_t count;
	if (polled->revents & POLLIN)
		return read(polled->fd, &count, sizeof(count)) == sizeof(count) ||
		       errno == EAGAIN || errno == EINTR;
	return polled->revents == 0;
}

static void *queue_run(void *arg)
{
	struct queue *queue = arg;
	struct request *spare = NULL;
	struct pollfd polled[] = {
		{ .fd = queue->wake, .events = POLLIN },
		{ .fd = queue->kick, .events = POLLIN },
	};
	while (serve(queue, &spare)) {
		if (poll(polled, ARRAY_LEN(polled), -1) < 0)
			continue;
		was_kicked(&polled[0]);
		if (!was_kicked(&polled[1])) {
			log_warning("queue %u: its kick is no eventfd", queue->index);
			polled[1].fd = -1;
		}
	}
	free(spare);
	return NULL;
}

/* Starting and stopping */

static enum rc start(struct queue *queue, int kick, struct err *err)
{
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake < 0)
		return err_errno(err, errno, "cannot make an eventfd");
	queue->config.features = queue->device->features;
	pthread_mutex_lock(&queue->lock);
	enum rc rc = virtqueue_init(&queue->ring, queue->device->memory, &queue->config, err);
	queue->quit = false;
	pthread_mutex_unlock(&queue->lock);
	if (rc != RC_OK) {
		close(wake);
		return rc;
	}
	queue->wake = wake;
	queue->kick = kick;
	rc = thread_start(&queue->thread, "castor-virtio", queue_run, queue, err);
	queue->started = rc == RC_OK;
	if (rc != RC_OK)
		close(wake);
	return rc;
}

/* What only waits for a service may wait for long: interrupts it. */
static void interrupt_all(struct queue *queue)
{
	uint64_t uniques[IN_FLIGHT_MAX];
	size_t count = 0;
	pthread_mutex_lock(&queue->lock);
	for (struct request *at = queue->in_flight; at && count < IN_FLIGHT_MAX; at = at->next)
		uniques[count++] = at->fs.unique;
	pthread_mutex_unlock(&queue->lock);
	for (size_t i = 0; i < count; i++) {
		struct {
			struct fuse_in_header header;
			struct fuse_interrupt_in body;
		} bytes = { .header = { .len = sizeof(bytes), .opcode = FUSE_INTERRUPT },
			    .body = { .unique = uniques[i] } };
		struct request request;
		request.queue = NULL;
		request.fs.in = view_of(&bytes, sizeof(bytes));
		request.fs.reply_max = 0;
		fs_session_handle(queue->device->session, &request.fs);
	}
}

static bool wait_for_requests(struct queue *queue, int64_t milliseconds)
{
	int64_t until = clock_monotonic_ns() + milliseconds * NS_PER_MS;
	pthread_mutex_lock(&queue->lock);
	while (queue->left_behind > 0 && cond_wait_until(&queue->changed, &queue->lock, until))
		;
	bool none = queue->left_behind <= 0;
	pthread_mutex_unlock(&queue->lock);
	return none;
}

static void stop(struct queue *queue)
{
	if (!queue->started)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->quit = true;
	pthread_mutex_unlock(&queue->lock);
	notify(queue->wake);
	pthread_join(queue->thread, NULL);
	while (!wait_for_requests(queue, GRACE_MS))
		interrupt_all(queue);
	queue->config.base = queue->ring.next_available;
	pthread_mutex_lock(&queue->lock);
	virtqueue_release(&queue->ring);
	while (queue->free) {
		struct request *request = queue->free;
		queue->free = request->next;
		free(request);
	}
	queue->free_count = 0;
	pthread_mutex_unlock(&queue->lock);
	close(queue->wake);
	close(queue->kick);
	queue->started = false;
}

/* The device */

static void queue_init(struct queue *queue, struct virtio_fs *device, unsigned index)
{
	queue->device = device;
	queue->index = index;
	queue->call = queue->error = -1;
	pthread_mutex_init(&queue->lock, NULL);
	cond_init(&queue->changed);
}

struct virtio_fs *virtio_fs_new(struct fs *fs, struct pool *pool)
{
	struct virtio_fs *device = mem_zalloc(sizeof(*device));
	device->ops = (struct fs_transport_ops){
		.reply = on_reply,
		.done = on_done,
		.default_permissions = true, /* of every mount -t virtiofs */
	};
	device->session = fs_session_new(fs, &device->ops, device);
	device->pool = pool;
	device->memory = guest_memory_new();
	for (unsigned i = 0; i < VIRTIO_FS_QUEUES_MAX; i++)
		queue_init(&device->queues[i], device, i);
	return device;
}

void virtio_fs_free(struct virtio_fs *device)
{
	if (!device)
		return;
	fs_session_cancel_all(device->session);
	for (unsigned i = 0; i < VIRTIO_FS_QUEUES_MAX; i++) {
		struct queue *queue = &device->queues[i];
		stop(queue);
		virtio_fs_set_call(device, i, -1);
		virtio_fs_set_error(device, i, -1);
		pthread_cond_destroy(&queue->changed);
		pthread_mutex_destroy(&queue->lock);
	}
	fs_session_free(device->session);
	guest_memory_unref(device->memory);
	free(device);
}

void virtio_fs_set_features(struct virtio_fs *device, unsigned features)
{
	device->features = features;
}

void virtio_fs_set_memory(struct virtio_fs *device, struct guest_memory *memory)
{
	struct guest_memory *before = device->memory;
	device->memory = guest_memory_ref(memory);
	guest_memory_unref(before);
	for (unsigned i = 0; i < VIRTIO_FS_QUEUES_MAX; i++) {
		struct queue *queue = &device->queues[i];
		struct err err = ERR_INIT;
		if (!queue->started)
			continue;
		pthread_mutex_lock(&queue->lock);
		if (virtqueue_move(&queue->ring, memory, &queue->config, &err) != RC_OK)
			complain(queue, &err);
		pthread_mutex_unlock(&queue->lock);
	}
}

static enum rc check_stopped(const struct queue *queue, struct err *err)
{
	return queue->started
		       ? err_set(err, RC_FAILED_PRECONDITION, "queue %u is running", queue->index)
		       : RC_OK;
}

enum rc virtio_fs_set_size(struct virtio_fs *device, unsigned index, uint32_t size, struct err *err)
{
	struct queue *queue = &device->queues[index];
	enum rc rc = check_stopped(queue, err);
	if (rc == RC_OK && (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)) != 0))
		rc = err_set(err, RC_INVALID,
			     "queue %u of %u descriptors: it has to be a power of two, at most %d",
			     index, size, VIRTQUEUE_SIZE_MAX);
	if (rc == RC_OK)
		queue->config.size = (uint16_t)size;
	return rc;
}

enum rc virtio_fs_set_base(struct virtio_fs *device, unsigned index, uint32_t base, struct err *err)
{
	struct queue *queue = &device->queues[index];
	enum rc rc = check_stopped(queue, err);
	if (rc == RC_OK && base > UINT16_MAX)
		rc = err_set(err, RC_INVALID, "queue %u cannot begin at %u", index, base);
	if (rc == RC_OK)
		queue->config.base = (uint16_t)base;
	return rc;
}

enum rc virtio_fs_set_rings(struct virtio_fs *device, unsigned index, uint64_t descriptors,
			    uint64_t available, uint64_t used, struct err *err)
{
	struct queue *queue = &device->queues[index];
	enum rc rc = RC_OK;
	queue->config.descriptors = descriptors;
	queue->config.available = available;
	queue->config.used = used;
	if (!queue->started)
		return RC_OK; /* they are looked at when it is started */
	pthread_mutex_lock(&queue->lock);
	rc = virtqueue_move(&queue->ring, device->memory, &queue->config, err);
	if (rc != RC_OK)
		complain(queue, err);
	pthread_mutex_unlock(&queue->lock);
	notify(queue->wake);
	return rc;
}

/* Writing to it, or reading from it, shall not block. */
static void make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void replace(struct queue *queue, int *place, int fd)
{
	if (fd >= 0)
		make_nonblocking(fd);
	pthread_mutex_lock(&queue->lock);
	if (*place >= 0)
		close(*place);
	*place = fd;
	pthread_mutex_unlock(&queue->lock);
}

void virtio_fs_set_call(struct virtio_fs *device, unsigned index, int fd)
{
	replace(&device->queues[index], &device->queues[index].call, fd);
	/* Interrupts for what was done before it came are lost. */
	if (device->queues[index].started)
		notify(fd);
}

void virtio_fs_set_error(struct virtio_fs *device, unsigned index, int fd)
{
	replace(&device->queues[index], &device->queues[index].error, fd);
}

enum rc virtio_fs_set_kick(struct virtio_fs *device, unsigned index, int fd, struct err *err)
{
	struct queue *queue = &device->queues[index];
	stop(queue);
	if (fd < 0)
		return err_set(err, RC_UNSUPPORTED,
			       "queue %u without a kick: castor does not poll rings", index);
	make_nonblocking(fd);
	enum rc rc = start(queue, fd, err);
	if (rc != RC_OK)
		close(fd);
	return rc;
}

void virtio_fs_enable(struct virtio_fs *device, unsigned index, bool enabled)
{
	struct queue *queue = &device->queues[index];
	pthread_mutex_lock(&queue->lock);
	queue->enabled = enabled;
	pthread_mutex_unlock(&queue->lock);
	if (queue->started)
		notify(queue->wake);
}

uint16_t virtio_fs_stop(struct virtio_fs *device, unsigned index)
{
	stop(&device->queues[index]);
	return device->queues[index].config.base;
}
