/* What every scratch store has to do. */
#include "conformance/conformance.h"

#include <string.h>

#include "base/mem.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

static struct digest key_of(uint64_t number)
{
	struct digest key;

	random_bytes(number, key.bytes, sizeof(key.bytes));
	return key;
}

static void put(struct scratch_store *store, enum scratch_table table, uint64_t number,
		const char *text)
{
	struct digest key = key_of(number);

	must(scratch_store_put(store, &op_none, table, &key, view_of_string(text), &last_err));
}

static void check(struct scratch_store *store, enum scratch_table table, uint64_t number,
		  const char *text)
{
	struct digest key = key_of(number);
	AUTO_BUF out = BUF_INIT;

	must(scratch_store_get(store, &op_none, table, &key, &out, &last_err));
	assert_true(view_equal_string(buf_view(&out), text));
}

static void missing(struct scratch_store *store, enum scratch_table table, uint64_t number)
{
	struct digest key = key_of(number);
	AUTO_BUF out = BUF_INIT;

	expect(RC_NOT_FOUND, scratch_store_get(store, &op_none, table, &key, &out, &last_err));
	assert_int_equal(out.len, 0);
}

static void put_get_remove(struct fixture *fixture)
{
	struct scratch_store *store = fixture->services.scratch;
	struct digest key = key_of(1);

	missing(store, SCRATCH_NAR_LAYOUTS, 1);
	must(scratch_store_remove(store, &op_none, SCRATCH_NAR_LAYOUTS, &key, &last_err));
	put(store, SCRATCH_NAR_LAYOUTS, 1, "one");
	put(store, SCRATCH_PENDING_UPLOADS, 1, "other");
	check(store, SCRATCH_NAR_LAYOUTS, 1, "one");
	put(store, SCRATCH_NAR_LAYOUTS, 1, "a longer one");
	check(store, SCRATCH_NAR_LAYOUTS, 1, "a longer one");
	must(scratch_store_remove(store, &op_none, SCRATCH_NAR_LAYOUTS, &key, &last_err));
	missing(store, SCRATCH_NAR_LAYOUTS, 1);
	check(store, SCRATCH_PENDING_UPLOADS, 1, "other");
}

static void stays(struct fixture *fixture)
{
	put(fixture->services.scratch, SCRATCH_PENDING_UPLOADS, 7, "seven");
	fixture_reopen(fixture);
	check(fixture->services.scratch, SCRATCH_PENDING_UPLOADS, 7, "seven");
}

static void large_value(struct fixture *fixture)
{
	struct scratch_store *store = fixture->services.scratch;
	struct digest key = key_of(3);
	AUTO_BUF value = BUF_INIT, out = BUF_INIT;

	buf_reserve(&value, 5 << 20);
	value.len = 5 << 20;
	random_bytes(4, value.ptr, value.len);
	must(scratch_store_put(store, &op_none, SCRATCH_NAR_LAYOUTS, &key, buf_view(&value),
			       &last_err));
	must(scratch_store_get(store, &op_none, SCRATCH_NAR_LAYOUTS, &key, &out, &last_err));
	assert_true(view_equal(buf_view(&value), buf_view(&out)));
	/* Refused by its length, before anybody looks at it. */
	expect(RC_TOO_LARGE,
	       scratch_store_put(store, &op_none, SCRATCH_NAR_LAYOUTS, &key,
				 (struct view){ value.ptr, (size_t)SCRATCH_VALUE_MAX + 1 },
				 &last_err));
}

struct seen {
	unsigned count, stop_after;
};

static bool see(void *context, const struct digest *key, struct view value)
{
	struct seen *seen = context;
	uint64_t number;

	assert_int_equal(value.len, sizeof(number));
	memcpy(&number, value.ptr, sizeof(number));
	struct digest wanted = key_of(number);
	assert_true(digest_equal(key, &wanted));
	return ++seen->count != seen->stop_after;
}

static void scan(struct fixture *fixture)
{
	struct scratch_store *store = fixture->services.scratch;
	struct seen all = { 0 }, some = { .stop_after = 5 };

	for (uint64_t i = 0; i < 20; i++) {
		struct digest key = key_of(i);

		must(scratch_store_put(store, &op_none, SCRATCH_PENDING_UPLOADS, &key,
				       view_of(&i, sizeof(i)), &last_err));
	}
	put(store, SCRATCH_NAR_LAYOUTS, 1, "not this");
	must(scratch_store_scan(store, &op_none, SCRATCH_PENDING_UPLOADS, see, &all, &last_err));
	assert_int_equal(all.count, 20);
	must(scratch_store_scan(store, &op_none, SCRATCH_PENDING_UPLOADS, see, &some, &last_err));
	assert_int_equal(some.count, 5);
}

static void deadline_and_cancel(struct fixture *fixture)
{
	struct scratch_store *store = fixture->services.scratch;
	struct digest key = key_of(1);

	expect(RC_DEADLINE, scratch_store_put(store, &op_late, SCRATCH_NAR_LAYOUTS, &key,
					      view_of_string("x"), &last_err));
	expect(RC_CANCELLED, scratch_store_put(store, &op_cancelled, SCRATCH_NAR_LAYOUTS, &key,
					       view_of_string("x"), &last_err));
	missing(store, SCRATCH_NAR_LAYOUTS, 1);
}

static bool has(const struct services *services)
{
	return services->scratch;
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "put, get, remove", put_get_remove },
		{ "stays", stays },
		{ "a large value", large_value },
		{ "scan", scan },
		{ "deadline and cancel", deadline_and_cancel },
	};

	return conformance_run("scratch", cases, ARRAY_LEN(cases), has);
}
