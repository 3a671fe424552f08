/* castor daemon: serves a store to others, by gRPC. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/listen.h"
#ifdef CASTOR_WITH_HTTP
#include "cli/cache_args.h"
#include "server/cache_server.h"
#endif
#include "server/health.h"
#include "server/reflection.h"
#include "server/store_rpc.h"

#define DEFAULT_ADDRESS "[::1]:8000"

struct options {
	struct cli_list listen;
	struct socket_args socket;
	const char *tls_cert, *tls_key, *tls_client_ca;
	bool allow_incomplete, no_replace, no_list;
	struct rpc_limits limits;
	const char *message, *memory;
#ifdef CASTOR_WITH_HTTP
	struct cli_list http;
	struct cache_args cache;
#endif
};

static const struct cli_option option_table[] = {
	{ "listen-address", 'l', CLI_LIST, "ADDRESS",
	  "where to listen (default: " DEFAULT_ADDRESS
	  "): host:port, /path/of/socket, @abstract, or sd-listen for sockets from systemd",
	  offsetof(struct options, listen), NULL },
	SOCKET_OPTIONS(struct options, socket),
	{ "tls-cert", 0, CLI_STRING, "FILE", "serve TLS with this certificate (PEM)",
	  offsetof(struct options, tls_cert), NULL },
	{ "tls-key", 0, CLI_STRING, "FILE", "the certificate's private key (PEM)",
	  offsetof(struct options, tls_key), NULL },
	{ "tls-client-ca", 0, CLI_STRING, "FILE",
	  "serve only clients that show a certificate of this authority (PEM)",
	  offsetof(struct options, tls_client_ca), NULL },
	{ "allow-incomplete", 0, CLI_FLAG, NULL,
	  "accept path infos whose blobs or directories are not in this store",
	  offsetof(struct options, allow_incomplete), NULL },
	{ "no-replace", 0, CLI_FLAG, NULL,
	  "protect the path infos that are here: one that says the same of its path adds its "
	  "signatures, another is refused",
	  offsetof(struct options, no_replace), NULL },
	{ "no-list", 0, CLI_FLAG, NULL, "refuse to list the store's paths",
	  offsetof(struct options, no_list), NULL },
	{ "grpc-calls", 0, CLI_UNSIGNED, "N",
	  "how many calls are under way at once (default: 16384)",
	  offsetof(struct options, limits.calls), NULL },
	{ "grpc-client-calls", 0, CLI_UNSIGNED, "N",
	  "how many of them one client may have: an IPv4 address, or a /64 of IPv6 (default: a "
	  "quarter)",
	  offsetof(struct options, limits.client_calls), NULL },
	{ "grpc-connections", 0, CLI_UNSIGNED, "N",
	  "how many connections are open at once (default: 4096)",
	  offsetof(struct options, limits.connections), NULL },
	{ "grpc-client-connections", 0, CLI_UNSIGNED, "N",
	  "how many of them one client may have (default: a quarter)",
	  offsetof(struct options, limits.client_connections), NULL },
	{ "grpc-message", 0, CLI_STRING, "SIZE",
	  "how large a message may be that comes in (default: 16M)",
	  offsetof(struct options, message), NULL },
	{ "grpc-memory", 0, CLI_STRING, "SIZE",
	  "how much memory what comes in may take, of all clients (default: 256M)",
	  offsetof(struct options, memory), NULL },
	{ "grpc-first-timeout", 0, CLI_UNSIGNED, "SECONDS",
	  "how long the first message of a call may take to come (default: 30)",
	  offsetof(struct options, limits.first_message_s), NULL },
	{ "grpc-idle-timeout", 0, CLI_UNSIGNED, "SECONDS",
	  "how long a call waits for its client, and a second more for each KiB that passes "
	  "(default: 300)",
	  offsetof(struct options, limits.idle_s), NULL },
	{ "grpc-keepalive", 0, CLI_UNSIGNED, "SECONDS",
	  "after how long a silent client is asked whether it is still there (default: 60)",
	  offsetof(struct options, limits.keepalive_s), NULL },
#ifdef CASTOR_WITH_HTTP
	{ "http", 0, CLI_LIST, "ADDRESS",
	  "serve the store as a Nix binary cache too, there, as castor serve does, with its "
	  "options",
	  offsetof(struct options, http), NULL },
#endif
	{ NULL },
};

/* ---- The binary cache beside it ---- */

#ifdef CASTOR_WITH_HTTP

struct http {
	struct upload_policy policy;
	struct cache_wish wish;
	struct cache_server server;
};

static enum rc http_load(const struct options *options, struct http *http, struct err *err)
{
	if (options->http.count == 0 && cache_args_given(&options->cache))
		return err_set(err, RC_INVALID, "what is said of the binary cache needs --http");
	return cache_args_load(&options->cache, &http->policy, &http->wish, err);
}

static enum rc http_address(void *server, const char *address, int *port, struct err *err)
{
	return http_server_listen(server, address, port, err);
}

/* *out: one more server, where there is to be one. */
static enum rc http_open(struct cli *cli, const struct options *options, struct http *http,
			 struct server *out, size_t *count, struct err *err)
{
	const struct cli_list *addresses = &options->http;
	enum rc rc;

	if (addresses->count == 0)
		return RC_OK;
	http->wish.cache.services = &cli->services;
	rc = cache_wish_open(&http->wish, &http->server, err);
	struct listener listener = { .server = http->server.http, .address = http_address };
	if (rc == RC_OK)
		rc = socket_access_parse(&options->socket, &listener.access, err);
	for (size_t i = 0; rc == RC_OK && i < addresses->count; i++)
		rc = listen_at(&listener, addresses->values[i], err);
	if (rc == RC_OK)
		out[(*count)++] = cache_server_as_server(&http->server);
	return rc;
}

static enum rc http_reload(const struct options *options, const struct http *http, struct err *err)
{
	return http->server.cache ? cache_args_reload(&options->cache, &http->server, err) : RC_OK;
}

static void http_close(struct http *http)
{
	cache_server_close(&http->server);
	upload_policy_release(&http->policy);
}

#else

struct http {
	char nothing;
};

static enum rc http_load(const struct options *options, struct http *http, struct err *err)
{
	(void)options, (void)http, (void)err;
	return RC_OK;
}

static enum rc http_open(struct cli *cli, const struct options *options, struct http *http,
			 struct server *out, size_t *count, struct err *err)
{
	(void)cli, (void)options, (void)http, (void)out, (void)count, (void)err;
	return RC_OK;
}

static enum rc http_reload(const struct options *options, const struct http *http, struct err *err)
{
	(void)options, (void)http, (void)err;
	return RC_OK;
}

static void http_close(struct http *http)
{
	(void)http;
}

#endif

/* ---- The server ---- */

static enum rc listen_address(void *server, const char *address, int *port, struct err *err)
{
	return rpc_server_listen(server, address, port, err);
}

static enum rc listen_fd(void *server, int fd, struct err *err)
{
	return rpc_server_listen_fd(server, fd, err);
}

struct reloaded {
	const struct options *options;
	struct rpc_server *server;
	const struct http *http;
};

static enum rc reload_all(void *context, struct err *err)
{
	const struct reloaded *reloaded = context;
	enum rc rc = rpc_server_reload(reloaded->server, err);

	return rc == RC_OK ? http_reload(reloaded->options, reloaded->http, err) : rc;
}

static enum rc serve(struct cli *cli, struct rpc_server *server, struct store_rpc *context,
		     struct http *http, const struct options *options, struct err *err)
{
	struct listener listener = { .server = server,
				     .address = listen_address,
				     .socket = listen_fd };
	struct reloaded reloaded = { options, server, http };
	const struct reload reload = { reload_all, &reloaded };
	struct server servers[2];
	size_t count = 0;
	enum rc rc;

	store_rpc_register(server, context);
	health_register(server);
#ifdef CASTOR_WITH_REFLECTION
	reflection_register(server);
#endif
	rc = socket_access_parse(&options->socket, &listener.access, err);
	if (rc == RC_OK)
		rc = listen_everywhere(&listener, &options->listen, DEFAULT_ADDRESS, err);
	if (rc != RC_OK)
		return rc;
	servers[count++] = (struct server){ &rpc_server_ops, server };
	rc = http_open(cli, options, http, servers, &count, err);
	return rc == RC_OK ? serve_until_signal(cli, servers, count, &reload, err) : rc;
}

static enum rc load_limits(const struct options *options, struct rpc_limits *out, struct err *err)
{
	enum rc rc;

	*out = options->limits;
	rc = cli_size("grpc-message", options->message, 0, 1 << 20, &out->message, err);
	if (rc == RC_OK && out->message > INT32_MAX)
		return err_set(err, RC_INVALID, "--grpc-message is at most 2G");
	return rc == RC_OK
		       ? cli_size("grpc-memory", options->memory, 0, 16 << 20, &out->memory, err)
		       : rc;
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct rpc_server_options server_options = { .tls_cert = options->tls_cert,
						     .tls_key = options->tls_key,
						     .tls_client_ca = options->tls_client_ca };
	struct http http = { 0 };
	struct store_rpc context;
	struct rpc_server *server;
	enum rc rc = http_load(options, &http, err);

	(void)argc, (void)argv;
	if (rc == RC_OK)
		rc = load_limits(options, &server_options.limits, err);
	if (rc == RC_OK)
		rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = rpc_server_new(&server_options, &server, err);
	if (rc == RC_OK) {
		context = (struct store_rpc){ .services = cli->services,
					      .allow_incomplete = options->allow_incomplete,
					      .no_replace = options->no_replace,
					      .allow_list = !options->no_list };
		rc = serve(cli, server, &context, &http, options, err);
		rpc_server_free(server);
		store_rpc_release(&context);
	}
	http_close(&http);
	return rc;
}

const struct command command_daemon = {
	.name = "daemon",
	.summary = "serve a store to others, by gRPC",
	.details = "Speaks the protocol of tvix-store and snix-store under both of their names. "
		   "SIGTERM stops\n"
		   "accepting, lets calls in flight finish for 20 seconds, and ends.",
	.shared = CLI_STORE | CLI_UPSTREAM | CLI_WRITES,
	.options = option_table,
	.options_size = sizeof(struct options),
#ifdef CASTOR_WITH_HTTP
	.group = cache_options,
	.group_offset = offsetof(struct options, cache),
#endif
	.run = run,
};
