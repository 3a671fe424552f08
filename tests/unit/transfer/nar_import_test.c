/* Import of NARs: what went out comes in as the same node, and bad archives leave nothing. */
#include <openssl/evp.h>

#include "double/double.h"
#include "nix/nar_writer.h"
#include "sample_tree.h"
#include "transfer/nar.h"

struct source {
	struct view left;
	size_t step; /* the most it gives at once */
	enum rc rc;  /* what it ends with */
};

static enum rc give(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct source *source = context;

	*got = len < source->step ? len : source->step;
	if (*got > source->left.len)
		*got = source->left.len;
	if (*got == 0 && source->rc != RC_OK)
		return err_set(err, source->rc, "the source failed");
	if (*got > 0)
		memcpy(out, source->left.ptr, *got);
	source->left = view_slice(source->left, *got, source->left.len - *got);
	return RC_OK;
}

static enum rc import(const struct services *services, struct view nar, size_t step,
		      struct node *root, struct nar_facts *facts, struct err *err)
{
	struct source source = { .left = nar, .step = step };

	return nar_import(services, &op_none, give, &source, root, facts, err);
}

static enum rc gather(void *context, struct view bytes, struct err *err)
{
	(void)err;
	buf_append_view(context, bytes);
	return RC_OK;
}

static void expect_same(const struct services *services, const struct node *root,
			const struct nar_facts *facts, const struct buf *nar)
{
	AUTO_BUF again = BUF_INIT;
	struct err err = ERR_INIT;
	uint8_t hash[32];

	assert_int_equal(facts->nar_size, nar->len);
	assert_int_equal(EVP_Digest(nar->ptr, nar->len, hash, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(facts->nar_sha256.bytes, hash, 32);
	assert_ok(nar_export(services, &op_none, root, gather, &again, &err), &err);
	assert_view_equal(buf_view(&again), buf_view(nar));
}

static void random_trees_come_back(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct sample from, to;
		AUTO_BUF nar = BUF_INIT;
		struct sample_generator generator = { &from, &nar, seed * 5000, 0 };
		struct nar_facts facts, remembered;
		struct err err = ERR_INIT;
		struct node root, copy;

		sample_init(&from);
		sample_init(&to);
		nar_begin(&nar);
		root = sample_tree(&generator, "", 4);
		sample_commit(&from, true);
		print_message("seed %d: NAR of %zu bytes\n", (int)seed, nar.len);
		assert_ok(import(&to.services, buf_view(&nar), 100000, &copy, &facts, &err), &err);
		assert_true(node_equal(&root, &copy));
		expect_same(&to.services, &copy, &facts, &nar);
		assert_ok(nar_facts_store_get(to.services.nar_facts, &op_none, &copy, &remembered,
					      &err),
			  &err);
		assert_memory_equal(&facts, &remembered, sizeof(facts));
		node_release(&copy);
		sample_release(&from);
		sample_release(&to);
	}
}

static void roots_of_every_kind(void **state)
{
	AUTO_FREE uint8_t *bytes = mem_alloc(5 << 20);
	struct sample sample;

	(void)state;
	sample_init(&sample);
	testing_fill_seeded(3, bytes, 5 << 20);
	for (int kind = 0; kind < 5; kind++) {
		static const size_t sizes[] = { 0, 1 << 20, 5 << 20 };
		AUTO_BUF nar = BUF_INIT;
		struct nar_facts facts;
		struct err err = ERR_INIT;
		struct node root;

		nar_begin(&nar);
		if (kind < 3) {
			nar_file_begin(&nar, kind == 1, sizes[kind]);
			buf_append(&nar, bytes, sizes[kind]);
			nar_file_end(&nar, sizes[kind]);
		} else if (kind == 3) {
			nar_symlink(&nar, view_of_string("target"));
		} else {
			nar_directory_begin(&nar);
			nar_directory_end(&nar);
		}
		for (size_t step = 1; step < 2 << 20; step = step * 1000 + 1) {
			if (nar.len / step > 100000)
				continue;
			assert_ok(
				import(&sample.services, buf_view(&nar), step, &root, &facts, &err),
				&err);
			assert_int_equal(root.name.len, 0);
			expect_same(&sample.services, &root, &facts, &nar);
			node_release(&root);
		}
	}
	sample_release(&sample);
}

/* A small tree with a large file in the middle. */
static void write_tree(struct buf *nar, size_t large)
{
	nar_begin(nar);
	nar_directory_begin(nar);
	nar_entry_begin(nar, view_of_string("a"));
	nar_file_begin(nar, false, 5);
	buf_append_string(nar, "small");
	nar_file_end(nar, 5);
	nar_entry_end(nar);
	nar_entry_begin(nar, view_of_string("b"));
	nar_file_begin(nar, true, large);
	buf_append_zeros(nar, large);
	nar_file_end(nar, large);
	nar_entry_end(nar);
	nar_entry_begin(nar, view_of_string("c"));
	nar_symlink(nar, view_of_string("a"));
	nar_entry_end(nar);
	nar_directory_end(nar);
}

static void expect_failure(const struct services *services, struct view nar, enum rc rc,
			   const char *sentence)
{
	struct nar_facts facts;
	struct err err = ERR_INIT;
	struct node root;

	assert_rc(rc, import(services, nar, 4096, &root, &facts, &err), &err);
	assert_says(&err, sentence);
	assert_int_equal(facts.nar_size, 0);
	assert_null(root.target.ptr);
}

static void bad_archives_are_refused(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample_init(&sample);
	write_tree(&nar, 3 << 20);
	for (size_t len = 0; len < nar.len; len += len < 600 || nar.len - len < 400 ? 7 : 100003)
		expect_failure(&sample.services, view_of(nar.ptr, len), RC_INVALID, "ends at");
	buf_append_string(&nar, "x");
	expect_failure(&sample.services, buf_view(&nar), RC_INVALID, "something follows");
	nar.len = 50;
	nar.ptr[33] ^= 1;
	expect_failure(&sample.services, buf_view(&nar), RC_INVALID, "bad NAR at offset");
	sample_release(&sample);
}

static void failures_go_through(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;
	struct source source = { .step = 1000, .rc = RC_UNAVAILABLE };
	struct nar_facts facts;
	struct err err = ERR_INIT;
	struct node root;
	unsigned failures = 0;

	(void)state;
	sample_init(&sample);
	write_tree(&nar, 3 << 20);
	source.left = view_of(nar.ptr, nar.len - 500);
	assert_rc(RC_UNAVAILABLE,
		  nar_import(&sample.services, &op_none, give, &source, &root, &facts, &err), &err);
	assert_says(&err, "the source failed");
	for (unsigned skip = 0;; skip++) {
		struct double_plan plan = { 0 };
		struct services disturbed;
		enum rc rc;

		plan.where = DOUBLE_OPEN | DOUBLE_WRITE | DOUBLE_COMMIT;
		plan.skip = skip;
		plan.rc = RC_NO_SPACE;
		double_services(&sample.services, &plan, &disturbed);
		rc = import(&disturbed, buf_view(&nar), 4096, &root, &facts, &err);
		services_release(&disturbed);
		if (rc == RC_OK)
			break;
		assert_rc(RC_NO_SPACE, rc, &err);
		failures++;
	}
	node_release(&root);
	assert_true(failures > 10);
	sample_release(&sample);
}

static void depth_has_a_limit(void **state)
{
	(void)state;
	for (size_t depth = 1000; depth <= 1001; depth++) {
		struct sample sample;
		AUTO_BUF nar = BUF_INIT;
		struct nar_facts facts;
		struct err err = ERR_INIT;
		struct node root;

		sample_init(&sample);
		nar_begin(&nar);
		for (size_t level = 1; level < depth; level++) {
			nar_directory_begin(&nar);
			nar_entry_begin(&nar, view_of_string("d"));
		}
		nar_file_begin(&nar, false, 0);
		nar_file_end(&nar, 0);
		for (size_t level = 1; level < depth; level++) {
			nar_entry_end(&nar);
			nar_directory_end(&nar);
		}
		assert_rc(depth == 1000 ? RC_OK : RC_TOO_LARGE,
			  import(&sample.services, buf_view(&nar), 4096, &root, &facts, &err),
			  &err);
		node_release(&root);
		sample_release(&sample);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees_come_back),   cmocka_unit_test(roots_of_every_kind),
		cmocka_unit_test(bad_archives_are_refused), cmocka_unit_test(failures_go_through),
		cmocka_unit_test(depth_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
