/*
 * The blobs of an on-disk store: the service itself. Reading is in local_reader.c, writing in
 * local_batch.c; the store behind them is src/local/.
 */
#include "service/blob/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "service/blob/local_private.h"

struct blob_local *blob_local_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct blob_local, base);
}

static void local_free(struct blob_service *service)
{
	struct blob_local *local = blob_local_of(service);

	local_store_unref(local->store);
	free(local);
}

enum rc blob_local_not_found(const struct digest *digest, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(digest, hex);
	return err_set(err, RC_NOT_FOUND, "blob %s is not there", hex);
}

static struct view key_of(const struct digest *digest)
{
	return view_of(digest->bytes, DIGEST_SIZE);
}

/* ---- Looking up ---- */

static enum rc find_listed(struct local_read *read, struct view key, struct blob_local_found *out,
			   struct err *err)
{
	struct view value;
	enum rc rc = local_read_get(read, LOCAL_TABLE_BLOBS, key, &value, err);

	if (rc == RC_OK)
		rc = local_blob_value_decode(value, &out->blob, err);
	if (rc != RC_OK)
		return rc;
	out->listed = true;
	buf_append_view(&out->bytes, out->blob.encoded);
	out->blob.encoded = buf_view(&out->bytes);
	return RC_OK;
}

enum rc blob_local_find(struct local_store *store, const struct digest *digest,
			struct blob_local_found *out, struct err *err)
{
	struct view key = key_of(digest), value;
	struct local_read *read;

	memset(out, 0, sizeof(*out));
	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	/* A raw file of one chunk has both: the list tells that it is one. */
	rc = RC_NOT_FOUND;
	if (store->layout.policy.raw_files != 0)
		rc = find_listed(read, key, out, err);
	if (rc == RC_NOT_FOUND) {
		rc = local_read_get(read, LOCAL_TABLE_CHUNKS, key, &value, err);
		if (rc == RC_OK)
			rc = local_place_value_decode(value, &out->place, err);
		else if (rc == RC_NOT_FOUND)
			rc = find_listed(read, key, out, err);
	}
	local_read_end(read);
	if (rc == RC_OK)
		local_touch(store, out->listed ? LOCAL_TABLE_BLOBS : LOCAL_TABLE_CHUNKS, key,
			    out->listed ? out->blob.day : out->place.day);
	return rc;
}

uint64_t blob_local_found_size(const struct blob_local_found *found)
{
	return found->listed ? found->blob.size : found->place.place.raw;
}

/* The chunks of a list, whose segments are checked where they are read. */
static enum rc sound_chunks(struct local_store *store, struct local_sound *sound,
			    const struct local_segment *segment, struct err *err)
{
	enum rc rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < segment->count; i++) {
		struct local_place_value value;
		struct digest digest;
		uint32_t size;

		local_segment_entry(segment, i, &digest, &size);
		rc = local_find_sound(store, sound, LOCAL_TABLE_CHUNKS, &digest, &value, err);
	}
	return rc;
}

enum rc blob_local_sound(struct local_store *store, struct local_sound *sound,
			 const struct digest *digest, struct blob_local_found *found,
			 struct err *err)
{
	struct buf payload CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = blob_local_find(store, digest, found, err);

	if (rc == RC_OK && !found->listed)
		return local_sound_place(store, sound, LOCAL_RECORD_CHUNK, digest, &found->place,
					 err);
	for (uint32_t i = 0; rc == RC_OK && i < found->blob.segments; i++) {
		struct local_place_value place = { .place = { .pack = 0 } };
		struct local_blob_segment at;
		struct local_segment segment;

		local_blob_segment(&found->blob, i, &at);
		place.place = at.place;
		rc = local_sound_place(store, sound, LOCAL_RECORD_CHUNK_LIST, digest, &place, err);
		if (rc == RC_OK)
			rc = blob_local_segment(store, digest, &found->blob, i, &payload, &segment,
						err);
		if (rc == RC_OK)
			rc = sound_chunks(store, sound, &segment, err);
	}
	if (rc != RC_OK)
		buf_release(&found->bytes);
	return rc == RC_CORRUPT ? RC_NOT_FOUND : rc;
}

/* Of what is damaged: no. Whoever asks would not bring it again. */
static enum rc local_has_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, bool *out,
			      struct err *err)
{
	struct local_store *store = blob_local_of(service)->store;
	struct local_sound sound = { .pack = 0 };

	for (size_t i = 0; i < count; i++) {
		struct blob_local_found found = { .listed = false };
		enum rc rc = op_check(op, err);

		if (rc == RC_OK)
			rc = blob_local_sound(store, &sound, &digests[i], &found, err);
		if (rc != RC_OK && rc != RC_NOT_FOUND)
			return rc;
		out[i] = rc == RC_OK;
		buf_release(&found.bytes);
	}
	return RC_OK;
}

static enum rc list_chunks(struct local_store *store, const struct digest *digest,
			   const struct blob_local_found *found, struct blob_chunk_list *list,
			   struct err *err)
{
	struct buf payload CLEANUP(buf_release) = BUF_INIT;
	uint64_t offset = 0;
	enum rc rc = RC_OK;

	if (found->blob.chunks > SIZE_MAX / sizeof(list->chunks[0]) ||
	    !(list->chunks = mem_try_alloc((size_t)found->blob.chunks * sizeof(list->chunks[0]))))
		return err_set(err, RC_NO_MEMORY, "no memory for a list of %ju chunks",
			       (uintmax_t)found->blob.chunks);
	for (uint32_t i = 0; rc == RC_OK && i < found->blob.segments; i++) {
		struct local_segment segment;

		rc = blob_local_segment(store, digest, &found->blob, i, &payload, &segment, err);
		for (uint32_t k = 0; rc == RC_OK && k < segment.count; k++) {
			struct blob_chunk *chunk = &list->chunks[list->count++];

			*chunk = (struct blob_chunk){ .offset = offset, .has_digest = true };
			local_segment_entry(&segment, k, &chunk->digest, &chunk->size);
			offset += chunk->size;
		}
	}
	/* A raw blob of one chunk has a list too; callers see none for such. */
	if (rc != RC_OK || list->count < 2)
		blob_chunk_list_release(list);
	return rc;
}

static enum rc local_stat(struct blob_service *service, const struct op *op,
			  const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			  struct err *err)
{
	struct local_store *store = blob_local_of(service)->store;
	struct blob_local_found found;

	(void)op;
	enum rc rc = blob_local_find(store, digest, &found, err);
	if (rc == RC_NOT_FOUND)
		return blob_local_not_found(digest, err);
	if (rc != RC_OK)
		return rc;
	*size = blob_local_found_size(&found);
	if (list && found.listed)
		rc = list_chunks(store, digest, &found, list, err);
	buf_release(&found.bytes);
	return rc;
}

/* ---- Many small ones ---- */

struct many {
	struct blob_service *service;
	const struct op *op;
	const struct digest *digests;
	blob_done *done;
	void *context;
};

/* Listed blobs, those in raw files, and those whose pack was rewritten meanwhile. */
static void get_alone(const struct many *many, size_t i)
{
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = blob_service_get(many->service, many->op, &many->digests[i], BLOB_GET_MANY_MAX,
				      &bytes, NULL);

	many->done(many->context, i, rc, buf_view(&bytes));
}

static void many_done(void *context, size_t i, enum rc rc, struct view bytes, const struct err *err)
{
	const struct many *many = context;

	(void)err;
	if (rc == RC_NOT_FOUND)
		get_alone(many, i);
	else
		many->done(many->context, i, rc, bytes);
}

static enum rc local_get_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, blob_done *done,
			      void *context, struct err *err)
{
	struct local_store *store = blob_local_of(service)->store;
	struct many many = { service, op, digests, done, context };
	AUTO_FREE struct local_many *items = mem_array(count, sizeof(*items));
	AUTO_FREE bool *alone = mem_array(count, sizeof(*alone));
	struct local_read *read;
	size_t n = 0;

	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < count; i++) {
		struct view value;

		alone[i] = true;
		if (local_read_get(read, LOCAL_TABLE_CHUNKS, key_of(&digests[i]), &value, NULL) !=
			    RC_OK ||
		    local_place_value_decode(value, &items[n].value, NULL) != RC_OK)
			continue;
		if (items[n].value.place.pack == 0 || items[n].value.place.raw > BLOB_GET_MANY_MAX)
			continue;
		alone[i] = false;
		items[n].digest = &digests[i];
		items[n++].i = i;
	}
	local_read_end(read);
	for (size_t i = 0; i < n; i++)
		local_touch(store, LOCAL_TABLE_CHUNKS, key_of(items[i].digest), items[i].value.day);
	local_packs_many(store->packs, items, n, many_done, &many);
	for (size_t i = 0; i < count; i++) {
		if (alone[i])
			get_alone(&many, i);
	}
	return RC_OK;
}

static enum rc local_usage(struct blob_service *service, const struct op *op, uint64_t *out,
			   struct err *err)
{
	(void)op;
	return local_store_usage(blob_local_of(service)->store, out, err);
}

static const struct blob_service_ops service_ops = {
	.name = "local",
	.latency = BLOB_LATENCY_DISK,
	.free = local_free,
	.has_many = local_has_many,
	.stat = local_stat,
	.open_read = blob_local_open_read,
	.open_batch = blob_local_open_batch,
	.get_many = local_get_many,
	.open_frames = blob_local_open_frames,
	.usage = local_usage,
};

struct blob_service *blob_local_new(struct local_store *store)
{
	struct blob_local *local = mem_zalloc(sizeof(*local));

	blob_service_init(&local->base, &service_ops);
	local->store = local_store_ref(store);
	return &local->base;
}
