/*
 * The messages DirectoryNode, FileNode and SymlinkNode: what Node and Directory are made of. For
 * node.c and directory.c only.
 *
 *	DirectoryNode: bytes name = 1, bytes digest = 2, uint64 size = 3
 *	FileNode:      the same, and bool executable = 4
 *	SymlinkNode:   bytes name = 1, bytes target = 2
 */
#ifndef CASTOR_CASTORE_NODE_BODY_H
#define CASTOR_CASTORE_NODE_BODY_H

#include "base/buf.h"
#include "base/err.h"
#include "castore/node.h"

/* Directory and Node number their fields alike. */
enum { NODE_FIELD_DIRECTORY = 1, NODE_FIELD_FILE = 2, NODE_FIELD_SYMLINK = 3 };

uint32_t node_body_field(enum node_kind kind);
/* False: no kind has that field. */
bool node_body_kind(uint32_t field, enum node_kind *out);

/* The least bytes that a valid body of an entry (so with a name) can have. */
size_t node_body_least(enum node_kind kind);
size_t node_body_size(const struct node *node);
void node_body_append(const struct node *node, struct buf *out);
/* Canonical and valid, or RC_INVALID; does not look at the name. Borrows from body. */
enum rc node_body_decode(enum node_kind kind, struct view body, struct node *out,
			 struct err *err) MUST_USE;

#endif
