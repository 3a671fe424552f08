/* tar archives in and out, by libarchive. */
#ifndef CASTOR_TRANSFER_TAR_H
#define CASTOR_TRANSFER_TAR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/services.h"

struct tar_import_options {
	/* So many components are taken from the front of each path and of each hard link's target, as tar(1)
	 * counts them ("." is one); what has no more of them is skipped. RC_INVALID if nothing is left. */
	unsigned strip_components;
	/* Of entries of one name the last one counts, as when tar unpacks; what lay in a directory that something
	 * else replaces is gone. */
	bool last_wins;
};

/* Reads any tar that libarchive knows (compressed ones too) from fd, stores its tree, gives the
 * root directory node (owned, name empty). Paths with "..", absolute paths, double entries that
 * disagree, devices, fifos: RC_INVALID or RC_UNSUPPORTED, naming the entry. Hard links become the
 * same blob. "./" is dropped. Names are bytes. The tree is held in memory, about 150 bytes an
 * entry: past 16 million of them RC_TOO_LARGE. fd is read by another thread. options: NULL for none. */
enum rc tar_import(const struct services *services, const struct op *op, int fd,
		   const struct tar_import_options *options, struct node *root,
		   struct err *err) MUST_USE;
/* Writes a pax tar to fd, uncompressed: entries in NAR order, mtime 1, owner 0, under the top-level
 * name `top` ("" for none). Runs of zeros of 2 MiB and more are left out, as holes (GNU.sparse, version 1.0). */
enum rc tar_export(const struct services *services, const struct op *op, const struct node *node,
		   const char *top, int fd, struct err *err) MUST_USE;

#endif
