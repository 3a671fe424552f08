/* Deadlines and cancellation. */
#include "base/op.h"

#include <stddef.h>

#include "base/clock.h"

const struct op op_none = { .deadline_ns = 0, .cancel = NULL, .trace = 0 };

enum rc op_check(const struct op *op, struct err *err)
{
	if (op->cancel && atomic_load_explicit(op->cancel, memory_order_acquire))
		return err_set(err, RC_CANCELLED, "the operation was cancelled");
	if (op->deadline_ns && clock_monotonic_ns() >= op->deadline_ns)
		return err_set(err, RC_DEADLINE, "the operation's deadline passed");
	return RC_OK;
}
