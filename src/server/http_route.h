/*
 * What a request to a binary cache asks for: its path, and its Range header. Pure; fuzzed.
 *
 *	/nix-cache-info                          /healthz
 *	/<32 of nixbase32>.narinfo, .ls
 *	/nar/<base64url of a node>/<id>.nar[.zst]
 *	/nar/snix-castore/<base64url>?narsize=N  /nar/tvix-castore/…
 *	/nar/<hash>.nar, /nar/<hash>-<NAR's>.nar   nix-serve's
 *	/nar/…                                   other files: uploads
 *	/log/…, /realisations/…, /build-trace-v2/…, /debuginfo/…   documents
 */
#ifndef CASTOR_SERVER_HTTP_ROUTE_H
#define CASTOR_SERVER_HTTP_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "nix/store_path.h"

enum http_route_kind {
	HTTP_ROUTE_NONE, /* nothing is there, whatever the method */
	HTTP_ROUTE_CACHE_INFO,
	HTTP_ROUTE_HEALTH,
	HTTP_ROUTE_NARINFO,
	HTTP_ROUTE_LISTING,
	HTTP_ROUTE_NAR,         /* of a node: castor's own form */
	HTTP_ROUTE_NAR_BRIDGE,  /* the other two's form: plain */
	HTTP_ROUTE_NAR_OF_PATH, /* nix-serve's form, by the hash part of its path: plain */
	HTTP_ROUTE_FILE,        /* below /nar/, and none of those */
	HTTP_ROUTE_DOCUMENT,    /* beside store paths */
};

enum { HTTP_ROUTE_PATH_MAX = 12 << 10, HTTP_ROUTE_ID_SIZE = 16 };

struct http_route {
	enum http_route_kind kind;
	uint8_t hash[STORE_PATH_HASH_SIZE]; /* NARINFO, LISTING, NAR_OF_PATH */
	bool has_nar_hash;
	uint8_t nar_hash[32]; /* NAR_OF_PATH: SHA-256 */
	/* NAR, NAR_BRIDGE: the encoded node, in base64url; borrowed from the path. */
	struct view node;
	uint8_t id[HTTP_ROUTE_ID_SIZE]; /* NAR */
	bool plain;                     /* NAR: .nar, not .nar.zst */
};

/* The path as it was sent, without its query. But for documents, nothing that needs a percent code names
 * anything. */
void http_route_parse(struct view path, struct http_route *out);
/* The name of a document (or of a listing), without the first slash, decoded: printable ASCII, no segment of it
 * empty, "." or "..". Appends. False: it is none. */
bool http_route_document(struct view path, struct buf *out);

enum http_range { HTTP_RANGE_NONE /* the whole */, HTTP_RANGE_PART, HTTP_RANGE_UNSATISFIABLE };
/* The value of a Range header on a body of size bytes; [*from, *to) is the part. What is malformed, of
 * another unit, or of many ranges counts as none. */
enum http_range http_range_parse(struct view value, uint64_t size, uint64_t *from, uint64_t *to);

/* Does an If-Match or If-None-Match list hold the tag (with its quotes), or "*"? weak: a W/ before it
 * does no harm. */
bool http_etag_listed(struct view list, struct view tag, bool weak);

#endif
