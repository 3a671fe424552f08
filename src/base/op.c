/* Deadlines and cancellation. */
#include "base/op.h"

#include <stddef.h>

#include "base/clock.h"

const struct op op_none = { .deadline_ns = 0, .cancel = NULL, .trace = 0 };

uint64_t op_trace_new(void)
{
	static atomic_uint_fast64_t next;
	uint_fast64_t none = 0;

	/* The clock in the upper bits: lines of two runs in one journal do not mix. */
	if (atomic_load(&next) == 0)
		atomic_compare_exchange_strong(
			&next, &none, ((uint64_t)(clock_realtime_ns() / NS_PER_MS) << 24) + 1);
	return atomic_fetch_add(&next, 1);
}

enum rc op_check(const struct op *op, struct err *err)
{
	if (op->cancel && atomic_load_explicit(op->cancel, memory_order_acquire))
		return err_set(err, RC_CANCELLED, "the operation was cancelled");
	if (op->deadline_ns && clock_monotonic_ns() >= op->deadline_ns)
		return err_set(err, RC_DEADLINE, "the operation's deadline passed");
	return RC_OK;
}
