#include "unit/testing.h"

/* The file itself: the hash with a key of ours. */
#include "base/hashmap.c"

/* The key is bytes 0 to 15. Computed with another implementation of SipHash-1-3. */
static void siphash_vectors(void **state)
{
	static const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	static const uint64_t expected[] = {
		0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d, 0x8bf80ab8e7ddf7fb,
		0xcf75576088d38328, 0xdef9d52f49533b67, 0xc50d2b50c59f22a7, 0xd3927d989bb11140,
		0x369095118d299a8e, 0x25a48eb36c063de4, 0x79de85ee92ff097f, 0x70c118c1f94dc352,
		0x78a384b157b4d9a2, 0x306f760c1229ffa7, 0x605aa111c0f95d34, 0xd320d86d2a519956,
		0xcc4fdd1a7d908b66, 0x9cf2689063dbd80c
	};
	uint8_t bytes[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_LEN(expected); i++)
		assert_int_equal(siphash13(key, bytes, i), expected[i]);
}

static void puts_gets_and_removes(void **state)
{
	struct hashmap map;
	uint32_t one = 1, two = 2;
	char a[] = "a", b[] = "b";

	(void)state;
	hashmap_init(&map, sizeof(one));
	assert_null(hashmap_get(&map, &one));
	assert_null(hashmap_remove(&map, &one));
	assert_null(hashmap_put(&map, &one, a));
	assert_string_equal(hashmap_put(&map, &one, b), "a");
	assert_int_equal(map.count, 1);
	assert_string_equal(hashmap_get(&map, &one), "b");
	assert_null(hashmap_get(&map, &two));
	assert_string_equal(hashmap_remove(&map, &one), "b");
	assert_int_equal(map.count, 0);
	assert_null(hashmap_get(&map, &one));
	hashmap_release(&map);
	assert_null(hashmap_put(&map, &two, a));
	hashmap_release(&map);
}

enum { MODEL_KEYS = 3000 };

static void check_against(const struct hashmap *map, char *const model[MODEL_KEYS])
{
	size_t count = 0, seen = 0;
	const void *key;
	void *value;

	for (uint32_t i = 0; i < MODEL_KEYS; i++) {
		assert_ptr_equal(hashmap_get(map, &i), model[i]);
		count += model[i] != NULL;
	}
	assert_int_equal(map->count, count);
	for (size_t at = 0; hashmap_next(map, &at, &key, &value); seen++) {
		uint32_t number;

		memcpy(&number, key, sizeof(number));
		assert_ptr_equal(value, model[number]);
	}
	assert_int_equal(seen, count);
}

static void behaves_as_an_array(void **state)
{
	struct testing_random random = testing_random_from_env();
	static char values[16];
	char *model[MODEL_KEYS] = { NULL };
	struct hashmap map;
	size_t most = 0;

	(void)state;
	hashmap_init(&map, sizeof(uint32_t));
	for (int round = 0; round < 12; round++) {
		/* Rounds that mostly fill, then rounds that mostly empty. */
		unsigned fill = round % 4 < 2 ? 75 : 10;

		for (int i = 0; i < 6000; i++) {
			uint32_t key = (uint32_t)testing_below(&random, MODEL_KEYS);
			char *value = &values[testing_below(&random, sizeof(values))];

			if (testing_below(&random, 100) < fill) {
				assert_ptr_equal(hashmap_put(&map, &key, value), model[key]);
				model[key] = value;
			} else {
				assert_ptr_equal(hashmap_remove(&map, &key), model[key]);
				model[key] = NULL;
			}
		}
		check_against(&map, model);
		most = map.slots > most ? map.slots : most;
	}
	for (uint32_t i = 0; i < MODEL_KEYS; i++)
		hashmap_remove(&map, &i);
	assert_int_equal(map.count, 0);
	assert_true(most >= 4096);
	assert_true(map.slots <= SLOTS_MIN);
	hashmap_release(&map);
}

/* Keys that end alike, as sector-aligned offsets do, must not pile up. */
static void hash_spreads(void **state)
{
	enum { BUCKETS = 256, KEYS = BUCKETS * 64 };
	unsigned counts[BUCKETS] = { 0 };

	(void)state;
	for (uint64_t i = 0; i < KEYS; i++) {
		uint64_t key = i << 32;

		counts[hashmap_hash(&key, sizeof(key)) % BUCKETS]++;
	}
	for (size_t i = 0; i < BUCKETS; i++)
		assert_in_range(counts[i], 16, 160);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_vectors),
		cmocka_unit_test(puts_gets_and_removes),
		cmocka_unit_test(behaves_as_an_array),
		cmocka_unit_test(hash_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
