/*
 * Doubles for tests: services that hand every call on to another, and do to it what a plan says:
 * hang, be slow, fail, or bring damaged data. They call themselves remote, so that a filesystem
 * never waits for them in a transport thread.
 *
 * A plan may be changed at any time, by any thread; several doubles may share one. It belongs to
 * the test, and has to outlive them. Zeroed, it disturbs nothing.
 */
#ifndef CASTOR_TESTS_DOUBLE_PLAN_H
#define CASTOR_TESTS_DOUBLE_PLAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"

/* The kinds of calls that a plan can disturb. */
enum double_call {
	DOUBLE_ASK = 1 << 0,    /* has_many, stat, generation */
	DOUBLE_OPEN = 1 << 1,   /* opening a blob, a closure, a listing, a batch, a put */
	DOUBLE_READ = 1 << 2,   /* a chunk, a directory, the next of a closure, a path info */
	DOUBLE_WRITE = 1 << 3,  /* encode, add */
	DOUBLE_COMMIT = 1 << 4, /* commit, close, put of a path info */
};

struct double_plan {
	atomic_uint where;     /* of enum double_call: which are disturbed; 0: all of them */
	atomic_uint skip;      /* so many of those go through first */
	atomic_bool hang;      /* until it is false again, or the op ends */
	atomic_llong delay_ns; /* each call takes that much longer (or until the op ends) */
	atomic_int rc;         /* an enum rc that they fail with; RC_OK: none */
	atomic_bool corrupt;   /* what is read comes back damaged */
	/* What was seen. */
	atomic_uint calls;   /* of the kinds in `where` */
	atomic_uint waiting; /* hanging at the moment */
};

/* For the doubles: what comes before a call is handed on. RC_OK: hand it on, and damage what it
 * brings where *corrupt is set (corrupt may be NULL). */
enum rc double_plan_meet(struct double_plan *plan, enum double_call call, const struct op *op,
			 bool *corrupt, struct err *err) MUST_USE;

/* For tests: waits (ten seconds at most) until that many calls hang. False: they do not. */
bool double_plan_wait_hanging(struct double_plan *plan, unsigned count);

#endif
