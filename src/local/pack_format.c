/* Records of packs, to bytes and back. See the header. */
#include "local/pack_format.h"

#include <assert.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/cursor.h"
#include "castore/chunker.h"
#include "local/bytes.h"

/* One of the sixteen magics that zstd reserves for skippable frames. */
#define SKIPPABLE_MAGIC UINT32_C(0x184D2A5C)
#define ZSTD_MAGIC      UINT32_C(0xFD2FB528)

enum {
	SKIPPABLE_HEADER = 8, /* magic and length */
	CRC_AT = 12,
};

static void header_encode(const struct local_record_header *header, uint8_t *out)
{
	put_u32(out, SKIPPABLE_MAGIC);
	put_u32(out + 4, LOCAL_RECORD_HEADER_SIZE - SKIPPABLE_HEADER);
	out[8] = header->kind;
	out[9] = (uint8_t)header->mark;
	out[10] = (uint8_t)(header->mark >> 8);
	out[11] = (uint8_t)(header->mark >> 16);
	put_u32(out + CRC_AT, header->crc);
	put_u64(out + 16, header->seq);
	put_u32(out + 24, header->raw);
	put_u32(out + 28, header->stored);
	memcpy(out + 32, header->digest.bytes, DIGEST_SIZE);
}

enum rc local_record_header_decode(struct view bytes, struct local_record_header *out,
				   struct err *err)
{
	struct cursor cursor = cursor_of(bytes);
	uint32_t magic, length;
	uint8_t mark[3];

	memset(out, 0, sizeof(*out));
	struct local_record_header header = { .kind = 0 };
	cursor_u32le(&cursor, &magic);
	cursor_u32le(&cursor, &length);
	cursor_u8(&cursor, &header.kind);
	cursor_copy(&cursor, mark, sizeof(mark));
	cursor_u32le(&cursor, &header.crc);
	cursor_u64le(&cursor, &header.seq);
	cursor_u32le(&cursor, &header.raw);
	cursor_u32le(&cursor, &header.stored);
	cursor_copy(&cursor, header.digest.bytes, DIGEST_SIZE);
	if (cursor.failed)
		return err_set(err, RC_CORRUPT, "record header is cut short");
	if (magic != SKIPPABLE_MAGIC || length != LOCAL_RECORD_HEADER_SIZE - SKIPPABLE_HEADER)
		return err_set(err, RC_CORRUPT, "no record begins here");
	if (header.kind == 0 || header.seq > LOCAL_SEQ_MAX)
		return err_set(err, RC_CORRUPT, "record header has no kind, or no possible number");
	if (header.raw > LOCAL_RECORD_RAW_MAX || header.stored > LOCAL_RECORD_STORED_MAX)
		return err_set(err, RC_CORRUPT, "record claims %u bytes in %u", header.raw,
			       header.stored);
	header.mark = mark[0] | (uint32_t)mark[1] << 8 | (uint32_t)mark[2] << 16;
	*out = header;
	return RC_OK;
}

uint32_t local_record_mark(uint64_t salt)
{
	return (uint32_t)salt & 0xffffff;
}

static uint32_t record_crc(uint32_t frame_crc, const uint8_t *encoded_header, uint64_t salt)
{
	uint8_t copy[LOCAL_RECORD_HEADER_SIZE];

	memcpy(copy, encoded_header, sizeof(copy));
	put_u32(copy + CRC_AT, 0);
	uint32_t crc = crc32c(frame_crc, copy, sizeof(copy));
	if (salt == 0)
		return crc;
	put_u64(copy, salt);
	return crc32c(crc, copy, sizeof(salt));
}

void local_record_seal(const struct local_record_header *header, uint32_t frame_crc, uint64_t salt,
		       uint8_t *out)
{
	struct local_record_header sealed = *header;

	sealed.mark = local_record_mark(salt);
	header_encode(&sealed, out);
	put_u32(out + CRC_AT, record_crc(frame_crc, out, salt));
}

bool local_record_sealed(const uint8_t *encoded_header, uint32_t frame_crc, uint64_t salt)
{
	struct local_record_header header;

	return local_record_header_decode(view_of(encoded_header, LOCAL_RECORD_HEADER_SIZE),
					  &header, NULL) == RC_OK &&
	       header.mark == local_record_mark(salt) &&
	       header.crc == record_crc(frame_crc, encoded_header, salt);
}

static size_t raw_blocks(size_t raw)
{
	return raw == 0 ? 1 : (raw + LOCAL_FRAME_BLOCK - 1) / LOCAL_FRAME_BLOCK;
}

size_t local_raw_frame_header(size_t raw, uint8_t out[LOCAL_FRAME_HEADER_MAX])
{
	/* The descriptor: one segment (bit 5), and in bits 6 and 7 how wide the length is. */
	assert(raw <= LOCAL_RECORD_RAW_MAX);
	put_u32(out, ZSTD_MAGIC);
	if (raw < 256) {
		out[4] = 0x20;
		out[5] = (uint8_t)raw;
		return 6;
	}
	if (raw < 65536 + 256) {
		out[4] = 0x20 | 1 << 6;
		put_u16(out + 5, (uint16_t)(raw - 256));
		return 7;
	}
	out[4] = 0x20 | 2 << 6;
	put_u32(out + 5, (uint32_t)raw);
	return 9;
}

void local_raw_block_header(size_t raw, size_t at, uint8_t out[LOCAL_BLOCK_HEADER])
{
	size_t left = raw - at;
	bool last = left <= LOCAL_FRAME_BLOCK;
	uint32_t bits = (uint32_t)(last ? left : LOCAL_FRAME_BLOCK) << 3 | (last ? 1 : 0);

	out[0] = (uint8_t)bits;
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)(bits >> 16);
}

size_t local_raw_frame_size(size_t raw)
{
	uint8_t header[LOCAL_FRAME_HEADER_MAX];

	return local_raw_frame_header(raw, header) + raw_blocks(raw) * LOCAL_BLOCK_HEADER + raw;
}

void local_raw_frame_encode(struct view data, uint8_t *out)
{
	size_t at = 0;

	out += local_raw_frame_header(data.len, out);
	do {
		size_t len = data.len - at < LOCAL_FRAME_BLOCK ? data.len - at : LOCAL_FRAME_BLOCK;

		local_raw_block_header(data.len, at, out);
		out += LOCAL_BLOCK_HEADER;
		if (len > 0)
			memcpy(out, data.ptr + at, len);
		out += len;
		at += len;
	} while (at < data.len);
}

bool local_raw_frame_decode(struct view frame, size_t raw, uint8_t *out)
{
	struct cursor cursor = cursor_of(frame);
	uint8_t want[LOCAL_FRAME_HEADER_MAX];
	struct view got;
	size_t at = 0;

	if (raw > LOCAL_RECORD_RAW_MAX || frame.len != local_raw_frame_size(raw))
		return false;
	size_t header = local_raw_frame_header(raw, want);
	if (!cursor_view(&cursor, header, &got) || memcmp(got.ptr, want, header) != 0)
		return false;
	do {
		size_t len = raw - at < LOCAL_FRAME_BLOCK ? raw - at : LOCAL_FRAME_BLOCK;

		local_raw_block_header(raw, at, want);
		if (!cursor_view(&cursor, LOCAL_BLOCK_HEADER, &got) ||
		    memcmp(got.ptr, want, LOCAL_BLOCK_HEADER) != 0)
			return false;
		if (len > 0 && !cursor_copy(&cursor, out + at, len))
			return false;
		at += len;
	} while (at < raw);
	return true;
}

static const char pack_text[12] = "castor pack\n";

bool local_kind_belongs(uint8_t kind, enum local_pack_class class, uint64_t offset)
{
	switch (kind) {
	case LOCAL_RECORD_PACK:
		return offset == 0;
	case LOCAL_RECORD_CHUNK:
		return class != LOCAL_PACK_META;
	case LOCAL_RECORD_CHUNK_LIST:
	case LOCAL_RECORD_DIRECTORY:
	case LOCAL_RECORD_PATH_INFO:
	case LOCAL_RECORD_NAR_FACTS:
	case LOCAL_RECORD_PIN:
	case LOCAL_RECORD_TOMBSTONE:
		return class == LOCAL_PACK_META;
	default:
		return true;
	}
}

void local_pack_head_encode(const struct local_pack_head *head, uint8_t *out)
{
	memcpy(out, pack_text, sizeof(pack_text));
	put_u32(out + 12, LOCAL_PACK_VERSION);
	put_u32(out + 16, head->id);
	put_u32(out + 20, (uint32_t)head->class);
	put_u64(out + 24, head->salt);
}

enum rc local_pack_head_decode(struct view payload, struct local_pack_head *out, struct err *err)
{
	struct cursor cursor = cursor_of(payload);
	struct view text;
	uint32_t version, id, class;
	uint64_t salt = 0;

	memset(out, 0, sizeof(*out));
	cursor_view(&cursor, sizeof(pack_text), &text);
	cursor_u32le(&cursor, &version);
	cursor_u32le(&cursor, &id);
	cursor_u32le(&cursor, &class);
	if (cursor.failed || memcmp(text.ptr, pack_text, sizeof(pack_text)) != 0)
		return err_set(err, RC_CORRUPT, "it does not begin as a pack does");
	if (version == 0 || version > LOCAL_PACK_VERSION)
		return err_set(err, RC_UNSUPPORTED,
			       "it has pack format %u, and this castor knows up to %d", version,
			       LOCAL_PACK_VERSION);
	if (version > 1)
		cursor_u64le(&cursor, &salt);
	if (cursor.failed || class >= LOCAL_PACK_CLASSES_ || id == 0 || cursor_left(&cursor) != 0 ||
	    (version > 1) != (salt != 0))
		return err_set(err, RC_CORRUPT, "its first record is malformed");
	*out = (struct local_pack_head){ version, id, (enum local_pack_class) class, salt };
	return RC_OK;
}

void local_segment_begin(const struct local_segment *segment, struct buf *out)
{
	buf_reserve(out,
		    LOCAL_SEGMENT_HEADER_SIZE + (size_t)segment->count * LOCAL_SEGMENT_ENTRY_SIZE);
	buf_append_u64le(out, segment->blob_size);
	buf_append_u64le(out, segment->start);
	buf_append_u64le(out, segment->chunks);
	buf_append_u32le(out, segment->number);
	buf_append_u32le(out, segment->segments);
	buf_append_u32le(out, segment->count);
	buf_append_u32le(out, segment->raw_file ? 1 : 0);
}

void local_segment_append(struct buf *out, const struct digest *digest, uint32_t size)
{
	buf_append(out, digest->bytes, DIGEST_SIZE);
	buf_append_u32le(out, size);
}

static void segment_entry(struct view entries, uint32_t i, struct digest *digest, uint32_t *size)
{
	struct cursor cursor = cursor_of(view_slice(entries, (size_t)i * LOCAL_SEGMENT_ENTRY_SIZE,
						    LOCAL_SEGMENT_ENTRY_SIZE));

	cursor_copy(&cursor, digest->bytes, DIGEST_SIZE);
	cursor_u32le(&cursor, size);
}

enum rc local_segment_decode(struct view payload, struct local_segment *out, struct err *err)
{
	struct cursor cursor = cursor_of(payload);
	struct local_segment s = { .blob_size = 0 };
	uint32_t flags;

	memset(out, 0, sizeof(*out));
	cursor_u64le(&cursor, &s.blob_size);
	cursor_u64le(&cursor, &s.start);
	cursor_u64le(&cursor, &s.chunks);
	cursor_u32le(&cursor, &s.number);
	cursor_u32le(&cursor, &s.segments);
	cursor_u32le(&cursor, &s.count);
	cursor_u32le(&cursor, &flags);
	if (cursor.failed || flags > 1 || s.count == 0 || s.count > LOCAL_SEGMENT_CHUNKS ||
	    cursor_left(&cursor) != (size_t)s.count * LOCAL_SEGMENT_ENTRY_SIZE)
		return err_set(err, RC_CORRUPT, "chunk list is malformed");
	cursor_view(&cursor, cursor_left(&cursor), &s.entries);
	s.raw_file = flags == 1;

	bool last = s.number + UINT64_C(1) == s.segments;
	uint64_t before = (uint64_t)s.number * LOCAL_SEGMENT_CHUNKS;
	if (s.number >= s.segments || (!last && s.count != LOCAL_SEGMENT_CHUNKS) ||
	    s.chunks < before + s.count || (last && s.chunks != before + s.count) ||
	    (s.number == 0 && s.start != 0))
		return err_set(err, RC_CORRUPT, "chunk list contradicts itself on its segments");
	uint64_t offset = s.start;
	for (uint32_t i = 0; i < s.count; i++) {
		struct digest digest;
		uint32_t size;

		segment_entry(s.entries, i, &digest, &size);
		if (size == 0 || size > CHUNK_MAX_EVER || offset > s.blob_size ||
		    size > s.blob_size - offset)
			return err_set(err, RC_CORRUPT, "chunk list: chunk %u has a wrong size", i);
		offset += size;
	}
	if (last && offset != s.blob_size)
		return err_set(err, RC_CORRUPT, "chunk list does not add up to its blob");
	*out = s;
	return RC_OK;
}

void local_segment_entry(const struct local_segment *segment, uint32_t i, struct digest *digest,
			 uint32_t *size)
{
	assert(i < segment->count);
	segment_entry(segment->entries, i, digest, size);
}

struct digest local_path_info_key(const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	struct digest key = { .bytes = { 0 } };

	memcpy(key.bytes, hash, STORE_PATH_HASH_SIZE);
	return key;
}

void local_nar_facts_encode(const struct local_nar_facts *facts, struct buf *out)
{
	buf_append_u64le(out, facts->nar_size);
	buf_append(out, facts->nar_sha256, sizeof(facts->nar_sha256));
	buf_append_view(out, facts->node);
}

enum rc local_nar_facts_decode(struct view payload, struct local_nar_facts *out, struct err *err)
{
	struct cursor cursor = cursor_of(payload);

	memset(out, 0, sizeof(*out));
	cursor_u64le(&cursor, &out->nar_size);
	cursor_copy(&cursor, out->nar_sha256, sizeof(out->nar_sha256));
	cursor_view(&cursor, cursor_left(&cursor), &out->node);
	if (cursor.failed || out->node.len == 0) {
		memset(out, 0, sizeof(*out));
		return err_set(err, RC_CORRUPT, "NAR facts are cut short");
	}
	return RC_OK;
}

void local_commit_encode(const struct local_commit *commit, uint8_t *out)
{
	put_u64(out, commit->end);
	put_u64(out + 8, commit->time_ns);
	put_u64(out + 16, commit->salt);
	put_u32(out + 24, commit->id);
	put_u32(out + 28, commit->class);
}

enum rc local_commit_decode(struct view payload, struct local_commit *out, struct err *err)
{
	struct cursor cursor = cursor_of(payload);

	memset(out, 0, sizeof(*out));
	cursor_u64le(&cursor, &out->end);
	cursor_u64le(&cursor, &out->time_ns);
	if (payload.len != LOCAL_COMMIT_SIZE_1) {
		cursor_u64le(&cursor, &out->salt);
		cursor_u32le(&cursor, &out->id);
		cursor_u32le(&cursor, &out->class);
	}
	if (cursor.failed || cursor_left(&cursor) != 0) {
		memset(out, 0, sizeof(*out));
		return err_set(err, RC_CORRUPT, "commit record is malformed");
	}
	return RC_OK;
}
