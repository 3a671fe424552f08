/*
 * Reads a blob of an on-disk store. A blob of one chunk is found by its own digest; a longer one by
 * its list of chunks, of which a reader holds the segments that it used last; one in a raw file is
 * read from there.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "service/blob/local_private.h"

enum {
	SEGMENTS_HELD = 4,
	WILL_NEED_MAX = 32, /* chunks asked for ahead in one call */
};

struct held_segment {
	struct buf payload;
	struct local_segment segment; /* borrows from payload */
	uint64_t *offsets;            /* of its chunks in the blob, and its end */
	uint64_t used;                /* for choosing the coldest; 0: empty */
};

struct local_reader {
	struct blob_reader base;
	struct local_store *store; /* lives as long as the service, which base holds */
	struct blob_local_found found;
	int raw_fd;
	uint64_t clock;
	struct held_segment held[SEGMENTS_HELD];
};

static struct local_reader *reader_of(struct blob_reader *base)
{
	return CONTAINER_OF(base, struct local_reader, base);
}

static void reader_free(struct blob_reader *base)
{
	struct local_reader *reader = reader_of(base);

	for (int i = 0; i < SEGMENTS_HELD; i++) {
		buf_release(&reader->held[i].payload);
		free(reader->held[i].offsets);
	}
	buf_release(&reader->found.bytes);
	fd_cleanup(&reader->raw_fd);
	free(reader);
}

/* ---- Lists ---- */

struct segment_read {
	struct local_store *store;
	const struct digest *digest;
	uint32_t number;
	struct buf *payload;
};

static enum rc read_segment_of(const struct segment_read *read, const struct local_blob_value *blob,
			       struct err *err)
{
	struct local_blob_segment at;

	local_blob_segment(blob, read->number, &at);
	return local_packs_meta(read->store->packs, &at.place, LOCAL_RECORD_CHUNK_LIST,
				read->digest, read->payload, err);
}

static enum rc use_list(void *context, struct view bytes, struct err *err)
{
	const struct segment_read *read = context;
	struct local_blob_value blob;
	enum rc rc = local_blob_value_decode(bytes, &blob, err);

	if (rc == RC_OK && read->number >= blob.segments)
		rc = RC_NOT_FOUND;
	return rc == RC_OK ? read_segment_of(read, &blob, err) : rc;
}

enum rc blob_local_segment(struct local_store *store, const struct digest *digest,
			   const struct local_blob_value *blob, uint32_t i, struct buf *payload,
			   struct local_segment *out, struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	struct segment_read read = { store, digest, i, payload };
	struct local_blob_segment at;

	buf_clear(payload);
	digest_hex(digest, hex);
	enum rc rc = read_segment_of(&read, blob, err);
	if (rc == RC_NOT_FOUND)
		rc = local_with_value(store, LOCAL_TABLE_BLOBS, view_of(digest->bytes, DIGEST_SIZE),
				      use_list, &read, err);
	if (rc == RC_NOT_FOUND)
		return err_set(err, RC_CORRUPT, "the chunk list of blob %s is missing", hex);
	if (rc != RC_OK)
		return rc;
	local_blob_segment(blob, i, &at);
	rc = local_segment_decode(buf_view(payload), out, err);
	if (rc != RC_OK)
		return err_context(err, rc, "blob %s", hex);
	if (out->number != i || out->segments != blob->segments || out->chunks != blob->chunks ||
	    out->blob_size != blob->size || out->start != at.start)
		return err_set(err, RC_CORRUPT,
			       "blob %s: its chunk list and the index disagree; `castor index "
			       "rebuild` rebuilds the index",
			       hex);
	return RC_OK;
}

static struct held_segment *coldest(struct local_reader *reader)
{
	struct held_segment *out = &reader->held[0];

	for (int i = 1; i < SEGMENTS_HELD; i++) {
		if (reader->held[i].used < out->used)
			out = &reader->held[i];
	}
	return out;
}

static enum rc hold_segment(struct local_reader *reader, uint32_t number, struct held_segment **out,
			    struct err *err)
{
	for (int i = 0; i < SEGMENTS_HELD; i++) {
		struct held_segment *held = &reader->held[i];

		if (held->used && held->segment.number == number) {
			held->used = ++reader->clock;
			*out = held;
			return RC_OK;
		}
	}
	struct held_segment *held = coldest(reader);
	held->used = 0;
	enum rc rc = blob_local_segment(reader->store, &reader->base.digest, &reader->found.blob,
					number, &held->payload, &held->segment, err);
	if (rc != RC_OK)
		return rc;
	held->offsets = mem_realloc_array(held->offsets, held->segment.count + (size_t)1,
					  sizeof(held->offsets[0]));
	uint64_t offset = held->segment.start;
	for (uint32_t i = 0; i < held->segment.count; i++) {
		struct digest digest;
		uint32_t size;

		local_segment_entry(&held->segment, i, &digest, &size);
		held->offsets[i] = offset;
		offset += size;
	}
	held->offsets[held->segment.count] = offset;
	held->used = ++reader->clock;
	*out = held;
	return RC_OK;
}

/* The segment that covers the offset: the last that starts at or before it. */
static uint32_t find_segment(const struct local_blob_value *blob, uint64_t offset)
{
	uint32_t low = 0, high = blob->segments;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		struct local_blob_segment at;

		local_blob_segment(blob, middle, &at);
		if (at.start <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static enum rc local_locate(struct blob_reader *base, const struct op *op, uint64_t offset,
			    struct blob_chunk *out, struct err *err)
{
	struct local_reader *reader = reader_of(base);
	struct held_segment *held;

	(void)op;
	if (!reader->found.listed) {
		*out = (struct blob_chunk){
			.digest = base->digest,
			.size = (uint32_t)base->size,
			.has_digest = true,
		};
		return RC_OK;
	}
	enum rc rc = hold_segment(reader, find_segment(&reader->found.blob, offset), &held, err);
	if (rc != RC_OK)
		return rc;
	uint32_t low = 0, high = held->segment.count;
	if (offset >= held->offsets[high])
		return err_set(err, RC_CORRUPT, "the chunk list has a hole at offset %ju",
			       (uintmax_t)offset);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (held->offsets[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	*out = (struct blob_chunk){ .offset = held->offsets[low], .has_digest = true };
	local_segment_entry(&held->segment, low, &out->digest, &out->size);
	return RC_OK;
}

/* ---- Chunks ---- */

static enum rc check_size(const struct blob_chunk *chunk, const struct local_place *place,
			  struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	if (place->raw == chunk->size)
		return RC_OK;
	digest_hex(&chunk->digest, hex);
	return err_set(err, RC_CORRUPT, "chunk %s has %u bytes in the index, %u in a list", hex,
		       place->raw, chunk->size);
}

static enum rc find_chunk(struct local_reader *reader, const struct blob_chunk *chunk,
			  struct local_place_value *out, struct err *err)
{
	enum rc rc = local_find_place(reader->store, LOCAL_TABLE_CHUNKS, &chunk->digest, out, err);

	return rc == RC_OK ? check_size(chunk, &out->place, err) : rc;
}

typedef enum rc read_at(struct local_packs *packs, const struct local_place_value *place,
			const struct digest *digest, void *out, struct err *err);
struct chunk_read {
	struct local_reader *reader;
	const struct blob_chunk *chunk;
	read_at *read;
	void *out;
};

static enum rc use_place(void *context, struct view bytes, struct err *err)
{
	const struct chunk_read *read = context;
	struct local_reader *reader = read->reader;
	struct local_place_value place;
	enum rc rc = local_place_value_decode(bytes, &place, err);

	if (rc == RC_OK)
		rc = check_size(read->chunk, &place.place, err);
	if (rc == RC_OK)
		rc = read->read(reader->store->packs, &place, &read->chunk->digest, read->out, err);
	if (rc == RC_OK && !reader->found.listed)
		reader->found.place = place;
	return rc;
}

/* Calls read with the chunk's place: that which was found when the blob was opened, if it is one
 * chunk, and else, or if the pack was rewritten since, that in the index. */
static enum rc with_place(struct local_reader *reader, const struct blob_chunk *chunk,
			  read_at *read, void *out, struct err *err)
{
	struct chunk_read context = { reader, chunk, read, out };
	char hex[DIGEST_HEX_MAX];
	enum rc rc = RC_NOT_FOUND;

	if (!reader->found.listed)
		rc = read(reader->store->packs, &reader->found.place, &chunk->digest, out, err);
	if (rc != RC_NOT_FOUND)
		return rc;
	rc = local_with_value(reader->store, LOCAL_TABLE_CHUNKS,
			      view_of(chunk->digest.bytes, DIGEST_SIZE), use_place, &context, err);
	if (rc != RC_NOT_FOUND)
		return rc;
	digest_hex(&chunk->digest, hex);
	return err_set(err, RC_CORRUPT, "chunk %s is missing", hex);
}

static enum rc read_frame_at(struct local_packs *packs, const struct local_place_value *value,
			     const struct digest *digest, void *out, struct err *err)
{
	uint32_t stored = value->place.stored;
	struct buf *to = out;

	if (!buf_try_reserve(to, stored))
		return err_set(err, RC_NO_MEMORY, "no memory for a frame of %u bytes", stored);
	enum rc rc = local_packs_frames(packs, &value->place, digest, 1, to->ptr + to->len, err);
	if (rc == RC_OK)
		to->len += stored;
	return rc;
}

static enum rc local_read_chunk(struct blob_reader *base, const struct op *op,
				const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct local_reader *reader = reader_of(base);

	(void)op;
	if (reader->raw_fd >= 0) {
		size_t got;
		enum rc rc = file_pread_full(reader->raw_fd, out, chunk->size, chunk->offset, &got,
					     "raw file", err);
		if (rc != RC_OK || got == chunk->size)
			return rc;
		char hex[DIGEST_HEX_MAX];
		digest_hex(&base->digest, hex);
		return err_set(err, RC_CORRUPT, "raw file %s is cut short at %ju", hex,
			       (uintmax_t)(chunk->offset + got));
	}
	return with_place(reader, chunk, local_packs_chunk, out, err);
}

static int local_fd(struct blob_reader *base)
{
	return reader_of(base)->raw_fd;
}

static enum rc local_read_frame(struct blob_reader *base, const struct op *op,
				const struct blob_chunk *chunk, struct buf *out, struct err *err)
{
	(void)op;
	return with_place(reader_of(base), chunk, read_frame_at, out, err);
}

static void local_will_need(struct blob_reader *base, uint64_t offset, uint64_t len)
{
	struct local_reader *reader = reader_of(base);
	struct local_place_value place;
	uint64_t end = len < base->size - offset ? offset + len : base->size;

	if (reader->raw_fd >= 0) {
		(void)posix_fadvise(reader->raw_fd, (off_t)offset, (off_t)(end - offset),
				    POSIX_FADV_WILLNEED);
		return;
	}
	if (!reader->found.listed) {
		local_packs_will_need(reader->store->packs, &reader->found.place);
		return;
	}
	for (int i = 0; i < WILL_NEED_MAX && offset < end; i++) {
		struct blob_chunk chunk;

		if (local_locate(base, NULL, offset, &chunk, NULL) != RC_OK ||
		    find_chunk(reader, &chunk, &place, NULL) != RC_OK)
			return;
		local_packs_will_need(reader->store->packs, &place);
		offset = chunk.offset + chunk.size;
	}
}

static void local_place(struct blob_reader *base, const struct blob_chunk *chunk, struct buf *out)
{
	struct local_reader *reader = reader_of(base);
	struct local_place_value value = reader->found.place;
	char hex[DIGEST_HEX_MAX], name[LOCAL_PACK_NAME_MAX];

	if (reader->raw_fd >= 0) {
		value.place.pack = 0;
		value.place.offset = chunk->offset;
		value.raw_of = base->digest;
	} else if (reader->found.listed && find_chunk(reader, chunk, &value, NULL) != RC_OK) {
		return;
	}
	if (value.place.pack == 0) {
		digest_hex(&value.raw_of, hex);
		buf_printf(out, "at offset %ju of raw file %s", (uintmax_t)value.place.offset, hex);
	} else {
		local_pack_name(value.place.pack, name);
		buf_printf(out, "at offset %ju of pack %s", (uintmax_t)value.place.offset, name);
	}
}

static const struct blob_reader_ops reader_ops = {
	.free = reader_free,
	.locate = local_locate,
	.read_chunk = local_read_chunk,
	.fd = local_fd,
	.read_frame = local_read_frame,
	.will_need = local_will_need,
	.place = local_place,
};

enum rc blob_local_open_read(struct blob_service *service, const struct op *op,
			     const struct digest *digest, uint64_t size, struct blob_reader **out,
			     struct err *err)
{
	struct local_store *store = blob_local_of(service)->store;
	struct blob_local_found found;

	(void)op;
	(void)size;
	enum rc rc = blob_local_find(store, digest, &found, err);
	if (rc == RC_NOT_FOUND)
		return blob_local_not_found(digest, err);
	if (rc != RC_OK)
		return rc;
	struct local_reader *reader = mem_zalloc(sizeof(*reader));
	blob_reader_init(&reader->base, &reader_ops, digest, blob_local_found_size(&found));
	reader->store = store;
	reader->found = found;
	reader->found.blob.encoded = buf_view(&reader->found.bytes);
	reader->raw_fd = -1;
	if (found.listed && found.blob.raw_file) {
		rc = local_packs_raw_file(store->packs, digest, &reader->raw_fd, err);
		if (rc != RC_OK) {
			reader_free(&reader->base);
			return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
		}
	}
	*out = &reader->base;
	return RC_OK;
}
