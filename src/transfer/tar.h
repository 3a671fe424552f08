/* tar archives in and out, by libarchive. */
#ifndef CASTOR_TRANSFER_TAR_H
#define CASTOR_TRANSFER_TAR_H

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/services.h"

/* Reads any tar that libarchive knows (compressed ones too) from fd, stores its tree, gives the
 * root directory node (owned, name empty). Paths with "..", absolute paths, double entries that
 * disagree, devices, fifos: RC_INVALID or RC_UNSUPPORTED, naming the entry. Hard links become the
 * same blob. "./" is dropped. Names are bytes. The tree is held in memory, about 150 bytes an
 * entry: past 16 million of them RC_TOO_LARGE. fd is read by another thread. */
enum rc tar_import(const struct services *services, const struct op *op, int fd, struct node *root,
		   struct err *err) MUST_USE;
/* Writes a pax tar to fd, uncompressed: entries in NAR order, mtime 1, owner 0, under the top-level
 * name `top` ("" for none). */
enum rc tar_export(const struct services *services, const struct op *op, const struct node *node,
		   const char *top, int fd, struct err *err) MUST_USE;

#endif
