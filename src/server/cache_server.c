/* Puts a binary cache and an HTTP server together. */
#include "server/cache_server.h"

#include <sys/resource.h>

/* Bodies are read in the threads that send them: where that means another machine, many wait. */
enum { REMOTE_THREADS = 32 };

/* Connections and packs that are open: all that this process may have. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

enum rc cache_server_open(const struct binary_cache_options *options, struct cache_server *out,
			  struct err *err)
{
	struct http_server_options http = { 0 };
	struct http_handlers handlers;
	enum rc rc;

	raise_descriptors();
	if (blob_service_latency(options->services->blobs) == BLOB_LATENCY_REMOTE)
		http.threads = REMOTE_THREADS;
	out->cache = binary_cache_new(options);
	binary_cache_handlers(out->cache, &handlers);
	rc = http_server_new(&http, &handlers, &out->http, err);
	if (rc != RC_OK) {
		binary_cache_free(out->cache);
		*out = (struct cache_server){ 0 };
	}
	return rc;
}

void cache_server_close(struct cache_server *server, int64_t grace_ns)
{
	if (server->http)
		http_server_stop(server->http, grace_ns);
	http_server_free(server->http);
	binary_cache_free(server->cache);
	*server = (struct cache_server){ 0 };
}
