/* Writes a stored tree to disk. Directories are 0700 until all that is in them is made. */
#include "transfer/tree_out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "transfer/dir_stack.h"
#include "transfer/tree_read.h"

/* Runs of so many zeros, at a multiple of it, are left out: a hole is of whole blocks of the filesystem. */
enum { HOLE_BYTES = 4096 };

static const struct timespec one_second[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

struct tree_out {
	int parent; /* where the root is made */
	const char *root_name;
	struct dir_stack dirs;
	bool made;        /* the root is there, and ours */
	int file;         /* being written, or -1 */
	uint64_t written; /* of it, with holes */
	bool at_hole;     /* the file's end is before that */
	/* Of the node that is being made, NUL-terminated. */
	char name[NODE_NAME_MAX + 1];
	char target[NODE_TARGET_MAX + 1];
};

static enum rc failed(const struct tree_out *out, const char *what, const char *name,
		      struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	int errnum = errno;

	return err_errno(err, errnum, "cannot %s %s", what,
			 dir_stack_path(&out->dirs, name, &path));
}

static int current_dir(const struct tree_out *out)
{
	return out->dirs.depth > 0 ? dir_stack_fd(&out->dirs) : out->parent;
}

/* The name under which a node is made: of the root, the one that was asked for. */
static const char *name_of(struct tree_out *out, const struct node *node)
{
	if (out->dirs.depth == 0)
		return out->root_name;
	memcpy(out->name, node->name.ptr, node->name.len);
	out->name[node->name.len] = '\0';
	return out->name;
}

static enum rc begin_directory(struct tree_out *out, const char *name, struct err *err)
{
	if (mkdirat(current_dir(out), name, 0700) != 0)
		return failed(out, "make", name, err);
	out->made = true;
	return dir_stack_push(&out->dirs, out->parent, name, err);
}

static enum rc end_directory(struct tree_out *out, struct err *err)
{
	int fd = dir_stack_fd(&out->dirs);

	if (fchmod(fd, 0555) != 0 || futimens(fd, one_second) != 0)
		return failed(out, "set mode and time of", NULL, err);
	return dir_stack_pop(&out->dirs, err);
}

static enum rc begin_file(struct tree_out *out, const char *name, struct err *err)
{
	out->file = openat(current_dir(out), name,
			   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out->file < 0)
		return failed(out, "make", name, err);
	out->made = true;
	out->written = 0;
	out->at_hole = false;
	return RC_OK;
}

static bool is_zero(struct view bytes)
{
	return bytes.ptr[0] == 0 && memcmp(bytes.ptr, bytes.ptr + 1, bytes.len - 1) == 0;
}

/* What is to be written, or left out, at once from the front: the same of all its blocks. */
static struct view take_run(const struct tree_out *out, struct view data, bool *hole)
{
	size_t len = 0;

	while (len < data.len) {
		size_t block = HOLE_BYTES - (size_t)((out->written + len) % HOLE_BYTES);
		bool zero;

		if (block > data.len - len)
			block = data.len - len;
		zero = block == HOLE_BYTES && is_zero(view_slice(data, len, block));
		if (len == 0)
			*hole = zero;
		else if (*hole != zero)
			break;
		len += block;
	}
	return view_slice(data, 0, len);
}

static enum rc write_data(struct tree_out *out, struct view data, const char *name, struct err *err)
{
	while (data.len > 0) {
		bool hole;
		struct view run = take_run(out, data, &hole);
		enum rc rc = RC_OK;

		if (!hole && out->at_hole && lseek(out->file, (off_t)out->written, SEEK_SET) < 0)
			return failed(out, "seek in", name, err);
		if (!hole)
			rc = file_write_all(out->file, run.ptr, run.len, name, err);
		if (rc != RC_OK)
			return rc;
		out->at_hole = hole;
		out->written += run.len;
		data = view_slice(data, run.len, data.len - run.len);
	}
	return RC_OK;
}

static enum rc end_file(struct tree_out *out, const struct node *node, const char *name,
			struct err *err)
{
	int fd = out->file;

	if (out->at_hole && ftruncate(fd, (off_t)out->written) != 0)
		return failed(out, "set the size of", name, err);
	if (fchmod(fd, node->executable ? 0555 : 0444) != 0 || futimens(fd, one_second) != 0)
		return failed(out, "set mode and time of", name, err);
	out->file = -1;
	if (close(fd) != 0)
		return failed(out, "close", name, err);
	return RC_OK;
}

static enum rc make_symlink(struct tree_out *out, const struct node *node, const char *name,
			    struct err *err)
{
	int dirfd = current_dir(out);

	memcpy(out->target, node->target.ptr, node->target.len);
	out->target[node->target.len] = '\0';
	if (symlinkat(out->target, dirfd, name) != 0)
		return failed(out, "make", name, err);
	out->made = true;
	if (utimensat(dirfd, name, one_second, AT_SYMLINK_NOFOLLOW) != 0)
		return failed(out, "set the time of", name, err);
	return RC_OK;
}

static enum rc make(struct tree_out *out, const struct tree_event *event, struct err *err)
{
	switch (event->kind) {
	case TREE_DIRECTORY:
		return begin_directory(out, name_of(out, event->node), err);
	case TREE_DIRECTORY_END:
		return end_directory(out, err);
	case TREE_FILE:
		return begin_file(out, name_of(out, event->node), err);
	case TREE_DATA:
		return write_data(out, event->data, name_of(out, event->node), err);
	case TREE_FILE_END:
		return end_file(out, event->node, name_of(out, event->node), err);
	case TREE_SYMLINK:
		return make_symlink(out, event->node, name_of(out, event->node), err);
	case TREE_END:
		break;
	}
	return RC_OK;
}

/* After a failure; what it cannot remove, it names. */
static enum rc remove_made(struct tree_out *out, enum rc rc, struct err *err)
{
	struct err why = ERR_INIT;

	if (out->file >= 0)
		close(out->file);
	out->file = -1;
	dir_stack_release(&out->dirs);
	if (out->made && dir_remove(out->parent, out->root_name, &why) != RC_OK) {
		struct err first = err ? *err : (struct err)ERR_INIT;

		err_set(err, rc, "%s; moreover, what was made is left: %s", first.message,
			why.message);
	}
	return rc;
}

/* "a/b/" is the name "b" in "a". *parent and *name are owned by the caller. */
static enum rc split(const char *path, char **parent, char **name, struct err *err)
{
	size_t end = strlen(path), start;

	while (end > 1 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	*name = mem_strndup(view_of(path + start, end - start));
	*parent = start > 0 ? mem_strndup(view_of(path, start)) : mem_strdup(".");
	if (end == 0)
		return err_set(err, RC_INVALID, "an empty path to export to");
	if (strcmp(*name, "") == 0 || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
		return err_set(err, RC_EXISTS, "%s is there already", path);
	return RC_OK;
}

enum rc tree_export(const struct services *services, const struct op *op, const struct node *node,
		    const char *path, struct err *err)
{
	AUTO_FREE char *parent = NULL, *name = NULL;
	AUTO_TREE_READER struct tree_reader *reader = NULL;
	struct tree_out out = { .dirs = DIR_STACK_INIT, .file = -1 };
	struct tree_event event;
	AUTO_FD int parent_fd = -1;
	enum rc rc = split(path, &parent, &name, err);

	if (rc != RC_OK)
		return rc;
	parent_fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd < 0)
		return err_errno(err, errno, "cannot open %s", parent);
	out.parent = parent_fd;
	out.root_name = name;
	reader = tree_reader_new(services, op, node);
	do {
		rc = tree_reader_next(reader, &event, err);
		if (rc == RC_OK)
			rc = make(&out, &event, err);
	} while (rc == RC_OK && event.kind != TREE_END);
	if (rc != RC_OK)
		return remove_made(&out, rc, err);
	dir_stack_release(&out.dirs);
	return RC_OK;
}
