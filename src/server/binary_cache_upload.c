/*
 * Uploads, in the order in which nix sends them: HEAD of the NAR, PUT of the NAR, PUT of the narinfo. The
 * NAR becomes a pending upload while it comes (nar_upload.h), the narinfo makes it a store path
 * (nar_publish.h). Who is not allowed to hears so before a byte of the body is taken.
 */
#include <string.h>

#include <openssl/crypto.h>

#include "base/text.h"
#include "nix/narinfo.h"
#include "server/binary_cache_private.h"
#include "transfer/pending_upload.h"

/* ---- Who may ---- */

/* Takes as long for a token that is nearly right as for any other. */
static bool is_token(const struct binary_cache *cache, struct view given)
{
	struct digest a = digest_of(given),
		      b = digest_of(view_of_string(cache->options.upload_token));

	return CRYPTO_memcmp(a.bytes, b.bytes, DIGEST_SIZE) == 0;
}

/* The password of basic authentication, whoever the user is: what nix sends for http://:TOKEN@host, and
 * what netrc says. */
static bool is_basic(const struct binary_cache *cache, const char *credentials)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	const uint8_t *colon;

	if (!base64_decode(BASE64_STANDARD, view_of_string(credentials), &text) || text.len == 0)
		return false;
	colon = memchr(text.ptr, ':', text.len);
	return colon &&
	       is_token(cache, view_of(colon + 1, text.len - (size_t)(colon + 1 - text.ptr)));
}

static bool may_upload(const struct binary_cache *cache, const struct http_exchange *exchange)
{
	const char *header;

	if (!cache->options.upload_token)
		return true;
	header = http_header(exchange, "Authorization");
	if (!header)
		return false;
	if (strncasecmp(header, "Bearer ", 7) == 0)
		return is_token(cache, view_of_string(header + 7));
	return strncasecmp(header, "Basic ", 6) == 0 && is_basic(cache, header + 6);
}

static enum http_next refuse(struct http_exchange *exchange)
{
	static const char text[] = "uploads need this cache's token\n";
	struct MHD_Response *response = MHD_create_response_from_buffer(
		sizeof(text) - 1, (char *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

	if (response) {
		(void)MHD_add_response_header(response, "WWW-Authenticate",
					      "Basic realm=\"castor\"");
		(void)MHD_add_response_header(response, "Connection", "close");
		http_reply(exchange, 401, response);
	}
	return HTTP_REPLIED;
}

/* ---- A request ---- */

static void reply_failure(struct http_exchange *exchange, const struct request *request)
{
	if (request->rc == RC_UNSUPPORTED)
		http_reply_text(exchange, 415, request->err.message);
	else
		binary_cache_reply_error(exchange, request->rc, &request->err);
}

static void wake(void *context)
{
	http_exchange_wake(context);
}

/* What narinfos call it: the path without its first slash. */
static struct view url_of(const struct http_exchange *exchange)
{
	return view_of_string(exchange->path + 1);
}

static enum rc open_upload(struct binary_cache *cache, struct http_exchange *exchange,
			   struct request *request)
{
	struct buf client CLEANUP(buf_release) = BUF_INIT;

	http_client(exchange, &client);
	return nar_upload_open(cache->uploads, url_of(exchange), buf_view(&client), wake, exchange,
			       &request->upload, &request->err);
}

enum http_next upload_begin(struct binary_cache *cache, struct http_exchange *exchange,
			    const struct http_route *route)
{
	struct request *request;

	if (!may_upload(cache, exchange))
		return refuse(exchange);
	exchange->state = request = binary_cache_request_new(route);
	request->is_upload = true;
	switch (route->kind) {
	case HTTP_ROUTE_NARINFO:
		break;
	case HTTP_ROUTE_NAR:
	case HTTP_ROUTE_NAR_BRIDGE:
	case HTTP_ROUTE_FILE:
		request->rc = open_upload(cache, exchange, request);
		break;
	default:
		request->rc = err_set(&request->err, RC_NOT_PERMITTED,
				      "only narinfos and NARs can be uploaded");
		break;
	}
	if (request->rc == RC_OK)
		return HTTP_BODY;
	reply_failure(exchange, request);
	return HTTP_REPLIED;
}

void upload_body(struct http_exchange *exchange, struct view bytes, size_t *taken)
{
	struct request *request = exchange->state;

	if (request->upload) {
		request->rc = nar_upload_write(request->upload, bytes, taken, &request->err);
	} else if (request->text.len + bytes.len > NARINFO_MAX) {
		request->rc = err_set(&request->err, RC_TOO_LARGE,
				      "a narinfo of more than %d bytes", NARINFO_MAX);
	} else {
		buf_append_view(&request->text, bytes);
		*taken = bytes.len;
	}
	if (request->rc != RC_OK)
		reply_failure(exchange, request);
}

static enum http_next reply_created(struct http_exchange *exchange, struct request *request)
{
	if (request->rc == RC_OK)
		http_reply_text(exchange, 201, "stored");
	else
		reply_failure(exchange, request);
	return HTTP_REPLIED;
}

enum http_next upload_end(struct http_exchange *exchange)
{
	struct request *request = exchange->state;
	bool done;

	if (request->upload) {
		request->rc = nar_upload_finish(request->upload, &done, &request->err);
		return request->rc == RC_OK && !done ? HTTP_WAIT : reply_created(exchange, request);
	}
	if (!request->worked)
		return HTTP_WORK;
	return reply_created(exchange, request);
}

void upload_work(struct binary_cache *cache, struct http_exchange *exchange, const struct op *op)
{
	struct request *request = exchange->state;

	request->worked = true;
	request->rc = nar_publish(cache->services, op, &cache->options.publish, request->route.hash,
				  buf_view(&request->text), &request->err);
}

/* ---- Whether a NAR waits ---- */

enum rc upload_is_pending(struct binary_cache *cache, const struct http_exchange *exchange,
			  const struct op *op, struct err *err)
{
	struct pending_upload pending AUTO_PENDING_UPLOAD = { 0 };

	return pending_upload_get(cache->services->scratch, op, url_of(exchange), &pending, err);
}
