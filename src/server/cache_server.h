/* A binary cache and the HTTP server that it is served by, as one: for the commands. */
#ifndef CASTOR_SERVER_CACHE_SERVER_H
#define CASTOR_SERVER_CACHE_SERVER_H

#include "server/binary_cache.h"

struct cache_server {
	struct binary_cache *cache;
	struct http_server *http;
};

/* Not listening anywhere yet. */
enum rc cache_server_open(const struct binary_cache_options *options, struct cache_server *out,
			  struct err *err) MUST_USE;
/* Lets replies that are under way finish for up to grace_ns. Right for one that never started, and for
 * a zeroed one. */
void cache_server_close(struct cache_server *server, int64_t grace_ns);

#endif
