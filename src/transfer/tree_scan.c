/* From a walk to blocks. Small files are left to the load stage; large ones are read here. */
#include "transfer/tree_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "transfer/tree_fill.h"

static bool scan_small(struct tree_fill *fill, const struct tree_walk_event *event,
		       const struct tree_fill_file *file)
{
	struct tree_block *block;
	struct tree_entry *entry;

	if (!tree_fill_small(fill, file, &entry))
		return false;
	block = fill->block;
	entry->quiet = event->quiet;
	entry->open_at = (uint32_t)block->text.len;
	buf_append(&block->text, event->open_name, strlen(event->open_name) + 1);
	entry->dir = tree_dir_ref(event->dir);
	if (event->dir != block->last_dir) {
		block->last_dir = event->dir;
		block->dir_count++;
	}
	block->needs_load = true;
	return true;
}

/* ---- Large files ---- */

struct large_read {
	const struct tree_walk_event *event;
	int fd;
	uint64_t at;
};

static enum rc read_large(void *context, void *out, size_t len, struct err *err)
{
	struct large_read *large = context;
	size_t done = 0;

	while (done < len) {
		ssize_t got =
			pread(large->fd, (char *)out + done, len - done, (off_t)(large->at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tree_file_errno(large->event->dir, large->event->open_name, errno,
					       err);
		if (got == 0)
			return tree_file_changed(large->event->dir, large->event->open_name, err);
		done += (size_t)got;
	}
	large->at += len;
	return RC_OK;
}

static enum rc scan_large(struct tree_fill *fill, const struct tree_walk_event *event,
			  struct tree_fill_file *file, bool *stopped, struct err *err)
{
	struct large_read large = { .event = event };
	int fd AUTO_FD = -1;
	enum rc rc = tree_file_open(event->dir, event->open_name, event->quiet, &fd, err);

	if (rc == RC_OK)
		rc = tree_file_check(event->dir, event->open_name, fd, &event->stat, err);
	if (rc != RC_OK)
		return rc;
	stat_cache_settle(fill->pipe->cache, &file->stat, fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	large.fd = fd;
	rc = tree_fill_large(fill, file, read_large, &large, stopped, err);
	if (rc != RC_OK || *stopped)
		return rc;
	return tree_file_check(event->dir, event->open_name, fd, &event->stat, err);
}

/* ---- The stage ---- */

static enum rc scan_event(struct tree_fill *fill, const struct tree_walk_event *event,
			  bool *stopped, struct err *err)
{
	struct tree_fill_file file;

	switch (event->kind) {
	case TREE_WALK_DIRECTORY:
		*stopped = !tree_fill_directory(fill, event->name);
		break;
	case TREE_WALK_DIRECTORY_END:
		*stopped = !tree_fill_directory_end(fill);
		break;
	case TREE_WALK_SYMLINK:
		*stopped = !tree_fill_symlink(fill, event->name, event->target);
		break;
	case TREE_WALK_FILE:
		file = (struct tree_fill_file){ .name = event->name,
						.size = event->stat.size,
						.executable = event->executable,
						.stat = event->stat };
		if (file.size > TREE_FILE_SMALL)
			return scan_large(fill, event, &file, stopped, err);
		*stopped = !scan_small(fill, event, &file);
		break;
	case TREE_WALK_END:
		break;
	}
	return RC_OK;
}

static void scan(struct tree_pipe *pipe, void *context)
{
	struct tree_walk *walk = context;
	struct tree_walk_event event = { .kind = TREE_WALK_DIRECTORY };
	struct err err = ERR_INIT;
	struct tree_fill fill;
	bool stopped = false;
	enum rc rc = RC_OK;

	tree_fill_init(&fill, pipe, false);
	while (event.kind != TREE_WALK_END && !stopped && rc == RC_OK) {
		if (tree_walk_open_dirs(walk) >= pipe->descriptors_max) {
			tree_fill_flush(&fill);
			if (!tree_pipe_wait_dirs(pipe, walk))
				break;
		}
		rc = tree_walk_next(walk, &event, &err);
		if (rc == RC_OK)
			rc = scan_event(&fill, &event, &stopped, &err);
	}
	tree_fill_finish(&fill, rc, &err);
}

struct tree_source tree_scan(struct tree_walk *walk)
{
	return (struct tree_source){ .fill = scan, .context = walk, .loads = true };
}
