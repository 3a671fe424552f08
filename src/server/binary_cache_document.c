/*
 * What lies beside store paths: build logs, realisations, debug information, listings. Clients that may
 * upload put it there as it is; it is given back as it is, but that debug information names the NAR as it
 * is called here.
 */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "server/binary_cache_private.h"
#include "transfer/nar_alias.h"

enum { SMALL_MAX = 1 << 20 }; /* of all but logs */

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_debuginfo(const struct buf *name)
{
	return name->len > 10 && memcmp(name->ptr, "debuginfo/", 10) == 0;
}

static size_t most_of(const struct buf *name)
{
	return name->len > 4 && memcmp(name->ptr, "log/", 4) == 0 ? DOCUMENT_MAX : SMALL_MAX;
}

/* ---- Debug information: {"archive": "../nar/…", "member": "…"} ---- */

static json_t *parse_debuginfo(const struct buf *text, const char **archive)
{
	json_t *root = json_loadb((const char *)text->ptr, text->len, 0, NULL);

	*archive = json_string_value(json_object_get(root, "archive"));
	if (*archive && starts_with(*archive, "../nar/"))
		return root;
	json_decref(root);
	return NULL;
}

/* The NAR comes later: whoever publishes it says which path that is. */
static enum rc expect_nar(struct binary_cache *cache, const struct op *op, const struct buf *text,
			  struct err *err)
{
	const char *archive;
	json_t *root = parse_debuginfo(text, &archive);
	enum rc rc = RC_OK;

	if (root)
		rc = nar_alias_expect(cache->services->documents, op,
				      view_of_string(archive + strlen("../")), err);
	json_decref(root);
	return rc;
}

static void rename_nar(struct binary_cache *cache, const struct op *op, struct buf *text)
{
	char hash[STORE_PATH_HASH_CHARS + 1];
	const char *archive;
	json_t *root = parse_debuginfo(text, &archive);
	char *printed;

	if (root && nar_alias_get(cache->services->documents, op,
				  view_of_string(archive + strlen("../")), hash, NULL) == RC_OK) {
		char *url AUTO_FREE = mem_printf("../nar/%s.nar", hash);

		json_object_set_new(root, "archive", json_string(url));
		printed = json_dumps(root, JSON_COMPACT);
		if (printed) {
			buf_clear(text);
			buf_append_string(text, printed);
			free(printed);
		}
	}
	json_decref(root);
}

/* ---- Reading ---- */

struct document_get {
	struct cache_request base;
	struct buf name, text;
};

/* Under the names of routes that have no percent codes, too. */
static bool take_name(const struct http_exchange *exchange, struct buf *out)
{
	return http_route_document(view_of_string(exchange->path), out);
}

static enum http_next get_begin(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route)
{
	struct document_get *get =
		cache_request_new(exchange, &document_get_handler, route, sizeof(*get));

	if (!cache->services->documents || !take_name(exchange, &get->name))
		return cache_reply_absent(cache, exchange);
	return cache_has_far(cache) ? HTTP_WORK_REMOTE : HTTP_WORK;
}

static void get_work(struct binary_cache *cache, struct http_exchange *exchange,
		     const struct op *op)
{
	struct document_get *get = exchange->state;

	get->base.rc = document_store_get(cache->services->documents, op, buf_view(&get->name),
					  &get->text, &get->base.err);
	if (get->base.rc == RC_OK && is_debuginfo(&get->name))
		rename_nar(cache, op, &get->text);
}

static enum http_next get_end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct document_get *get = exchange->state;

	if (get->base.rc == RC_NOT_FOUND)
		return cache_reply_absent(cache, exchange);
	if (get->base.rc != RC_OK)
		return cache_reply_error(exchange, get->base.rc, &get->base.err);
	return cache_reply_document(exchange, &get->text,
				    starts_with(exchange->path, "/log/")
					    ? "text/plain; charset=utf-8"
					    : "application/json");
}

enum http_next cache_reply_document(struct http_exchange *exchange, const struct buf *text,
				    const char *type)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(text->len, text->ptr, MHD_RESPMEM_MUST_COPY);

	if (!response)
		return HTTP_REPLIED;
	(void)MHD_add_response_header(response, "Content-Type", type);
	(void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	(void)MHD_add_response_header(response, "Cache-Control", "max-age=3600");
	http_reply(exchange, MHD_HTTP_OK, response);
	return HTTP_REPLIED;
}

static void get_release(struct cache_request *request)
{
	struct document_get *get = CONTAINER_OF(request, struct document_get, base);

	buf_release(&get->name);
	buf_release(&get->text);
}

const struct cache_handler document_get_handler = {
	.begin = get_begin, .work = get_work, .end = get_end, .release = get_release
};

/* ---- Writing ---- */

struct document_put {
	struct cache_request base;
	struct buf name, text;
	enum cache_encoding encoding;
	bool worked;
};

static enum http_next put_begin(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route)
{
	struct document_put *put =
		cache_request_new(exchange, &document_put_handler, route, sizeof(*put));
	struct err err = ERR_INIT;

	if (!take_name(exchange, &put->name))
		return cache_reply_absent(cache, exchange);
	if (!cache->services->documents)
		return cache_reply_error(exchange, RC_UNSUPPORTED, &err);
	/* Nothing in it could be checked by a signature. */
	if (!cache_has_token(cache)) {
		http_reply_text(exchange, MHD_HTTP_FORBIDDEN,
				"that is taken from whoever has a token, and there is none");
		return HTTP_REPLIED;
	}
	enum rc rc = cache_encoding_of(exchange, &put->encoding, &err);
	return rc == RC_OK ? HTTP_BODY : cache_reply_upload(exchange, rc, &err);
}

static void put_body(struct http_exchange *exchange, struct view bytes, size_t *taken)
{
	struct document_put *put = exchange->state;

	cache_take_body(exchange, &put->base, &put->text, most_of(&put->name), bytes, taken);
}

static void put_work(struct binary_cache *cache, struct http_exchange *exchange,
		     const struct op *op)
{
	struct document_put *put = exchange->state;
	struct err *err = &put->base.err;
	enum rc rc = cache_decode(put->encoding, most_of(&put->name), &put->text, err);

	put->worked = true;
	if (rc == RC_OK && is_debuginfo(&put->name))
		rc = expect_nar(cache, op, &put->text, err);
	if (rc == RC_OK)
		rc = document_store_put(cache->services->documents, op, buf_view(&put->name),
					buf_view(&put->text), err);
	put->base.rc = rc;
}

static enum http_next put_end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct document_put *put = exchange->state;

	return put->worked ? cache_reply_upload(exchange, put->base.rc, &put->base.err)
			   : cache_work(cache);
}

static void put_release(struct cache_request *request)
{
	struct document_put *put = CONTAINER_OF(request, struct document_put, base);

	buf_release(&put->name);
	buf_release(&put->text);
}

const struct cache_handler document_put_handler = { .begin = put_begin,
						    .body = put_body,
						    .work = put_work,
						    .end = put_end,
						    .release = put_release };
