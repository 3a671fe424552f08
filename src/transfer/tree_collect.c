#include "transfer/tree_collect.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

#define REPORT_NS (100 * NS_PER_MS)

struct collect {
	struct tree_pipe *pipe;
	const struct tree_taker *taker;
	struct import_progress *stats;
	/* Chunks of the file at hand, which may come in many parts. */
	struct blob_chunk *chunks;
	size_t count, cap;
	uint64_t size;
};

void tree_report(struct tree_report *report, const struct import_progress *stats)
{
	int64_t now;

	if (!report->progress)
		return;
	now = clock_monotonic_ns();
	if (now - report->last_ns < REPORT_NS)
		return;
	report->last_ns = now;
	report->progress(report->context, stats);
}

static void take_stats(const struct tree_pipe *pipe, struct import_progress *stats)
{
	stats->files = atomic_load_explicit(&pipe->files, memory_order_relaxed);
	stats->directories = atomic_load_explicit(&pipe->directories, memory_order_relaxed);
	stats->symlinks = atomic_load_explicit(&pipe->symlinks, memory_order_relaxed);
	stats->bytes = atomic_load_explicit(&pipe->bytes, memory_order_relaxed);
	stats->bytes_read = atomic_load_explicit(&pipe->bytes_read, memory_order_relaxed);
}

static enum rc add_chunks(struct collect *collect, struct tree_block *block,
			  const struct tree_entry *entry, struct err *err)
{
	if (collect->count + entry->chunk_count > collect->cap) {
		collect->cap = 2 * collect->cap + entry->chunk_count;
		collect->chunks =
			mem_realloc_array(collect->chunks, collect->cap, sizeof(*collect->chunks));
	}
	for (size_t i = 0; i < entry->chunk_count; i++) {
		struct tree_chunk *chunk = &block->chunks[entry->first_chunk + i];
		struct blob_encoded *encoded = chunk->encoded;
		enum rc rc;

		collect->chunks[collect->count++] = (struct blob_chunk){ .digest = encoded->digest,
									 .offset = collect->size,
									 .size = encoded->size,
									 .has_digest = true };
		collect->size += encoded->size;
		if (!encoded->known)
			collect->stats->bytes_stored += encoded->size;
		chunk->encoded = NULL;
		rc = blob_batch_add_chunk(collect->pipe->batch, collect->pipe->op, encoded, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc add_file(struct collect *collect, struct tree_block *block,
			const struct tree_entry *entry, struct err *err)
{
	struct node node = { .kind = NODE_FILE,
			     .executable = entry->executable,
			     .size = entry->size,
			     .digest = entry->digest };
	enum rc rc = add_chunks(collect, block, entry, err);

	if (rc != RC_OK || (entry->kind == TREE_ENTRY_PART && !entry->last))
		return rc;
	/* The empty blob is everywhere. */
	if (entry->size > 0)
		rc = blob_batch_add_blob(collect->pipe->batch, collect->pipe->op, &entry->digest,
					 entry->size, collect->chunks, collect->count, err);
	collect->count = 0;
	collect->size = 0;
	if (rc != RC_OK)
		return rc;
	node.name = tree_block_text(block, entry->name_at, entry->name_len);
	if (collect->taker->build)
		tree_build_add(collect->taker->build, &node);
	else
		collect->taker->file(collect->taker->context, &node);
	if (collect->pipe->cache)
		stat_cache_add(collect->pipe->cache, &entry->stat, &entry->digest);
	return RC_OK;
}

static enum rc add_entry(struct collect *collect, struct tree_block *block,
			 const struct tree_entry *entry, struct err *err)
{
	struct view name = tree_block_text(block, entry->name_at, entry->name_len);

	switch (entry->kind) {
	case TREE_ENTRY_BEGIN:
		return tree_build_begin(collect->taker->build, collect->pipe->op, name, err);
	case TREE_ENTRY_END:
		return tree_build_end(collect->taker->build, collect->pipe->op, err);
	case TREE_ENTRY_SYMLINK:
		tree_build_add(collect->taker->build,
			       &(struct node){ .kind = NODE_SYMLINK,
					       .name = name,
					       .target = tree_block_text(block, entry->target_at,
									 entry->target_len) });
		return RC_OK;
	case TREE_ENTRY_FILE:
	case TREE_ENTRY_PART:
		break;
	}
	return add_file(collect, block, entry, err);
}

enum rc tree_collect(struct tree_pipe *pipe, const struct tree_taker *taker,
		     struct tree_report *report, struct import_progress *stats, struct err *err)
{
	struct collect collect = { .pipe = pipe, .taker = taker, .stats = stats };
	enum rc rc;

	for (;;) {
		struct tree_block *block;
		bool tick;

		rc = tree_pipe_collect(pipe, &block, &tick, err);
		if (rc != RC_OK || (!block && !tick))
			break;
		for (size_t i = 0; block && rc == RC_OK && i < block->entry_count; i++)
			rc = add_entry(&collect, block, &block->entries[i], err);
		if (rc != RC_OK) {
			tree_pipe_fail(pipe, rc, err);
			break;
		}
		if (block)
			tree_pipe_recycle(pipe, block);
		take_stats(pipe, stats);
		tree_report(report, stats);
	}
	free(collect.chunks);
	take_stats(pipe, stats);
	return rc;
}
