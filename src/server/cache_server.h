/* A binary cache and the HTTP server that it is served by, as one: for the commands. */
#ifndef CASTOR_SERVER_CACHE_SERVER_H
#define CASTOR_SERVER_CACHE_SERVER_H

#include "server/binary_cache.h"
#include "server/server.h"

struct cache_server {
	struct binary_cache *cache;
	struct http_server *http;
};

/* Not listening anywhere yet. limits: NULL: the default ones. */
enum rc cache_server_open(const struct binary_cache_options *options,
			  const struct http_limits *limits, struct cache_server *out,
			  struct err *err) MUST_USE;
/* To be started and stopped with others; as long as it is not closed. */
struct server cache_server_as_server(const struct cache_server *server);
/* After it was stopped. Right for one that never started, and for a zeroed one. */
void cache_server_close(struct cache_server *server);

#endif
