/* Paths, ranges and lists of tags of HTTP requests. */
#include "server/http_route.h"

#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "nix/nixbase32.h"
#include "service/document/document_store.h"

static bool skip_prefix(struct view *text, const char *prefix)
{
	size_t len = strlen(prefix);

	if (text->len < len || memcmp(text->ptr, prefix, len) != 0)
		return false;
	*text = view_slice(*text, len, text->len - len);
	return true;
}

static bool drop_suffix(struct view *text, const char *suffix)
{
	size_t len = strlen(suffix);

	if (text->len < len || memcmp(text->ptr + text->len - len, suffix, len) != 0)
		return false;
	text->len -= len;
	return true;
}

static bool is_base64url(struct view text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_'))
			return false;
	}
	return text.len > 0;
}

/* "<base64url>/<id>.nar[.zst]" */
static bool parse_nar(struct view rest, struct http_route *out)
{
	const uint8_t *slash = memchr(rest.ptr, '/', rest.len);
	struct view node, file;

	if (!slash)
		return false;
	node = view_of(rest.ptr, (size_t)(slash - rest.ptr));
	file = view_slice(rest, node.len + 1, rest.len - node.len - 1);
	out->plain = !drop_suffix(&file, ".zst");
	if (!drop_suffix(&file, ".nar") || !is_base64url(node) ||
	    !hex_decode(file, out->id, sizeof(out->id)))
		return false;
	out->node = node;
	out->kind = HTTP_ROUTE_NAR;
	return true;
}

/* "<hash>[-<NAR's hash>].nar", both in nixbase32 */
static bool parse_nar_of_path(struct view rest, struct http_route *out)
{
	enum { HASH_CHARS = 32 };

	if (!drop_suffix(&rest, ".nar") || rest.len < HASH_CHARS ||
	    !nixbase32_decode(view_slice(rest, 0, HASH_CHARS), out->hash, sizeof(out->hash)))
		return false;
	out->kind = HTTP_ROUTE_NAR_OF_PATH;
	out->has_nar_hash = rest.len > HASH_CHARS;
	return !out->has_nar_hash ||
	       (rest.ptr[HASH_CHARS] == '-' &&
		nixbase32_decode(view_slice(rest, HASH_CHARS + 1, rest.len - HASH_CHARS - 1),
				 out->nar_hash, sizeof(out->nar_hash)));
}

static bool is_file_name(struct view rest)
{
	struct view segment = { rest.ptr, 0 };

	for (size_t i = 0; i <= rest.len; i++) {
		if (i < rest.len && rest.ptr[i] != '/') {
			uint8_t c = rest.ptr[i];

			if (c <= ' ' || c >= 0x7f || c == '%' || c == '\\')
				return false;
			segment.len++;
			continue;
		}
		if (segment.len == 0 || view_equal_string(segment, ".") ||
		    view_equal_string(segment, ".."))
			return false;
		segment = (struct view){ rest.ptr + i + 1, 0 };
	}
	return true;
}

static void parse_below_nar(struct view rest, struct http_route *out)
{
	struct view node = rest;

	if (skip_prefix(&node, "snix-castore/") || skip_prefix(&node, "tvix-castore/")) {
		if (!is_base64url(node))
			return;
		out->node = node;
		out->kind = HTTP_ROUTE_NAR_BRIDGE;
		return;
	}
	if (parse_nar(rest, out))
		return;
	memset(out, 0, sizeof(*out));
	if (parse_nar_of_path(rest, out))
		return;
	memset(out, 0, sizeof(*out));
	if (is_file_name(rest))
		out->kind = HTTP_ROUTE_FILE;
}

bool http_route_document(struct view path, struct buf *out)
{
	size_t start = out->len;

	if (path.len < 2 || path.len > HTTP_ROUTE_PATH_MAX || path.ptr[0] != '/')
		return false;
	for (size_t i = 1; i < path.len; i++) {
		uint8_t c = path.ptr[i];

		if (c == '%' &&
		    (path.len - i < 3 || !hex_decode(view_slice(path, i + 1, 2), &c, 1))) {
			out->len = start;
			return false;
		}
		i += path.ptr[i] == '%' ? 2 : 0;
		buf_append_byte(out, c);
	}
	if (out->len - start <= DOCUMENT_NAME_MAX &&
	    is_file_name(view_of(out->ptr + start, out->len - start)))
		return true;
	out->len = start;
	return false;
}

static bool is_document(struct view rest)
{
	static const char *const places[] = { "log/", "realisations/", "build-trace-v2/",
					      "debuginfo/" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct view name = rest;

		if (skip_prefix(&name, places[i]))
			return name.len > 0;
	}
	return false;
}

void http_route_parse(struct view path, struct http_route *out)
{
	struct view rest = path;

	memset(out, 0, sizeof(*out));
	if (path.len > HTTP_ROUTE_PATH_MAX || !skip_prefix(&rest, "/"))
		return;
	if (view_equal_string(rest, "nix-cache-info")) {
		out->kind = HTTP_ROUTE_CACHE_INFO;
	} else if (view_equal_string(rest, "healthz")) {
		out->kind = HTTP_ROUTE_HEALTH;
	} else if (skip_prefix(&rest, "nar/")) {
		parse_below_nar(rest, out);
	} else if (is_document(rest)) {
		out->kind = HTTP_ROUTE_DOCUMENT;
	} else {
		enum http_route_kind kind = HTTP_ROUTE_NONE;

		if (drop_suffix(&rest, ".narinfo"))
			kind = HTTP_ROUTE_NARINFO;
		else if (drop_suffix(&rest, ".ls"))
			kind = HTTP_ROUTE_LISTING;
		if (kind != HTTP_ROUTE_NONE && nixbase32_decode(rest, out->hash, sizeof(out->hash)))
			out->kind = kind;
	}
}

static struct view trim(struct view text)
{
	while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
		text = view_slice(text, 1, text.len - 1);
	while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* "bytes=", in any case. */
static bool skip_unit(struct view *value)
{
	static const char unit[] = "bytes=";
	size_t len = sizeof(unit) - 1;

	if (value->len < len || strncasecmp((const char *)value->ptr, unit, len) != 0)
		return false;
	*value = view_slice(*value, len, value->len - len);
	return true;
}

enum http_range http_range_parse(struct view value, uint64_t size, uint64_t *from, uint64_t *to)
{
	struct view first, last;
	const uint8_t *dash;
	uint64_t a = 0, b = 0;

	*from = 0;
	*to = size;
	value = trim(value);
	if (!skip_unit(&value) || !(dash = memchr(value.ptr, '-', value.len)))
		return HTTP_RANGE_NONE;
	first = trim(view_of(value.ptr, (size_t)(dash - value.ptr)));
	last = trim(view_of(dash + 1, value.len - (size_t)(dash + 1 - value.ptr)));
	if ((first.len == 0 && last.len == 0) || (first.len > 0 && !text_parse_u64(first, &a)) ||
	    (last.len > 0 && !text_parse_u64(last, &b)))
		return HTTP_RANGE_NONE;
	if (first.len == 0) {
		if (b == 0 || size == 0)
			return HTTP_RANGE_UNSATISFIABLE;
		*from = b < size ? size - b : 0;
		return HTTP_RANGE_PART;
	}
	if (last.len > 0 && b < a)
		return HTTP_RANGE_NONE;
	if (a >= size)
		return HTTP_RANGE_UNSATISFIABLE;
	*from = a;
	if (last.len > 0 && b < size)
		*to = b + 1;
	return HTTP_RANGE_PART;
}

bool http_etag_listed(struct view list, struct view tag, bool weak)
{
	while (list.len > 0) {
		const uint8_t *comma = memchr(list.ptr, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.ptr) : list.len;
		struct view item = trim(view_of(list.ptr, len));

		if (view_equal_string(item, "*"))
			return true;
		if (weak)
			(void)skip_prefix(&item, "W/");
		if (view_equal(item, tag))
			return true;
		list = view_slice(list, comma ? len + 1 : len, list.len - (comma ? len + 1 : len));
	}
	return false;
}
