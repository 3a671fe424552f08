/*
 * The protobuf wire format: what the codecs of castore and nix are made of.
 * Source: protobuf.dev/programming-guides/encoding. Writers omit default values, as proto3 does;
 * readers step through a message's fields and tell whether each was minimally encoded.
 */
#ifndef CASTOR_BASE_WIRE_H
#define CASTOR_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cursor.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
	uint32_t number; /* 1 … 2^29-1 */
	enum wire_type type;
	bool shortest;     /* its tag, and its value or length, are shortest varints */
	uint64_t value;    /* WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32; else 0 */
	struct view bytes; /* WIRE_BYTES: borrowed; else empty */
	size_t at;         /* offset of its tag in the message, for error messages */
};

/* The next field. False at the end of the message and where it is malformed: message->failed tells
 * the two apart. Groups (deprecated, and in no message of ours) count as malformed. */
bool wire_next(struct cursor *message, struct wire_field *out);

void wire_append_varint(struct buf *out, uint64_t value);
/* These three write nothing for a default value (0, false, empty). */
void wire_append_u64(struct buf *out, uint32_t number, uint64_t value);
void wire_append_bool(struct buf *out, uint32_t number, bool value);
void wire_append_bytes(struct buf *out, uint32_t number, struct view bytes);
/* Elements of repeated fields and submessages are there even when empty. */
void wire_append_element(struct buf *out, uint32_t number, struct view bytes);
/* Tag and length alone; the caller appends the len bytes. */
void wire_append_header(struct buf *out, uint32_t number, size_t len);

/* How many bytes these take; 0 where they are omitted. */
size_t wire_size_varint(uint64_t value);
size_t wire_size_u64(uint32_t number, uint64_t value);
size_t wire_size_bytes(uint32_t number, size_t len);
size_t wire_size_element(uint32_t number, size_t len);

#endif
