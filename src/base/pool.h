/*
 * A bounded pool of worker threads. Jobs start in the order in which they were submitted. Threads
 * are started on demand, up to the limit, and block all signals but faults of their own. All calls
 * are thread-safe, except pool_free.
 */
#ifndef CASTOR_BASE_POOL_H
#define CASTOR_BASE_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct pool;

/* No thread is started yet. name (at most 15 bytes) shows in `ps -L`. At most `threads` run, at most `queued` wait. */
struct pool *pool_new(const char *name, unsigned threads, size_t queued);
/* Waits until every submitted job has run, then ends the threads. NULL is fine. */
void pool_free(struct pool *pool);
/* Starts the first thread, so that pool_submit never runs a job itself. RC_NO_MEMORY. */
enum rc pool_start(struct pool *pool, struct err *err) MUST_USE;
/* Blocks while the queue is full. Where the system has not one thread for the pool, this runs the job. */
void pool_submit(struct pool *pool, void (*run)(void *arg), void *arg);
/* False, and nothing happens, where the queue is full or the system has not one thread for the pool. */
bool pool_try_submit(struct pool *pool, void (*run)(void *arg), void *arg);
/* Waits until nothing is queued or running. */
void pool_wait_idle(struct pool *pool);

/* Starts a thread with all signals but faults of its own blocked and its name set. RC_NO_MEMORY where the
 * system has none: a limit of processes, of address space, or of memory. */
enum rc thread_start(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg,
		     struct err *err) MUST_USE;

#endif
