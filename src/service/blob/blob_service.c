/* The blob service's wrappers: the questions, and getting many small blobs. Reading one blob is in
 * blob_reader.c, writing in blob_batch.c and blob_writer.c. */
#include "service/blob/blob_service.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void blob_service_init(struct blob_service *service, const struct blob_service_ops *ops)
{
	assert(ops->name && ops->free && ops->has_many && ops->stat && ops->open_read &&
	       ops->open_batch);
	*service = (struct blob_service){ .ops = ops };
	refcount_init(&service->ref);
}

struct blob_service *blob_service_ref(struct blob_service *service)
{
	refcount_ref(&service->ref);
	return service;
}

void blob_service_unref(struct blob_service *service)
{
	if (service && refcount_unref(&service->ref))
		service->ops->free(service);
}

enum blob_latency blob_service_latency(const struct blob_service *service)
{
	return service->ops->latency;
}

static enum rc called(struct blob_service *service, const struct op *op, const char *call,
		      const struct digest *digest, enum rc rc)
{
	struct view key = digest ? view_of(digest->bytes, DIGEST_SIZE) : (struct view){ 0 };

	return service_called(&service->counts, op, service->ops->name, call, key, rc);
}

enum rc blob_service_has_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, bool *out,
			      struct err *err)
{
	enum rc rc;

	if (count == 0)
		return RC_OK;
	memset(out, 0, count * sizeof(*out));
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->has_many(service, op, digests, count, out, err);
	if (rc != RC_OK)
		memset(out, 0, count * sizeof(*out));
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (digest_equal(&digests[i], &digest_empty))
			out[i] = true;
	return called(service, op, "blob has", &digests[0], rc);
}

/* A list that came from a backend: from front to back, nothing left out, nothing empty. */
static enum rc check_list(const struct digest *digest, uint64_t size,
			  const struct blob_chunk_list *list, struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	uint64_t at = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct blob_chunk *chunk = &list->chunks[i];

		if (chunk->offset != at || chunk->size == 0 || chunk->size > size - at)
			break;
		at += chunk->size;
	}
	if (list->count == 0 || at == size)
		return RC_OK;
	digest_hex(digest, hex);
	return err_set(err, RC_CORRUPT, "the chunk list of blob %s is broken at offset %" PRIu64,
		       hex, at);
}

enum rc blob_service_stat(struct blob_service *service, const struct op *op,
			  const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			  struct err *err)
{
	enum rc rc;

	*size = 0;
	if (list)
		*list = (struct blob_chunk_list){ 0 };
	rc = op_check(op, err);
	if (rc == RC_OK && !digest_equal(digest, &digest_empty))
		rc = service->ops->stat(service, op, digest, size, list, err);
	if (rc == RC_OK && list)
		rc = check_list(digest, *size, list, err);
	if (rc != RC_OK)
		*size = 0;
	if (list && (rc != RC_OK || list->count == 0)) /* an empty list owns nothing */
		blob_chunk_list_release(list);
	return called(service, op, "blob stat", digest, rc);
}

enum rc blob_service_open_read(struct blob_service *service, const struct op *op,
			       const struct digest *digest, uint64_t size, struct blob_reader **out,
			       struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK) {
		if (digest_equal(digest, &digest_empty))
			*out = blob_reader_new_empty();
		else
			rc = service->ops->open_read(service, op, digest, size, out, err);
	}
	if (rc == RC_OK) {
		/* A combinator may have handed on a reader of another service. */
		if (!(*out)->service)
			(*out)->service = blob_service_ref(service);
		if (size != BLOB_SIZE_UNKNOWN && (*out)->size != size) {
			digest_hex(digest, hex);
			rc = err_set(err, RC_CORRUPT,
				     "blob %s has %" PRIu64 " bytes where %" PRIu64
				     " were expected",
				     hex, (*out)->size, size);
		}
	}
	if (rc != RC_OK)
		blob_reader_cleanup(out);
	return called(service, op, "blob open", digest, rc);
}

enum rc blob_service_open_frames(struct blob_service *service, const struct op *op,
				 const struct digest *chunks, size_t count,
				 struct blob_frames **out, struct err *err)
{
	enum rc rc = op_check(op, err);

	*out = NULL;
	if (rc == RC_OK && !service->ops->open_frames)
		rc = err_set(err, RC_UNSUPPORTED, "%s keeps no frames", service->ops->name);
	if (rc == RC_OK)
		rc = service->ops->open_frames(service, op, chunks, count, out, err);
	return called(service, op, "blob frames", NULL, rc);
}

enum rc blob_frames_read(struct blob_frames *frames, const struct op *op, size_t first,
			 size_t count, void *out, struct err *err)
{
	enum rc rc = op_check(op, err);

	assert(first <= frames->count && count <= frames->count - first);
	return rc == RC_OK ? frames->ops->read(frames, op, first, count, out, err) : rc;
}

void blob_frames_free(struct blob_frames *frames)
{
	if (!frames)
		return;
	free(frames->stored);
	free(frames->raw);
	frames->ops->free(frames);
}

enum rc blob_service_get(struct blob_service *service, const struct op *op,
			 const struct digest *digest, size_t max, struct buf *out, struct err *err)
{
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	char hex[DIGEST_HEX_MAX];
	size_t got = 0;
	enum rc rc = blob_service_open_read(service, op, digest, BLOB_SIZE_UNKNOWN, &reader, err);

	if (rc != RC_OK)
		return rc;
	digest_hex(digest, hex);
	if (reader->size > max)
		return err_set(err, RC_TOO_LARGE,
			       "blob %s has %" PRIu64 " bytes, at most %zu are taken here", hex,
			       reader->size, max);
	if (!buf_try_reserve(out, (size_t)reader->size))
		return err_set(err, RC_NO_MEMORY, "no memory for the %" PRIu64 " bytes of blob %s",
			       reader->size, hex);
	if (reader->size > 0)
		rc = blob_reader_pread(reader, op, out->ptr + out->len, (size_t)reader->size, 0,
				       &got, err);
	if (rc == RC_OK)
		out->len += got;
	return rc;
}

/* Stands between a backend's get_many and the caller: checks each blob. */
struct checked_done {
	const struct digest *digests;
	size_t count;
	blob_done *done;
	void *context;
};

static void checked_done(void *context, size_t i, enum rc rc, struct view bytes)
{
	const struct checked_done *checked = context;
	struct digest found;

	assert(i < checked->count);
	if (digest_equal(&checked->digests[i], &digest_empty)) {
		checked->done(checked->context, i, RC_OK, (struct view){ 0 });
		return;
	}
	if (rc == RC_OK) {
		found = digest_of(bytes);
		if (!digest_equal(&found, &checked->digests[i]))
			rc = RC_CORRUPT;
	}
	checked->done(checked->context, i, rc, rc == RC_OK ? bytes : (struct view){ 0 });
}

/* For backends without a faster way. */
static enum rc get_one_by_one(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, blob_done *done,
			      void *context, struct err *err)
{
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;

	for (size_t i = 0; i < count; i++) {
		enum rc rc = op_check(op, err);

		if (rc != RC_OK)
			return rc;
		buf_clear(&bytes);
		rc = blob_service_get(service, op, &digests[i], BLOB_GET_MANY_MAX, &bytes, NULL);
		done(context, i, rc, buf_view(&bytes));
	}
	return RC_OK;
}

enum rc blob_service_get_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, blob_done *done,
			      void *context, struct err *err)
{
	struct checked_done checked = { digests, count, done, context };
	enum rc rc;

	if (count == 0)
		return RC_OK;
	rc = op_check(op, err);
	if (rc == RC_OK) {
		if (service->ops->get_many)
			rc = service->ops->get_many(service, op, digests, count, checked_done,
						    &checked, err);
		else
			rc = get_one_by_one(service, op, digests, count, done, context, err);
	}
	return called(service, op, "blob get many", &digests[0], rc);
}

enum rc blob_service_put(struct blob_service *service, const struct op *op, struct view bytes,
			 struct digest *digest, struct err *err)
{
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	struct blob_writer *writer = NULL;
	uint64_t size;
	enum rc rc;

	*digest = (struct digest){ 0 };
	rc = blob_service_open_batch(service, op, &batch, err);
	if (rc != RC_OK)
		return rc;
	rc = blob_writer_open(batch, &writer, err);
	if (rc == RC_OK)
		rc = blob_writer_write(writer, op, bytes, err);
	if (rc == RC_OK)
		rc = blob_writer_close(writer, op, digest, &size, err);
	blob_writer_free(writer);
	if (rc == RC_OK)
		rc = blob_batch_commit(batch, op, err);
	if (rc != RC_OK)
		*digest = (struct digest){ 0 };
	return rc;
}

enum rc blob_service_usage(struct blob_service *service, const struct op *op, uint64_t *out,
			   struct err *err)
{
	enum rc rc = op_check(op, err);

	*out = 0;
	if (rc == RC_OK && !service->ops->usage)
		rc = err_set(err, RC_UNSUPPORTED, "%s blob service cannot tell how much it holds",
			     service->ops->name);
	if (rc == RC_OK)
		rc = service->ops->usage(service, op, out, err);
	if (rc != RC_OK)
		*out = 0;
	return called(service, op, "blob usage", NULL, rc);
}
