/*
 * The tree that the entries of a tar archive make, in whatever order they come; kept in memory,
 * about 150 bytes an entry, without contents. Sentences name no entry: the caller does.
 */
#ifndef CASTOR_TRANSFER_TAR_TREE_H
#define CASTOR_TRANSFER_TAR_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "castore/digest.h"
#include "transfer/tree_build.h"

/* Directories that no entry names count too. */
enum { TAR_ENTRIES_MAX = 16 << 20 };

struct tar_blob {
	struct digest digest;
	uint64_t size;
};

struct tar_tree;
/* last_wins: of entries of one name the last one counts; else they must say the same. */
struct tar_tree *tar_tree_new(bool last_wins);
void tar_tree_free(struct tar_tree *tree); /* NULL is fine */

/* Paths as archives have them: RC_INVALID for absolute ones, for "..", names that no node can have,
 * for a path through something that is no directory, and (unless the last one wins) where an earlier entry says something
 * else; RC_TOO_LARGE for what is too deep, or too much. "." and empty components are dropped. */
enum rc tar_tree_directory(struct tar_tree *tree, struct view path, struct err *err) MUST_USE;
enum rc tar_tree_symlink(struct tar_tree *tree, struct view path, struct view target,
			 struct err *err) MUST_USE;
/* A file whose content is blob number `blob`. */
enum rc tar_tree_file(struct tar_tree *tree, struct view path, bool executable, size_t blob,
		      struct err *err) MUST_USE;
/* Another name of an earlier file or symlink. */
enum rc tar_tree_link(struct tar_tree *tree, struct view path, struct view target,
		      struct err *err) MUST_USE;
bool tar_tree_is_empty(const struct tar_tree *tree);

/* Builds all of it. RC_INVALID, naming it, for a file that came twice with other content. */
enum rc tar_tree_build(const struct tar_tree *tree, const struct tar_blob *blobs,
		       struct tree_build *build, const struct op *op, struct err *err) MUST_USE;

#endif
