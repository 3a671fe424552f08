/*
 * Puts blobs into an on-disk store. Chunks of the blob at hand are held back until it is known to
 * have at most 1 MiB or more: small blobs lie together in one pack, in the order in which they
 * came, and large ones in another.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/blob/local_private.h"

enum { SMALL_BLOB = 1 << 20 };

struct local_encoded {
	struct blob_encoded base;
	struct local_store *store;
	struct local_flight *flight;
};

struct local_batch {
	struct blob_batch base;
	struct local_store *store;
	struct local_hold hold;
	/* The chunks of the blob at hand, while it may still be small. */
	struct local_flight **held;
	size_t held_count, held_room;
	uint64_t held_bytes;
	bool large; /* it is not: chunks go to their pack at once */
};

static struct local_batch *batch_of(struct blob_batch *base)
{
	return CONTAINER_OF(base, struct local_batch, base);
}

static void give_up_held(struct local_batch *batch)
{
	for (size_t i = 0; i < batch->held_count; i++)
		local_flight_unref(&batch->store->flights, batch->held[i]);
	batch->held_count = 0;
	batch->held_bytes = 0;
	batch->large = false;
}

static void local_batch_free(struct blob_batch *base)
{
	struct local_batch *batch = batch_of(base);

	give_up_held(batch);
	free(batch->held);
	free(batch);
}

static void local_free_encoded(struct blob_encoded *base)
{
	struct local_encoded *encoded = CONTAINER_OF(base, struct local_encoded, base);

	local_flight_unref(&encoded->store->flights, encoded->flight);
	free(encoded);
}

static enum rc local_encode(struct blob_batch *base, const struct op *op, struct view chunk,
			    struct blob_encoded **out, struct err *err)
{
	struct local_store *store = batch_of(base)->store;
	struct local_flight *flight;
	size_t stored;
	bool known;

	(void)op;
	enum rc rc = local_encode_chunk(store, chunk, &flight, &stored, &known, err);
	if (rc != RC_OK)
		return rc;
	struct local_encoded *encoded = mem_zalloc(sizeof(*encoded));
	encoded->base.size = (uint32_t)chunk.len;
	encoded->base.cost = sizeof(*encoded) + sizeof(*flight) + stored;
	encoded->base.known = known;
	memcpy(encoded->base.digest.bytes, flight->key, DIGEST_SIZE);
	encoded->store = store;
	encoded->flight = flight;
	*out = &encoded->base;
	return RC_OK;
}

static enum rc add_held(struct local_batch *batch, enum local_pack_class class, struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < batch->held_count; i++)
		rc = local_add(batch->store, &batch->hold, class, batch->held[i], err);
	give_up_held(batch);
	return rc;
}

static enum rc local_add_chunk(struct blob_batch *base, const struct op *op,
			       struct blob_encoded *base_encoded, struct err *err)
{
	struct local_batch *batch = batch_of(base);
	struct local_encoded *encoded = CONTAINER_OF(base_encoded, struct local_encoded, base);
	struct local_flight *flight = encoded->flight;
	enum rc rc = RC_OK;

	(void)op;
	if (batch->held_count == batch->held_room) {
		batch->held_room = batch->held_room ? batch->held_room * 2 : 8;
		batch->held =
			mem_realloc_array(batch->held, batch->held_room, sizeof(batch->held[0]));
	}
	batch->held[batch->held_count++] = flight;
	batch->held_bytes += encoded->base.size;
	free(encoded);
	if (batch->large || batch->held_bytes > SMALL_BLOB) {
		rc = add_held(batch, LOCAL_PACK_LARGE, err);
		batch->large = true;
	}
	return rc;
}

/* ---- Lists ---- */

static enum rc make_segments(struct local_store *store, const struct digest *digest,
			     const struct local_blob_value *value, const struct blob_chunk *chunks,
			     struct local_list_segment *out, struct err *err)
{
	struct buf payload CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < value->segments; i++) {
		size_t first = (size_t)i * LOCAL_SEGMENT_CHUNKS;
		size_t left = (size_t)value->chunks - first;
		struct local_segment segment = {
			.blob_size = value->size,
			.start = chunks[first].offset,
			.number = i,
			.segments = value->segments,
			.chunks = value->chunks,
			.count = (uint32_t)(left < LOCAL_SEGMENT_CHUNKS ? left
									: LOCAL_SEGMENT_CHUNKS),
			.raw_file = value->raw_file,
		};

		buf_clear(&payload);
		local_segment_begin(&segment, &payload);
		for (size_t k = first; k < first + segment.count; k++)
			local_segment_append(&payload, &chunks[k].digest, chunks[k].size);
		out[i].start = segment.start;
		rc = local_record_make(store->codec, LOCAL_RECORD_CHUNK_LIST, digest,
				       buf_view(&payload), &out[i].record, err);
	}
	return rc;
}

static enum rc find_blob(struct local_store *store, const struct digest *digest, struct err *err)
{
	struct blob_local_found found;
	enum rc rc = blob_local_find(store, digest, &found, err);

	if (rc == RC_OK)
		buf_release(&found.bytes);
	return rc == RC_OK && !found.listed ? RC_NOT_FOUND : rc;
}

static enum rc add_list(struct local_batch *batch, const struct digest *digest,
			const struct local_blob_value *value, const struct blob_chunk *chunks,
			struct err *err)
{
	struct local_store *store = batch->store;
	AUTO_FREE struct local_list_segment *segments =
		mem_array(value->segments, sizeof(*segments));
	bool mine;

	struct local_flight *flight = local_flight_claim(&store->flights, LOCAL_TABLE_BLOBS,
							 digest->bytes, DIGEST_SIZE, &mine);
	enum rc rc = RC_OK;
	if (mine) {
		enum local_flight_state state = LOCAL_FLIGHT_STORED;

		rc = find_blob(store, digest, err);
		if (rc == RC_NOT_FOUND) {
			rc = make_segments(store, digest, value, chunks, segments, err);
			state = LOCAL_FLIGHT_READY;
		}
		local_flight_settle(&store->flights, flight,
				    rc == RC_OK ? state : LOCAL_FLIGHT_FAILED);
	}
	if (rc == RC_OK)
		rc = local_add_list(store, &batch->hold, flight, value, segments, value->segments,
				    err);
	local_flight_unref(&store->flights, flight);
	for (uint32_t i = 0; i < value->segments; i++)
		local_record_release(&segments[i].record);
	return rc;
}

static enum rc local_add_blob(struct blob_batch *base, const struct op *op,
			      const struct digest *digest, uint64_t size,
			      const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct local_batch *batch = batch_of(base);

	(void)op;
	enum rc rc = add_held(batch, LOCAL_PACK_SMALL, err);
	if (rc != RC_OK || count < 2)
		return rc;
	struct local_blob_value value = {
		.day = (uint16_t)clock_day(),
		.size = size,
		.chunks = count,
		.segments = (uint32_t)((count - 1) / LOCAL_SEGMENT_CHUNKS + 1),
	};
	return add_list(batch, digest, &value, chunks, err);
}

static enum rc local_commit(struct blob_batch *base, const struct op *op, struct err *err)
{
	struct local_batch *batch = batch_of(base);

	return local_wait(batch->store, op, &batch->hold, err);
}

static const struct blob_batch_ops batch_ops = {
	.free = local_batch_free,
	.encode = local_encode,
	.add_chunk = local_add_chunk,
	.add_blob = local_add_blob,
	.commit = local_commit,
	.free_encoded = local_free_encoded,
};

enum rc blob_local_open_batch(struct blob_service *service, const struct op *op,
			      struct blob_batch **out, struct err *err)
{
	struct local_batch *batch = mem_zalloc(sizeof(*batch));

	(void)op;
	(void)err;
	blob_batch_init(&batch->base, &batch_ops);
	batch->store = blob_local_of(service)->store;
	*out = &batch->base;
	return RC_OK;
}
