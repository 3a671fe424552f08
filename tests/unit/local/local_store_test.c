/* The store as a whole: what goes in comes out, now and after it was closed. */
#include "store_fixture.h"

static void test_blobs(void **state)
{
	static const size_t sizes[] = { 1,      100,    4096,    65536,         131072,
					131073, 262144, 1 << 20, (1 << 20) + 1, 5 << 20 };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct digest digests[ARRAY_LEN(sizes)];
	uint8_t *bytes[ARRAY_LEN(sizes)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		bytes[i] = make_bytes(sizes[i], i);
		digests[i] = fixture_put(blobs, view_of(bytes[i], sizes[i]));
		struct digest want = digest_of(view_of(bytes[i], sizes[i]));
		assert_true(digest_equal(&want, &digests[i]));
		fixture_check(blobs, &digests[i], view_of(bytes[i], sizes[i]));
	}
	blob_service_unref(blobs);
	local_store_unref(store);

	store = fixture_open(dir);
	blobs = blob_local_new(store);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		fixture_check(blobs, &digests[i], view_of(bytes[i], sizes[i]));
		free(bytes[i]);
	}
	blob_service_unref(blobs);
	local_store_unref(store);
}

static void test_path_infos(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct path_info_service *infos = path_info_local_new(store);
	struct err err = ERR_INIT;
	uint64_t before, after;

	(void)state;
	assert_ok(path_info_service_generation(infos, &op_none, &before, &err), &err);
	for (uint64_t i = 0; i < 300; i++) {
		struct path_info info, got;

		fixture_info(&info, &digest_empty, 0, i);
		assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
		assert_ok(path_info_service_get(infos, &op_none, info.path.hash, &got, &err), &err);
		assert_true(node_equal(&info.node, &got.node));
		path_info_release(&info);
		path_info_release(&got);
	}
	assert_ok(path_info_service_generation(infos, &op_none, &after, &err), &err);
	assert_int_equal(after - before, 300);

	struct path_info_iter *iter;
	uint8_t last[STORE_PATH_HASH_SIZE];
	bool end = false;
	size_t n = 0;
	assert_ok(path_info_service_list(infos, &op_none, NULL, &iter, &err), &err);
	for (;; n++) {
		struct path_info got;

		assert_ok(path_info_iter_next(iter, &op_none, &got, &end, &err), &err);
		if (end)
			break;
		assert_true(n == 0 || memcmp(last, got.path.hash, sizeof(last)) < 0);
		memcpy(last, got.path.hash, sizeof(last));
		path_info_release(&got);
	}
	assert_int_equal(n, 300);
	path_info_iter_free(iter);
	path_info_service_unref(infos);
	local_store_unref(store);
}

static void test_nar_facts(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct nar_facts_store *facts = nar_facts_local_new(store);
	struct node node = { .kind = NODE_FILE, .size = 3, .digest = digest_empty };
	struct nar_facts in = { .nar_size = 120 }, out;
	struct err err = ERR_INIT;

	(void)state;
	memset(in.nar_sha256.bytes, 7, sizeof(in.nar_sha256.bytes));
	assert_int_equal(nar_facts_store_get(facts, &op_none, &node, &out, &err), RC_NOT_FOUND);
	assert_ok(nar_facts_store_put(facts, &op_none, &node, &in, &err), &err);
	assert_ok(nar_facts_store_get(facts, &op_none, &node, &out, &err), &err);
	assert_memory_equal(&in, &out, sizeof(in));
	nar_facts_store_unref(facts);
	local_store_unref(store);

	store = fixture_open(dir);
	facts = nar_facts_local_new(store);
	assert_ok(nar_facts_store_get(facts, &op_none, &node, &out, &err), &err);
	assert_memory_equal(&in, &out, sizeof(in));
	nar_facts_store_unref(facts);
	local_store_unref(store);
}

static void test_same_object(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *other = mem_printf("%s/../%s", dir, strrchr(dir, '/') + 1);
	struct local_store *a = fixture_open(dir), *b = fixture_open(other);

	(void)state;
	assert_ptr_equal(a, b);
	local_store_unref(a);
	local_store_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_path_infos),
		cmocka_unit_test(test_nar_facts),
		cmocka_unit_test(test_same_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
