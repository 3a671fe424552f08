/*
 * Chunks of an on-disk store as they are stored, for blob_service_open_frames: places are looked up
 * once, for all of them. No pack stays open for that: there may be more of them than descriptors.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "service/blob/local_private.h"

struct local_frames {
	struct blob_frames base;
	struct local_store *store;
	struct digest *digests;
	struct local_place *places;
};

static struct local_frames *frames_of(struct blob_frames *base)
{
	return CONTAINER_OF(base, struct local_frames, base);
}

static void frames_free(struct blob_frames *base)
{
	struct local_frames *frames = frames_of(base);

	local_store_unref(frames->store);
	free(frames->digests);
	free(frames->places);
	free(frames);
}

struct frame_read {
	const struct local_frames *frames;
	size_t i;
	uint8_t *out;
};

static enum rc use_place(void *context, struct view bytes, struct err *err)
{
	const struct frame_read *read = context;
	const struct local_frames *frames = read->frames;
	struct local_place_value value;
	enum rc rc = local_place_value_decode(bytes, &value, err);

	if (rc == RC_OK &&
	    (value.place.stored != frames->places[read->i].stored || value.place.pack == 0))
		rc = err_set(err, RC_BUSY, "a pack was rewritten meanwhile: try again");
	if (rc != RC_OK)
		return rc;
	return local_packs_frames(frames->store->packs, &value.place, &frames->digests[read->i], 1,
				  read->out, err);
}

/* One by one, from where they are now. */
static enum rc read_again(const struct local_frames *frames, size_t first, size_t count,
			  uint8_t *out, struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = first; rc == RC_OK && i < first + count; i++) {
		struct frame_read read = { frames, i, out };

		rc = local_with_value(frames->store, LOCAL_TABLE_CHUNKS,
				      view_of(frames->digests[i].bytes, DIGEST_SIZE), use_place,
				      &read, err);
		if (rc == RC_NOT_FOUND)
			rc = blob_local_not_found(&frames->digests[i], err);
		out += frames->places[i].stored;
	}
	return rc;
}

static enum rc frames_read(struct blob_frames *base, const struct op *op, size_t first,
			   size_t count, void *out, struct err *err)
{
	struct local_frames *frames = frames_of(base);

	(void)op;
	enum rc rc = local_packs_frames(frames->store->packs, frames->places + first,
					frames->digests + first, count, out, err);
	return rc == RC_NOT_FOUND ? read_again(frames, first, count, out, err) : rc;
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
	frames->store = local_store_ref(store);
	rc = find_places(store, op, frames, err);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const struct local_place *place = &frames->places[i];

		frames->base.raw[i] = place->raw;
		frames->base.stored[i] = place->pack ? place->stored : 0;
	}
	if (rc != RC_OK)
		blob_frames_free(&frames->base);
	else
		*out = &frames->base;
	return rc;
}
