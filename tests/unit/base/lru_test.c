#include "unit/testing.h"

#include <pthread.h>

#include "base/lru.h"
#include "base/refcount.h"

struct value {
	struct refcount refs;
	atomic_int *alive;
	uint32_t key;
};

static struct value *value_new(uint32_t key, atomic_int *alive)
{
	struct value *value = mem_alloc(sizeof(*value));

	refcount_init(&value->refs);
	value->alive = alive;
	value->key = key;
	atomic_fetch_add(alive, 1);
	return value;
}

static void *value_ref(void *value)
{
	refcount_ref(&((struct value *)value)->refs);
	return value;
}

static void value_unref(void *pointer)
{
	struct value *value = pointer;

	if (!refcount_unref(&value->refs))
		return;
	atomic_fetch_sub(value->alive, 1);
	free(value);
}

static const struct lru_ops ops = { .ref = value_ref, .unref = value_unref };

static void put(struct lru *lru, uint32_t key, size_t cost, atomic_int *alive)
{
	struct value *value = value_new(key, alive);

	lru_put(lru, &key, value, cost);
	value_unref(value);
}

/* Is it there? Warms it. */
static bool has(struct lru *lru, uint32_t key)
{
	struct value *value = lru_get(lru, &key);

	if (!value)
		return false;
	assert_int_equal(value->key, key);
	value_unref(value);
	return true;
}

static void coldest_goes_first(void **state)
{
	atomic_int alive = 0;
	struct lru *lru = lru_new(sizeof(uint32_t), 30, &ops);

	(void)state;
	for (uint32_t key = 1; key <= 3; key++)
		put(lru, key, 10, &alive);
	assert_int_equal(lru_cost(lru), 30);
	assert_true(has(lru, 1));
	put(lru, 4, 10, &alive);
	assert_false(has(lru, 2));
	assert_true(has(lru, 1) && has(lru, 3) && has(lru, 4));
	assert_int_equal(atomic_load(&alive), 3);
	/* Now 1 is the coldest, then 3. */
	put(lru, 5, 15, &alive);
	assert_false(has(lru, 1) || has(lru, 3));
	assert_true(has(lru, 4) && has(lru, 5));
	assert_int_equal(lru_cost(lru), 25);
	lru_free(lru);
	assert_int_equal(atomic_load(&alive), 0);
}

static void replaces_and_removes(void **state)
{
	atomic_int alive = 0;
	struct lru *lru = lru_new(sizeof(uint32_t), 30, &ops);
	uint32_t key = 1, other = 2;

	(void)state;
	put(lru, key, 10, &alive);
	put(lru, key, 20, &alive);
	assert_int_equal(atomic_load(&alive), 1);
	assert_int_equal(lru_cost(lru), 20);
	lru_remove(lru, &other);
	lru_remove(lru, &key);
	assert_int_equal(atomic_load(&alive), 0);
	assert_int_equal(lru_cost(lru), 0);
	put(lru, key, 30, &alive);
	put(lru, other, 0, &alive);
	assert_true(has(lru, key) && has(lru, other));
	lru_clear(lru);
	assert_int_equal(atomic_load(&alive), 0);
	assert_false(has(lru, key));
	lru_free(lru);
	lru_free(NULL);
}

static void too_large_is_not_kept(void **state)
{
	atomic_int alive = 0;
	struct lru *lru = lru_new(sizeof(uint32_t), 30, &ops);

	(void)state;
	put(lru, 1, 10, &alive);
	put(lru, 2, 31, &alive);
	put(lru, 3, SIZE_MAX, &alive);
	assert_true(has(lru, 1));
	assert_false(has(lru, 2) || has(lru, 3));
	/* The older value under that key is not right any more. */
	put(lru, 1, 31, &alive);
	assert_false(has(lru, 1));
	assert_int_equal(lru_cost(lru), 0);
	lru_free(lru);
}

static void a_user_keeps_what_is_evicted(void **state)
{
	atomic_int alive = 0;
	struct lru *lru = lru_new(sizeof(uint32_t), 10, &ops);
	uint32_t key = 1;
	struct value *held;

	(void)state;
	put(lru, key, 10, &alive);
	held = lru_get(lru, &key);
	put(lru, 2, 10, &alive);
	assert_int_equal(atomic_load(&alive), 2);
	assert_int_equal(held->key, 1);
	lru_free(lru);
	assert_int_equal(atomic_load(&alive), 1);
	value_unref(held);
	assert_int_equal(atomic_load(&alive), 0);
}

struct shared {
	struct lru *lru;
	atomic_int alive;
	atomic_int seed;
};

static void *hammer(void *arg)
{
	struct shared *shared = arg;
	struct testing_random random =
		testing_random_of((uint64_t)atomic_fetch_add(&shared->seed, 1));

	for (int i = 0; i < 20000; i++) {
		uint32_t key = (uint32_t)testing_below(&random, 100);
		struct value *value;

		switch (testing_below(&random, 8)) {
		case 0:
			lru_remove(shared->lru, &key);
			break;
		case 1:
		case 2:
			put(shared->lru, key, 1 + key % 7, &shared->alive);
			break;
		default:
			value = lru_get(shared->lru, &key);
			if (value && value->key != key)
				abort();
			if (value)
				value_unref(value);
		}
		if (i % 5000 == 0)
			lru_clear(shared->lru);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct shared shared = { .lru = lru_new(sizeof(uint32_t), 150, &ops) };
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &shared), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_in_range(lru_cost(shared.lru), 0, 150);
	assert_true(atomic_load(&shared.alive) > 0);
	lru_free(shared.lru);
	assert_int_equal(atomic_load(&shared.alive), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coldest_goes_first),
		cmocka_unit_test(replaces_and_removes),
		cmocka_unit_test(too_large_is_not_kept),
		cmocka_unit_test(a_user_keeps_what_is_evicted),
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
