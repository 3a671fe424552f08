/* NARs in and out, and the facts of a NAR. */
#ifndef CASTOR_TRANSFER_NAR_H
#define CASTOR_TRANSFER_NAR_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/path_info/nar_facts.h"
#include "service/services.h"

/* Takes the next bytes; anything but RC_OK ends the transfer with that outcome. */
typedef enum rc nar_sink(void *context, struct view bytes, struct err *err);
/* Fills out with up to len bytes; *got 0: the end. */
typedef enum rc nar_source(void *context, void *out, size_t len, size_t *got, struct err *err);

/* The NAR of a node, in order; the sink is called by this thread. RC_CORRUPT where something is
 * missing or a size is wrong, naming the digest. */
enum rc nar_export(const struct services *services, const struct op *op, const struct node *node,
		   nar_sink *sink, void *context, struct err *err) MUST_USE;

/* Reads one NAR (and RC_INVALID for bytes after it), stores blobs and directories, and gives the
 * root node (owned, name empty) and the NAR's size and hash, which it remembers. Publishes no path
 * info. The source is called by another thread, one call at a time, and never after this returned; a
 * failure elsewhere waits for a call that is under way. */
enum rc nar_import(const struct services *services, const struct op *op, nar_source *source,
		   void *context, struct node *root, struct nar_facts *facts,
		   struct err *err) MUST_USE;

/* The same of a source that goes on behind the NAR: what was read of that is appended to *rest. */
enum rc nar_import_front(const struct services *services, const struct op *op, nar_source *source,
			 void *context, struct buf *rest, struct node *root,
			 struct nar_facts *facts, struct err *err) MUST_USE;

/* From services->nar_facts (may be NULL), else computed by nar_export and remembered. */
enum rc nar_facts_of(const struct services *services, const struct op *op, const struct node *node,
		     struct nar_facts *out, struct err *err) MUST_USE;

#endif
