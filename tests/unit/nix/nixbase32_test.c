/* nixbase32 against known pairs, every length, and what must be refused. */
#include "nix/nixbase32.h"

#include "base/text.h"
#include "unit/testing.h"

static void encodes_what_nix_encodes(void **state)
{
	static const struct {
		const char *hex, *text;
	} pairs[] = {
		{ "", "" },
		{ "497fd324767a5d72ea035b09fc085b3a4d04034b", "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9" },
		{ "1f", "0z" },
		{ "ff", "7z" },
		/* nix-hash --to-base32 --type md5/sha1/sha256 of "hello" */
		{ "5d41402abc4b2a76b9719d911017c592", "4jqlbi14cxf6wpcajbphm40hax" },
	};
	char text[64];
	uint8_t bytes[32], back[32];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t len = strlen(pairs[i].hex) / 2;

		assert_true(hex_decode(view_of_string(pairs[i].hex), bytes, len));
		nixbase32_encode(bytes, len, text);
		assert_string_equal(text, pairs[i].text);
		assert_true(nixbase32_decode(view_of_string(text), back, len));
		assert_memory_equal(bytes, back, len);
	}
}

static void every_length_round_trips(void **state)
{
	unsigned seed = 20240811;

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (size_t len = 0; len <= 64; len++) {
		uint8_t bytes[64], back[64];
		char text[NIXBASE32_LEN(64) + 1];

		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)rand();
		nixbase32_encode(bytes, len, text);
		assert_int_equal(strlen(text), NIXBASE32_LEN(len));
		assert_true(nixbase32_decode(view_of_string(text), back, len));
		assert_memory_equal(bytes, back, len);
	}
}

static void refuses(void **state)
{
	uint8_t out[32];
	/* A byte has eight bits, two digits have ten: the first may be 7 at most. */
	static const char *const one_byte[] = { "80", "g0", "z0", "zz",  "0e", "0o", "0u",
						"0t", "0A", "0",  "000", "",   " 0", "0\xff" };

	(void)state;
	for (size_t i = 0; i < sizeof(one_byte) / sizeof(one_byte[0]); i++)
		assert_false(nixbase32_decode(view_of_string(one_byte[i]), out, 1));
	assert_false(nixbase32_decode(view_of("0\0", 2), out, 1));
	assert_true(nixbase32_decode(view_of_string("70"), out, 1));
	assert_int_equal(out[0], 0xe0);
	/* 32 bytes are 256 bits in 260. */
	assert_true(nixbase32_decode(
		view_of_string("1zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), out, 32));
	assert_false(nixbase32_decode(
		view_of_string("2zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), out, 32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodes_what_nix_encodes),
		cmocka_unit_test(every_length_round_trips),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
