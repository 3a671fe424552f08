/*
 * What lies behind the committed ends of packs. Mostly nothing; what a writer has under way; what one
 * that was killed had; or commits that the index knows nothing of, because it is older than the packs,
 * as after half a backup was restored.
 */
#ifndef CASTOR_LOCAL_TAILS_H
#define CASTOR_LOCAL_TAILS_H

#include <stdint.h>

#include "local/local_internal.h"

/* The commit records of a pack at or behind `from`, as far as its records follow on each other; two are
 * as good as more. Reads headers, not data. */
unsigned local_tail_commits(int fd, uint64_t from);

/* Looks at every pack that is longer than its committed end and that nobody writes. RC_CORRUPT, naming
 * `castor index rebuild`, where one has several commits there: the index is older than the packs. One
 * alone may also be of a writer that was killed when it had synced its packs and not yet the index: a
 * warning says so. What has none is cut off, if the store can be written to. */
enum rc local_tails_check(struct local_store *store, struct err *err) MUST_USE;

#endif
