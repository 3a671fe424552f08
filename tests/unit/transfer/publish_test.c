/* From nodes to store paths. */
#include "transfer/publish.h"

#include "sample.h"

/* The store path follows from the NAR facts: those of the golden tree, whatever the node holds. */
static struct nar_facts golden_facts(void)
{
	struct nar_facts facts = { .nar_size = 3148504 };

	assert_true(hex_decode(
		view_of_string("9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d"),
		facts.nar_sha256.bytes, 32));
	return facts;
}

static void published_as_nix_names_it(void **state)
{
	struct nar_facts facts = golden_facts();
	AUTO_PATH_INFO struct path_info info = { 0 };
	AUTO_PATH_INFO struct path_info stored = { 0 };
	char text[STORE_PATH_BASENAME_MAX + 1];
	struct err err = ERR_INIT;
	struct sample sample;
	struct node root;

	(void)state;
	sample_init(&sample);
	root = sample_directory(&sample, "ignored", NULL, 0);
	assert_ok(publish_recursive(&sample.services, &op_none, &root, &facts, "vectors", &info,
				    &err),
		  &err);
	store_path_basename(&info.path, text);
	assert_string_equal(text, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors");
	assert_ok(path_info_service_get(sample.services.path_infos, &op_none, info.path.hash,
					&stored, &err),
		  &err);
	assert_ok(path_info_check(&stored, &err), &err);
	assert_ok(path_info_check_ca(&stored, &err), &err);
	assert_true(view_equal_string(stored.node.name, text));
	assert_int_equal(stored.nar_size, 3148504);
	assert_true(stored.has_ca && stored.ca.kind == CA_NAR_SHA256);
	assert_memory_equal(stored.ca.digest, stored.nar_sha256.bytes, 32);
	assert_int_equal(stored.reference_count, 0);
	assert_true(digest_equal(&stored.node.digest, &root.digest));
	sample_release(&sample);
}

static void bad_names_are_not_published(void **state)
{
	static const char *const names[] = { "", "a b", "a/b", "\xc3\xa9" };
	struct nar_facts facts = golden_facts();
	struct sample sample;
	struct node root;

	(void)state;
	sample_init(&sample);
	root = sample_directory(&sample, "", NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct path_info out;
		struct err err = ERR_INIT;

		assert_rc(RC_INVALID,
			  publish_recursive(&sample.services, &op_none, &root, &facts, names[i],
					    &out, &err),
			  &err);
		assert_null(out.node.name.ptr);
	}
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_as_nix_names_it),
		cmocka_unit_test(bad_names_are_not_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
