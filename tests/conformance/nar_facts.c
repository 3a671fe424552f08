/* What every memory for NAR facts has to do. */
#include "conformance/conformance.h"

#include <pthread.h>

#include "base/mem.h"
#include "threads.h"

static struct node node_of(uint64_t number)
{
	struct node node = { .kind = NODE_DIRECTORY, .size = number };

	random_bytes(number, &node.digest, sizeof(node.digest));
	return node;
}

static struct nar_facts facts_of(uint64_t number)
{
	struct nar_facts facts = { .nar_size = number };

	random_bytes(number + 1000000, &facts.nar_sha256, sizeof(facts.nar_sha256));
	return facts;
}

static void check(struct nar_facts_store *store, const struct node *node, uint64_t number)
{
	struct nar_facts found, wanted = facts_of(number);

	must(nar_facts_store_get(store, &op_none, node, &found, &last_err));
	assert_int_equal(found.nar_size, wanted.nar_size);
	assert_memory_equal(found.nar_sha256.bytes, wanted.nar_sha256.bytes, 32);
}

static void put(struct nar_facts_store *store, const struct node *node, uint64_t number)
{
	struct nar_facts facts = facts_of(number);

	must(nar_facts_store_put(store, &op_none, node, &facts, &last_err));
}

static void missing_facts(struct fixture *fixture)
{
	struct nar_facts_store *store = fixture->services.nar_facts;
	struct node node = node_of(1), other = node_of(2);
	struct nar_facts out = { .nar_size = 7 };

	for (int round = 0; round < 2; round++) {
		expect(RC_NOT_FOUND, nar_facts_store_get(store, &op_none, &node, &out, &last_err));
		assert_int_equal(out.nar_size, 0);
		put(store, &other, 2);
	}
}

static void put_and_get(struct fixture *fixture)
{
	struct nar_facts_store *store = fixture->services.nar_facts;

	for (uint64_t i = 0; i < 100; i++) {
		struct node node = node_of(i);

		put(store, &node, i);
	}
	for (uint64_t i = 0; i < 100; i++) {
		struct node node = node_of(i);

		check(store, &node, i);
		put(store, &node, i); /* once more: the facts of a node never change */
		check(store, &node, i);
	}
}

static void name_plays_no_part(struct fixture *fixture)
{
	struct nar_facts_store *store = fixture->services.nar_facts;
	struct node node = node_of(1);

	node.name = view_of_string("one");
	put(store, &node, 1);
	node.name = view_of_string("two");
	check(store, &node, 1);
	node.name = (struct view){ 0 };
	check(store, &node, 1);
}

static void all_else_does(struct fixture *fixture)
{
	struct nar_facts_store *store = fixture->services.nar_facts;
	struct node nodes[6];

	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		nodes[i] = node_of(1);
	nodes[1].kind = NODE_FILE;
	nodes[2].kind = NODE_FILE;
	nodes[2].executable = true;
	nodes[3].size = 2;
	for (size_t i = 4; i < 6; i++)
		nodes[i] = (struct node){
			.kind = NODE_SYMLINK,
			.target = view_of_string(i == 4 ? "here" : "there"),
		};
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		put(store, &nodes[i], i);
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		check(store, &nodes[i], i);
}

static void deadline_and_cancel(struct fixture *fixture)
{
	struct nar_facts_store *store = fixture->services.nar_facts;
	struct node node = node_of(1);
	struct nar_facts facts = facts_of(1), out;

	expect(RC_DEADLINE, nar_facts_store_put(store, &op_late, &node, &facts, &last_err));
	expect(RC_CANCELLED, nar_facts_store_put(store, &op_cancelled, &node, &facts, &last_err));
	expect(RC_NOT_FOUND, nar_facts_store_get(store, &op_none, &node, &out, &last_err));
	expect(RC_DEADLINE, nar_facts_store_get(store, &op_late, &node, &out, &last_err));
	expect(RC_CANCELLED, nar_facts_store_get(store, &op_cancelled, &node, &out, &last_err));
}

static void *work(void *arg)
{
	struct nar_facts_store *store = arg;

	for (uint64_t i = 0; i < 40; i++) {
		struct node node = node_of(i);
		struct nar_facts facts = facts_of(i), found;

		if (nar_facts_store_put(store, &op_none, &node, &facts, NULL) != RC_OK ||
		    nar_facts_store_get(store, &op_none, &node, &found, NULL) != RC_OK ||
		    found.nar_size != i)
			return store; /* failed */
	}
	return NULL;
}

static void many_threads(struct fixture *fixture)
{
	pthread_t threads[4];
	void *failed;

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		threads[i] = testing_thread("test", work, fixture->services.nar_facts);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void reopened(struct fixture *fixture)
{
	struct node node = node_of(1);

	put(fixture->services.nar_facts, &node, 1);
	fixture_reopen(fixture);
	check(fixture->services.nar_facts, &node, 1);
}

static bool has_nar_facts(const struct services *services)
{
	return services->nar_facts != NULL;
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "missing facts", missing_facts },
		{ "put and get", put_and_get },
		{ "the name plays no part", name_plays_no_part },
		{ "all else does", all_else_does },
		{ "deadline and cancel", deadline_and_cancel },
		{ "many threads", many_threads },
		{ "reopened", reopened },
	};

	return conformance_run("nar_facts", cases, ARRAY_LEN(cases), has_nar_facts);
}
