/*
 * Two blob services as one. Far is asked for what near says that it does not have, and for nothing
 * else: damage near, or a near service that does not answer, is not a miss.
 */
#include "service/blob/combined.h"

#include <stdlib.h>

#include "base/mem.h"

struct combined {
	struct blob_service base;
	struct blob_service_ops ops; /* as slow as the slower one */
	struct blob_service *near, *far;
};

static struct combined *combined_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct combined, base);
}

static void combined_free(struct blob_service *service)
{
	struct combined *combined = combined_of(service);

	blob_service_unref(combined->near);
	blob_service_unref(combined->far);
	free(combined);
}

/* ---- Asking ---- */

/* Those that were not had, one behind the other; `from` says where each came from. */
static size_t gather(const struct digest *digests, size_t count, const bool *had,
		     struct digest *out, size_t *from)
{
	size_t missing = 0;

	for (size_t i = 0; i < count; i++) {
		if (had[i])
			continue;
		out[missing] = digests[i];
		from[missing++] = i;
	}
	return missing;
}

static enum rc combined_has_many(struct blob_service *service, const struct op *op,
				 const struct digest *digests, size_t count, bool *out,
				 struct err *err)
{
	struct combined *combined = combined_of(service);
	AUTO_FREE struct digest *missing = NULL;
	AUTO_FREE size_t *from = NULL;
	AUTO_FREE bool *there = NULL;
	size_t left;
	enum rc rc = blob_service_has_many(combined->near, op, digests, count, out, err);

	if (rc != RC_OK)
		return rc;
	missing = mem_array(count, sizeof(*missing));
	from = mem_array(count, sizeof(*from));
	there = mem_array(count, sizeof(*there));
	left = gather(digests, count, out, missing, from);
	rc = blob_service_has_many(combined->far, op, missing, left, there, err);
	for (size_t i = 0; rc == RC_OK && i < left; i++)
		out[from[i]] = there[i];
	return rc;
}

static enum rc combined_stat(struct blob_service *service, const struct op *op,
			     const struct digest *digest, uint64_t *size,
			     struct blob_chunk_list *list, struct err *err)
{
	struct combined *combined = combined_of(service);
	enum rc rc = blob_service_stat(combined->near, op, digest, size, list, err);

	return rc == RC_NOT_FOUND ? blob_service_stat(combined->far, op, digest, size, list, err)
				  : rc;
}

/* ---- Reading ---- */

static enum rc combined_open_read(struct blob_service *service, const struct op *op,
				  const struct digest *digest, uint64_t size,
				  struct blob_reader **out, struct err *err)
{
	struct combined *combined = combined_of(service);
	enum rc rc = blob_service_open_read(combined->near, op, digest, size, out, err);

	return rc == RC_NOT_FOUND
		       ? blob_service_open_read(combined->far, op, digest, size, out, err)
		       : rc;
}

/* Hands on what near gives, and notes what it does not have. */
struct near_done {
	blob_done *done;
	void *context;
	bool *had;
};

static void near_done(void *context, size_t i, enum rc rc, struct view bytes)
{
	const struct near_done *near = context;

	near->had[i] = rc != RC_NOT_FOUND;
	if (near->had[i])
		near->done(near->context, i, rc, bytes);
}

struct far_done {
	blob_done *done;
	void *context;
	const size_t *from;
};

static void far_done(void *context, size_t i, enum rc rc, struct view bytes)
{
	const struct far_done *far = context;

	far->done(far->context, far->from[i], rc, bytes);
}

static enum rc combined_get_many(struct blob_service *service, const struct op *op,
				 const struct digest *digests, size_t count, blob_done *done,
				 void *context, struct err *err)
{
	struct combined *combined = combined_of(service);
	AUTO_FREE struct digest *missing = mem_array(count, sizeof(*missing));
	AUTO_FREE size_t *from = mem_array(count, sizeof(*from));
	AUTO_FREE bool *had = mem_array(count, sizeof(*had));
	struct near_done near = { done, context, had };
	struct far_done far = { done, context, from };
	size_t left;
	enum rc rc =
		blob_service_get_many(combined->near, op, digests, count, near_done, &near, err);

	if (rc != RC_OK)
		return rc;
	left = gather(digests, count, had, missing, from);
	return blob_service_get_many(combined->far, op, missing, left, far_done, &far, err);
}

/* Near alone: what lies far is read as blobs are. */
static enum rc combined_open_frames(struct blob_service *service, const struct op *op,
				    const struct digest *chunks, size_t count,
				    struct blob_frames **out, struct err *err)
{
	enum rc rc =
		blob_service_open_frames(combined_of(service)->near, op, chunks, count, out, err);

	return rc == RC_NOT_FOUND ? err_set(err, RC_UNSUPPORTED, "not all of it is near") : rc;
}

/* ---- Writing ---- */

static enum rc combined_open_batch(struct blob_service *service, const struct op *op,
				   struct blob_batch **out, struct err *err)
{
	return blob_service_open_batch(combined_of(service)->near, op, out, err);
}

/* Of the near one: what is kept here. */
static enum rc combined_usage(struct blob_service *service, const struct op *op, uint64_t *out,
			      struct err *err)
{
	return blob_service_usage(combined_of(service)->near, op, out, err);
}

static const struct blob_service_ops combined_ops = {
	.name = "combined",
	.free = combined_free,
	.has_many = combined_has_many,
	.stat = combined_stat,
	.open_read = combined_open_read,
	.open_batch = combined_open_batch,
	.get_many = combined_get_many,
	.open_frames = combined_open_frames,
	.usage = combined_usage,
};

struct blob_service *blob_combined_new(struct blob_service *near, struct blob_service *far)
{
	struct combined *combined = mem_zalloc(sizeof(*combined));
	enum blob_latency latency = blob_service_latency(near);

	combined->ops = combined_ops;
	combined->ops.latency =
		blob_service_latency(far) > latency ? blob_service_latency(far) : latency;
	combined->near = blob_service_ref(near);
	combined->far = blob_service_ref(far);
	blob_service_init(&combined->base, &combined->ops);
	return &combined->base;
}
