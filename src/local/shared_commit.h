/*
 * One commit for what many calls store. A call that stores returns once that is durable, which means
 * several syncs; one whose op has a shared commit returns when it is on its way, and is durable and
 * visible, to its caller too, when the commit was waited for. The order holds all the same: nothing
 * is durable before what it refers to. A call of one thread at a time.
 */
#ifndef CASTOR_LOCAL_SHARED_COMMIT_H
#define CASTOR_LOCAL_SHARED_COMMIT_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/op.h"
#include "local/local_store.h"

struct shared_commit;

/* The store is borrowed: whoever uses the commit has it open. */
struct shared_commit *shared_commit_new(struct local_store *store);
/* Gives up what was not waited for: it may become durable, or not. NULL is fine. */
void shared_commit_free(struct shared_commit *commit);
/* Of what one of the calls stored, and everything else with it, some may be lost once this has failed,
 * and whatever is stored with this commit from then on fails as well. NULL is fine, and done. */
enum rc shared_commit_wait(struct shared_commit *commit, const struct op *op,
			   struct err *err) MUST_USE;

/* Time to wait, for a caller that tells somebody of what is stored: much is in it by now, or it is a
 * second old, or nothing is. NULL: always. */
bool shared_commit_due(const struct shared_commit *commit);

static inline void shared_commit_cleanup(struct shared_commit **commit)
{
	shared_commit_free(*commit);
	*commit = NULL;
}
#define AUTO_SHARED_COMMIT CLEANUP(shared_commit_cleanup)

#endif
