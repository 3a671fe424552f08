/* What the files of the binary cache share. */
#ifndef CASTOR_SERVER_BINARY_CACHE_PRIVATE_H
#define CASTOR_SERVER_BINARY_CACHE_PRIVATE_H

#include <pthread.h>

#include "base/lru.h"
#include "castore/digest.h"
#include "server/binary_cache.h"
#include "server/http_route.h"
#include "transfer/nar_decoded.h"
#include "transfer/nar_layouts.h"
#include "transfer/nar_upload.h"

struct binary_cache {
	struct binary_cache_options options;
	pthread_mutex_t token_lock; /* of the two below */
	bool has_token;             /* else whoever may upload without */
	struct digest token;        /* of what uploads have to bring */
	const struct services *services;
	bool remote; /* what a path info stands for may lie on another machine */
	struct path_info_service
		*near; /* what waits for no other machine; borrowed; NULL: nothing */
	struct nar_layouts *layouts;
	struct nar_decoded *decoded; /* NULL: nothing is kept decoded */
	struct lru *narinfos;        /* hash part → struct rendered */
	struct nar_uploads *uploads; /* NULL: there are none */
	struct MHD_Response *cache_info, *health, *absent;
};

/* ---- Routes: what a method does on a kind of path. The table is in binary_cache.c ---- */

/* Of a request that is not answered at once: the beginning of its handler's own state. */
struct cache_request {
	const struct cache_handler *handler;
	struct http_route route;
	bool far;   /* other machines are asked for its path now */
	enum rc rc; /* what `work` came to */
	struct err err;
};

/* The functions are those of http_handlers; all but begin may be missing where it never comes to them. A
 * PUT comes here only from those who may upload. */
struct cache_handler {
	enum http_next (*begin)(struct binary_cache *cache, struct http_exchange *exchange,
				const struct http_route *route);
	void (*body)(struct http_exchange *exchange, struct view bytes, size_t *taken);
	void (*work)(struct binary_cache *cache, struct http_exchange *exchange,
		     const struct op *op);
	enum http_next (*end)(struct binary_cache *cache, struct http_exchange *exchange);
	void (*release)(struct cache_request *request);
};

extern const struct cache_handler narinfo_get_handler, listing_get_handler, nar_get_handler,
	file_get_handler, narinfo_put_handler, nar_put_handler, document_get_handler,
	document_put_handler;

/* The exchange's state: `size` zeroed bytes, which begin with a struct cache_request. */
void *cache_request_new(struct http_exchange *exchange, const struct cache_handler *handler,
			const struct http_route *route, size_t size);
/* Where work runs that looks at what path infos stand for. */
static inline enum http_next cache_work(const struct binary_cache *cache)
{
	return cache->remote ? HTTP_WORK_REMOTE : HTTP_WORK;
}

/* Of a request for a store path: what is here never waits for what has to be asked for elsewhere. The
 * first is how to begin, the second whom `work` asks, and the third, after a miss, whether to go on. */
enum http_next cache_find(const struct binary_cache *cache, struct cache_request *request);
struct path_info_service *cache_path_infos(const struct binary_cache *cache,
					   const struct cache_request *request);
bool cache_find_far(const struct binary_cache *cache, struct cache_request *request);

enum http_next cache_reply_absent(struct binary_cache *cache, struct http_exchange *exchange);
/* One line, and the outcome's status; logs what is the server's own fault. */
enum http_next cache_reply_error(struct http_exchange *exchange, enum rc rc, const struct err *err);
/* 304, and others that have no body. */
enum http_next cache_reply_empty(struct http_exchange *exchange, unsigned status, const char *etag);
/* What If-Match and If-None-Match say of that encoding: 200, 304 or 412. */
unsigned cache_preconditions(const struct http_exchange *exchange, const char *etag);

/* Is there an upstream behind the store? */
static inline bool cache_has_far(const struct binary_cache *cache)
{
	return cache->near != cache->services->path_infos;
}

/* ---- binary_cache_upload.c: small bodies of PUTs ---- */

enum cache_encoding { CACHE_ENCODING_NONE, CACHE_ENCODING_BY_MAGIC, CACHE_ENCODING_BROTLI };
/* The request's Content-Encoding. RC_UNSUPPORTED. */
enum rc cache_encoding_of(const struct http_exchange *exchange, enum cache_encoding *out,
			  struct err *err) MUST_USE;
/* Undoes it, for at most `most` bytes. */
enum rc cache_decode(enum cache_encoding encoding, size_t most, struct buf *body,
		     struct err *err) MUST_USE;
/* Takes a piece of a body in, or replies that it is too large. */
void cache_take_body(struct http_exchange *exchange, struct cache_request *request,
		     struct buf *body, size_t most, struct view bytes, size_t *taken);
/* 201, or why not. */
enum http_next cache_reply_upload(struct http_exchange *exchange, enum rc rc,
				  const struct err *err);

/* ---- binary_cache_document.c ---- */

enum http_next cache_reply_document(struct http_exchange *exchange, const struct buf *text,
				    const char *type);

/* ---- binary_cache_auth.c ---- */

/* Else whoever may upload without. */
bool cache_has_token(struct binary_cache *cache);
bool cache_may_upload(struct binary_cache *cache, const struct http_exchange *exchange);
enum http_next cache_refuse_upload(struct http_exchange *exchange);

/* ---- binary_cache_narinfo.c ---- */

extern const struct lru_ops rendered_lru;

/* ---- binary_cache_nar.c ---- */

/* The id of the plain encoding: it depends on the node alone. */
void nar_plain_id(const struct node *node, uint8_t id[NAR_LAYOUT_ID_SIZE]);

#endif
