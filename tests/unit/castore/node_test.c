#include "unit/testing.h"

#include "unit/castore/messages.h"
#include "unit/castore/vectors.h"

static void names(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		const char *says;
	} bad[] = {
		{ "", 0, "empty" }, { ".", 1, "'.'" },    { "..", 2, "'..'" }, { "a/b", 3, "'/'" },
		{ "/", 1, "'/'" },  { "a\0b", 3, "NUL" }, { "\0", 1, "NUL" },  { "a\0", 2, "NUL" },
	};
	static const char *const good[] = {
		"a", "...", ".a", "..a", " ", "\n", "\xff", "a\\b", "-"
	};
	struct err err = ERR_INIT;
	char name[NODE_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_rc(RC_INVALID, node_check_name(view_of(bad[i].name, bad[i].len), &err),
			  &err);
		assert_says(&err, bad[i].says);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_ok(node_check_name(view_of_string(good[i]), &err), &err);
	memset(name, 'x', sizeof(name));
	assert_ok(node_check_name(view_of(name, NODE_NAME_MAX), &err), &err);
	assert_rc(RC_INVALID, node_check_name(view_of(name, NODE_NAME_MAX + 1), &err), &err);
	assert_says(&err, "256");
}

static void targets(void **state)
{
	char target[NODE_TARGET_MAX + 1];
	struct err err = ERR_INIT;

	(void)state;
	memset(target, '/', sizeof(target));
	assert_ok(node_check_target(view_of(target, NODE_TARGET_MAX), &err), &err);
	assert_rc(RC_INVALID, node_check_target(view_of(target, NODE_TARGET_MAX + 1), &err), &err);
	assert_says(&err, "4096");
	assert_rc(RC_INVALID, node_check_target(view_of(NULL, 0), &err), &err);
	assert_rc(RC_INVALID, node_check_target(view_of("a\0b", 3), &err), &err);
	assert_ok(node_check_target(view_of_string(".."), &err), &err);
}

static void golden_root(void **state)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct err err = ERR_INIT;
	struct node node;
	char hex[DIGEST_HEX_MAX];

	(void)state;
	testing_unhex(vector_root_node, &message);
	assert_ok(node_decode(buf_view(&message), &node, &err), &err);
	assert_int_equal(node.kind, NODE_DIRECTORY);
	assert_int_equal(node.size, vector_sizes[0]);
	assert_int_equal(node.name.len, 0);
	digest_hex(&node.digest, hex);
	assert_string_equal(hex, vector_digests[0]);
	node_encode(&node, true, &again);
	assert_view_equal(buf_view(&again), buf_view(&message));
	/* A name that is left out changes nothing else. */
	buf_clear(&again);
	node.name = view_of_string("vectors");
	node_encode(&node, false, &again);
	assert_view_equal(buf_view(&again), buf_view(&message));
}

static void every_kind_round_trips(void **state)
{
	struct node nodes[] = {
		a_file("name", 0, false),
		a_file("", UINT64_MAX, true),
		a_symlink("link", "a/b"),
		a_symlink("", "/"),
		{ .kind = NODE_DIRECTORY, .digest = digest_empty, .name = view_of_string("d") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		CLEANUP(buf_release) struct buf message = BUF_INIT;
		struct err err = ERR_INIT;
		struct node node, copy;

		node_encode(&nodes[i], true, &message);
		assert_ok(node_decode(buf_view(&message), &node, &err), &err);
		assert_true(node_equal(&node, &nodes[i]));
		node_copy(&copy, &node);
		buf_release(&message);
		assert_true(node_equal(&copy, &nodes[i]));
		for (size_t j = 0; j < ARRAY_LEN(nodes); j++)
			assert_int_equal(node_equal(&nodes[i], &nodes[j]), i == j);
		node_release(&copy);
	}
}

static void equality_looks_at_everything(void **state)
{
	struct node a = a_file("n", 1, false), b = a;

	(void)state;
	assert_true(node_equal(&a, &b));
	b.executable = true;
	assert_false(node_equal(&a, &b));
	b = a;
	b.size++;
	assert_false(node_equal(&a, &b));
	b = a;
	b.digest.bytes[31] ^= 1;
	assert_false(node_equal(&a, &b));
	b = a;
	b.name = view_of_string("m");
	assert_false(node_equal(&a, &b));
	b = a;
	b.kind = NODE_DIRECTORY;
	assert_false(node_equal(&a, &b));
	/* What a kind does not have does not count. */
	a = b;
	a.executable = true;
	assert_true(node_equal(&a, &b));
}

static void refuse(const void *bytes, size_t len, const char *says)
{
	struct err err = ERR_INIT;
	struct node node;

	assert_rc(RC_INVALID, node_decode(view_of(bytes, len), &node, &err), &err);
	assert_says(&err, says);
	assert_int_equal(node.name.len + node.target.len + node.size, 0);
}

/* A Node with that field, around that body. */
static void refuse_body(uint32_t field, const struct buf *body, const char *says)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;

	wire_append_element(&message, field, buf_view(body));
	refuse(message.ptr, message.len, says);
}

static void bad_messages(void **state)
{
	CLEANUP(buf_release) struct buf body = BUF_INIT;

	(void)state;
	refuse("", 0, "empty");
	refuse("\x0a", 1, "malformed");
	refuse("\x0a\x01", 2, "malformed");
	refuse("\x0a\x00", 2, "no digest");
	refuse("\x12\x00", 2, "no digest");
	refuse("\x1a\x00", 2, "target is empty");
	refuse("\x22\x00", 2, "unknown field 4");
	refuse("\x08\x01", 2, "unknown field 1");
	refuse("\x1a\x85\x00\x12\x03"
	       "abc",
	       8, "not canonically");
	/* Two nodes, of one kind or of two. */
	refuse("\x1a\x03\x12\x01x\x1a\x03\x12\x01x", 10, "not canonically");
	refuse("\x1a\x03\x12\x01x\x00", 6, "not canonically");

	append_body(&body, "n", 31, 0, 0);
	refuse_body(1, &body, "31 bytes, not 32");
	buf_clear(&body);
	append_body(&body, "n", 33, 0, 0);
	refuse_body(2, &body, "33 bytes, not 32");
	buf_clear(&body);
	append_body(&body, "n", 0, 5, 0);
	refuse_body(2, &body, "no digest");
	buf_clear(&body);
	append_body(&body, "a/b", 32, 0, 0);
	refuse_body(2, &body, "'/'");
	buf_clear(&body);
	append_body(&body, "n", 32, 0, 2);
	refuse_body(2, &body, "executable");
	buf_clear(&body);
	append_body(&body, "n", 32, 0, 1);
	refuse_body(1, &body, "unknown field 4");
	/* The oneof chooses once: the file's message in a symlink's place. */
	refuse_body(3, &body, "unknown field 4");
}

static void bodies_are_canonical(void **state)
{
	static const struct {
		const char *tail;
		size_t len;
		const char *says;
	} cases[] = {
		{ "\x18\x00", 2, "field 3 is not canonically" },     /* a default */
		{ "\x18\x81\x00", 3, "field 3 is not canonically" }, /* a long varint */
		{ "\x98\x00\x01", 3, "field 3 is not canonically" }, /* a long tag */
		{ "\x18\x01\x18\x01", 4, "field 3 is not canonically" },
		{ "\x20\x01\x18\x01", 4, "field 3 is not canonically" }, /* out of order */
		{ "\x20\x00", 2, "field 4 is not canonically" },
		{ "\x0a\x01n", 3, "field 1 is not canonically" }, /* the name once more */
		{ "\x12\x00", 2, "field 2 is not canonically" },
		{ "\x19\x01\x00\x00\x00\x00\x00\x00\x00", 9, "unknown field 3" },
		{ "\x1d\x01\x00\x00\x00", 5, "unknown field 3" },
		{ "\x1a\x01x", 3, "unknown field 3" },
		{ "\x28\x01", 2, "unknown field 5" },
		{ "\x18", 1, "malformed" },
		{ "\x1b", 1, "malformed" },
		{ "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "malformed" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf body = BUF_INIT;

		append_body(&body, "n", 32, 0, 0);
		buf_append(&body, cases[i].tail, cases[i].len);
		refuse_body(2, &body, cases[i].says);
	}
}

#define HEX "0423505cbc9c955ef8083f2f4e176a3d0336925aafbb7a75eb8a5183c80beea1"

static void text_round_trips(void **state)
{
	static const char *const good[] = {
		"directory:" HEX ":28",
		"directory:" HEX ":0",
		"file:" HEX ":3145728",
		"file:" HEX ":17:x",
		"file:" HEX ":18446744073709551615",
		"symlink:a",
		"symlink:nested/deep:x",
		"symlink:directory:" HEX ":28",
		"symlink: ",
	};
	struct err err = ERR_INIT;
	struct node node;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;

		assert_ok(node_parse(view_of_string(good[i]), &node, &err), &err);
		assert_int_equal(node.name.len, 0);
		node_print(&node, &text);
		assert_string_equal(buf_string(&text), good[i]);
	}
	assert_ok(node_parse(view_of_string(HEX), &node, &err), &err);
	assert_int_equal(node.kind, NODE_DIRECTORY);
	assert_int_equal(node.size, 0);
	assert_int_equal(node.digest.bytes[0], 4);
}

static void bad_text(void **state)
{
	static const char *const cases[][2] = {
		{ "", "is written" },
		{ "x", "is written" },
		{ ":", "is written" },
		{ "dir:" HEX ":28", "is written" },
		{ "Directory:" HEX ":28", "is written" },
		{ HEX "0", "is written" },
		{ HEX ":28", "is written" },
		{ "directory:" HEX, "needs a digest" },
		{ "directory:" HEX ":", "not a number" },
		{ "directory:" HEX ":x", "not a number" },
		{ "directory:" HEX ":-1", "not a number" },
		{ "directory:" HEX ":18446744073709551616", "not a number" },
		{ "directory:" HEX ":28:x", "ends after its size" },
		{ "directory:" HEX ":28:", "ends after its size" },
		{ "directory:" HEX "0:28", "needs a digest" },
		{ "directory::28", "needs a digest" },
		{ "file:" HEX ":1:y", "':x'" },
		{ "file:" HEX ":1:", "':x'" },
		{ "file:" HEX ":1:x:", "':x'" },
		{ "file:" HEX ": 1", "not a number" },
		{ "file:", "needs a digest" },
		{ "symlink:", "target is empty" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		struct node node;

		if (node_parse(view_of_string(cases[i][0]), &node, &err) != RC_INVALID)
			fail_msg("'%s' was taken", cases[i][0]);
		assert_says(&err, cases[i][1]);
		assert_int_equal(node.size + node.digest.bytes[0], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(targets),
		cmocka_unit_test(golden_root),
		cmocka_unit_test(every_kind_round_trips),
		cmocka_unit_test(equality_looks_at_everything),
		cmocka_unit_test(bad_messages),
		cmocka_unit_test(bodies_are_canonical),
		cmocka_unit_test(text_round_trips),
		cmocka_unit_test(bad_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
