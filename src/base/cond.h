/*
 * Waiting on a condition until a moment, or for as long as an op lasts. Under the lock, as
 * pthread_cond_wait, in a loop that looks whether there is still something to wait for:
 *
 *	while (!thing->there && rc == RC_OK)
 *		rc = cond_wait_op(&thing->changed, &thing->lock, op, err);
 */
#ifndef CASTOR_BASE_COND_H
#define CASTOR_BASE_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/op.h"

/* One that can be waited on with these. */
void cond_init(pthread_cond_t *cond);
/* Waits once, until it is signalled (or for no reason) or that moment comes. False: it has come.
 * CLOCK_MONOTONIC, nanoseconds; INT64_MAX: never. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns);
/* Asks the op, and waits once, for at most 100 ms: nobody signals that an op was cancelled. */
enum rc cond_wait_op(pthread_cond_t *cond, pthread_mutex_t *lock, const struct op *op,
		     struct err *err) MUST_USE;

#endif
