/*
 * The directories of a path that is being made or removed on disk, from a first one down to the
 * innermost. Only the innermost few are held open, whatever the depth. No symlink is ever followed:
 * downwards each is opened by O_NOFOLLOW, and upwards ".." must be the directory that was left.
 */
#ifndef CASTOR_TRANSFER_DIR_STACK_H
#define CASTOR_TRANSFER_DIR_STACK_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct dir_level {
	int fd; /* -1: not open at the moment */
	dev_t device;
	ino_t inode;
	size_t name_at; /* in names, with a NUL after it */
};

struct dir_stack {
	struct dir_level *levels;
	size_t depth, cap;
	struct buf names;
};
#define DIR_STACK_INIT                                                                             \
	{                                                                                          \
		.depth = 0, .names = BUF_INIT                                                      \
	}

/* Opens the directory `name` in the innermost one (in dirfd where the stack is empty). */
enum rc dir_stack_push(struct dir_stack *stack, int dirfd, const char *name,
		       struct err *err) MUST_USE;
/* Leaves the innermost. RC_FAILED_PRECONDITION where it was moved meanwhile. */
enum rc dir_stack_pop(struct dir_stack *stack, struct err *err) MUST_USE;
int dir_stack_fd(const struct dir_stack *stack);           /* of the innermost; borrowed */
const char *dir_stack_name(const struct dir_stack *stack); /* its name; until the next change */
/* The way from the first to `name` in the innermost (NULL: the innermost itself), made safe to
 * print. Appends; returns the text. */
const char *dir_stack_path(const struct dir_stack *stack, const char *name, struct buf *out);
void dir_stack_release(struct dir_stack *stack);

/* Removes `name` in dirfd, whatever it is, with all that is in it; also read-only directories. */
enum rc dir_remove(int dirfd, const char *name, struct err *err) MUST_USE;

#endif
