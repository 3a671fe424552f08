/* What a binary cache answers: from memory at once, or else after work in a thread that may wait. */
#include "server/binary_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/binary_cache_private.h"

enum {
	DEFAULT_LAYOUTS = 256 << 20,
	NARINFOS_BUDGET = 64 << 20,
};

enum http_next cache_reply_error(struct http_exchange *exchange, enum rc rc, const struct err *err)
{
	int status = rc_to_http(rc);

	if (status >= 500)
		log_error("%s: %s", exchange->path, err->message);
	http_reply_text(exchange, (unsigned)status,
			rc == RC_NOT_FOUND ? "not found" : err->message);
	return HTTP_REPLIED;
}

enum http_next cache_reply_absent(struct binary_cache *cache, struct http_exchange *exchange)
{
	http_reply_shared(exchange, 404, cache->absent);
	return HTTP_REPLIED;
}

static ssize_t nothing(void *context, uint64_t at, char *out, size_t len)
{
	(void)context, (void)at, (void)out, (void)len;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

enum http_next cache_reply_empty(struct http_exchange *exchange, unsigned status, const char *etag)
{
	/* A length in 304 would be that of what is not sent. Of an unknown one the library says none, but
	 * sends the end of a chunked body unless the connection ends. */
	struct MHD_Response *response =
		status == MHD_HTTP_NOT_MODIFIED
			? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1, nothing, NULL,
							    NULL)
			: MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

	if (response && status == MHD_HTTP_NOT_MODIFIED)
		(void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT,
					       MHD_RO_END);
	if (response) {
		(void)MHD_add_response_header(response, "ETag", etag);
		http_reply(exchange, status, response);
	}
	return HTTP_REPLIED;
}

unsigned cache_preconditions(const struct http_exchange *exchange, const char *etag)
{
	const char *match = http_header(exchange, "If-Match");
	const char *none_match = http_header(exchange, "If-None-Match");

	if (match && !http_etag_listed(view_of_string(match), view_of_string(etag), false))
		return MHD_HTTP_PRECONDITION_FAILED;
	if (none_match && http_etag_listed(view_of_string(none_match), view_of_string(etag), true))
		return MHD_HTTP_NOT_MODIFIED;
	return MHD_HTTP_OK;
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
	char *info AUTO_FREE = mem_printf(
		"StoreDir: " STORE_DIR "\nWantMassQuery: 1\nPriority: %u\n", options->priority);

	cache->options = *options;
	pthread_mutex_init(&cache->token_lock, NULL);
	if (options->upload_token)
		binary_cache_set_token(cache, options->upload_token);
	cache->options.upload_token = NULL;
	cache->options.publish.keep_ns = options->upload_limits.keep_ns;
	cache->services = options->services;
	cache->remote = blob_service_latency(options->services->blobs) == BLOB_LATENCY_REMOTE ||
			directory_service_is_remote(options->services->directories);
	if (!cache->remote)
		cache->near = path_info_service_near(options->services->path_infos);
	cache->layouts = nar_layouts_new(options->services,
					 options->layouts ? options->layouts : DEFAULT_LAYOUTS);
	if (options->decoded)
		cache->decoded = nar_decoded_new(options->decoded);
	if (options->uploads)
		cache->uploads = nar_uploads_new(options->services, &options->upload_limits);
	cache->narinfos = lru_new(STORE_PATH_HASH_SIZE, NARINFOS_BUDGET, &rendered_lru);
	cache->cache_info = text_response("text/x-nix-cache-info", info);
	cache->health = text_response("text/plain", "ok\n");
	cache->absent = text_response("text/plain", "not found\n");
	if (!cache->cache_info || !cache->health || !cache->absent)
		abort();
	/* What is not there now may be there soon. */
	(void)MHD_add_response_header(cache->absent, "Cache-Control", "max-age=10");
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
	pthread_mutex_destroy(&cache->token_lock);
	free(cache);
}

/* ---- Fixed pages ---- */

static enum http_next begin_cache_info(struct binary_cache *cache, struct http_exchange *exchange,
				       const struct http_route *route)
{
	(void)route;
	http_reply_shared(exchange, 200, cache->cache_info);
	return HTTP_REPLIED;
}

static enum http_next begin_health(struct binary_cache *cache, struct http_exchange *exchange,
				   const struct http_route *route)
{
	(void)route;
	http_reply_shared(exchange, 200, cache->health);
	return HTTP_REPLIED;
}

static enum http_next begin_absent(struct binary_cache *cache, struct http_exchange *exchange,
				   const struct http_route *route)
{
	(void)route;
	return cache_reply_absent(cache, exchange);
}

static const struct cache_handler cache_info_handler = { .begin = begin_cache_info },
				  health_handler = { .begin = begin_health },
				  absent_handler = { .begin = begin_absent };

/* ---- Routes ---- */

static const struct {
	const struct cache_handler *get; /* and HEAD */
	const struct cache_handler *put; /* NULL: nobody may */
} routes[] = {
	[HTTP_ROUTE_NONE] = { &absent_handler, NULL },
	[HTTP_ROUTE_CACHE_INFO] = { &cache_info_handler, NULL },
	[HTTP_ROUTE_HEALTH] = { &health_handler, NULL },
	[HTTP_ROUTE_NARINFO] = { &narinfo_get_handler, &narinfo_put_handler },
	[HTTP_ROUTE_LISTING] = { &listing_get_handler, &document_put_handler },
	[HTTP_ROUTE_DOCUMENT] = { &document_get_handler, &document_put_handler },
	[HTTP_ROUTE_NAR] = { &nar_get_handler, &nar_put_handler },
	[HTTP_ROUTE_NAR_BRIDGE] = { &nar_get_handler, &nar_put_handler },
	[HTTP_ROUTE_NAR_OF_PATH] = { &nar_get_handler, &nar_put_handler },
	[HTTP_ROUTE_FILE] = { &file_get_handler, &nar_put_handler },
};

static enum http_next refuse_method(const struct binary_cache *cache,
				    struct http_exchange *exchange, const struct http_route *route)
{
	bool put = cache->uploads && routes[route->kind].put;
	const char *allow = put ? "GET, HEAD, PUT" : "GET, HEAD";
	char *text AUTO_FREE = mem_printf("only %s\n", allow);
	struct MHD_Response *response = text_response("text/plain", text);

	if (response) {
		(void)MHD_add_response_header(response, "Allow", allow);
		http_reply(exchange, 405, response);
	}
	return HTTP_REPLIED;
}

void *cache_request_new(struct http_exchange *exchange, const struct cache_handler *handler,
			const struct http_route *route, size_t size)
{
	struct cache_request *request = mem_zalloc(size);

	request->handler = handler;
	request->route = *route;
	exchange->state = request;
	return request;
}

enum http_next cache_find(const struct binary_cache *cache, struct cache_request *request)
{
	request->far = !cache->near;
	return request->far ? HTTP_WORK_REMOTE : HTTP_WORK;
}

struct path_info_service *cache_path_infos(const struct binary_cache *cache,
					   const struct cache_request *request)
{
	return request->far ? cache->services->path_infos : cache->near;
}

bool cache_find_far(const struct binary_cache *cache, struct cache_request *request)
{
	if (request->far || cache->near == cache->services->path_infos)
		return false;
	request->far = true;
	return true;
}

static enum http_next begin(void *context, struct http_exchange *exchange)
{
	struct binary_cache *cache = context;
	struct http_route route;

	http_route_parse(view_of_string(exchange->path), &route);
	if (exchange->method == HTTP_PUT && cache->uploads) {
		if (!cache_may_upload(cache, exchange))
			return cache_refuse_upload(exchange);
		return routes[route.kind].put
			       ? routes[route.kind].put->begin(cache, exchange, &route)
			       : refuse_method(cache, exchange, &route);
	}
	if (exchange->has_body || (exchange->method != HTTP_GET && exchange->method != HTTP_HEAD))
		return refuse_method(cache, exchange, &route);
	return routes[route.kind].get->begin(cache, exchange, &route);
}

static const struct cache_handler *handler_of(const struct http_exchange *exchange)
{
	return ((const struct cache_request *)exchange->state)->handler;
}

static void take_body(void *context, struct http_exchange *exchange, struct view bytes,
		      size_t *taken)
{
	(void)context;
	handler_of(exchange)->body(exchange, bytes, taken);
}

static void work(void *context, struct http_exchange *exchange, const struct op *op)
{
	handler_of(exchange)->work(context, exchange, op);
}

static enum http_next end(void *context, struct http_exchange *exchange)
{
	return handler_of(exchange)->end(context, exchange);
}

static void close_exchange(void *context, struct http_exchange *exchange)
{
	struct cache_request *request = exchange->state;

	(void)context;
	exchange->state = NULL;
	if (request && request->handler->release)
		request->handler->release(request);
	free(request);
}

static bool is_health(void *context, const struct http_exchange *exchange)
{
	(void)context;
	return strcmp(exchange->path, "/healthz") == 0;
}

void binary_cache_handlers(struct binary_cache *cache, struct http_handlers *out)
{
	*out = (struct http_handlers){ .context = cache,
				       .begin = begin,
				       .body = take_body,
				       .end = end,
				       .work = work,
				       .close = close_exchange,
				       .is_health = is_health };
}
