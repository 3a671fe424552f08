/*
 * Walks a tree on disk in NAR order: the names of each directory sorted bytewise, depth first.
 *
 * Nothing is followed: every name is opened relative to the descriptor of its directory, with
 * O_NOFOLLOW. At most TREE_WALK_DESCRIPTORS descriptors are held by the walk itself, however deep
 * the tree; a parent that was given up is opened again through "..", and must be the directory it
 * was. Mount points are directories like others, unless told otherwise.
 */
#ifndef CASTOR_TRANSFER_TREE_WALK_H
#define CASTOR_TRANSFER_TREE_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "transfer/tree_exclude.h"

enum { TREE_WALK_DESCRIPTORS = 32 };

struct tree_walk;

/* An open directory of the tree. Shared between threads by count; the last user closes it. */
struct tree_dir;
struct tree_dir *tree_dir_ref(struct tree_dir *dir);
void tree_dir_unref(struct tree_dir *dir); /* NULL is fine */

/* What identifies a file's content to a stat cache. */
struct tree_stat {
	/* Unique from one boot to the next; 0: not known, or of a kind whose times prove nothing
	 * (docs/decisions/0006-stat-cache.md). */
	uint64_t mount;
	uint64_t filesystem; /* f_fsid: tells subvolumes of a mount apart */
	uint64_t device, inode, size;
	struct timespec mtime, ctime;
};
bool tree_stat_equal(const struct tree_stat *a, const struct tree_stat *b);

enum tree_walk_kind {
	TREE_WALK_DIRECTORY,
	TREE_WALK_DIRECTORY_END,
	TREE_WALK_FILE,
	TREE_WALK_SYMLINK,
	TREE_WALK_END, /* the root is complete */
};

/* Borrows from the walk, until the next call. */
struct tree_walk_event {
	enum tree_walk_kind kind;
	struct view name;   /* empty for the root */
	struct view target; /* of a symlink */
	bool executable;    /* by its owner, as Nix sees it */
	bool quiet;         /* files: O_NOATIME is worth a try */
	struct tree_stat stat;
	/* Where to open a file: dir, and a name in it (a path, for the root). */
	struct tree_dir *dir;
	const char *open_name;
};

struct tree_walk_options {
	const struct tree_exclude *exclude; /* borrowed; NULL: nothing is left out */
	bool one_filesystem; /* what is mounted below (of another device) is an empty directory */
	bool skip_special;   /* sockets, fifos and devices are left out, with a warning */
	bool silent;         /* without it */
};

/* RC_NOT_FOUND: nothing is at `path`. Copies options; NULL: none of them. */
enum rc tree_walk_new(const char *path, const struct tree_walk_options *options,
		      struct tree_walk **out, struct err *err) MUST_USE;
/* So many special files were left out so far. */
uint64_t tree_walk_skipped(const struct tree_walk *walk);
void tree_walk_free(struct tree_walk *walk); /* NULL is fine; leaves referenced tree_dirs whole */
/* Errors name the file: RC_DENIED, RC_UNSUPPORTED (neither file, directory nor symlink),
 * RC_FAILED_PRECONDITION (vanished or replaced meanwhile), RC_TOO_LARGE (too deep; a directory or
 * name past castor's limits). */
enum rc tree_walk_next(struct tree_walk *walk, struct tree_walk_event *out,
		       struct err *err) MUST_USE;
/* Descriptors of directories that are open at the moment, users of tree_dir_ref included.
 * Thread-safe. */
unsigned tree_walk_open_dirs(const struct tree_walk *walk);

/* Opens a file for reading; what was opened tells tree_file_check. Thread-safe, as all of these. */
enum rc tree_file_open(struct tree_dir *dir, const char *name, bool quiet, int *fd,
		       struct err *err) MUST_USE;
/* After reading: is it the file that the walk saw, and still as it was? RC_FAILED_PRECONDITION. */
enum rc tree_file_check(struct tree_dir *dir, const char *name, int fd,
			const struct tree_stat *expected, struct err *err) MUST_USE;
/* The sentence for a file that gave fewer or more bytes than it should. */
enum rc tree_file_changed(struct tree_dir *dir, const char *name, struct err *err);
/* The sentence for a failed system call on a file. */
enum rc tree_file_errno(struct tree_dir *dir, const char *name, int errnum, struct err *err);

#endif
