/* Reading one blob: chunks are located, read whole, checked against their digests, and handed out
 * in whatever pieces the caller wants. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "service/blob/blob_service.h"

void blob_reader_init(struct blob_reader *reader, const struct blob_reader_ops *ops,
		      const struct digest *digest, uint64_t size)
{
	assert(ops->free && ops->locate && ops->read_chunk);
	*reader = (struct blob_reader){ .ops = ops, .digest = *digest, .size = size };
}

void blob_reader_free(struct blob_reader *reader)
{
	struct blob_service *service;

	if (!reader)
		return;
	service = reader->service;
	free(reader->last_bytes);
	reader->ops->free(reader);
	blob_service_unref(service);
}

void blob_reader_cleanup(struct blob_reader **reader)
{
	blob_reader_free(*reader);
	*reader = NULL;
}

uint64_t blob_reader_size(const struct blob_reader *reader)
{
	return reader->size;
}

static enum rc broken(const struct blob_reader *reader, uint64_t offset, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(&reader->digest, hex);
	return err_set(err, RC_CORRUPT, "blob %s: its chunks do not cover offset %" PRIu64, hex,
		       offset);
}

enum rc blob_reader_locate(struct blob_reader *reader, const struct op *op, uint64_t offset,
			   struct blob_chunk *out, struct err *err)
{
	enum rc rc;

	*out = (struct blob_chunk){ 0 };
	if (offset >= reader->size)
		return err_set(err, RC_INVALID,
			       "offset %" PRIu64 " is past the end of a blob of %" PRIu64 " bytes",
			       offset, reader->size);
	rc = reader->ops->locate(reader, op, offset, out, err);
	if (rc == RC_OK &&
	    (out->offset > offset || out->size == 0 || out->size > CHUNK_MAX_EVER ||
	     out->size > reader->size - out->offset || offset - out->offset >= out->size))
		rc = broken(reader, offset, err);
	if (rc != RC_OK)
		*out = (struct blob_chunk){ 0 };
	return rc;
}

enum rc blob_reader_read_chunk(struct blob_reader *reader, const struct op *op,
			       const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct buf place CLEANUP(buf_release) = BUF_INIT;
	char wanted_hex[DIGEST_HEX_MAX], found_hex[DIGEST_HEX_MAX];
	struct digest found;
	enum rc rc = op_check(op, err);

	if (rc == RC_OK)
		rc = reader->ops->read_chunk(reader, op, chunk, out, err);
	if (rc != RC_OK)
		return rc;
	if (!chunk->has_digest)
		return RC_OK;
	found = digest_of(view_of(out, chunk->size));
	if (digest_equal(&found, &chunk->digest))
		return RC_OK;
	digest_hex(&chunk->digest, wanted_hex);
	digest_hex(&found, found_hex);
	if (reader->ops->place)
		reader->ops->place(reader, chunk, &place);
	return err_set(err, RC_CORRUPT, "chunk %s is damaged: its bytes%s%s have the digest %s",
		       wanted_hex, place.len > 0 ? " " : "", buf_string(&place), found_hex);
}

/* Makes `chunk` the one whose bytes are kept. */
static enum rc keep_chunk(struct blob_reader *reader, const struct op *op,
			  const struct blob_chunk *chunk, struct err *err)
{
	uint8_t *bytes = mem_try_alloc(chunk->size);
	enum rc rc;

	if (!bytes)
		return err_set(err, RC_NO_MEMORY, "no memory for a chunk of %" PRIu32 " bytes",
			       chunk->size);
	rc = blob_reader_read_chunk(reader, op, chunk, bytes, err);
	if (rc != RC_OK) {
		free(bytes);
		return rc;
	}
	free(reader->last_bytes);
	reader->last_bytes = bytes;
	reader->last = *chunk;
	return RC_OK;
}

/* Reads some bytes (at least one) from offset, which lies inside the blob. */
static enum rc read_some(struct blob_reader *reader, const struct op *op, uint8_t *out, size_t len,
			 uint64_t offset, size_t *got, struct err *err)
{
	const struct blob_chunk *last = &reader->last;
	struct blob_chunk chunk;
	enum rc rc;

	*got = 0;
	if (!reader->last_bytes || offset < last->offset || offset - last->offset >= last->size) {
		rc = blob_reader_locate(reader, op, offset, &chunk, err);
		if (rc != RC_OK)
			return rc;
		if (!chunk.has_digest) {
			/* Nothing to check: just the part that is wanted. */
			chunk.size -= (uint32_t)(offset - chunk.offset);
			chunk.offset = offset;
			chunk.size = len < chunk.size ? (uint32_t)len : chunk.size;
		}
		if (chunk.offset == offset && chunk.size <= len) {
			rc = blob_reader_read_chunk(reader, op, &chunk, out, err);
			*got = rc == RC_OK ? chunk.size : 0;
			return rc;
		}
		rc = keep_chunk(reader, op, &chunk, err);
		if (rc != RC_OK)
			return rc;
	}
	*got = last->size - (size_t)(offset - last->offset);
	*got = *got < len ? *got : len;
	memcpy(out, reader->last_bytes + (offset - last->offset), *got);
	return RC_OK;
}

enum rc blob_reader_pread(struct blob_reader *reader, const struct op *op, void *out, size_t len,
			  uint64_t offset, size_t *got, struct err *err)
{
	enum rc rc = op_check(op, err);
	size_t some;

	*got = 0;
	while (rc == RC_OK && *got < len && offset + *got < reader->size) {
		rc = read_some(reader, op, (uint8_t *)out + *got, len - *got, offset + *got, &some,
			       err);
		*got += some;
	}
	if (rc != RC_OK)
		*got = 0;
	return rc;
}

void blob_reader_forget(struct blob_reader *reader)
{
	free(reader->last_bytes);
	reader->last_bytes = NULL;
}

int blob_reader_fd(struct blob_reader *reader)
{
	return reader->ops->fd ? reader->ops->fd(reader) : -1;
}

enum rc blob_reader_read_frame(struct blob_reader *reader, const struct op *op,
			       const struct blob_chunk *chunk, struct buf *out, struct err *err)
{
	size_t len = out->len;
	enum rc rc;

	if (!reader->ops->read_frame)
		return err_set(err, RC_UNSUPPORTED, "these chunks are not kept as zstd frames");
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = reader->ops->read_frame(reader, op, chunk, out, err);
	if (rc != RC_OK)
		out->len = len;
	return rc;
}

void blob_reader_will_need(struct blob_reader *reader, uint64_t offset, uint64_t len)
{
	if (reader->ops->will_need && offset < reader->size)
		reader->ops->will_need(reader, offset,
				       len < reader->size - offset ? len : reader->size - offset);
}

/* ---- The empty blob, which no backend is asked for ---- */

static void empty_free(struct blob_reader *reader)
{
	free(reader);
}

static enum rc empty_locate(struct blob_reader *reader, const struct op *op, uint64_t offset,
			    struct blob_chunk *out, struct err *err)
{
	(void)op;
	(void)out;
	return broken(reader, offset, err);
}

static enum rc empty_read_chunk(struct blob_reader *reader, const struct op *op,
				const struct blob_chunk *chunk, void *out, struct err *err)
{
	(void)op;
	(void)out;
	return broken(reader, chunk->offset, err);
}

static const struct blob_reader_ops empty_ops = {
	.free = empty_free,
	.locate = empty_locate,
	.read_chunk = empty_read_chunk,
};

struct blob_reader *blob_reader_new_empty(void)
{
	struct blob_reader *reader = mem_zalloc(sizeof(*reader));

	blob_reader_init(reader, &empty_ops, &digest_empty, 0);
	return reader;
}
