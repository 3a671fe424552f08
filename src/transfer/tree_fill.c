/*
 * The first stage of an import: from a walk to blocks. Writes the NAR's framing into the block,
 * leaves room for the content of small files, and reads and cuts the large ones itself: one
 * thread, in NAR order. That is fast enough (reading, cutting and BLAKE3 together pass 1.5 GB/s,
 * as does the one SHA-256 chain of the NAR), and it keeps the order in which memory is taken that
 * of the sequence.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "nix/nar_writer.h"
#include "transfer/tree_pipe.h"

struct fill {
	struct tree_pipe *pipe;
	struct tree_block
		*block;     /* being filled; NULL after a failure of the pipe, or before any */
	struct buf framing; /* not yet in a block */
	struct buf carry;   /* of a large file: what did not make a chunk in its block */
	size_t depth;
};

static void publish(struct fill *fill)
{
	if (!fill->block)
		return;
	if (fill->block->len > 0 || fill->block->entry_count > 0) {
		tree_pipe_publish(fill->pipe, fill->block);
		fill->block = NULL;
	}
}

/* A block with room for the framing that waits and `more` bytes after it, one entry and `text`
 * bytes of names. False: the import failed. */
static bool make_room(struct fill *fill, size_t more)
{
	size_t need = fill->framing.len + more;
	struct tree_block *block = fill->block;

	if (block && (block->size - block->len < need || block->entry_count == TREE_ENTRIES_MAX ||
		      block->content >= TREE_BLOCK_FULL || block->dir_count >= TREE_DIRS_MAX))
		publish(fill);
	if (!fill->block)
		fill->block = tree_pipe_new_block(fill->pipe, need);
	return fill->block != NULL;
}

static void write_framing(struct fill *fill)
{
	struct tree_block *block = fill->block;

	if (fill->framing.len > 0)
		memcpy(block->bytes + block->len, fill->framing.ptr, fill->framing.len);
	block->len += fill->framing.len;
	buf_clear(&fill->framing);
}

static uint32_t add_text(struct tree_block *block, struct view text)
{
	uint32_t at = (uint32_t)block->text.len;

	buf_append_view(&block->text, text);
	return at;
}

/* make_room has been called. */
static struct tree_entry *new_entry(struct fill *fill, enum tree_entry_kind kind, struct view name)
{
	struct tree_entry *entry = &fill->block->entries[fill->block->entry_count++];

	*entry = (struct tree_entry){ .kind = kind, .name_len = (uint32_t)name.len };
	entry->name_at = add_text(fill->block, name);
	return entry;
}

static bool fill_directory(struct fill *fill, const struct tree_walk_event *event)
{
	bool begin = event->kind == TREE_WALK_DIRECTORY;

	atomic_fetch_add_explicit(&fill->pipe->directories, begin ? 1 : 0, memory_order_relaxed);
	if (begin) {
		if (fill->depth++ > 0)
			nar_entry_begin(&fill->framing, event->name);
		nar_directory_begin(&fill->framing);
	} else {
		nar_directory_end(&fill->framing);
		if (--fill->depth > 0)
			nar_entry_end(&fill->framing);
	}
	if (!make_room(fill, 0))
		return false;
	write_framing(fill);
	new_entry(fill, begin ? TREE_ENTRY_BEGIN : TREE_ENTRY_END, event->name);
	return true;
}

static bool fill_symlink(struct fill *fill, const struct tree_walk_event *event)
{
	struct tree_entry *entry;

	atomic_fetch_add_explicit(&fill->pipe->symlinks, 1, memory_order_relaxed);
	if (fill->depth > 0)
		nar_entry_begin(&fill->framing, event->name);
	nar_symlink(&fill->framing, event->target);
	if (fill->depth > 0)
		nar_entry_end(&fill->framing);
	if (!make_room(fill, 0))
		return false;
	write_framing(fill);
	entry = new_entry(fill, TREE_ENTRY_SYMLINK, event->name);
	entry->target_at = add_text(fill->block, event->target);
	entry->target_len = (uint32_t)event->target.len;
	return true;
}

/* Padding and what closes a file; goes out with the next framing. */
static void close_file(struct fill *fill, uint64_t size)
{
	nar_file_end(&fill->framing, size);
	if (fill->depth > 0)
		nar_entry_end(&fill->framing);
}

static bool fill_small(struct fill *fill, const struct tree_walk_event *event)
{
	struct tree_block *block;
	struct tree_entry *entry;

	if (!make_room(fill, (size_t)event->stat.size))
		return false;
	block = fill->block;
	write_framing(fill);
	entry = new_entry(fill, TREE_ENTRY_FILE, event->name);
	entry->executable = event->executable;
	entry->quiet = event->quiet;
	entry->open_at = add_text(block, view_of(event->open_name, strlen(event->open_name) + 1));
	entry->stat = event->stat;
	entry->size = event->stat.size;
	entry->at = block->len;
	entry->dir = tree_dir_ref(event->dir);
	if (event->dir != block->last_dir) {
		block->last_dir = event->dir;
		block->dir_count++;
	}
	block->len += (size_t)event->stat.size;
	block->content += (size_t)event->stat.size;
	block->needs_load = true;
	return true;
}

/* ---- Large files ---- */

struct large {
	const struct tree_walk_event *event;
	int fd;
	uint64_t read; /* so far */
	struct chunker chunker;
	struct hasher hasher;
};

static enum rc read_exactly(struct fill *fill, struct large *large, void *out, size_t len,
			    struct err *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(large->fd, (char *)out + done, len - done,
				    (off_t)(large->read + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tree_file_errno(large->event->dir, large->event->open_name, errno,
					       err);
		if (got == 0)
			return tree_file_changed(large->event->dir, large->event->open_name, err);
		done += (size_t)got;
	}
	hasher_update(&large->hasher, out, len);
	large->read += len;
	atomic_fetch_add_explicit(&fill->pipe->bytes_read, len, memory_order_relaxed);
	return RC_OK;
}

/* Fills the block with the next bytes of the file and cuts chunks from them; what is left over goes
 * to carry. *stopped: the pipe failed. */
static enum rc fill_part(struct fill *fill, struct large *large, bool *stopped, struct err *err)
{
	uint64_t left = large->event->stat.size - large->read + fill->carry.len;
	size_t limit = chunker_limit(&large->chunker);
	size_t at, end, want;
	struct tree_entry *entry;
	struct tree_block *block;
	enum rc rc;

	*stopped = !make_room(fill, left < limit ? (size_t)left : limit);
	if (*stopped)
		return RC_OK;
	block = fill->block;
	write_framing(fill);
	at = block->len;
	end = block->size - at < left ? block->size : at + (size_t)left;
	if (fill->carry.len > 0)
		memcpy(block->bytes + at, fill->carry.ptr, fill->carry.len);
	want = end - at - fill->carry.len;
	rc = read_exactly(fill, large, block->bytes + at + fill->carry.len, want, err);
	if (rc != RC_OK)
		return rc;
	buf_clear(&fill->carry);

	entry = new_entry(fill, TREE_ENTRY_PART, large->event->name);
	entry->first_chunk = block->chunk_count;
	while (at < end && (end - at >= limit || large->read == large->event->stat.size)) {
		size_t len = chunker_cut(&large->chunker, view_of(block->bytes + at, end - at));

		tree_block_new_chunk(block, at, len);
		at += len;
		limit = chunker_limit(&large->chunker);
	}
	entry->chunk_count = block->chunk_count - entry->first_chunk;
	if (at < end)
		buf_append(&fill->carry, block->bytes + at, end - at);
	block->content += at - block->len;
	block->len = at;
	if (large->read == large->event->stat.size && fill->carry.len == 0) {
		entry->last = true;
		entry->executable = large->event->executable;
		entry->stat = large->event->stat;
		entry->size = large->event->stat.size;
		entry->digest = hasher_final(&large->hasher);
	}
	return RC_OK;
}

static enum rc fill_large(struct fill *fill, const struct tree_walk_event *event, bool *stopped,
			  struct err *err)
{
	struct large large = { .event = event, .fd = -1 };
	int fd AUTO_FD = -1;
	enum rc rc = tree_file_open(event->dir, event->open_name, event->quiet, &fd, err);

	if (rc == RC_OK)
		rc = tree_file_check(event->dir, event->open_name, fd, &event->stat, err);
	if (rc != RC_OK)
		return rc;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	large.fd = fd;
	chunker_init(&large.chunker);
	hasher_init(&large.hasher);
	while (large.read < event->stat.size || fill->carry.len > 0) {
		rc = fill_part(fill, &large, stopped, err);
		if (rc != RC_OK || *stopped)
			return rc;
	}
	return tree_file_check(event->dir, event->open_name, fd, &event->stat, err);
}

static enum rc fill_file(struct fill *fill, const struct tree_walk_event *event, bool *stopped,
			 struct err *err)
{
	uint64_t size = event->stat.size;
	enum rc rc = RC_OK;

	atomic_fetch_add_explicit(&fill->pipe->files, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&fill->pipe->bytes, size, memory_order_relaxed);
	if (fill->depth > 0)
		nar_entry_begin(&fill->framing, event->name);
	nar_file_begin(&fill->framing, event->executable, size);
	if (size <= TREE_FILE_SMALL)
		*stopped = !fill_small(fill, event);
	else
		rc = fill_large(fill, event, stopped, err);
	close_file(fill, size);
	return rc;
}

/* ---- The stage ---- */

static enum rc fill_event(struct fill *fill, const struct tree_walk_event *event, bool *stopped,
			  struct err *err)
{
	switch (event->kind) {
	case TREE_WALK_DIRECTORY:
	case TREE_WALK_DIRECTORY_END:
		*stopped = !fill_directory(fill, event);
		return RC_OK;
	case TREE_WALK_SYMLINK:
		*stopped = !fill_symlink(fill, event);
		return RC_OK;
	case TREE_WALK_FILE:
		return fill_file(fill, event, stopped, err);
	case TREE_WALK_END:
		break;
	}
	/* What is left of the framing. */
	*stopped = !make_room(fill, 0);
	if (!*stopped) {
		write_framing(fill);
		publish(fill);
	}
	return RC_OK;
}

void tree_fill(struct tree_pipe *pipe)
{
	struct fill fill = { .pipe = pipe };
	struct err err = ERR_INIT;
	struct tree_walk_event event = { .kind = TREE_WALK_DIRECTORY };
	bool stopped = false;
	enum rc rc = RC_OK;

	nar_begin(&fill.framing);
	while (event.kind != TREE_WALK_END && !stopped && rc == RC_OK) {
		if (tree_walk_open_dirs(pipe->walk) >= pipe->descriptors_max) {
			publish(&fill);
			if (!tree_pipe_wait_dirs(pipe))
				break;
		}
		rc = tree_walk_next(pipe->walk, &event, &err);
		if (rc == RC_OK)
			rc = fill_event(&fill, &event, &stopped, &err);
	}
	if (rc != RC_OK)
		tree_pipe_fail(pipe, rc, &err);
	/* A block that did not go on its way goes back with the others. */
	if (fill.block)
		tree_pipe_publish(pipe, fill.block);
	tree_pipe_complete(pipe);
	buf_release(&fill.framing);
	buf_release(&fill.carry);
}
