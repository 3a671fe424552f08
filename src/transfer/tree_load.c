/* Two stages of an import that work on one block at a time, on many blocks at once: reading small
 * files into the room that was left for them, and encoding chunks. */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "transfer/tree_pipe.h"

/* Reads size bytes and finds the end of the file after them. */
static enum rc read_small(int fd, const struct tree_entry *entry, const char *name, uint8_t *out,
			  struct err *err)
{
	size_t done = 0;

	while (done < entry->size) {
		ssize_t got = pread(fd, out + done, (size_t)entry->size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tree_file_errno(entry->dir, name, errno, err);
		if (got == 0)
			return tree_file_changed(entry->dir, name, err);
		done += (size_t)got;
	}
	return RC_OK;
}

static enum rc load_file(const struct tree_pipe *pipe, struct tree_block *block,
			 struct tree_entry *entry, struct err *err)
{
	const char *name = (const char *)block->text.ptr + entry->open_at;
	int fd AUTO_FD = -1;
	enum rc rc = tree_file_open(entry->dir, name, entry->quiet, &fd, err);

	if (rc == RC_OK) {
		stat_cache_settle(pipe->cache, &entry->stat, fd);
		rc = read_small(fd, entry, name, block->bytes + entry->at, err);
	}
	/* The walk's stat was before, this one is after: nothing changed in between. */
	if (rc == RC_OK)
		rc = tree_file_check(entry->dir, name, fd, &entry->stat, err);
	return rc;
}

enum rc tree_load(struct tree_pipe *pipe, struct tree_block *block, struct err *err)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < block->entry_count; i++) {
		struct tree_entry *entry = &block->entries[i];
		enum rc rc;

		if (entry->kind != TREE_ENTRY_FILE)
			continue;
		rc = load_file(pipe, block, entry, err);
		if (rc != RC_OK)
			return rc;
		tree_dir_unref(entry->dir);
		entry->dir = NULL;
		bytes += entry->size;
	}
	atomic_fetch_add_explicit(&pipe->bytes_read, bytes, memory_order_relaxed);
	return RC_OK;
}

static enum rc encode_chunk(struct tree_pipe *pipe, struct tree_block *block, size_t i,
			    struct err *err)
{
	struct tree_chunk *chunk = &block->chunks[i];

	return blob_batch_encode(pipe->batch, pipe->op,
				 view_of(block->bytes + chunk->at, chunk->len), &chunk->encoded,
				 err);
}

/* Cuts a small file and encodes its chunks; the empty one has none. */
static enum rc encode_file(struct tree_pipe *pipe, struct tree_block *block,
			   struct tree_entry *entry, struct err *err)
{
	struct view content = view_of(block->bytes + entry->at, (size_t)entry->size);
	struct chunker chunker;
	size_t at = 0, len;

	entry->first_chunk = block->chunk_count;
	blob_batch_init_chunker(pipe->batch, &chunker);
	while ((len = chunker_cut(&chunker, view_slice(content, at, content.len - at))) > 0) {
		enum rc rc;

		tree_block_new_chunk(block, entry->at + at, len);
		rc = encode_chunk(pipe, block, block->chunk_count - 1, err);
		if (rc != RC_OK)
			return rc;
		at += len;
	}
	entry->chunk_count = block->chunk_count - entry->first_chunk;
	if (entry->chunk_count == 1)
		entry->digest = block->chunks[entry->first_chunk].encoded->digest;
	else
		entry->digest = digest_of(content);
	return RC_OK;
}

enum rc tree_encode(struct tree_pipe *pipe, struct tree_block *block, struct err *err)
{
	for (size_t i = 0; i < block->entry_count; i++) {
		struct tree_entry *entry = &block->entries[i];
		enum rc rc = RC_OK;

		if (entry->kind == TREE_ENTRY_FILE)
			rc = encode_file(pipe, block, entry, err);
		for (size_t n = 0; entry->kind == TREE_ENTRY_PART && n < entry->chunk_count; n++) {
			rc = encode_chunk(pipe, block, entry->first_chunk + n, err);
			if (rc != RC_OK)
				break;
		}
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}
