/* The NAR reader on good archives in every cut, and on bad ones. */
#include "nix/nar_reader.h"

#include "castore/node.h"
#include "nar_test_util.h"
#include "nix/nar_writer.h"
#include "unit/testing.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

/* A bit of everything. */
static void sample(struct buf *out)
{
	nar_begin(out);
	nar_directory_begin(out);
	nar_entry_begin(out, view_of_string("-"));
	nar_directory_begin(out);
	nar_directory_end(out);
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("a"));
	nar_directory_begin(out);
	nar_entry_begin(out, view_of_string("z"));
	nar_file_begin(out, true, 9);
	buf_append_string(out, "nine byte");
	nar_file_end(out, 9);
	nar_entry_end(out);
	nar_directory_end(out);
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("a.b"));
	nar_symlink(out, view_of_string("../else where"));
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("empty"));
	nar_file_begin(out, false, 0);
	nar_file_end(out, 0);
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("\xff\n"));
	nar_file_begin(out, false, 8);
	buf_append_string(out, "8 bytes.");
	nar_file_end(out, 8);
	nar_entry_end(out);
	nar_directory_end(out);
}

static const char sample_lines[] = "directory \"\"\n"
				   "directory \"-\"\n"
				   "end\n"
				   "directory \"a\"\n"
				   "file \"z\" 1 9 nine byte\n"
				   "end\n"
				   "symlink \"a.b\" -> \"../else where\"\n"
				   "file \"empty\" 0 0 \n"
				   "file \"\xff\n\" 0 8 8 bytes.\n"
				   "end\n";

static void reads_in_every_cut(void **state)
{
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample(&nar);
	for (size_t step = 1; step <= nar.len; step++) {
		AUTO_BUF lines = BUF_INIT;
		struct err err = ERR_INIT;

		if (nar_lines(buf_view(&nar), step, &lines, NULL, &err) != RC_OK)
			fail_msg("step %zu: %s", step, err.message);
		assert_string_equal(buf_string(&lines), sample_lines);
	}
}

static void roots_of_every_kind(void **state)
{
	static const struct {
		const char *words, *lines;
	} roots[] = {
		{ "nix-archive-1 ( type symlink target x )", "symlink \"\" -> \"x\"\n" },
		{ "nix-archive-1 ( type regular contents abc )", "file \"\" 0 3 abc\n" },
		{ "nix-archive-1 ( type regular executable @ contents @ )", "file \"\" 1 0 \n" },
		{ "nix-archive-1 ( type directory )", "directory \"\"\nend\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		AUTO_BUF nar = BUF_INIT;
		AUTO_BUF lines = BUF_INIT;
		struct err err = ERR_INIT;

		put_words(&nar, roots[i].words);
		if (nar_lines(buf_view(&nar), 5, &lines, NULL, &err) != RC_OK)
			fail_msg("%s: %s", roots[i].words, err.message);
		assert_string_equal(buf_string(&lines), roots[i].lines);
	}
}

static void every_truncation_is_noticed(void **state)
{
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample(&nar);
	for (size_t len = 0; len < nar.len; len++) {
		AUTO_BUF lines = BUF_INIT;
		struct err err = ERR_INIT;

		assert_int_equal(nar_lines(view_of(nar.ptr, len), len + 1, &lines, NULL, &err),
				 RC_INVALID);
		assert_non_null(strstr(err.message, "it ends at offset"));
	}
}

static void what_follows_is_left(void **state)
{
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample(&nar);
	buf_append_string(&nar, "rest!");
	for (size_t step = 1; step <= nar.len; step += 3) {
		AUTO_BUF lines = BUF_INIT;
		size_t rest;

		assert_int_equal(nar_lines(buf_view(&nar), step, &lines, &rest, NULL), RC_OK);
		assert_int_equal(rest, 5);
	}
}

/* A change of one byte never gives the same events, and never crashes. */
static void every_flipped_bit_is_survived(void **state)
{
	AUTO_BUF nar = BUF_INIT;

	(void)state;
	sample(&nar);
	for (size_t bit = 0; bit < 8 * nar.len; bit++) {
		AUTO_BUF lines = BUF_INIT;
		enum rc rc;

		nar.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
		rc = nar_lines(buf_view(&nar), 64, &lines, NULL, NULL);
		if (rc == RC_OK)
			assert_string_not_equal(buf_string(&lines), sample_lines);
		else
			assert_int_equal(rc, RC_INVALID);
		nar.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

#define ENTRY(name)  "entry ( name " name " node ( type symlink target t ) ) "
#define DIR(entries) "nix-archive-1 ( type directory " entries ")"

static void refuses_bad_words(void **state)
{
	static const struct {
		const char *words, *sentence;
	} bad[] = {
		{ "nix-archive-2 ( type directory )", "offset 0: expected \"nix-archive-1\"" },
		{ "( type directory )", "expected \"nix-archive-1\"" },
		{ "nix-archive-1 type", "offset 24: expected \"(\", found \"type\"" },
		{ "nix-archive-1 ( type fifo )", "expected \"regular\"" },
		{ "nix-archive-1 ( type regular )", "expected \"executable\" or \"contents\"" },
		{ "nix-archive-1 ( type regular executable x contents @ )", "expected \"\"" },
		{ "nix-archive-1 ( type regular executable @ executable @ contents @ )",
		  "expected \"contents\"" },
		{ "nix-archive-1 ( type regular contents a contents b )", "expected \")\"" },
		{ "nix-archive-1 ( type symlink target @ )", "target" },
		{ "nix-archive-1 ( type symlink )", "expected \"target\"" },
		{ "nix-archive-1 ( type directory x )", "expected \"entry\" or \")\"" },
		{ DIR(ENTRY("b") ENTRY("a")), "above" },
		{ DIR(ENTRY("a") ENTRY("a")), "above" },
		{ DIR(ENTRY("ab") ENTRY("a")), "above" },
		{ DIR(ENTRY("a") ENTRY("B")), "above" },
		{ DIR(ENTRY("@")), "name" },
		{ DIR(ENTRY(".")), "name" },
		{ DIR(ENTRY("..")), "name" },
		{ DIR(ENTRY("a/b")), "name" },
		{ DIR(ENTRY("/")), "name" },
		{ DIR("entry ( node ( type directory ) name a )"), "expected \"name\"" },
		{ DIR("entry ( name a ) "), "expected \"node\"" },
		{ DIR("entry ( name a node ( type directory ) entry "), "expected \")\", found" },
		/* 33 bytes where a tag stands. */
		{ "nix-archive-1 ( type regularregularregularregularregul )", "at most 32" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (size_t step = 1; step <= 4096; step *= 4096) {
			AUTO_BUF nar = BUF_INIT;
			AUTO_BUF lines = BUF_INIT;
			struct err err = ERR_INIT;

			put_words(&nar, bad[i].words);
			put_words(&nar, "x"); /* never accepted, whatever the words */
			assert_int_equal(nar_lines(buf_view(&nar), step, &lines, NULL, &err),
					 RC_INVALID);
			if (!strstr(err.message, bad[i].sentence))
				fail_msg("%s: \"%s\" says nothing of %s", bad[i].words, err.message,
					 bad[i].sentence);
		}
	}
}

/* The archive with one entry of that name, or one symlink with that target. */
static enum rc read_entry(size_t name_len, size_t target_len, uint8_t byte)
{
	AUTO_BUF nar = BUF_INIT;
	AUTO_BUF lines = BUF_INIT;
	uint8_t bytes[8192];

	memset(bytes, 'x', sizeof(bytes));
	bytes[1] = byte;
	put_words(&nar, "nix-archive-1 ( type directory entry ( name");
	put_word(&nar, bytes, name_len);
	put_words(&nar, "node ( type symlink target");
	put_word(&nar, bytes, target_len);
	put_words(&nar, ") ) )");
	return nar_lines(buf_view(&nar), 100, &lines, NULL, NULL);
}

static void names_and_targets_have_limits(void **state)
{
	(void)state;
	assert_int_equal(read_entry(255, 4095, 'x'), RC_OK);
	assert_int_equal(read_entry(256, 4095, 'x'), RC_INVALID);
	assert_int_equal(read_entry(255, 4096, 'x'), RC_INVALID);
	assert_int_equal(read_entry(255, 1, '\n'), RC_OK);
	assert_int_equal(read_entry(255, 1, 0), RC_INVALID);
	assert_int_equal(read_entry(1, 2, 0), RC_INVALID);
	assert_int_equal(read_entry(255, 1, '/'), RC_INVALID);
	assert_int_equal(read_entry(1, 2, '/'), RC_OK);
}

/* Every word of the sample, with a length that its input can never keep. */
static void huge_lengths_are_refused(void **state)
{
	static const uint64_t lengths[] = { UINT64_MAX,      UINT64_MAX - 1,
					    UINT64_MAX - 7,  UINT64_MAX - 8,
					    UINT64_MAX - 15, INT64_MAX + UINT64_C(1),
					    UINT32_MAX,      8192 };
	AUTO_BUF nar = BUF_INIT;
	size_t words = 0;

	(void)state;
	sample(&nar);
	for (size_t at = 0; at < nar.len; words++) {
		uint64_t length = nar.ptr[at];

		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			AUTO_BUF lines = BUF_INIT;

			for (unsigned byte = 0; byte < 8; byte++)
				nar.ptr[at + byte] = (uint8_t)(lengths[i] >> 8 * byte);
			assert_int_equal(nar_lines(buf_view(&nar), 9, &lines, NULL, NULL),
					 RC_INVALID);
		}
		memset(nar.ptr + at, 0, 8);
		nar.ptr[at] = (uint8_t)length;
		at += 8 + ((length + 7) & ~UINT64_C(7));
	}
	assert_true(words > 60);
}

/* Every byte of padding in the sample, made non-zero. */
static void padding_must_be_zero(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	size_t checked = 0;

	(void)state;
	sample(&nar);
	for (size_t at = 0; at < nar.len;) {
		uint64_t length = nar.ptr[at];
		uint64_t padded = (length + 7) & ~UINT64_C(7);

		for (uint64_t i = length; i < padded; i++, checked++) {
			AUTO_BUF lines = BUF_INIT;
			struct err err = ERR_INIT;

			nar.ptr[at + 8 + i] = 1;
			assert_int_equal(nar_lines(buf_view(&nar), 7, &lines, NULL, &err),
					 RC_INVALID);
			assert_non_null(strstr(err.message, "padded"));
			nar.ptr[at + 8 + i] = 0;
		}
		at += 8 + padded;
	}
	assert_true(checked > 200);
}

/* A file, that deep: 1 is a root. */
static enum rc read_nested(size_t depth, struct err *err)
{
	AUTO_BUF nar = BUF_INIT;
	AUTO_BUF lines = BUF_INIT;

	nar_begin(&nar);
	for (size_t i = 1; i < depth; i++) {
		nar_directory_begin(&nar);
		nar_entry_begin(&nar, view_of_string("d"));
	}
	nar_file_begin(&nar, false, 0);
	nar_file_end(&nar, 0);
	for (size_t i = 1; i < depth; i++) {
		nar_entry_end(&nar);
		nar_directory_end(&nar);
	}
	return nar_lines(buf_view(&nar), 4096, &lines, NULL, err);
}

static void depth_has_a_limit(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(NODE_DEPTH_MAX, 1000);
	assert_int_equal(read_nested(999, &err), RC_OK);
	assert_int_equal(read_nested(1000, &err), RC_OK);
	assert_int_equal(read_nested(1001, &err), RC_TOO_LARGE);
	assert_non_null(strstr(err.message, "deeper than 1000"));
	assert_int_equal(read_nested(1000000, NULL), RC_TOO_LARGE);
}

/* The order is kept for each directory by itself, also after one inside it was left. */
static void order_survives_subdirectories(void **state)
{
	static const struct {
		const char *words;
		enum rc rc;
	} cases[] = {
		{ DIR("entry ( name m node ( type directory " ENTRY("a")
			      ENTRY("z") ") ) " ENTRY("n")),
		  RC_OK },
		{ DIR("entry ( name m node ( type directory " ENTRY("z") ") ) " ENTRY("l")),
		  RC_INVALID },
		{ DIR("entry ( name m node ( type directory ) ) " ENTRY("m")), RC_INVALID },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_BUF nar = BUF_INIT;
		AUTO_BUF lines = BUF_INIT;

		put_words(&nar, cases[i].words);
		assert_int_equal(nar_lines(buf_view(&nar), 17, &lines, NULL, NULL), cases[i].rc);
	}
}

static void a_failure_stays(void **state)
{
	struct nar_reader *reader = nar_reader_new();
	AUTO_BUF nar = BUF_INIT;
	struct err first = ERR_INIT, second = ERR_INIT, third = ERR_INIT;
	struct nar_event event;
	struct view input;

	(void)state;
	put_words(&nar, "nix-archive-1 [ type directory )");
	input = buf_view(&nar);
	assert_int_equal(nar_reader_next(reader, &input, &event, &first), RC_INVALID);
	assert_int_equal(nar_reader_next(reader, &input, &event, &second), RC_INVALID);
	assert_int_equal(nar_reader_finish(reader, &third), RC_INVALID);
	assert_string_equal(first.message, second.message);
	assert_string_equal(first.message, third.message);
	nar_reader_free(reader);
	nar_reader_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_in_every_cut),
		cmocka_unit_test(roots_of_every_kind),
		cmocka_unit_test(every_truncation_is_noticed),
		cmocka_unit_test(what_follows_is_left),
		cmocka_unit_test(every_flipped_bit_is_survived),
		cmocka_unit_test(refuses_bad_words),
		cmocka_unit_test(names_and_targets_have_limits),
		cmocka_unit_test(huge_lengths_are_refused),
		cmocka_unit_test(padding_must_be_zero),
		cmocka_unit_test(depth_has_a_limit),
		cmocka_unit_test(order_survives_subdirectories),
		cmocka_unit_test(a_failure_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
