/* Copies store paths from one store to another: only what is missing there. */
#ifndef CASTOR_TRANSFER_COPY_H
#define CASTOR_TRANSFER_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"
#include "transfer/tree_in.h"

struct copy_stats {
	uint64_t paths, paths_there; /* copied; found there already */
	uint64_t blobs, blobs_there;
	uint64_t bytes; /* of content copied */
};

/*
 * One path: its blobs, its directories, its path info, in this order, so that nothing is visible before
 * it is whole. A path that `to` has with the same node is left alone. What an interrupted copy brought is
 * there, and is not brought again. RC_CORRUPT where `from` lacks something, naming the digest.
 * Memory: a pipeline's (transfer/tree_pipe.h), and all directories of the path.
 */
enum rc copy_path(const struct services *from, const struct services *to, const struct op *op,
		  const struct path_info *info, import_progress_fn *progress,
		  void *progress_context, struct copy_stats *stats, struct err *err) MUST_USE;

/* The same of a node alone: its blobs and its directories; no path info is read or put. */
enum rc copy_node(const struct services *from, const struct services *to, const struct op *op,
		  const struct node *node, import_progress_fn *progress, void *progress_context,
		  struct copy_stats *stats, struct err *err) MUST_USE;

/*
 * A closure in the making: paths, and whatever they refer to. Ends with every path info that is needed,
 * each once. RC_NOT_FOUND, naming both ends, where a reference is in neither store; one that only `to` has is
 * taken as there.
 */
struct copy_closure {
	struct path_info *infos; /* owned */
	size_t count, room;
};
enum rc copy_closure_add(struct copy_closure *closure, const struct services *from,
			 const struct services *to, const struct op *op,
			 const struct store_path *path, struct err *err) MUST_USE;
void copy_closure_release(struct copy_closure *closure);

#endif
