/*
 * Fills the blocks of a pipeline (tree_pipe.h) from nodes that come in NAR order: writes the NAR's
 * framing, leaves room for the content of small files, and cuts the large ones. What brings the
 * nodes, a walk or a NAR, is the caller, in the pipeline's `fill` thread.
 *
 * Of the bool results, false means that the pipeline failed elsewhere: there is nothing more to do.
 */
#ifndef CASTOR_TRANSFER_TREE_FILL_H
#define CASTOR_TRANSFER_TREE_FILL_H

#include "transfer/tree_pipe.h"

struct tree_fill {
	struct tree_pipe *pipe;
	bool bare; /* no framing: blobs in no order, for which there is no NAR */
	struct tree_block
		*block;     /* being filled; NULL after a failure of the pipe, or before any */
	struct buf framing; /* not yet in a block */
	struct buf carry;   /* of a large file: what did not make a chunk in its block */
	size_t depth;
};

/* A file about to be filled. */
struct tree_fill_file {
	struct view name;
	uint64_t size;
	bool executable;
	struct tree_stat stat; /* for the stat cache */
};

/* Brings the next len bytes of a large file. */
typedef enum rc tree_fill_read(void *context, void *out, size_t len, struct err *err);

void tree_fill_init(struct tree_fill *fill, struct tree_pipe *pipe, bool bare);
bool tree_fill_directory(struct tree_fill *fill, struct view name);
bool tree_fill_directory_end(struct tree_fill *fill);
bool tree_fill_symlink(struct tree_fill *fill, struct view name, struct view target);
/* A file of at most TREE_FILE_SMALL bytes. *out has its room, at block->bytes + out->at, which the
 * caller fills before the next call, or the load stage does (the caller sets what that needs). */
bool tree_fill_small(struct tree_fill *fill, const struct tree_fill_file *file,
		     struct tree_entry **out);
/* Any other file. *stopped: the pipeline failed. */
enum rc tree_fill_large(struct tree_fill *fill, const struct tree_fill_file *file,
			tree_fill_read *read, void *context, bool *stopped,
			struct err *err) MUST_USE;
/* Sends the block on its way. */
void tree_fill_flush(struct tree_fill *fill);
/* Once, at the end: everything was filled (rc RC_OK), or err says why not. */
void tree_fill_finish(struct tree_fill *fill, enum rc rc, const struct err *err);

#endif
