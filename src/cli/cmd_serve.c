/* castor serve: a store as a Nix binary cache, by HTTP. */
#include "cli/cache_args.h"
#include "cli/cli.h"
#include "cli/listen.h"
#include "server/cache_server.h"

#define DEFAULT_ADDRESS "[::1]:9000"

struct options {
	struct cli_list listen;
	struct socket_args socket;
	struct cache_args cache;
};

static const struct cli_option option_table[] = {
	{ "listen-address", 'l', CLI_LIST, "ADDRESS",
	  "where to listen (default: " DEFAULT_ADDRESS
	  "): host:port, /path/of/socket, @abstract, or sd-listen for sockets from systemd",
	  offsetof(struct options, listen), NULL },
	SOCKET_OPTIONS(struct options, socket),
	{ NULL },
};

static enum rc listen_address(void *server, const char *address, int *port, struct err *err)
{
	return http_server_listen(server, address, port, err);
}

static enum rc listen_fd(void *server, int fd, struct err *err)
{
	return http_server_listen_fd(server, fd, err);
}

struct reloaded {
	const struct cache_args *args;
	const struct cache_server *server;
};

static enum rc reload_cache(void *context, struct err *err)
{
	const struct reloaded *reloaded = context;

	return cache_args_reload(reloaded->args, reloaded->server, err);
}

static enum rc serve(struct cli *cli, const struct cache_server *cache,
		     const struct options *options, struct err *err)
{
	struct listener listener = { .server = cache->http,
				     .address = listen_address,
				     .socket = listen_fd };
	const struct server server = cache_server_as_server(cache);
	struct reloaded reloaded = { &options->cache, cache };
	const struct reload reload = { reload_cache, &reloaded };
	enum rc rc = socket_access_parse(&options->socket, &listener.access, err);

	if (rc == RC_OK)
		rc = listen_everywhere(&listener, &options->listen, DEFAULT_ADDRESS, err);
	return rc == RC_OK ? serve_until_signal(cli, &server, 1, &reload, err) : rc;
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct cache_server server = { 0 };
	struct cache_wish wish;
	struct upload_policy policy;
	enum rc rc = cache_args_load(&options->cache, &policy, &wish, err);

	(void)argc, (void)argv;
	if (rc != RC_OK)
		return rc;
	wish.cache.services = &cli->services;
	cli->writes = options->cache.uploads.allow;
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = cache_wish_open(&wish, &server, err);
	if (rc == RC_OK)
		rc = serve(cli, &server, options, err);
	cache_server_close(&server);
	upload_policy_release(&policy);
	return rc;
}

const struct command command_serve = {
	.name = "serve",
	.summary = "serve a store to Nix, as a binary cache by HTTP",
	.details = "Any path in the store is served: its narinfo, its NAR, its listing. TLS is a "
		   "reverse\n"
		   "proxy's work; castor-serve(1) shows one. SIGTERM stops accepting, lets replies "
		   "in\n"
		   "flight finish for 20 seconds, and ends.",
	.shared = CLI_STORE | CLI_UPSTREAM,
	.options = option_table,
	.options_size = sizeof(struct options),
	.group = cache_options,
	.group_offset = offsetof(struct options, cache),
	.run = run,
};
