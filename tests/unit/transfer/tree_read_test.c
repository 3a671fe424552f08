/* The reader of stored trees: its events, and what happens when it is left in the middle. NARs made
 * of it are compared byte by byte in nar_export_test.c. */
#include "transfer/tree_read.h"

#include "base/clock.h"
#include "double/double.h"
#include "sample_tree.h"

static void describe(const struct tree_event *event, struct buf *out)
{
	static const char *const kinds[] = {
		[TREE_DIRECTORY] = "directory",
		[TREE_DIRECTORY_END] = "end",
		[TREE_FILE] = "file",
		[TREE_DATA] = "data",
		[TREE_FILE_END] = "file-end",
		[TREE_SYMLINK] = "symlink",
		[TREE_END] = "END",
	};

	buf_printf(out, "%s", kinds[event->kind]);
	if (event->node)
		buf_printf(out, " %.*s", (int)event->node->name.len,
			   (const char *)event->node->name.ptr);
	if (event->kind == TREE_DATA)
		buf_printf(out, "=%.*s", (int)event->data.len, (const char *)event->data.ptr);
	buf_append_byte(out, '\n');
}

static void events_come_in_nar_order(void **state)
{
	struct sample sample;
	struct node nodes[4], root;
	AUTO_TREE_READER struct tree_reader *reader = NULL;
	AUTO_BUF lines = BUF_INIT;
	struct tree_event event;
	struct err err = ERR_INIT;

	(void)state;
	sample_init(&sample);
	nodes[0] = sample_file(&sample, "x", view_of_string("1"), true);
	nodes[0] = sample_directory(&sample, "a", nodes, 1);
	nodes[1] = sample_file(&sample, "a.b", view_of_string("22"), false);
	nodes[2] = sample_file(&sample, "empty", view_of(NULL, 0), false);
	nodes[3] = sample_symlink("link", "a");
	root = sample_directory(&sample, "root", nodes, 4);
	sample_commit(&sample, true);
	reader = tree_reader_new(&sample.services, &op_none, &root);
	do {
		assert_ok(tree_reader_next(reader, &event, &err), &err);
		describe(&event, &lines);
	} while (event.kind != TREE_END);
	assert_string_equal(buf_string(&lines), "directory root\n"
						"directory a\n"
						"file x\n"
						"data x=1\n"
						"file-end x\n"
						"end a\n"
						"file a.b\n"
						"data a.b=22\n"
						"file-end a.b\n"
						"file empty\n"
						"file-end empty\n"
						"symlink link\n"
						"end root\n"
						"END\n");
	/* And so it stays. */
	assert_ok(tree_reader_next(reader, &event, &err), &err);
	assert_int_equal(event.kind, TREE_END);
	sample_release(&sample);
}

/* Left after any number of events, with blocks under way: nothing is lost, nothing hangs. */
static void can_be_left_anywhere(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 5000, 0 };
	struct node root;
	struct err err = ERR_INIT;

	(void)state;
	sample_init(&sample);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	for (unsigned stop = 0; stop < 10000; stop = 2 * stop + 1) {
		AUTO_TREE_READER struct tree_reader *reader =
			tree_reader_new(&sample.services, &op_none, &root);
		struct tree_event event;

		for (unsigned i = 0; i < stop; i++)
			assert_ok(tree_reader_next(reader, &event, &err), &err);
	}
	tree_reader_free(NULL);
	sample_release(&sample);
}

/* What comes before a failure is given; after it every call fails the same way. */
static void a_failure_stays(void **state)
{
	struct sample sample;
	struct digest absent;
	struct node nodes[2], root;
	AUTO_TREE_READER struct tree_reader *reader = NULL;
	struct tree_event event;
	struct err first = ERR_INIT, second = ERR_INIT;

	(void)state;
	memset(&absent, 0xab, sizeof(absent));
	sample_init(&sample);
	nodes[0] = sample_symlink("a", "x");
	nodes[1] = (struct node){
		.kind = NODE_FILE, .name = view_of_string("b"), .size = 5 << 20, .digest = absent
	};
	root = sample_directory(&sample, "", nodes, 2);
	sample_commit(&sample, true);
	reader = tree_reader_new(&sample.services, &op_none, &root);
	assert_ok(tree_reader_next(reader, &event, &first), &first);
	assert_int_equal(event.kind, TREE_DIRECTORY);
	assert_ok(tree_reader_next(reader, &event, &first), &first);
	assert_int_equal(event.kind, TREE_SYMLINK);
	assert_ok(tree_reader_next(reader, &event, &first), &first);
	assert_int_equal(event.kind, TREE_FILE);
	assert_rc(RC_CORRUPT, tree_reader_next(reader, &event, &first), &first);
	assert_rc(RC_CORRUPT, tree_reader_next(reader, &event, &second), &second);
	assert_string_equal(first.message, second.message);
	sample_release(&sample);
}

/* Of a tree with a lot before the broken place: blocks have passed. */
static void expect_named(uint64_t size)
{
	AUTO_TREE_READER struct tree_reader *reader = NULL;
	struct tree_event event = { .kind = TREE_DIRECTORY };
	struct sample sample;
	struct node nodes[3], before[200], root;
	struct err err = ERR_INIT;
	char names[ARRAY_LEN(before)][16];
	enum rc rc = RC_OK;

	sample_init(&sample);
	for (size_t i = 0; i < ARRAY_LEN(before); i++) {
		AUTO_FREE char *bytes = mem_zalloc(30000);

		snprintf(names[i], sizeof(names[i]), "file-%03zu", i);
		snprintf(bytes, 30000, "%zu", i);
		before[i] = sample_file(&sample, names[i], view_of(bytes, 30000), false);
	}
	nodes[0] = sample_directory(&sample, "a", before, ARRAY_LEN(before));
	nodes[1] = sample_file(&sample, "bef\x01ore", view_of_string("x"), false);
	nodes[2] =
		(struct node){ .kind = NODE_FILE, .name = view_of_string("broken"), .size = size };
	memset(&nodes[2].digest, 0xab, sizeof(nodes[2].digest));
	nodes[1] = sample_directory(&sample, "in\xffner", nodes + 1, 2);
	nodes[1] = sample_directory(&sample, "outer", nodes + 1, 1);
	nodes[2] = sample_file(&sample, "z", view_of_string("z"), false);
	root = sample_directory(&sample, "root", nodes, 3);
	sample_commit(&sample, true);
	reader = tree_reader_new(&sample.services, &op_none, &root);
	while (rc == RC_OK && event.kind != TREE_END)
		rc = tree_reader_next(reader, &event, &err);
	assert_rc(RC_CORRUPT, rc, &err);
	assert_int_equal(strncmp(err.message, "outer/in\\xffner/broken: ", 24), 0);
	assert_says(&err, "abababab");
	sample_release(&sample);
}

static void a_failure_has_a_place(void **state)
{
	(void)state;
	expect_named(100);     /* brought with others */
	expect_named(5 << 20); /* opened by the walk */
}

/* A service that hangs is waited for until the operation is cancelled. */
static void a_hanging_service_can_be_left(void **state)
{
	struct sample sample;
	AUTO_BUF nar = BUF_INIT;
	struct sample_generator generator = { &sample, &nar, 5000, 0 };
	struct double_plan plan = { 0 };
	struct services hanging;
	atomic_bool cancel = false;
	struct op op = { .cancel = &cancel, .deadline_ns = clock_monotonic_ns() + 200000000 };
	struct tree_reader *reader;
	struct tree_event event;
	struct err err = ERR_INIT;
	struct node root;
	enum rc rc;

	(void)state;
	sample_init(&sample);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	plan.where = DOUBLE_READ | DOUBLE_OPEN;
	plan.skip = 20;
	plan.hang = true;
	double_services(&sample.services, &plan, &hanging);
	reader = tree_reader_new(&hanging, &op, &root);
	do
		rc = tree_reader_next(reader, &event, &err);
	while (rc == RC_OK && event.kind != TREE_END);
	assert_rc(RC_DEADLINE, rc, &err);
	tree_reader_free(reader);
	services_release(&hanging);
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_come_in_nar_order),
		cmocka_unit_test(can_be_left_anywhere),
		cmocka_unit_test(a_failure_stays),
		cmocka_unit_test(a_failure_has_a_place),
		cmocka_unit_test(a_hanging_service_can_be_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
