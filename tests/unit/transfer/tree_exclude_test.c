/* Which paths a pattern leaves out. */
#include "transfer/tree_exclude.h"

#include "../testing.h"

static bool matches(const char *pattern, const char *path, bool directory)
{
	char *copy AUTO_FREE = mem_strdup(path);
	const char *names[16];
	size_t count = 0;
	struct tree_exclude *exclude;
	struct err err = ERR_INIT;
	bool result;

	assert_ok(tree_exclude_new(&pattern, 1, &exclude, &err), &err);
	for (char *rest = copy, *name; (name = strsep(&rest, "/"));)
		names[count++] = name;
	result = tree_exclude_matches(exclude, names, count, directory);
	tree_exclude_free(exclude);
	return result;
}

static void patterns(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool file, directory;
	} cases[] = {
		/* A name, at any depth. */
		{ "*.o", "a.o", true, true },
		{ "*.o", "b/c/a.o", true, true },
		{ "*.o", "a.o/b", false, false },
		{ "*.o", "a.oo", false, false },
		{ "*", ".hidden", true, true },
		{ "[ab]?", "x/bz", true, true },
		{ "[ab]?", "cz", false, false },
		{ "\\*", "*", true, true },
		{ "\\*", "x", false, false },
		/* A path, from the root. */
		{ "/a", "a", true, true },
		{ "/a", "b/a", false, false },
		{ "a/b", "a/b", true, true },
		{ "a/b", "c/a/b", false, false },
		{ "a/b", "a/b/c", false, false },
		{ "/a/*", "a/b", true, true },
		{ "/a/*", "a/b/c", false, false },
		{ "/*", "a", true, true },
		{ "/*", "a/b", false, false },
		{ "a//b", "a/b", true, true },
		/* Directories alone. */
		{ "log/", "log", false, true },
		{ "log/", "a/log", false, true },
		{ "/log/", "a/log", false, false },
		{ "a/log//", "a/log", false, true },
		/* Any number of directories. */
		{ "**/x", "x", true, true },
		{ "**/x", "a/b/x", true, true },
		{ "**/x", "a/b/y", false, false },
		{ "a/**/x", "a/x", true, true },
		{ "a/**/x", "a/b/c/x", true, true },
		{ "a/**/x", "b/a/x", false, false },
		{ "a/**", "a/b", true, true },
		{ "a/**", "a/b/c", true, true },
		{ "a/**", "a", false, false },
		{ "a/**/b/**/c", "a/b/x/b/c", true, true },
		{ "a/**/b/**/c", "a/x/c", false, false },
		{ "**/b/c", "b/b/c", true, true },
		{ "**/b/c", "b/b/d", false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool file = matches(cases[i].pattern, cases[i].path, false);
		bool directory = matches(cases[i].pattern, cases[i].path, true);

		if (file != cases[i].file || directory != cases[i].directory)
			fail_msg("'%s' and '%s': %d %d", cases[i].pattern, cases[i].path, file,
				 directory);
	}
}

static void many_patterns(void **state)
{
	const char *const several[] = { "a", "/b/", "c/d" };
	const char *const ad[] = { "x", "a" }, *const b[] = { "b" }, *const none[] = { "x", "d" };
	struct tree_exclude *exclude;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(tree_exclude_new(several, ARRAY_LEN(several), &exclude, &err), &err);
	assert_true(tree_exclude_matches(exclude, ad, 2, false));
	assert_true(tree_exclude_matches(exclude, b, 1, true));
	assert_false(tree_exclude_matches(exclude, b, 1, false));
	assert_false(tree_exclude_matches(exclude, none, 2, true));
	tree_exclude_free(exclude);
}

static void bad_patterns(void **state)
{
	static const char *const bad[] = { "", "/", "//", "!a" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct tree_exclude *exclude;
		struct err err = ERR_INIT;

		assert_rc(RC_INVALID, tree_exclude_new(&bad[i], 1, &exclude, &err), &err);
		assert_null(exclude);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns),
		cmocka_unit_test(many_patterns),
		cmocka_unit_test(bad_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
