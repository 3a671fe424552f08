#include "unit/testing.h"

#include <signal.h>
#include <sys/time.h>

#include "base/clock.h"

static void clocks_move_on(void **state)
{
	int64_t before = clock_monotonic_ns();

	(void)state;
	clock_sleep_ns(2 * NS_PER_MS);
	assert_true(clock_monotonic_ns() - before >= 2 * NS_PER_MS);
	clock_sleep_ns(0);
	clock_sleep_ns(-NS_PER_S);
	assert_true(clock_monotonic_ns() - before < 60 * NS_PER_S);
}

static void real_time_is_after_2024(void **state)
{
	(void)state;
	assert_true(clock_realtime_ns() / NS_PER_S > 1704067200);
	assert_true(clock_day() >= 19723);
	assert_in_range(clock_realtime_ns() / NS_PER_S / 86400 - clock_day(), 0, 1);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void a_signal_does_not_shorten_sleep(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm }, before;
	struct itimerval soon = { .it_value = { .tv_usec = 1000 } };
	int64_t start = clock_monotonic_ns();

	(void)state;
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &soon, NULL);
	clock_sleep_ns(20 * NS_PER_MS);
	assert_true(clock_monotonic_ns() - start >= 20 * NS_PER_MS);
	sigaction(SIGALRM, &before, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clocks_move_on),
		cmocka_unit_test(real_time_is_after_2024),
		cmocka_unit_test(a_signal_does_not_shorten_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
