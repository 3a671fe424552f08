/* Copies store paths from one store to another: only what is missing there. */
#ifndef CASTOR_TRANSFER_COPY_H
#define CASTOR_TRANSFER_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hashmap.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"
#include "transfer/tree_in.h"

struct copy_stats {
	uint64_t blobs, blobs_there; /* copied; found there already */
	uint64_t bytes;              /* of content copied */
};

/*
 * One path: its blobs, its directories, its path info, in this order, so that nothing is visible before
 * it is whole. A path that `to` has with the same node is left alone (*there); what a daemon has is put
 * once more, for it may but read it from another. What an interrupted copy brought is there, and is not
 * brought again. It is durable then, or with the commit that the op names. RC_CORRUPT where `from` lacks
 * something, naming the digest. Memory: a pipeline's (transfer/tree_pipe.h), and all directories of the
 * path.
 */
enum rc copy_path(const struct services *from, const struct services *to, const struct op *op,
		  const struct path_info *info, import_progress_fn *progress,
		  void *progress_context, struct copy_stats *stats, bool *there,
		  struct err *err) MUST_USE;

/* The same of a node alone: its blobs and its directories; no path info is read or put. */
enum rc copy_node(const struct services *from, const struct services *to, const struct op *op,
		  const struct node *node, import_progress_fn *progress, void *progress_context,
		  struct copy_stats *stats, struct err *err) MUST_USE;

/*
 * A closure in the making: paths, and whatever they refer to, each path info once. Zeroed is empty. Paths
 * that could not be had are remembered, and what refers to them is told by copy_closure_blocked.
 */
struct copy_closure {
	struct path_info *infos; /* owned */
	size_t count, room;
	struct hashmap known; /* hash part → where it is in infos, or one of copy.c's marks */
	/* Hears of a path info that cannot be read, with a sentence that names it. RC_OK: the others
	 * go on. NULL: the closure fails by it. */
	enum rc (*failed)(void *context, const struct store_path *path, enum rc rc,
			  struct err *err);
	void *context;
};
/* Adds a path with all that it refers to. RC_NOT_FOUND, naming both ends, where a reference is in neither
 * store; one that only `to` has is taken as there. */
enum rc copy_closure_add(struct copy_closure *closure, const struct services *from,
			 const struct services *to, const struct op *op,
			 const struct store_path *path, struct err *err) MUST_USE;
/* Sorts infos: what a path refers to comes before it. */
void copy_closure_order(struct copy_closure *closure);
/* Notes that this path could not be had. */
void copy_closure_fail(struct copy_closure *closure, const struct store_path *path);
/* A reference of info that could not be had; NULL: there is none. */
const struct store_path *copy_closure_blocked(const struct copy_closure *closure,
					      const struct path_info *info);
void copy_closure_release(struct copy_closure *closure);

#endif
