/* What the doubles have in common. */
#include "double/plan.h"

#include "base/clock.h"

enum { STEP_NS = 2 * NS_PER_MS };

static enum rc wait(const struct op *op, int64_t until_ns, const atomic_bool *while_set,
		    struct err *err)
{
	enum rc rc = op_check(op, err);

	while (rc == RC_OK && (clock_monotonic_ns() < until_ns || (while_set && *while_set))) {
		clock_sleep_ns(STEP_NS);
		rc = op_check(op, err);
	}
	return rc;
}

/* Takes one from `skip` while there is one. */
static bool skipped(struct double_plan *plan)
{
	unsigned left = plan->skip;

	while (left > 0)
		if (atomic_compare_exchange_weak(&plan->skip, &left, left - 1))
			return true;
	return false;
}

enum rc double_plan_meet(struct double_plan *plan, enum double_call call, const struct op *op,
			 bool *corrupt, struct err *err)
{
	unsigned where = plan->where;
	long long delay_ns;
	enum rc rc = RC_OK;

	if (corrupt)
		*corrupt = false;
	if (where != 0 && !(where & call))
		return RC_OK;
	atomic_fetch_add(&plan->calls, 1);
	if (skipped(plan))
		return RC_OK;
	delay_ns = plan->delay_ns;
	if (delay_ns > 0)
		rc = wait(op, clock_monotonic_ns() + delay_ns, NULL, err);
	if (rc == RC_OK && plan->hang) {
		atomic_fetch_add(&plan->waiting, 1);
		rc = wait(op, 0, &plan->hang, err);
		atomic_fetch_sub(&plan->waiting, 1);
	}
	if (rc == RC_OK && plan->rc != RC_OK) {
		rc = (enum rc)plan->rc;
		err_set(err, rc, "the double was told to fail");
	}
	if (rc == RC_OK && corrupt)
		*corrupt = plan->corrupt;
	return rc;
}

bool double_plan_wait_hanging(struct double_plan *plan, unsigned count)
{
	int64_t until = clock_monotonic_ns() + 10 * NS_PER_S;

	while (plan->waiting < count && clock_monotonic_ns() < until)
		clock_sleep_ns(STEP_NS);
	return plan->waiting >= count;
}
