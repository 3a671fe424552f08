/* Conditions on the clock of ops. */
#include "base/cond.h"

#include <time.h>

#include "base/clock.h"

void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns)
{
	struct timespec at = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };

	if (until_ns == INT64_MAX)
		return pthread_cond_wait(cond, lock) == 0;
	return until_ns > 0 && pthread_cond_timedwait(cond, lock, &at) == 0;
}

enum rc cond_wait_op(pthread_cond_t *cond, pthread_mutex_t *lock, const struct op *op,
		     struct err *err)
{
	int64_t until = op->cancel ? clock_monotonic_ns() + OP_TICK_NS : INT64_MAX;
	enum rc rc = op_check(op, err);

	if (rc != RC_OK)
		return rc;
	if (op->deadline_ns && op->deadline_ns < until)
		until = op->deadline_ns;
	(void)cond_wait_until(cond, lock, until);
	return RC_OK;
}
