/*
 * Puts blobs into an on-disk store. Chunks of the blob at hand are held back until it is known to
 * have at most 1 MiB or more: small blobs lie together in one pack, in the order in which they
 * came, and large ones in another.
 *
 * Where the store's policy keeps blobs from a size up as raw files, chunks keep their plain bytes
 * until it is known whether the blob reaches that size. While nobody knows, and it is more than can
 * be held, it is written both ways; what turns out not to be needed is dropped.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/blob/local_private.h"

enum {
	SMALL_BLOB = 1 << 20,
	/* What is held of a blob that may still become a raw file. */
	HELD_MAX = 8 << 20,
};

struct local_encoded {
	struct blob_encoded base;
	struct local_store *store;
	struct local_insert *insert; /* NULL: it is surely part of a raw file */
	uint8_t *bytes;              /* plain; NULL where the store keeps no raw files */
};

struct local_batch {
	struct blob_batch base;
	struct local_store *store;
	uint64_t raw_files; /* blobs from this size up; UINT64_MAX: none */
	struct local_hold hold;
	/* The chunks of the blob at hand that are in no pack yet. */
	struct local_encoded **held;
	size_t held_count, held_room;
	uint64_t size;             /* of the blob so far */
	struct local_raw_out *raw; /* all of it so far, where it may be one or is */
	bool packed;               /* chunks of it went to a pack */
};

static struct local_batch *batch_of(struct blob_batch *base)
{
	return CONTAINER_OF(base, struct local_batch, base);
}

static void local_free_encoded(struct blob_encoded *base)
{
	struct local_encoded *encoded = CONTAINER_OF(base, struct local_encoded, base);

	local_insert_unref(&encoded->store->inserts, encoded->insert);
	free(encoded->bytes);
	free(encoded);
}

static void give_up_held(struct local_batch *batch)
{
	for (size_t i = 0; i < batch->held_count; i++)
		local_free_encoded(&batch->held[i]->base);
	batch->held_count = 0;
}

/* The blob at hand is done, or given up. */
static void next_blob(struct local_batch *batch)
{
	give_up_held(batch);
	local_raw_drop(batch->store, batch->raw);
	batch->raw = NULL;
	batch->size = 0;
	batch->packed = false;
}

static void local_batch_free(struct blob_batch *base)
{
	struct local_batch *batch = batch_of(base);

	next_blob(batch);
	free(batch->held);
	free(batch);
}

/* ---- Chunks ---- */

static enum rc local_encode(struct blob_batch *base, const struct op *op, struct view chunk,
			    struct blob_encoded **out, struct err *err)
{
	struct local_batch *batch = batch_of(base);
	struct local_encoded *encoded = mem_zalloc(sizeof(*encoded));
	size_t stored = 0;
	enum rc rc = RC_OK;

	(void)op;
	encoded->store = batch->store;
	encoded->base.size = (uint32_t)chunk.len;
	encoded->base.cost = sizeof(*encoded) + sizeof(*encoded->insert);
	if (batch->raw_files != UINT64_MAX) {
		encoded->bytes = mem_try_alloc(chunk.len);
		encoded->base.cost += chunk.len;
		if (encoded->bytes)
			memcpy(encoded->bytes, chunk.ptr, chunk.len);
		else
			rc = err_set(err, RC_NO_MEMORY, "no memory for a chunk");
	}
	if (rc == RC_OK && chunk.len >= batch->raw_files)
		encoded->base.digest = digest_of(chunk);
	else if (rc == RC_OK)
		rc = local_encode_chunk(batch->store, chunk, &encoded->insert, &stored,
					&encoded->base.known, err);
	if (rc != RC_OK) {
		local_free_encoded(&encoded->base);
		return rc;
	}
	encoded->base.cost += stored;
	if (encoded->insert)
		memcpy(encoded->base.digest.bytes, encoded->insert->key, DIGEST_SIZE);
	*out = &encoded->base;
	return RC_OK;
}

static enum rc pack_held(struct local_batch *batch, const struct op *op,
			 enum local_pack_class class, struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < batch->held_count; i++)
		rc = local_add(batch->store, op, &batch->hold, class, batch->held[i]->insert, err);
	batch->packed |= batch->held_count > 0;
	return rc;
}

static enum rc write_held(struct local_batch *batch, struct err *err)
{
	enum rc rc = batch->raw ? RC_OK : local_raw_begin(batch->store, &batch->raw, err);

	for (size_t i = 0; rc == RC_OK && i < batch->held_count; i++)
		rc = local_raw_write(
			batch->raw, view_of(batch->held[i]->bytes, batch->held[i]->base.size), err);
	return rc;
}

static bool is_raw(const struct local_batch *batch)
{
	return batch->size >= batch->raw_files;
}

static enum rc local_add_chunk(struct blob_batch *base, const struct op *op,
			       struct blob_encoded *base_encoded, struct err *err)
{
	struct local_batch *batch = batch_of(base);
	bool raw_possible = batch->raw_files != UINT64_MAX;
	uint64_t hold_up_to = raw_possible ? HELD_MAX : SMALL_BLOB;
	enum rc rc = RC_OK;

	(void)op;
	batch->held = mem_grow(batch->held, batch->held_count, &batch->held_room, 8,
			       sizeof(struct local_encoded *));
	batch->held[batch->held_count++] = CONTAINER_OF(base_encoded, struct local_encoded, base);
	batch->size += base_encoded->size;
	if (batch->size <= hold_up_to && !is_raw(batch))
		return RC_OK;
	if (raw_possible)
		rc = write_held(batch, err);
	if (rc == RC_OK && !is_raw(batch))
		rc = pack_held(batch, op, LOCAL_PACK_LARGE, err);
	give_up_held(batch);
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
	struct local_sound sound = { .pack = 0 };
	struct blob_local_found found;
	enum rc rc = blob_local_sound(store, &sound, digest, &found, err);

	if (rc == RC_OK)
		buf_release(&found.bytes);
	return rc == RC_OK && !found.listed ? RC_NOT_FOUND : rc;
}

static enum rc add_list(struct local_batch *batch, const struct op *op, const struct digest *digest,
			const struct local_blob_value *value, const struct blob_chunk *chunks,
			struct err *err)
{
	struct local_store *store = batch->store;
	AUTO_FREE struct local_list_segment *segments =
		mem_array(value->segments, sizeof(*segments));
	bool mine;

	struct local_insert *insert = local_insert_claim(&store->inserts, LOCAL_TABLE_BLOBS,
							 digest->bytes, DIGEST_SIZE, &mine);
	enum rc rc = RC_OK;
	if (mine) {
		enum local_insert_state state = LOCAL_INSERT_STORED;

		rc = find_blob(store, digest, err);
		if (rc == RC_NOT_FOUND) {
			/* If there is one it is damaged. */
			insert->heals = true;
			rc = make_segments(store, digest, value, chunks, segments, err);
			state = LOCAL_INSERT_READY;
		}
		local_insert_settle(&store->inserts, insert,
				    rc == RC_OK ? state : LOCAL_INSERT_FAILED);
	}
	if (rc == RC_OK)
		rc = local_add_list(store, op, &batch->hold, insert, value, segments,
				    value->segments, err);
	local_insert_unref(&store->inserts, insert);
	for (uint32_t i = 0; i < value->segments; i++)
		local_record_release(&segments[i].record);
	return rc;
}

/* Puts the stretches of a raw file under their chunks' digests, so that other blobs find them. */
static enum rc add_raw_chunks(struct local_batch *batch, const struct op *op,
			      const struct digest *digest, const struct blob_chunk *chunks,
			      size_t count, struct err *err)
{
	struct local_store *store = batch->store;
	struct local_sound sound = { .pack = 0 };
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		enum local_insert_state state = LOCAL_INSERT_STORED;
		struct local_place_value value;
		bool mine;
		struct local_insert *insert =
			local_insert_claim(&store->inserts, LOCAL_TABLE_CHUNKS,
					   chunks[i].digest.bytes, DIGEST_SIZE, &mine);

		if (mine) {
			rc = local_find_sound(store, &sound, LOCAL_TABLE_CHUNKS, &chunks[i].digest,
					      &value, err);
			if (rc == RC_NOT_FOUND) {
				insert->heals = true;
				state = LOCAL_INSERT_READY;
				rc = RC_OK;
			}
			insert->raw_of = *digest;
			insert->place = (struct local_place){
				.offset = chunks[i].offset,
				.stored = chunks[i].size,
				.raw = chunks[i].size,
			};
			local_insert_settle(&store->inserts, insert,
					    rc == RC_OK ? state : LOCAL_INSERT_FAILED);
		}
		if (rc == RC_OK)
			rc = local_add(store, op, &batch->hold, LOCAL_PACK_LARGE, insert, err);
		local_insert_unref(&store->inserts, insert);
	}
	return rc;
}

/* Is it kept as it should be? A blob from before the policy may be without its raw file. */
static enum rc add_raw_blob(struct local_batch *batch, const struct op *op,
			    const struct digest *digest, const struct local_blob_value *value,
			    const struct blob_chunk *chunks, struct err *err)
{
	struct local_raw_out *raw = batch->raw;
	enum rc rc = find_blob(batch->store, digest, err);

	if (rc != RC_NOT_FOUND)
		return rc;
	batch->raw = NULL;
	raw->blob = *digest;
	rc = local_add_raw_file(batch->store, op, &batch->hold, raw, err);
	if (rc == RC_OK)
		rc = add_raw_chunks(batch, op, digest, chunks, (size_t)value->chunks, err);
	return rc == RC_OK ? add_list(batch, op, digest, value, chunks, err) : rc;
}

static enum rc local_add_blob(struct blob_batch *base, const struct op *op,
			      const struct digest *digest, uint64_t size,
			      const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct local_batch *batch = batch_of(base);
	struct local_blob_value value = {
		.day = (uint16_t)clock_day(),
		.raw_file = is_raw(batch),
		.size = size,
		.chunks = count,
		.segments = count ? (uint32_t)((count - 1) / LOCAL_SEGMENT_CHUNKS + 1) : 0,
	};
	enum rc rc = RC_OK;

	if (value.raw_file && count > 0) {
		rc = add_raw_blob(batch, op, digest, &value, chunks, err);
	} else {
		rc = pack_held(batch, op,
			       batch->packed || size > SMALL_BLOB ? LOCAL_PACK_LARGE
								  : LOCAL_PACK_SMALL,
			       err);
		if (rc == RC_OK && count > 1)
			rc = add_list(batch, op, digest, &value, chunks, err);
	}
	next_blob(batch);
	return rc;
}

static enum rc local_commit(struct blob_batch *base, const struct op *op, struct err *err)
{
	struct local_batch *batch = batch_of(base);

	return local_finish(batch->store, op, &batch->hold, err);
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
	uint64_t raw_files = batch->store->layout.policy.raw_files;
	batch->raw_files = raw_files ? raw_files : UINT64_MAX;
	*out = &batch->base;
	return RC_OK;
}
