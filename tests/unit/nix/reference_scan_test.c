#include "unit/testing.h"

#include "nix/nixbase32.h"
#include "nix/reference_scan.h"

static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";

static bool has(const struct reference_scan *scan, const char *text)
{
	uint8_t hash[STORE_PATH_HASH_SIZE];

	assert_true(nixbase32_decode(view_of_string(text), hash, sizeof(hash)));
	return reference_scan_has(scan, hash);
}

/* In pieces of that length. */
static struct reference_scan *scan_of(struct view bytes, size_t piece)
{
	struct reference_scan *scan = reference_scan_new();

	while (bytes.len > 0) {
		size_t len = bytes.len < piece ? bytes.len : piece;

		reference_scan_feed(scan, view_slice(bytes, 0, len));
		bytes = view_slice(bytes, len, bytes.len - len);
	}
	return scan;
}

static void finds_what_is_there(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} cases[] = {
		{ "", 0 },
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9", 1 },
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs", 0 },
		{ "/nix/store/9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors/bin", 1 },
		/* What stands before it may be of the alphabet too. */
		{ "b9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9.", 2 },
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9gwina1sjk7g95wq6fxc6b7s1hza53h74", 33 },
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9 9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9", 1 },
		{ "9c1h8k9sbc4gq2av0gm74pbSfqjd6zs9", 0 },
		{ "9c1h8k9sbc4gq2av0gm74pbefqjd6zs9", 0 },
		{ "0000000000000000000000000000000000000000000000000000", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (size_t piece = 1; piece <= 70; piece++) {
			struct reference_scan *scan = scan_of(view_of_string(cases[i].text), piece);

			assert_int_equal(reference_scan_count(scan), cases[i].count);
			if (strstr(cases[i].text, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9"))
				assert_true(has(scan, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9"));
			assert_false(has(scan, "az9l0xsrkblh1qsaa40xrnvq34x4n45q"));
			assert_false(reference_scan_overflowed(scan));
			reference_scan_free(scan);
		}
	}
}

/* As many as a search that knows no skipping finds. */
static size_t count_plainly(struct view bytes)
{
	struct reference_scan *scan = reference_scan_new();
	size_t count;

	for (size_t at = 0; at + STORE_PATH_HASH_CHARS <= bytes.len; at++)
		reference_scan_feed(scan, view_of(" ", 1)),
			reference_scan_feed(scan, view_slice(bytes, at, STORE_PATH_HASH_CHARS));
	count = reference_scan_count(scan);
	reference_scan_free(scan);
	return count;
}

static void finds_as_much_in_pieces(void **state)
{
	struct testing_random random = testing_random_from_env();

	(void)state;
	for (int round = 0; round < 200; round++) {
		uint8_t bytes[2000];
		size_t len = testing_below(&random, sizeof(bytes));
		struct reference_scan *whole, *cut;

		/* Runs of some 40 characters. */
		for (size_t i = 0; i < len; i++)
			bytes[i] = testing_below(&random, 40)
					   ? (uint8_t)alphabet[testing_below(&random, 32)]
					   : 'e';
		whole = scan_of(view_of(bytes, len), SIZE_MAX);
		cut = scan_of(view_of(bytes, len), 1 + testing_below(&random, 100));
		assert_int_equal(reference_scan_count(whole), count_plainly(view_of(bytes, len)));
		assert_int_equal(reference_scan_count(cut), reference_scan_count(whole));
		for (size_t at = 0;;) {
			const uint8_t *hash = reference_scan_next(whole, &at);

			if (!hash)
				break;
			assert_true(reference_scan_has(cut, hash));
		}
		reference_scan_free(whole);
		reference_scan_free(cut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_is_there),
		cmocka_unit_test(finds_as_much_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
