/*
 * The io_uring channel.
 *
 * An entry is a header and a payload buffer that the kernel knows: it completes with a request in
 * them, and is committed with the answer in them, which at once asks for the next. Only a ring's
 * own thread may submit to it (the kernel runs an entry's work in the thread that submitted it), so
 * answers from other threads are queued and the ring's thread is woken by an eventfd.
 *
 * Locks: a queue's `lock` alone; nothing is called under it.
 */
#include "transport/fuse_uring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "fs/fuse_wire.h"
#include "transport/cpu_list.h"

enum {
	MEMORY_MAX = 64 << 20, /* of all payloads together */
	DEPTH_MAX = 8,         /* entries a queue */
	DEPTH_GOOD = 4,        /* rather smaller payloads than fewer entries */
	PAYLOAD_MAX = 1 << 20,
	PAYLOAD_LEAST = 128 << 10,
	REQUEST_INLINE = 1024, /* longer requests are rare: none of a read-only mount */
	BROKEN_QUEUE = 0xffff, /* an id that no queue has */
};

/* From the kernel's linux/fuse.h, 7.42. */
enum { URING_CMD_REGISTER = 1, URING_CMD_COMMIT_AND_FETCH = 2 };
struct uring_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};
struct uring_header {
	uint8_t in_out[128]; /* fuse_in_header, then fuse_out_header */
	uint8_t op_in[128];  /* the operation's own fixed part */
	struct uring_in_out ring;
};
struct uring_cmd {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t padding[6];
};
_Static_assert(sizeof(struct uring_header) == 288, "fuse_uring_req_header");
_Static_assert(sizeof(struct uring_cmd) == 24, "fuse_uring_cmd_req");

struct entry {
	struct channel_request base;
	struct queue *queue;
	struct entry *next; /* answered by another thread */
	struct uring_header header;
	struct iovec iov[2];
	uint8_t *payload;
	uint8_t *large; /* a request past REQUEST_INLINE */
	uint8_t request[REQUEST_INLINE];
};

struct queue {
	struct fuse_uring *uring;
	unsigned id; /* the processor's number */
	struct io_uring ring;
	int wake;
	uint64_t woken;   /* what is read from it */
	pthread_t thread; /* for its owner */
	bool started;
	pthread_t self; /* the same, for requests: set before the first of them */
	struct entry *entries;
	uint8_t *payloads;
	unsigned alive;     /* entries that the kernel still knows */
	int failure;        /* 0 or a negative errno of a registration */
	atomic_uint inside; /* requests in the session */
	atomic_bool quit;

	pthread_mutex_t lock;
	struct entry *answered;
};

struct fuse_uring {
	struct connection *connection;
	struct queue *queues;
	unsigned queue_count, depth;
	uint32_t max_read;
	size_t payload_size;
	atomic_bool ready; /* every queue has registered */
	atomic_bool lost;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned reported; /* queues that have tried to register */
};

enum fuse_uring_support fuse_uring_support(void)
{
	AUTO_FD int fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
	char answer = 0;
	if (fd < 0 || read(fd, &answer, 1) != 1)
		return FUSE_URING_UNKNOWN;
	return answer == 'Y' ? FUSE_URING_ON : FUSE_URING_OFF;
}

/* Submissions; the ring's thread only. */

static struct io_uring_sqe *next_sqe(struct queue *queue)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
	assert(sqe); /* every entry and the eventfd have one place each */
	memset(sqe, 0, 2 * sizeof(*sqe));
	return sqe;
}

static void submit_command(struct entry *entry, uint32_t command, uint64_t commit_id,
			   uint16_t queue_id)
{
	struct queue *queue = entry->queue;
	struct io_uring_sqe *sqe = next_sqe(queue);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = queue->uring->connection->fd;
	sqe->cmd_op = command;
	sqe->addr = (uintptr_t)entry->iov;
	sqe->len = ARRAY_LEN(entry->iov);
	sqe->user_data = (uintptr_t)entry;
	struct uring_cmd cmd = { .commit_id = commit_id, .queue = queue_id };
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

static void submit_wake(struct queue *queue)
{
	struct io_uring_sqe *sqe = next_sqe(queue);
	sqe->opcode = IORING_OP_READ;
	sqe->fd = queue->wake;
	sqe->addr = (uintptr_t)&queue->woken;
	sqe->len = sizeof(queue->woken);
	sqe->user_data = 0;
}

static void commit(struct entry *entry)
{
	submit_command(entry, URING_CMD_COMMIT_AND_FETCH, entry->header.ring.commit_id,
		       (uint16_t)entry->queue->id);
}

/* Answers */

static void wake(struct queue *queue)
{
	uint64_t one = 1;
	if (write(queue->wake, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is readable already */
}

/* Hands the entry, whose answer is complete, back to the kernel. */
static void hand_back(struct entry *entry)
{
	struct queue *queue = entry->queue;
	free(entry->large);
	entry->large = NULL;
	if (pthread_equal(pthread_self(), queue->self)) {
		commit(entry);
	} else {
		pthread_mutex_lock(&queue->lock);
		bool first = !queue->answered;
		entry->next = queue->answered;
		queue->answered = entry;
		pthread_mutex_unlock(&queue->lock);
		if (first)
			wake(queue);
	}
	atomic_fetch_sub(&queue->inside, 1);
}

static void put_answer(struct entry *entry, int error, size_t len)
{
	struct fuse_in_header in;
	memcpy(&in, entry->header.in_out, sizeof(in));
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len),
		.error = error,
		.unique = in.unique,
	};
	memcpy(entry->header.in_out, &out, sizeof(out));
	entry->header.ring.payload_size = (uint32_t)len;
}

static void on_reply(struct channel_request *base, int error, const struct iovec *iov, int count)
{
	struct entry *entry = CONTAINER_OF(base, struct entry, base);
	size_t room = entry->iov[1].iov_len, len = 0;
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > room - len) {
			log_error("an answer of over %zu bytes does not fit into its FUSE request",
				  room);
			error = -EIO;
			len = 0;
			break;
		}
		memcpy(entry->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	put_answer(entry, error, len);
	hand_back(entry);
}

/* An entry comes back to the kernel only by an answer. */
static void on_done(struct channel_request *base)
{
	struct entry *entry = CONTAINER_OF(base, struct entry, base);
	put_answer(entry, 0, 0);
	hand_back(entry);
}

static void commit_answered(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	struct entry *entry = queue->answered;
	queue->answered = NULL;
	pthread_mutex_unlock(&queue->lock);
	while (entry) {
		struct entry *next = entry->next;
		commit(entry);
		entry = next;
	}
}

/* Requests */

/* The request as /dev/fuse would have brought it: header, fixed part, payload in one piece. */
static enum rc flatten(struct entry *entry, struct view *out, struct err *err)
{
	*out = view_of(NULL, 0);
	struct fuse_in_header in;
	memcpy(&in, entry->header.in_out, sizeof(in));
	size_t payload = entry->header.ring.payload_size;
	if (payload > entry->iov[1].iov_len || in.len < sizeof(in) + payload ||
	    in.len - sizeof(in) - payload > sizeof(entry->header.op_in))
		return err_set(err, RC_INVALID, "FUSE request %u of %u bytes has a payload of %zu",
			       in.opcode, in.len, payload);
	size_t fixed = in.len - sizeof(in) - payload;
	uint8_t *to = entry->request;
	if (in.len > sizeof(entry->request)) {
		to = entry->large = mem_try_alloc(in.len);
		if (!to)
			return err_set(err, RC_NO_MEMORY,
				       "no memory for a FUSE request of %u bytes", in.len);
	}
	memcpy(to, &in, sizeof(in));
	memcpy(to + sizeof(in), entry->header.op_in, fixed);
	memcpy(to + sizeof(in) + fixed, entry->payload, payload);
	*out = view_of(to, in.len);
	return RC_OK;
}

static void take_request(struct entry *entry)
{
	struct connection *connection = entry->queue->uring->connection;
	struct err err = ERR_INIT;
	/* fuse_uring_quiesce relies on this order. */
	atomic_fetch_add(&entry->queue->inside, 1);
	if (atomic_load(&connection->stopping)) {
		put_answer(entry, -ENOTCONN, 0);
		hand_back(entry);
		return;
	}
	enum rc rc = flatten(entry, &entry->base.fs.in, &err);
	if (rc != RC_OK) {
		log_error("%s", err.message);
		put_answer(entry, -rc_to_errno(rc), 0);
		hand_back(entry);
		return;
	}
	entry->base.fs.reply_max = entry->iov[1].iov_len;
	fs_session_handle(connection->session, &entry->base.fs);
}

static void on_completion(struct queue *queue, uint64_t user_data, int res)
{
	if (user_data == 0) {
		submit_wake(queue);
		commit_answered(queue);
		return;
	}
	struct entry *entry = (struct entry *)(uintptr_t)user_data; /* as given in the SQE */
	if (res >= 0) {
		take_request(entry);
		return;
	}
	/* ENOTCONN, ECONNABORTED: unmounted. Anything else is a registration that failed, or a
	 * commit of a request that the kernel has given up; the entry is lost either way. */
	if (res != -ENOTCONN && res != -ECONNABORTED && res != -ECANCELED) {
		log_debug("FUSE over io_uring, queue %u: %s", queue->id, strerror(-res));
		queue->failure = res;
	}
	queue->alive--;
}

static void handle_completions(struct queue *queue)
{
	struct io_uring_cqe *cqe;
	while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int res = cqe->res;
		io_uring_cqe_seen(&queue->ring, cqe);
		on_completion(queue, user_data, res);
	}
}

/* The thread of a ring */

static void report(struct queue *queue)
{
	struct fuse_uring *uring = queue->uring;
	pthread_mutex_lock(&uring->lock);
	uring->reported++;
	pthread_cond_broadcast(&uring->changed);
	pthread_mutex_unlock(&uring->lock);
}

static void pin(unsigned processor)
{
	if (processor >= CPU_SETSIZE)
		return;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	/* Not allowed, or not online: the ring works all the same. */
	int rc = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (rc != 0)
		log_debug("cannot stay on processor %u: %s", processor, strerror(rc));
}

static void register_entries(struct queue *queue)
{
	/* Without memory, the kernel is told by a registration that it has to refuse. */
	uint16_t id = queue->payloads ? (uint16_t)queue->id : BROKEN_QUEUE;
	for (unsigned i = 0; i < queue->uring->depth; i++)
		submit_command(&queue->entries[i], URING_CMD_REGISTER, 0, id);
	queue->alive = queue->uring->depth;
}

/* The thread's last act, but where it was told to end, or the connection has. */
static void give_up(struct queue *queue, int error)
{
	struct fuse_uring *uring = queue->uring;
	struct pollfd poller = { .fd = uring->connection->fd };
	if (!atomic_load(&uring->ready) || atomic_load(&queue->quit) ||
	    atomic_load(&uring->connection->stopping) || poll(&poller, 1, 0) != 0)
		return;
	log_error("FUSE over io_uring: queue %u has lost all its entries: %s", queue->id,
		  strerror(-error));
	atomic_store(&uring->lost, true);
	connection_set_ended(uring->connection);
}

/* liburing 2.3 declares io_uring_enable_rings and does not export it. */
static int enable(struct io_uring *ring)
{
	return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static void *queue_run(void *arg)
{
	struct queue *queue = arg;
	pin(queue->id);
	queue->self = pthread_self();
	int rc = enable(&queue->ring);
	if (rc == 0) {
		submit_wake(queue);
		register_entries(queue);
		rc = io_uring_submit(&queue->ring);
		handle_completions(queue);
	}
	if (rc < 0)
		queue->failure = rc;
	report(queue);

	while (!atomic_load(&queue->quit) && rc >= 0 && (queue->alive || queue->failure == 0)) {
		rc = io_uring_submit_and_wait(&queue->ring, 1);
		if (rc == -EINTR || rc == -EAGAIN || rc == -EBUSY)
			rc = 0;
		handle_completions(queue);
	}
	if (rc < 0 || (!queue->alive && queue->failure != 0))
		give_up(queue, rc < 0 ? rc : queue->failure);
	return NULL;
}

/* Life */

static enum rc choose_sizes(struct fuse_uring *uring, struct err *err)
{
	size_t share = MEMORY_MAX / uring->queue_count;
	size_t payload = PAYLOAD_MAX;
	while (payload > PAYLOAD_LEAST && share / payload < DEPTH_GOOD)
		payload /= 2;
	uring->depth = (unsigned)(share / payload < DEPTH_MAX ? share / payload : DEPTH_MAX);
	uring->max_read = (uint32_t)payload;
	if (uring->depth == 0)
		return err_set(err, RC_UNSUPPORTED,
			       "FUSE over io_uring wants too much memory for %u processors",
			       uring->queue_count);
	return RC_OK;
}

static enum rc queue_init(struct queue *queue, struct err *err)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
	};
	int rc = io_uring_queue_init_params(queue->uring->depth + 1, &queue->ring, &params);
	if (rc < 0)
		return err_errno(err, -rc, "cannot make an io_uring");
	queue->wake = eventfd(0, EFD_CLOEXEC);
	if (queue->wake < 0) {
		rc = errno;
		io_uring_queue_exit(&queue->ring);
		return err_errno(err, rc, "cannot make an eventfd");
	}
	pthread_mutex_init(&queue->lock, NULL);
	return RC_OK;
}

enum rc fuse_uring_new(struct fuse_uring **out, struct err *err)
{
	*out = NULL;
	unsigned possible = 0;
	enum rc rc = cpu_list_read("/sys/devices/system/cpu/possible", &possible, err);
	if (rc != RC_OK)
		return rc;
	struct fuse_uring *uring = mem_zalloc(sizeof(*uring));
	uring->queue_count = possible;
	rc = choose_sizes(uring, err);
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->changed, NULL);
	uring->queues = mem_array(possible, sizeof(*uring->queues));
	unsigned made = 0;
	while (rc == RC_OK && made < possible) {
		uring->queues[made].uring = uring;
		uring->queues[made].id = made;
		rc = queue_init(&uring->queues[made], err);
		if (rc == RC_OK)
			made++;
	}
	if (rc != RC_OK) {
		uring->queue_count = made;
		fuse_uring_free(uring);
		return rc;
	}
	*out = uring;
	return RC_OK;
}

uint32_t fuse_uring_max_read(const struct fuse_uring *uring)
{
	return uring->max_read;
}

static void make_entries(struct queue *queue)
{
	struct fuse_uring *uring = queue->uring;
	queue->entries = mem_array(uring->depth, sizeof(*queue->entries));
	if ((size_t)uring->queue_count * uring->depth * uring->payload_size <= MEMORY_MAX)
		queue->payloads = mem_pages_alloc(uring->depth * uring->payload_size);
	for (unsigned i = 0; i < uring->depth; i++) {
		struct entry *entry = &queue->entries[i];
		entry->queue = queue;
		entry->base.connection = uring->connection;
		entry->base.reply = on_reply;
		entry->base.done = on_done;
		entry->payload = queue->payloads ? queue->payloads + i * uring->payload_size : NULL;
		entry->iov[0] = (struct iovec){ &entry->header, sizeof(entry->header) };
		entry->iov[1] = (struct iovec){ entry->payload, uring->payload_size };
	}
}

enum rc fuse_uring_serve(struct fuse_uring *uring, struct connection *connection, struct err *err)
{
	struct fs_session_features features;
	fs_session_get_features(connection->session, &features);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uring->connection = connection;
	/* What the kernel asks of a payload buffer. */
	uring->payload_size = FUSE_MIN_READ_BUFFER;
	if (uring->payload_size < features.max_write)
		uring->payload_size = (features.max_write + page - 1) / page * page;
	if (uring->payload_size < features.max_pages * page)
		uring->payload_size = features.max_pages * page;

	for (unsigned i = 0; i < uring->queue_count; i++)
		make_entries(&uring->queues[i]);
	unsigned started = 0;
	enum rc rc = RC_OK;
	while (rc == RC_OK && started < uring->queue_count) {
		struct queue *queue = &uring->queues[started];
		rc = thread_start(&queue->thread, "castor-uring", queue_run, queue, err);
		queue->started = rc == RC_OK;
		started += queue->started;
	}

	pthread_mutex_lock(&uring->lock);
	while (uring->reported < started)
		pthread_cond_wait(&uring->changed, &uring->lock);
	pthread_mutex_unlock(&uring->lock);
	for (unsigned i = 0; rc == RC_OK && i < uring->queue_count; i++) {
		if (uring->queues[i].failure != 0)
			return err_errno(err, -uring->queues[i].failure,
					 "cannot register FUSE over io_uring");
	}
	atomic_store(&uring->ready, rc == RC_OK);
	return rc;
}

bool fuse_uring_lost(const struct fuse_uring *uring)
{
	return atomic_load(&uring->lost);
}

void fuse_uring_quiesce(struct fuse_uring *uring)
{
	for (unsigned i = 0; i < uring->queue_count; i++) {
		while (atomic_load(&uring->queues[i].inside) > 0)
			clock_sleep_ns(NS_PER_MS / 4);
	}
}

static void queue_release(struct queue *queue)
{
	if (queue->started) {
		atomic_store(&queue->quit, true);
		wake(queue);
		pthread_join(queue->thread, NULL);
	}
	io_uring_queue_exit(&queue->ring);
	close(queue->wake);
	pthread_mutex_destroy(&queue->lock);
	if (queue->payloads)
		mem_pages_free(queue->payloads, queue->uring->depth * queue->uring->payload_size);
	free(queue->entries);
}

void fuse_uring_free(struct fuse_uring *uring)
{
	if (!uring)
		return;
	for (unsigned i = 0; i < uring->queue_count; i++)
		queue_release(&uring->queues[i]);
	free(uring->queues);
	pthread_cond_destroy(&uring->changed);
	pthread_mutex_destroy(&uring->lock);
	free(uring);
}
