#include "unit/testing.h"

#include "base/wire.h"

static void values_round_trip(void **state)
{
	static const uint64_t values[] = { 1,         127,   128,      300,
					   16383,     16384, 1u << 31, UINT64_C(1) << 63,
					   UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		CLEANUP(buf_release) struct buf out = BUF_INIT;
		struct cursor message;
		struct wire_field field;

		wire_append_u64(&out, 3, values[i]);
		assert_int_equal(out.len, wire_size_u64(3, values[i]));
		message = cursor_of(buf_view(&out));
		assert_true(wire_next(&message, &field));
		assert_int_equal(field.number, 3);
		assert_int_equal(field.type, WIRE_VARINT);
		assert_true(field.shortest);
		assert_int_equal(field.value, values[i]);
		assert_false(wire_next(&message, &field));
		assert_false(message.failed);
	}
}

static void defaults_are_omitted(void **state)
{
	CLEANUP(buf_release) struct buf out = BUF_INIT;

	(void)state;
	wire_append_u64(&out, 1, 0);
	wire_append_bool(&out, 2, false);
	wire_append_bytes(&out, 3, view_of(NULL, 0));
	assert_int_equal(out.len, 0);
	assert_int_equal(wire_size_u64(1, 0), 0);
	assert_int_equal(wire_size_bytes(3, 0), 0);
	wire_append_element(&out, 3, view_of(NULL, 0));
	assert_view_equal(buf_view(&out), view_of("\x1a\x00", 2));
	assert_int_equal(wire_size_element(3, 0), 2);
}

static void fields_are_stepped_through(void **state)
{
	/* 1: bytes "ab"; 2: varint 1; 3: fixed64; 4: fixed32; 536870911: bytes "" */
	static const char message_bytes[] = "\x0a\x02"
					    "ab\x10\x01\x19\x08\x07\x06\x05\x04\x03\x02\x01\x25"
					    "\x04\x03\x02\x01\xfa\xff\xff\xff\x0f\x00";
	struct cursor message = cursor_of(view_of(message_bytes, sizeof(message_bytes) - 1));
	struct wire_field field;

	(void)state;
	assert_true(wire_next(&message, &field));
	assert_int_equal(field.at, 0);
	assert_view_equal(field.bytes, view_of_string("ab"));
	assert_true(wire_next(&message, &field));
	assert_int_equal(field.at, 4);
	assert_int_equal(field.value, 1);
	assert_true(wire_next(&message, &field));
	assert_int_equal(field.value, 0x0102030405060708);
	assert_true(wire_next(&message, &field));
	assert_int_equal(field.value, 0x01020304);
	assert_true(wire_next(&message, &field));
	assert_int_equal(field.number, 536870911);
	assert_int_equal(field.type, WIRE_BYTES);
	assert_true(field.shortest);
	assert_int_equal(field.bytes.len, 0);
	assert_false(wire_next(&message, &field));
	assert_false(message.failed);
}

static void long_varints_are_told(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "\x88\x00\x01", 3 },   /* the tag */
		{ "\x08\x81\x00", 3 },   /* the value */
		{ "\x0a\x82\x00xy", 5 }, /* the length */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cursor message = cursor_of(view_of(cases[i].bytes, cases[i].len));
		struct wire_field field;

		assert_true(wire_next(&message, &field));
		assert_int_equal(field.number, 1);
		assert_false(field.shortest);
	}
}

static void malformed_messages_fail(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "\x00\x01", 2 },                                      /* field 0 */
		{ "\x0b", 1 },                                          /* a group */
		{ "\x0c", 1 },                                          /* its end */
		{ "\x0e\x00", 2 },                                      /* no such type */
		{ "\x80", 1 },                                          /* half a tag */
		{ "\x08", 1 },                                          /* no value */
		{ "\x0a\x03xy", 4 },                                    /* too long */
		{ "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 }, /* far too long */
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 }, /* past 64 bits */
		{ "\x09\x01\x02", 3 },                                  /* half a fixed64 */
		{ "\x0d\x01", 2 },                                      /* half a fixed32 */
		{ "\x82\x80\x80\x80\x10\x00", 6 },                      /* field 2^29 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cursor message = cursor_of(view_of(cases[i].bytes, cases[i].len));
		struct wire_field field;

		assert_false(wire_next(&message, &field));
		assert_true(message.failed);
		assert_int_equal(field.number, 0);
		assert_int_equal(field.bytes.len, 0);
		assert_false(wire_next(&message, &field));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_round_trip),
		cmocka_unit_test(defaults_are_omitted),
		cmocka_unit_test(fields_are_stepped_through),
		cmocka_unit_test(long_varints_are_told),
		cmocka_unit_test(malformed_messages_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
