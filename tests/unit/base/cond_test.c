#include "unit/testing.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/cond.h"
#include "threads.h"

struct thing {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool there;
};

static void thing_init(struct thing *thing)
{
	*thing = (struct thing){ .there = false };
	pthread_mutex_init(&thing->lock, NULL);
	cond_init(&thing->changed);
}

static enum rc thing_await(struct thing *thing, const struct op *op, struct err *err)
{
	enum rc rc = RC_OK;

	pthread_mutex_lock(&thing->lock);
	while (!thing->there && rc == RC_OK)
		rc = cond_wait_op(&thing->changed, &thing->lock, op, err);
	pthread_mutex_unlock(&thing->lock);
	return rc;
}

static void a_moment_ends_the_wait(void **state)
{
	int64_t begin = clock_monotonic_ns(), until = begin + 30 * NS_PER_MS;
	struct thing thing;

	(void)state;
	thing_init(&thing);
	pthread_mutex_lock(&thing.lock);
	while (cond_wait_until(&thing.changed, &thing.lock, until))
		;
	/* On the clock that it was given in: on another one, this is years ago. */
	assert_true(clock_monotonic_ns() >= until);
	assert_false(cond_wait_until(&thing.changed, &thing.lock, begin));
	assert_false(cond_wait_until(&thing.changed, &thing.lock, 0));
	assert_false(cond_wait_until(&thing.changed, &thing.lock, -1));
	pthread_mutex_unlock(&thing.lock);
}

static void *signal_soon(void *arg)
{
	struct thing *thing = arg;

	clock_sleep_ns(20 * NS_PER_MS);
	pthread_mutex_lock(&thing->lock);
	thing->there = true;
	pthread_cond_signal(&thing->changed);
	pthread_mutex_unlock(&thing->lock);
	return NULL;
}

static void a_signal_ends_the_wait(void **state)
{
	atomic_bool cancel = false;
	const struct op ops[] = {
		op_none,
		{ .cancel = &cancel },
		{ .deadline_ns = clock_monotonic_ns() + 3600 * NS_PER_S },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		struct err err = ERR_INIT;
		struct thing thing;

		thing_init(&thing);
		pthread_t thread = testing_thread("signaller", signal_soon, &thing);
		assert_ok(thing_await(&thing, &ops[i], &err), &err);
		pthread_join(thread, NULL);
	}
}

static void *cancel_soon(void *arg)
{
	clock_sleep_ns(20 * NS_PER_MS);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

static void an_op_ends_the_wait(void **state)
{
	atomic_bool cancel = false;
	struct op op = { .deadline_ns = clock_monotonic_ns() + 30 * NS_PER_MS };
	struct err err = ERR_INIT;
	struct thing thing;

	(void)state;
	thing_init(&thing);
	assert_rc(RC_DEADLINE, thing_await(&thing, &op, &err), &err);
	op = (struct op){ .cancel = &cancel };
	/* Nobody signals the condition. */
	pthread_t thread = testing_thread("canceller", cancel_soon, &cancel);
	assert_rc(RC_CANCELLED, thing_await(&thing, &op, &err), &err);
	pthread_join(thread, NULL);
	/* What is there is taken, whatever became of the op. */
	thing.there = true;
	assert_ok(thing_await(&thing, &op, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_moment_ends_the_wait),
		cmocka_unit_test(a_signal_ends_the_wait),
		cmocka_unit_test(an_op_ends_the_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
