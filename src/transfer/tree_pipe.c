/*
 * Threads, order and memory of tree_pipe.h. One lock; it is never held over anything that waits
 * but for the condition variables. Each stage has a condition of its own: who makes work for a
 * stage signals it, who fails broadcasts to all.
 */
#include "transfer/tree_pipe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"

/* Reading waits for disks: more threads than processors. */
enum { LOAD_THREADS = 16 };

/* ---- Blocks ---- */

static struct tree_block *block_new(size_t size, bool huge)
{
	struct tree_block *block;
	uint8_t *bytes = mem_pages_alloc(size);

	if (!bytes)
		return NULL;
	/* Compression looks back all over a chunk: fewer misses of the address cache. But the kernel clears
	 * all of a huge page, where a small tree needs little of it. */
	madvise(bytes, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	block = mem_zalloc(sizeof(*block));
	block->bytes = bytes;
	block->size = size;
	block->entries = mem_array(TREE_ENTRIES_MAX, sizeof(*block->entries));
	return block;
}

/* Gives up what a block still refers to. Its progress stays "all done" until it is published again:
 * the stages may still come across it in the ring. */
static void block_clear(struct tree_pipe *pipe, struct tree_block *block)
{
	for (size_t i = 0; i < block->chunk_count; i++) {
		if (block->chunks[i].encoded)
			blob_batch_free_encoded(pipe->batch, block->chunks[i].encoded);
	}
	for (size_t i = 0; i < block->entry_count; i++)
		tree_dir_unref(block->entries[i].dir);
	block->len = block->content = 0;
	block->entry_count = block->chunk_count = block->dir_count = 0;
	block->last_dir = NULL;
	buf_clear(&block->text);
	block->needs_load = false;
}

static void block_free(struct tree_pipe *pipe, struct tree_block *block)
{
	if (!block)
		return;
	block_clear(pipe, block);
	mem_pages_free(block->bytes, block->size);
	buf_release(&block->text);
	free(block->entries);
	free(block->chunks);
	free(block);
}

struct tree_chunk *tree_block_new_chunk(struct tree_block *block, size_t at, size_t len)
{
	struct tree_chunk *chunk;

	block->chunks = mem_grow(block->chunks, block->chunk_count, &block->chunk_cap, 64,
				 sizeof(*block->chunks));
	chunk = &block->chunks[block->chunk_count++];
	*chunk = (struct tree_chunk){ .at = at, .len = len };
	return chunk;
}

/* ---- Failure ---- */

static void wake_all(struct tree_pipe *pipe)
{
	pthread_cond_broadcast(&pipe->fill_cond);
	pthread_cond_broadcast(&pipe->load_cond);
	pthread_cond_broadcast(&pipe->hash_cond);
	pthread_cond_broadcast(&pipe->encode_cond);
	pthread_cond_broadcast(&pipe->collect_cond);
}

/* Under the lock. */
static void fail(struct tree_pipe *pipe, enum rc rc, const struct err *err)
{
	if (!pipe->failed) {
		pipe->failed = true;
		pipe->rc = rc;
		pipe->err = *err;
	}
	wake_all(pipe);
}

enum rc tree_pipe_fail(struct tree_pipe *pipe, enum rc rc, const struct err *err)
{
	pthread_mutex_lock(&pipe->lock);
	fail(pipe, rc, err);
	pthread_mutex_unlock(&pipe->lock);
	return rc;
}

/* ---- Filling ---- */

static void start_stages(struct tree_pipe *pipe);

/* Called with the lock held. One block is always allowed, whatever its size. */
static bool has_room(const struct tree_pipe *pipe, size_t size)
{
	if (pipe->filled - pipe->done > pipe->mask)
		return false;
	return pipe->in_use == 0 || pipe->in_use + size <= pipe->memory;
}

struct tree_block *tree_pipe_new_block(struct tree_pipe *pipe, size_t size)
{
	struct tree_block *block = NULL;
	struct err err = ERR_INIT;
	bool first;

	if (size < TREE_BLOCK_SIZE)
		size = TREE_BLOCK_SIZE;
	pthread_mutex_lock(&pipe->lock);
	first = pipe->filled == 0;
	if (!first)
		start_stages(pipe);
	while (!pipe->failed && !has_room(pipe, size))
		pthread_cond_wait(&pipe->fill_cond, &pipe->lock);
	if (pipe->failed) {
		pthread_mutex_unlock(&pipe->lock);
		return NULL;
	}
	pipe->in_use += size;
	if (size == TREE_BLOCK_SIZE && pipe->idle_count > 0)
		block = pipe->idle[--pipe->idle_count];
	pthread_mutex_unlock(&pipe->lock);
	if (!block)
		block = block_new(size, !first);
	if (!block)
		tree_pipe_fail(pipe, err_set(&err, RC_NO_MEMORY, "no memory for %zu bytes", size),
			       &err);
	return block;
}

void tree_pipe_publish(struct tree_pipe *pipe, struct tree_block *block)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->ring[pipe->filled++ & pipe->mask] = block;
	block->load_taken = block->loaded = !block->needs_load;
	block->encode_taken = block->encoded = false;
	block->hashed = pipe->source.bare;
	if (block->needs_load) {
		pthread_cond_signal(&pipe->load_cond);
	} else {
		pthread_cond_signal(&pipe->encode_cond);
		pthread_cond_signal(&pipe->hash_cond);
	}
	pthread_mutex_unlock(&pipe->lock);
}

void tree_pipe_complete(struct tree_pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->complete = true;
	wake_all(pipe);
	pthread_mutex_unlock(&pipe->lock);
}

bool tree_pipe_wait_dirs(struct tree_pipe *pipe, const struct tree_walk *walk)
{
	bool well;

	if (tree_walk_open_dirs(walk) < pipe->descriptors_max)
		return true;
	pthread_mutex_lock(&pipe->lock);
	start_stages(pipe);
	while (!pipe->failed && tree_walk_open_dirs(walk) >= pipe->descriptors_max)
		pthread_cond_wait(&pipe->fill_cond, &pipe->lock);
	well = !pipe->failed;
	pthread_mutex_unlock(&pipe->lock);
	return well;
}

/* ---- Loading and encoding ---- */

/* The oldest block that is to be loaded, or NULL at the end. */
static struct tree_block *take_load(struct tree_pipe *pipe)
{
	for (;;) {
		if (pipe->failed)
			return NULL;
		/* Those that needed no loading may be done already. */
		if (pipe->loading < pipe->done)
			pipe->loading = pipe->done;
		for (; pipe->loading < pipe->filled; pipe->loading++) {
			struct tree_block *block = pipe->ring[pipe->loading & pipe->mask];

			if (block->load_taken)
				continue;
			block->load_taken = true;
			pipe->loading++;
			return block;
		}
		if (pipe->complete)
			return NULL;
		pthread_cond_wait(&pipe->load_cond, &pipe->lock);
	}
}

static void *load_main(void *arg)
{
	struct tree_pipe *pipe = arg;
	struct tree_block *block;

	pthread_mutex_lock(&pipe->lock);
	while ((block = take_load(pipe))) {
		struct err err = ERR_INIT;
		enum rc rc;

		pthread_mutex_unlock(&pipe->lock);
		rc = tree_load(pipe, block, &err);
		if (rc != RC_OK)
			tree_pipe_fail(pipe, rc, &err);
		pthread_mutex_lock(&pipe->lock);
		if (rc != RC_OK)
			break;
		block->loaded = true;
		pthread_cond_signal(&pipe->encode_cond);
		pthread_cond_signal(&pipe->hash_cond);
		pthread_cond_signal(&pipe->fill_cond); /* directories were closed */
	}
	pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* The oldest block that is loaded and not encoded, or NULL at the end. */
static struct tree_block *take_encode(struct tree_pipe *pipe)
{
	for (;;) {
		bool pending = false;

		if (pipe->failed)
			return NULL;
		if (pipe->encoding < pipe->done)
			pipe->encoding = pipe->done;
		for (uint64_t n = pipe->encoding; n < pipe->filled; n++) {
			struct tree_block *block = pipe->ring[n & pipe->mask];

			if (block->encode_taken) {
				if (n == pipe->encoding)
					pipe->encoding++;
				continue;
			}
			pending = true;
			if (!block->loaded)
				continue;
			block->encode_taken = true;
			return block;
		}
		if (pipe->complete && !pending)
			return NULL;
		pthread_cond_wait(&pipe->encode_cond, &pipe->lock);
	}
}

static void *encode_main(void *arg)
{
	struct tree_pipe *pipe = arg;
	struct tree_block *block;

	pthread_mutex_lock(&pipe->lock);
	while ((block = take_encode(pipe))) {
		struct err err = ERR_INIT;
		enum rc rc;

		pthread_mutex_unlock(&pipe->lock);
		rc = tree_encode(pipe, block, &err);
		if (rc != RC_OK)
			tree_pipe_fail(pipe, rc, &err);
		pthread_mutex_lock(&pipe->lock);
		if (rc != RC_OK)
			break;
		block->encoded = true;
		pthread_cond_signal(&pipe->collect_cond);
	}
	/* Another encoder may wait for work that this one has just found to be the last. */
	pthread_cond_broadcast(&pipe->encode_cond);
	pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* ---- Hashing ---- */

static struct tree_block *take_hash(struct tree_pipe *pipe)
{
	for (;;) {
		if (pipe->failed)
			return NULL;
		if (pipe->hashing < pipe->filled) {
			struct tree_block *block = pipe->ring[pipe->hashing & pipe->mask];

			if (block->loaded)
				return block;
		} else if (pipe->complete) {
			return NULL;
		}
		pthread_cond_wait(&pipe->hash_cond, &pipe->lock);
	}
}

static void *hash_main(void *arg)
{
	struct tree_pipe *pipe = arg;
	EVP_MD_CTX *sha = pipe->sha256;
	struct tree_block *block;
	struct err err = ERR_INIT;
	uint64_t total = 0;
	bool well = sha != NULL;

	pthread_mutex_lock(&pipe->lock);
	while (well && (block = take_hash(pipe))) {
		pthread_mutex_unlock(&pipe->lock);
		well = EVP_DigestUpdate(sha, block->bytes, block->len);
		total += block->len;
		if (pipe->references)
			reference_scan_feed(pipe->references, view_of(block->bytes, block->len));
		pthread_mutex_lock(&pipe->lock);
		block->hashed = true;
		pipe->hashing++;
		pthread_cond_signal(&pipe->collect_cond);
	}
	if (well && !pipe->failed) {
		well = EVP_DigestFinal_ex(sha, pipe->facts.nar_sha256.bytes, NULL);
		pipe->facts.nar_size = total;
	}
	pthread_mutex_unlock(&pipe->lock);
	if (!well)
		tree_pipe_fail(pipe,
			       err_set(&err, RC_NO_MEMORY, "libcrypto cannot compute SHA-256"),
			       &err);
	return NULL;
}

/* ---- All stages ---- */

/* As many as wanted, or as can be had; without a single one the pipe fails. */
static void start_stage(struct tree_pipe *pipe, const char *name, void *(*run)(void *arg),
			unsigned wanted)
{
	struct err err = ERR_INIT;
	enum rc rc = RC_OK;
	unsigned started = 0;

	while (rc == RC_OK && started < wanted) {
		rc = thread_start(&pipe->threads[pipe->thread_count], name, run, pipe, &err);
		started += rc == RC_OK;
		pipe->thread_count += rc == RC_OK;
	}
	if (rc != RC_OK && started == 0)
		fail(pipe, rc, &err);
}

/* Called with the lock held, by the filling thread. */
static void start_stages(struct tree_pipe *pipe)
{
	if (pipe->threads)
		return;
	pipe->threads =
		mem_array(pipe->load_threads + pipe->encode_threads + 1, sizeof(*pipe->threads));
	start_stage(pipe, "import-hash", hash_main, pipe->source.bare ? 0 : 1);
	start_stage(pipe, "import-load", load_main, pipe->load_threads);
	start_stage(pipe, "import-encode", encode_main, pipe->encode_threads);
}

/* A tree of one block: its stages follow each other here, and no thread is started for them. */
static void *fill_main(void *arg)
{
	struct tree_pipe *pipe = arg;
	bool alone;

	pipe->source.fill(pipe, pipe->source.context);
	pthread_mutex_lock(&pipe->lock);
	alone = !pipe->threads;
	pthread_mutex_unlock(&pipe->lock);
	if (!alone)
		return NULL;
	if (pipe->source.loads)
		load_main(pipe);
	encode_main(pipe);
	if (!pipe->source.bare)
		hash_main(pipe);
	return NULL;
}

/* ---- Collecting ---- */

enum rc tree_pipe_collect(struct tree_pipe *pipe, struct tree_block **out, bool *tick,
			  struct err *err)
{
	enum rc rc = op_check(pipe->op, err);

	*out = NULL;
	*tick = false;
	if (rc != RC_OK)
		return tree_pipe_fail(pipe, rc, err);
	pthread_mutex_lock(&pipe->lock);
	for (int i = 0; i < 2 && !pipe->failed; i++) {
		if (pipe->done == pipe->filled) {
			if (pipe->complete)
				break;
		} else {
			struct tree_block *block = pipe->ring[pipe->done & pipe->mask];

			if (block->encoded && block->hashed) {
				*out = block;
				break;
			}
		}
		if (i == 0)
			(void)cond_wait_until(&pipe->collect_cond, &pipe->lock,
					      clock_monotonic_ns() + OP_TICK_NS);
		else
			*tick = true;
	}
	if (pipe->failed) {
		rc = pipe->rc;
		*err = pipe->err;
	}
	pthread_mutex_unlock(&pipe->lock);
	return rc;
}

void tree_pipe_recycle(struct tree_pipe *pipe, struct tree_block *block)
{
	size_t size = block->size;

	block_clear(pipe, block);
	pthread_mutex_lock(&pipe->lock);
	assert(block == pipe->ring[pipe->done & pipe->mask]);
	pipe->ring[pipe->done & pipe->mask] = NULL;
	pipe->done++;
	pipe->in_use -= size;
	if (size == TREE_BLOCK_SIZE) {
		pipe->idle[pipe->idle_count++] = block;
		block = NULL;
	}
	pthread_cond_signal(&pipe->fill_cond);
	pthread_mutex_unlock(&pipe->lock);
	block_free(pipe, block);
}

/* ---- Life ---- */

void tree_pipe_init(struct tree_pipe *pipe, const struct op *op, struct blob_batch *batch,
		    struct tree_source source, unsigned threads, size_t memory)
{
	struct rlimit limit;
	size_t blocks;

	memset(pipe, 0, sizeof(*pipe));
	pipe->op = op;
	pipe->batch = batch;
	pipe->source = source;
	pipe->memory = memory ? memory : TREE_MEMORY_DEFAULT;
	pipe->encode_threads = threads ? threads : machine_cpus();
	pipe->load_threads = source.loads ? LOAD_THREADS : 0;
	pipe->descriptors_max = 256;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < pipe->descriptors_max)
		pipe->descriptors_max = (unsigned)limit.rlim_cur / 4;
	if (pipe->descriptors_max < TREE_WALK_DESCRIPTORS + 8)
		pipe->descriptors_max = TREE_WALK_DESCRIPTORS + 8;

	blocks = pipe->memory / TREE_BLOCK_SIZE + 1;
	for (pipe->mask = 1; pipe->mask + 1 < blocks; pipe->mask = 2 * pipe->mask + 1)
		;
	pipe->ring = mem_array(pipe->mask + 1, sizeof(struct tree_block *));
	pipe->idle = mem_array(pipe->mask + 2, sizeof(struct tree_block *));
	pthread_mutex_init(&pipe->lock, NULL);
	pthread_cond_init(&pipe->fill_cond, NULL);
	pthread_cond_init(&pipe->load_cond, NULL);
	pthread_cond_init(&pipe->hash_cond, NULL);
	pthread_cond_init(&pipe->encode_cond, NULL);
	cond_init(&pipe->collect_cond);
}

void tree_pipe_start(struct tree_pipe *pipe)
{
	struct err err = ERR_INIT;

	/* Before there are threads and buffers: libcrypto crashes where its first use finds no memory. */
	pipe->sha256 = pipe->source.bare ? NULL : EVP_MD_CTX_new();
	if (pipe->sha256 && EVP_DigestInit_ex(pipe->sha256, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(pipe->sha256);
		pipe->sha256 = NULL;
	}
	enum rc rc = thread_start(&pipe->fill_thread, "import-fill", fill_main, pipe, &err);

	pipe->filling = rc == RC_OK;
	if (rc != RC_OK)
		tree_pipe_fail(pipe, rc, &err);
}

static void join_all(struct tree_pipe *pipe)
{
	/* First who starts the others. */
	if (pipe->filling)
		pthread_join(pipe->fill_thread, NULL);
	pipe->filling = false;
	while (pipe->thread_count > 0)
		pthread_join(pipe->threads[--pipe->thread_count], NULL);
}

enum rc tree_pipe_finish(struct tree_pipe *pipe, struct nar_facts *facts, struct err *err)
{
	join_all(pipe);
	/* No thread is left: no lock is needed. */
	assert(pipe->failed || (pipe->complete && pipe->done == pipe->filled));
	if (pipe->failed) {
		*err = pipe->err;
		return pipe->rc;
	}
	*facts = pipe->facts;
	return RC_OK;
}

void tree_pipe_release(struct tree_pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->failed = true;
	wake_all(pipe);
	pthread_mutex_unlock(&pipe->lock);
	join_all(pipe);
	for (uint64_t n = pipe->done; n < pipe->filled; n++)
		block_free(pipe, pipe->ring[n & pipe->mask]);
	while (pipe->idle_count > 0)
		block_free(pipe, pipe->idle[--pipe->idle_count]);
	free(pipe->ring);
	free(pipe->idle);
	free(pipe->threads);
	EVP_MD_CTX_free(pipe->sha256);
	pthread_cond_destroy(&pipe->fill_cond);
	pthread_cond_destroy(&pipe->load_cond);
	pthread_cond_destroy(&pipe->hash_cond);
	pthread_cond_destroy(&pipe->encode_cond);
	pthread_cond_destroy(&pipe->collect_cond);
	pthread_mutex_destroy(&pipe->lock);
}
