/* castor daemon: serves a store to others, by gRPC. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/listen.h"
#ifdef CASTOR_WITH_HTTP
#include "server/cache_server.h"
#endif
#include "server/health.h"
#include "server/reflection.h"
#include "server/store_rpc.h"

#define DEFAULT_ADDRESS "[::1]:8000"

enum { GRACE_S = 20 };

struct options {
	struct cli_list listen;
	const char *tls_cert, *tls_key, *tls_client_ca;
	bool allow_incomplete, no_list;
#ifdef CASTOR_WITH_HTTP
	struct cli_list http;
#endif
};

static const struct cli_option option_table[] = {
	{ "listen-address", 'l', CLI_LIST, "ADDRESS",
	  "where to listen (default: " DEFAULT_ADDRESS
	  "); may be given many times: host:port, /path/of/socket, @abstract, or sd-listen for "
	  "sockets from systemd",
	  offsetof(struct options, listen), NULL },
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
	{ "no-list", 0, CLI_FLAG, NULL, "refuse to list the store's paths",
	  offsetof(struct options, no_list), NULL },
#ifdef CASTOR_WITH_HTTP
	{ "http", 0, CLI_LIST, "ADDRESS",
	  "serve the store as a Nix binary cache too, there, as castor serve does; may be given "
	  "many "
	  "times",
	  offsetof(struct options, http), NULL },
#endif
	{ NULL },
};

static enum rc listen_address(void *server, const char *address, struct err *err)
{
	return rpc_server_listen(server, address, NULL, err);
}

static enum rc listen_fd(void *server, int fd, struct err *err)
{
	return rpc_server_listen_fd(server, fd, err);
}

#ifdef CASTOR_WITH_HTTP
static enum rc start_http(struct cli *cli, const struct cli_list *addresses,
			  struct cache_server *server, struct err *err)
{
	struct binary_cache_options options = { .services = &cli->services };
	enum rc rc;

	if (addresses->count == 0)
		return RC_OK;
	rc = cache_server_open(&options, server, err);
	for (size_t i = 0; rc == RC_OK && i < addresses->count; i++)
		rc = http_server_listen(server->http, addresses->values[i], NULL, err);
	return rc == RC_OK ? http_server_start(server->http, err) : rc;
}
#endif

static enum rc serve(struct cli *cli, struct rpc_server *server, struct store_rpc *context,
		     const struct options *options, struct err *err)
{
	const struct listener listener = { server, listen_address, listen_fd };
	enum rc rc;

	store_rpc_register(server, context);
	health_register(server);
#ifdef CASTOR_WITH_REFLECTION
	reflection_register(server);
#endif
	rc = listen_everywhere(&listener, &options->listen, DEFAULT_ADDRESS, err);
	if (rc != RC_OK)
		return rc;
	rpc_server_start(server);
#ifdef CASTOR_WITH_HTTP
	struct cache_server http = { 0 };

	rc = start_http(cli, &options->http, &http, err);
	if (rc == RC_OK)
		serve_until_signal(cli, &options->listen, DEFAULT_ADDRESS);
	cache_server_close(&http, GRACE_S * NS_PER_S);
#else
	serve_until_signal(cli, &options->listen, DEFAULT_ADDRESS);
#endif
	rpc_server_stop(server, GRACE_S * NS_PER_S);
	return rc;
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct rpc_server_options server_options = { .tls_cert = options->tls_cert,
						     .tls_key = options->tls_key,
						     .tls_client_ca = options->tls_client_ca };
	struct store_rpc context;
	struct rpc_server *server;
	enum rc rc;

	(void)argc, (void)argv;
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = rpc_server_new(&server_options, &server, err);
	if (rc != RC_OK)
		return rc;
	context = (struct store_rpc){ .services = cli->services,
				      .allow_incomplete = options->allow_incomplete,
				      .allow_list = !options->no_list };
	rc = serve(cli, server, &context, options, err);
	rpc_server_free(server);
	store_rpc_release(&context);
	return rc;
}

const struct command command_daemon = {
	.name = "daemon",
	.summary = "serve a store to others, by gRPC",
	.details = "Speaks the protocol of tvix-store and snix-store under both of their names. "
		   "SIGTERM stops\n"
		   "accepting, lets calls in flight finish for 20 seconds, and ends.",
	.shared = CLI_STORE | CLI_UPSTREAM,
	.options = option_table,
	.options_size = sizeof(struct options),
	.run = run,
};
