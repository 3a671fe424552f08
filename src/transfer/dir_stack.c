/* Directories on disk, walked down and up with few descriptors, and removed. */
#include "transfer/dir_stack.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

enum { OPEN_MAX_LEVELS = 32, SHOWN_MAX = 500 };

static int open_directory(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int dir_stack_fd(const struct dir_stack *stack)
{
	assert(stack->depth > 0);
	return stack->levels[stack->depth - 1].fd;
}

const char *dir_stack_name(const struct dir_stack *stack)
{
	assert(stack->depth > 0);
	return (const char *)stack->names.ptr + stack->levels[stack->depth - 1].name_at;
}

const char *dir_stack_path(const struct dir_stack *stack, const char *name, struct buf *out)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	size_t skip;

	for (size_t i = 0; i < stack->depth; i++) {
		buf_append_string(&path, (const char *)stack->names.ptr + stack->levels[i].name_at);
		if (name || i + 1 < stack->depth)
			buf_append_byte(&path, '/');
	}
	if (name)
		buf_append_string(&path, name);
	skip = path.len > SHOWN_MAX ? path.len - SHOWN_MAX : 0;
	if (skip > 0)
		buf_append_string(out, "…");
	text_printable(view_slice(buf_view(&path), skip, path.len - skip), out);
	return buf_string(out);
}

/* The failed call's sentence, naming a path in the innermost directory. */
static enum rc failed(const struct dir_stack *stack, const char *what, const char *name,
		      struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	int errnum = errno;

	return err_errno(err, errnum, "cannot %s %s", what, dir_stack_path(stack, name, &path));
}

enum rc dir_stack_push(struct dir_stack *stack, int dirfd, const char *name, struct err *err)
{
	int fd = open_directory(stack->depth > 0 ? dir_stack_fd(stack) : dirfd, name);
	struct dir_level *level;
	struct stat st;

	if (fd < 0)
		return failed(stack, "open", name, err);
	if (fstat(fd, &st) != 0) {
		enum rc rc = failed(stack, "stat", name, err);

		close(fd);
		return rc;
	}
	stack->levels =
		mem_grow(stack->levels, stack->depth, &stack->cap, 16, sizeof(*stack->levels));
	if (stack->depth >= OPEN_MAX_LEVELS) {
		level = &stack->levels[stack->depth - OPEN_MAX_LEVELS];
		if (level->fd >= 0)
			close(level->fd);
		level->fd = -1;
	}
	stack->levels[stack->depth++] = (struct dir_level){
		.fd = fd, .device = st.st_dev, .inode = st.st_ino, .name_at = stack->names.len
	};
	buf_append(&stack->names, name, strlen(name) + 1);
	return RC_OK;
}

/* Opens the directory above the innermost, which was closed. */
static enum rc reopen_above(struct dir_stack *stack, struct err *err)
{
	struct dir_level *above = &stack->levels[stack->depth - 2];
	int fd = open_directory(dir_stack_fd(stack), "..");
	struct stat st;

	if (fd < 0)
		return failed(stack, "open the directory above", NULL, err);
	if (fstat(fd, &st) != 0 || st.st_dev != above->device || st.st_ino != above->inode) {
		struct buf path CLEANUP(buf_release) = BUF_INIT;

		close(fd);
		return err_set(err, RC_FAILED_PRECONDITION, "%s was moved by somebody else",
			       dir_stack_path(stack, NULL, &path));
	}
	above->fd = fd;
	return RC_OK;
}

enum rc dir_stack_pop(struct dir_stack *stack, struct err *err)
{
	const struct dir_level *level;

	assert(stack->depth > 0);
	if (stack->depth > 1 && stack->levels[stack->depth - 2].fd < 0) {
		enum rc rc = reopen_above(stack, err);

		if (rc != RC_OK)
			return rc;
	}
	level = &stack->levels[--stack->depth];
	close(level->fd);
	stack->names.len = level->name_at;
	return RC_OK;
}

void dir_stack_release(struct dir_stack *stack)
{
	while (stack->depth > 0) {
		int fd = stack->levels[--stack->depth].fd;

		if (fd >= 0)
			close(fd);
	}
	free(stack->levels);
	buf_release(&stack->names);
	*stack = (struct dir_stack)DIR_STACK_INIT;
}

/* ---- Removal ---- */

/*
 * Removes what it can from the innermost directory. *inner: the name of a directory in it, which
 * has to be emptied first; NULL: nothing is left. Owned by the caller.
 */
static enum rc remove_entries(const struct dir_stack *stack, char **inner, struct err *err)
{
	int fd = open_directory(dir_stack_fd(stack), ".");
	DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	enum rc rc = RC_OK;

	*inner = NULL;
	if (!listing) {
		rc = failed(stack, "list", NULL, err);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == RC_OK && !*inner) {
		errno = 0;
		entry = readdir(listing);
		if (!entry) {
			if (errno != 0)
				rc = failed(stack, "list", NULL, err);
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dir_stack_fd(stack), entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		/* Linux says EISDIR, POSIX EPERM. */
		if (errno == EISDIR || errno == EPERM)
			*inner = mem_strdup(entry->d_name);
		else
			rc = failed(stack, "remove", entry->d_name, err);
	}
	closedir(listing);
	return rc;
}

/* Empties the innermost directory and removes it from the one above. */
static enum rc step_out(struct dir_stack *stack, int dirfd, struct err *err)
{
	AUTO_FREE char *name = mem_strdup(dir_stack_name(stack));
	enum rc rc = dir_stack_pop(stack, err);

	if (rc != RC_OK)
		return rc;
	if (unlinkat(stack->depth > 0 ? dir_stack_fd(stack) : dirfd, name, AT_REMOVEDIR) != 0)
		return failed(stack, "remove", name, err);
	return RC_OK;
}

static enum rc step_in(struct dir_stack *stack, int dirfd, const char *name, struct err *err)
{
	enum rc rc = dir_stack_push(stack, dirfd, name, err);

	if (rc == RC_OK && fchmod(dir_stack_fd(stack), 0700) != 0)
		rc = failed(stack, "change the mode of", NULL, err);
	return rc;
}

enum rc dir_remove(int dirfd, const char *name, struct err *err)
{
	struct dir_stack stack CLEANUP(dir_stack_release) = DIR_STACK_INIT;
	enum rc rc;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return RC_OK;
	if (errno != EISDIR && errno != EPERM)
		return failed(&stack, "remove", name, err);
	rc = step_in(&stack, dirfd, name, err);
	while (rc == RC_OK && stack.depth > 0) {
		AUTO_FREE char *inner = NULL;

		rc = remove_entries(&stack, &inner, err);
		if (rc != RC_OK)
			break;
		rc = inner ? step_in(&stack, dirfd, inner, err) : step_out(&stack, dirfd, err);
	}
	return rc;
}
