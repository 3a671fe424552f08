/* narinfos of a binary cache: rendered once, and sent from memory while the path infos are the same. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "nix/narinfo.h"
#include "nix/nixbase32.h"
#include "server/binary_cache_private.h"

enum {
	/* For stores that cannot tell whether their path infos changed. */
	KEEP_NS = 1000000000,
};

struct rendered {
	struct refcount ref;
	struct MHD_Response *response;
	bool has_generation;
	uint64_t generation;
	int64_t until_ns;
	char etag[2 + 32 + 1];
};

static void *rendered_ref(void *value)
{
	struct rendered *rendered = value;

	refcount_ref(&rendered->ref);
	return rendered;
}

static void rendered_unref(struct rendered *rendered)
{
	if (!rendered || !refcount_unref(&rendered->ref))
		return;
	MHD_destroy_response(rendered->response);
	free(rendered);
}

static void unref(void *value)
{
	rendered_unref(value);
}

const struct lru_ops rendered_lru = { .ref = rendered_ref, .unref = unref };

/* Where asking means waiting for another machine, nobody asks. */
static bool generation_of(struct binary_cache *cache, uint64_t *out)
{
	struct path_info_service *service = cache->services->path_infos;

	return !path_info_service_is_remote(service) && !path_info_service_ingests(service) &&
	       path_info_service_generation(service, &op_none, out, NULL) == RC_OK;
}

/* A new reference, if it is in memory and still true; never waits. */
static struct rendered *peek(struct binary_cache *cache, const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	struct rendered *rendered = lru_get(cache->narinfos, hash);
	uint64_t generation;

	if (!rendered)
		return NULL;
	if (rendered->has_generation
		    ? generation_of(cache, &generation) && generation == rendered->generation
		    : clock_monotonic_ns() < rendered->until_ns)
		return rendered;
	rendered_unref(rendered);
	return NULL;
}

/* "nar/<node>/<id>.nar.zst" */
static void print_url(struct binary_cache *cache, const struct node *node,
		      const struct nar_layout *layout, struct buf *out)
{
	struct buf encoded CLEANUP(buf_release) = BUF_INIT;
	uint8_t plain_id[NAR_LAYOUT_ID_SIZE];
	char id[NAR_LAYOUT_ID_HEX + 1];

	node_encode(node, false, &encoded);
	buf_append_string(out, "nar/");
	base64_encode(BASE64_URL, buf_view(&encoded), out);
	if (cache->options.plain) {
		nar_plain_id(node, plain_id);
		hex_encode(plain_id, sizeof(plain_id), id);
		buf_printf(out, "/%s.nar", id);
	} else {
		nar_layout_id(layout, id);
		buf_printf(out, "/%s.nar.zst", id);
	}
}

static enum rc render(struct binary_cache *cache, const struct op *op, const struct path_info *info,
		      struct buf *text, struct err *err)
{
	AUTO_NAR_LAYOUT struct nar_layout *layout = NULL;
	struct buf url CLEANUP(buf_release) = BUF_INIT;
	struct narinfo narinfo = { .info = *info, .has_file_size = true };
	enum rc rc = nar_layouts_get(cache->layouts, op, &info->node, &layout, err);

	if (rc == RC_NOT_FOUND)
		return err_context(err, RC_CORRUPT, "the content of %s", info->path.name);
	if (rc != RC_OK)
		return rc;
	if (nar_layout_nar_size(layout) != info->nar_size)
		return err_set(err, RC_CORRUPT,
			       "the path info of %s says %ju bytes of NAR, there are %ju",
			       info->path.name, (uintmax_t)info->nar_size,
			       (uintmax_t)nar_layout_nar_size(layout));
	print_url(cache, &info->node, layout, &url);
	narinfo.url = (char *)(uintptr_t)buf_string(&url);
	narinfo.compression = cache->options.plain ? (char[]){ "none" } : (char[]){ "zstd" };
	narinfo.file_size =
		cache->options.plain ? nar_layout_nar_size(layout) : nar_layout_size(layout);
	narinfo_print(&narinfo, text);
	return RC_OK;
}

/* Of a path whose NAR is brought when it is asked for: by its name, and no more is promised than is known. */
static void render_announced(const struct path_info *info, struct buf *text)
{
	char hash[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];
	char nar_hash[NIXBASE32_LEN(sizeof(info->nar_sha256)) + 1];
	struct narinfo narinfo = { .info = *info, .compression = (char[]){ "none" } };
	char *url AUTO_FREE = NULL;

	nixbase32_encode(info->path.hash, STORE_PATH_HASH_SIZE, hash);
	nixbase32_encode(info->nar_sha256.bytes, sizeof(info->nar_sha256.bytes), nar_hash);
	url = mem_printf("nar/%s-%s.nar", hash, nar_hash);
	narinfo.url = url;
	narinfo_print(&narinfo, text);
}

static enum rc make_response(struct rendered *rendered, const struct buf *text, struct err *err)
{
	struct digest digest = digest_of(buf_view(text));
	char hex[DIGEST_HEX_MAX];

	rendered->response =
		MHD_create_response_from_buffer(text->len, text->ptr, MHD_RESPMEM_MUST_COPY);
	if (!rendered->response)
		return err_set(err, RC_NO_MEMORY, "no memory for a narinfo");
	digest_hex(&digest, hex);
	rendered->etag[0] = '"';
	memcpy(rendered->etag + 1, hex, 32);
	rendered->etag[33] = '"';
	(void)MHD_add_response_header(rendered->response, "Content-Type", "text/x-nix-narinfo");
	(void)MHD_add_response_header(rendered->response, "ETag", rendered->etag);
	/* Signatures may be added, and the encoding of the NAR may change. */
	(void)MHD_add_response_header(rendered->response, "Cache-Control", "max-age=3600");
	return RC_OK;
}

static enum rc make(struct binary_cache *cache, struct path_info_service *service,
		    const struct op *op, const uint8_t hash[STORE_PATH_HASH_SIZE],
		    struct rendered **out, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct rendered *rendered = mem_zalloc(sizeof(*rendered));
	enum rc rc;

	refcount_init(&rendered->ref);
	/* Asked before the path info: at worst this is thrown away once more than it had to be. */
	rendered->has_generation = generation_of(cache, &rendered->generation);
	rendered->until_ns = clock_monotonic_ns() + KEEP_NS;
	rc = (cache->options.eager ? path_info_service_get
				   : path_info_service_announce)(service, op, hash, &info, err);
	if (rc == RC_OK)
		rc = nar_sign(&info, &cache->options.publish, err);
	if (rc == RC_OK && info.node.name.len == 0)
		render_announced(&info, &text);
	else if (rc == RC_OK)
		rc = render(cache, op, &info, &text, err);
	if (rc == RC_OK)
		rc = make_response(rendered, &text, err);
	if (rc != RC_OK) {
		free(rendered);
		return rc;
	}
	lru_put(cache->narinfos, hash, rendered, sizeof(*rendered) + 512 + text.len);
	*out = rendered;
	return RC_OK;
}

/* ---- Requests ---- */

struct narinfo_request {
	struct cache_request base;
	struct rendered *rendered;
};

static enum http_next reply(struct http_exchange *exchange, const struct rendered *rendered)
{
	unsigned status = cache_preconditions(exchange, rendered->etag);

	if (status != MHD_HTTP_OK)
		return cache_reply_empty(exchange, status, rendered->etag);
	http_reply_shared(exchange, MHD_HTTP_OK, rendered->response);
	return HTTP_REPLIED;
}

static enum http_next begin(struct binary_cache *cache, struct http_exchange *exchange,
			    const struct http_route *route)
{
	struct rendered *rendered = peek(cache, route->hash);
	struct narinfo_request *request;
	enum http_next next;

	if (rendered) {
		next = reply(exchange, rendered);
		rendered_unref(rendered);
		return next;
	}
	request = cache_request_new(exchange, &narinfo_get_handler, route, sizeof(*request));
	return cache_find(cache, &request->base);
}

static void work(struct binary_cache *cache, struct http_exchange *exchange, const struct op *op)
{
	struct narinfo_request *request = exchange->state;

	request->base.rc = make(cache, cache_path_infos(cache, &request->base), op,
				request->base.route.hash, &request->rendered, &request->base.err);
}

static enum http_next end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct narinfo_request *request = exchange->state;

	if (request->base.rc == RC_OK)
		return reply(exchange, request->rendered);
	if (request->base.rc != RC_NOT_FOUND)
		return cache_reply_error(exchange, request->base.rc, &request->base.err);
	return cache_find_far(cache, &request->base) ? HTTP_WORK_REMOTE
						     : cache_reply_absent(cache, exchange);
}

static void release(struct cache_request *request)
{
	rendered_unref(CONTAINER_OF(request, struct narinfo_request, base)->rendered);
}

const struct cache_handler narinfo_get_handler = {
	.begin = begin, .work = work, .end = end, .release = release
};
