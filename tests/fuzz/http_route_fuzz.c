/* Paths and Range headers of HTTP requests: first a line that is both, then a size. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "server/http_route.h"

static void check_path(struct view path)
{
	struct http_route route;

	http_route_parse(path, &route);
	if (route.kind == HTTP_ROUTE_NAR || route.kind == HTTP_ROUTE_NAR_BRIDGE) {
		FUZZ_CHECK(route.node.len > 0 && route.node.ptr > path.ptr);
		FUZZ_CHECK(route.node.ptr + route.node.len <= path.ptr + path.len);
	} else {
		FUZZ_CHECK(route.node.len == 0);
	}
	if (route.kind == HTTP_ROUTE_NONE)
		return;
	/* What names something has no way out in it, however it is read. */
	FUZZ_CHECK(!memmem(path.ptr, path.len, "/../", 4) && !memmem(path.ptr, path.len, "//", 2));
	FUZZ_CHECK(!memchr(path.ptr, '%', path.len) && !memchr(path.ptr, '\0', path.len));
}

static void check_range(struct view value, uint64_t size)
{
	uint64_t from, to;
	enum http_range kind = http_range_parse(value, size, &from, &to);

	FUZZ_CHECK(from <= to && to <= size);
	if (kind == HTTP_RANGE_PART)
		FUZZ_CHECK(from < to);
	else
		FUZZ_CHECK(from == 0 && to == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view input = view_of(bytes, len);

	check_path(input);
	check_range(input, 0);
	check_range(input, 1);
	check_range(input, 1000);
	check_range(input, UINT64_MAX);
	(void)http_etag_listed(input, view_of_string("\"x\""), true);
	FUZZ_CHECK(len == 0 || http_etag_listed(view_of_string("\"y\", \"x\""),
						view_of_string("\"x\""), false));
	return 0;
}
