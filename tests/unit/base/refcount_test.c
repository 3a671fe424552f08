#include "unit/testing.h"

#include <pthread.h>

#include "base/refcount.h"

struct object {
	struct refcount refs;
	int payload;
	atomic_int freed;
};

static void drop(struct object *object)
{
	if (!refcount_unref(&object->refs))
		return;
	/* Plain: every write before another thread's unref is seen here. */
	object->payload = -object->payload;
	atomic_fetch_add(&object->freed, 1);
}

static void *use(void *arg)
{
	struct object *object = arg;

	for (int i = 0; i < 20000; i++) {
		refcount_ref(&object->refs);
		drop(object);
	}
	drop(object);
	return NULL;
}

static void last_one_frees_once(void **state)
{
	enum { THREADS = 4 };
	struct object object = { .payload = 7 };
	pthread_t threads[THREADS];

	(void)state;
	refcount_init(&object.refs);
	for (size_t i = 0; i < THREADS; i++)
		refcount_ref(&object.refs);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use, &object), 0);
	drop(&object);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&object.freed), 1);
	assert_int_equal(object.payload, -7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_one_frees_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
