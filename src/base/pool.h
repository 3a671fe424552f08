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

struct pool;

/* name (at most 15 bytes) shows in `ps -L`. At most `threads` run, at most `queued` wait. */
struct pool *pool_new(const char *name, unsigned threads, size_t queued);
/* Waits until every submitted job has run, then ends the threads. NULL is fine. */
void pool_free(struct pool *pool);
/* Blocks while the queue is full. */
void pool_submit(struct pool *pool, void (*run)(void *arg), void *arg);
/* False, and nothing happens, where the queue is full. */
bool pool_try_submit(struct pool *pool, void (*run)(void *arg), void *arg);
/* Waits until nothing is queued or running. */
void pool_wait_idle(struct pool *pool);

/* Starts a thread with all signals but faults of its own blocked and its name set; aborts where the
 * system has none. */
pthread_t thread_start(const char *name, void *(*run)(void *arg), void *arg);
#endif
