/* A node: what a name stands for. A file, a symlink, or a directory, by digest. */
#ifndef CASTOR_CASTORE_NODE_H
#define CASTOR_CASTORE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_SYMLINK };

/* Limits that castor keeps everywhere. The root of a tree has depth 1. */
enum { NODE_NAME_MAX = 255, NODE_TARGET_MAX = 4095, NODE_DEPTH_MAX = 1000 };

struct node {
	enum node_kind kind;
	bool executable;      /* files only */
	uint64_t size;        /* a file's bytes; a directory's size field (see directory.h) */
	struct digest digest; /* files and directories */
	struct view name;     /* may be empty for a root node */
	struct view target;   /* symlinks only */
};
/* A struct node borrows its name and target, unless node_copy made it: then node_release frees
 * them. */

void node_copy(struct node *out, const struct node *in);
void node_release(struct node *node);
/* Equal in everything, the names included. */
bool node_equal(const struct node *a, const struct node *b);

/* RC_INVALID with a sentence about what is wrong with it: empty, ".", "..", a '/', a NUL, too long.
 */
enum rc node_check_name(struct view name, struct err *err) MUST_USE;
enum rc node_check_target(struct view target, struct err *err) MUST_USE;

/* The protobuf message Node (tvix.castore.v1.Node, snix.castore.v1.Entry): canonical bytes,
 * appended. with_name false writes it with an empty name: the key under which NAR facts are kept.
 */
void node_encode(const struct node *node, bool with_name, struct buf *out);
/* Strict: canonical, valid; borrows from message. The name may be empty. */
enum rc node_decode(struct view message, struct node *out, struct err *err) MUST_USE;

/* As people write it: "directory:<hex>:<size field>", "file:<hex>:<bytes>[:x]", "symlink:<target>";
 * a bare hex digest is a directory (its size field 0: unknown). */
void node_print(const struct node *node, struct buf *out);
/* Borrows from text; the name is left empty. */
enum rc node_parse(struct view text, struct node *out, struct err *err) MUST_USE;

#endif
