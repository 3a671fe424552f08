/* What stands around the NARs of a closure. */
#include "nix/closure_entry.h"

#include "unit/testing.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf
#define ZEROS    "00000000000000000000000000000000"
#define PATH     "/nix/store/" ZEROS "-b"

static void string(const char *text, struct buf *out)
{
	closure_number_print(strlen(text), out);
	buf_append_string(out, text);
	while (out->len % 8 != 0)
		buf_append_byte(out, 0);
}

/* NULL ends the references. */
static void entry(uint64_t magic, const char *path, const char *const *references,
		  const char *deriver, uint64_t end, struct buf *out)
{
	size_t count = 0;

	while (references[count])
		count++;
	closure_number_print(magic, out);
	string(path, out);
	closure_number_print(count, out);
	for (size_t i = 0; i < count; i++)
		string(references[i], out);
	string(deriver, out);
	closure_number_print(end, out);
}

static enum rc parse(const struct buf *bytes, struct path_info *out, bool *more, struct err *err)
{
	struct view view = buf_view(bytes);

	return closure_entry_parse(&view, out, more, err);
}

static void there_and_back(void **state)
{
	static const char *const references[] = { PATH, "/nix/store/" ZEROS "-a", PATH, NULL };
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	AUTO_BUF bytes = BUF_INIT, again = BUF_INIT;
	struct err err = ERR_INIT;
	struct view view;
	bool more;

	(void)state;
	entry(0x4558494e, PATH, references, PATH ".drv", 1, &bytes);
	string("an old signature", &bytes);
	for (size_t len = 0; len < bytes.len; len++) {
		view = view_of(bytes.ptr, len);
		assert_ok(closure_entry_parse(&view, &info, &more, &err), &err);
		assert_true(more);
		assert_int_equal(view.len, len);
		assert_null(info.references);
	}
	buf_append_string(&bytes, "rest");
	view = buf_view(&bytes);
	assert_ok(closure_entry_parse(&view, &info, &more, &err), &err);
	assert_false(more);
	assert_view_equal(view, view_of_string("rest"));
	assert_string_equal(info.path.name, "b");
	assert_int_equal(info.reference_count, 2);
	assert_string_equal(info.references[0].name, "a");
	assert_true(info.has_deriver);
	assert_string_equal(info.deriver.name, "b");

	buf_clear(&bytes);
	entry(0x4558494e, PATH, (const char *const[]){ "/nix/store/" ZEROS "-a", PATH, NULL },
	      PATH ".drv", 0, &bytes);
	closure_entry_print(&info, &again);
	assert_view_equal(buf_view(&again), buf_view(&bytes));
}

static void refuses(void **state)
{
	static const char *const none[] = { NULL };
	static const struct {
		uint64_t magic;
		const char *path;
		const char *references[2];
		const char *deriver;
		uint64_t end;
		const char *sentence;
	} bad[] = {
		{ 0x4558494f, PATH, { NULL }, "", 0, "no path follows" },
		{ 0x4558494e, ZEROS "-b", { NULL }, "", 0, "the path is not in /nix/store" },
		{ 0x4558494e, "/nix/store/b", { NULL }, "", 0, "the path: not a store path" },
		{ 0x4558494e, PATH "/c", { NULL }, "", 0, "the path: " },
		{ 0x4558494e, PATH, { ZEROS "-b" }, "", 0, "a reference is not in" },
		{ 0x4558494e, PATH, { NULL }, "x.drv", 0, "the deriver is not in" },
		{ 0x4558494e, PATH, { NULL }, "", 2, "2 where the path's end" },
	};
	AUTO_BUF bytes = BUF_INIT;
	struct path_info info;
	struct err err = ERR_INIT;
	bool more;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_clear(&bytes);
		entry(bad[i].magic, bad[i].path, bad[i].references, bad[i].deriver, bad[i].end,
		      &bytes);
		assert_rc(RC_INVALID, parse(&bytes, &info, &more, &err), &err);
		assert_says(&err, bad[i].sentence);
		assert_null(info.references);
	}
	/* Lengths are refused before anything is asked for. */
	buf_clear(&bytes);
	closure_number_print(0x4558494e, &bytes);
	closure_number_print(STORE_PATH_ABSOLUTE_MAX + 1, &bytes);
	assert_rc(RC_INVALID, parse(&bytes, &info, &more, &err), &err);
	bytes.len = 8;
	string(PATH, &bytes);
	closure_number_print(PATH_INFO_REFERENCES_MAX + 1, &bytes);
	assert_rc(RC_INVALID, parse(&bytes, &info, &more, &err), &err);
	buf_clear(&bytes);
	entry(0x4558494e, PATH, none, "", 1, &bytes);
	closure_number_print(65537, &bytes);
	assert_rc(RC_INVALID, parse(&bytes, &info, &more, &err), &err);
	/* What fills a string up is zeros. */
	buf_clear(&bytes);
	entry(0x4558494e, PATH, none, "", 0, &bytes);
	bytes.ptr[8 + 8 + strlen(PATH)] = 1;
	assert_rc(RC_INVALID, parse(&bytes, &info, &more, &err), &err);
	assert_says(&err, "not followed by zeros");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
