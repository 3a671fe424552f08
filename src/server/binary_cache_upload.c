/*
 * Uploads, in the order in which nix sends them: HEAD of the NAR, PUT of the NAR, PUT of the narinfo. The
 * NAR becomes a pending upload while it comes (nar_upload.h), the narinfo makes it a store path
 * (nar_publish.h). Who is not allowed to hears so before a byte of the body is taken.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/decompress.h"
#include "base/mem.h"

#include "nix/narinfo.h"
#include "server/binary_cache_private.h"
#include "transfer/pending_upload.h"

enum http_next cache_reply_upload(struct http_exchange *exchange, enum rc rc, const struct err *err)
{
	if (rc == RC_OK)
		http_reply_text(exchange, 201, "stored");
	else if (rc == RC_UNSUPPORTED)
		http_reply_text(exchange, 415, err->message);
	else
		return cache_reply_error(exchange, rc, err);
	return HTTP_REPLIED;
}

static enum http_next reply_outcome(struct http_exchange *exchange,
				    const struct cache_request *request)
{
	return cache_reply_upload(exchange, request->rc, &request->err);
}

/* ---- Small bodies ---- */

enum rc cache_encoding_of(const struct http_exchange *exchange, enum cache_encoding *out,
			  struct err *err)
{
	static const char *const by_magic[] = { "gzip",  "x-gzip", "xz",   "zstd",
						"bzip2", "lzma",   "lzip", "lz4" };
	const char *value = http_header(exchange, "Content-Encoding");

	*out = CACHE_ENCODING_NONE;
	if (!value || strcasecmp(value, "identity") == 0 || value[0] == '\0')
		return RC_OK;
	*out = strcasecmp(value, "br") == 0 ? CACHE_ENCODING_BROTLI : CACHE_ENCODING_NONE;
	for (size_t i = 0; i < ARRAY_LEN(by_magic); i++)
		if (strcasecmp(value, by_magic[i]) == 0)
			*out = CACHE_ENCODING_BY_MAGIC;
	return *out != CACHE_ENCODING_NONE
		       ? RC_OK
		       : err_set(err, RC_UNSUPPORTED, "no Content-Encoding that is known");
}

static enum rc read_view(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct view *left = context;

	(void)err;
	*got = len < left->len ? len : left->len;
	if (*got > 0)
		memcpy(out, left->ptr, *got);
	*left = view_slice(*left, *got, left->len - *got);
	return RC_OK;
}

enum rc cache_decode(enum cache_encoding encoding, size_t most, struct buf *body, struct err *err)
{
	enum { STEP = 16384 };
	struct view left = buf_view(body);
	struct buf decoded = BUF_INIT;
	struct decompress_stream *stream;
	size_t got = 1;
	enum rc rc = RC_OK;

	if (encoding == CACHE_ENCODING_NONE)
		return RC_OK;
	stream = decompress_stream_new(
		read_view, &left, view_of_string(encoding == CACHE_ENCODING_BROTLI ? ".br" : ""));
	while (rc == RC_OK && got > 0) {
		buf_reserve(&decoded, STEP);
		rc = decompress_stream_read(stream, decoded.ptr + decoded.len, STEP, &got, err);
		decoded.len += got;
		if (rc == RC_OK && decoded.len > most)
			rc = err_set(err, RC_TOO_LARGE, "more than %zu bytes", most);
	}
	decompress_stream_free(stream);
	if (rc == RC_OK) {
		struct buf encoded = *body;

		*body = decoded;
		decoded = encoded;
	}
	buf_release(&decoded);
	return rc;
}

void cache_take_body(struct http_exchange *exchange, struct cache_request *request,
		     struct buf *body, size_t most, struct view bytes, size_t *taken)
{
	if (body->len + bytes.len > most) {
		request->rc = err_set(&request->err, RC_TOO_LARGE, "more than %zu bytes", most);
		(void)reply_outcome(exchange, request);
		return;
	}
	buf_append_view(body, bytes);
	*taken = bytes.len;
}

/* What narinfos call it: the path without its first slash. */
static struct view url_of(const struct http_exchange *exchange)
{
	return view_of_string(exchange->path + 1);
}

/* ---- A NAR ---- */

struct nar_put {
	struct cache_request base;
	struct nar_upload *upload;
};

static void wake(void *context)
{
	http_exchange_wake(context);
}

static enum http_next nar_begin(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route)
{
	struct nar_put *put = cache_request_new(exchange, &nar_put_handler, route, sizeof(*put));

	const char *length = http_header(exchange, "Content-Length");

	put->base.rc = nar_upload_open(cache->uploads, url_of(exchange),
				       view_of(&exchange->client, sizeof(exchange->client)),
				       length ? strtoull(length, NULL, 10) : 0, wake, exchange,
				       &put->upload, &put->base.err);
	return put->base.rc == RC_OK ? HTTP_BODY : reply_outcome(exchange, &put->base);
}

static void nar_body_piece(struct http_exchange *exchange, struct view bytes, size_t *taken)
{
	struct nar_put *put = exchange->state;

	put->base.rc = nar_upload_write(put->upload, bytes, taken, &put->base.err);
	if (put->base.rc != RC_OK)
		(void)reply_outcome(exchange, &put->base);
}

static enum http_next nar_end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct nar_put *put = exchange->state;
	bool done;

	(void)cache;
	put->base.rc = nar_upload_finish(put->upload, &done, &put->base.err);
	return put->base.rc == RC_OK && !done ? HTTP_WAIT : reply_outcome(exchange, &put->base);
}

static void nar_release(struct cache_request *request)
{
	nar_upload_free(CONTAINER_OF(request, struct nar_put, base)->upload);
}

const struct cache_handler nar_put_handler = {
	.begin = nar_begin, .body = nar_body_piece, .end = nar_end, .release = nar_release
};

/* ---- A narinfo ---- */

struct narinfo_put {
	struct cache_request base;
	struct buf text;
	enum cache_encoding encoding;
	bool worked;
};

static enum http_next narinfo_begin(struct binary_cache *cache, struct http_exchange *exchange,
				    const struct http_route *route)
{
	struct narinfo_put *put =
		cache_request_new(exchange, &narinfo_put_handler, route, sizeof(*put));

	(void)cache;
	put->base.rc = cache_encoding_of(exchange, &put->encoding, &put->base.err);
	return put->base.rc == RC_OK ? HTTP_BODY : reply_outcome(exchange, &put->base);
}

static void narinfo_body(struct http_exchange *exchange, struct view bytes, size_t *taken)
{
	struct narinfo_put *put = exchange->state;

	cache_take_body(exchange, &put->base, &put->text, NARINFO_MAX, bytes, taken);
}

static void narinfo_work(struct binary_cache *cache, struct http_exchange *exchange,
			 const struct op *op)
{
	struct narinfo_put *put = exchange->state;

	put->worked = true;
	put->base.rc = cache_decode(put->encoding, NARINFO_MAX, &put->text, &put->base.err);
	if (put->base.rc == RC_OK)
		put->base.rc =
			nar_publish(cache->services, op, &cache->options.publish,
				    put->base.route.hash, buf_view(&put->text), &put->base.err);
}

static enum http_next narinfo_end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct narinfo_put *put = exchange->state;

	return put->worked ? reply_outcome(exchange, &put->base) : cache_work(cache);
}

static void narinfo_put_release(struct cache_request *request)
{
	buf_release(&CONTAINER_OF(request, struct narinfo_put, base)->text);
}

const struct cache_handler narinfo_put_handler = { .begin = narinfo_begin,
						   .body = narinfo_body,
						   .work = narinfo_work,
						   .end = narinfo_end,
						   .release = narinfo_put_release };

/* ---- Whether a NAR waits: nix asks before it uploads ---- */

static enum http_next file_begin(struct binary_cache *cache, struct http_exchange *exchange,
				 const struct http_route *route)
{
	if (!cache->uploads || exchange->method != HTTP_HEAD)
		return cache_reply_absent(cache, exchange);
	cache_request_new(exchange, &file_get_handler, route, sizeof(struct cache_request));
	return HTTP_WORK;
}

static void file_work(struct binary_cache *cache, struct http_exchange *exchange,
		      const struct op *op)
{
	struct pending_upload pending AUTO_PENDING_UPLOAD = { 0 };
	struct cache_request *request = exchange->state;
	struct scratch_store *scratch = cache->services->scratch;
	struct digest key = digest_of(url_of(exchange));

	request->rc = pending_upload_get(scratch, op, url_of(exchange), &pending, &request->err);
	/* Who hears that it is here does not send it again, and may need some time for its narinfo. */
	if (request->rc == RC_OK)
		request->rc = pending_upload_renew(scratch, op, &key, &pending, false,
						   cache->options.publish.keep_ns, &request->err);
}

static enum http_next file_end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct cache_request *request = exchange->state;

	if (request->rc == RC_NOT_FOUND)
		return cache_reply_absent(cache, exchange);
	if (request->rc != RC_OK)
		return cache_reply_error(exchange, request->rc, &request->err);
	http_reply_text(exchange, 200, "it waits for its narinfo");
	return HTTP_REPLIED;
}

const struct cache_handler file_get_handler = { .begin = file_begin,
						.work = file_work,
						.end = file_end };
