/* What the wrappers of every service do after a call: count it, and trace it. */
#ifndef CASTOR_SERVICE_CALL_H
#define CASTOR_SERVICE_CALL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"

/* How often a service was called, and how often that failed (not found is no failure). */
struct service_counts {
	atomic_uint_least64_t calls, failures;
};

/* Counts the outcome, logs it (debug) where the op has a trace id, and returns rc. `service` and
 * `call` name what was called ("local", "blob stat"), key (may be empty) is logged in hex. */
enum rc service_called(struct service_counts *counts, const struct op *op, const char *service,
		       const char *call, struct view key, enum rc rc);

#endif
