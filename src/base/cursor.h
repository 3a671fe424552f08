/*
 * Reads untrusted bytes front to back. Every parser of castor goes through a cursor. A read past
 * the end returns false, sets `failed`, moves nothing and clears its output; once failed, every
 * further read fails, so that a parser may check once at the end of a group of reads.
 */
#ifndef CASTOR_BASE_CURSOR_H
#define CASTOR_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct cursor {
	struct view bytes;
	size_t at; /* offset of the next byte; what error messages name */
	bool failed;
};

struct cursor cursor_of(struct view bytes);
size_t cursor_left(const struct cursor *cursor);
bool cursor_u8(struct cursor *cursor, uint8_t *out);
bool cursor_u16le(struct cursor *cursor, uint16_t *out);
bool cursor_u32le(struct cursor *cursor, uint32_t *out);
bool cursor_u64le(struct cursor *cursor, uint64_t *out);
/* A protobuf varint of at most ten bytes; *shortest tells whether it was minimally encoded. */
bool cursor_varint(struct cursor *cursor, uint64_t *out, bool *shortest);
/* Borrows the next len bytes. */
bool cursor_view(struct cursor *cursor, size_t len, struct view *out);
bool cursor_copy(struct cursor *cursor, void *out, size_t len);
bool cursor_skip(struct cursor *cursor, size_t len);
/* The bytes up to, not including, `end`, and steps over it; fails where there is none. */
bool cursor_until(struct cursor *cursor, uint8_t end, struct view *out);

#endif
