/*
 * The values of the index, to bytes and back. Pure: no I/O. docs/formats/local-store.md lists the
 * tables. All numbers are little-endian.
 */
#ifndef CASTOR_LOCAL_INDEX_FORMAT_H
#define CASTOR_LOCAL_INDEX_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"
#include "local/pack_format.h"

enum { LOCAL_INDEX_VERSION = 1 };

/* Where bytes lie: a record of a pack, or a stretch of a raw file. */
struct local_place {
	uint32_t pack;   /* 0: in a raw file */
	uint64_t offset; /* of the record's header; or in the raw file */
	uint32_t stored; /* length of the zstd frame; or equal to raw */
	uint32_t raw;    /* length once decoded */
};
enum { LOCAL_PLACE_SIZE = 18 };
/* Where the record ends, for a place in a pack. */
static inline uint64_t local_place_end(const struct local_place *place)
{
	return place->offset + LOCAL_RECORD_HEADER_SIZE + place->stored;
}

/* Chunks and directories. */
struct local_place_value {
	struct local_place place;
	uint16_t day;         /* when it was last asked for, see clock_day */
	struct digest raw_of; /* the blob whose raw file it lies in, where place.pack is 0 */
};
enum { LOCAL_PLACE_VALUE_MAX = LOCAL_PLACE_SIZE + 2 + DIGEST_SIZE };
/* Returns the number of bytes written. */
size_t local_place_value_encode(const struct local_place_value *value,
				uint8_t out[LOCAL_PLACE_VALUE_MAX]);
enum rc local_place_value_decode(struct view bytes, struct local_place_value *out,
				 struct err *err) MUST_USE;

/* A blob that has a list of chunks. Its segments stay encoded: local_blob_segment reads one. */
struct local_blob_value {
	uint16_t day;
	bool raw_file;
	uint64_t size;
	uint64_t chunks;
	uint32_t segments;
	struct view encoded; /* of the segments */
};
struct local_blob_segment {
	uint64_t start; /* offset in the blob of its first chunk */
	struct local_place place;
};
void local_blob_value_begin(const struct local_blob_value *value, struct buf *out);
void local_blob_value_append(struct buf *out, const struct local_blob_segment *segment);
/* Borrows from bytes. */
enum rc local_blob_value_decode(struct view bytes, struct local_blob_value *out,
				struct err *err) MUST_USE;
void local_blob_segment(const struct local_blob_value *value, uint32_t i,
			struct local_blob_segment *out);

struct local_path_value {
	struct local_place place;
	uint16_t day;
	uint64_t seq; /* of the record: an older one never replaces a newer one */
};
enum { LOCAL_PATH_VALUE_SIZE = LOCAL_PLACE_SIZE + 10 };
void local_path_value_encode(const struct local_path_value *value, uint8_t *out);
enum rc local_path_value_decode(struct view bytes, struct local_path_value *out,
				struct err *err) MUST_USE;

struct local_facts_value {
	uint64_t seq; /* of the record: an older one never replaces a newer one */
	uint64_t nar_size;
	uint8_t nar_sha256[32];
};
enum { LOCAL_FACTS_VALUE_SIZE = 48 };
void local_facts_value_encode(const struct local_facts_value *value, uint8_t *out);
enum rc local_facts_value_decode(struct view bytes, struct local_facts_value *out,
				 struct err *err) MUST_USE;

struct local_pack_value {
	uint8_t class; /* enum local_pack_class */
	uint64_t end;  /* what is committed */
	uint64_t
		stamp; /* the file's ctime when it was last known to be whole, in ns; 0: not known */
};
enum { LOCAL_PACK_VALUE_SIZE = 17, LOCAL_PACK_KEY_SIZE = 4 };
void local_pack_key_encode(uint32_t id, uint8_t *out); /* big-endian, so that they sort */
uint32_t local_pack_key_decode(const uint8_t *key);
void local_pack_value_encode(const struct local_pack_value *value, uint8_t *out);
enum rc local_pack_value_decode(struct view bytes, struct local_pack_value *out,
				struct err *err) MUST_USE;

/* What the whole store counts; under the key "counters" of the table of that name. */
struct local_counters {
	uint32_t version;    /* LOCAL_INDEX_VERSION */
	uint32_t next_pack;  /* the first id never given out */
	uint64_t next_seq;   /* the first sequence number never given out */
	uint64_t generation; /* counts changes of the set of path infos */
};
enum { LOCAL_COUNTERS_SIZE = 24 };
void local_counters_encode(const struct local_counters *counters, uint8_t *out);
enum rc local_counters_decode(struct view bytes, struct local_counters *out,
			      struct err *err) MUST_USE;

#endif
