/* What every directory service has to do. */
#include "conformance/conformance.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "threads.h"

/* ---- Making directories ---- */

static struct node file_node(const char *name, uint64_t number)
{
	struct node node = { .kind = NODE_FILE, .size = number, .name = view_of_string(name) };

	random_bytes(number, &node.digest, sizeof(node.digest));
	return node;
}

static struct node directory_node(const char *name, const struct directory *dir)
{
	return (struct node){
		.kind = NODE_DIRECTORY,
		.size = directory_size(dir),
		.digest = *directory_digest(dir),
		.name = view_of_string(name),
	};
}

static struct directory *make(const struct node *nodes, size_t count)
{
	struct directory *dir;

	must(directory_from_nodes(nodes, count, &dir, &last_err));
	return dir;
}

/* A directory of one file. */
static struct directory *leaf(uint64_t number)
{
	struct node node = file_node("file", number);

	return make(&node, 1);
}

/* Puts directories in that order; the outcome of the first call that fails, or of close. */
static enum rc put_all(struct directory_service *service, struct directory *const *dirs,
		       size_t count, struct digest *root, struct err *err)
{
	struct directory_put *put;
	enum rc rc = directory_service_open_put(service, &op_none, &put, err);

	memset(root, 0, sizeof(*root));
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = directory_put_add(put, &op_none, dirs[i], err);
	if (rc == RC_OK)
		rc = directory_put_close(put, &op_none, root, err);
	else
		assert_int_equal(directory_put_close(put, &op_none, root, NULL),
				 RC_FAILED_PRECONDITION);
	directory_put_free(put);
	return rc;
}

static void must_put(struct directory_service *service, struct directory *const *dirs, size_t count)
{
	struct digest root;

	must(put_all(service, dirs, count, &root, &last_err));
	assert_true(digest_equal(&root, directory_digest(dirs[count - 1])));
}

static void check_there(struct directory_service *service, const struct directory *dir)
{
	struct directory *found AUTO_DIRECTORY = NULL;

	must(directory_service_get(service, &op_none, directory_digest(dir), &found, &last_err));
	assert_true(view_equal(directory_encoded(found), directory_encoded(dir)));
}

/* Reads a closure: each digest once, none before one that refers to it. Returns how many. */
static size_t check_closure(struct directory_service *service, const struct digest *root)
{
	struct directory_iter *iter;
	struct hashmap seen, referred;
	size_t count = 0;

	hashmap_init(&seen, DIGEST_SIZE);
	hashmap_init(&referred, DIGEST_SIZE);
	hashmap_put(&referred, root, &seen);
	must(directory_service_get_recursive(service, &op_none, root, &iter, &last_err));
	for (;;) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		must(directory_iter_next(iter, &op_none, &dir, &last_err));
		if (!dir)
			break;
		if (count == 0)
			assert_true(digest_equal(directory_digest(dir), root));
		assert_non_null(hashmap_get(&referred, directory_digest(dir)));
		assert_null(hashmap_put(&seen, directory_digest(dir), &seen));
		for (size_t i = 0; i < directory_count(dir); i++)
			if (directory_at(dir, i)->kind == NODE_DIRECTORY)
				hashmap_put(&referred, &directory_at(dir, i)->digest, &seen);
		count++;
	}
	assert_int_equal(count, referred.count);
	/* It stays at its end. */
	{
		struct directory *dir;

		must(directory_iter_next(iter, &op_none, &dir, &last_err));
		assert_null(dir);
	}
	directory_iter_free(iter);
	hashmap_release(&seen);
	hashmap_release(&referred);
	return count;
}

/* ---- Being there, and not ---- */

static void empty_directory_is_there(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *empty AUTO_DIRECTORY = make(NULL, 0);
	bool has = false;

	for (int round = 0; round < 2; round++) {
		assert_true(digest_equal(directory_digest(empty), &digest_empty));
		check_there(service, empty);
		must(directory_service_has_many(service, &op_none, &digest_empty, 1, &has,
						&last_err));
		assert_true(has);
		assert_int_equal(check_closure(service, &digest_empty), 1);
		must_put(service, &empty, 1);
	}
}

static void missing_directory(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *dir = (struct directory *)fixture;
	struct directory_iter *iter;
	struct digest digest;
	bool has = true;
	enum rc rc;

	random_bytes(1, &digest, sizeof(digest));
	expect(RC_NOT_FOUND, directory_service_get(service, &op_none, &digest, &dir, &last_err));
	assert_null(dir);
	must(directory_service_has_many(service, &op_none, &digest, 1, &has, &last_err));
	assert_false(has);
	/* At the first next, or already here. */
	rc = directory_service_get_recursive(service, &op_none, &digest, &iter, &last_err);
	if (rc == RC_OK) {
		rc = directory_iter_next(iter, &op_none, &dir, &last_err);
		expect(RC_FAILED_PRECONDITION,
		       directory_iter_next(iter, &op_none, &dir, &last_err));
		directory_iter_free(iter);
	} else {
		assert_null(iter);
	}
	expect(RC_NOT_FOUND, rc);
}

/*	root ─ a ─ shared ─ bottom
 *	     ├ b ─ shared
 *	     ├ c ─ (empty)
 *	     └ z ─ bottom				*/
static void closure_each_once(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *empty AUTO_DIRECTORY = make(NULL, 0);
	struct directory *bottom AUTO_DIRECTORY = leaf(1);
	struct node in_shared[] = { directory_node("bottom", bottom), file_node("x", 2) };
	struct directory *shared AUTO_DIRECTORY = make(in_shared, 2);
	struct node in_a[] = { directory_node("shared", shared) };
	struct directory *a AUTO_DIRECTORY = make(in_a, 1);
	struct node in_b[] = { directory_node("s", shared), file_node("y", 3) };
	struct directory *b AUTO_DIRECTORY = make(in_b, 2);
	struct node in_c[] = { directory_node("empty", empty) };
	struct directory *c AUTO_DIRECTORY = make(in_c, 1);
	struct node in_root[] = { directory_node("a", a), directory_node("b", b),
				  directory_node("c", c), directory_node("z", bottom) };
	struct directory *root AUTO_DIRECTORY = make(in_root, 4);
	/* Repeats are fine. */
	struct directory *const order[] = { empty,  bottom, shared, a,     bottom,
					    shared, b,      c,      empty, root };

	must_put(service, order, ARRAY_LEN(order));
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		check_there(service, order[i]);
	assert_int_equal(check_closure(service, directory_digest(root)), 7);
	assert_int_equal(check_closure(service, directory_digest(shared)), 2);
	assert_int_equal(check_closure(service, directory_digest(bottom)), 1);
}

static void all_kinds_of_nodes(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *bottom AUTO_DIRECTORY = leaf(1);
	struct node nodes[] = {
		file_node("\xff\x01 odd\n", 0),
		file_node("run", 5),
		directory_node("dir", bottom),
		{ .kind = NODE_SYMLINK,
		  .name = view_of_string("link"),
		  .target = view_of_string("../elsewhere") },
	};
	struct directory *order[2] = { bottom, NULL };

	nodes[1].executable = true;
	order[1] = make(nodes, ARRAY_LEN(nodes));
	must_put(service, order, 2);
	check_there(service, order[1]);
	directory_unref(order[1]);
}

static void has_many_in_order(struct fixture *fixture)
{
	enum { COUNT = 300 };
	struct directory_service *service = fixture->services.directories;
	struct directory *dir AUTO_DIRECTORY = leaf(1);
	struct digest digests[COUNT];
	bool has[COUNT];

	must_put(service, &dir, 1);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			digests[i] = *directory_digest(dir);
		else if (i % 3 == 1)
			random_bytes(i, &digests[i], DIGEST_SIZE);
		else
			digests[i] = digest_empty;
	}
	must(directory_service_has_many(service, &op_none, digests, COUNT, has, &last_err));
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(has[i], i % 3 != 1);
}

/* ---- Putting ---- */

static void wrong_orders_are_refused(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *bottom AUTO_DIRECTORY = leaf(1);
	struct directory *other AUTO_DIRECTORY = leaf(2);
	struct node child = directory_node("bottom", bottom);
	struct directory *root AUTO_DIRECTORY = make(&child, 1);
	struct directory *small AUTO_DIRECTORY = NULL, *large AUTO_DIRECTORY = NULL;
	struct directory *old AUTO_DIRECTORY = NULL;
	struct directory *const root_first[] = { root, bottom };
	struct directory *const left_over[] = { bottom, other, root };
	struct digest digest;

	child.size++; /* 2 children by the new rule, 1 by the old one: 3 is neither */
	large = make(&child, 1);
	child.size = 0;
	small = make(&child, 1);
	child.size = 1;
	old = make(&child, 1);
	{
		struct directory *const wrong_large[] = { bottom, large };
		struct directory *const wrong_small[] = { bottom, small };
		struct directory *const old_rule[] = { bottom, old };

		expect(RC_INVALID, put_all(service, root_first, 2, &digest, &last_err));
		expect(RC_INVALID, put_all(service, left_over, 3, &digest, &last_err));
		expect(RC_INVALID, put_all(service, NULL, 0, &digest, &last_err));
		expect(RC_INVALID, put_all(service, wrong_large, 2, &digest, &last_err));
		expect(RC_INVALID, put_all(service, wrong_small, 2, &digest, &last_err));
		/* Even where the store has the child: it has to come in the same put. */
		must_put(service, &bottom, 1);
		expect(RC_INVALID, put_all(service, &root, 1, &digest, &last_err));
		must_put(service, old_rule, 2);
		check_there(service, old);
	}
}

static void abandoned_put(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *bottom AUTO_DIRECTORY = leaf(1);
	struct node child = directory_node("bottom", bottom);
	struct directory *root AUTO_DIRECTORY = make(&child, 1);
	struct directory *const order[] = { bottom, root };
	struct directory_put *put;

	must(directory_service_open_put(service, &op_none, &put, &last_err));
	directory_put_free(put);
	must(directory_service_open_put(service, &op_none, &put, &last_err));
	must(directory_put_add(put, &op_none, bottom, &last_err));
	directory_put_free(put);
	must_put(service, order, 2);
	assert_int_equal(check_closure(service, directory_digest(root)), 2);
}

static void puts_side_by_side(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *one AUTO_DIRECTORY = leaf(1), *two AUTO_DIRECTORY = leaf(2);
	struct directory_put *first, *second;
	struct digest root;

	must(directory_service_open_put(service, &op_none, &first, &last_err));
	must(directory_service_open_put(service, &op_none, &second, &last_err));
	must(directory_put_add(first, &op_none, one, &last_err));
	must(directory_put_add(second, &op_none, two, &last_err));
	must(directory_put_close(second, &op_none, &root, &last_err));
	directory_put_free(second);
	check_there(service, two);
	must(directory_put_close(first, &op_none, &root, &last_err));
	directory_put_free(first);
	check_there(service, one);
}

static void depths(struct fixture *fixture)
{
	struct directory_service *service = fixture->services.directories;
	struct directory *chain[NODE_DEPTH_MAX + 1];
	struct digest digest;

	chain[0] = make(NULL, 0);
	for (size_t i = 1; i < ARRAY_LEN(chain); i++) {
		struct node child = directory_node("d", chain[i - 1]);

		chain[i] = make(&child, 1);
	}
	must_put(service, chain, NODE_DEPTH_MAX);
	assert_int_equal(check_closure(service, directory_digest(chain[NODE_DEPTH_MAX - 1])),
			 NODE_DEPTH_MAX);
	expect(RC_TOO_LARGE, put_all(service, chain, NODE_DEPTH_MAX + 1, &digest, &last_err));
	for (size_t i = 0; i < ARRAY_LEN(chain); i++)
		directory_unref(chain[i]);
}

static void large_directory(struct fixture *fixture)
{
	enum { COUNT = 20000 };
	struct directory_service *service = fixture->services.directories;
	struct node *nodes = mem_array(COUNT, sizeof(*nodes));
	char(*names)[16] = mem_array(COUNT, sizeof(*names));
	struct directory *dir;

	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "%u", i);
		nodes[i] = file_node(names[i], i);
	}
	dir = make(nodes, COUNT);
	must_put(service, &dir, 1);
	check_there(service, dir);
	directory_unref(dir);
	free(nodes);
	free(names);
}

static void deadline_and_cancel(struct fixture *fixture)
{
	static const struct {
		const struct op *op;
		enum rc rc;
	} ended[] = { { &op_late, RC_DEADLINE }, { &op_cancelled, RC_CANCELLED } };
	struct directory_service *service = fixture->services.directories;
	struct directory *dir AUTO_DIRECTORY = leaf(1);
	const struct digest *digest = directory_digest(dir);

	must_put(service, &dir, 1);
	for (size_t i = 0; i < ARRAY_LEN(ended); i++) {
		const struct op *op = ended[i].op;
		enum rc rc = ended[i].rc;
		struct directory *found;
		struct directory_iter *iter;
		struct directory_put *put;
		struct digest root;
		bool has;

		expect(rc, directory_service_get(service, op, digest, &found, &last_err));
		assert_null(found);
		expect(rc, directory_service_has_many(service, op, digest, 1, &has, &last_err));
		expect(rc, directory_service_get_recursive(service, op, digest, &iter, &last_err));
		assert_null(iter);
		expect(rc, directory_service_open_put(service, op, &put, &last_err));
		assert_null(put);
		must(directory_service_get_recursive(service, &op_none, digest, &iter, &last_err));
		expect(rc, directory_iter_next(iter, op, &found, &last_err));
		directory_iter_free(iter);
		must(directory_service_open_put(service, &op_none, &put, &last_err));
		expect(rc, directory_put_add(put, op, dir, &last_err));
		expect(RC_FAILED_PRECONDITION,
		       directory_put_close(put, &op_none, &root, &last_err));
		directory_put_free(put);
	}
}

/* ---- Threads, time, damage ---- */

enum { THREADS = 4, PUTS = 40 };

struct worker {
	struct directory_service *service;
	unsigned number;
	bool failed;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < PUTS && !worker->failed; i++) {
		struct directory *found AUTO_DIRECTORY = NULL;
		struct node file = { .kind = NODE_FILE, .name = view_of_string("f") };
		struct directory *order[2];
		struct node child;
		struct digest root;

		/* Half of what each puts, the others put too. */
		random_bytes(i % 2 ? i : i + 1000 * (worker->number + 1), &file.digest,
			     DIGEST_SIZE);
		if (directory_from_nodes(&file, 1, &order[0], NULL) != RC_OK)
			abort();
		child = directory_node("d", order[0]);
		if (directory_from_nodes(&child, 1, &order[1], NULL) != RC_OK)
			abort();
		worker->failed = put_all(worker->service, order, 2, &root, NULL) != RC_OK ||
				 directory_service_get(worker->service, &op_none, &root, &found,
						       NULL) != RC_OK;
		directory_unref(order[0]);
		directory_unref(order[1]);
	}
	return NULL;
}

static void many_threads(struct fixture *fixture)
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ fixture->services.directories, i, false };
		threads[i] = testing_thread("test", work, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(workers[i].failed);
	}
}

static void iterator_outlives_the_handle(struct fixture *fixture)
{
	struct directory *dir AUTO_DIRECTORY = leaf(1);
	struct directory *found AUTO_DIRECTORY = NULL;
	struct directory_iter *iter;

	must_put(fixture->services.directories, &dir, 1);
	must(directory_service_get_recursive(fixture->services.directories, &op_none,
					     directory_digest(dir), &iter, &last_err));
	services_release(&fixture->services);
	must(directory_iter_next(iter, &op_none, &found, &last_err));
	assert_non_null(found);
	directory_iter_free(iter);
}

static void reopened(struct fixture *fixture)
{
	struct directory *order[2];
	struct node child;

	order[0] = leaf(1);
	child = directory_node("d", order[0]);
	order[1] = make(&child, 1);
	must_put(fixture->services.directories, order, 2);
	if (fixture->backend->persistent) {
		fixture_reopen(fixture);
		assert_int_equal(
			check_closure(fixture->services.directories, directory_digest(order[1])),
			2);
	}
	directory_unref(order[0]);
	directory_unref(order[1]);
	fixture_reopen(fixture); /* says "skipped" where a backend forgets */
}

static void damage_is_corrupt(struct fixture *fixture)
{
	struct directory *dir, *found;
	struct digest digest, inside;

	if (!fixture->backend->persistent)
		skip();
	dir = leaf(1);
	must_put(fixture->services.directories, &dir, 1);
	digest = *directory_digest(dir);
	inside = directory_at(dir, 0)->digest;
	directory_unref(dir);
	fixture_damage(fixture, view_of(&inside, sizeof(inside)));
	expect(RC_CORRUPT, directory_service_get(fixture->services.directories, &op_none, &digest,
						 &found, &last_err));
	assert_null(found);
}

static bool has_directories(const struct services *services)
{
	return services->directories != NULL;
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "the empty directory is there", empty_directory_is_there },
		{ "a missing directory", missing_directory },
		{ "a closure, each once", closure_each_once },
		{ "all kinds of nodes", all_kinds_of_nodes },
		{ "has_many in order", has_many_in_order },
		{ "wrong orders are refused", wrong_orders_are_refused },
		{ "an abandoned put", abandoned_put },
		{ "puts side by side", puts_side_by_side },
		{ "depths", depths },
		{ "a large directory", large_directory },
		{ "deadline and cancel", deadline_and_cancel },
		{ "many threads", many_threads },
		{ "an iterator outlives the handle", iterator_outlives_the_handle },
		{ "reopened", reopened },
		{ "damage is corrupt", damage_is_corrupt },
	};

	return conformance_run("directory", cases, ARRAY_LEN(cases), has_directories);
}
