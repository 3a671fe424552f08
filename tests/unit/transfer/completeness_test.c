/* What is kept of a tree, and what is fetched so that it is. */
#include "transfer/completeness.h"

#include "tree_test_util.h"
#include "castore/directory.h"
#include "service/blob/combined.h"
#include "service/directory/combined.h"
#include "service/path_info/cache.h"
#include "transfer/stat_cache.h"

struct stores {
	struct services near, far, both;
	struct node root; /* of a tree that far has */
	struct path_info info;
};

static void open_stores(struct stores *stores, const char *dir)
{
	struct testing_random random = testing_random_from_env();
	char *deep AUTO_FREE = mem_printf("%s/deep", dir);
	struct import_options options = { .name = "x", .no_cache = true };
	struct err err = ERR_INIT;

	*stores = (struct stores){ .near = tree_test_services(), .far = tree_test_services() };
	assert_int_equal(mkdir(deep, 0755), 0);
	tree_test_write_random(dir, "large", 3 << 20, &random);
	tree_test_write(dir, "small", "small", 5);
	tree_test_write(deep, "other", "other", 5);
	assert_ok(tree_import(&stores->far, &op_none, dir, &options, &stores->info, NULL, &err),
		  &err);
	stores->root = stores->info.node;
	stores->both = (struct services){
		.blobs = blob_combined_new(stores->near.blobs, stores->far.blobs),
		.directories =
			directory_combined_new(stores->near.directories, stores->far.directories),
		.path_infos =
			path_info_cache_new(stores->near.path_infos, stores->far.path_infos,
					    &(struct path_info_cache_options){ .required = true }),
		.kept.blobs = blob_service_ref(stores->near.blobs),
		.kept.directories = directory_service_ref(stores->near.directories),
		.kept.path_infos = path_info_service_ref(stores->near.path_infos),
	};
}

static void close_stores(struct stores *stores)
{
	path_info_release(&stores->info);
	services_release(&stores->both);
	services_release(&stores->near);
	services_release(&stores->far);
}

static void two_views(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct stores stores;
	struct services kept, same;
	struct err err = ERR_INIT;

	(void)state;
	open_stores(&stores, dir);
	kept = services_kept(&stores.both);
	assert_ptr_equal(kept.blobs, stores.near.blobs);
	assert_ptr_equal(kept.directories, stores.near.directories);
	assert_ptr_equal(kept.path_infos, stores.near.path_infos);
	same = services_kept(&stores.far);
	assert_ptr_equal(same.blobs, stores.far.blobs);
	/* What can be read is whole, what is kept is not. */
	assert_ok(completeness_check(&stores.both, &op_none, &stores.root, &err), &err);
	assert_rc(RC_FAILED_PRECONDITION, completeness_check(&kept, &op_none, &stores.root, &err),
		  &err);
	close_stores(&stores);
}

static void the_rest_is_fetched(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct stores stores;
	struct err err = ERR_INIT;

	(void)state;
	open_stores(&stores, dir);
	assert_ok(completeness_keep(&stores.both, &op_none, &stores.root, &err), &err);
	assert_ok(completeness_check(&stores.near, &op_none, &stores.root, &err), &err);
	assert_ok(completeness_keep(&stores.both, &op_none, &stores.root, &err), &err);
	close_stores(&stores);
}

/* One blob is nowhere: nothing is fetched for that, and it is named. */
static void what_is_nowhere_is_named(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct stores stores;
	struct digest lacking = digest_of(view_of_string("lacking"));
	struct node nodes[2] = { { .kind = NODE_FILE, .name = view_of_string("a"), .size = 7 },
				 { .kind = NODE_DIRECTORY, .name = view_of_string("b") } };
	struct directory *above AUTO_DIRECTORY = NULL;
	struct directory *below AUTO_DIRECTORY = NULL;
	char hex[DIGEST_HEX_MAX];
	struct node root;
	struct directory_put *put;
	struct digest stored;
	struct err err = ERR_INIT;

	(void)state;
	open_stores(&stores, dir);
	nodes[0].digest = lacking;
	assert_ok(directory_from_nodes(nodes, 0, &below, &err), &err);
	nodes[1].digest = *directory_digest(below);
	assert_ok(directory_from_nodes(nodes, 2, &above, &err), &err);
	assert_ok(directory_service_open_put(stores.far.directories, &op_none, &put, &err), &err);
	assert_ok(directory_put_add(put, &op_none, below, &err), &err);
	assert_ok(directory_put_add(put, &op_none, above, &err), &err);
	assert_ok(directory_put_close(put, &op_none, &stored, &err), &err);
	directory_put_free(put);
	root = (struct node){ .kind = NODE_DIRECTORY,
			      .digest = *directory_digest(above),
			      .size = directory_size(above) };
	assert_rc(RC_FAILED_PRECONDITION, completeness_keep(&stores.both, &op_none, &root, &err),
		  &err);
	digest_hex(&lacking, hex);
	assert_says(&err, hex);
	close_stores(&stores);
}

/* An unchanged tree is read again where its blobs are but an upstream's. */
static void imports_ask_what_is_kept(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *cache AUTO_FREE = mem_printf("%s/cache", dir),
		    *tree AUTO_FREE = mem_printf("%s/tree", dir);
	struct import_options options = { .name = "x" };
	struct stores stores;
	struct err err = ERR_INIT;
	struct path_info info;

	(void)state;
	assert_int_equal(mkdir(tree, 0755), 0);
	assert_int_equal(mkdir(cache, 0700), 0);
	setenv("XDG_CACHE_HOME", cache, 1);
	stat_cache_age_s = -10;
	open_stores(&stores, tree);
	stores.both.nar_facts = nar_facts_store_ref(stores.far.nar_facts);
	tree_test_import(&stores.far, tree, &options, NULL);
	assert_ok(tree_import(&stores.both, &op_none, tree, &options, &info, NULL, &err), &err);
	assert_ok(completeness_check(&stores.near, &op_none, &info.node, &err), &err);
	path_info_release(&info);
	close_stores(&stores);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_views),
		cmocka_unit_test(the_rest_is_fetched),
		cmocka_unit_test(what_is_nowhere_is_named),
		cmocka_unit_test(imports_ask_what_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
