/* Threads of tests: the test ends where the system has none. */
#ifndef CASTOR_TESTS_THREADS_H
#define CASTOR_TESTS_THREADS_H

#include <stdlib.h>

#include "base/pool.h"

static inline pthread_t testing_thread(const char *name, void *(*run)(void *arg), void *arg)
{
	pthread_t thread;

	if (thread_start(&thread, name, run, arg, NULL) != RC_OK)
		abort();
	return thread;
}

#endif
