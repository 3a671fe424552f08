/* The wrappers of a batch: they check that a blob is made of just the chunks that came before it,
 * and that nobody goes on with a batch that failed. */
#include <assert.h>
#include <inttypes.h>

#include "service/blob/blob_service.h"

void blob_batch_init(struct blob_batch *batch, const struct blob_batch_ops *ops)
{
	assert(ops->free && ops->encode && ops->add_chunk && ops->add_blob && ops->commit &&
	       ops->free_encoded);
	*batch = (struct blob_batch){ .ops = ops };
}

static enum rc called(struct blob_batch *batch, const struct op *op, const char *call,
		      const struct digest *digest, enum rc rc)
{
	struct view key = digest ? view_of(digest->bytes, DIGEST_SIZE) : (struct view){ 0 };

	return service_called(&batch->service->counts, op, batch->service->ops->name, call, key,
			      rc);
}

enum rc blob_service_open_batch(struct blob_service *service, const struct op *op,
				struct blob_batch **out, struct err *err)
{
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->open_batch(service, op, out, err);
	if (rc == RC_OK && !(*out)->service)
		(*out)->service = blob_service_ref(service);
	return service_called(&service->counts, op, service->ops->name, "blob batch open",
			      (struct view){ 0 }, rc);
}

void blob_batch_init_chunker(const struct blob_batch *batch, struct chunker *chunker)
{
	if (batch->pieces > 0)
		chunker_init_pieces(chunker, batch->pieces);
	else
		chunker_init(chunker);
}

void blob_batch_free(struct blob_batch *batch)
{
	struct blob_service *service;

	if (!batch)
		return;
	service = batch->service;
	batch->ops->free(batch);
	blob_service_unref(service);
}

void blob_batch_cleanup(struct blob_batch **batch)
{
	blob_batch_free(*batch);
	*batch = NULL;
}

enum rc blob_batch_encode(struct blob_batch *batch, const struct op *op, struct view chunk,
			  struct blob_encoded **out, struct err *err)
{
	enum rc rc;

	*out = NULL;
	if (chunk.len == 0 || chunk.len > CHUNK_MAX_EVER)
		return err_set(err, RC_INVALID, "a chunk of %zu bytes, not of 1 to %d", chunk.len,
			       CHUNK_MAX_EVER);
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = batch->ops->encode(batch, op, chunk, out, err);
	return called(batch, op, "blob encode", *out ? &(*out)->digest : NULL, rc);
}

static enum rc check_usable(const struct blob_batch *batch, const struct op *op, struct err *err)
{
	if (batch->failed)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "this batch of blobs failed before, it takes no more");
	return op_check(op, err);
}

enum rc blob_batch_add_chunk(struct blob_batch *batch, const struct op *op,
			     struct blob_encoded *chunk, struct err *err)
{
	struct digest digest = chunk->digest;
	uint32_t size = chunk->size;
	enum rc rc = check_usable(batch, op, err);

	if (rc != RC_OK)
		batch->ops->free_encoded(chunk);
	else
		rc = batch->ops->add_chunk(batch, op, chunk, err);
	if (rc == RC_OK) {
		batch->pending_bytes += size;
		batch->pending_chunks++;
	} else {
		batch->failed = true;
	}
	return called(batch, op, "blob add chunk", &digest, rc);
}

static enum rc check_blob(const struct blob_batch *batch, const struct digest *digest,
			  uint64_t size, const struct blob_chunk *chunks, size_t count,
			  struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	uint64_t at = 0;

	digest_hex(digest, hex);
	for (size_t i = 0; i < count; i++) {
		if (chunks[i].offset != at || chunks[i].size == 0 || !chunks[i].has_digest)
			return err_set(err, RC_INVALID, "blob %s: chunk %zu is not at its place",
				       hex, i);
		at += chunks[i].size;
	}
	if (at != size || batch->pending_bytes != size || batch->pending_chunks != count)
		return err_set(err, RC_INVALID,
			       "blob %s of %" PRIu64 " bytes is listed as %zu chunks of %" PRIu64
			       " bytes, after %" PRIu64 " chunks of %" PRIu64 " bytes were added",
			       hex, size, count, at, batch->pending_chunks, batch->pending_bytes);
	if (count == 1 && !digest_equal(digest, &chunks[0].digest))
		return err_set(err, RC_INVALID, "blob %s has one chunk, of another digest", hex);
	if (count == 0 && !digest_equal(digest, &digest_empty))
		return err_set(err, RC_INVALID, "blob %s is not the empty blob", hex);
	return RC_OK;
}

enum rc blob_batch_add_blob(struct blob_batch *batch, const struct op *op,
			    const struct digest *digest, uint64_t size,
			    const struct blob_chunk *chunks, size_t count, struct err *err)
{
	enum rc rc = check_usable(batch, op, err);

	if (rc == RC_OK)
		rc = check_blob(batch, digest, size, chunks, count, err);
	if (rc == RC_OK)
		rc = batch->ops->add_blob(batch, op, digest, size, chunks, count, err);
	if (rc != RC_OK)
		batch->failed = true;
	batch->pending_bytes = 0;
	batch->pending_chunks = 0;
	return called(batch, op, "blob add", digest, rc);
}

enum rc blob_batch_commit(struct blob_batch *batch, const struct op *op, struct err *err)
{
	enum rc rc = check_usable(batch, op, err);

	if (rc == RC_OK && batch->pending_chunks > 0)
		rc = err_set(err, RC_INVALID, "a commit between the chunks of a blob");
	if (rc == RC_OK)
		rc = batch->ops->commit(batch, op, err);
	if (rc != RC_OK)
		batch->failed = true;
	return called(batch, op, "blob commit", NULL, rc);
}

void blob_batch_free_encoded(struct blob_batch *batch, struct blob_encoded *chunk)
{
	if (chunk)
		batch->ops->free_encoded(chunk);
}
