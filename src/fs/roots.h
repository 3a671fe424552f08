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

/* An entry of a listing. `next`, when handed back as `after`, goes on behind it. */
struct root_entry {
	struct node node; /* an owned copy, with its name */
	uint64_t next;    /* 1 to ROOT_CURSOR_MAX, ascending */
};
#define ROOT_CURSOR_MAX (UINT64_C(1) << 62)

struct roots_ops {
	bool remote;  /* calls may wait for another machine or process */
	bool ingests; /* a lookup may take as long as a download: no deadline is its own */
	bool fixed;   /* the set never changes: negative entries stay true */
	void (*free)(struct roots *roots);
	/* RC_NOT_FOUND: not at the moment. RC_INVALID: no root can ever have this name. The node is
	 * an owned copy. */
	enum rc (*lookup)(struct roots *roots, const struct op *op, struct view name,
			  struct node *out, struct err *err);
	/* At most `count` entries in a stable order, those behind `after` (0: from the start); *got
	 * 0 means the end. RC_NOT_PERMITTED where listing is off. */
	enum rc (*list)(struct roots *roots, const struct op *op, uint64_t after,
			struct root_entry *out, size_t count, size_t *got, struct err *err);
	/* Moves when the set changed. RC_UNSUPPORTED: cannot tell. Not called where it is fixed. */
	enum rc (*generation)(struct roots *roots, const struct op *op, uint64_t *out,
			      struct err *err);
};

struct roots {
	const struct roots_ops *ops;
};

/* Takes a reference on the service. list: whether listing is allowed. Names are store path
 * basenames, and must match whole, not just by their hash. */
struct roots *roots_path_info_new(struct path_info_service *service, bool list);
/* Copies the nodes; RC_INVALID for a bad or a double name. */
enum rc roots_list_new(const struct node *nodes, size_t count, struct roots **out,
		       struct err *err) MUST_USE;

#endif
