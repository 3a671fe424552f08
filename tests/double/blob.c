/* A blob service before another, which does what a plan says. */
#include "double/double.h"

#include <stdlib.h>

#include "base/mem.h"

struct double_blob {
	struct blob_service base;
	struct blob_service *inner;
	struct double_plan *plan;
};

struct double_reader {
	struct blob_reader base;
	struct blob_reader *inner;
	struct double_plan *plan;
};

struct double_batch {
	struct blob_batch base;
	struct blob_batch *inner;
	struct double_plan *plan;
};

struct double_encoded {
	struct blob_encoded base;
	struct blob_batch *batch; /* the inner one */
	struct blob_encoded *inner;
};

static struct double_blob *double_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct double_blob, base);
}

static void double_free(struct blob_service *service)
{
	struct double_blob *blobs = double_of(service);

	blob_service_unref(blobs->inner);
	free(blobs);
}

static enum rc double_has_many(struct blob_service *service, const struct op *op,
			       const struct digest *digests, size_t count, bool *out,
			       struct err *err)
{
	struct double_blob *blobs = double_of(service);
	enum rc rc = double_plan_meet(blobs->plan, DOUBLE_ASK, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_service_has_many(blobs->inner, op, digests, count, out, err);
	return rc;
}

static enum rc double_stat(struct blob_service *service, const struct op *op,
			   const struct digest *digest, uint64_t *size,
			   struct blob_chunk_list *list, struct err *err)
{
	struct double_blob *blobs = double_of(service);
	enum rc rc = double_plan_meet(blobs->plan, DOUBLE_ASK, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_service_stat(blobs->inner, op, digest, size, list, err);
	return rc;
}

/* ---- Reading ---- */

static void double_reader_free(struct blob_reader *base)
{
	struct double_reader *reader = CONTAINER_OF(base, struct double_reader, base);

	blob_reader_free(reader->inner);
	free(reader);
}

static enum rc double_locate(struct blob_reader *base, const struct op *op, uint64_t offset,
			     struct blob_chunk *out, struct err *err)
{
	struct double_reader *reader = CONTAINER_OF(base, struct double_reader, base);

	return blob_reader_locate(reader->inner, op, offset, out, err);
}

static enum rc double_read_chunk(struct blob_reader *base, const struct op *op,
				 const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct double_reader *reader = CONTAINER_OF(base, struct double_reader, base);
	bool corrupt;
	enum rc rc = double_plan_meet(reader->plan, DOUBLE_READ, op, &corrupt, err);

	if (rc == RC_OK)
		rc = blob_reader_read_chunk(reader->inner, op, chunk, out, err);
	if (rc == RC_OK && corrupt)
		*(uint8_t *)out ^= 1;
	return rc;
}

static const struct blob_reader_ops reader_ops = {
	.free = double_reader_free,
	.locate = double_locate,
	.read_chunk = double_read_chunk,
};

static enum rc double_open_read(struct blob_service *service, const struct op *op,
				const struct digest *digest, uint64_t size,
				struct blob_reader **out, struct err *err)
{
	struct double_blob *blobs = double_of(service);
	struct double_reader *reader;
	struct blob_reader *inner;
	enum rc rc = double_plan_meet(blobs->plan, DOUBLE_OPEN, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_service_open_read(blobs->inner, op, digest, size, &inner, err);
	if (rc != RC_OK)
		return rc;
	reader = mem_zalloc(sizeof(*reader));
	blob_reader_init(&reader->base, &reader_ops, digest, blob_reader_size(inner));
	reader->inner = inner;
	reader->plan = blobs->plan;
	*out = &reader->base;
	return RC_OK;
}

/* ---- Writing ---- */

static void double_batch_free(struct blob_batch *base)
{
	struct double_batch *batch = CONTAINER_OF(base, struct double_batch, base);

	blob_batch_free(batch->inner);
	free(batch);
}

static void double_free_encoded(struct blob_encoded *base)
{
	struct double_encoded *encoded = CONTAINER_OF(base, struct double_encoded, base);

	blob_batch_free_encoded(encoded->batch, encoded->inner);
	free(encoded);
}

static enum rc double_encode(struct blob_batch *base, const struct op *op, struct view chunk,
			     struct blob_encoded **out, struct err *err)
{
	struct double_batch *batch = CONTAINER_OF(base, struct double_batch, base);
	struct double_encoded *encoded;
	struct blob_encoded *inner;
	enum rc rc = double_plan_meet(batch->plan, DOUBLE_WRITE, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_batch_encode(batch->inner, op, chunk, &inner, err);
	if (rc != RC_OK)
		return rc;
	encoded = mem_zalloc(sizeof(*encoded));
	encoded->base = *inner;
	encoded->batch = batch->inner;
	encoded->inner = inner;
	*out = &encoded->base;
	return RC_OK;
}

static enum rc double_add_chunk(struct blob_batch *base, const struct op *op,
				struct blob_encoded *chunk, struct err *err)
{
	struct double_batch *batch = CONTAINER_OF(base, struct double_batch, base);
	struct double_encoded *encoded = CONTAINER_OF(chunk, struct double_encoded, base);
	enum rc rc = double_plan_meet(batch->plan, DOUBLE_WRITE, op, NULL, err);

	if (rc == RC_OK) {
		rc = blob_batch_add_chunk(batch->inner, op, encoded->inner, err);
		encoded->inner = NULL;
	}
	double_free_encoded(chunk);
	return rc;
}

static enum rc double_add_blob(struct blob_batch *base, const struct op *op,
			       const struct digest *digest, uint64_t size,
			       const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct double_batch *batch = CONTAINER_OF(base, struct double_batch, base);
	enum rc rc = double_plan_meet(batch->plan, DOUBLE_WRITE, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_batch_add_blob(batch->inner, op, digest, size, chunks, count, err);
	return rc;
}

static enum rc double_commit(struct blob_batch *base, const struct op *op, struct err *err)
{
	struct double_batch *batch = CONTAINER_OF(base, struct double_batch, base);
	enum rc rc = double_plan_meet(batch->plan, DOUBLE_COMMIT, op, NULL, err);

	return rc == RC_OK ? blob_batch_commit(batch->inner, op, err) : rc;
}

static const struct blob_batch_ops batch_ops = {
	.free = double_batch_free,
	.encode = double_encode,
	.add_chunk = double_add_chunk,
	.add_blob = double_add_blob,
	.commit = double_commit,
	.free_encoded = double_free_encoded,
};

static enum rc double_open_batch(struct blob_service *service, const struct op *op,
				 struct blob_batch **out, struct err *err)
{
	struct double_blob *blobs = double_of(service);
	struct double_batch *batch;
	struct blob_batch *inner;
	enum rc rc = double_plan_meet(blobs->plan, DOUBLE_OPEN, op, NULL, err);

	if (rc == RC_OK)
		rc = blob_service_open_batch(blobs->inner, op, &inner, err);
	if (rc != RC_OK)
		return rc;
	batch = mem_zalloc(sizeof(*batch));
	blob_batch_init(&batch->base, &batch_ops);
	batch->inner = inner;
	batch->plan = blobs->plan;
	*out = &batch->base;
	return RC_OK;
}

static const struct blob_service_ops service_ops = {
	.name = "double",
	.latency = BLOB_LATENCY_REMOTE,
	.free = double_free,
	.has_many = double_has_many,
	.stat = double_stat,
	.open_read = double_open_read,
	.open_batch = double_open_batch,
};

struct blob_service *double_blob_new(struct blob_service *inner, struct double_plan *plan)
{
	struct double_blob *blobs = mem_zalloc(sizeof(*blobs));

	blob_service_init(&blobs->base, &service_ops);
	blobs->inner = blob_service_ref(inner);
	blobs->plan = plan;
	return &blobs->base;
}
