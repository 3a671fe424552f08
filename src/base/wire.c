/* The protobuf wire format. */
#include "base/wire.h"

enum { FIELD_NUMBER_MAX = (1 << 29) - 1, TAG_TYPE_BITS = 3 };

static bool read_value(struct cursor *message, unsigned type, struct wire_field *out)
{
	uint64_t value;
	uint32_t word;
	bool shortest;

	switch (type) {
	case WIRE_VARINT:
		out->type = WIRE_VARINT;
		if (!cursor_varint(message, &out->value, &shortest))
			return false;
		out->shortest = out->shortest && shortest;
		return true;
	case WIRE_BYTES:
		out->type = WIRE_BYTES;
		if (!cursor_varint(message, &value, &shortest))
			return false;
		out->shortest = out->shortest && shortest;
		if (value > cursor_left(message))
			return false;
		return cursor_view(message, (size_t)value, &out->bytes);
	case WIRE_FIXED64:
		out->type = WIRE_FIXED64;
		return cursor_u64le(message, &out->value);
	case WIRE_FIXED32:
		out->type = WIRE_FIXED32;
		if (!cursor_u32le(message, &word))
			return false;
		out->value = word;
		return true;
	default:
		return false;
	}
}

bool wire_next(struct cursor *message, struct wire_field *out)
{
	uint64_t tag, number;

	*out = (struct wire_field){ .at = message->at };
	if (cursor_left(message) == 0)
		return false;
	if (!cursor_varint(message, &tag, &out->shortest))
		return false;
	number = tag >> TAG_TYPE_BITS;
	if (number == 0 || number > FIELD_NUMBER_MAX ||
	    !read_value(message, (unsigned)(tag & ((1 << TAG_TYPE_BITS) - 1)), out)) {
		message->failed = true;
		*out = (struct wire_field){ .at = out->at };
		return false;
	}
	out->number = (uint32_t)number;
	return true;
}

static uint64_t tag_of(uint32_t number, enum wire_type type)
{
	return (uint64_t)number << TAG_TYPE_BITS | (uint64_t)type;
}

void wire_append_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t len = 0;

	if (value <= 0x7f) {
		buf_append_byte(out, (uint8_t)value);
		return;
	}
	while (value > 0x7f) {
		bytes[len++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	bytes[len++] = (uint8_t)value;
	buf_append(out, bytes, len);
}

void wire_append_u64(struct buf *out, uint32_t number, uint64_t value)
{
	if (value == 0)
		return;
	wire_append_varint(out, tag_of(number, WIRE_VARINT));
	wire_append_varint(out, value);
}

void wire_append_bool(struct buf *out, uint32_t number, bool value)
{
	wire_append_u64(out, number, value);
}

void wire_append_header(struct buf *out, uint32_t number, size_t len)
{
	wire_append_varint(out, tag_of(number, WIRE_BYTES));
	wire_append_varint(out, len);
}

void wire_append_element(struct buf *out, uint32_t number, struct view bytes)
{
	wire_append_header(out, number, bytes.len);
	buf_append_view(out, bytes);
}

void wire_append_bytes(struct buf *out, uint32_t number, struct view bytes)
{
	if (bytes.len)
		wire_append_element(out, number, bytes);
}

size_t wire_size_varint(uint64_t value)
{
	size_t bits = 64 - (size_t)__builtin_clzll(value | 1);

	return (bits + 6) / 7;
}

size_t wire_size_u64(uint32_t number, uint64_t value)
{
	if (value == 0)
		return 0;
	return wire_size_varint(tag_of(number, WIRE_VARINT)) + wire_size_varint(value);
}

size_t wire_size_element(uint32_t number, size_t len)
{
	return wire_size_varint(tag_of(number, WIRE_BYTES)) + wire_size_varint(len) + len;
}

size_t wire_size_bytes(uint32_t number, size_t len)
{
	return len ? wire_size_element(number, len) : 0;
}
