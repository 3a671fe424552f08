/* NARs of a binary cache: whole or in ranges, straight from a layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "server/binary_cache_private.h"
#include "transfer/nar_body.h"

enum { ETAG_MAX = 2 + NAR_LAYOUT_ID_HEX + 1 };

void nar_plain_id(const struct node *node, uint8_t id[NAR_LAYOUT_ID_SIZE])
{
	struct digest key = nar_layouts_key(node);

	memcpy(id, key.bytes, NAR_LAYOUT_ID_SIZE);
}

struct wish {
	uint64_t size;       /* of the whole body */
	char etag[ETAG_MAX]; /* of the current encoding */
	bool stale;          /* the URL names another encoding */
	uint64_t from, to;   /* what is sent */
};

static enum http_next reply_unsatisfiable(struct http_exchange *exchange, const struct wish *wish)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	char text[64];

	if (!response)
		return HTTP_REPLIED;
	snprintf(text, sizeof(text), "bytes */%ju", (uintmax_t)wish->size);
	(void)MHD_add_response_header(response, "ETag", wish->etag);
	(void)MHD_add_response_header(response, "Content-Range", text);
	http_reply(exchange, MHD_HTTP_RANGE_NOT_SATISFIABLE, response);
	return HTTP_REPLIED;
}

/* The status of the reply; wish->from and to are then what it has. A range of an encoding that is no
 * more is not there: whoever goes on with a download must not get bytes of another one. */
static unsigned decide(const struct http_exchange *exchange, struct wish *wish)
{
	const char *match = http_header(exchange, "If-Match");
	const char *range = http_header(exchange, "Range");
	const char *if_range = http_header(exchange, "If-Range");
	unsigned status = cache_preconditions(exchange, wish->etag);

	wish->from = 0;
	wish->to = wish->size;
	if (status != MHD_HTTP_OK)
		return status;
	if (!range || exchange->method != HTTP_GET)
		return MHD_HTTP_OK;
	if (if_range && strcmp(wish->etag, if_range) != 0)
		return MHD_HTTP_OK;
	switch (http_range_parse(view_of_string(range), wish->size, &wish->from, &wish->to)) {
	case HTTP_RANGE_NONE:
		return MHD_HTTP_OK;
	case HTTP_RANGE_PART:
		return wish->stale && !if_range && !match ? MHD_HTTP_NOT_FOUND
							  : MHD_HTTP_PARTIAL_CONTENT;
	case HTTP_RANGE_UNSATISFIABLE:
		break;
	}
	return wish->stale && !if_range && !match ? MHD_HTTP_NOT_FOUND
						  : MHD_HTTP_RANGE_NOT_SATISFIABLE;
}

/* ---- Its body ---- */

static enum rc read_body(void *context, const struct op *op, void *out, size_t len, size_t *got,
			 struct err *err)
{
	return nar_body_read(context, op, out, len, got, err);
}

static void free_body(void *context)
{
	nar_body_free(context);
}

static enum http_next reply_body(struct binary_cache *cache, struct http_exchange *exchange,
				 const struct wish *wish, unsigned status,
				 struct nar_layout *layout, bool plain)
{
	struct nar_body *nar =
		nar_body_new(layout, cache->services->blobs, plain, wish->from, wish->to);
	const struct http_body body = { .len = wish->to - wish->from,
					.remote = cache->remote,
					.context = nar,
					.read = read_body,
					.free = free_body };
	struct MHD_Response *response;
	struct err err = ERR_INIT;
	char text[96];
	enum rc rc;

	nar_body_use(nar, cache->decoded);
	rc = http_body_response(exchange, &body, &response, &err);
	if (rc != RC_OK)
		return cache_reply_error(exchange, rc, &err);
	(void)MHD_add_response_header(response, "Content-Type",
				      plain ? "application/x-nix-nar" : "application/zstd");
	(void)MHD_add_response_header(response, "Accept-Ranges", "bytes");
	(void)MHD_add_response_header(response, "ETag", wish->etag);
	(void)MHD_add_response_header(response, "Cache-Control",
				      wish->stale ? "max-age=3600" : "max-age=31536000, immutable");
	if (status == MHD_HTTP_PARTIAL_CONTENT) {
		snprintf(text, sizeof(text), "bytes %ju-%ju/%ju", (uintmax_t)wish->from,
			 (uintmax_t)wish->to - 1, (uintmax_t)wish->size);
		(void)MHD_add_response_header(response, "Content-Range", text);
	}
	http_reply(exchange, status, response);
	return HTTP_REPLIED;
}

/* A GET or HEAD of it: whole, a range, or why not. */
static enum http_next reply_nar(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route, const struct node *node,
				struct nar_layout *layout)
{
	bool plain = route->kind != HTTP_ROUTE_NAR || route->plain;
	const uint8_t *id = layout->id;
	uint8_t plain_id[NAR_LAYOUT_ID_SIZE];
	char hex[NAR_LAYOUT_ID_HEX + 1];
	struct wish wish = { 0 };
	unsigned status;

	if (plain) {
		nar_plain_id(node, plain_id);
		id = plain_id;
	}
	hex_encode(id, NAR_LAYOUT_ID_SIZE, hex);
	snprintf(wish.etag, sizeof(wish.etag), "\"%s\"", hex);
	wish.size = plain ? nar_layout_nar_size(layout) : nar_layout_size(layout);
	wish.stale =
		route->kind == HTTP_ROUTE_NAR && memcmp(route->id, id, NAR_LAYOUT_ID_SIZE) != 0;
	status = decide(exchange, &wish);
	switch (status) {
	case MHD_HTTP_OK:
	case MHD_HTTP_PARTIAL_CONTENT:
		return reply_body(cache, exchange, &wish, status, layout, plain);
	case MHD_HTTP_NOT_FOUND:
		http_reply_text(exchange, status, "this encoding is no more");
		return HTTP_REPLIED;
	case MHD_HTTP_RANGE_NOT_SATISFIABLE:
		return reply_unsatisfiable(exchange, &wish);
	default:
		return cache_reply_empty(exchange, status, wish.etag);
	}
}

/* ---- Requests ---- */

struct nar_request {
	struct cache_request base;
	struct buf node_bytes;
	struct node node; /* borrows from node_bytes */
	struct nar_layout *layout;
};

/* The bridges' form says how long the NAR is. */
static bool narsize_is(const struct http_exchange *exchange, uint64_t size)
{
	const char *narsize = http_parameter(exchange, "narsize");
	uint64_t value;

	return narsize && text_parse_u64(view_of_string(narsize), &value) && value == size;
}

static enum http_next reply(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct nar_request *request = exchange->state;
	const struct http_route *route = &request->base.route;

	if (route->kind == HTTP_ROUTE_NAR_BRIDGE &&
	    !narsize_is(exchange, nar_layout_nar_size(request->layout))) {
		http_reply_text(exchange, 404, "no NAR of that narsize");
		return HTTP_REPLIED;
	}
	return reply_nar(cache, exchange, route, &request->node, request->layout);
}

static bool decode_node(struct nar_request *request)
{
	return node_decode(buf_view(&request->node_bytes), &request->node, NULL) == RC_OK &&
	       request->node.name.len == 0;
}

static enum http_next begin(struct binary_cache *cache, struct http_exchange *exchange,
			    const struct http_route *route)
{
	struct nar_request *request =
		cache_request_new(exchange, &nar_get_handler, route, sizeof(*request));
	struct digest key;

	if (route->kind == HTTP_ROUTE_NAR_OF_PATH)
		return cache_find(cache, &request->base);
	if (route->kind == HTTP_ROUTE_NAR_BRIDGE && !http_parameter(exchange, "narsize")) {
		http_reply_text(exchange, 400, "narsize is missing");
		return HTTP_REPLIED;
	}
	if (!base64_decode(BASE64_URL, route->node, &request->node_bytes) || !decode_node(request))
		return cache_reply_absent(cache, exchange);
	key = nar_layouts_key(&request->node);
	request->layout = nar_layouts_peek(cache->layouts, &key);
	if (!request->layout || request->layout->slice_count > 0 || cache->remote)
		return cache_work(cache);
	return reply(cache, exchange);
}

/* nix-serve names NARs by their store path, and perhaps by the NAR's hash. */
static enum rc find_node(struct binary_cache *cache, const struct op *op,
			 struct nar_request *request, struct err *err)
{
	const struct http_route *route = &request->base.route;
	struct path_info info AUTO_PATH_INFO = { 0 };
	enum rc rc = path_info_service_get(cache_path_infos(cache, &request->base), op, route->hash,
					   &info, err);

	if (rc != RC_OK)
		return rc;
	if (route->has_nar_hash &&
	    memcmp(route->nar_hash, info.nar_sha256.bytes, sizeof(route->nar_hash)) != 0)
		return err_set(err, RC_NOT_FOUND, "the path has another NAR");
	node_encode(&info.node, false, &request->node_bytes);
	return decode_node(request) ? RC_OK : err_set(err, RC_CORRUPT, "a node that is none");
}

static void work(struct binary_cache *cache, struct http_exchange *exchange, const struct op *op)
{
	struct nar_request *request = exchange->state;
	struct err *err = &request->base.err;
	enum rc rc = RC_OK;

	if (request->base.route.kind == HTTP_ROUTE_NAR_OF_PATH)
		rc = find_node(cache, op, request, err);
	if (rc == RC_OK && !request->layout)
		rc = nar_layouts_get(cache->layouts, op, &request->node, &request->layout, err);
	if (rc == RC_OK)
		rc = nar_body_check(request->layout, cache->services->blobs, op, err);
	request->base.rc = rc;
	/* Its beginning is read, which is for this thread where it lies on another machine. */
	if (rc == RC_OK && cache->remote)
		(void)reply(cache, exchange);
}

static enum http_next end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct nar_request *request = exchange->state;

	if (request->base.rc == RC_NOT_FOUND)
		return request->base.route.kind == HTTP_ROUTE_NAR_OF_PATH &&
				       cache_find_far(cache, &request->base)
			       ? HTTP_WORK_REMOTE
			       : cache_reply_absent(cache, exchange);
	if (request->base.rc != RC_OK)
		return cache_reply_error(exchange, request->base.rc, &request->base.err);
	return reply(cache, exchange);
}

static void release(struct cache_request *base)
{
	struct nar_request *request = CONTAINER_OF(base, struct nar_request, base);

	buf_release(&request->node_bytes);
	nar_layout_unref(request->layout);
}

const struct cache_handler nar_get_handler = {
	.begin = begin, .work = work, .end = end, .release = release
};
