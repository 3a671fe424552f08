/* A near service before a far one: what is asked of which, and what is never taken for a miss. */
#include "unit/testing.h"

#include "base/clock.h"
#include "base/op.h"
#include "double/double.h"
#include "service/blob/combined.h"
#include "service/blob/memory.h"
#include "service/directory/combined.h"
#include "service/directory/memory.h"
#include "service/path_info/cache.h"
#include "service/path_info/memory.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

struct pair {
	struct services near, far; /* plain ones */
	struct double_plan near_plan, far_plan;
	struct services both; /* combined, of disturbed ones */
	struct err err;
};

static struct services memory_services(void)
{
	return (struct services){
		.blobs = blob_memory_new(),
		.directories = directory_memory_new(),
		.path_infos = path_info_memory_new(),
		.nar_facts = nar_facts_memory_new(),
	};
}

static void open_pair(struct pair *pair, bool keep)
{
	struct services near, far;

	*pair = (struct pair){ .near = memory_services(), .far = memory_services() };
	double_services(&pair->near, &pair->near_plan, &near);
	double_services(&pair->far, &pair->far_plan, &far);
	pair->both = (struct services){
		.blobs = blob_combined_new(near.blobs, far.blobs),
		.directories = directory_combined_new(near.directories, far.directories),
		.path_infos = path_info_cache_new(
			near.path_infos, far.path_infos,
			&(struct path_info_cache_options){ .keep = keep, .required = true }),
	};
	services_release(&near);
	services_release(&far);
}

static void close_pair(struct pair *pair)
{
	services_release(&pair->both);
	services_release(&pair->near);
	services_release(&pair->far);
}

static struct digest put_text(struct services *services, const char *text)
{
	struct digest digest;
	struct err err = ERR_INIT;

	assert_ok(blob_service_put(services->blobs, &op_none, view_of_string(text), &digest, &err),
		  &err);
	return digest;
}

static struct digest put_directory(struct services *services, const char *name)
{
	struct node node = { .kind = NODE_SYMLINK,
			     .name = view_of_string(name),
			     .target = view_of_string("somewhere") };
	struct directory *dir AUTO_DIRECTORY = NULL;
	struct directory_put *put;
	struct digest digest;
	struct err err = ERR_INIT;

	assert_ok(directory_from_nodes(&node, 1, &dir, &err), &err);
	assert_ok(directory_service_open_put(services->directories, &op_none, &put, &err), &err);
	assert_ok(directory_put_add(put, &op_none, dir, &err), &err);
	assert_ok(directory_put_close(put, &op_none, &digest, &err), &err);
	directory_put_free(put);
	return digest;
}

static struct store_path put_path(struct services *services, const char *basename)
{
	struct path_info info = { .nar_size = 8 };
	struct err err = ERR_INIT;

	assert_ok(store_path_parse_basename(view_of_string(basename), &info.path, &err), &err);
	info.node = (struct node){ .kind = NODE_SYMLINK,
				   .name = view_of_string(basename),
				   .target = view_of_string("x") };
	assert_ok(path_info_service_put(services->path_infos, &op_none, &info, NULL, &err), &err);
	return info.path;
}

static const char path_a[] = "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-a";
static const char path_b[] = "gwina1sjk7g95wq6fxc6b7s1hza53h74-b";

/* ---- Blobs ---- */

struct seen {
	enum rc rcs[3];
	char texts[3][16];
	unsigned calls;
};

static void take(void *context, size_t i, enum rc rc, struct view bytes)
{
	struct seen *seen = context;

	assert_true(i < 3);
	seen->rcs[i] = rc;
	seen->calls++;
	if (bytes.len > 0)
		memcpy(seen->texts[i], bytes.ptr, bytes.len);
}

static void test_blobs(void **state)
{
	struct digest digests[3];
	struct seen seen = { .calls = 0 };
	struct pair pair;
	bool there[3];
	uint64_t size;

	(void)state;
	open_pair(&pair, true);
	digests[0] = put_text(&pair.near, "near");
	digests[1] = put_text(&pair.far, "far");
	digests[2] = digest_of(view_of_string("nowhere"));
	assert_ok(blob_service_has_many(pair.both.blobs, &op_none, digests, 3, there, &pair.err),
		  &pair.err);
	assert_true(there[0] && there[1] && !there[2]);
	assert_ok(blob_service_get_many(pair.both.blobs, &op_none, digests, 3, take, &seen,
					&pair.err),
		  &pair.err);
	assert_int_equal(seen.calls, 3);
	assert_string_equal(seen.texts[0], "near");
	assert_string_equal(seen.texts[1], "far");
	assert_int_equal(seen.rcs[2], RC_NOT_FOUND);
	for (int i = 0; i < 2; i++) {
		AUTO_BUF out = BUF_INIT;

		assert_ok(blob_service_get(pair.both.blobs, &op_none, &digests[i], 100, &out,
					   &pair.err),
			  &pair.err);
		assert_string_equal(buf_string(&out), i ? "far" : "near");
		assert_ok(blob_service_stat(pair.both.blobs, &op_none, &digests[i], &size, NULL,
					    &pair.err),
			  &pair.err);
	}
	assert_rc(RC_NOT_FOUND,
		  blob_service_stat(pair.both.blobs, &op_none, &digests[2], &size, NULL, &pair.err),
		  &pair.err);
	/* What is put is near, and nowhere else. */
	digests[2] = put_text(&pair.both, "new");
	assert_ok(blob_service_has_many(pair.near.blobs, &op_none, digests, 3, there, &pair.err),
		  &pair.err);
	assert_true(there[0] && !there[1] && there[2]);
	assert_ok(blob_service_has_many(pair.far.blobs, &op_none, digests, 3, there, &pair.err),
		  &pair.err);
	assert_true(!there[0] && there[1] && !there[2]);
	close_pair(&pair);
}

/* ---- Directories ---- */

static size_t count_closure(struct pair *pair, const struct digest *root)
{
	struct directory_iter *iter;
	size_t count = 0;

	assert_ok(directory_service_get_recursive(pair->both.directories, &op_none, root, &iter,
						  &pair->err),
		  &pair->err);
	for (;;) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		assert_ok(directory_iter_next(iter, &op_none, &dir, &pair->err), &pair->err);
		if (!dir)
			break;
		count++;
	}
	directory_iter_free(iter);
	return count;
}

static void test_directories(void **state)
{
	struct directory *dir;
	struct digest digests[3];
	struct pair pair;
	bool there[3];

	(void)state;
	open_pair(&pair, true);
	digests[0] = put_directory(&pair.near, "near");
	digests[1] = put_directory(&pair.far, "far");
	digests[2] = digest_of(view_of_string("nowhere"));
	assert_ok(directory_service_has_many(pair.both.directories, &op_none, digests, 3, there,
					     &pair.err),
		  &pair.err);
	assert_true(there[0] && there[1] && !there[2]);
	for (int i = 0; i < 2; i++) {
		assert_ok(directory_service_get(pair.both.directories, &op_none, &digests[i], &dir,
						&pair.err),
			  &pair.err);
		directory_unref(dir);
		assert_int_equal(count_closure(&pair, &digests[i]), 1);
	}
	assert_rc(RC_NOT_FOUND,
		  directory_service_get(pair.both.directories, &op_none, &digests[2], &dir,
					&pair.err),
		  &pair.err);
	close_pair(&pair);
}

/* ---- Path infos ---- */

static enum rc get_path(struct services *services, const struct store_path *path, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	return path_info_service_get(services->path_infos, &op_none, path->hash, &info, err);
}

static void test_path_infos(void **state)
{
	(void)state;
	for (int keep = 0; keep < 2; keep++) {
		struct store_path near, far;
		struct pair pair;

		open_pair(&pair, keep);
		near = put_path(&pair.near, path_a);
		far = put_path(&pair.far, path_b);
		assert_ok(get_path(&pair.both, &near, &pair.err), &pair.err);
		assert_int_equal(pair.far_plan.calls, 0);
		assert_ok(get_path(&pair.both, &far, &pair.err), &pair.err);
		assert_rc(keep ? RC_OK : RC_NOT_FOUND, get_path(&pair.near, &far, &pair.err),
			  &pair.err);
		assert_rc(RC_NOT_FOUND, get_path(&pair.far, &near, &pair.err), &pair.err);
		close_pair(&pair);
	}
}

/* A near store that is full is no reason not to answer. */
static void test_near_that_cannot_keep(void **state)
{
	struct store_path far;
	struct pair pair;

	(void)state;
	open_pair(&pair, true);
	far = put_path(&pair.far, path_b);
	pair.near_plan.where = DOUBLE_COMMIT;
	pair.near_plan.rc = RC_NO_SPACE;
	assert_ok(get_path(&pair.both, &far, &pair.err), &pair.err);
	close_pair(&pair);
}

/* ---- What is no miss ---- */

static void test_failures_are_no_misses(void **state)
{
	static const enum rc failures[] = { RC_CORRUPT, RC_UNAVAILABLE, RC_IO, RC_DENIED };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		struct digest blob, dir_digest;
		struct store_path path;
		struct directory_iter *iter;
		struct directory *dir;
		struct blob_reader *reader;
		struct pair pair;
		uint64_t size;
		bool there;

		open_pair(&pair, true);
		blob = put_text(&pair.far, "far");
		dir_digest = put_directory(&pair.far, "far");
		path = put_path(&pair.far, path_b);
		pair.near_plan.rc = (int)failures[i];
		assert_rc(failures[i],
			  blob_service_has_many(pair.both.blobs, &op_none, &blob, 1, &there,
						&pair.err),
			  &pair.err);
		assert_rc(
			failures[i],
			blob_service_stat(pair.both.blobs, &op_none, &blob, &size, NULL, &pair.err),
			&pair.err);
		assert_rc(failures[i],
			  blob_service_open_read(pair.both.blobs, &op_none, &blob,
						 BLOB_SIZE_UNKNOWN, &reader, &pair.err),
			  &pair.err);
		assert_rc(failures[i],
			  directory_service_get(pair.both.directories, &op_none, &dir_digest, &dir,
						&pair.err),
			  &pair.err);
		assert_rc(failures[i],
			  directory_service_get_recursive(pair.both.directories, &op_none,
							  &dir_digest, &iter, &pair.err),
			  &pair.err);
		assert_rc(failures[i], get_path(&pair.both, &path, &pair.err), &pair.err);
		assert_int_equal(pair.far_plan.calls, 0);
		/* And far's own failures are told as they are. */
		pair.near_plan.rc = RC_OK;
		pair.far_plan.rc = (int)failures[i];
		assert_rc(failures[i], get_path(&pair.both, &path, &pair.err), &pair.err);
		assert_rc(
			failures[i],
			blob_service_stat(pair.both.blobs, &op_none, &blob, &size, NULL, &pair.err),
			&pair.err);
		close_pair(&pair);
	}
}

/* ---- A far service that cannot be asked ---- */

static struct path_info_service *cache_of(struct path_info_service *near,
					  struct path_info_service *far, bool required)
{
	const struct path_info_cache_options options = { .required = required,
							 .name = "the double",
							 .away_ns = 200 * NS_PER_MS };

	return path_info_cache_new(near, far, &options);
}

static enum rc get_from(struct path_info_service *service, const struct store_path *path,
			struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	return path_info_service_get(service, &op_none, path->hash, &info, err);
}

static void test_away_is_a_miss(void **state)
{
	static const enum rc away[] = { RC_UNAVAILABLE, RC_DENIED };
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(away); i++) {
		open_pair(&pair, false);
		struct path_info_service *near = pair.near.path_infos;
		struct path_info_service *far =
			double_path_info_new(pair.far.path_infos, &pair.far_plan);
		struct path_info_service *cache = cache_of(near, far, false);
		struct path_info_service *strict = cache_of(near, far, true);
		const struct store_path path =
			put_path(&pair.far, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-a");

		assert_ok(get_from(cache, &path, &pair.err), &pair.err);
		atomic_store(&pair.far_plan.rc, away[i]);
		assert_rc(away[i], get_from(strict, &path, &pair.err), &pair.err);
		assert_rc(RC_NOT_FOUND, get_from(cache, &path, &pair.err), &pair.err);
		assert_says(&pair.err, "the double");
		/* It is not asked again for a while, */
		unsigned calls = atomic_load(&pair.far_plan.calls);
		for (int j = 0; j < 5; j++)
			assert_rc(RC_NOT_FOUND, get_from(cache, &path, &pair.err), &pair.err);
		assert_int_equal(atomic_load(&pair.far_plan.calls), calls);
		/* and then it is. */
		atomic_store(&pair.far_plan.rc, RC_OK);
		clock_sleep_ns(250 * NS_PER_MS);
		assert_ok(get_from(cache, &path, &pair.err), &pair.err);
		path_info_service_unref(cache);
		path_info_service_unref(strict);
		path_info_service_unref(far);
		close_pair(&pair);
	}
}

/* Damage is no absence, and says nothing of other paths. */
static void test_damage_is_not_away(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, false);
	struct path_info_service *far = double_path_info_new(pair.far.path_infos, &pair.far_plan);
	struct path_info_service *cache = cache_of(pair.near.path_infos, far, false);
	const struct store_path path = put_path(&pair.far, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-a");

	atomic_store(&pair.far_plan.rc, RC_CORRUPT);
	assert_rc(RC_CORRUPT, get_from(cache, &path, &pair.err), &pair.err);
	atomic_store(&pair.far_plan.rc, RC_OK);
	assert_ok(get_from(cache, &path, &pair.err), &pair.err);
	path_info_service_unref(cache);
	path_info_service_unref(far);
	close_pair(&pair);
}

/* One that is away, or has what nobody signed, does not stop the one behind it. */
static void test_the_next_is_asked(void **state)
{
	static const enum rc failures[] = { RC_UNAVAILABLE, RC_NOT_PERMITTED, RC_NOT_FOUND };
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		struct services third = memory_services();
		const struct store_path path =
			put_path(&third, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-a");

		open_pair(&pair, false);
		struct path_info_service *far =
			double_path_info_new(pair.far.path_infos, &pair.far_plan);
		struct path_info_service *first = cache_of(pair.near.path_infos, far, false);
		struct path_info_service *both = cache_of(first, third.path_infos, false);
		const struct store_path none = { .hash = { 9 }, .name = "none" };

		atomic_store(&pair.far_plan.rc, failures[i]);
		assert_ok(get_from(both, &path, &pair.err), &pair.err);
		/* What nobody has is told as the first one said it. */
		assert_rc(failures[i] == RC_NOT_PERMITTED ? RC_NOT_PERMITTED : RC_NOT_FOUND,
			  get_from(both, &none, &pair.err), &pair.err);
		path_info_service_unref(both);
		path_info_service_unref(first);
		path_info_service_unref(far);
		services_release(&third);
		close_pair(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_path_infos),
		cmocka_unit_test(test_away_is_a_miss),
		cmocka_unit_test(test_damage_is_not_away),
		cmocka_unit_test(test_the_next_is_asked),
		cmocka_unit_test(test_near_that_cannot_keep),
		cmocka_unit_test(test_failures_are_no_misses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
