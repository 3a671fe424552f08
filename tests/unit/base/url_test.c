#include "unit/testing.h"

#include "base/url.h"

#include "base/mem.h"

static void check(const char *text, const char *scheme, const char *host, const char *path)
{
	struct err err = ERR_INIT;
	struct url url;

	assert_ok(url_parse(text, &url, &err), &err);
	assert_string_equal(url.scheme, scheme);
	assert_string_equal(url.host, host);
	assert_string_equal(url.path, path);
	url_release(&url);
	assert_null(url.scheme);
}

static void parts(void **state)
{
	(void)state;
	check("memory://", "memory", "", "");
	check("memory:", "memory", "", "");
	check("local:///var/lib/castor", "local", "", "/var/lib/castor");
	check("grpc+unix:///path/to/socket", "grpc+unix", "", "/path/to/socket");
	check("grpc+unix:/path", "grpc+unix", "", "/path");
	check("grpc+http://[::1]:8000", "grpc+http", "[::1]:8000", "");
	check("grpc+http://[::1]:8000/", "grpc+http", "[::1]:8000", "/");
	check("GRPC+Https://Host.example", "grpc+https", "Host.example", "");
	check("nix+https://cache.example/a/b?x=1", "nix+https", "cache.example", "/a/b");
	check("files:///a%20b/%C3%A9/c+d", "files", "", "/a b/\xc3\xa9/c+d");
	check("files:///a b", "files", "", "/a b");
	check("x:y/z", "x", "", "y/z");
	check("x://h?p", "x", "h", "");
	/* What is encoded is no separator. */
	check("x:/a%3fb%26%23%2f", "x", "", "/a?b&#/");
}

static void params(void **state)
{
	static const char *const known[] = { "a", "b b", "trusted-public-keys", "none", NULL };
	static const char *const fewer[] = { "a", "b b", "none", NULL };
	struct err err = ERR_INIT;
	struct url url;

	(void)state;
	assert_ok(url_parse("local:///x?a=1&b+b=2%263&none&trusted-public-keys=a:Y%2Bx%20c:Z+d"
			    "&a=second&&none=",
			    &url, &err),
		  &err);
	assert_int_equal(url.param_count, 6);
	assert_string_equal(url_param(&url, "a"), "1");
	assert_string_equal(url_param(&url, "b b"), "2&3");
	assert_string_equal(url_param(&url, "none"), "");
	assert_string_equal(url_param(&url, "trusted-public-keys"), "a:Y+x c:Z d");
	assert_string_equal(url.params[4].value, "second");
	assert_null(url_param(&url, "absent"));
	assert_ok(url_check_params(&url, known, &err), &err);
	assert_rc(RC_INVALID, url_check_params(&url, fewer, &err), &err);
	assert_says(&err, "trusted-public-keys");
	url_release(&url);
	assert_ok(url_parse("local:///x?", &url, &err), &err);
	assert_int_equal(url.param_count, 0);
	url_release(&url);
	assert_ok(url_parse("local:///x?a=b=c", &url, &err), &err);
	assert_string_equal(url_param(&url, "a"), "b=c");
	url_release(&url);
}

static void users(void **state)
{
	static const char *const shown[][2] = {
		{ "http://user:secret@host/a@b", "http://host/a@b" },
		{ "http://host/a@b?c=d@e", "http://host/a@b?c=d@e" },
		{ "local:///a@b", "local:///a@b" },
		{ "memory:", "memory:" },
	};
	struct err err = ERR_INIT;
	struct url url;

	(void)state;
	assert_ok(url_parse("nix+http://me:a%40%3ab@host:8/p", &url, &err), &err);
	assert_string_equal(url.user, "me:a@:b");
	assert_string_equal(url.host, "host:8");
	url_release(&url);
	assert_ok(url_parse("nix+http://host/p@q", &url, &err), &err);
	assert_null(url.user);
	url_release(&url);
	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		char *text AUTO_FREE = url_shown(shown[i][0]);

		assert_string_equal(text, shown[i][1]);
	}
	/* No message tells a password. */
	assert_rc(RC_INVALID, url_parse("http://user:sec#ret@host/", &url, &err), &err);
	assert_null(strstr(err.message, "sec"));
	assert_rc(RC_INVALID, url_parse("http://user:secret@ho st/", &url, &err), &err);
	assert_null(strstr(err.message, "secret"));
}

static void bad_ones(void **state)
{
	static const char *const cases[][2] = {
		{ "", "no scheme" },
		{ "/var/lib", "no scheme" },
		{ "local", "no scheme" },
		{ ":x", "no scheme" },
		{ "1x://", "no scheme" },
		{ "a_b://", "no scheme" },
		{ "x:///a#b", "fragment" },
		{ "x://us%zzer@host/", "user" },
		{ "x://user:a%00b@host/", "user" },
		{ "x://a@b@host/", "host" },
		{ "x://ho st/", "host" },
		{ "x://h%41/", "host" },
		{ "x://h\xc3\xa9/", "host" },
		{ "x:///a\nb", "control character 0x0a" },
		{ "x:///a\x7f", "control character 0x7f" },
		{ "x:///%", "two hexadecimal" },
		{ "x:///%4", "two hexadecimal" },
		{ "x:///%4g", "two hexadecimal" },
		{ "x:///a%00b", "%00" },
		{ "x:///?a%00=1", "%00" },
		{ "x:///?a=%00", "%00" },
		{ "x:///?a=%zz", "two hexadecimal" },
		{ "x:///?=1", "without a name" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		struct url url;

		if (url_parse(cases[i][0], &url, &err) != RC_INVALID)
			fail_msg("'%s' was taken", cases[i][0]);
		assert_says(&err, cases[i][1]);
		assert_null(url.scheme);
		assert_null(url.params);
		assert_int_equal(url.param_count, 0);
		url_release(&url);
	}
}

static void limits(void **state)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct url url;

	(void)state;
	buf_append_string(&text, "x:/");
	while (text.len < URL_MAX)
		buf_append_byte(&text, 'a');
	assert_ok(url_parse(buf_string(&text), &url, &err), &err);
	url_release(&url);
	buf_append_byte(&text, 'a');
	assert_rc(RC_INVALID, url_parse(buf_string(&text), &url, &err), &err);
	assert_says(&err, "longer");

	buf_clear(&text);
	buf_append_string(&text, "x:?a");
	for (int i = 1; i < URL_PARAMS_MAX; i++)
		buf_append_string(&text, "&a");
	assert_ok(url_parse(buf_string(&text), &url, &err), &err);
	assert_int_equal(url.param_count, URL_PARAMS_MAX);
	url_release(&url);
	buf_append_string(&text, "&a");
	assert_rc(RC_INVALID, url_parse(buf_string(&text), &url, &err), &err);
	assert_says(&err, "parameters");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts),    cmocka_unit_test(params), cmocka_unit_test(users),
		cmocka_unit_test(bad_ones), cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
