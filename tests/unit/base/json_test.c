#include "base/json.h"

#include "unit/testing.h"

static void structure_and_escapes(void **state)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct json json = { .out = &text };

	(void)state;
	json_begin_array(&json);
	json_begin_object(&json);
	json_key(&json, "a\"\\");
	json_text(&json, "b\n\x01\x7f");
	json_key(&json, "n");
	json_u64(&json, UINT64_MAX);
	json_end_object(&json);
	json_bool(&json, true);
	json_end_array(&json);
	assert_string_equal(buf_string(&text), "[{\"a\\\"\\\\\":\"b\\n\\u0001\\u007f\",\"n\":"
					       "18446744073709551615},true]");
}

static void bytes_are_kept(void **state)
{
	static const struct {
		const char *bytes, *member;
	} cases[] = {
		{ "", "\"k\":\"\"" },
		{ "caf\xc3\xa9", "\"k\":\"caf\xc3\xa9\"" },
		{ "x\xfe", "\"k\":\"x\xef\xbf\xbd\",\"k_base64\":\"eP4=\"" },
		{ "\xff\n", "\"k\":\"\xef\xbf\xbd\\n\",\"k_base64\":\"/wo=\"" },
		/* A character cut short; a surrogate; one that says what a shorter one would. */
		{ "\xe2\x82", "\"k\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"k_base64\":\"4oI=\"" },
		{ "\xed\xa0\x80", "_base64\":\"7aCA\"" },
		{ "\xc0\xaf", "_base64\":\"wK8=\"" },
		/* What stands for a broken byte may stand there by itself. */
		{ "\xef\xbf\xbd", "\"k\":\"\xef\xbf\xbd\"}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;
		struct json json = { .out = &text };

		json_begin_object(&json);
		json_bytes(&json, "k", view_of_string(cases[i].bytes));
		json_end_object(&json);
		if (!strstr(buf_string(&text), cases[i].member))
			fail_msg("%s", buf_string(&text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structure_and_escapes),
		cmocka_unit_test(bytes_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
