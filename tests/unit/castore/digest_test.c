#include "unit/testing.h"

#include "castore/digest.h"

static void known_digests(void **state)
{
	char hex[DIGEST_HEX_MAX];
	struct digest digest;

	(void)state;
	digest_hex(&digest_empty, hex);
	assert_string_equal(hex,
			    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
	digest = digest_of(view_of(NULL, 0));
	assert_true(digest_equal(&digest, &digest_empty));
	/* The file `hello` of tests/golden. */
	digest = digest_of(view_of_string("hello\n"));
	digest_hex(&digest, hex);
	assert_string_equal(hex,
			    "8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99");
}

static void pieces_make_the_whole(void **state)
{
	struct testing_random random = testing_random_from_env();
	CLEANUP(buf_release) struct buf data = BUF_INIT;

	(void)state;
	buf_append_zeros(&data, 300000);
	testing_fill(&random, data.ptr, data.len);
	for (int i = 0; i < 20; i++) {
		struct digest whole = digest_of(buf_view(&data));
		struct digest parts, again;
		struct hasher hasher;

		hasher_init(&hasher);
		for (size_t at = 0; at < data.len;) {
			size_t len = testing_below(&random, data.len - at + 1);

			hasher_update(&hasher, data.ptr + at, len);
			at += len;
		}
		parts = hasher_final(&hasher);
		again = hasher_final(&hasher);
		assert_true(digest_equal(&whole, &parts));
		assert_true(digest_equal(&whole, &again));
	}
}

static void hex(void **state)
{
	static const char good[] =
		"8E4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99";
	struct digest digest, other;
	char back[DIGEST_HEX_MAX];

	(void)state;
	assert_true(digest_parse_hex(view_of_string(good), &digest));
	digest_hex(&digest, back);
	assert_int_equal(strcasecmp(good, back), 0);
	assert_false(digest_parse_hex(view_of(good, 63), &other));
	assert_false(digest_parse_hex(view_of(good, 62), &other));
	assert_false(digest_parse_hex(view_of(good, 0), &other));
	memset(back, 'g', 64);
	assert_false(digest_parse_hex(view_of_string(back), &other));
	assert_true(digest_compare(&digest, &digest_empty) < 0);
	assert_true(digest_compare(&digest_empty, &digest) > 0);
	assert_int_equal(digest_compare(&digest, &digest), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_digests),
		cmocka_unit_test(pieces_make_the_whole),
		cmocka_unit_test(hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
