/*
 * Takes store paths from a disk, where another program keeps them, into a store: what that program
 * says of each (references, deriver, signatures, content address) is kept, and its hash is checked.
 */
#ifndef CASTOR_TRANSFER_INGEST_H
#define CASTOR_TRANSFER_INGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"
#include "transfer/tree_in.h"

/*
 * Puts infos into an order in which each comes after those it refers to; references outside the list
 * must be known to the services, else RC_NOT_FOUND names both ends. RC_INVALID: a path comes twice,
 * or paths refer to each other in a circle.
 */
enum rc ingest_order(const struct services *to, const struct op *op, struct path_info *infos,
		     size_t count, struct err *err) MUST_USE;

/*
 * One path: `info` without its node; its content lies at root + "/nix/store/<basename>" (root "": the
 * disk itself). *there: the store had it already, with that NAR, and nothing was read; a path that is
 * there with another NAR is RC_EXISTS. Otherwise as tree_import_as.
 */
enum rc ingest_path(const struct services *to, const struct op *op, const char *root,
		    const struct path_info *info, const struct import_options *options, bool *there,
		    struct import_progress *stats, struct err *err) MUST_USE;

#endif
