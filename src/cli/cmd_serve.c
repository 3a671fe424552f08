/* castor serve: a store as a Nix binary cache, by HTTP. */
#include "base/clock.h"
#include "cli/cache_args.h"
#include "cli/cli.h"
#include "cli/listen.h"
#include "server/cache_server.h"

#define DEFAULT_ADDRESS "[::1]:9000"

enum { GRACE_S = 20 };

struct options {
	struct cli_list listen;
	struct cache_args cache;
};

static const struct cli_option option_table[] = {
	{ "listen-address", 'l', CLI_LIST, "ADDRESS",
	  "where to listen (default: " DEFAULT_ADDRESS
	  "): host:port, /path/of/socket, @abstract, or sd-listen for sockets from systemd",
	  offsetof(struct options, listen), NULL },
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

static enum rc serve(struct cli *cli, struct http_server *server, const struct options *options,
		     struct err *err)
{
	const struct listener listener = { server, listen_address, listen_fd };
	enum rc rc = listen_everywhere(&listener, &options->listen, DEFAULT_ADDRESS, err);

	if (rc == RC_OK)
		rc = http_server_start(server, err);
	if (rc == RC_OK)
		serve_until_signal(cli);
	return rc;
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct cache_server server = { 0 };
	struct binary_cache_options wish;
	struct upload_policy policy;
	enum rc rc = cache_args_load(&options->cache, &policy, &wish, err);

	(void)argc, (void)argv;
	if (rc != RC_OK)
		return rc;
	wish.services = &cli->services;
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = cache_server_open(&wish, &server, err);
	if (rc == RC_OK)
		rc = serve(cli, server.http, options, err);
	cache_server_close(&server, GRACE_S * NS_PER_S);
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
