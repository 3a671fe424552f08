#include "unit/testing.h"

static void views_compare_bytewise(void **state)
{
	(void)state;
	assert_true(view_equal(view_of(NULL, 0), view_of("x", 0)));
	assert_true(view_equal_string(view_of("ab", 2), "ab"));
	assert_false(view_equal_string(view_of("ab", 1), "ab"));
	assert_int_equal(view_compare(view_of(NULL, 0), view_of(NULL, 0)), 0);
	assert_true(view_compare(view_of(NULL, 0), view_of("a", 1)) < 0);
	assert_true(view_compare(view_of_string("a"), view_of_string("ab")) < 0);
	assert_true(view_compare(view_of_string("b"), view_of_string("ab")) > 0);
	/* Bytes are unsigned: é after z. */
	assert_true(view_compare(view_of_string("z"), view_of_string("\xc3\xa9")) < 0);
	assert_true(view_compare(view_of("a\0b", 3), view_of("a\0a", 3)) > 0);
}

static void slices_stay_inside(void **state)
{
	struct view view = view_of_string("abcdef");
	struct view empty = view_slice(view_of(NULL, 0), 0, 0);

	(void)state;
	assert_view_equal(view_slice(view, 2, 3), view_of_string("cde"));
	assert_int_equal(view_slice(view, 6, 0).len, 0);
	assert_null(empty.ptr);
}

static void appends(void **state)
{
	CLEANUP(buf_release) struct buf buf = BUF_INIT;

	(void)state;
	buf_append(&buf, NULL, 0);
	assert_null(buf.ptr);
	buf_append_string(&buf, "ab");
	buf_append_byte(&buf, 'c');
	buf_append_zeros(&buf, 2);
	buf_append_u32le(&buf, 0x01020304);
	buf_append_u64le(&buf, 0x1112131415161718);
	buf_append_view(&buf, view_of_string("z"));
	assert_view_equal(buf_view(&buf),
			  view_of("abc\0\0\4\3\2\1\x18\x17\x16\x15\x14\x13\x12\x11z", 18));
	buf_clear(&buf);
	assert_int_equal(buf.len, 0);
	assert_true(buf.cap > 0);
	buf_printf(&buf, "%s-%d", "x", 7);
	buf_printf(&buf, "%s", "");
	assert_string_equal(buf_string(&buf), "x-7");
	assert_int_equal(buf.len, 3);
	/* One that fits exactly, and one that does not. */
	for (int width = 55; width < 70; width++) {
		CLEANUP(buf_release) struct buf printed = BUF_INIT;

		buf_printf(&printed, "%*d", width, 7);
		buf_printf(&printed, "%*d", 200, 8);
		assert_int_equal(printed.len, width + 200);
		assert_int_equal(strlen(buf_string(&printed)), width + 200);
		assert_int_equal(printed.ptr[width - 1], '7');
		assert_int_equal(printed.ptr[width + 199], '8');
	}
	buf_release(&buf);
	assert_null(buf.ptr);
	assert_int_equal(buf.cap, 0);
}

static void grows_by_doubling(void **state)
{
	CLEANUP(buf_release) struct buf buf = BUF_INIT;
	size_t moves = 0, cap = 0;

	(void)state;
	for (size_t i = 0; i < 1000000; i++) {
		buf_append_byte(&buf, (uint8_t)i);
		moves += buf.cap != cap;
		cap = buf.cap;
	}
	assert_true(moves < 20);
	for (size_t i = 0; i < buf.len; i++)
		assert_int_equal(buf.ptr[i], (uint8_t)i);
}

static void try_reserve_refuses_the_impossible(void **state)
{
	CLEANUP(buf_release) struct buf buf = BUF_INIT;

	(void)state;
	buf_append_string(&buf, "kept");
	assert_false(buf_try_reserve(&buf, SIZE_MAX));
	assert_false(buf_try_reserve(&buf, SIZE_MAX - 4));
	assert_false(buf_try_reserve(&buf, (size_t)PTRDIFF_MAX));
	assert_true(buf_try_reserve(&buf, 1000));
	assert_true(buf.cap >= 1004);
	assert_string_equal(buf_string(&buf), "kept");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(views_compare_bytewise),
		cmocka_unit_test(slices_stay_inside),
		cmocka_unit_test(appends),
		cmocka_unit_test(grows_by_doubling),
		cmocka_unit_test(try_reserve_refuses_the_impossible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
