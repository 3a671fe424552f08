#include "unit/testing.h"

#include "base/cursor.h"

static struct cursor over(const char *bytes, size_t len)
{
	return cursor_of(view_of(bytes, len));
}

static void numbers(void **state)
{
	struct cursor cursor =
		over("\x01\x02\x03\x04\x05\x06\x07\x11\x12\x13\x14\x15\x16\x17\x18\x19", 16);
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	(void)state;
	assert_true(cursor_u8(&cursor, &u8));
	assert_int_equal(u8, 1);
	assert_true(cursor_u16le(&cursor, &u16));
	assert_int_equal(u16, 0x0302);
	assert_true(cursor_u32le(&cursor, &u32));
	assert_int_equal(u32, 0x07060504);
	assert_int_equal(cursor.at, 7);
	assert_true(cursor_u64le(&cursor, &u64));
	assert_int_equal(u64, 0x1817161514131211);
	assert_int_equal(cursor_left(&cursor), 1);
	assert_false(cursor_u16le(&cursor, &u16));
	assert_int_equal(u16, 0);
	assert_true(cursor.failed);
	assert_int_equal(cursor.at, 15);
	/* Failed is failed: the byte that is left cannot be read any more. */
	assert_int_equal(cursor_left(&cursor), 0);
	u8 = 7;
	assert_false(cursor_u8(&cursor, &u8));
	assert_int_equal(u8, 0);
}

static void every_read_past_the_end_fails(void **state)
{
	struct view view = view_of("x", 1);
	uint8_t copy[2] = { 1, 1 };
	bool shortest = true;
	uint8_t u8 = 1;
	uint32_t u32 = 1;
	uint64_t u64 = 1;
	struct cursor empty;

	(void)state;
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_u8(&empty, &u8));
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_u32le(&empty, &u32));
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_u64le(&empty, &u64));
	assert_int_equal(u8 + u32 + u64, 0);
	u64 = 1;
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_varint(&empty, &u64, &shortest));
	assert_true(u64 == 0 && !shortest);
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_view(&empty, 1, &view));
	assert_true(view.ptr == NULL && view.len == 0);
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_view(&empty, SIZE_MAX, &view));
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_copy(&empty, copy, 2));
	assert_int_equal(copy[0] + copy[1], 0);
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_skip(&empty, 1));
	empty = cursor_of(view_of(NULL, 0));
	assert_false(cursor_until(&empty, 0, &view));
	/* Nothing can be read from nothing. */
	empty = cursor_of(view_of(NULL, 0));
	assert_true(cursor_view(&empty, 0, &view));
	assert_true(cursor_copy(&empty, NULL, 0));
	assert_true(cursor_skip(&empty, 0));
	assert_false(empty.failed);
}

static void varints(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t value;
		bool ok, shortest;
	} cases[] = {
		{ "\x00", 1, 0, true, true },
		{ "\x7f", 1, 127, true, true },
		{ "\x80\x01", 2, 128, true, true },
		{ "\xac\x02", 2, 300, true, true },
		{ "\x80\x00", 2, 0, true, false },
		{ "\xff\x80\x00", 3, 127, true, false },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 9, INT64_MAX, true, true },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, UINT64_MAX, true, true },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10, UINT64_C(1) << 63, true, true },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, 0, true, false },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, 0, false, false },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, 0, false, false },
		{ "\x80", 1, 0, false, false },
		{ "\xff\xff", 2, 0, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cursor cursor = over(cases[i].bytes, cases[i].len);
		bool shortest;
		uint64_t value;

		assert_int_equal(cursor_varint(&cursor, &value, &shortest), cases[i].ok);
		assert_int_equal(value, cases[i].value);
		assert_int_equal(shortest, cases[i].shortest);
		assert_int_equal(cursor.at, cases[i].ok ? cases[i].len : 0);
		assert_int_equal(cursor.failed, !cases[i].ok);
	}
}

static void pieces(void **state)
{
	struct cursor cursor = over("ab\0cd:ef", 8);
	struct view view;
	char copy[2];

	(void)state;
	assert_true(cursor_until(&cursor, 0, &view));
	assert_view_equal(view, view_of_string("ab"));
	assert_true(cursor_until(&cursor, ':', &view));
	assert_view_equal(view, view_of_string("cd"));
	assert_true(cursor_copy(&cursor, copy, 2));
	assert_memory_equal(copy, "ef", 2);
	assert_int_equal(cursor_left(&cursor), 0);
	assert_false(cursor.failed);
	cursor = over(":", 1);
	assert_true(cursor_until(&cursor, ':', &view));
	assert_int_equal(view.len, 0);
	cursor = over("abc", 3);
	assert_true(cursor_skip(&cursor, 1));
	assert_false(cursor_until(&cursor, 'a', &view));
	assert_int_equal(cursor.at, 1);
	assert_int_equal(view.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(every_read_past_the_end_fails),
		cmocka_unit_test(varints),
		cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
