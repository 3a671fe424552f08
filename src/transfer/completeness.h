/* Is everything there that a node names? */
#ifndef CASTOR_TRANSFER_COMPLETENESS_H
#define CASTOR_TRANSFER_COMPLETENESS_H

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/services.h"

/* RC_OK if every directory and every blob below node is in services' directories and blobs; else
 * RC_FAILED_PRECONDITION, naming the first few digests that are missing. Memory: some 40 bytes for
 * each different blob. */
enum rc completeness_check(const struct services *services, const struct op *op,
			   const struct node *node, struct err *err) MUST_USE;

/* Makes all of it be kept (services.h): what only an upstream has is fetched, and durable then.
 * RC_FAILED_PRECONDITION as above of what is nowhere. Memory: that of a copy (copy.h), too. */
enum rc completeness_keep(const struct services *services, const struct op *op,
			  const struct node *node, struct err *err) MUST_USE;

#endif
