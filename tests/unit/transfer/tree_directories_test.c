/* The directories of a tree that come from afar: in one call, in whatever order; and what becomes
 * of the walk when that call does not get to its end. */
#include "transfer/tree_directories.h"

#include "sample_tree.h"
#include "transfer/nar.h"

enum { CLOSURE_MAX = 4096 };

/* A service that is far away: its closures come breadth first, and may break off. */
struct far {
	struct directory_service base;
	struct directory_service *inner;
	enum rc failure;
	size_t fail_after; /* so many directories of a closure; 0: it cannot be asked for */
	/* One that a get fails for with get_failure, and a closure, as a daemon's, with RC_IO. */
	struct digest damaged;
	enum rc get_failure;
	unsigned gets, closures;
};

struct far_iter {
	struct directory_iter base;
	struct far *far;
	struct digest queue[CLOSURE_MAX];
	size_t at, count;
};

static void far_free(struct directory_service *service)
{
	(void)service;
}

static enum rc far_get(struct directory_service *service, const struct op *op,
		       const struct digest *digest, struct directory **out, struct err *err)
{
	struct far *far = CONTAINER_OF(service, struct far, base);

	far->gets++;
	if (far->get_failure != RC_OK && digest_equal(digest, &far->damaged))
		return err_set(err, far->get_failure, "this one is damaged");
	return directory_service_get(far->inner, op, digest, out, err);
}

static enum rc far_has_many(struct directory_service *service, const struct op *op,
			    const struct digest *digests, size_t count, bool *out, struct err *err)
{
	return directory_service_has_many(CONTAINER_OF(service, struct far, base)->inner, op,
					  digests, count, out, err);
}

static void far_iter_free(struct directory_iter *base)
{
	free(CONTAINER_OF(base, struct far_iter, base));
}

static void queue(struct far_iter *iter, const struct digest *digest)
{
	for (size_t i = 0; i < iter->count; i++)
		if (digest_equal(&iter->queue[i], digest))
			return;
	assert_true(iter->count < CLOSURE_MAX);
	iter->queue[iter->count++] = *digest;
}

static enum rc far_next(struct directory_iter *base, const struct op *op, struct directory **out,
			struct err *err)
{
	struct far_iter *iter = CONTAINER_OF(base, struct far_iter, base);
	enum rc rc;

	if (iter->far->failure != RC_OK && iter->at == iter->far->fail_after)
		return err_set(err, iter->far->failure, "it broke off");
	if (iter->at == iter->count)
		return RC_OK;
	if (iter->far->get_failure != RC_OK &&
	    digest_equal(&iter->queue[iter->at], &iter->far->damaged))
		return err_set(err, RC_IO, "one of them is damaged");
	rc = directory_service_get(iter->far->inner, op, &iter->queue[iter->at++], out, err);
	for (size_t i = 0; rc == RC_OK && i < directory_count(*out); i++)
		if (directory_at(*out, i)->kind == NODE_DIRECTORY)
			queue(iter, &directory_at(*out, i)->digest);
	return rc;
}

static enum rc far_get_recursive(struct directory_service *service, const struct op *op,
				 const struct digest *root, struct directory_iter **out,
				 struct err *err)
{
	static const struct directory_iter_ops ops = { far_iter_free, far_next };
	struct far *far = CONTAINER_OF(service, struct far, base);
	struct far_iter *iter;

	(void)op;
	far->closures++;
	if (far->failure != RC_OK && far->fail_after == 0)
		return err_set(err, far->failure, "no closures");
	iter = mem_zalloc(sizeof(*iter));
	iter->base.ops = &ops;
	iter->far = far;
	queue(iter, root);
	*out = &iter->base;
	return RC_OK;
}

static enum rc far_open_put(struct directory_service *service, const struct op *op,
			    struct directory_put **out, struct err *err)
{
	(void)service, (void)op, (void)out;
	return err_set(err, RC_UNSUPPORTED, "this one takes nothing");
}

static const struct directory_service_ops far_ops = {
	.name = "far",
	.remote = true,
	.free = far_free,
	.get = far_get,
	.has_many = far_has_many,
	.get_recursive = far_get_recursive,
	.open_put = far_open_put,
};

/* ---- The tests ---- */

struct fixture {
	struct sample sample;
	struct buf nar;
	struct node root;
	struct far far;
	struct services services; /* with `far` in it; borrows the rest */
};

static void start(struct fixture *fixture)
{
	struct sample_generator generator = { &fixture->sample, &fixture->nar, 1200, 0 };

	*fixture = (struct fixture){ .nar = BUF_INIT };
	sample_init(&fixture->sample);
	nar_begin(&fixture->nar);
	fixture->root = sample_tree(&generator, "", 4);
	sample_commit(&fixture->sample, true);
	directory_service_init(&fixture->far.base, &far_ops);
	fixture->far.inner = fixture->sample.services.directories;
	fixture->services = fixture->sample.services;
	fixture->services.directories = &fixture->far.base;
}

static void stop(struct fixture *fixture)
{
	directory_service_unref(&fixture->far.base);
	sample_release(&fixture->sample);
	buf_release(&fixture->nar);
}

static enum rc take(void *context, struct view bytes, struct err *err)
{
	(void)err;
	buf_append_view(context, bytes);
	return RC_OK;
}

/* Walks all of it; what comes must be the tree. */
static enum rc walk(struct fixture *fixture, struct err *err)
{
	AUTO_BUF nar = BUF_INIT;
	enum rc rc = nar_export(&fixture->services, &op_none, &fixture->root, take, &nar, err);

	if (rc == RC_OK)
		assert_view_equal(buf_view(&nar), buf_view(&fixture->nar));
	return rc;
}

static void one_call(void **state)
{
	struct fixture fixture;
	struct err err = ERR_INIT;

	(void)state;
	start(&fixture);
	assert_ok(walk(&fixture, &err), &err);
	assert_int_equal(fixture.far.closures, 1);
	assert_int_equal(fixture.far.gets, 0);
	stop(&fixture);
}

/* The server goes away in the middle, knows no closures, or fails some other way: single calls do
 * the rest, and find nothing wrong. */
static void goes_on_by_single_calls(void **state)
{
	static const enum rc failures[] = { RC_UNAVAILABLE,   RC_UNSUPPORTED, RC_NOT_FOUND,
					    RC_NOT_PERMITTED, RC_CORRUPT,     RC_IO };
	static const size_t after[] = { 0, 1, 5 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failures) * ARRAY_LEN(after); i++) {
		struct fixture fixture;
		struct err err = ERR_INIT;

		start(&fixture);
		fixture.far.failure = failures[i / ARRAY_LEN(after)];
		fixture.far.fail_after = after[i % ARRAY_LEN(after)];
		assert_ok(walk(&fixture, &err), &err);
		assert_int_equal(fixture.far.closures, 1);
		assert_true(fixture.far.gets > 0);
		stop(&fixture);
	}
}

/* But for empty ones, which are never asked for. */
static struct digest first_directory(const struct directory *dir)
{
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);

		if (node->kind == NODE_DIRECTORY && !digest_equal(&node->digest, &digest_empty))
			return node->digest;
	}
	fail_msg("the tree has no directory below its root");
	return digest_empty;
}

/* The same outcome as of single calls alone. */
static void failures_are_those_of_single_calls(void **state)
{
	static const struct {
		enum rc get, walk;
	} cases[] = { { RC_NOT_FOUND, RC_CORRUPT },
		      { RC_CORRUPT, RC_CORRUPT },
		      { RC_NOT_PERMITTED, RC_NOT_PERMITTED },
		      { RC_UNAVAILABLE, RC_UNAVAILABLE } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct directory *dir AUTO_DIRECTORY = NULL;
		struct fixture fixture;
		struct err err = ERR_INIT;
		char hex[DIGEST_HEX_MAX];

		start(&fixture);
		assert_ok(directory_service_get(fixture.far.inner, &op_none, &fixture.root.digest,
						&dir, &err),
			  &err);
		fixture.far.damaged = first_directory(dir);
		fixture.far.get_failure = cases[i].get;
		assert_rc(cases[i].walk, walk(&fixture, &err), &err);
		digest_hex(&fixture.far.damaged, hex);
		assert_says(&err, cases[i].get == RC_NOT_FOUND ? hex : "this one is damaged");
		assert_int_equal(fixture.far.closures, 1);
		assert_int_equal(fixture.far.gets, 1);
		stop(&fixture);
	}
}

/* What is not of the tree is asked for by itself, and so is everything after it. */
static void another_tree(void **state)
{
	struct fixture fixture;
	struct tree_directories *tree;
	struct directory *dir;
	struct digest nothing = digest_of(view_of_string("nothing"));
	struct err err = ERR_INIT;

	(void)state;
	start(&fixture);
	tree = tree_directories_new(&fixture.far.base, &fixture.root.digest);
	assert_rc(RC_NOT_FOUND, tree_directories_get(tree, &op_none, &nothing, &dir, &err), &err);
	assert_int_equal(fixture.far.gets, 1);
	assert_ok(tree_directories_get(tree, &op_none, &fixture.root.digest, &dir, &err), &err);
	assert_int_equal(fixture.far.gets, 1);
	directory_unref(dir);
	tree_directories_free(tree);
	/* No such root. */
	tree = tree_directories_new(&fixture.far.base, &nothing);
	assert_rc(RC_NOT_FOUND, tree_directories_get(tree, &op_none, &nothing, &dir, &err), &err);
	tree_directories_free(tree);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_call),
		cmocka_unit_test(goes_on_by_single_calls),
		cmocka_unit_test(failures_are_those_of_single_calls),
		cmocka_unit_test(another_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
