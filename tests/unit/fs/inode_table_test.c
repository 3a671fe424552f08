/* The inode table: identity, lookup counts, memory. */
#include "unit/testing.h"

#include "fs/inode_table.h"

static struct digest digest_number(uint64_t number)
{
	return digest_of(view_of(&number, sizeof(number)));
}

static struct inode file(uint64_t number, bool executable)
{
	struct node node = { .kind = NODE_FILE,
			     .executable = executable,
			     .size = number,
			     .digest = digest_number(number) };
	struct digest parent = digest_number(0);
	struct inode inode;

	inode_describe(&inode_root, &parent, &node, 7, &inode);
	return inode;
}

static struct inode directory(const struct inode *parent, const char *name, uint64_t number)
{
	struct node node = { .kind = NODE_DIRECTORY,
			     .name = view_of_string(name),
			     .digest = digest_number(number) };
	struct digest place = digest_number(0);
	struct inode inode;

	inode_describe(parent, &place, &node, 0, &inode);
	return inode;
}

static uint64_t intern(struct inode_table *table, struct inode inode)
{
	assert_int_equal(inode_table_intern(table, &inode, 1), 1);
	return inode.nodeid;
}

static void twins(void **state)
{
	struct inode_table *table = inode_table_new(100);
	struct inode a, b;
	uint64_t plain = intern(table, file(1, false));
	uint64_t exec = intern(table, file(1, true));
	uint64_t first = intern(table, directory(&inode_root, "a", 5));
	uint64_t second = intern(table, directory(&inode_root, "b", 5));

	(void)state;
	/* Equal files are one, but for the executable bit; directories are one per place. */
	assert_int_equal(intern(table, file(1, false)), plain);
	assert_int_not_equal(plain, exec);
	assert_int_not_equal(first, second);
	assert_int_equal(intern(table, directory(&inode_root, "a", 5)), first);
	assert_int_not_equal(intern(table, directory(&inode_root, "a", 6)), first);
	assert_true(inode_table_get(table, first, &a));
	assert_true(inode_table_get(table, second, &b));
	assert_int_not_equal(a.ino, b.ino);
	/* The same names in two directories are two places. */
	assert_int_not_equal(intern(table, directory(&a, "x", 9)),
			     intern(table, directory(&b, "x", 9)));
	inode_table_free(table);
}

static void root_is_known(void **state)
{
	struct inode_table *table = inode_table_new(10);
	struct inode inode;

	(void)state;
	assert_true(inode_table_get(table, INODE_ROOT_NODEID, &inode));
	assert_int_equal(inode.kind, NODE_DIRECTORY);
	inode_table_forget(table, INODE_ROOT_NODEID, UINT64_MAX);
	assert_true(inode_table_get(table, INODE_ROOT_NODEID, &inode));
	assert_false(inode_table_get(table, 0, &inode));
	assert_false(inode_table_get(table, 2, &inode));
	assert_false(inode_table_get(table, UINT64_MAX, &inode));
	inode_table_free(table);
}

static void numbers_come_back_but_nodeids_do_not(void **state)
{
	struct inode_table *table = inode_table_new(10);
	struct inode before, after;
	uint64_t nodeid = intern(table, directory(&inode_root, "d", 1));
	uint64_t again;

	(void)state;
	assert_true(inode_table_get(table, nodeid, &before));
	inode_table_forget(table, nodeid, 1);
	assert_false(inode_table_get(table, nodeid, &after));
	again = intern(table, directory(&inode_root, "d", 1));
	assert_int_not_equal(nodeid, again);
	assert_true(inode_table_get(table, again, &after));
	assert_int_equal(before.ino, after.ino);
	inode_table_clear(table);
	assert_int_equal(inode_table_count(table), 0);
	assert_true(intern(table, directory(&inode_root, "d", 1)) > again);
	inode_table_free(table);
}

static void forget_arithmetic(void **state)
{
	struct inode_table *table = inode_table_new(10);
	struct inode inode;
	uint64_t nodeid = intern(table, file(1, false));

	(void)state;
	for (int i = 0; i < 9; i++)
		assert_int_equal(intern(table, file(1, false)), nodeid);
	inode_table_forget(table, nodeid, 0);
	inode_table_forget(table, nodeid, 4);
	assert_true(inode_table_get(table, nodeid, &inode));
	assert_int_equal(inode.lookups, 6);
	inode_table_forget(table, nodeid, 5);
	assert_true(inode_table_get(table, nodeid, &inode));
	/* More than there are is taken as all of them. */
	inode_table_forget(table, nodeid, UINT64_MAX);
	assert_false(inode_table_get(table, nodeid, &inode));
	inode_table_forget(table, nodeid, 1);
	inode_table_forget(table, 12345, 1);
	assert_int_equal(inode_table_count(table), 0);
	inode_table_free(table);
}

static void full_table(void **state)
{
	struct inode_table *table = inode_table_new(3);
	struct inode many[5];

	(void)state;
	for (uint64_t i = 0; i < 5; i++)
		many[i] = file(i, false);
	assert_int_equal(inode_table_intern(table, many, 5), 3);
	/* What is known still counts. */
	assert_int_equal(inode_table_intern(table, many, 3), 3);
	assert_int_equal(inode_table_intern(table, many + 4, 1), 0);
	inode_table_forget(table, many[1].nodeid, 2);
	assert_int_equal(inode_table_intern(table, many + 4, 1), 1);
	inode_table_free(table);
}

static void symlink_at_root(void **state)
{
	struct inode_table *table = inode_table_new(10);
	CLEANUP(buf_release) struct buf target = BUF_INIT;
	struct node node = { .kind = NODE_SYMLINK,
			     .name = view_of_string("link"),
			     .target = view_of_string("some/where") };
	struct inode inode;
	uint64_t nodeid;

	(void)state;
	inode_describe(&inode_root, NULL, &node, 0, &inode);
	nodeid = intern(table, inode);
	assert_int_equal(intern(table, inode), nodeid);
	assert_true(inode_table_target(table, nodeid, &target));
	assert_view_equal(buf_view(&target), node.target);
	assert_false(inode_table_target(table, 99, &target));
	inode_table_free(table); /* with the target: the address sanitizer sees a leak */
}

/* Against a plain model: who is known, and how often. */
static void random_against_model(void **state)
{
	enum { KINDS = 3000, STEPS = 200000 };
	struct testing_random random = testing_random_from_env();
	struct inode_table *table = inode_table_new(KINDS);
	AUTO_FREE uint64_t *lookups = mem_array(KINDS, sizeof(uint64_t));
	AUTO_FREE uint64_t *nodeids = mem_array(KINDS, sizeof(uint64_t));
	size_t known = 0;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		size_t i = testing_below(&random, KINDS);
		/* Waves: the table grows, shrinks, grows. */
		bool grow = testing_below(&random, 100) < (step / 30000 % 2 ? 25U : 75U);

		if (grow) {
			uint64_t nodeid = intern(table, file(i, i % 2));

			if (lookups[i])
				assert_int_equal(nodeid, nodeids[i]);
			else
				known++;
			nodeids[i] = nodeid;
			lookups[i]++;
		} else if (lookups[i]) {
			uint64_t some = 1 + testing_below(&random, (size_t)lookups[i]);

			inode_table_forget(table, nodeids[i], some);
			lookups[i] -= some;
			known -= lookups[i] == 0;
		}
		assert_int_equal(inode_table_count(table), known);
	}
	for (size_t i = 0; i < KINDS; i++) {
		struct inode inode;
		bool found = nodeids[i] && inode_table_get(table, nodeids[i], &inode);

		assert_int_equal(found, lookups[i] != 0);
		if (found) {
			struct inode wanted = file(i, i % 2);

			assert_int_equal(inode.lookups, lookups[i]);
			assert_true(digest_equal(&inode.digest, &wanted.digest));
		}
	}
	inode_table_free(table);
}

static void memory(void **state)
{
	enum { MANY = 300000 };
	struct inode_table *table = inode_table_new(MANY);
	size_t most = 0;

	(void)state;
	for (uint64_t i = 0; i < MANY; i++) {
		size_t bytes;

		intern(table, file(i, false));
		bytes = inode_table_bytes(table);
		if (i > 20000) {
			size_t each = bytes / (i + 1);

			most = each > most ? each : most;
		}
	}
	print_message("at most %zu bytes an inode\n", most);
	assert_true(most <= 150);
	for (uint64_t i = 0; i < MANY; i++)
		inode_table_forget(table, 2 + (i * 7919) % MANY, 1);
	assert_int_equal(inode_table_count(table), 0);
	assert_true(inode_table_bytes(table) < 32768);
	inode_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twins),
		cmocka_unit_test(root_is_known),
		cmocka_unit_test(numbers_come_back_but_nodeids_do_not),
		cmocka_unit_test(forget_arithmetic),
		cmocka_unit_test(full_table),
		cmocka_unit_test(symlink_at_root),
		cmocka_unit_test(random_against_model),
		cmocka_unit_test(memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
