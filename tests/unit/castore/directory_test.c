#include "unit/testing.h"

#include <pthread.h>

#include "base/clock.h"
#include "unit/castore/messages.h"
#include "unit/castore/vectors.h"

static void vectors_decode(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTOR_DIRECTORIES; i++) {
		CLEANUP(buf_release) struct buf message = BUF_INIT;
		AUTO_DIRECTORY struct directory *dir = NULL;
		AUTO_DIRECTORY struct directory *made = NULL;
		AUTO_FREE struct node *nodes = NULL;
		struct err err = ERR_INIT;
		char hex[DIGEST_HEX_MAX];

		testing_unhex(vector_messages[i], &message);
		assert_ok(directory_decode(buf_view(&message), &dir, &err), &err);
		digest_hex(directory_digest(dir), hex);
		assert_string_equal(hex, vector_digests[i]);
		assert_int_equal(directory_size(dir), vector_sizes[i]);
		assert_view_equal(directory_encoded(dir), buf_view(&message));

		/* And made again from its nodes, last first. */
		nodes = mem_array(directory_count(dir), sizeof(*nodes));
		for (size_t n = 0; n < directory_count(dir); n++)
			nodes[n] = *directory_at(dir, directory_count(dir) - 1 - n);
		assert_ok(directory_from_nodes(nodes, directory_count(dir), &made, &err), &err);
		assert_view_equal(directory_encoded(made), buf_view(&message));
		assert_true(digest_equal(directory_digest(made), directory_digest(dir)));
		for (size_t n = 0; n < directory_count(dir); n++) {
			const struct node *node = directory_at(dir, n);

			assert_true(node_equal(node, directory_at(made, n)));
			assert_ptr_equal(directory_find(dir, node->name), node);
			if (n > 0)
				assert_true(view_compare(directory_at(dir, n - 1)->name,
							 node->name) < 0);
		}
	}
}

static void the_empty_one(void **state)
{
	AUTO_DIRECTORY struct directory *dir = NULL;
	AUTO_DIRECTORY struct directory *made = NULL;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(directory_decode(view_of(NULL, 0), &dir, &err), &err);
	assert_ok(directory_from_nodes(NULL, 0, &made, &err), &err);
	assert_true(digest_equal(directory_digest(dir), &digest_empty));
	assert_true(digest_equal(directory_digest(made), &digest_empty));
	assert_int_equal(directory_count(dir) + directory_size(dir), 0);
	assert_int_equal(directory_encoded(dir).len, 0);
	assert_null(directory_find(dir, view_of_string("x")));
	assert_true(directory_size_matches(dir, 0));
	assert_false(directory_size_matches(dir, 1));
}

static void merged_by_name(void **state)
{
	const struct node nodes[] = {
		a_symlink("b", "t"),   a_file("\xff", 1, false), a_file("a", 1, false),
		a_symlink("a.b", "t"), a_file("ab", 1, true),
	};
	static const char *const order[] = { "a", "a.b", "ab", "b", "\xff" };
	AUTO_DIRECTORY struct directory *dir = make_directory(nodes, ARRAY_LEN(nodes));

	(void)state;
	assert_int_equal(directory_count(dir), ARRAY_LEN(nodes));
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		assert_view_equal(directory_at(dir, i)->name, view_of_string(order[i]));
	assert_null(directory_find(dir, view_of_string("")));
	assert_null(directory_find(dir, view_of_string("aa")));
	assert_null(directory_find(dir, view_of_string("\xff\xff")));
	assert_int_equal(directory_find(dir, view_of_string("b"))->kind, NODE_SYMLINK);
	assert_true(directory_cost(dir) > directory_encoded(dir).len);
}

/* What is made owns its names: the caller's may change. */
static void nodes_are_copied(void **state)
{
	char name[] = "name", target[] = "target";
	const struct node node = a_symlink(name, target);
	AUTO_DIRECTORY struct directory *dir = make_directory(&node, 1);

	(void)state;
	memset(name, 'x', 4);
	memset(target, 'x', 6);
	assert_view_equal(directory_at(dir, 0)->name, view_of_string("name"));
	assert_view_equal(directory_at(dir, 0)->target, view_of_string("target"));
}

static void both_size_rules(void **state)
{
	struct node nodes[] = { a_file("a", 1, false), a_file("b", 1, false),
				a_file("c", 1, false) };
	AUTO_DIRECTORY struct directory *leaf = make_directory(nodes, 3);
	AUTO_DIRECTORY struct directory *new_rule = NULL;
	AUTO_DIRECTORY struct directory *old_rule = NULL;

	(void)state;
	assert_int_equal(directory_size(leaf), 6);
	assert_true(directory_size_matches(leaf, 6) && directory_size_matches(leaf, 3));
	assert_false(directory_size_matches(leaf, 0) || directory_size_matches(leaf, 4));
	nodes[0] = a_directory("a", leaf);
	new_rule = make_directory(nodes, 3);
	assert_int_equal(directory_size(new_rule), 12);
	assert_true(directory_size_matches(new_rule, 12) && directory_size_matches(new_rule, 9));
	nodes[0].size = 3;
	old_rule = make_directory(nodes, 3);
	assert_int_equal(directory_size(old_rule), 9);
	assert_true(directory_size_matches(old_rule, 6));
	assert_false(digest_equal(directory_digest(new_rule), directory_digest(old_rule)));
}

static void sizes_may_not_overflow(void **state)
{
	struct node nodes[2] = { { .kind = NODE_DIRECTORY, .name = view_of_string("a") },
				 { .kind = NODE_DIRECTORY, .name = view_of_string("b") } };
	AUTO_DIRECTORY struct directory *dir = NULL;
	struct err err = ERR_INIT;

	(void)state;
	nodes[0].size = UINT64_MAX - 4;
	dir = make_directory(nodes, 2);
	assert_int_equal(directory_size(dir), UINT64_MAX);
	directory_cleanup(&dir);
	nodes[1].size = 1;
	assert_rc(RC_INVALID, directory_from_nodes(nodes, 2, &dir, &err), &err);
	assert_says(&err, "2^64");
	assert_null(dir);
	nodes[0].size = nodes[1].size = UINT64_MAX;
	assert_rc(RC_INVALID, directory_from_nodes(nodes, 2, &dir, &err), &err);
	{
		CLEANUP(buf_release) struct buf message = BUF_INIT;

		append_entry(&message, 1, "a", 32, UINT64_MAX - 3);
		append_entry(&message, 1, "b", 32, 0);
		assert_rc(RC_INVALID, directory_decode(buf_view(&message), &dir, &err), &err);
		assert_says(&err, "2^64");
	}
	/* A file's size adds nothing. */
	nodes[0] = a_file("a", UINT64_MAX, false);
	nodes[1] = a_file("b", UINT64_MAX, false);
	dir = make_directory(nodes, 2);
	assert_int_equal(directory_size(dir), 4);
}

static void refuse(const struct buf *message, const char *says)
{
	struct directory *dir = (struct directory *)1;
	struct err err = ERR_INIT;

	assert_rc(RC_INVALID, directory_decode(buf_view(message), &dir, &err), &err);
	assert_says(&err, says);
	assert_null(dir);
}

static void order_and_doubles(void **state)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;

	(void)state;
	append_entry(&message, 2, "b", 32, 0);
	append_entry(&message, 2, "a", 32, 0);
	refuse(&message, "files entry 1 ('a'): the name is not in order");
	buf_clear(&message);
	append_entry(&message, 1, "a", 32, 0);
	append_entry(&message, 1, "a", 32, 0);
	refuse(&message, "directories entry 1 ('a'): the name is there twice");
	/* The same name in each pair of lists, and not next to each other in either. */
	buf_clear(&message);
	append_entry(&message, 1, "a", 32, 0);
	append_entry(&message, 1, "m", 32, 0);
	append_entry(&message, 2, "b", 32, 0);
	append_entry(&message, 2, "m", 32, 0);
	refuse(&message, "files entry 1 ('m'): the name is also among the directories");
	buf_clear(&message);
	append_entry(&message, 2, "a", 32, 0);
	append_entry(&message, 2, "z", 32, 0);
	append_symlink(&message, "b", "t");
	append_symlink(&message, "z", "t");
	refuse(&message, "symlinks entry 1 ('z'): the name is also among the files");
	buf_clear(&message);
	append_entry(&message, 1, "a", 32, 0);
	append_symlink(&message, "a", "t");
	refuse(&message, "symlinks entry 0 ('a'): the name is also among the directories");
	/* Lists out of their order. */
	buf_clear(&message);
	append_entry(&message, 2, "a", 32, 0);
	append_entry(&message, 1, "b", 32, 0);
	refuse(&message, "not canonically");
	buf_clear(&message);
	append_symlink(&message, "a", "t");
	append_entry(&message, 2, "b", 32, 0);
	refuse(&message, "not canonically");
	/* One list in two pieces. */
	buf_clear(&message);
	append_entry(&message, 1, "a", 32, 0);
	append_entry(&message, 2, "b", 32, 0);
	append_entry(&message, 1, "c", 32, 0);
	refuse(&message, "not canonically");
}

static void bad_entries(void **state)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;
	char name[NODE_NAME_MAX + 2];
	char target[NODE_TARGET_MAX + 2];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[NODE_NAME_MAX + 1] = '\0';
	memset(target, 't', sizeof(target));
	target[NODE_TARGET_MAX + 1] = '\0';
	append_entry(&message, 1, "ok", 32, 0);
	append_entry(&message, 1, "short", 31, 0);
	refuse(&message, "directories entry 1 ('short'): the digest has 31 bytes, not 32");
	buf_clear(&message);
	append_entry(&message, 2, "none", 0, 70000);
	refuse(&message, "files entry 0 ('none'): it has no digest");
	buf_clear(&message);
	append_entry(&message, 2, "a-long-name-without-a-digest-00000000000", 0, 70000);
	refuse(&message, "it has no digest");
	buf_clear(&message);
	append_entry(&message, 2, "", 32, 70000);
	refuse(&message, "files entry 0 (''): the name is empty");
	buf_clear(&message);
	append_entry(&message, 2, "..", 32, 0);
	refuse(&message, "'..'");
	buf_clear(&message);
	append_entry(&message, 2, "a/\x1b", 32, 0);
	refuse(&message, "files entry 0 ('a/\\x1b'): the name holds a '/'");
	buf_clear(&message);
	append_entry(&message, 2, name, 32, 0);
	refuse(&message, "256");
	buf_clear(&message);
	append_symlink(&message, "link", target);
	refuse(&message, "4096");
	buf_clear(&message);
	append_symlink(&message, "link", "");
	refuse(&message, "symlinks entry 0 ('link'): the target is empty");
	buf_clear(&message);
	append_symlink(&message, "", "t");
	refuse(&message, "the name is empty");
}

static void bad_framing(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *says;
	} cases[] = {
		{ "\x0a", 1, "malformed at byte 0" },
		{ "\x0a\x05", 2, "malformed at byte 0" },
		{ "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, "malformed" },
		{ "\x0a\x00", 2, "directories entry 0 (''): it has no digest" },
		{ "\x12\x00", 2, "files entry 0 (''): it has no digest" },
		{ "\x1a\x00", 2, "symlinks entry 0 (''): the target is empty" },
		{ "\x22\x00", 2, "unknown field 4" },
		{ "\x08\x01", 2, "unknown field 1" },
		{ "\x1a\x86\x00\x0a\x01"
		  "a\x12\x01"
		  "b",
		  9, "not canonically" },
		{ "\x9a\x00\x06\x0a\x01"
		  "a\x12\x01"
		  "b",
		  9, "not canonically" },
		{ "\x1a\x06\x0a\x01"
		  "a\x12\x01"
		  "b\x00",
		  9, "malformed at byte 8" },
		{ "\x1a\x06\x12\x01"
		  "b\x0a\x01"
		  "a",
		  8, "field 1 is not canonically" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf message = BUF_INIT;

		buf_append(&message, cases[i].bytes, cases[i].len);
		refuse(&message, cases[i].says);
	}
}

/* No message of many tiny elements makes castor allocate for as many nodes. */
static void counts_are_bounded(void **state)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;
	struct directory *dir;
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < 1000000; i++)
		buf_append(&message, "\x1a\x00", 2);
	refuse(&message, "symlinks entry 0");
	buf_clear(&message);
	buf_append_zeros(&message, DIRECTORY_BYTES_MAX + (size_t)1);
	assert_rc(RC_TOO_LARGE, directory_decode(buf_view(&message), &dir, &err), &err);
}

static void made_ones_are_checked(void **state)
{
	AUTO_FREE char *target = mem_zalloc(NODE_TARGET_MAX + 1);
	AUTO_FREE struct node *nodes = NULL;
	struct directory *dir = (struct directory *)1;
	struct err err = ERR_INIT;
	struct node pair[] = { a_file("b", 1, false), a_symlink("b", "t") };
	struct node one = a_file("..", 1, false);
	size_t count = DIRECTORY_BYTES_MAX / NODE_TARGET_MAX + 1;

	(void)state;
	assert_rc(RC_INVALID, directory_from_nodes(pair, 2, &dir, &err), &err);
	assert_says(&err, "('b'): the name is there twice");
	assert_null(dir);
	assert_rc(RC_INVALID, directory_from_nodes(&one, 1, &dir, &err), &err);
	one = a_symlink("a", "");
	assert_rc(RC_INVALID, directory_from_nodes(&one, 1, &dir, &err), &err);
	assert_says(&err, "target");

	memset(target, 't', NODE_TARGET_MAX);
	nodes = mem_array(count, sizeof(*nodes));
	for (size_t i = 0; i < count; i++)
		nodes[i] = a_symlink("same", target);
	assert_rc(RC_TOO_LARGE, directory_from_nodes(nodes, count, &dir, &err), &err);
}

/* Random directories: what is made decodes to the same, in NAR order. */
static void random_round_trips(void **state)
{
	struct testing_random random = testing_random_from_env();

	(void)state;
	for (int round = 0; round < 200; round++) {
		enum { MOST = 40 };
		AUTO_DIRECTORY struct directory *made = NULL;
		AUTO_DIRECTORY struct directory *decoded = NULL;
		struct err err = ERR_INIT;
		struct node nodes[MOST];
		char names[MOST][8];
		size_t count = testing_below(&random, MOST + 1);

		for (size_t i = 0; i < count; i++) {
			uint64_t bits = testing_next(&random);

			snprintf(names[i], sizeof(names[i]), "%c%zx", (int)('a' + bits % 3), i);
			nodes[i] = (struct node){ .kind = (enum node_kind)(bits >> 8) % 3 };
			nodes[i].name = view_of_string(names[i]);
			nodes[i].target = view_of_string("target");
			/* Set for all: a kind takes what it has. */
			nodes[i].executable = bits >> 16 & 1;
			nodes[i].size = (bits >> 17) % 300;
			nodes[i].digest = some_digest((uint8_t)(bits >> 40));
		}
		made = make_directory(nodes, count);
		assert_ok(directory_decode(directory_encoded(made), &decoded, &err), &err);
		assert_int_equal(directory_count(decoded), count);
		for (size_t i = 0; i < count; i++) {
			const struct node *node = directory_find(decoded, nodes[i].name);

			assert_non_null(node);
			assert_true(node_equal(node, &nodes[i]));
			assert_true(node_equal(directory_at(made, i), directory_at(decoded, i)));
		}
	}
}

static void *hold_and_drop(void *arg)
{
	struct directory *dir = arg;

	for (int i = 0; i < 10000; i++)
		directory_unref(directory_ref(dir));
	directory_unref(dir);
	return NULL;
}

static void threads_share(void **state)
{
	const struct node node = a_file("a", 1, false);
	struct directory *dir = make_directory(&node, 1);
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, hold_and_drop, directory_ref(dir)), 0);
	directory_unref(dir);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	directory_unref(NULL);
}

/* 100,000 entries: also shows that nothing in it is quadratic. */
static void large_ones(void **state)
{
	enum { COUNT = 100000 };
	AUTO_FREE struct node *nodes = mem_array(COUNT, sizeof(*nodes));
	AUTO_FREE char *names = mem_alloc(COUNT * 16);
	AUTO_DIRECTORY struct directory *made = NULL;
	AUTO_DIRECTORY struct directory *decoded = NULL;
	struct err err = ERR_INIT;
	int64_t start, middle, end;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		char *name = names + 16 * i;

		/* In no order. */
		snprintf(name, 16, "entry-%07zu", i * 70001 % COUNT);
		nodes[i] = i % 10 ? a_file(name, i, i % 2) : a_symlink(name, "target");
	}
	start = clock_monotonic_ns();
	made = make_directory(nodes, COUNT);
	middle = clock_monotonic_ns();
	assert_ok(directory_decode(directory_encoded(made), &decoded, &err), &err);
	end = clock_monotonic_ns();
	print_message("%d entries, %zu bytes: made in %.1f ms, decoded in %.1f ms\n", COUNT,
		      directory_encoded(made).len, (double)(middle - start) / NS_PER_MS,
		      (double)(end - middle) / NS_PER_MS);
	assert_true(digest_equal(directory_digest(made), directory_digest(decoded)));
	for (size_t i = 0; i < COUNT; i += 997)
		assert_true(node_equal(directory_find(decoded, nodes[i].name), &nodes[i]));
	assert_true(end - start < 60 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_decode),        cmocka_unit_test(the_empty_one),
		cmocka_unit_test(merged_by_name),        cmocka_unit_test(nodes_are_copied),
		cmocka_unit_test(both_size_rules),       cmocka_unit_test(sizes_may_not_overflow),
		cmocka_unit_test(order_and_doubles),     cmocka_unit_test(bad_entries),
		cmocka_unit_test(bad_framing),           cmocka_unit_test(counts_are_bounded),
		cmocka_unit_test(made_ones_are_checked), cmocka_unit_test(random_round_trips),
		cmocka_unit_test(threads_share),         cmocka_unit_test(large_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
