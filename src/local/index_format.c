/* Values of the index, to bytes and back. See the header. */
#include "local/index_format.h"

#include <assert.h>
#include <string.h>

#include "base/cursor.h"
#include "local/bytes.h"
#include "local/pack_format.h"

enum { BLOB_HEADER_SIZE = 19, BLOB_SEGMENT_SIZE = 8 + LOCAL_PLACE_SIZE };

static void place_encode(const struct local_place *place, uint8_t *out)
{
	put_u32(out, place->pack);
	put_u48(out + 4, place->offset);
	put_u32(out + 10, place->stored);
	put_u32(out + 14, place->raw);
}

/* False for lengths that no record has; nothing that is read by a place needs another check. */
static bool place_decode(struct cursor *cursor, struct local_place *out)
{
	uint32_t low;
	uint16_t high;

	cursor_u32le(cursor, &out->pack);
	cursor_u32le(cursor, &low);
	cursor_u16le(cursor, &high);
	cursor_u32le(cursor, &out->stored);
	cursor_u32le(cursor, &out->raw);
	out->offset = low | (uint64_t)high << 32;
	return !cursor->failed && out->raw <= LOCAL_RECORD_RAW_MAX &&
	       out->stored <= local_raw_frame_size(out->raw) &&
	       (out->pack != 0 || out->stored == out->raw);
}

size_t local_place_value_encode(const struct local_place_value *value,
				uint8_t out[LOCAL_PLACE_VALUE_MAX])
{
	place_encode(&value->place, out);
	put_u16(out + LOCAL_PLACE_SIZE, value->day);
	if (value->place.pack != 0)
		return LOCAL_PLACE_SIZE + 2;
	memcpy(out + LOCAL_PLACE_SIZE + 2, value->raw_of.bytes, DIGEST_SIZE);
	return LOCAL_PLACE_VALUE_MAX;
}

static enum rc malformed(struct err *err, const char *what)
{
	return err_set(err, RC_CORRUPT,
		       "index entry of %s is malformed; `castor index rebuild` rebuilds the index",
		       what);
}

enum rc local_place_value_decode(struct view bytes, struct local_place_value *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);

	memset(out, 0, sizeof(*out));
	bool good = place_decode(&cursor, &out->place);
	cursor_u16le(&cursor, &out->day);
	if (good && out->place.pack == 0)
		cursor_copy(&cursor, out->raw_of.bytes, DIGEST_SIZE);
	if (!good || cursor.failed || cursor_left(&cursor) != 0) {
		memset(out, 0, sizeof(*out));
		return malformed(err, "a chunk or directory");
	}
	return RC_OK;
}

void local_blob_value_begin(const struct local_blob_value *value, struct buf *out)
{
	uint8_t day[2];

	put_u16(day, value->day);
	buf_append(out, day, sizeof(day));
	buf_append_byte(out, value->raw_file ? 1 : 0);
	buf_append_u64le(out, value->size);
	buf_append_u64le(out, value->chunks);
}

void local_blob_value_append(struct buf *out, const struct local_blob_segment *segment)
{
	uint8_t place[LOCAL_PLACE_SIZE];

	buf_append_u64le(out, segment->start);
	place_encode(&segment->place, place);
	buf_append(out, place, sizeof(place));
}

static bool segment_decode(struct view encoded, uint32_t i, struct local_blob_segment *out)
{
	struct cursor cursor =
		cursor_of(view_slice(encoded, (size_t)i * BLOB_SEGMENT_SIZE, BLOB_SEGMENT_SIZE));

	cursor_u64le(&cursor, &out->start);
	return place_decode(&cursor, &out->place) && out->place.pack != 0;
}

enum rc local_blob_value_decode(struct view bytes, struct local_blob_value *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);
	struct local_blob_value v = { .day = 0 };
	uint8_t flags;
	uint64_t before = 0;

	memset(out, 0, sizeof(*out));
	cursor_u16le(&cursor, &v.day);
	cursor_u8(&cursor, &flags);
	cursor_u64le(&cursor, &v.size);
	cursor_u64le(&cursor, &v.chunks);
	size_t left = cursor_left(&cursor);
	if (cursor.failed || flags > 1 || left == 0 || left % BLOB_SEGMENT_SIZE != 0 ||
	    left / BLOB_SEGMENT_SIZE > UINT32_MAX)
		return malformed(err, "a blob");
	v.raw_file = flags == 1;
	v.segments = (uint32_t)(left / BLOB_SEGMENT_SIZE);
	cursor_view(&cursor, left, &v.encoded);
	if (v.chunks == 0 || (v.chunks - 1) / LOCAL_SEGMENT_CHUNKS + 1 != v.segments)
		return malformed(err, "a blob");
	for (uint32_t i = 0; i < v.segments; i++) {
		struct local_blob_segment segment;

		if (!segment_decode(v.encoded, i, &segment) ||
		    (i == 0 ? segment.start != 0 : segment.start <= before) ||
		    segment.start >= v.size)
			return malformed(err, "a blob");
		before = segment.start;
	}
	*out = v;
	return RC_OK;
}

void local_blob_segment(const struct local_blob_value *value, uint32_t i,
			struct local_blob_segment *out)
{
	assert(i < value->segments);
	segment_decode(value->encoded, i, out);
}

void local_path_value_encode(const struct local_path_value *value, uint8_t *out)
{
	place_encode(&value->place, out);
	put_u16(out + LOCAL_PLACE_SIZE, value->day);
	put_u64(out + LOCAL_PLACE_SIZE + 2, value->seq);
}

enum rc local_path_value_decode(struct view bytes, struct local_path_value *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);

	memset(out, 0, sizeof(*out));
	bool good = place_decode(&cursor, &out->place) && out->place.pack != 0;
	cursor_u16le(&cursor, &out->day);
	cursor_u64le(&cursor, &out->seq);
	if (!good || cursor.failed || cursor_left(&cursor) != 0 || out->seq > LOCAL_SEQ_MAX) {
		memset(out, 0, sizeof(*out));
		return malformed(err, "a path info");
	}
	return RC_OK;
}

void local_facts_value_encode(const struct local_facts_value *value, uint8_t *out)
{
	put_u64(out, value->seq);
	put_u64(out + 8, value->nar_size);
	memcpy(out + 16, value->nar_sha256, sizeof(value->nar_sha256));
}

enum rc local_facts_value_decode(struct view bytes, struct local_facts_value *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);

	memset(out, 0, sizeof(*out));
	cursor_u64le(&cursor, &out->seq);
	cursor_u64le(&cursor, &out->nar_size);
	cursor_copy(&cursor, out->nar_sha256, sizeof(out->nar_sha256));
	if (cursor.failed || cursor_left(&cursor) != 0) {
		memset(out, 0, sizeof(*out));
		return malformed(err, "NAR facts");
	}
	return RC_OK;
}

void local_pack_key_encode(uint32_t id, uint8_t *out)
{
	out[0] = (uint8_t)(id >> 24);
	out[1] = (uint8_t)(id >> 16);
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
}

uint32_t local_pack_key_decode(const uint8_t *key)
{
	return (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
}

void local_pack_value_encode(const struct local_pack_value *value, uint8_t *out)
{
	out[0] = value->class;
	put_u64(out + 1, value->end);
	put_u64(out + 9, value->stamp);
}

enum rc local_pack_value_decode(struct view bytes, struct local_pack_value *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);

	memset(out, 0, sizeof(*out));
	cursor_u8(&cursor, &out->class);
	cursor_u64le(&cursor, &out->end);
	/* Version 1 has none. */
	if (cursor_left(&cursor) > 0)
		cursor_u64le(&cursor, &out->stamp);
	if (cursor.failed || cursor_left(&cursor) != 0 || out->class >= LOCAL_PACK_CLASSES_ ||
	    out->end > INT64_MAX) {
		memset(out, 0, sizeof(*out));
		return malformed(err, "a pack");
	}
	return RC_OK;
}

void local_counters_encode(const struct local_counters *counters, uint8_t *out)
{
	put_u32(out, counters->version);
	put_u32(out + 4, counters->next_pack);
	put_u64(out + 8, counters->next_seq);
	put_u64(out + 16, counters->generation);
}

enum rc local_counters_decode(struct view bytes, struct local_counters *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);

	memset(out, 0, sizeof(*out));
	cursor_u32le(&cursor, &out->version);
	cursor_u32le(&cursor, &out->next_pack);
	cursor_u64le(&cursor, &out->next_seq);
	cursor_u64le(&cursor, &out->generation);
	if (cursor.failed || cursor_left(&cursor) != 0 || out->next_pack == 0 ||
	    out->next_seq > LOCAL_SEQ_MAX) {
		memset(out, 0, sizeof(*out));
		return malformed(err, "the store's counters");
	}
	if (out->version != LOCAL_INDEX_VERSION) {
		uint32_t version = out->version;

		memset(out, 0, sizeof(*out));
		return err_set(err, RC_UNSUPPORTED,
			       "the index has version %u, and this castor knows %d only", version,
			       LOCAL_INDEX_VERSION);
	}
	return RC_OK;
}
