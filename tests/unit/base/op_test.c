#include "unit/testing.h"

#include "base/clock.h"
#include "base/op.h"

static void none_never_ends(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(op_check(&op_none, &err), &err);
}

static void deadline_passes(void **state)
{
	struct op op = { .deadline_ns = clock_monotonic_ns() + 3600 * NS_PER_S };
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(op_check(&op, &err), &err);
	op.deadline_ns = clock_monotonic_ns();
	assert_rc(RC_DEADLINE, op_check(&op, &err), &err);
	assert_says(&err, "deadline");
}

static void cancel_wins(void **state)
{
	atomic_bool cancel = false;
	struct op op = { .deadline_ns = 1, .cancel = &cancel };
	struct err err = ERR_INIT;

	(void)state;
	assert_rc(RC_DEADLINE, op_check(&op, NULL), &err);
	atomic_store(&cancel, true);
	assert_rc(RC_CANCELLED, op_check(&op, &err), &err);
	assert_says(&err, "cancelled");
}

static void traces_differ(void **state)
{
	uint64_t first = op_trace_new(), second = op_trace_new();

	(void)state;
	assert_true(first != 0 && second != 0 && first != second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_never_ends),
		cmocka_unit_test(deadline_passes),
		cmocka_unit_test(cancel_wins),
		cmocka_unit_test(traces_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
