/* What every call on a service carries: until when it may take, and whether anybody still waits. */
#ifndef CASTOR_BASE_OP_H
#define CASTOR_BASE_OP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct op {
	int64_t deadline_ns;       /* CLOCK_MONOTONIC, nanoseconds; 0: none */
	const atomic_bool *cancel; /* set by another thread; NULL: never */
	uint64_t trace;            /* groups the log lines of one request; 0: none */
	/* What is stored becomes durable with this one (local/shared_commit.h); NULL: before the
	 * call returns. */
	struct shared_commit *commit;
};

/* How long a wait may go on before it asks its op. */
#define OP_TICK_NS INT64_C(100000000)

/* No deadline, cannot be cancelled. */
extern const struct op op_none;

/* For an op that begins here: a number that no other op of this process has, and those of others
 * hardly. */
uint64_t op_trace_new(void);

/* RC_OK, RC_DEADLINE or RC_CANCELLED. Long loops and waits ask it at least every 100 ms. */
enum rc op_check(const struct op *op, struct err *err) MUST_USE;

#endif
