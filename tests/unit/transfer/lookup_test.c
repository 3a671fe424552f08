/* From text to nodes. */
#include "transfer/lookup.h"

#include "sample.h"
#include "transfer/publish.h"

#define VECTORS "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors"

/*
 * /nix/store/…-vectors (with the NAR facts of the golden tree, whatever it holds)
 *	bin/run     executable
 *	lib -> bin
 *	data
 */
struct fixture {
	struct sample sample;
	struct node root;
	struct path_info info;
	char digest[DIGEST_HEX_MAX];
};

static int set_up(void **state)
{
	struct fixture *fixture = mem_zalloc(sizeof(*fixture));
	struct sample *sample = &fixture->sample;
	struct nar_facts facts = { .nar_size = 3148504 };
	struct err err = ERR_INIT;
	struct node bin, nodes[3];

	assert_true(hex_decode(
		view_of_string("9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d"),
		facts.nar_sha256.bytes, 32));
	sample_init(sample);
	bin = sample_file(sample, "run", view_of_string("#!"), true);
	nodes[0] = sample_directory(sample, "bin", &bin, 1);
	nodes[1] = sample_file(sample, "data", view_of_string("twelve bytes"), false);
	nodes[2] = sample_symlink("lib", "bin");
	fixture->root = sample_directory(sample, "", nodes, 3);
	sample_commit(sample, true);
	assert_ok(publish_recursive(&sample->services, &op_none, &fixture->root, &facts, "vectors",
				    &fixture->info, &err),
		  &err);
	digest_hex(&fixture->root.digest, fixture->digest);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	path_info_release(&fixture->info);
	sample_release(&fixture->sample);
	free(fixture);
	return 0;
}

static void expect(struct fixture *fixture, const char *text, enum node_kind kind, const char *name,
		   bool has_info)
{
	AUTO_PATH_INFO struct path_info info = { 0 };
	struct err err = ERR_INIT;
	struct node node;

	assert_ok(lookup(&fixture->sample.services, &op_none, text, &node, &info, &err), &err);
	assert_int_equal(node.kind, kind);
	assert_true(view_equal_string(node.name, name));
	assert_int_equal(info.nar_size, has_info ? 3148504 : 0);
	node_release(&node);
	/* Without a place for the path info. */
	assert_ok(lookup(&fixture->sample.services, &op_none, text, &node, NULL, &err), &err);
	node_release(&node);
}

static void finds_by_every_kind_of_text(void **state)
{
	struct fixture *fixture = *state;
	char text[256];

	expect(fixture, "/nix/store/" VECTORS, NODE_DIRECTORY, VECTORS, true);
	expect(fixture, "/nix/store/" VECTORS "/", NODE_DIRECTORY, VECTORS, true);
	expect(fixture, VECTORS, NODE_DIRECTORY, VECTORS, true);
	expect(fixture, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9", NODE_DIRECTORY, VECTORS, true);
	expect(fixture, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9/bin/run", NODE_FILE, "run", true);
	expect(fixture, "/nix/store/" VECTORS "/bin//run", NODE_FILE, "run", true);
	expect(fixture, VECTORS "/lib", NODE_SYMLINK, "lib", true);
	expect(fixture, "symlink:../a/b", NODE_SYMLINK, "", false);

	expect(fixture, fixture->digest, NODE_DIRECTORY, "", false);
	snprintf(text, sizeof(text), "%s/data", fixture->digest);
	expect(fixture, text, NODE_FILE, "data", false);
	snprintf(text, sizeof(text), "directory:%s:%d/bin/run", fixture->digest,
		 (int)fixture->root.size);
	expect(fixture, text, NODE_FILE, "run", false);
	snprintf(text, sizeof(text), "file:%s:5:x", fixture->digest);
	expect(fixture, text, NODE_FILE, "", false);
}

static void a_bare_digest_gets_its_size(void **state)
{
	struct fixture *fixture = *state;
	struct err err = ERR_INIT;
	struct node node;

	assert_ok(lookup(&fixture->sample.services, &op_none, fixture->digest, &node, NULL, &err),
		  &err);
	assert_int_equal(node.size, fixture->root.size);
	node_release(&node);
}

static void says_what_is_wrong(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		const char *text;
		enum rc rc;
		const char *sentence;
	} cases[] = {
		{ "", RC_INVALID, "not a store path" },
		{ "/", RC_INVALID, "not a store path" },
		{ "hello", RC_INVALID, "not a store path" },
		{ "/etc/passwd", RC_INVALID, "not a store path" },
		{ "ec1h8k9sbc4gq2av0gm74pbsfqjd6zs9", RC_INVALID, "nixbase32" },
		{ "ec1h8k9sbc4gq2av0gm74pbsfqjd6zs9-x", RC_INVALID, "nixbase32" },
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-other", RC_NOT_FOUND, "another name, vectors" },
		{ "0c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors", RC_NOT_FOUND, "0c1h8k9" },
		{ VECTORS "/nope", RC_NOT_FOUND, "there is no \"nope\"" },
		{ VECTORS "/bin/nope", RC_NOT_FOUND, "there is no \"nope\"" },
		{ VECTORS "/data/x", RC_INVALID, "\"data\" is a file" },
		{ VECTORS "/lib/run", RC_INVALID, "\"lib\" is a symlink to bin" },
		{ VECTORS "/../x", RC_INVALID, VECTORS "/../x" },
		{ VECTORS "/./bin", RC_INVALID, "" },
		{ "directory:zz:4", RC_INVALID, "" },
		{ "socket:x", RC_INVALID, "" },
		{ "symlink:", RC_INVALID, "" },
		{ "abababababababababababababababababababababababababababababababab", RC_NOT_FOUND,
		  "abab" },
		{ "directory:abababababababababababababababababababababababababababababababab:4/x",
		  RC_CORRUPT, "missing" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		struct path_info info;
		struct node node;

		assert_rc(cases[i].rc,
			  lookup(&fixture->sample.services, &op_none, cases[i].text, &node, &info,
				 &err),
			  &err);
		assert_says(&err, cases[i].sentence);
		assert_null(node.name.ptr);
		assert_null(info.node.name.ptr);
	}
}

static void control_bytes_do_not_reach_the_terminal(void **state)
{
	struct fixture *fixture = *state;
	struct err err = ERR_INIT;
	struct node node;

	assert_rc(
		RC_NOT_FOUND,
		lookup(&fixture->sample.services, &op_none, VECTORS "/\x1b[2J", &node, NULL, &err),
		&err);
	assert_null(strchr(err.message, '\x1b'));
}

static void without_path_infos(void **state)
{
	struct fixture *fixture = *state;
	struct services services = fixture->sample.services;
	struct err err = ERR_INIT;
	struct node node;

	services.path_infos = NULL;
	assert_rc(RC_FAILED_PRECONDITION, lookup(&services, &op_none, VECTORS, &node, NULL, &err),
		  &err);
	assert_ok(lookup(&services, &op_none, fixture->digest, &node, NULL, &err), &err);
	node_release(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_by_every_kind_of_text, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_bare_digest_gets_its_size, set_up, tear_down),
		cmocka_unit_test_setup_teardown(says_what_is_wrong, set_up, tear_down),
		cmocka_unit_test_setup_teardown(control_bytes_do_not_reach_the_terminal, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_path_infos, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
