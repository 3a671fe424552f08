/*
 * A stream into a batch: cuts, encodes and adds as bytes come. Holds at most one chunk, and the list
 * of those before it.
 *
 * Chunks are encoded in the caller's thread, or by a pool, a few at once; they are added in their
 * order by the caller's thread in any case. The lock guards `encoded` of the parts under way.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "service/blob/blob_service.h"

/* Chunks that a pool encodes at once for one writer: memory of it, at most. */
enum { PARTS = 4 };

/* A chunk that is being encoded. */
struct part {
	struct blob_writer *writer;
	const struct op *op;
	uint8_t *bytes;
	size_t len;
	uint64_t offset;
	struct blob_encoded *encoded;
	enum rc rc;
	struct err err;
	bool done; /* under the lock; all before belongs to the pool until then */
};

struct blob_writer {
	struct blob_batch *batch;
	struct pool *pool; /* NULL: encode in the caller's thread */
	pthread_mutex_t lock;
	pthread_cond_t encoded;
	struct part parts[PARTS]; /* a ring */
	size_t first_part, part_count;
	struct chunker chunker;
	struct hasher hasher; /* of the whole blob */
	struct buf held;      /* less than the next chunk could have */
	struct blob_chunk *chunks;
	size_t count, room;
	bool one_chunk; /* the blob has no more than the one that comes now */
	bool done;      /* closed or failed */
};

enum rc blob_writer_open(struct blob_batch *batch, struct blob_writer **out, struct err *err)
{
	struct blob_writer *writer = mem_zalloc(sizeof(*writer));

	(void)err;
	writer->batch = batch;
	pthread_mutex_init(&writer->lock, NULL);
	pthread_cond_init(&writer->encoded, NULL);
	blob_batch_init_chunker(batch, &writer->chunker);
	hasher_init(&writer->hasher);
	*out = writer;
	return RC_OK;
}

void blob_writer_encode_on(struct blob_writer *writer, struct pool *pool)
{
	writer->pool = pool;
}

/* Waits for the oldest part, and takes it out of the ring. */
static struct part take_part(struct blob_writer *writer)
{
	struct part *oldest = &writer->parts[writer->first_part];
	struct part taken;

	pthread_mutex_lock(&writer->lock);
	while (!oldest->done)
		pthread_cond_wait(&writer->encoded, &writer->lock);
	pthread_mutex_unlock(&writer->lock);
	taken = *oldest;
	writer->first_part = (writer->first_part + 1) % PARTS;
	writer->part_count--;
	return taken;
}

void blob_writer_free(struct blob_writer *writer)
{
	if (!writer)
		return;
	while (writer->part_count > 0)
		blob_batch_free_encoded(writer->batch, take_part(writer).encoded);
	pthread_cond_destroy(&writer->encoded);
	pthread_mutex_destroy(&writer->lock);
	buf_release(&writer->held);
	free(writer->chunks);
	free(writer);
}

static void list_chunk(struct blob_writer *writer, const struct blob_encoded *chunk,
		       uint64_t offset)
{
	writer->chunks =
		mem_grow(writer->chunks, writer->count, &writer->room, 1, sizeof(*writer->chunks));
	writer->chunks[writer->count++] = (struct blob_chunk){
		.digest = chunk->digest,
		.offset = offset,
		.size = chunk->size,
		.has_digest = true,
	};
}

/* ---- Encoding on a pool ---- */

static void encode_part(void *arg)
{
	struct part *part = arg;
	struct blob_writer *writer = part->writer;

	part->rc = blob_batch_encode(writer->batch, part->op, view_of(part->bytes, part->len),
				     &part->encoded, &part->err);
	free(part->bytes);
	part->bytes = NULL;
	pthread_mutex_lock(&writer->lock);
	part->done = true;
	pthread_cond_signal(&writer->encoded);
	pthread_mutex_unlock(&writer->lock);
}

static enum rc add_oldest(struct blob_writer *writer, const struct op *op, struct err *err)
{
	struct part part = take_part(writer);

	if (part.rc != RC_OK)
		return err_set(err, part.rc, "%s", part.err.message);
	list_chunk(writer, part.encoded, part.offset);
	return blob_batch_add_chunk(writer->batch, op, part.encoded, err);
}

/* The bytes of a part: those at the front of what is held go with their memory, and only what
 * comes after them is copied. */
static uint8_t *part_bytes(struct blob_writer *writer, struct view chunk)
{
	struct buf rest = BUF_INIT;
	uint8_t *bytes;

	if (chunk.ptr != writer->held.ptr) {
		bytes = mem_try_alloc(chunk.len);
		if (bytes)
			memcpy(bytes, chunk.ptr, chunk.len);
		return bytes;
	}
	if (!buf_try_reserve(&rest, chunker_limit(&writer->chunker)))
		return NULL;
	buf_append(&rest, writer->held.ptr + chunk.len, writer->held.len - chunk.len);
	bytes = writer->held.ptr;
	writer->held = rest;
	return bytes;
}

static enum rc begin_part(struct blob_writer *writer, const struct op *op, struct view chunk,
			  uint64_t offset, struct err *err)
{
	struct part *part;
	enum rc rc = writer->part_count == PARTS ? add_oldest(writer, op, err) : RC_OK;

	if (rc != RC_OK)
		return rc;
	part = &writer->parts[(writer->first_part + writer->part_count) % PARTS];
	*part = (struct part){ .writer = writer, .op = op, .len = chunk.len, .offset = offset };
	part->bytes = part_bytes(writer, chunk);
	if (!part->bytes)
		return err_set(err, RC_NO_MEMORY, "no memory for a chunk of %zu bytes", chunk.len);
	writer->part_count++;
	pool_submit(writer->pool, encode_part, part);
	return RC_OK;
}

/* ---- */

static enum rc encode_here(struct blob_writer *writer, const struct op *op, struct view bytes,
			   uint64_t offset, struct err *err)
{
	struct blob_encoded *chunk;
	enum rc rc = blob_batch_encode(writer->batch, op, bytes, &chunk, err);

	if (rc != RC_OK)
		return rc;
	list_chunk(writer, chunk, offset);
	return blob_batch_add_chunk(writer->batch, op, chunk, err);
}

/* Adds the chunk at the front of data, which holds a whole one; says how long it was. */
static enum rc add_front(struct blob_writer *writer, const struct op *op, struct view data,
			 size_t *len, struct err *err)
{
	uint64_t offset = writer->chunker.offset;
	struct view chunk;

	*len = chunker_cut(&writer->chunker, data);
	chunk = view_slice(data, 0, *len);
	if (!writer->one_chunk)
		hasher_update(&writer->hasher, chunk.ptr, chunk.len);
	return writer->pool ? begin_part(writer, op, chunk, offset, err)
			    : encode_here(writer, op, chunk, offset, err);
}

static enum rc add_held(struct blob_writer *writer, const struct op *op, struct err *err)
{
	size_t len;
	enum rc rc = add_front(writer, op, buf_view(&writer->held), &len, err);

	/* A pool has taken the chunk out already. */
	if (rc != RC_OK || writer->pool)
		return rc;
	writer->held.len -= len;
	memmove(writer->held.ptr, writer->held.ptr + len, writer->held.len);
	return RC_OK;
}

/* The rest of the blob. */
static enum rc add_rest(struct blob_writer *writer, const struct op *op, struct err *err)
{
	enum rc rc = RC_OK;

	/* The digest of its only chunk is the blob's, and no other thread gains anything. */
	writer->one_chunk = writer->chunker.offset == 0 && writer->held.len <= CHUNK_MIN;
	if (writer->one_chunk)
		writer->pool = NULL;
	while (rc == RC_OK && writer->held.len > 0)
		rc = add_held(writer, op, err);
	while (rc == RC_OK && writer->part_count > 0)
		rc = add_oldest(writer, op, err);
	return rc;
}

static enum rc check_usable(const struct blob_writer *writer, struct err *err)
{
	if (writer->done)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "this blob was closed, or failed before");
	return RC_OK;
}

static enum rc write_some(struct blob_writer *writer, const struct op *op, struct view bytes,
			  size_t *taken, struct err *err)
{
	size_t limit = chunker_limit(&writer->chunker);

	if (writer->held.len == 0 && bytes.len >= limit)
		return add_front(writer, op, view_slice(bytes, 0, limit), taken, err);
	*taken = limit - writer->held.len;
	*taken = *taken < bytes.len ? *taken : bytes.len;
	/* Room for all that the chunk may have, where there is more than a little of it. */
	if (!buf_try_reserve(&writer->held, writer->held.len + *taken > CHUNK_MIN
						    ? limit - writer->held.len
						    : *taken))
		return err_set(err, RC_NO_MEMORY, "no memory for a chunk of %zu bytes", limit);
	buf_append(&writer->held, bytes.ptr, *taken);
	return writer->held.len == limit ? add_held(writer, op, err) : RC_OK;
}

enum rc blob_writer_write(struct blob_writer *writer, const struct op *op, struct view bytes,
			  struct err *err)
{
	enum rc rc = check_usable(writer, err);
	size_t taken;

	while (rc == RC_OK && bytes.len > 0) {
		rc = write_some(writer, op, bytes, &taken, err);
		if (rc == RC_OK)
			bytes = view_slice(bytes, taken, bytes.len - taken);
	}
	if (rc != RC_OK)
		writer->done = true;
	return rc;
}

enum rc blob_writer_close(struct blob_writer *writer, const struct op *op, struct digest *digest,
			  uint64_t *size, struct err *err)
{
	enum rc rc = check_usable(writer, err);

	*digest = (struct digest){ 0 };
	*size = 0;
	if (rc == RC_OK)
		rc = add_rest(writer, op, err);
	writer->done = true;
	if (rc != RC_OK)
		return rc;
	*digest = writer->one_chunk && writer->count == 1 ? writer->chunks[0].digest
							  : hasher_final(&writer->hasher);
	*size = writer->chunker.offset;
	rc = blob_batch_add_blob(writer->batch, op, digest, *size, writer->chunks, writer->count,
				 err);
	if (rc != RC_OK) {
		*digest = (struct digest){ 0 };
		*size = 0;
	}
	return rc;
}
