#include "unit/testing.h"

#include <sched.h>
#include <unistd.h>

#include "base/machine.h"

static void cpus_follow_affinity(void **state)
{
	cpu_set_t before, one;
	unsigned all = machine_cpus();

	(void)state;
	assert_true(all >= 1);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_true(all <= (unsigned)CPU_COUNT(&before));
	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &before))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(machine_cpus(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(machine_cpus(), all);
}

static void memory_is_some_and_not_more_than_there_is(void **state)
{
	uint64_t there = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	assert_true(machine_memory() >= 1 << 20);
	assert_true(machine_memory() <= there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpus_follow_affinity),
		cmocka_unit_test(memory_is_some_and_not_more_than_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
