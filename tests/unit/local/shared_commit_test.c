/* Many calls, one commit: what is there when it was waited for, and what of one that failed. */
#include "store_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#include "local/shared_commit.h"

struct sharing {
	char *dir;
	struct local_store *store;
	struct blob_service *blobs;
	struct path_info_service *infos;
	struct shared_commit *commit;
	struct op op;
};

static void begin(struct sharing *sharing)
{
	sharing->dir = testing_dir();
	sharing->store = fixture_open(sharing->dir);
	sharing->blobs = blob_local_new(sharing->store);
	sharing->infos = path_info_local_new(sharing->store);
	sharing->commit = shared_commit_new(sharing->store);
	sharing->op = (struct op){ .commit = sharing->commit };
}

static void end(struct sharing *sharing)
{
	shared_commit_free(sharing->commit);
	path_info_service_unref(sharing->infos);
	blob_service_unref(sharing->blobs);
	local_store_unref(sharing->store);
	testing_dir_cleanup(&sharing->dir);
}

/* A path of one file. */
static enum rc put(struct sharing *sharing, uint64_t seed, struct view bytes, struct err *err)
{
	struct digest digest = digest_of(bytes);
	struct path_info info;
	enum rc rc = blob_service_put(sharing->blobs, &sharing->op, bytes, &digest, err);

	fixture_info(&info, &digest, bytes.len, seed);
	if (rc == RC_OK)
		rc = path_info_service_put(sharing->infos, &sharing->op, &info, NULL, err);
	path_info_release(&info);
	return rc;
}

static void expect(struct sharing *sharing, enum rc rc, uint64_t seed, struct view bytes)
{
	struct digest digest = digest_of(bytes);
	struct path_info info, got;
	struct err err = ERR_INIT;

	fixture_info(&info, &digest, bytes.len, seed);
	assert_rc(rc, path_info_service_get(sharing->infos, &op_none, info.path.hash, &got, &err),
		  &err);
	if (rc == RC_OK) {
		assert_true(digest_equal(&got.node.digest, &digest));
		fixture_check(sharing->blobs, &digest, bytes);
	}
	path_info_release(&got);
	path_info_release(&info);
}

static void test_many(void **state)
{
	enum { PATHS = 300, MAX = 3000 };
	struct sharing sharing;
	uint8_t bytes[MAX];
	struct err err = ERR_INIT;
	bool due = false;

	(void)state;
	begin(&sharing);
	assert_true(shared_commit_due(NULL));
	assert_true(shared_commit_due(sharing.commit)); /* nothing is in it */
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < PATHS; i++) {
			testing_fill_seeded(i, bytes, MAX);
			/* Some contents are those of another path, which is on its way. */
			assert_ok(put(&sharing, i + 1, view_of(bytes, 1 + i / 2 * 7), &err), &err);
			due |= shared_commit_due(sharing.commit);
		}
		assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
		for (unsigned i = 0; i < PATHS; i++) {
			testing_fill_seeded(i, bytes, MAX);
			expect(&sharing, RC_OK, i + 1, view_of(bytes, 1 + i / 2 * 7));
		}
	}
	assert_true(due);
	assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
	end(&sharing);
}

/* Two path infos of one path: the later one. */
static void test_same_path(void **state)
{
	struct sharing sharing;
	struct err err = ERR_INIT;

	(void)state;
	begin(&sharing);
	assert_ok(put(&sharing, 1, view_of_string("one"), &err), &err);
	assert_ok(put(&sharing, 1, view_of_string("other"), &err), &err);
	assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
	expect(&sharing, RC_OK, 1, view_of_string("other"));
	end(&sharing);
}

/* Not waited for: the commit is still good for that. */
static void test_cancelled(void **state)
{
	struct sharing sharing;
	atomic_bool cancel = true;
	struct op cancelled = { .cancel = &cancel };
	struct err err = ERR_INIT;

	(void)state;
	begin(&sharing);
	assert_ok(put(&sharing, 1, view_of_string("one"), &err), &err);
	assert_rc(RC_CANCELLED, shared_commit_wait(sharing.commit, &cancelled, &err), &err);
	assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
	expect(&sharing, RC_OK, 1, view_of_string("one"));
	end(&sharing);
}

/* A disk on which no file grows past that. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What failed fails for all that share it, and for what is put after it; not for another commit. */
static void test_failure(void **state)
{
	enum { BIG = 4 << 20 };
	struct sharing sharing;
	AUTO_FREE uint8_t *big = mem_alloc(BIG);
	struct err err = ERR_INIT;

	(void)state;
	testing_fill_seeded(5, big, BIG);
	begin(&sharing);
	assert_ok(put(&sharing, 1, view_of_string("before"), &err), &err);
	assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
	limit_files(1 << 20);
	assert_ok(put(&sharing, 2, view_of_string("with it"), &err), &err);
	enum rc rc = put(&sharing, 3, view_of(big, BIG), &err);
	if (rc == RC_OK)
		rc = shared_commit_wait(sharing.commit, &op_none, &err);
	assert_int_not_equal(rc, RC_OK);
	assert_int_not_equal(shared_commit_wait(sharing.commit, &op_none, &err), RC_OK);
	assert_int_not_equal(put(&sharing, 4, view_of_string("after it"), &err), RC_OK);
	assert_int_not_equal(shared_commit_wait(sharing.commit, &op_none, &err), RC_OK);
	limit_files(RLIM_INFINITY);
	for (uint64_t seed = 2; seed <= 4; seed++)
		expect(&sharing, RC_NOT_FOUND, seed, view_of_string("none"));
	expect(&sharing, RC_OK, 1, view_of_string("before"));

	shared_commit_free(sharing.commit);
	sharing.commit = sharing.op.commit = shared_commit_new(sharing.store);
	assert_ok(put(&sharing, 2, view_of_string("with it"), &err), &err);
	assert_ok(put(&sharing, 3, view_of(big, BIG), &err), &err);
	assert_ok(shared_commit_wait(sharing.commit, &op_none, &err), &err);
	expect(&sharing, RC_OK, 2, view_of_string("with it"));
	expect(&sharing, RC_OK, 3, view_of(big, BIG));
	end(&sharing);
}

/* Each call waits by itself where the commit is that of another store. */
static void test_other_store(void **state)
{
	struct sharing sharing, other;
	struct err err = ERR_INIT;

	(void)state;
	begin(&sharing);
	begin(&other);
	sharing.op.commit = other.commit;
	assert_ok(put(&sharing, 1, view_of_string("one"), &err), &err);
	expect(&sharing, RC_OK, 1, view_of_string("one"));
	end(&other);
	end(&sharing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),        cmocka_unit_test(test_same_path),
		cmocka_unit_test(test_cancelled),   cmocka_unit_test(test_failure),
		cmocka_unit_test(test_other_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
