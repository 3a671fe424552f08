/*
 * Blocks from nodes. One thread fills, in the order of the sequence: that is fast enough (reading,
 * cutting and BLAKE3 together pass 1.5 GB/s, as does the one SHA-256 chain of the NAR), and it
 * keeps the order in which memory is taken that of the sequence.
 */
#include "transfer/tree_fill.h"

#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "nix/nar_writer.h"

void tree_fill_init(struct tree_fill *fill, struct tree_pipe *pipe, bool bare)
{
	*fill = (struct tree_fill){ .pipe = pipe, .bare = bare };
	if (!bare)
		nar_begin(&fill->framing);
}

void tree_fill_flush(struct tree_fill *fill)
{
	if (!fill->block)
		return;
	if (fill->block->len > 0 || fill->block->entry_count > 0) {
		tree_pipe_publish(fill->pipe, fill->block);
		fill->block = NULL;
	}
}

/* A block with room for the framing that waits and `more` bytes after it, one entry and `text`
 * bytes of names. */
static bool make_room(struct tree_fill *fill, size_t more)
{
	size_t need = fill->framing.len + more;
	struct tree_block *block = fill->block;

	if (block && (block->size - block->len < need || block->entry_count == TREE_ENTRIES_MAX ||
		      block->content >= TREE_BLOCK_FULL || block->dir_count >= TREE_DIRS_MAX))
		tree_fill_flush(fill);
	if (!fill->block)
		fill->block = tree_pipe_new_block(fill->pipe, need);
	return fill->block != NULL;
}

static void write_framing(struct tree_fill *fill)
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
static struct tree_entry *new_entry(struct tree_fill *fill, enum tree_entry_kind kind,
				    struct view name)
{
	struct tree_entry *entry = &fill->block->entries[fill->block->entry_count++];

	*entry = (struct tree_entry){ .kind = kind, .name_len = (uint32_t)name.len };
	entry->name_at = add_text(fill->block, name);
	return entry;
}

/* ---- Directories and symlinks ---- */

bool tree_fill_directory(struct tree_fill *fill, struct view name)
{
	atomic_fetch_add_explicit(&fill->pipe->directories, 1, memory_order_relaxed);
	if (fill->depth++ > 0)
		nar_entry_begin(&fill->framing, name);
	nar_directory_begin(&fill->framing);
	if (!make_room(fill, 0))
		return false;
	write_framing(fill);
	new_entry(fill, TREE_ENTRY_BEGIN, name);
	return true;
}

bool tree_fill_directory_end(struct tree_fill *fill)
{
	nar_directory_end(&fill->framing);
	if (--fill->depth > 0)
		nar_entry_end(&fill->framing);
	if (!make_room(fill, 0))
		return false;
	write_framing(fill);
	new_entry(fill, TREE_ENTRY_END, view_of(NULL, 0));
	return true;
}

bool tree_fill_symlink(struct tree_fill *fill, struct view name, struct view target)
{
	struct tree_entry *entry;

	atomic_fetch_add_explicit(&fill->pipe->symlinks, 1, memory_order_relaxed);
	if (fill->depth > 0)
		nar_entry_begin(&fill->framing, name);
	nar_symlink(&fill->framing, target);
	if (fill->depth > 0)
		nar_entry_end(&fill->framing);
	if (!make_room(fill, 0))
		return false;
	write_framing(fill);
	entry = new_entry(fill, TREE_ENTRY_SYMLINK, name);
	entry->target_at = add_text(fill->block, target);
	entry->target_len = (uint32_t)target.len;
	return true;
}

/* ---- Files ---- */

static void begin_file(struct tree_fill *fill, const struct tree_fill_file *file)
{
	atomic_fetch_add_explicit(&fill->pipe->files, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&fill->pipe->bytes, file->size, memory_order_relaxed);
	if (fill->bare)
		return;
	if (fill->depth > 0)
		nar_entry_begin(&fill->framing, file->name);
	nar_file_begin(&fill->framing, file->executable, file->size);
}

/* Padding and what closes a file; goes out with the next framing. */
static void end_file(struct tree_fill *fill, uint64_t size)
{
	if (fill->bare)
		return;
	nar_file_end(&fill->framing, size);
	if (fill->depth > 0)
		nar_entry_end(&fill->framing);
}

static void describe(struct tree_entry *entry, const struct tree_fill_file *file)
{
	entry->executable = file->executable;
	entry->stat = file->stat;
	entry->size = file->size;
}

bool tree_fill_small(struct tree_fill *fill, const struct tree_fill_file *file,
		     struct tree_entry **out)
{
	struct tree_block *block;

	*out = NULL;
	begin_file(fill, file);
	if (!make_room(fill, (size_t)file->size))
		return false;
	block = fill->block;
	write_framing(fill);
	*out = new_entry(fill, TREE_ENTRY_FILE, file->name);
	describe(*out, file);
	(*out)->at = block->len;
	block->len += (size_t)file->size;
	block->content += (size_t)file->size;
	end_file(fill, file->size);
	return true;
}

struct large {
	const struct tree_fill_file *file;
	tree_fill_read *read;
	void *context;
	uint64_t done; /* read so far */
	struct chunker chunker;
	struct hasher hasher;
};

/* Cuts what lies in the block from `at` to `end`, but for a rest that may become longer; that goes
 * to carry. */
static void cut(struct tree_fill *fill, struct large *large, struct tree_entry *entry, size_t at,
		size_t end)
{
	struct tree_block *block = fill->block;
	size_t limit = chunker_limit(&large->chunker);

	entry->first_chunk = block->chunk_count;
	while (at < end && (end - at >= limit || large->done == large->file->size)) {
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
}

/* Fills the block with the next bytes of the file and cuts chunks from them. */
static enum rc fill_part(struct tree_fill *fill, struct large *large, bool *stopped,
			 struct err *err)
{
	uint64_t left = large->file->size - large->done + fill->carry.len;
	size_t limit = chunker_limit(&large->chunker);
	struct tree_entry *entry;
	struct tree_block *block;
	size_t at, end, fresh;
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
	fresh = at + fill->carry.len;
	rc = large->read(large->context, block->bytes + fresh, end - fresh, err);
	if (rc != RC_OK)
		return rc;
	hasher_update(&large->hasher, block->bytes + fresh, end - fresh);
	large->done += end - fresh;
	atomic_fetch_add_explicit(&fill->pipe->bytes_read, end - fresh, memory_order_relaxed);
	buf_clear(&fill->carry);

	entry = new_entry(fill, TREE_ENTRY_PART, large->file->name);
	cut(fill, large, entry, at, end);
	if (large->done == large->file->size && fill->carry.len == 0) {
		entry->last = true;
		describe(entry, large->file);
		entry->digest = hasher_final(&large->hasher);
	}
	return RC_OK;
}

enum rc tree_fill_large(struct tree_fill *fill, const struct tree_fill_file *file,
			tree_fill_read *read, void *context, bool *stopped, struct err *err)
{
	struct large large = { .file = file, .read = read, .context = context };

	*stopped = false;
	begin_file(fill, file);
	blob_batch_init_chunker(fill->pipe->batch, &large.chunker);
	hasher_init(&large.hasher);
	while (large.done < file->size || fill->carry.len > 0) {
		enum rc rc = fill_part(fill, &large, stopped, err);

		if (rc != RC_OK || *stopped)
			return rc;
	}
	end_file(fill, file->size);
	return RC_OK;
}

/* ---- The end ---- */

void tree_fill_finish(struct tree_fill *fill, enum rc rc, const struct err *err)
{
	if (rc != RC_OK)
		tree_pipe_fail(fill->pipe, rc, err);
	else if (fill->framing.len > 0 && make_room(fill, 0))
		write_framing(fill);
	/* Also a block that will not be used goes back with the others. */
	if (fill->block)
		tree_pipe_publish(fill->pipe, fill->block);
	tree_pipe_complete(fill->pipe);
	buf_release(&fill->framing);
	buf_release(&fill->carry);
}
