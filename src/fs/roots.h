/*
 * Root nodes: what stands directly under the mount point. A provider interface with two
 * implementations: over a path-info service (roots_path_info.c), and over an explicit list
 * (roots_list.c). Thread-safe; reference-counted by their owner, struct fs, which frees them.
 */
#ifndef CASTOR_FS_ROOTS_H
#define CASTOR_FS_ROOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/path_info/path_info_service.h"

struct roots;

struct roots_ops {
	bool remote; /* calls may wait for another machine or process */
	bool fixed;  /* the set never changes: negative entries stay true */
	void (*free)(struct roots *roots);
	/* RC_NOT_FOUND; the node is an owned copy. */
	enum rc (*lookup)(struct roots *roots, const struct op *op, struct view name,
			  struct node *out, struct err *err);
	/* Entries in a stable order. *cursor is 0 at the start, and then whatever the last call
	 * left in it; at most `count` nodes (owned, named) are put into out, *got 0 means the end.
	 * RC_NOT_PERMITTED where listing is off. */
	enum rc (*list)(struct roots *roots, const struct op *op, uint64_t *cursor,
			struct node *out, size_t count, size_t *got, struct err *err);
	/* Moves when the set changed. RC_UNSUPPORTED: cannot tell. */
	enum rc (*generation)(struct roots *roots, const struct op *op, uint64_t *out,
			      struct err *err);
};

struct roots {
	const struct roots_ops *ops;
};

/* Takes a reference on the service. list: whether listing is allowed. */
struct roots *roots_path_info_new(struct path_info_service *service, bool list);
/* Copies the nodes; RC_INVALID for a bad or a double name. */
enum rc roots_list_new(const struct node *nodes, size_t count, struct roots **out,
		       struct err *err) MUST_USE;

#endif
