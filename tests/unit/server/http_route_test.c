/* What requests to a binary cache ask for: paths, ranges, lists of tags. */
#include "unit/testing.h"

#include "server/http_route.h"

#define HASH "164lxbkvgz5nivqmh4ad037xnj38wvbm"
#define ID   "0123456789abcdef0123456789abcdef"

static enum http_route_kind kind_of(const char *path, struct http_route *route)
{
	http_route_parse(view_of_string(path), route);
	return route->kind;
}

static void paths(void **state)
{
	static const struct {
		const char *path;
		enum http_route_kind kind;
	} rows[] = {
		{ "/nix-cache-info", HTTP_ROUTE_CACHE_INFO },
		{ "/healthz", HTTP_ROUTE_HEALTH },
		{ "/" HASH ".narinfo", HTTP_ROUTE_NARINFO },
		{ "/" HASH ".ls", HTTP_ROUTE_LISTING },
		{ "/nar/Ci-_9/" ID ".nar.zst", HTTP_ROUTE_NAR },
		{ "/nar/Ci-_9/" ID ".nar", HTTP_ROUTE_NAR },
		{ "/nar/snix-castore/Ci-_9", HTTP_ROUTE_NAR_BRIDGE },
		{ "/nar/tvix-castore/Ci-_9", HTTP_ROUTE_NAR_BRIDGE },
		{ "/nar/" HASH ".nar.xz", HTTP_ROUTE_FILE },
		{ "/nar/a/b.nar", HTTP_ROUTE_FILE },
		{ "", HTTP_ROUTE_NONE },
		{ "/", HTTP_ROUTE_NONE },
		{ "nix-cache-info", HTTP_ROUTE_NONE },
		{ "//nix-cache-info", HTTP_ROUTE_NONE },
		{ "/nix-cache-info/", HTTP_ROUTE_NONE },
		{ "/" HASH "x.narinfo", HTTP_ROUTE_NONE },
		{ "/e64lxbkvgz5nivqmh4ad037xnj38wvbm.narinfo", HTTP_ROUTE_NONE },
		{ "/" HASH, HTTP_ROUTE_NONE },
		{ "/.narinfo", HTTP_ROUTE_NONE },
		{ "/log/x.drv", HTTP_ROUTE_DOCUMENT },
		{ "/realisations/sha256:x!out.doi", HTTP_ROUTE_DOCUMENT },
		{ "/realisations/sha256:x%21out.doi", HTTP_ROUTE_DOCUMENT },
		{ "/build-trace-v2/x.drv/out.doi", HTTP_ROUTE_DOCUMENT },
		{ "/debuginfo/0123.debug", HTTP_ROUTE_DOCUMENT },
		{ "/log/", HTTP_ROUTE_NONE },
		{ "/logs/x", HTTP_ROUTE_NONE },
		{ "/nar/", HTTP_ROUTE_NONE },
		{ "/nar/..", HTTP_ROUTE_NONE },
		{ "/nar/../healthz", HTTP_ROUTE_NONE },
		{ "/nar/a/./b", HTTP_ROUTE_NONE },
		{ "/nar//a", HTTP_ROUTE_NONE },
		{ "/nar/a/", HTTP_ROUTE_NONE },
		{ "/nar/%2e%2e/a", HTTP_ROUTE_NONE },
		{ "/nar/a b", HTTP_ROUTE_NONE },
		{ "/nar/a\\b", HTTP_ROUTE_NONE },
		{ "/nar/snix-castore/", HTTP_ROUTE_NONE },
		{ "/nar/snix-castore/a/b", HTTP_ROUTE_NONE },
		{ "/nar/snix-castore/Ci==", HTTP_ROUTE_NONE },
	};
	struct http_route route;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (kind_of(rows[i].path, &route) != rows[i].kind)
			fail_msg("%s: %d", rows[i].path, route.kind);
	}
	kind_of("/nar/Ci-_9/" ID ".nar.zst", &route);
	assert_view_equal(route.node, view_of_string("Ci-_9"));
	assert_int_equal(route.id[1], 0x23);
	assert_false(route.plain);
	kind_of("/nar/Ci-_9/" ID ".nar", &route);
	assert_true(route.plain);
}

static void ranges(void **state)
{
	static const struct {
		const char *value;
		enum http_range kind;
		uint64_t from, to;
	} rows[] = {
		{ "bytes=0-0", HTTP_RANGE_PART, 0, 1 },
		{ "bytes=0-", HTTP_RANGE_PART, 0, 100 },
		{ "bytes=10-19", HTTP_RANGE_PART, 10, 20 },
		{ " bytes=10 - 19 ", HTTP_RANGE_PART, 10, 20 },
		{ "bytes=99-", HTTP_RANGE_PART, 99, 100 },
		{ "bytes=50-1000", HTTP_RANGE_PART, 50, 100 },
		{ "bytes=50-18446744073709551615", HTTP_RANGE_PART, 50, 100 },
		{ "bytes=-1", HTTP_RANGE_PART, 99, 100 },
		{ "bytes=-1000", HTTP_RANGE_PART, 0, 100 },
		{ "bytes=100-", HTTP_RANGE_UNSATISFIABLE, 0, 100 },
		{ "bytes=18446744073709551615-", HTTP_RANGE_UNSATISFIABLE, 0, 100 },
		{ "bytes=-0", HTTP_RANGE_UNSATISFIABLE, 0, 100 },
		{ "bytes=18446744073709551616-", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=9-8", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=0-1,5-6", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=-", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=--5", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=+1-5", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes=0x1-5", HTTP_RANGE_NONE, 0, 100 },
		{ "bytes", HTTP_RANGE_NONE, 0, 100 },
		{ "items=0-5", HTTP_RANGE_NONE, 0, 100 },
		{ "", HTTP_RANGE_NONE, 0, 100 },
	};
	uint64_t from, to;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum http_range kind =
			http_range_parse(view_of_string(rows[i].value), 100, &from, &to);

		if (kind != rows[i].kind || from != rows[i].from || to != rows[i].to)
			fail_msg("%s: %d, %ju to %ju", rows[i].value, kind, (uintmax_t)from,
				 (uintmax_t)to);
	}
	assert_int_equal(http_range_parse(view_of_string("bytes=-5"), 0, &from, &to),
			 HTTP_RANGE_UNSATISFIABLE);
}

static void tags(void **state)
{
	struct view tag = view_of_string("\"x\"");

	(void)state;
	assert_true(http_etag_listed(view_of_string("\"x\""), tag, false));
	assert_true(http_etag_listed(view_of_string("\"a\", \"x\""), tag, false));
	assert_true(http_etag_listed(view_of_string("*"), tag, false));
	assert_true(http_etag_listed(view_of_string("W/\"x\""), tag, true));
	assert_false(http_etag_listed(view_of_string("W/\"x\""), tag, false));
	assert_false(http_etag_listed(view_of_string("x"), tag, true));
	assert_false(http_etag_listed(view_of_string(",,"), tag, true));
	assert_false(http_etag_listed(view_of_string(""), tag, true));
}

static void documents(void **state)
{
	static const char *const rows[][2] = {
		{ "/log/x.drv", "log/x.drv" },
		{ "/realisations/sha256:x%21out.doi", "realisations/sha256:x!out.doi" },
		{ "/realisations/sha256:x!out.doi", "realisations/sha256:x!out.doi" },
		{ "/" HASH ".ls", HASH ".ls" },
		{ "/log/..", NULL },
		{ "/log/%2e%2e/x", NULL },
		{ "/log/a%2fb", "log/a/b" },
		{ "/log/a%2f..%2f..%2fb", NULL },
		{ "/log/a//b", NULL },
		{ "/log/a%00b", NULL },
		{ "/log/a%0ab", NULL },
		{ "/log/a%", NULL },
		{ "/log/a%2", NULL },
		{ "/log/a%2x", NULL },
		{ "/log/a%25b", NULL },
		{ "/log/a b", NULL },
		{ "/log/a\\b", NULL },
		{ "log/a", NULL },
		{ "/", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf name CLEANUP(buf_release) = BUF_INIT;
		bool is = http_route_document(view_of_string(rows[i][0]), &name);

		print_message("%s\n", rows[i][0]);
		assert_int_equal(is, rows[i][1] != NULL);
		assert_string_equal(buf_string(&name), rows[i][1] ? rows[i][1] : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(documents),
		cmocka_unit_test(ranges),
		cmocka_unit_test(tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
