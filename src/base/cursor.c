/* The one way in which castor reads untrusted bytes. */
#include "base/cursor.h"

#include <string.h>

enum { VARINT_MAX = 10 };

struct cursor cursor_of(struct view bytes)
{
	return (struct cursor){ .bytes = bytes, .at = 0, .failed = false };
}

size_t cursor_left(const struct cursor *cursor)
{
	return cursor->failed ? 0 : cursor->bytes.len - cursor->at;
}

/* Steps over len bytes and returns where they start; NULL where there are not so many. For len 0
 * the result may be one past the end: nobody reads there. */
static const uint8_t *take(struct cursor *cursor, size_t len)
{
	const uint8_t *start;

	if (cursor->failed || len > cursor->bytes.len - cursor->at) {
		cursor->failed = true;
		return NULL;
	}
	start = cursor->at ? cursor->bytes.ptr + cursor->at : cursor->bytes.ptr;
	cursor->at += len;
	return start;
}

static uint64_t little_endian(const uint8_t *bytes, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < len; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

bool cursor_u8(struct cursor *cursor, uint8_t *out)
{
	const uint8_t *bytes = take(cursor, 1);

	*out = bytes ? *bytes : 0;
	return bytes != NULL;
}

bool cursor_u16le(struct cursor *cursor, uint16_t *out)
{
	const uint8_t *bytes = take(cursor, sizeof(*out));

	*out = (uint16_t)little_endian(bytes, sizeof(*out));
	return bytes != NULL;
}

bool cursor_u32le(struct cursor *cursor, uint32_t *out)
{
	const uint8_t *bytes = take(cursor, sizeof(*out));

	*out = (uint32_t)little_endian(bytes, sizeof(*out));
	return bytes != NULL;
}

bool cursor_u64le(struct cursor *cursor, uint64_t *out)
{
	const uint8_t *bytes = take(cursor, sizeof(*out));

	*out = little_endian(bytes, sizeof(*out));
	return bytes != NULL;
}

bool cursor_varint(struct cursor *cursor, uint64_t *out, bool *shortest)
{
	size_t left = cursor_left(cursor);
	uint64_t value = 0;

	/* Nearly all of them are a tag or a short length. */
	if (left && cursor->bytes.ptr[cursor->at] < 0x80) {
		*out = cursor->bytes.ptr[cursor->at++];
		*shortest = true;
		return true;
	}
	*out = 0;
	*shortest = false;
	for (size_t i = 0; i < left && i < VARINT_MAX; i++) {
		uint8_t byte = cursor->bytes.ptr[cursor->at + i];

		/* The tenth byte holds the last of 64 bits. */
		if (i == VARINT_MAX - 1 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		cursor->at += i + 1;
		*out = value;
		*shortest = byte != 0;
		return true;
	}
	cursor->failed = true;
	return false;
}

bool cursor_view(struct cursor *cursor, size_t len, struct view *out)
{
	const uint8_t *bytes = take(cursor, len);

	if (cursor->failed) {
		*out = view_of(NULL, 0);
		return false;
	}
	*out = view_of(bytes, len);
	return true;
}

bool cursor_copy(struct cursor *cursor, void *out, size_t len)
{
	const uint8_t *bytes = take(cursor, len);

	if (len == 0)
		return !cursor->failed;
	if (!bytes) {
		memset(out, 0, len);
		return false;
	}
	memcpy(out, bytes, len);
	return true;
}

bool cursor_skip(struct cursor *cursor, size_t len)
{
	take(cursor, len);
	return !cursor->failed;
}

bool cursor_until(struct cursor *cursor, uint8_t end, struct view *out)
{
	size_t left = cursor_left(cursor);
	const uint8_t *start = left ? cursor->bytes.ptr + cursor->at : NULL;
	const uint8_t *found = left ? memchr(start, end, left) : NULL;

	*out = view_of(NULL, 0);
	if (!found) {
		cursor->failed = true;
		return false;
	}
	*out = view_of(start, (size_t)(found - start));
	cursor->at += out->len + 1;
	return true;
}
