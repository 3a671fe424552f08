/*
 * Chunks of an on-disk store as they are stored, for blob_service_open_frames: places are looked up
 * once, for all of them, and the packs stay open.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "service/blob/local_private.h"

struct local_frames {
	struct blob_frames base;
	struct digest *digests;
	struct local_place *places;
	struct pack_file **files; /* of each chunk; NULL: it lies in a raw file */
	struct hashmap pinned;    /* pack id → struct pack_file, each pinned once */
};

static struct local_frames *frames_of(struct blob_frames *base)
{
	return CONTAINER_OF(base, struct local_frames, base);
}

static void frames_free(struct blob_frames *base)
{
	struct local_frames *frames = frames_of(base);
	void *file;

	for (size_t at = 0; hashmap_next(&frames->pinned, &at, NULL, &file);)
		pack_file_unref(file);
	hashmap_release(&frames->pinned);
	free(frames->digests);
	free(frames->places);
	free(frames->files);
	free(frames);
}

static enum rc frames_read(struct blob_frames *base, const struct op *op, size_t first,
			   size_t count, void *out, struct err *err)
{
	struct local_frames *frames = frames_of(base);
	uint8_t *to = out;

	(void)op;
	for (size_t at = first, end = first + count; at < end;) {
		size_t len = 0, n = 0;

		while (at + n < end && frames->files[at + n] == frames->files[at])
			len += frames->places[at + n++].stored;
		enum rc rc = local_packs_frames(frames->files[at], frames->places + at,
						frames->digests + at, n, to, err);
		if (rc != RC_OK)
			return rc;
		to += len;
		at += n;
	}
	return RC_OK;
}

static const struct blob_frames_ops frames_ops = { .free = frames_free, .read = frames_read };

static enum rc find_places(struct local_store *store, const struct op *op,
			   struct local_frames *frames, struct err *err)
{
	enum { STRETCH = 4096 }; /* a read transaction stays short */

	for (size_t at = 0; at < frames->base.count;) {
		size_t left = frames->base.count - at, end = at + (left < STRETCH ? left : STRETCH);
		struct local_read *read;
		enum rc rc = op_check(op, err);

		if (rc == RC_OK)
			rc = local_index_read(store->index, &read, err);
		if (rc != RC_OK)
			return rc;
		for (; rc == RC_OK && at < end; at++) {
			struct view key = view_of(frames->digests[at].bytes, DIGEST_SIZE), value;
			struct local_place_value place;

			rc = local_read_get(read, LOCAL_TABLE_CHUNKS, key, &value, err);
			if (rc == RC_OK)
				rc = local_place_value_decode(value, &place, err);
			if (rc == RC_OK) {
				frames->places[at] = place.place;
				local_touch(store, LOCAL_TABLE_CHUNKS, key, place.day);
			}
			if (rc == RC_NOT_FOUND)
				rc = blob_local_not_found(&frames->digests[at], err);
		}
		local_read_end(read);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* RC_NOT_FOUND: a pack was rewritten since the places were read. */
static enum rc pin_packs(struct local_store *store, struct local_frames *frames, struct err *err)
{
	for (size_t i = 0; i < frames->base.count; i++) {
		const struct local_place *place = &frames->places[i];
		struct pack_file *file;

		frames->base.raw[i] = place->raw;
		frames->base.stored[i] = place->pack ? place->stored : 0;
		frames->files[i] = NULL;
		if (place->pack == 0)
			continue;
		file = hashmap_get(&frames->pinned, &place->pack);
		if (!file) {
			enum rc rc = local_packs_file(store->packs, place->pack, &file, err);

			if (rc != RC_OK)
				return rc;
			hashmap_put(&frames->pinned, &place->pack, file);
		}
		frames->files[i] = file;
	}
	return RC_OK;
}

enum rc blob_local_open_frames(struct blob_service *service, const struct op *op,
			       const struct digest *chunks, size_t count, struct blob_frames **out,
			       struct err *err)
{
	struct local_store *store = blob_local_of(service)->store;
	struct local_frames *frames = mem_zalloc(sizeof(*frames));
	enum rc rc;

	frames->base.ops = &frames_ops;
	frames->base.count = count;
	frames->base.stored = mem_array(count, sizeof(frames->base.stored[0]));
	frames->base.raw = mem_array(count, sizeof(frames->base.raw[0]));
	frames->digests = mem_array(count, sizeof(frames->digests[0]));
	if (count > 0)
		memcpy(frames->digests, chunks, count * sizeof(chunks[0]));
	frames->places = mem_array(count, sizeof(frames->places[0]));
	frames->files = mem_array(count, sizeof(frames->files[0]));
	hashmap_init(&frames->pinned, sizeof(uint32_t));
	rc = find_places(store, op, frames, err);
	if (rc == RC_OK)
		rc = pin_packs(store, frames, err);
	if (rc == RC_NOT_FOUND) {
		/* Once more, with the places of now. */
		rc = find_places(store, op, frames, err);
		if (rc == RC_OK)
			rc = pin_packs(store, frames, err);
	}
	if (rc != RC_OK)
		blob_frames_free(&frames->base);
	else
		*out = &frames->base;
	return rc;
}
