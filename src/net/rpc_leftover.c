#include "net/rpc_leftover.h"

#include <pthread.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/pool.h"

enum { SOON_MS = 200, TRY_MS = 2, PAUSE_MS = 50 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under lock: what its thread has not taken yet, and whether there is one. */
static struct rpc_leftover *waiting;
static bool running;

static bool try_end(struct rpc_leftover *leftover, int64_t ms)
{
	const struct op op = { .deadline_ns = clock_monotonic_ns() + ms * NS_PER_MS };

	return leftover->end(leftover, &op);
}

/* Tries each of the list in turn; returns those that are not over. */
static struct rpc_leftover *try_all(struct rpc_leftover *list)
{
	struct rpc_leftover *left = NULL, *next;

	for (; list; list = next) {
		next = list->next;
		if (try_end(list, TRY_MS))
			continue;
		list->next = left;
		left = list;
	}
	return left;
}

static void *end_all(void *arg)
{
	struct rpc_leftover *list = NULL;

	(void)arg;
	for (;;) {
		pthread_mutex_lock(&lock);
		while (waiting) {
			struct rpc_leftover *first = waiting;

			waiting = first->next;
			first->next = list;
			list = first;
		}
		running = list;
		pthread_mutex_unlock(&lock);
		if (!list)
			return NULL;
		list = try_all(list);
		clock_sleep_ns(PAUSE_MS * NS_PER_MS);
	}
}

void rpc_leftover_end(struct rpc_leftover *leftover)
{
	pthread_t thread;

	if (try_end(leftover, SOON_MS))
		return;
	pthread_mutex_lock(&lock);
	leftover->next = waiting;
	waiting = leftover;
	if (!running) {
		/* Where there is no thread, the next one that is left over has it tried again. */
		running = thread_start(&thread, "rpc-leftover", end_all, NULL, NULL) == RC_OK;
		if (running)
			pthread_detach(thread);
	}
	pthread_mutex_unlock(&lock);
}
