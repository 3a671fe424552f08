/* The wrappers of directories and path infos against services that misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "double/double.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"

static struct err err;

static struct directory *make(const char *name, const struct directory *child)
{
	struct node node = { .kind = NODE_FILE, .name = view_of_string(name) };
	struct directory *dir;

	if (child) {
		node.kind = NODE_DIRECTORY;
		node.digest = *directory_digest(child);
		node.size = directory_size(child);
	}
	assert_int_equal(directory_from_nodes(&node, 1, &dir, &err), RC_OK);
	return dir;
}

/* ---- A backend whose closures are whatever a test lists ---- */

struct bent {
	struct directory_service base;
	struct directory *const *dirs;
	size_t count;
};

struct bent_iter {
	struct directory_iter base;
	struct bent *bent;
	size_t at;
};

static void bent_free(struct directory_service *service)
{
	(void)service;
}

static enum rc bent_get(struct directory_service *service, const struct op *op,
			const struct digest *digest, struct directory **out, struct err *error)
{
	(void)op, (void)digest, (void)error;
	*out = directory_ref(CONTAINER_OF(service, struct bent, base)->dirs[0]);
	return RC_OK;
}

static enum rc bent_has_many(struct directory_service *service, const struct op *op,
			     const struct digest *digests, size_t count, bool *out,
			     struct err *error)
{
	(void)service, (void)op, (void)digests, (void)count;
	out[0] = true;
	return err_set(error, RC_IO, "it broke");
}

static void bent_iter_free(struct directory_iter *base)
{
	free(CONTAINER_OF(base, struct bent_iter, base));
}

static enum rc bent_next(struct directory_iter *base, const struct op *op, struct directory **out,
			 struct err *error)
{
	struct bent_iter *iter = CONTAINER_OF(base, struct bent_iter, base);

	(void)op, (void)error;
	if (iter->at < iter->bent->count)
		*out = directory_ref(iter->bent->dirs[iter->at++]);
	return RC_OK;
}

static enum rc bent_get_recursive(struct directory_service *service, const struct op *op,
				  const struct digest *root, struct directory_iter **out,
				  struct err *error)
{
	static const struct directory_iter_ops ops = { bent_iter_free, bent_next };
	struct bent_iter *iter = mem_zalloc(sizeof(*iter));

	(void)op, (void)root, (void)error;
	iter->base.ops = &ops;
	iter->bent = CONTAINER_OF(service, struct bent, base);
	*out = &iter->base;
	return RC_OK;
}

static enum rc bent_open_put(struct directory_service *service, const struct op *op,
			     struct directory_put **out, struct err *error)
{
	(void)service, (void)op, (void)out;
	return err_set(error, RC_UNSUPPORTED, "this backend takes nothing");
}

static const struct directory_service_ops bent_ops = {
	.name = "bent",
	.free = bent_free,
	.get = bent_get,
	.has_many = bent_has_many,
	.get_recursive = bent_get_recursive,
	.open_put = bent_open_put,
};

/* Reads the closure that a backend brings; the first outcome that is not RC_OK. */
static enum rc read_closure(struct directory_service *service, const struct digest *root)
{
	struct directory_iter *iter;
	enum rc rc = directory_service_get_recursive(service, &op_none, root, &iter, &err);
	bool more = rc == RC_OK;

	while (more) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		rc = directory_iter_next(iter, &op_none, &dir, &err);
		more = rc == RC_OK && dir;
	}
	directory_iter_free(iter);
	return rc;
}

static void closures_are_checked(void **state)
{
	struct directory *leaf AUTO_DIRECTORY = make("leaf", NULL);
	struct directory *other AUTO_DIRECTORY = make("other", NULL);
	struct directory *root AUTO_DIRECTORY = make("child", leaf);
	struct directory *const good[] = { root, leaf };
	struct directory *const stranger[] = { root, other };
	struct directory *const twice[] = { root, leaf, leaf };
	struct directory *const half[] = { root };
	struct directory *const wrong_root[] = { other };
	const struct {
		struct directory *const *dirs;
		size_t count;
		bool good;
	} cases[] = {
		{ good, 2, true },  { stranger, 2, false },   { twice, 3, false },
		{ half, 1, false }, { wrong_root, 1, false },
	};
	struct bent bent;

	(void)state;
	directory_service_init(&bent.base, &bent_ops);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		enum rc rc;

		bent.dirs = cases[i].dirs;
		bent.count = cases[i].count;
		rc = read_closure(&bent.base, directory_digest(root));
		if (cases[i].good)
			assert_int_equal(rc, RC_OK);
		else
			assert_true(rc == RC_CORRUPT || rc == RC_INVALID);
		assert_int_not_equal(rc, RC_NOT_FOUND);
	}
	/* Nothing at all is how some say that the root is not there. */
	bent.count = 0;
	assert_int_equal(read_closure(&bent.base, directory_digest(root)), RC_NOT_FOUND);
}

static void another_directory_is_corrupt(void **state)
{
	struct directory *leaf AUTO_DIRECTORY = make("leaf", NULL);
	struct directory *other AUTO_DIRECTORY = make("other", NULL);
	struct directory *const dirs[] = { other };
	struct directory *found = leaf;
	struct bent bent = { .dirs = dirs, .count = 1 };
	bool has = true;

	(void)state;
	directory_service_init(&bent.base, &bent_ops);
	assert_int_equal(
		directory_service_get(&bent.base, &op_none, directory_digest(leaf), &found, &err),
		RC_CORRUPT);
	assert_null(found);
	assert_int_equal(directory_service_has_many(&bent.base, &op_none, directory_digest(leaf), 1,
						    &has, &err),
			 RC_IO);
	assert_false(has);
	assert_int_equal(bent.base.counts.calls, 2);
	assert_int_equal(bent.base.counts.failures, 2);
}

/* ---- Doubles ---- */

struct doubled {
	struct double_plan plan;
	struct directory_service *inner, *directories;
	struct path_info_service *inner_infos, *infos;
	struct directory *leaf, *root;
};

static enum rc put(struct directory_service *service, struct directory *const *dirs, size_t count)
{
	struct directory_put *put;
	struct digest root;
	enum rc rc = directory_service_open_put(service, &op_none, &put, &err);

	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = directory_put_add(put, &op_none, dirs[i], &err);
	if (rc == RC_OK)
		rc = directory_put_close(put, &op_none, &root, &err);
	directory_put_free(put);
	return rc;
}

static int set_up(void **state)
{
	struct doubled *doubled = mem_zalloc(sizeof(*doubled));

	doubled->inner = directory_memory_new();
	doubled->directories = double_directory_new(doubled->inner, &doubled->plan);
	doubled->inner_infos = path_info_memory_new();
	doubled->infos = double_path_info_new(doubled->inner_infos, &doubled->plan);
	doubled->leaf = make("leaf", NULL);
	doubled->root = make("child", doubled->leaf);
	*state = doubled;
	return put(doubled->directories, (struct directory *[]){ doubled->leaf, doubled->root },
		   2) == RC_OK
		       ? 0
		       : -1;
}

static int tear_down(void **state)
{
	struct doubled *doubled = *state;

	directory_service_unref(doubled->directories);
	directory_service_unref(doubled->inner);
	path_info_service_unref(doubled->infos);
	path_info_service_unref(doubled->inner_infos);
	directory_unref(doubled->leaf);
	directory_unref(doubled->root);
	free(doubled);
	return 0;
}

static void missing_child_is_corrupt(void **state)
{
	struct doubled *doubled = *state;
	const struct digest *root = directory_digest(doubled->root);

	assert_int_equal(read_closure(doubled->directories, root), RC_OK);
	doubled->plan.rc = RC_NOT_FOUND;
	doubled->plan.where = DOUBLE_READ;
	assert_int_equal(read_closure(doubled->directories, root), RC_NOT_FOUND);
	doubled->plan.skip = 1; /* the root is there, its child is not */
	assert_int_equal(read_closure(doubled->directories, root), RC_CORRUPT);
	doubled->plan.rc = RC_UNAVAILABLE;
	doubled->plan.skip = 1;
	assert_int_equal(read_closure(doubled->directories, root), RC_UNAVAILABLE);
	doubled->plan.rc = RC_OK;
	doubled->plan.corrupt = true;
	doubled->plan.skip = 1;
	assert_int_equal(read_closure(doubled->directories, root), RC_CORRUPT);
}

static void puts_fail_as_told(void **state)
{
	static const unsigned steps[] = { DOUBLE_OPEN, DOUBLE_WRITE, DOUBLE_COMMIT };
	struct doubled *doubled = *state;
	struct directory *const dirs[] = { doubled->leaf, doubled->root };

	doubled->plan.rc = RC_NO_SPACE;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		doubled->plan.where = steps[i];
		assert_int_equal(put(doubled->directories, dirs, 2), RC_NO_SPACE);
	}
	assert_true(directory_service_is_remote(doubled->directories));
}

static void path_infos_are_checked(void **state)
{
	struct doubled *doubled = *state;
	struct path_info info AUTO_PATH_INFO = { .nar_size = 1 };
	struct path_info found;
	struct path_info_iter *iter;
	struct node node = { .kind = NODE_SYMLINK, .target = view_of_string("x") };
	char name[STORE_PATH_BASENAME_MAX + 1];
	uint64_t generation;
	bool end;

	strcpy(info.path.name, "name");
	store_path_basename(&info.path, name);
	node.name = view_of_string(name);
	node_copy(&info.node, &node);
	assert_int_equal(path_info_service_put(doubled->infos, &op_none, &info, NULL, &err), RC_OK);
	doubled->plan.corrupt = true; /* the answer is about another path */
	assert_int_equal(
		path_info_service_get(doubled->infos, &op_none, info.path.hash, &found, &err),
		RC_CORRUPT);
	assert_int_equal(found.nar_size, 0);
	doubled->plan.corrupt = false;
	assert_int_equal(path_info_service_list(doubled->infos, &op_none, NULL, &iter, &err),
			 RC_OK);
	for (int rc = RC_NOT_FOUND; rc < RC_COUNT_; rc++) {
		struct path_info_iter *none;

		doubled->plan.rc = rc;
		assert_int_equal(path_info_service_get(doubled->infos, &op_none, info.path.hash,
						       &found, &err),
				 rc);
		assert_int_equal(path_info_service_put(doubled->infos, &op_none, &info, NULL, &err),
				 rc);
		assert_int_equal(
			path_info_service_list(doubled->infos, &op_none, NULL, &none, &err), rc);
		assert_int_equal(
			path_info_service_generation(doubled->infos, &op_none, &generation, &err),
			rc);
	}
	assert_int_equal(path_info_iter_next(iter, &op_none, &found, &end, &err), RC_COUNT_ - 1);
	path_info_iter_free(iter);
	assert_true(path_info_service_is_remote(doubled->infos));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closures_are_checked),
		cmocka_unit_test(another_directory_is_corrupt),
		cmocka_unit_test_setup_teardown(missing_child_is_corrupt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(puts_fail_as_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(path_infos_are_checked, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
