/* The clocks of the system, in nanoseconds. */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

static int64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_monotonic_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

int64_t clock_realtime_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

uint32_t clock_day(void)
{
	int64_t now = clock_realtime_ns();

	/* A clock before the epoch is a clock that was never set. */
	return now < 0 ? 0 : (uint32_t)(now / (86400 * NS_PER_S));
}

void clock_sleep_ns(int64_t ns)
{
	struct timespec left = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	if (ns <= 0)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}
