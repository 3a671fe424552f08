/* What the commands that serve a binary cache are told of it. */
#ifndef CASTOR_CLI_CACHE_ARGS_H
#define CASTOR_CLI_CACHE_ARGS_H

#include "cli/cli.h"
#include "cli/upload_policy.h"
#include "server/cache_server.h"

struct cache_args {
	const char *priority;
	const char *compression;
	const char *cache_size;
	bool eager;
	struct upload_wish uploads;
	const char *upload_quota, *upload_nar_size;
	unsigned parallel_uploads;
	unsigned upload_keep, upload_timeout; /* hours */
	struct cli_list proxies;
	unsigned connections, client_connections, health_connections;
	unsigned workers, remote_workers;
	unsigned head_timeout, idle_timeout, wait_timeout; /* seconds */
	const char *least_rate;
};
extern const struct cli_option cache_options[];

/* What a cache server is made of; borrows from the arguments and from a policy. */
struct cache_wish {
	struct binary_cache_options cache;
	struct http_limits limits;
	const struct cli_list *proxies;
};

/* All that is said, but the services. *out borrows from *policy, which is empty where this fails. */
enum rc cache_args_load(const struct cache_args *args, struct upload_policy *policy,
			struct cache_wish *out, struct err *err) MUST_USE;
/* cache_server_open, with the proxies that are trusted. */
enum rc cache_wish_open(const struct cache_wish *wish, struct cache_server *out,
			struct err *err) MUST_USE;
/* Reads --upload-token-file again, for the cache that it is the token of. */
enum rc cache_args_reload(const struct cache_args *args, const struct cache_server *server,
			  struct err *err) MUST_USE;
/* Was anything said? A token in the environment is not. */
bool cache_args_given(const struct cache_args *args);

#endif
