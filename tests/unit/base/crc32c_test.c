#include "unit/testing.h"

/* The file itself: to compare its ways with each other, whichever this machine chooses. */
#include "base/crc32c.c"

static void known_values(void **state)
{
	uint8_t bytes[32];

	(void)state;
	assert_int_equal(crc32c(0, NULL, 0), 0);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	/* RFC 3720, B.4 */
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x113fdb5c);
}

static void all_ways_agree(void **state)
{
	struct testing_random random = testing_random_from_env();
	uint8_t bytes[512];

	(void)state;
	fill_tables();
	testing_fill(&random, bytes, sizeof(bytes));
	for (size_t i = 0; i < 2000; i++) {
		size_t at = testing_below(&random, 16);
		size_t len = testing_below(&random, sizeof(bytes) - at + 1);
		size_t split = testing_below(&random, len + 1);
		uint32_t whole = crc32c(0, bytes + at, len);

		assert_int_equal(~update_tables(~UINT32_C(0), bytes + at, len), whole);
		assert_int_equal(
			crc32c(crc32c(0, bytes + at, split), bytes + at + split, len - split),
			whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(all_ways_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
