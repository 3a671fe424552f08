/* A stream into a batch: cuts, encodes and adds as bytes come, all in the caller's thread. Holds at
 * most one chunk, and the list of those before it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "service/blob/blob_service.h"

struct blob_writer {
	struct blob_batch *batch;
	struct chunker chunker;
	struct hasher hasher; /* of the whole blob */
	struct buf held;      /* less than the next chunk could have */
	struct blob_chunk *chunks;
	size_t count, room;
	bool done; /* closed or failed */
};

enum rc blob_writer_open(struct blob_batch *batch, struct blob_writer **out, struct err *err)
{
	(void)err;
	*out = mem_zalloc(sizeof(**out));
	(*out)->batch = batch;
	chunker_init(&(*out)->chunker);
	hasher_init(&(*out)->hasher);
	return RC_OK;
}

void blob_writer_free(struct blob_writer *writer)
{
	if (!writer)
		return;
	buf_release(&writer->held);
	free(writer->chunks);
	free(writer);
}

static void list_chunk(struct blob_writer *writer, const struct blob_encoded *chunk,
		       uint64_t offset)
{
	if (writer->count == writer->room) {
		writer->room = writer->room ? 2 * writer->room : 1;
		writer->chunks =
			mem_realloc_array(writer->chunks, writer->room, sizeof(*writer->chunks));
	}
	writer->chunks[writer->count++] = (struct blob_chunk){
		.digest = chunk->digest,
		.offset = offset,
		.size = chunk->size,
		.has_digest = true,
	};
}

/* Adds the chunk at the front of data, which holds a whole one; says how long it was. */
static enum rc add_front(struct blob_writer *writer, const struct op *op, struct view data,
			 size_t *len, struct err *err)
{
	uint64_t offset = writer->chunker.offset;
	struct blob_encoded *chunk;
	enum rc rc;

	*len = chunker_cut(&writer->chunker, data);
	hasher_update(&writer->hasher, data.ptr, *len);
	rc = blob_batch_encode(writer->batch, op, view_slice(data, 0, *len), &chunk, err);
	if (rc != RC_OK)
		return rc;
	list_chunk(writer, chunk, offset);
	return blob_batch_add_chunk(writer->batch, op, chunk, err);
}

static enum rc add_held(struct blob_writer *writer, const struct op *op, struct err *err)
{
	size_t len;
	enum rc rc = add_front(writer, op, buf_view(&writer->held), &len, err);

	if (rc != RC_OK)
		return rc;
	writer->held.len -= len;
	memmove(writer->held.ptr, writer->held.ptr + len, writer->held.len);
	return RC_OK;
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
	if (!buf_try_reserve(&writer->held, *taken))
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
	while (rc == RC_OK && writer->held.len > 0)
		rc = add_held(writer, op, err);
	writer->done = true;
	if (rc != RC_OK)
		return rc;
	*digest = hasher_final(&writer->hasher);
	*size = writer->chunker.offset;
	rc = blob_batch_add_blob(writer->batch, op, digest, *size, writer->chunks, writer->count,
				 err);
	if (rc != RC_OK) {
		*digest = (struct digest){ 0 };
		*size = 0;
	}
	return rc;
}
