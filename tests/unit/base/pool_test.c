#include "unit/testing.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/pool.h"
#include "threads.h"

enum { ORDERED = 1000 };

struct order {
	int seen[ORDERED];
	atomic_int count;
};

struct numbered {
	struct order *order;
	int number;
};

static void note(void *arg)
{
	struct numbered *job = arg;

	job->order->seen[atomic_fetch_add(&job->order->count, 1)] = job->number;
}

static void one_thread_keeps_the_order(void **state)
{
	static struct order order;
	static struct numbered jobs[ORDERED];
	struct pool *pool = pool_new("ordered", 1, 10);

	(void)state;
	for (int i = 0; i < ORDERED; i++) {
		jobs[i] = (struct numbered){ .order = &order, .number = i };
		pool_submit(pool, note, &jobs[i]);
	}
	pool_wait_idle(pool);
	assert_int_equal(atomic_load(&order.count), ORDERED);
	for (int i = 0; i < ORDERED; i++)
		assert_int_equal(order.seen[i], i);
	pool_free(pool);
	pool_free(NULL);
}

/* Holds a worker until it is let go. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	int inside;
	int most_inside;
	int passed;
};

static void gate_init(struct gate *gate)
{
	*gate = (struct gate){ .open = false };
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->changed, NULL);
}

static void pass_gate(void *arg)
{
	struct gate *gate = arg;

	pthread_mutex_lock(&gate->lock);
	gate->inside++;
	if (gate->inside > gate->most_inside)
		gate->most_inside = gate->inside;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->lock);
	gate->inside--;
	gate->passed++;
	pthread_mutex_unlock(&gate->lock);
}

static void gate_await(struct gate *gate, int inside)
{
	pthread_mutex_lock(&gate->lock);
	while (gate->inside < inside)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

static void limits_hold(unsigned threads, size_t queued)
{
	struct pool *pool = pool_new("limits", threads, queued);
	struct gate gate;
	size_t taken = 0;

	gate_init(&gate);
	while (taken < 1000 && pool_try_submit(pool, pass_gate, &gate))
		taken++;
	assert_int_equal(taken, threads + queued);
	gate_await(&gate, (int)threads);
	assert_false(pool_try_submit(pool, pass_gate, &gate));
	gate_open(&gate);
	pool_wait_idle(pool);
	assert_int_equal(gate.passed, taken);
	assert_int_equal(gate.most_inside, threads);
	assert_true(pool_try_submit(pool, pass_gate, &gate));
	pool_free(pool);
	assert_int_equal(gate.passed, taken + 1);
}

static void so_many_run_and_so_many_wait(void **state)
{
	(void)state;
	limits_hold(1, 0);
	limits_hold(1, 1);
	limits_hold(3, 0);
	limits_hold(3, 5);
	limits_hold(4, 100);
}

static void *open_soon(void *gate)
{
	clock_sleep_ns(20 * NS_PER_MS);
	gate_open(gate);
	return NULL;
}

static void submit_waits_for_room(void **state)
{
	struct pool *pool = pool_new("waits", 2, 1);
	struct gate gate;
	pthread_t opener;

	(void)state;
	gate_init(&gate);
	for (int i = 0; i < 3; i++)
		assert_true(pool_try_submit(pool, pass_gate, &gate));
	assert_false(pool_try_submit(pool, pass_gate, &gate));
	opener = testing_thread("opener", open_soon, &gate);
	for (int i = 0; i < 50; i++)
		pool_submit(pool, pass_gate, &gate);
	pool_free(pool);
	assert_int_equal(gate.passed, 53);
	pthread_join(opener, NULL);
}

struct chain {
	struct pool *pool;
	atomic_int left;
};

static void submit_next(void *arg)
{
	struct chain *chain = arg;

	if (atomic_fetch_sub(&chain->left, 1) > 1 &&
	    !pool_try_submit(chain->pool, submit_next, chain))
		abort();
}

static void jobs_may_submit(void **state)
{
	struct chain chain = { .pool = pool_new("chain", 2, 4), .left = 500 };

	(void)state;
	pool_submit(chain.pool, submit_next, &chain);
	/* Idle only once the last job of the chain has run. */
	pool_wait_idle(chain.pool);
	assert_int_equal(atomic_load(&chain.left), 0);
	atomic_store(&chain.left, 500);
	pool_submit(chain.pool, submit_next, &chain);
	pool_free(chain.pool);
	assert_int_equal(atomic_load(&chain.left), 0);
}

static void count(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

struct producer {
	struct pool *pool;
	atomic_int *counter;
};

static void *produce(void *arg)
{
	struct producer *producer = arg;

	for (int i = 0; i < 5000; i++)
		pool_submit(producer->pool, count, producer->counter);
	return NULL;
}

static void many_producers(void **state)
{
	atomic_int counter = 0;
	struct producer producer = { .pool = pool_new("many", 3, 7), .counter = &counter };
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		threads[i] = testing_thread("producer", produce, &producer);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	pool_wait_idle(producer.pool);
	assert_int_equal(atomic_load(&counter), 5000 * (int)ARRAY_LEN(threads));
	pool_free(producer.pool);
}

struct seen {
	sigset_t mask;
	char name[16];
};

static void look_around(void *arg)
{
	struct seen *seen = arg;

	pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
	/* The starter sets the name, perhaps a moment after this thread began. */
	for (int i = 0; i < 1000; i++) {
		pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
		if (strcmp(seen->name, "a-name-of-more-") == 0)
			break;
		clock_sleep_ns(NS_PER_MS);
	}
}

static void threads_are_named_and_deaf(void **state)
{
	struct pool *pool = pool_new("a-name-of-more-than-15", 1, 1);
	struct seen seen;
	sigset_t mine;

	(void)state;
	pool_submit(pool, look_around, &seen);
	pool_free(pool);
	assert_int_equal(sigismember(&seen.mask, SIGTERM), 1);
	assert_int_equal(sigismember(&seen.mask, SIGALRM), 1);
	/* A fault of its own is no call from outside. */
	assert_int_equal(sigismember(&seen.mask, SIGBUS), 0);
	assert_int_equal(sigismember(&seen.mask, SIGSEGV), 0);
	assert_string_equal(seen.name, "a-name-of-more-");
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	assert_int_equal(sigismember(&mine, SIGTERM), 0);
}

static void run_here(void *arg)
{
	*(pthread_t *)arg = pthread_self();
}

/* As with a limit of address space: no stack of that size can be had. */
static void no_threads(bool none)
{
	static size_t size;
	pthread_attr_t attr;

	assert_int_equal(pthread_getattr_default_np(&attr), 0);
	if (none)
		assert_int_equal(pthread_attr_getstacksize(&attr, &size), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, none ? (size_t)1 << 50 : size), 0);
	assert_int_equal(pthread_setattr_default_np(&attr), 0);
	pthread_attr_destroy(&attr);
}

static void without_threads(void **state)
{
	struct pool *pool = pool_new("none", 3, 1);
	pthread_t ran = { 0 }, thread;
	atomic_int counter = 0;
	struct err err = ERR_INIT;

	(void)state;
	no_threads(true);
	assert_rc(RC_NO_MEMORY, thread_start(&thread, "none", open_soon, NULL, &err), &err);
	assert_says(&err, "cannot start a thread");
	assert_rc(RC_NO_MEMORY, pool_start(pool, &err), &err);
	assert_false(pool_try_submit(pool, count, &counter));
	for (int i = 0; i < 10; i++) {
		ran = (pthread_t){ 0 };
		pool_submit(pool, run_here, &ran);
		assert_true(pthread_equal(ran, pthread_self()));
	}
	pool_wait_idle(pool);
	no_threads(false);
	assert_ok(pool_start(pool, &err), &err);
	no_threads(true);
	/* One does it all. */
	for (int i = 0; i < 100; i++)
		pool_submit(pool, count, &counter);
	pool_submit(pool, run_here, &ran);
	no_threads(false);
	pool_free(pool);
	assert_int_equal(atomic_load(&counter), 100);
	assert_false(pthread_equal(ran, pthread_self()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread_keeps_the_order),
		cmocka_unit_test(so_many_run_and_so_many_wait),
		cmocka_unit_test(submit_waits_for_room),
		cmocka_unit_test(jobs_may_submit),
		cmocka_unit_test(many_producers),
		cmocka_unit_test(threads_are_named_and_deaf),
		cmocka_unit_test(without_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
