/* What the files of the binary cache share. */
#ifndef CASTOR_SERVER_BINARY_CACHE_PRIVATE_H
#define CASTOR_SERVER_BINARY_CACHE_PRIVATE_H

#include <stdatomic.h>

#include "base/lru.h"
#include "server/binary_cache.h"
#include "server/http_route.h"
#include "transfer/nar_decoded.h"
#include "transfer/nar_layouts.h"
#include "transfer/nar_upload.h"

struct binary_cache {
	struct binary_cache_options options;
	const struct services *services;
	struct nar_layouts *layouts;
	struct nar_decoded *decoded; /* NULL: nothing is kept decoded */
	struct lru *narinfos;        /* hash part → struct rendered */
	struct nar_uploads *uploads; /* NULL: there are none */
	atomic_size_t blocks_memory; /* of bodies that are being sent */
	struct MHD_Response *cache_info, *health, *absent;
};

/* A narinfo as it is sent, for as long as the path infos are as they were. */
struct rendered;
void rendered_unref(struct rendered *rendered);

/* Of one request that cannot be answered at once. */
struct request {
	struct http_route route;
	struct buf node_bytes;
	struct node node; /* borrows from node_bytes */
	struct nar_layout *layout;
	struct rendered *rendered;
	bool is_upload, worked;
	struct nar_upload *upload; /* of a NAR */
	struct buf text;           /* an uploaded narinfo */
	enum rc rc;                /* what `work` came to, or the upload */
	struct err err;
};

struct request *binary_cache_request_new(const struct http_route *route);
/* One line, and the outcome's status; logs what is the server's own fault. */
void binary_cache_reply_error(struct http_exchange *exchange, enum rc rc, const struct err *err);

/* ---- binary_cache_narinfo.c ---- */

/* A new reference, if it is in memory and still true; never waits. */
struct rendered *narinfo_peek(struct binary_cache *cache, const uint8_t hash[STORE_PATH_HASH_SIZE]);
enum rc narinfo_get(struct binary_cache *cache, const struct op *op,
		    const uint8_t hash[STORE_PATH_HASH_SIZE], struct rendered **out,
		    struct err *err) MUST_USE;
void narinfo_reply(struct http_exchange *exchange, struct rendered *rendered);
extern const struct lru_ops rendered_lru;

/* ---- binary_cache_listing.c ---- */

/* The JSON of a .ls file; appends. */
enum rc listing_make(const struct services *services, const struct op *op, const struct node *root,
		     struct buf *out, struct err *err) MUST_USE;

/* ---- binary_cache_upload.c: of a PUT, what handlers do ---- */

enum http_next upload_begin(struct binary_cache *cache, struct http_exchange *exchange,
			    const struct http_route *route);
void upload_body(struct http_exchange *exchange, struct view bytes, size_t *taken);
enum http_next upload_end(struct http_exchange *exchange);
void upload_work(struct binary_cache *cache, struct http_exchange *exchange, const struct op *op);
/* RC_NOT_FOUND: no NAR of that path waits for its narinfo. */
enum rc upload_is_pending(struct binary_cache *cache, const struct http_exchange *exchange,
			  const struct op *op, struct err *err) MUST_USE;

/* ---- binary_cache_nar.c ---- */

/* The id of the plain encoding: it depends on the node alone. */
void nar_plain_id(const struct node *node, uint8_t id[NAR_LAYOUT_ID_SIZE]);
/* The reply to a GET or HEAD of a NAR: whole, a range, or why not. */
void nar_reply(struct binary_cache *cache, struct http_exchange *exchange,
	       const struct http_route *route, const struct node *node, struct nar_layout *layout);

#endif
