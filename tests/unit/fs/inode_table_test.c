/* The inode table: identity, lookup counts, memory. */
#include "unit/testing.h"

#include "base/hashmap.h"
#include "fs/inode_table.h"

static struct digest digest_number(uint64_t number)
{
	return digest_of(view_of(&number, sizeof(number)));
}

static struct inode file_at(const struct inode_table *table, const struct inode *parent,
			    const char *name, uint64_t number, bool executable)
{
	struct node node = { .kind = NODE_FILE,
			     .name = view_of_string(name),
			     .executable = executable,
			     .size = number,
			     .digest = digest_number(number) };
	struct digest place = digest_number(0);
	struct inode inode;

	inode_describe(table, parent, &place, &node, 7, &inode);
	return inode;
}

static struct inode file(const struct inode_table *table, uint64_t number, bool executable)
{
	return file_at(table, &inode_root, "file", number, executable);
}

static struct inode directory(const struct inode_table *table, const struct inode *parent,
			      const char *name, uint64_t number)
{
	struct node node = { .kind = NODE_DIRECTORY,
			     .name = view_of_string(name),
			     .digest = digest_number(number) };
	struct digest place = digest_number(0);
	struct inode inode;

	inode_describe(table, parent, &place, &node, 0, &inode);
	return inode;
}

static uint64_t intern(struct inode_table *table, struct inode inode)
{
	assert_int_equal(inode_table_intern(table, &inode, 1), 1);
	return inode.nodeid;
}

static struct inode symlink_to(const struct inode_table *table, const char *name,
			       const char *target)
{
	struct node node = { .kind = NODE_SYMLINK,
			     .name = view_of_string(name),
			     .target = view_of_string(target) };
	struct digest place = digest_number(0);
	struct inode inode;

	inode_describe(table, &inode_root, &place, &node, 0, &inode);
	return inode;
}

/* Nothing but the same node at the same place is one inode. */
static void one_inode_a_place(void **state)
{
	struct inode_table *table = inode_table_new(100, NULL);
	struct inode a, b;
	uint64_t first = intern(table, directory(table, &inode_root, "a", 5));
	uint64_t second = intern(table, directory(table, &inode_root, "b", 5));

	(void)state;
	assert_true(inode_table_get(table, first, &a));
	assert_true(inode_table_get(table, second, &b));
	const struct inode all[] = {
		a,
		b,
		directory(table, &inode_root, "a", 6),
		directory(table, &a, "x", 9), /* one name in two directories */
		directory(table, &b, "x", 9),
		file_at(table, &a, "file", 1, false),
		file_at(table, &a, "file", 1, true),
		file_at(table, &a, "file", 2, false),
		file_at(table, &a, "twin", 1, false),
		file_at(table, &b, "file", 1, false),
		file_at(table, &inode_root, "file", 1, false),
		file_at(table, &a, "", 0, false),
		file_at(table, &a, "empty", 0, false),
		symlink_to(table, "l", "t"),
		symlink_to(table, "l", "u"),
		symlink_to(table, "m", "t"),
	};
	uint64_t nodeids[ARRAY_LEN(all)];

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		nodeids[i] = intern(table, all[i]);
		assert_int_equal(intern(table, all[i]), nodeids[i]);
		assert_int_equal(inode_links(table, &all[i]), 1);
		for (size_t k = 0; k < i; k++) {
			assert_int_not_equal(nodeids[i], nodeids[k]);
			assert_int_not_equal(all[i].ino, all[k].ino);
		}
	}
	inode_table_free(table);
}

/* Inode numbers are the same in every mount, and from one release to the next. */
static void numbers_are_stable(void **state)
{
	struct inode_table *table = inode_table_new(10, NULL);
	struct inode top = directory(table, &inode_root, "a", 5);

	(void)state;
	assert_int_equal(top.ino, UINT64_C(0x1bf4a31d8c7ee39));
	assert_int_equal(file_at(table, &top, "file", 1, false).ino, UINT64_C(0x20a5e3384eef0d8a));
	inode_table_free(table);
}

/* What is shared is shown as hard links. */
static void shared_files(void **state)
{
	const struct inode_table_options shared = { .share_files = true };
	struct inode_table *table = inode_table_new(100, &shared);
	struct inode a = directory(table, &inode_root, "a", 5);
	struct inode b = directory(table, &inode_root, "b", 5);
	struct inode plain = file_at(table, &a, "x", 1, false);
	struct inode empty = file_at(table, &a, "x", 0, false);
	uint64_t nodeid = intern(table, plain);

	(void)state;
	assert_int_equal(intern(table, file_at(table, &b, "y", 1, false)), nodeid);
	assert_int_equal(file_at(table, &b, "y", 1, false).ino, plain.ino);
	assert_true(inode_links(table, &plain) >= 2);
	assert_int_not_equal(intern(table, file_at(table, &b, "y", 1, true)), nodeid);
	assert_int_not_equal(intern(table, file_at(table, &b, "y", 2, false)), nodeid);
	/* There is nothing of an empty file to share. */
	assert_int_equal(inode_links(table, &empty), 1);
	assert_int_not_equal(intern(table, empty),
			     intern(table, file_at(table, &b, "x", 0, false)));
	assert_int_not_equal(intern(table, a), intern(table, b));
	assert_int_equal(inode_links(table, &a), 1);
	inode_table_free(table);
}

/* 32-bit numbers are told apart where their hashes are not. */
static void small_numbers(void **state)
{
	enum { MANY = 150000 };
	const struct inode_table_options small = { .inode32 = true };
	struct inode_table *table = inode_table_new(MANY, &small);
	struct hashmap seen;
	size_t collisions = 0;

	(void)state;
	hashmap_init(&seen, sizeof(uint64_t));
	for (uint64_t i = 0; i < MANY; i++) {
		struct inode inode = file(table, i, false);
		uint64_t first = inode_number(table, &inode), number;

		assert_int_equal(inode_table_intern(table, &inode, 1), 1);
		number = inode_number(table, &inode);
		assert_true(number > INODE_ROOT_INO && number <= UINT32_MAX);
		collisions += number != first;
		assert_null(hashmap_get(&seen, &number));
		hashmap_put(&seen, &number, table);
		/* The same for everybody who asks for it. */
		if (number != first) {
			struct inode again = file(table, i, false), got;

			assert_int_equal(inode_table_intern(table, &again, 1), 1);
			assert_int_equal(inode_number(table, &again), number);
			assert_true(inode_table_get(table, again.nodeid, &got));
			assert_int_equal(inode_number(table, &got), number);
		}
	}
	print_message("%zu collisions\n", collisions);
	assert_true(collisions > 0);
	assert_int_equal(inode_number(table, &inode_root), INODE_ROOT_INO);
	hashmap_release(&seen);
	inode_table_free(table);
}

/* Sixteen have room, from the first free number on; a directory knows its parent's. */
static void small_numbers_run_out(void **state)
{
	const struct inode_table_options small = { .inode32 = true };
	struct inode_table *table = inode_table_new(100, &small);
	struct inode inodes[17] = { 0 };
	struct inode child;

	(void)state;
	for (uint64_t i = 0; i < ARRAY_LEN(inodes); i++)
		inodes[i] = (struct inode){ .ino = i << 28 | 5, .tag = i, .kind = NODE_DIRECTORY };
	assert_int_equal(inode_table_intern(table, inodes, 17), 16);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(inode_number(table, &inodes[i]), 5 << 4 | i);
	child = (struct inode){ .ino = UINT64_C(1) << 40 };
	assert_true(inode_number(table, &child) > INODE_ROOT_INO);
	child = directory(table, &inodes[7], "d", 1);
	assert_int_equal(child.parent_ino, 5 << 4 | 7);
	inode_table_forget(table, inodes[9].nodeid, 1);
	inodes[16].nth = 0;
	assert_int_equal(inode_table_intern(table, &inodes[16], 1), 1);
	assert_int_equal(inode_number(table, &inodes[16]), 5 << 4 | 9);
	inode_table_free(table);
}

static void root_is_known(void **state)
{
	struct inode_table *table = inode_table_new(10, NULL);
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
	struct inode_table *table = inode_table_new(10, NULL);
	struct inode before, after;
	uint64_t nodeid = intern(table, directory(table, &inode_root, "d", 1));
	uint64_t again;

	(void)state;
	assert_true(inode_table_get(table, nodeid, &before));
	inode_table_forget(table, nodeid, 1);
	assert_false(inode_table_get(table, nodeid, &after));
	again = intern(table, directory(table, &inode_root, "d", 1));
	assert_int_not_equal(nodeid, again);
	assert_true(inode_table_get(table, again, &after));
	assert_int_equal(before.ino, after.ino);
	inode_table_clear(table);
	assert_int_equal(inode_table_count(table), 0);
	assert_true(intern(table, directory(table, &inode_root, "d", 1)) > again);
	inode_table_free(table);
}

static void forget_arithmetic(void **state)
{
	struct inode_table *table = inode_table_new(10, NULL);
	struct inode inode;
	uint64_t nodeid = intern(table, file(table, 1, false));

	(void)state;
	for (int i = 0; i < 9; i++)
		assert_int_equal(intern(table, file(table, 1, false)), nodeid);
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
	struct inode_table *table = inode_table_new(3, NULL);
	struct inode many[5];

	(void)state;
	for (uint64_t i = 0; i < 5; i++)
		many[i] = file(table, i, false);
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
	struct inode_table *table = inode_table_new(10, NULL);
	CLEANUP(buf_release) struct buf target = BUF_INIT;
	struct node node = { .kind = NODE_SYMLINK,
			     .name = view_of_string("link"),
			     .target = view_of_string("some/where") };
	struct inode inode;
	uint64_t nodeid;

	(void)state;
	inode_describe(table, &inode_root, NULL, &node, 0, &inode);
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
	struct inode_table *table = inode_table_new(KINDS, NULL);
	AUTO_FREE uint64_t *lookups = mem_array(KINDS, sizeof(uint64_t));
	AUTO_FREE uint64_t *nodeids = mem_array(KINDS, sizeof(uint64_t));
	size_t known = 0;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		size_t i = testing_below(&random, KINDS);
		/* Waves: the table grows, shrinks, grows. */
		bool grow = testing_below(&random, 100) < (step / 30000 % 2 ? 25U : 75U);

		if (grow) {
			uint64_t nodeid = intern(table, file(table, i, i % 2));

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
			struct inode wanted = file(table, i, i % 2);

			assert_int_equal(inode.lookups, lookups[i]);
			assert_true(digest_equal(&inode.digest, &wanted.digest));
		}
	}
	inode_table_free(table);
}

static void memory(void **state)
{
	enum { MANY = 300000 };
	struct inode_table *table = inode_table_new(MANY, NULL);
	size_t most = 0;

	(void)state;
	for (uint64_t i = 0; i < MANY; i++) {
		size_t bytes;

		intern(table, file(table, i, false));
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
		cmocka_unit_test(one_inode_a_place),
		cmocka_unit_test(numbers_are_stable),
		cmocka_unit_test(shared_files),
		cmocka_unit_test(small_numbers),
		cmocka_unit_test(small_numbers_run_out),
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
