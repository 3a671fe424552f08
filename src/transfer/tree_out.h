/* Export of a node as a tree on disk. */
#ifndef CASTOR_TRANSFER_TREE_OUT_H
#define CASTOR_TRANSFER_TREE_OUT_H

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/services.h"

/* Makes `path` (RC_EXISTS where something is there) from the node: modes 0555/0444, mtime 1, as Nix
 * canonicalises; zeros in whole blocks become holes. Everything is created relative to descriptors of directories that this call made,
 * so that no symlink is ever followed. What was made is removed again on failure. */
enum rc tree_export(const struct services *services, const struct op *op, const struct node *node,
		    const char *path, struct err *err) MUST_USE;

#endif
