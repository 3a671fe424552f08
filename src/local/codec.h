/*
 * Data into the frame of a record and back: zstd where it shrinks, raw blocks where it does not.
 * Contexts are pooled, so that a call costs no set-up. Thread-safe.
 */
#ifndef CASTOR_LOCAL_CODEC_H
#define CASTOR_LOCAL_CODEC_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"
#include "local/local_store.h"
#include "local/pack_format.h"

/* A record that is ready to be appended, all but its sequence number. */
struct local_record {
	uint8_t *bytes; /* owned: room for the header, then the frame; NULL: none */
	uint8_t kind;
	struct digest digest;
	uint32_t raw;
	uint32_t stored;    /* length of the frame */
	uint32_t frame_crc; /* CRC-32C of the frame */
};
void local_record_release(struct local_record *record);
/* The whole length, header included. */
static inline size_t local_record_size(const struct local_record *record)
{
	return (size_t)LOCAL_RECORD_HEADER_SIZE + record->stored;
}

struct local_codec;
struct local_codec *local_codec_new(const struct local_policy *policy);
void local_codec_free(struct local_codec *codec); /* NULL is fine */

/* data: at most LOCAL_RECORD_RAW_MAX bytes (RC_TOO_LARGE). */
enum rc local_record_make(struct local_codec *codec, enum local_record_kind kind,
			  const struct digest *digest, struct view data, struct local_record *out,
			  struct err *err) MUST_USE;
/* The same without trying to compress; for what the caller bounds. */
void local_record_make_raw(enum local_record_kind kind, const struct digest *digest,
			   struct view data, struct local_record *out);
/* Decodes a frame of either kind to exactly raw bytes at out; RC_CORRUPT. */
enum rc local_frame_decode(struct local_codec *codec, struct view frame, uint32_t raw, void *out,
			   struct err *err) MUST_USE;

#endif
