/*
 * Worker threads. The pool's one lock guards everything in it but its limits; no other lock is
 * taken under it, and jobs run without it.
 */
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { THREAD_NAME_MAX = 16, JOBS_FIRST = 16 };

struct job {
	void (*run)(void *arg);
	void *arg;
};

struct pool {
	unsigned threads;
	size_t queued;
	char name[THREAD_NAME_MAX];

	pthread_mutex_t lock;
	pthread_cond_t work; /* there is a job, or the pool ends */
	pthread_cond_t room; /* a job was taken */
	pthread_cond_t idle_all;
	struct job *ring; /* grows to what is needed, within the limits */
	size_t ring_size;
	size_t first;
	size_t count;
	unsigned started;
	unsigned idle; /* threads without a job, those not yet awake included */
	bool ending;
	pthread_t *ids;
};

struct pool *pool_new(const char *name, unsigned threads, size_t queued)
{
	struct pool *pool = mem_zalloc(sizeof(*pool));

	assert(threads > 0);
	pool->threads = threads;
	pool->queued = queued;
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->room, NULL);
	pthread_cond_init(&pool->idle_all, NULL);
	pool->ids = mem_array(threads, sizeof(*pool->ids));
	return pool;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	/* A running job may still submit another, which may start a thread. */
	for (unsigned i = 0;; i++) {
		bool last;

		pthread_mutex_lock(&pool->lock);
		last = i == pool->started;
		pthread_mutex_unlock(&pool->lock);
		if (last)
			break;
		pthread_join(pool->ids[i], NULL);
	}
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->room);
	pthread_cond_destroy(&pool->idle_all);
	pthread_mutex_destroy(&pool->lock);
	free(pool->ids);
	free(pool->ring);
	free(pool);
}

/* Under the lock. */
static struct job take_job(struct pool *pool)
{
	struct job job = pool->ring[pool->first];

	pool->first = (pool->first + 1) % pool->ring_size;
	pool->count--;
	return job;
}

static void *worker(void *arg)
{
	struct pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct job job;

		while (pool->count == 0 && !pool->ending)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->count == 0)
			break;
		job = take_job(pool);
		pool->idle--;
		pthread_mutex_unlock(&pool->lock);
		job.run(job.arg);
		pthread_mutex_lock(&pool->lock);
		pool->idle++;
		/* What makes room is a thread that has none to run, not a job that left the queue.
		 */
		pthread_cond_signal(&pool->room);
		if (pool->count == 0 && pool->idle == pool->started)
			pthread_cond_broadcast(&pool->idle_all);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* A thread's own faults stay open: blocked, they would end the process past any handler. */
static void fill_with_others(sigset_t *set)
{
	static const int faults[] = { SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };

	sigfillset(set);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		sigdelset(set, faults[i]);
}

enum rc thread_start(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg,
		     struct err *err)
{
	sigset_t others, before;
	int failure;

	/* The new thread inherits the mask: no handler of what others send ever runs on it. */
	fill_with_others(&others);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	failure = pthread_create(out, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failure)
		return err_set(err, RC_NO_MEMORY,
			       "cannot start a thread: %s (ulimit -u, ulimit -v, or a limit of the "
			       "service or container)",
			       strerror(failure));
	char shown[THREAD_NAME_MAX];

	snprintf(shown, sizeof(shown), "%s", name);
	pthread_setname_np(*out, shown);
	return RC_OK;
}

/* Under the lock: one thread more. */
static enum rc start_one(struct pool *pool, struct err *err)
{
	enum rc rc = thread_start(&pool->ids[pool->started], pool->name, worker, pool, err);

	if (rc == RC_OK) {
		pool->started++;
		pool->idle++;
	}
	return rc;
}

/* Under the lock: one thread more, if there is work for it. With some threads running already, one
 * that the system refuses is only a thread less. False: there is none. */
static bool start_if_needed(struct pool *pool)
{
	if (pool->count > pool->idle && pool->started < pool->threads)
		(void)start_one(pool, NULL);
	return pool->started > 0;
}

enum rc pool_start(struct pool *pool, struct err *err)
{
	pthread_mutex_lock(&pool->lock);
	enum rc rc = pool->started > 0 ? RC_OK : start_one(pool, err);
	pthread_mutex_unlock(&pool->lock);
	return rc;
}

/* Under the lock. Jobs that a free thread is about to take do not wait. */
static bool has_room(const struct pool *pool)
{
	return pool->count < pool->queued + pool->idle + (pool->threads - pool->started);
}

/* Under the lock. False: nobody would run it, and it is not there. */
static bool push(struct pool *pool, struct job job)
{
	if (pool->count == pool->ring_size) {
		size_t size = pool->ring_size ? pool->ring_size * 2 : JOBS_FIRST;
		struct job *ring = mem_array(size, sizeof(*ring));

		for (size_t i = 0; i < pool->count; i++)
			ring[i] = pool->ring[(pool->first + i) % pool->ring_size];
		free(pool->ring);
		pool->ring = ring;
		pool->ring_size = size;
		pool->first = 0;
	}
	pool->ring[(pool->first + pool->count) % pool->ring_size] = job;
	pool->count++;
	if (!start_if_needed(pool)) {
		pool->count--;
		return false;
	}
	pthread_cond_signal(&pool->work);
	return true;
}

void pool_submit(struct pool *pool, void (*run)(void *arg), void *arg)
{
	pthread_mutex_lock(&pool->lock);
	while (!has_room(pool))
		pthread_cond_wait(&pool->room, &pool->lock);
	bool taken = push(pool, (struct job){ .run = run, .arg = arg });
	pthread_mutex_unlock(&pool->lock);
	if (!taken)
		run(arg);
}

bool pool_try_submit(struct pool *pool, void (*run)(void *arg), void *arg)
{
	pthread_mutex_lock(&pool->lock);
	bool taken = has_room(pool) && push(pool, (struct job){ .run = run, .arg = arg });
	pthread_mutex_unlock(&pool->lock);
	return taken;
}

void pool_wait_idle(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->count > 0 || pool->idle < pool->started)
		pthread_cond_wait(&pool->idle_all, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}
