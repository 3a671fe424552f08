/*
 * The bytes of a pack: records, and the payloads that only the store itself reads. Pure: no I/O.
 * docs/formats/local-store.md is the format.
 *
 * A record is a zstd skippable frame that holds its header, then one zstd frame, its data. So a
 * pack is a stream that every zstd decoder reads, and the data of a record can be sent as it lies.
 * All numbers are little-endian.
 */
#ifndef CASTOR_LOCAL_PACK_FORMAT_H
#define CASTOR_LOCAL_PACK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"
#include "nix/store_path.h"

/* What is written. Packs of version 1, which had no salt, can be read. */
enum { LOCAL_PACK_VERSION = 2 };

/* Of sequence numbers. */
#define LOCAL_SEQ_MAX ((UINT64_C(1) << 62) - 1)

/* Numbers of the format: never reused. */
enum local_record_kind {
	LOCAL_RECORD_PACK = 1,       /* the first record of every pack */
	LOCAL_RECORD_CHUNK = 2,      /* digest: the chunk's */
	LOCAL_RECORD_CHUNK_LIST = 3, /* one segment; digest: the blob's */
	LOCAL_RECORD_DIRECTORY = 4,  /* the canonical message; digest: the directory's */
	LOCAL_RECORD_PATH_INFO = 5,  /* the canonical message; digest: the 20 bytes, then zeros */
	LOCAL_RECORD_NAR_FACTS = 6,  /* digest: of the node without its name */
	LOCAL_RECORD_PIN = 7,        /* not written yet */
	LOCAL_RECORD_TOMBSTONE = 8,  /* not written yet */
	LOCAL_RECORD_COMMIT = 9,     /* what lies before it is whole */
};

enum {
	LOCAL_RECORD_HEADER_SIZE = 64,
	/* The largest data of a record, before and after compression. */
	LOCAL_RECORD_RAW_MAX = 64 << 20,
	LOCAL_RECORD_STORED_MAX = LOCAL_RECORD_RAW_MAX + (1 << 20),
};

struct local_record_header {
	uint8_t kind;    /* enum local_record_kind, or one that this version does not know */
	uint32_t mark;   /* the low 24 bits of the pack's salt */
	uint32_t crc;    /* see local_record_seal */
	uint64_t seq;    /* store-wide; among records of one key the highest wins */
	uint32_t raw;    /* length of the data once decoded */
	uint32_t stored; /* length of the zstd frame */
	struct digest digest;
};

/* RC_CORRUPT says what is wrong with it; mark and CRC are not checked here. */
enum rc local_record_header_decode(struct view bytes, struct local_record_header *out,
				   struct err *err) MUST_USE;
/* What every record of a pack of that salt has for its mark. */
uint32_t local_record_mark(uint64_t salt);
/* Writes the header, LOCAL_RECORD_HEADER_SIZE bytes, with the mark and the CRC of a pack of that salt
 * (0: the first record of a pack, and all of version 1). The CRC is that of the frame, then of the
 * header with four zeros for the CRC, then of the salt, so that bytes which somebody had stored do not
 * pass for a record. frame_crc is crc32c(0, frame): dear, and known before the sequence number is. */
void local_record_seal(const struct local_record_header *header, uint32_t frame_crc, uint64_t salt,
		       uint8_t *out);
/* Are mark and CRC those of a record of that pack? */
bool local_record_sealed(const uint8_t *encoded_header, uint32_t frame_crc, uint64_t salt) MUST_USE;

/* ---- Frames of raw blocks: how data is kept that does not shrink ---- */

enum { LOCAL_FRAME_BLOCK = 128 << 10, LOCAL_FRAME_HEADER_MAX = 9, LOCAL_BLOCK_HEADER = 3 };

/* The length of the frame of raw blocks of that much data. A record is one exactly if its stored
 * length is above its raw length; a compressed frame that is not shorter is never kept. */
size_t local_raw_frame_size(size_t raw);
void local_raw_frame_encode(struct view data, uint8_t *out);
/* The bytes before the data of the first block: the frame's header alone. Returns their number. */
size_t local_raw_frame_header(size_t raw, uint8_t out[LOCAL_FRAME_HEADER_MAX]);
/* The header of the block that starts `at` bytes into data of `raw` bytes. */
void local_raw_block_header(size_t raw, size_t at, uint8_t out[LOCAL_BLOCK_HEADER]);
/* Copies the data out of a frame; false where it is not just the frame that encode writes. */
bool local_raw_frame_decode(struct view frame, size_t raw, uint8_t *out) MUST_USE;

/* ---- Payloads ---- */

/* What a pack is mainly for; readers need not care. */
enum local_pack_class {
	LOCAL_PACK_SMALL, /* chunks of blobs of at most 1 MiB, in the order in which they came */
	LOCAL_PACK_LARGE, /* chunks of bigger blobs */
	LOCAL_PACK_META,  /* everything else */
	LOCAL_PACK_CLASSES_,
};

/* May a record of that kind lie in a pack of that class, at that offset? Of kinds that this version
 * does not know: yes. */
bool local_kind_belongs(uint8_t kind, enum local_pack_class class, uint64_t offset) MUST_USE;

struct local_pack_head {
	uint32_t version;
	uint32_t id;
	enum local_pack_class class;
	uint64_t salt; /* random, never 0; version 1: 0 */
};
enum { LOCAL_PACK_HEAD_SIZE = 32, LOCAL_PACK_HEAD_SIZE_1 = 24 };
/* Of version LOCAL_PACK_VERSION. */
void local_pack_head_encode(const struct local_pack_head *head, uint8_t *out);
/* RC_UNSUPPORTED for a version that this program does not know. */
enum rc local_pack_head_decode(struct view payload, struct local_pack_head *out,
			       struct err *err) MUST_USE;

/* One segment of a blob's list of chunks. */
enum { LOCAL_SEGMENT_CHUNKS = 4096, LOCAL_SEGMENT_HEADER_SIZE = 40, LOCAL_SEGMENT_ENTRY_SIZE = 36 };
struct local_segment {
	uint64_t blob_size;
	uint64_t start;  /* offset in the blob of this segment's first chunk */
	uint32_t number; /* of this segment, from 0 */
	uint32_t segments;
	uint64_t chunks;     /* of the whole blob */
	uint32_t count;      /* of chunks in this segment */
	bool raw_file;       /* the blob's bytes lie in a raw file */
	struct view entries; /* count times {digest, u32 size}: local_segment_entry reads one */
};
void local_segment_begin(const struct local_segment *segment, struct buf *out);
void local_segment_append(struct buf *out, const struct digest *digest, uint32_t size);
/* Borrows from payload. Checks that everything fits together, the sizes of chunks included. */
enum rc local_segment_decode(struct view payload, struct local_segment *out,
			     struct err *err) MUST_USE;
/* i < count */
void local_segment_entry(const struct local_segment *segment, uint32_t i, struct digest *digest,
			 uint32_t *size);

/* NAR facts: of which node, how long, which SHA-256. */
struct local_nar_facts {
	uint64_t nar_size;
	uint8_t nar_sha256[32];
	struct view node; /* encoded, without its name */
};
/* The digest field of a path info's record: its hash, then zeros. */
struct digest local_path_info_key(const uint8_t hash[STORE_PATH_HASH_SIZE]);
void local_nar_facts_encode(const struct local_nar_facts *facts, struct buf *out);
/* Borrows from payload. */
enum rc local_nar_facts_decode(struct view payload, struct local_nar_facts *out,
			       struct err *err) MUST_USE;

/* A commit: what precedes it in the pack, from offset 0 to `end`, is whole. It repeats what the first
 * record says, so that damage there does not take the pack along. */
struct local_commit {
	uint64_t end;     /* the offset of this very record */
	uint64_t time_ns; /* since 1970 */
	uint64_t salt;    /* these three are 0 in version 1 */
	uint32_t id;
	uint32_t class;
};
enum { LOCAL_COMMIT_SIZE = 32, LOCAL_COMMIT_SIZE_1 = 16 };
void local_commit_encode(const struct local_commit *commit, uint8_t *out);
enum rc local_commit_decode(struct view payload, struct local_commit *out,
			    struct err *err) MUST_USE;

#endif
