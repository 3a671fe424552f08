/*
 * The caller's thread walks the directories and plans blocks: a block is a run of events whose
 * contents are about a megabyte, with a list of the pieces (small blobs, chunks of large ones) that
 * those contents are made of. Workers bring the pieces of a block; the caller passes through the
 * blocks in order, planning new ones as old ones are used up.
 *
 * Events point into directories. A directory's reference is held by its frame of the walk, then by
 * the event of its end, and dropped when the block of that event is used again.
 *
 * Lock: tree_reader.lock alone; no call on a service is made under it.
 */
#include "transfer/tree_read.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/text.h"
#include "castore/chunker.h"
#include "castore/directory.h"
#include "transfer/tree_directories.h"

enum {
	BLOCK_BYTES = 1 << 20,
	BLOCK_EVENTS = 4096,
	SMALL_BLOB = CHUNK_MIN, /* up to here a blob is one chunk */
	THREADS_MAX = 8,
	THREADS_REMOTE = 8, /* they wait more than they work */
	BLOCKS_MAX = THREADS_MAX + 2,
};

/* A file of several chunks. Its readers are handed from worker to worker. */
struct large_file {
	const struct node *node;
	/* Under the lock: */
	unsigned refs; /* the walk, and each piece */
	struct blob_reader *idle[THREADS_MAX + 1];
	size_t idle_count;
};

struct piece {
	size_t at;    /* in the block's bytes */
	size_t event; /* that passes it on */
	size_t size;
	const struct node *node;
	struct large_file *file; /* NULL: a small blob */
	struct blob_chunk chunk; /* of a large one */
};

struct event {
	enum tree_event_kind kind;
	const struct node *node;
	size_t at, len;        /* TREE_DATA: in the block's bytes */
	struct directory *dir; /* TREE_DIRECTORY_END: its reference */
};

struct block {
	struct tree_reader *reader;
	struct event *events;
	size_t event_count, event_cap;
	struct piece *pieces;
	size_t piece_count, piece_cap;
	uint8_t *bytes;
	size_t bytes_len, bytes_cap;
	size_t next; /* event to pass on */

	bool done; /* under the lock */
	enum rc rc;
	struct err err;
	size_t failed; /* the piece that could not be brought; piece_count: none of them by itself */
};

struct frame {
	struct directory *dir;
	const struct node *node;
	size_t next;
};

struct tree_reader {
	struct blob_service *blobs;
	struct tree_directories *directories;
	const struct op *op;
	struct node root;
	unsigned threads;
	struct pool *pool; /* made when there is something to do beside the caller's thread */

	/* The walk. */
	bool started, planned_all;
	struct frame *frames;
	size_t depth, frame_cap;
	struct large_file *large; /* in the middle of it, or NULL */
	struct blob_reader *large_reader;
	uint64_t large_at;

	/* A ring: blocks[first … first + count), the first being passed on. */
	struct block blocks[BLOCKS_MAX];
	size_t block_limit, first, count;
	/* The directories that are open behind the last event that was passed on. */
	const struct node **open;
	size_t open_count, open_cap;

	pthread_mutex_t lock;
	pthread_cond_t block_done;
	atomic_bool stop; /* workers give up */

	enum rc plan_rc; /* of the walk, behind the last block */
	struct err plan_err;
	enum rc failure;
	struct err failure_err;
};

/* ---- Failures ---- */

static enum rc missing(const char *what, const struct digest *digest, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(digest, hex);
	return err_set(err, RC_CORRUPT, "%s %s is missing from the store", what, hex);
}

static enum rc wrong_size(const struct node *node, uint64_t found, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(&node->digest, hex);
	return err_set(err, RC_CORRUPT,
		       "blob %s has %" PRIu64 " bytes where its node says %" PRIu64, hex, found,
		       node->size);
}

/* ---- Where in the tree ---- */

/* The way below the root, from its parts. */
struct place {
	struct buf path;
	bool below_root; /* the root has been passed, which has no part in it */
};

static void place_add(struct place *place, const struct node *node)
{
	if (place->below_root) {
		if (place->path.len > 0)
			buf_append_byte(&place->path, '/');
		text_printable(node->name, &place->path);
	}
	place->below_root = true;
}

static enum rc fail_at(struct place *place, enum rc rc, struct err *err)
{
	/* The end tells more than the beginning, and there has to be room for the sentence. */
	enum { SHOWN_MAX = 400 };
	size_t skip = place->path.len > SHOWN_MAX ? place->path.len - SHOWN_MAX : 0;

	if (place->path.len > 0)
		err_context(err, rc, "%s%s", skip > 0 ? "…" : "", buf_string(&place->path) + skip);
	buf_release(&place->path);
	return rc;
}

/* ---- Large files ---- */

static void large_unref(struct tree_reader *reader, struct large_file *file)
{
	bool last;

	pthread_mutex_lock(&reader->lock);
	last = --file->refs == 0;
	pthread_mutex_unlock(&reader->lock);
	if (!last)
		return;
	for (size_t i = 0; i < file->idle_count; i++)
		blob_reader_free(file->idle[i]);
	free(file);
}

static enum rc open_blob(struct tree_reader *reader, const struct node *node,
			 struct blob_reader **out, struct err *err)
{
	enum rc rc = blob_service_open_read(reader->blobs, reader->op, &node->digest, node->size,
					    out, err);

	return rc == RC_NOT_FOUND ? missing("blob", &node->digest, err) : rc;
}

static enum rc large_take_reader(struct tree_reader *reader, struct large_file *file,
				 struct blob_reader **out, struct err *err)
{
	*out = NULL;
	pthread_mutex_lock(&reader->lock);
	if (file->idle_count > 0)
		*out = file->idle[--file->idle_count];
	pthread_mutex_unlock(&reader->lock);
	return *out ? RC_OK : open_blob(reader, file->node, out, err);
}

static void large_give_reader(struct tree_reader *reader, struct large_file *file,
			      struct blob_reader *blob)
{
	pthread_mutex_lock(&reader->lock);
	if (blob && file->idle_count < ARRAY_LEN(file->idle)) {
		file->idle[file->idle_count++] = blob;
		blob = NULL;
	}
	pthread_mutex_unlock(&reader->lock);
	blob_reader_free(blob);
}

/* ---- Blocks: what the workers do ---- */

struct small_pieces {
	struct block *block;
	const size_t *pieces; /* small piece i is block->pieces[pieces[i]] */
	enum rc rc;
	struct err *err;
};

static void small_done(void *context, size_t i, enum rc rc, struct view bytes)
{
	struct small_pieces *small = context;
	const struct piece *piece = &small->block->pieces[small->pieces[i]];
	char hex[DIGEST_HEX_MAX];

	if (small->rc != RC_OK)
		return;
	if (rc == RC_OK && bytes.len == piece->size) {
		memcpy(small->block->bytes + piece->at, bytes.ptr, bytes.len);
		return;
	}
	small->block->failed = small->pieces[i];
	digest_hex(&piece->node->digest, hex);
	if (rc == RC_OK)
		small->rc = wrong_size(piece->node, bytes.len, small->err);
	else if (rc == RC_NOT_FOUND)
		small->rc = missing("blob", &piece->node->digest, small->err);
	else if (rc == RC_TOO_LARGE)
		small->rc = err_set(small->err, RC_CORRUPT,
				    "blob %s is larger than the %" PRIu64 " bytes of its node", hex,
				    piece->node->size);
	else
		small->rc = err_set(small->err, rc, "cannot read blob %s: %s", hex, rc_name(rc));
}

/* A piece that could not be brought with the others, by itself: the sentence then says what is wrong with
 * it. RC_OK where nothing is, or not any more. */
static enum rc bring_again(struct block *block, const struct piece *piece, struct err *err)
{
	struct blob_reader *blob AUTO_BLOB_READER = NULL;
	enum rc rc = open_blob(block->reader, piece->node, &blob, err);
	size_t got = 0;

	if (rc == RC_OK)
		rc = blob_reader_pread(blob, block->reader->op, block->bytes + piece->at,
				       piece->size, 0, &got, err);
	return rc == RC_OK && got != piece->size ? wrong_size(piece->node, got, err) : rc;
}

/* After all at once have failed: which, and why? */
static enum rc bring_one_by_one(struct block *block, const size_t *pieces, size_t count,
				enum rc first, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct err why = ERR_INIT;
		enum rc rc = bring_again(block, &block->pieces[pieces[i]], &why);

		if (rc == RC_OK)
			continue;
		block->failed = pieces[i];
		return err_set(err, rc, "%s", why.message);
	}
	return first;
}

static enum rc bring_small(struct block *block, struct err *err)
{
	struct tree_reader *reader = block->reader;
	AUTO_FREE struct digest *digests = mem_array(block->piece_count + 1, sizeof(*digests));
	AUTO_FREE size_t *pieces = mem_array(block->piece_count + 1, sizeof(*pieces));
	struct small_pieces small = { .block = block, .pieces = pieces, .err = err };
	size_t count = 0;
	enum rc rc;

	for (size_t i = 0; i < block->piece_count; i++) {
		if (block->pieces[i].file)
			continue;
		digests[count] = block->pieces[i].node->digest;
		pieces[count++] = i;
	}
	if (count == 0)
		return RC_OK;
	rc = blob_service_get_many(reader->blobs, reader->op, digests, count, small_done, &small,
				   err);
	if (rc == RC_OK)
		rc = small.rc;
	if (rc == RC_CORRUPT || rc == RC_IO)
		return bring_one_by_one(block, pieces, count, rc, err);
	return rc;
}

static enum rc bring_chunk(struct block *block, const struct piece *piece, struct err *err)
{
	struct tree_reader *reader = block->reader;
	struct blob_reader *blob;
	enum rc rc = large_take_reader(reader, piece->file, &blob, err);

	if (rc != RC_OK)
		return rc;
	rc = blob_reader_read_chunk(blob, reader->op, &piece->chunk, block->bytes + piece->at, err);
	large_give_reader(reader, piece->file, blob);
	return rc == RC_NOT_FOUND ? missing("a chunk of blob", &piece->node->digest, err) : rc;
}

static enum rc bring_pieces(struct block *block, struct err *err)
{
	enum rc rc;

	if (block->bytes_len > block->bytes_cap) {
		free(block->bytes);
		block->bytes_cap = 0;
		block->bytes = mem_try_alloc(block->bytes_len);
		if (!block->bytes)
			return err_set(err, RC_NO_MEMORY, "no memory for %zu bytes of contents",
				       block->bytes_len);
		block->bytes_cap = block->bytes_len;
	}
	block->failed = block->piece_count;
	rc = bring_small(block, err);
	for (size_t i = 0; rc == RC_OK && i < block->piece_count; i++) {
		if (atomic_load(&block->reader->stop))
			return err_set(err, RC_CANCELLED, "the reading of a tree was given up");
		if (block->pieces[i].file)
			rc = bring_chunk(block, &block->pieces[i], err);
		if (rc != RC_OK)
			block->failed = i;
	}
	return rc;
}

static void run_block(void *arg)
{
	struct block *block = arg;
	struct tree_reader *reader = block->reader;
	struct err err = ERR_INIT;
	enum rc rc = bring_pieces(block, &err);

	pthread_mutex_lock(&reader->lock);
	block->rc = rc;
	block->err = err;
	block->done = true;
	pthread_cond_broadcast(&reader->block_done);
	pthread_mutex_unlock(&reader->lock);
}

/* Makes a block that was passed on, or never used, ready for the next plan. */
static void clear_block(struct block *block)
{
	for (size_t i = 0; i < block->event_count; i++)
		directory_unref(block->events[i].dir);
	for (size_t i = 0; i < block->piece_count; i++) {
		if (block->pieces[i].file)
			large_unref(block->reader, block->pieces[i].file);
	}
	block->event_count = 0;
	block->piece_count = 0;
	block->bytes_len = 0;
	block->next = 0;
	block->done = false;
	if (block->bytes_cap > 2 * BLOCK_BYTES) {
		mem_cleanup(&block->bytes);
		block->bytes_cap = 0;
	}
}

/* ---- The plan: what the caller's thread does ---- */

static void add_event(struct block *block, enum tree_event_kind kind, const struct node *node)
{
	block->events = mem_grow(block->events, block->event_count, &block->event_cap, 64,
				 sizeof(*block->events));
	block->events[block->event_count++] = (struct event){ .kind = kind, .node = node };
}

/* A piece, and the event that passes it on. */
static void add_piece(struct block *block, const struct piece *piece)
{
	block->pieces = mem_grow(block->pieces, block->piece_count, &block->piece_cap, 64,
				 sizeof(*block->pieces));
	block->pieces[block->piece_count] = *piece;
	block->pieces[block->piece_count].event = block->event_count;
	block->pieces[block->piece_count++].at = block->bytes_len;
	add_event(block, TREE_DATA, piece->node);
	block->events[block->event_count - 1].at = block->bytes_len;
	block->events[block->event_count - 1].len = piece->size;
	block->bytes_len += piece->size;
}

static enum rc plan_directory(struct tree_reader *reader, struct block *block,
			      const struct node *node, struct err *err)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	bool any_size = reader->depth == 0 && node->size == 0;
	enum rc rc;

	rc = tree_directories_get(reader->directories, reader->op, &node->digest, &dir, err);
	if (rc == RC_NOT_FOUND)
		return missing("directory", &node->digest, err);
	if (rc != RC_OK)
		return rc;
	if (!any_size && !directory_size_matches(dir, node->size)) {
		char hex[DIGEST_HEX_MAX];

		digest_hex(&node->digest, hex);
		return err_set(err, RC_CORRUPT,
			       "the size field of directory %s is %" PRIu64 " instead of %" PRIu64,
			       hex, node->size, directory_size(dir));
	}
	reader->frames = mem_grow(reader->frames, reader->depth, &reader->frame_cap, 16,
				  sizeof(*reader->frames));
	reader->frames[reader->depth++] = (struct frame){ .dir = dir, .node = node };
	dir = NULL;
	add_event(block, TREE_DIRECTORY, node);
	return RC_OK;
}

static enum rc plan_file(struct tree_reader *reader, struct block *block, const struct node *node,
			 struct err *err)
{
	add_event(block, TREE_FILE, node);
	if (node->size == 0) {
		if (!digest_equal(&node->digest, &digest_empty)) {
			char hex[DIGEST_HEX_MAX];

			digest_hex(&node->digest, hex);
			return err_set(err, RC_CORRUPT,
				       "blob %s is not empty, but its node says so", hex);
		}
	} else if (node->size > SMALL_BLOB) {
		enum rc rc = open_blob(reader, node, &reader->large_reader, err);

		if (rc != RC_OK)
			return rc;
		reader->large = mem_zalloc(sizeof(*reader->large));
		reader->large->node = node;
		reader->large->refs = 1;
		reader->large_at = 0;
		return RC_OK;
	} else {
		add_piece(block, &(struct piece){ .size = (size_t)node->size, .node = node });
	}
	add_event(block, TREE_FILE_END, node);
	return RC_OK;
}

/* The next chunk of the large file that the walk is in. */
static enum rc plan_chunk(struct tree_reader *reader, struct block *block, struct err *err)
{
	struct large_file *file = reader->large;
	struct piece piece = { .node = file->node, .file = file };
	enum rc rc = blob_reader_locate(reader->large_reader, reader->op, reader->large_at,
					&piece.chunk, err);

	if (rc != RC_OK)
		return rc == RC_NOT_FOUND ? missing("blob", &file->node->digest, err) : rc;
	if (piece.chunk.offset != reader->large_at)
		return err_set(err, RC_CORRUPT, "the chunks of a blob overlap at %" PRIu64,
			       reader->large_at);
	piece.size = piece.chunk.size;
	pthread_mutex_lock(&reader->lock);
	file->refs++;
	pthread_mutex_unlock(&reader->lock);
	add_piece(block, &piece);
	reader->large_at += piece.size;
	if (reader->large_at < file->node->size)
		return RC_OK;
	add_event(block, TREE_FILE_END, file->node);
	large_give_reader(reader, file, reader->large_reader);
	large_unref(reader, file);
	reader->large_reader = NULL;
	reader->large = NULL;
	return RC_OK;
}

static enum rc plan_node(struct tree_reader *reader, struct block *block, const struct node *node,
			 struct err *err)
{
	if (reader->depth == NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "a tree of more than %d levels", NODE_DEPTH_MAX);
	switch (node->kind) {
	case NODE_DIRECTORY:
		return plan_directory(reader, block, node, err);
	case NODE_FILE:
		return plan_file(reader, block, node, err);
	case NODE_SYMLINK:
		add_event(block, TREE_SYMLINK, node);
		return RC_OK;
	}
	return err_set(err, RC_INVALID, "a node of no known kind");
}

static enum rc plan_step(struct tree_reader *reader, struct block *block, struct err *err)
{
	struct frame *frame;

	if (reader->large)
		return plan_chunk(reader, block, err);
	if (!reader->started) {
		reader->started = true;
		return plan_node(reader, block, &reader->root, err);
	}
	if (reader->depth == 0) {
		reader->planned_all = true;
		return RC_OK;
	}
	frame = &reader->frames[reader->depth - 1];
	if (frame->next < directory_count(frame->dir))
		return plan_node(reader, block, directory_at(frame->dir, frame->next++), err);
	add_event(block, TREE_DIRECTORY_END, frame->node);
	block->events[block->event_count - 1].dir = frame->dir;
	reader->depth--;
	return RC_OK;
}

/* The walk has failed: at the large file that it is in, or at the entry that it came to. */
static void name_planned(struct tree_reader *reader)
{
	struct place place = { .path = BUF_INIT };

	for (size_t i = 0; i < reader->depth; i++)
		place_add(&place, reader->frames[i].node);
	if (reader->large) {
		place_add(&place, reader->large->node);
	} else if (reader->depth > 0) {
		const struct frame *frame = &reader->frames[reader->depth - 1];

		place_add(&place, directory_at(frame->dir, frame->next - 1));
	}
	fail_at(&place, reader->plan_rc, &reader->plan_err);
	reader->planned_all = true;
}

/* Plans the next block and has it brought. A failure of the walk waits until what comes before it
 * was passed on. */
static void start_block(struct tree_reader *reader)
{
	struct block *block =
		&reader->blocks[(reader->first + reader->count) % reader->block_limit];

	while (!reader->planned_all && block->bytes_len < BLOCK_BYTES &&
	       block->event_count < BLOCK_EVENTS) {
		reader->plan_rc = plan_step(reader, block, &reader->plan_err);
		if (reader->plan_rc != RC_OK)
			name_planned(reader);
	}
	reader->count++;
	if (block->piece_count == 0) {
		block->rc = RC_OK;
		block->done = true;
		return;
	}
	if (reader->planned_all && reader->count == 1) {
		run_block(block); /* nothing to do meanwhile */
		return;
	}
	if (!reader->pool)
		reader->pool = pool_new("castor-read", reader->threads, BLOCKS_MAX);
	pool_submit(reader->pool, run_block, block);
}

/* ---- The reader ---- */

struct tree_reader *tree_reader_new(const struct services *services, const struct op *op,
				    const struct node *root)
{
	struct tree_reader *reader = mem_zalloc(sizeof(*reader));
	bool remote = blob_service_latency(services->blobs) == BLOB_LATENCY_REMOTE;
	unsigned cpus = machine_cpus();

	reader->blobs = services->blobs;
	reader->directories = tree_directories_new(services->directories, &root->digest);
	reader->op = op;
	node_copy(&reader->root, root);
	reader->threads = remote ? THREADS_REMOTE : cpus < THREADS_MAX ? cpus : THREADS_MAX;
	reader->block_limit = reader->threads + 2;
	pthread_mutex_init(&reader->lock, NULL);
	pthread_cond_init(&reader->block_done, NULL);
	for (size_t i = 0; i < BLOCKS_MAX; i++)
		reader->blocks[i].reader = reader;
	return reader;
}

void tree_reader_free(struct tree_reader *reader)
{
	if (!reader)
		return;
	atomic_store(&reader->stop, true);
	pool_free(reader->pool);
	for (size_t i = 0; i < BLOCKS_MAX; i++) {
		struct block *block = &reader->blocks[i];

		clear_block(block);
		free(block->events);
		free(block->pieces);
		free(block->bytes);
	}
	blob_reader_free(reader->large_reader);
	if (reader->large)
		large_unref(reader, reader->large);
	while (reader->depth > 0)
		directory_unref(reader->frames[--reader->depth].dir);
	free(reader->frames);
	free(reader->open);
	tree_directories_free(reader->directories);
	node_release(&reader->root);
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->block_done);
	free(reader);
}

void tree_reader_cleanup(struct tree_reader **reader)
{
	tree_reader_free(*reader);
	*reader = NULL;
}

static void keep_open(struct tree_reader *reader, const struct event *event)
{
	if (event->kind == TREE_DIRECTORY_END)
		reader->open_count--;
	if (event->kind != TREE_DIRECTORY)
		return;
	reader->open = mem_grow(reader->open, reader->open_count, &reader->open_cap, 16,
				sizeof(*reader->open));
	reader->open[reader->open_count++] = event->node;
}

/* Of a block of which nothing was passed on yet: at the piece that failed. */
static enum rc name_piece(struct block *block, struct err *err)
{
	struct tree_reader *reader = block->reader;
	struct place place = { .path = BUF_INIT };

	if (block->failed == block->piece_count)
		return block->rc;
	for (size_t i = 0; i < block->pieces[block->failed].event; i++)
		keep_open(reader, &block->events[i]);
	for (size_t i = 0; i < reader->open_count; i++)
		place_add(&place, reader->open[i]);
	place_add(&place, block->pieces[block->failed].node);
	return fail_at(&place, block->rc, err);
}

static enum rc wait_for(struct block *block, struct err *err)
{
	struct tree_reader *reader = block->reader;
	enum rc rc;

	pthread_mutex_lock(&reader->lock);
	while (!block->done)
		pthread_cond_wait(&reader->block_done, &reader->lock);
	rc = block->rc;
	pthread_mutex_unlock(&reader->lock);
	if (rc == RC_OK)
		return RC_OK;
	err_set(err, rc, "%s", block->err.message);
	return name_piece(block, err);
}

/* The block with the next event; NULL at the end. */
static enum rc current_block(struct tree_reader *reader, struct block **out, struct err *err)
{
	*out = NULL;
	for (;;) {
		struct block *block = &reader->blocks[reader->first];
		enum rc rc = RC_OK;

		if (reader->count > 0 && block->next == block->event_count) {
			clear_block(block);
			reader->first = (reader->first + 1) % reader->block_limit;
			reader->count--;
		}
		while (!reader->planned_all && reader->count < reader->block_limit)
			start_block(reader);
		if (reader->count == 0)
			return reader->plan_rc == RC_OK ? RC_OK
							: err_set(err, reader->plan_rc, "%s",
								  reader->plan_err.message);
		block = &reader->blocks[reader->first];
		if (block->next == 0) {
			rc = op_check(reader->op, err);
			if (rc == RC_OK)
				rc = wait_for(block, err);
		}
		if (rc != RC_OK)
			return rc;
		if (block->next < block->event_count) {
			*out = block;
			return RC_OK;
		}
	}
}

enum rc tree_reader_next(struct tree_reader *reader, struct tree_event *out, struct err *err)
{
	const struct event *event;
	struct block *block;

	*out = (struct tree_event){ .kind = TREE_END };
	if (reader->failure == RC_OK)
		reader->failure = current_block(reader, &block, &reader->failure_err);
	if (reader->failure != RC_OK)
		return err_set(err, reader->failure, "%s", reader->failure_err.message);
	if (!block)
		return RC_OK;
	event = &block->events[block->next++];
	keep_open(reader, event);
	out->kind = event->kind;
	out->node = event->node;
	if (event->kind == TREE_DATA)
		out->data = view_of(block->bytes + event->at, event->len);
	return RC_OK;
}
