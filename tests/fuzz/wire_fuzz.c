/* Cursor and protobuf fields. A message of shortest varints and bytes is written as it was read. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/wire.h"

static void check_fields(struct view input)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct cursor message = cursor_of(input);
	struct wire_field field;
	bool shortest = true;

	while (wire_next(&message, &field)) {
		FUZZ_CHECK(field.number > 0 && field.number < 1u << 29);
		FUZZ_CHECK(field.at < message.at && message.at <= input.len);
		if (field.type == WIRE_BYTES)
			wire_append_element(&again, field.number, field.bytes);
		else
			wire_append_u64(&again, field.number, field.value);
		/* The writers omit 0, and have no fixed numbers. */
		shortest &= field.shortest && (field.type == WIRE_BYTES ||
					       (field.type == WIRE_VARINT && field.value));
	}
	FUZZ_CHECK(message.failed || message.at == input.len);
	if (shortest && !message.failed)
		FUZZ_CHECK(view_equal(buf_view(&again), input));
}

/* One read of the kind that `choice` says; the cursor either moves by it or stays and fails. */
static void read_one(struct cursor *cursor, uint8_t choice)
{
	struct cursor before = *cursor;
	uint8_t copy[32];
	struct view view;
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;
	uint8_t u8;
	bool shortest, ok;

	switch (choice & 7) {
	case 0:
		ok = cursor_u8(cursor, &u8);
		break;
	case 1:
		ok = cursor_u16le(cursor, &u16);
		break;
	case 2:
		ok = cursor_u32le(cursor, &u32);
		break;
	case 3:
		ok = cursor_u64le(cursor, &u64);
		break;
	case 4:
		ok = cursor_varint(cursor, &u64, &shortest);
		break;
	case 5:
		ok = cursor_view(cursor, choice >> 3, &view);
		FUZZ_CHECK(view.len == (ok ? choice >> 3 : 0));
		break;
	case 6:
		ok = cursor_copy(cursor, copy, choice >> 3);
		break;
	default:
		ok = cursor_until(cursor, choice >> 3, &view);
		break;
	}
	FUZZ_CHECK(ok != cursor->failed);
	FUZZ_CHECK(ok || cursor->at == before.at);
	FUZZ_CHECK(cursor->at <= cursor->bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view input = view_of(bytes, len);
	struct cursor cursor = cursor_of(input);

	check_fields(input);
	for (size_t i = 0; i < len; i++)
		read_one(&cursor, bytes[i]);
	return 0;
}
