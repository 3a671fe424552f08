/* Counting and tracing, for the wrappers of every service. */
#include "service/call.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/text.h"

enum rc service_called(struct service_counts *counts, const struct op *op, const char *service,
		       const char *call, struct view key, enum rc rc)
{
	char hex[2 * 32 + 1] = "";

	atomic_fetch_add_explicit(&counts->calls, 1, memory_order_relaxed);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		atomic_fetch_add_explicit(&counts->failures, 1, memory_order_relaxed);
	if (op->trace == 0)
		return rc;
	if (key.len <= 32)
		hex_encode(key.ptr, key.len, hex);
	log_debug("[%" PRIx64 "] %s: %s %s: %s", op->trace, service, call, hex, rc_name(rc));
	return rc;
}
