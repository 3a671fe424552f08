/* Puts a binary cache and an HTTP server together. */
#include "server/cache_server.h"

#include <sys/resource.h>

/* Connections and packs that are open: all that this process may have. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

enum rc cache_server_open(const struct binary_cache_options *options,
			  const struct http_limits *limits, struct cache_server *out,
			  struct err *err)
{
	struct http_handlers handlers;
	enum rc rc;

	raise_descriptors();
	out->cache = binary_cache_new(options);
	binary_cache_handlers(out->cache, &handlers);
	rc = http_server_new(limits, &handlers, &out->http, err);
	if (rc != RC_OK)
		cache_server_close(out);
	return rc;
}

struct server cache_server_as_server(const struct cache_server *server)
{
	return (struct server){ &http_server_ops, server->http };
}

void cache_server_close(struct cache_server *server)
{
	http_server_free(server->http);
	binary_cache_free(server->cache);
	*server = (struct cache_server){ 0 };
}
