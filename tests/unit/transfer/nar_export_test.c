/* NARs of stored nodes: what must come out, byte by byte, and what must be refused. */
#include "sample.h"

#include <openssl/evp.h>

#include "double/double.h"
#include "nix/nar_writer.h"
#include "sample_tree.h"
#include "transfer/nar.h"

static enum rc gather(void *context, struct view bytes, struct err *err)
{
	(void)err;
	assert_true(bytes.len > 0);
	buf_append_view(context, bytes);
	return RC_OK;
}

static void expect_nar(const struct services *services, const struct node *node,
		       const struct buf *expected)
{
	AUTO_BUF nar = BUF_INIT;
	struct err err = ERR_INIT;

	assert_ok(nar_export(services, &op_none, node, gather, &nar, &err), &err);
	assert_int_equal(nar.len, expected->len);
	assert_memory_equal(nar.ptr, expected->ptr, nar.len);
}

static void random_trees(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct sample sample;
		AUTO_BUF nar = BUF_INIT;
		struct sample_generator generator = { &sample, &nar, seed * 1000, 0 };
		struct node root;

		sample_init(&sample);
		nar_begin(&nar);
		root = sample_tree(&generator, "", 4);
		sample_commit(&sample, true);
		print_message("seed %d: %u files, NAR of %zu bytes\n", (int)seed, generator.files,
			      nar.len);
		expect_nar(&sample.services, &root, &nar);
		sample_release(&sample);
	}
}

static void roots_of_every_kind(void **state)
{
	struct sample sample;
	struct node node;
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample_init(&sample);
	node = sample_file(&sample, "", view_of_string("hello\n"), true);
	sample_commit(&sample, false);
	nar_begin(&nar);
	nar_file_begin(&nar, true, 6);
	buf_append_string(&nar, "hello\n");
	nar_file_end(&nar, 6);
	expect_nar(&sample.services, &node, &nar);

	node = sample_symlink("named", "to");
	buf_clear(&nar);
	nar_begin(&nar);
	nar_symlink(&nar, view_of_string("to"));
	expect_nar(&sample.services, &node, &nar);

	node = (struct node){ .kind = NODE_DIRECTORY, .digest = digest_empty };
	buf_clear(&nar);
	nar_begin(&nar);
	nar_directory_begin(&nar);
	nar_directory_end(&nar);
	expect_nar(&sample.services, &node, &nar);

	node = (struct node){ .kind = NODE_FILE, .digest = digest_empty };
	buf_clear(&nar);
	nar_begin(&nar);
	nar_file_begin(&nar, false, 0);
	nar_file_end(&nar, 0);
	expect_nar(&sample.services, &node, &nar);
	sample_release(&sample);
}

/* ---- Bad stores ---- */

static enum rc export(const struct services *services, const struct node *node, struct err *err) {
	AUTO_BUF nar = BUF_INIT;

	return nar_export(services, &op_none, node, gather, &nar, err);
}

static void expect_corrupt(const struct services *services, const struct node *node,
			   const struct digest *named, const char *sentence)
{
	struct err err = ERR_INIT;
	char hex[DIGEST_HEX_MAX];

	assert_int_equal(export(services, node, &err), RC_CORRUPT);
	digest_hex(named, hex);
	if (!strstr(err.message, hex) || !strstr(err.message, sentence))
		fail_msg("\"%s\" does not name %s and %s", err.message, hex, sentence);
}

static void depth_has_a_limit(void **state)
{
	(void)state;
	for (size_t depth = 999; depth <= 1000; depth++) {
		struct sample sample;
		struct err err = ERR_INIT;
		struct node root;

		sample_init(&sample);
		root = sample_nest(&sample, depth);
		sample_commit(&sample, true);
		assert_ok(export(&sample.services, &root, &err), &err);
		sample_release(&sample);
	}
}

static void missing_pieces_are_named(void **state)
{
	struct sample sample;
	struct digest absent;
	struct node file, dir, root;

	(void)state;
	memset(&absent, 0xab, sizeof(absent));
	sample_init(&sample);

	file = (struct node){
		.kind = NODE_FILE, .digest = absent, .size = 10, .name = view_of_string("f")
	};
	expect_corrupt(&sample.services, &file, &absent, "missing");
	file.size = 10 << 20;
	expect_corrupt(&sample.services, &file, &absent, "missing");

	dir = sample_directory(&sample, "", &file, 1);
	sample_commit(&sample, true);
	expect_corrupt(&sample.services, &dir, &absent, "missing");

	root = (struct node){ .kind = NODE_DIRECTORY, .digest = absent };
	expect_corrupt(&sample.services, &root, &absent, "missing");
	sample_release(&sample);
}

static void wrong_sizes_are_named(void **state)
{
	static const size_t sizes[] = { 0, 1, 1000, 131072, 140000, 1 << 20, 2 << 20 };
	AUTO_FREE uint8_t *bytes = mem_alloc(3 << 20);
	struct sample sample;
	struct node dir;

	(void)state;
	sample_init(&sample);
	testing_fill_seeded(1, bytes, 3 << 20);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct node file = sample_file(&sample, "f", view_of(bytes, sizes[i]), false);

		sample_commit(&sample, false);
		for (int difference = -1; difference <= 1; difference += 2) {
			if (sizes[i] == 0 && difference < 0)
				continue;
			file.size = sizes[i] + (size_t)difference;
			expect_corrupt(&sample.services, &file, &file.digest, "");
		}
		/* Far off: from the way of small files to that of large ones, and back. */
		file.size = sizes[i] > 131072 ? 5 : 9 << 20;
		expect_corrupt(&sample.services, &file, &file.digest, "");
	}
	dir = sample_directory(&sample, "", NULL, 0);
	dir.size = 2;
	expect_corrupt(&sample.services, &dir, &dir.digest, "size field");
	sample_release(&sample);
}

/* The failure comes from wherever it is met; what comes before it has been passed on, and no
 * thread is left behind. */
static void failures_go_through(void **state)
{
	struct sample sample;
	struct services disturbed;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 77, 0 };
	struct node root;

	(void)state;
	sample_init(&sample);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	for (unsigned skip = 0; skip < 20; skip++) {
		struct double_plan plan = { 0 };
		struct err err = ERR_INIT;

		plan.where = DOUBLE_READ | DOUBLE_OPEN;
		plan.skip = skip;
		plan.rc = RC_UNAVAILABLE;
		double_services(&sample.services, &plan, &disturbed);
		assert_int_equal(export(&disturbed, &root, &err), RC_UNAVAILABLE);
		services_release(&disturbed);
	}
	for (unsigned skip = 0; skip < 20; skip++) {
		struct double_plan plan = { 0 };
		struct err err = ERR_INIT;

		plan.where = DOUBLE_READ;
		plan.skip = skip;
		plan.corrupt = true;
		double_services(&sample.services, &plan, &disturbed);
		assert_int_equal(export(&disturbed, &root, &err), RC_CORRUPT);
		services_release(&disturbed);
	}
	sample_release(&sample);
}

static enum rc refuse_after(void *context, struct view bytes, struct err *err)
{
	unsigned *left = context;

	(void)bytes;
	if (*left == 0)
		return err_set(err, RC_NO_SPACE, "the sink is full");
	--*left;
	return RC_OK;
}

static void a_full_sink_ends_it(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 4000, 0 };
	struct node root;

	(void)state;
	sample_init(&sample);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	for (unsigned left = 0; left < 20; left++) {
		struct err err = ERR_INIT;
		unsigned calls = left;

		assert_int_equal(
			nar_export(&sample.services, &op_none, &root, refuse_after, &calls, &err),
			RC_NO_SPACE);
		assert_string_equal(err.message, "the sink is full");
	}
	sample_release(&sample);
}

static void it_can_be_cancelled(void **state)
{
	struct sample sample;
	struct node root;
	atomic_bool cancel = true;
	struct op op = { .cancel = &cancel };
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample_init(&sample);
	root = sample_nest(&sample, 3);
	sample_commit(&sample, true);
	assert_int_equal(nar_export(&sample.services, &op, &root, gather, &nar, NULL),
			 RC_CANCELLED);
	sample_release(&sample);
}

/* ---- Facts ---- */

static void facts_are_remembered(void **state)
{
	struct sample sample;
	struct services facts_only;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 99, 0 };
	struct nar_facts facts, again;
	struct double_plan plan = { 0 };
	struct err err = ERR_INIT;
	uint8_t hash[32];
	struct node root;

	(void)state;
	sample_init(&sample);
	nar_begin(&nar);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	assert_ok(nar_facts_of(&sample.services, &op_none, &root, &facts, &err), &err);
	assert_int_equal(facts.nar_size, nar.len);
	assert_int_equal(EVP_Digest(nar.ptr, nar.len, hash, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(facts.nar_sha256.bytes, hash, 32);

	/* From memory now: the other services are not asked, and the name plays no part. */
	plan.rc = RC_UNAVAILABLE;
	double_services(&sample.services, &plan, &facts_only);
	root.name = view_of_string("whatever");
	assert_ok(nar_facts_of(&facts_only, &op_none, &root, &again, &err), &err);
	assert_memory_equal(&facts, &again, sizeof(facts));
	nar_facts_store_unref(facts_only.nar_facts);
	facts_only.nar_facts = NULL;
	assert_int_equal(nar_facts_of(&facts_only, &op_none, &root, &again, &err), RC_UNAVAILABLE);
	assert_int_equal(again.nar_size, 0);
	services_release(&facts_only);
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees),          cmocka_unit_test(roots_of_every_kind),
		cmocka_unit_test(depth_has_a_limit),     cmocka_unit_test(missing_pieces_are_named),
		cmocka_unit_test(wrong_sizes_are_named), cmocka_unit_test(failures_go_through),
		cmocka_unit_test(a_full_sink_ends_it),   cmocka_unit_test(it_can_be_cancelled),
		cmocka_unit_test(facts_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
