#include "unit/testing.h"

static void hex(void **state)
{
	uint8_t bytes[3] = { 1, 1, 1 };
	char digits[7];

	(void)state;
	hex_encode("\x00\xab\xff", 3, digits);
	assert_string_equal(digits, "00abff");
	assert_true(hex_decode(view_of_string("00aBFf"), bytes, 3));
	assert_memory_equal(bytes, "\x00\xab\xff", 3);
	assert_true(hex_decode(view_of(NULL, 0), bytes, 0));
	assert_false(hex_decode(view_of_string("00abf"), bytes, 3));
	assert_memory_equal(bytes, "\0\0\0", 3);
	assert_false(hex_decode(view_of_string("00abff0"), bytes, 3));
	assert_false(hex_decode(view_of_string("00abfg"), bytes, 3));
	assert_false(hex_decode(view_of_string("00ab/f"), bytes, 3));
	assert_false(hex_decode(view_of_string("00ab`f"), bytes, 3));
	assert_false(hex_decode(view_of_string(" 0abff"), bytes, 3));
	/* 'P' with the case bit is 'p', '\x10' with it is '0'. */
	assert_false(hex_decode(view_of_string("\x10\x10\x10\x10\x10\x10"), bytes, 3));
}

static void base64_vectors(void **state)
{
	/* RFC 4648, section 10 */
	static const char *const cases[][3] = {
		{ "", "", "" },
		{ "f", "Zg==", "Zg" },
		{ "fo", "Zm8=", "Zm8" },
		{ "foo", "Zm9v", "Zm9v" },
		{ "foob", "Zm9vYg==", "Zm9vYg" },
		{ "fooba", "Zm9vYmE=", "Zm9vYmE" },
		{ "foobar", "Zm9vYmFy", "Zm9vYmFy" },
		{ "\xff\xef\xbe", "/+++", "_---" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (int k = 0; k < 2; k++) {
			enum base64_kind kind = k ? BASE64_URL : BASE64_STANDARD;
			CLEANUP(buf_release) struct buf out = BUF_INIT;

			base64_encode(kind, view_of_string(cases[i][0]), &out);
			assert_string_equal(buf_string(&out), cases[i][1 + k]);
			buf_clear(&out);
			assert_true(base64_decode(kind, view_of_string(cases[i][1 + k]), &out));
			assert_string_equal(buf_string(&out), cases[i][0]);
		}
	}
}

static void base64_is_strict(void **state)
{
	static const char *const bad_standard[] = {
		"Zg",   "Zg=",  "Zg===",    "Zh==",   "Zm9=",     "=",
		"====", "Z===", "Zg==Zg==", "Zm9v\n", " Zg=",     "Zm9v Zm9",
		"_---", "Zm=v", "Zm9vYg=v", "Z",      "Zm9v====",
	};
	static const char *const bad_url[] = { "Zg==", "Z", "Zh", "Zm9", "/+++", "Zm9v\n", "Zg=" };
	CLEANUP(buf_release) struct buf out = BUF_INIT;

	(void)state;
	buf_append_string(&out, "kept");
	for (size_t i = 0; i < ARRAY_LEN(bad_standard); i++)
		if (base64_decode(BASE64_STANDARD, view_of_string(bad_standard[i]), &out))
			fail_msg("'%s' was taken", bad_standard[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad_url); i++)
		if (base64_decode(BASE64_URL, view_of_string(bad_url[i]), &out))
			fail_msg("'%s' was taken", bad_url[i]);
	assert_string_equal(buf_string(&out), "kept");
}

static void sizes_are_shown(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1048524, "1023.9 KiB" },
		{ 1048575, "1.0 MiB" },
		{ 1 << 20, "1.0 MiB" },
		{ UINT64_C(1825361100), "1.7 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};
	char out[TEXT_SIZE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		text_size(cases[i].bytes, out);
		assert_string_equal(out, cases[i].text);
	}
}

static void durations_are_shown(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ -5, "0 us" },
		{ 0, "0 us" },
		{ 12345, "12 us" },
		{ 840 * INT64_C(1000000), "840 ms" },
		{ 999999999, "999 ms" },
		{ 8400 * INT64_C(1000000), "8.4 s" },
		{ 59999 * INT64_C(1000000), "59.9 s" },
		{ 200 * INT64_C(1000000000), "3 min 20 s" },
		{ 7500 * INT64_C(1000000000), "2 h 5 min" },
		{ 273600 * INT64_C(1000000000), "3 d 4 h" },
		{ INT64_MAX, "106751 d 23 h" },
	};
	char out[TEXT_DURATION_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		text_duration(cases[i].ns, out);
		assert_string_equal(out, cases[i].text);
	}
}

static void sizes_are_parsed(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "7B", 7 },
		{ "64K", 65536 },
		{ "64KiB", 65536 },
		{ "1.5G", UINT64_C(3) << 29 },
		{ "0.5K", 512 },
		{ "1.999999999K", 2047 },
		{ "1M", 1 << 20 },
		{ "15E", UINT64_C(15) << 60 },
		{ "15.999999999E", UINT64_C(18446744072556630111) },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		"",
		"K",
		"1.5",
		"1.K",
		".5K",
		"-1",
		"+1",
		" 1",
		"1 K",
		"64KB",
		"64k",
		"64Ki",
		"0x10",
		"1KiB ",
		"16E",
		"1e3",
		"18446744073709551616",
		"1.0000000001K",
		"1,5K",
		"\xef\xbc\x91",
	};
	struct err err = ERR_INIT;
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_ok(text_parse_size(good[i].text, &size, &err), &err);
		assert_int_equal(size, good[i].size);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		size = 1;
		if (text_parse_size(bad[i], &size, &err) != RC_INVALID)
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(size, 0);
		assert_says(&err, bad[i]);
	}
}

static void numbers(void **state)
{
	uint64_t value;

	(void)state;
	assert_true(text_parse_u64(view_of_string("0"), &value) && value == 0);
	assert_true(text_parse_u64(view_of_string("007"), &value) && value == 7);
	assert_true(text_parse_u64(view_of_string("18446744073709551615"), &value));
	assert_int_equal(value, UINT64_MAX);
	assert_false(text_parse_u64(view_of_string("18446744073709551616"), &value));
	assert_int_equal(value, 0);
	assert_false(text_parse_u64(view_of_string("99999999999999999999"), &value));
	assert_false(text_parse_u64(view_of_string("184467440737095516150"), &value));
	assert_false(text_parse_u64(view_of_string(""), &value));
	assert_false(text_parse_u64(view_of_string("-1"), &value));
	assert_false(text_parse_u64(view_of_string("+1"), &value));
	assert_false(text_parse_u64(view_of_string("1 "), &value));
	assert_false(text_parse_u64(view_of("1\0", 2), &value));
}

static void terminals_are_safe(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *shown;
	} cases[] = {
		{ "plain", 5, "plain" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14,
		  "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "a\0b", 3, "a\\x00b" },
		{ "\t\n\x1b[0m\x7f", 7, "\\x09\\x0a\\x1b[0m\\x7f" },
		{ "\xff\xfe", 2, "\\xff\\xfe" },
		{ "\xc3", 1, "\\xc3" }, /* cut short */
		{ "\xc3x", 2, "\\xc3x" },
		{ "\xc0\xaf", 2, "\\xc0\\xaf" },                   /* overlong */
		{ "\xe0\x80\xaf", 3, "\\xe0\\x80\\xaf" },          /* overlong */
		{ "\xed\xa0\x80", 3, "\\xed\\xa0\\x80" },          /* a surrogate */
		{ "\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80" }, /* past U+10FFFF */
		{ "\xc2\x9b", 2, "\\xc2\\x9b" },                   /* U+009B: CSI */
		{ "\xe2\x80\xae", 3, "\\xe2\\x80\\xae" },          /* right to left */
		{ "\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6" },          /* an isolate */
		{ "\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8" },          /* a line separator */
		{ "\x80\xbf", 2, "\\x80\\xbf" },
		{ "\xfc\x80\x80\x80\x80\x80", 6, "\\xfc\\x80\\x80\\x80\\x80\\x80" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf out = BUF_INIT;

		text_printable(view_of(cases[i].bytes, cases[i].len), &out);
		assert_string_equal(buf_string(&out), cases[i].shown);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex),
		cmocka_unit_test(base64_vectors),
		cmocka_unit_test(base64_is_strict),
		cmocka_unit_test(sizes_are_shown),
		cmocka_unit_test(durations_are_shown),
		cmocka_unit_test(sizes_are_parsed),
		cmocka_unit_test(numbers),
		cmocka_unit_test(terminals_are_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
