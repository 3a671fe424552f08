/* What a binary cache answers: from memory at once, or else after work in a thread that may wait. */
#include "server/binary_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "server/binary_cache_private.h"
#include "transfer/nar_body.h"

enum {
	DEFAULT_PRIORITY = 40,
	DEFAULT_LAYOUTS = 256 << 20,
	NARINFOS_BUDGET = 64 << 20,
};

void binary_cache_reply_error(struct http_exchange *exchange, enum rc rc, const struct err *err)
{
	int status = rc_to_http(rc);

	if (rc == RC_NOT_FOUND) {
		http_reply_text(exchange, 404, "not found");
		return;
	}
	if (status >= 500)
		log_error("%s: %s", exchange->path, err->message);
	http_reply_text(exchange, (unsigned)status, err->message);
}

/* ---- Replies that never change ---- */

static struct MHD_Response *text_response(const char *type, const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(text), (char *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);

	if (response)
		(void)MHD_add_response_header(response, "Content-Type", type);
	return response;
}

struct binary_cache *binary_cache_new(const struct binary_cache_options *options)
{
	struct binary_cache *cache = mem_zalloc(sizeof(*cache));
	char *info AUTO_FREE =
		mem_printf("StoreDir: " STORE_DIR "\nWantMassQuery: 1\nPriority: %u\n",
			   options->priority ? options->priority : (unsigned)DEFAULT_PRIORITY);

	cache->options = *options;
	cache->services = options->services;
	cache->layouts = nar_layouts_new(options->services,
					 options->layouts ? options->layouts : DEFAULT_LAYOUTS);
	if (options->decoded)
		cache->decoded = nar_decoded_new(options->decoded);
	if (options->uploads)
		cache->uploads = nar_uploads_new(options->services, &nar_upload_limits_default);
	cache->narinfos = lru_new(STORE_PATH_HASH_SIZE, NARINFOS_BUDGET, &rendered_lru);
	cache->cache_info = text_response("text/x-nix-cache-info", info);
	cache->health = text_response("text/plain", "ok\n");
	cache->absent = text_response("text/plain", "not found\n");
	if (!cache->cache_info || !cache->health || !cache->absent)
		abort();
	return cache;
}

void binary_cache_free(struct binary_cache *cache)
{
	if (!cache)
		return;
	lru_free(cache->narinfos);
	nar_layouts_free(cache->layouts);
	nar_decoded_free(cache->decoded);
	nar_uploads_free(cache->uploads);
	MHD_destroy_response(cache->cache_info);
	MHD_destroy_response(cache->health);
	MHD_destroy_response(cache->absent);
	free(cache);
}

/* ---- Requests ---- */

struct request *binary_cache_request_new(const struct http_route *route)
{
	struct request *request = mem_zalloc(sizeof(*request));

	request->route = *route;
	return request;
}

static void request_free(struct request *request)
{
	if (!request)
		return;
	nar_upload_free(request->upload);
	buf_release(&request->text);
	buf_release(&request->node_bytes);
	nar_layout_unref(request->layout);
	rendered_unref(request->rendered);
	free(request);
}

static enum http_next absent(struct binary_cache *cache, struct http_exchange *exchange)
{
	http_reply_shared(exchange, 404, cache->absent);
	return HTTP_REPLIED;
}

static enum http_next begin_narinfo(struct binary_cache *cache, struct http_exchange *exchange,
				    const struct http_route *route)
{
	struct rendered *rendered = narinfo_peek(cache, route->hash);

	if (!rendered) {
		exchange->state = binary_cache_request_new(route);
		return HTTP_WORK;
	}
	narinfo_reply(exchange, rendered);
	rendered_unref(rendered);
	return HTTP_REPLIED;
}

/* The bridges' form says how long the NAR is. */
static bool narsize_is(const struct http_exchange *exchange, uint64_t size)
{
	const char *narsize = http_parameter(exchange, "narsize");
	uint64_t value;

	return narsize && text_parse_u64(view_of_string(narsize), &value) && value == size;
}

static void reply_nar(struct binary_cache *cache, struct http_exchange *exchange,
		      struct request *request)
{
	if (request->route.kind == HTTP_ROUTE_NAR_BRIDGE &&
	    !narsize_is(exchange, nar_layout_nar_size(request->layout)))
		http_reply_text(exchange, 404, "no NAR of that narsize");
	else
		nar_reply(cache, exchange, &request->route, &request->node, request->layout);
}

static enum http_next begin_nar(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route)
{
	struct request *request = exchange->state = binary_cache_request_new(route);
	struct digest key;

	if (route->kind == HTTP_ROUTE_NAR_BRIDGE && !http_parameter(exchange, "narsize")) {
		http_reply_text(exchange, 400, "narsize is missing");
		return HTTP_REPLIED;
	}
	if (!base64_decode(BASE64_URL, route->node, &request->node_bytes) ||
	    node_decode(buf_view(&request->node_bytes), &request->node, NULL) != RC_OK ||
	    request->node.name.len > 0)
		return absent(cache, exchange);
	key = nar_layouts_key(&request->node);
	request->layout = nar_layouts_peek(cache->layouts, &key);
	if (!request->layout || request->layout->slice_count > 0)
		return HTTP_WORK;
	reply_nar(cache, exchange, request);
	return HTTP_REPLIED;
}

static enum http_next refuse_method(struct http_exchange *exchange)
{
	struct MHD_Response *response = text_response("text/plain", "only GET and HEAD\n");

	if (response) {
		(void)MHD_add_response_header(response, "Allow", "GET, HEAD");
		http_reply(exchange, 405, response);
	}
	return HTTP_REPLIED;
}

static enum http_next begin(void *context, struct http_exchange *exchange)
{
	struct binary_cache *cache = context;
	struct http_route route;

	if (exchange->method == HTTP_PUT && cache->uploads) {
		http_route_parse(view_of_string(exchange->path), &route);
		return upload_begin(cache, exchange, &route);
	}
	if (exchange->has_body || (exchange->method != HTTP_GET && exchange->method != HTTP_HEAD))
		return refuse_method(exchange);
	http_route_parse(view_of_string(exchange->path), &route);
	switch (route.kind) {
	case HTTP_ROUTE_CACHE_INFO:
		http_reply_shared(exchange, 200, cache->cache_info);
		return HTTP_REPLIED;
	case HTTP_ROUTE_HEALTH:
		http_reply_shared(exchange, 200, cache->health);
		return HTTP_REPLIED;
	case HTTP_ROUTE_NARINFO:
		return begin_narinfo(cache, exchange, &route);
	case HTTP_ROUTE_NAR:
	case HTTP_ROUTE_NAR_BRIDGE:
		return begin_nar(cache, exchange, &route);
	case HTTP_ROUTE_LISTING:
		exchange->state = binary_cache_request_new(&route);
		return HTTP_WORK;
	case HTTP_ROUTE_FILE:
		/* nix asks before it uploads. */
		if (!cache->uploads || exchange->method != HTTP_HEAD)
			break;
		exchange->state = binary_cache_request_new(&route);
		return HTTP_WORK;
	case HTTP_ROUTE_NONE:
		break;
	}
	return absent(cache, exchange);
}

static void take_body(void *context, struct http_exchange *exchange, struct view bytes,
		      size_t *taken)
{
	struct request *request = exchange->state;

	(void)context;
	if (request && request->is_upload) {
		upload_body(exchange, bytes, taken);
		return;
	}
	(void)refuse_method(exchange);
	*taken = bytes.len;
}

static enum rc reply_listing(struct binary_cache *cache, const struct op *op,
			     struct http_exchange *exchange, struct request *request)
{
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct MHD_Response *response;
	struct buf json = BUF_INIT;
	enum rc rc = path_info_service_get(cache->services->path_infos, op, request->route.hash,
					   &info, &request->err);

	if (rc == RC_OK)
		rc = listing_make(cache->services, op, &info.node, &json, &request->err);
	if (rc != RC_OK) {
		buf_release(&json);
		return rc;
	}
	response = MHD_create_response_from_buffer(json.len, json.ptr, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		buf_release(&json);
		return err_set(&request->err, RC_NO_MEMORY, "no memory for a listing");
	}
	(void)MHD_add_response_header(response, "Content-Type", "application/json");
	http_reply(exchange, 200, response);
	return RC_OK;
}

static void work(void *context, struct http_exchange *exchange, const struct op *op)
{
	struct binary_cache *cache = context;
	struct request *request = exchange->state;

	if (request->is_upload) {
		upload_work(cache, exchange, op);
		return;
	}
	if (request->route.kind == HTTP_ROUTE_FILE) {
		request->rc = upload_is_pending(cache, exchange, op, &request->err);
		return;
	}
	if (request->route.kind == HTTP_ROUTE_NARINFO) {
		request->rc = narinfo_get(cache, op, request->route.hash, &request->rendered,
					  &request->err);
		return;
	}
	if (request->route.kind == HTTP_ROUTE_LISTING) {
		request->rc = reply_listing(cache, op, exchange, request);
		return;
	}
	if (!request->layout)
		request->rc = nar_layouts_get(cache->layouts, op, &request->node, &request->layout,
					      &request->err);
	if (request->rc == RC_OK)
		request->rc =
			nar_body_check(request->layout, cache->services->blobs, op, &request->err);
}

static enum http_next end(void *context, struct http_exchange *exchange)
{
	struct binary_cache *cache = context;
	struct request *request = exchange->state;

	if (request->is_upload)
		return upload_end(exchange);
	if (request->rc == RC_NOT_FOUND)
		return absent(cache, exchange);
	if (request->rc != RC_OK)
		binary_cache_reply_error(exchange, request->rc, &request->err);
	else if (request->route.kind == HTTP_ROUTE_FILE)
		http_reply_text(exchange, 200, "it waits for its narinfo");
	else if (request->rendered)
		narinfo_reply(exchange, request->rendered);
	else
		reply_nar(cache, exchange, request);
	return HTTP_REPLIED;
}

static void close_exchange(void *context, struct http_exchange *exchange)
{
	(void)context;
	request_free(exchange->state);
	exchange->state = NULL;
}

void binary_cache_handlers(struct binary_cache *cache, struct http_handlers *out)
{
	*out = (struct http_handlers){ .context = cache,
				       .begin = begin,
				       .body = take_body,
				       .end = end,
				       .work = work,
				       .close = close_exchange };
}
