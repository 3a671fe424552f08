/*
 * Reads the tree of a node in NAR order: what every way out (NAR, tar, a tree on disk) is made of.
 * The contents of the next files are brought and decoded by other threads meanwhile, within a few
 * megabytes. Everything is checked: what is missing, or has another size than its node says, is
 * RC_CORRUPT, naming the digest, and first the path below the root; a tree deeper than NODE_DEPTH_MAX is RC_TOO_LARGE.
 */
#ifndef CASTOR_TRANSFER_TREE_READ_H
#define CASTOR_TRANSFER_TREE_READ_H

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/services.h"

enum tree_event_kind {
	TREE_DIRECTORY,
	TREE_DIRECTORY_END,
	TREE_FILE, /* then TREE_DATA until its size is reached, never empty */
	TREE_DATA,
	TREE_FILE_END,
	TREE_SYMLINK,
	TREE_END,
};

struct tree_event {
	enum tree_event_kind kind;
	/* Valid until the next call. The root's name is what the caller gave. Of a directory also
	 * at its end, of a file also with its data and at its end. */
	const struct node *node;
	struct view data;
};

struct tree_reader;

/* Borrows services (blobs and directories) and op, copies the node. A root directory whose size
 * field is 0 may have any size. One thread at a time. */
struct tree_reader *tree_reader_new(const struct services *services, const struct op *op,
				    const struct node *root);
void tree_reader_free(struct tree_reader *reader); /* NULL is fine */
/* After a failure every call fails the same way. */
enum rc tree_reader_next(struct tree_reader *reader, struct tree_event *out,
			 struct err *err) MUST_USE;

void tree_reader_cleanup(struct tree_reader **reader);
#define AUTO_TREE_READER CLEANUP(tree_reader_cleanup)

#endif
