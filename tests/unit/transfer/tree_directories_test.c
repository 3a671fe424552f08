/* The directories of a tree that come from afar: in one call, in whatever order; and what becomes of
 * the walk when that call does not get to its end. */
#include "transfer/tree_directories.h"

#include "sample_tree.h"
#include "transfer/nar.h"

enum { CLOSURE_MAX = 4096 };

/* A service that is far away: its closures come breadth first, and may break off. */
struct far {
	struct directory_service base;
	struct directory_service *inner;
	enum rc failure;
	size_t fail_after; /* so many directories of a closure; 0: the closure cannot be asked for */
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
	struct sample_generator generator = { &fixture->sample, &fixture->nar, 700, 0 };

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

/* The server goes away in the middle, or knows no closures: single calls do the rest. */
static void goes_on_by_single_calls(void **state)
{
	static const struct {
		enum rc failure;
		size_t after;
	} cases[] = { { RC_UNAVAILABLE, 0 },
		      { RC_UNAVAILABLE, 1 },
		      { RC_UNAVAILABLE, 5 },
		      { RC_UNSUPPORTED, 0 },
		      { RC_UNSUPPORTED, 1 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture fixture;
		struct err err = ERR_INIT;

		start(&fixture);
		fixture.far.failure = cases[i].failure;
		fixture.far.fail_after = cases[i].after;
		assert_ok(walk(&fixture, &err), &err);
		assert_int_equal(fixture.far.closures, 1);
		assert_true(fixture.far.gets > 0);
		stop(&fixture);
	}
}

static void other_failures_are_told(void **state)
{
	static const enum rc failures[] = { RC_CORRUPT, RC_NOT_PERMITTED, RC_IO };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		struct fixture fixture;
		struct err err = ERR_INIT;

		start(&fixture);
		fixture.far.failure = failures[i];
		fixture.far.fail_after = 3;
		assert_rc(failures[i], walk(&fixture, &err), &err);
		assert_says(&err, "broke off");
		assert_int_equal(fixture.far.gets, 0);
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
		cmocka_unit_test(other_failures_are_told),
		cmocka_unit_test(another_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
