/* castor serve: a store as a Nix binary cache, by HTTP. */
#include <string.h>

#include "base/clock.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/listen.h"
#include "cli/upload_policy.h"
#include "server/cache_server.h"

#define DEFAULT_ADDRESS "[::1]:9000"
#define CACHE_SIZE_MAX  (UINT64_C(8) << 30) /* unless told otherwise */

enum { GRACE_S = 20 };

struct options {
	struct cli_list listen;
	unsigned priority;
	const char *compression;
	const char *cache_size;
	bool allow_upload;
	const char *upload_token, *upload_token_file;
	struct cli_list require_signature;
	const char *sign_key;
};

static const struct cli_option option_table[] = {
	{ "listen-address", 'l', CLI_LIST, "ADDRESS",
	  "where to listen (default: " DEFAULT_ADDRESS
	  "); may be given many times: host:port, /path/of/socket, @abstract, or sd-listen for "
	  "sockets from systemd",
	  offsetof(struct options, listen), NULL },
	{ "priority", 0, CLI_UNSIGNED, "N",
	  "what clients are told: of several caches they ask that of the least number first "
	  "(default: 40)",
	  offsetof(struct options, priority), NULL },
	{ "compression", 0, CLI_STRING, "KIND",
	  "how NARs are sent: zstd (default), as the store keeps their contents, or none",
	  offsetof(struct options, compression), NULL },
	{ "cache-size", 0, CLI_STRING, "SIZE",
	  "how many decoded bytes to keep in memory for NARs that are sent uncompressed (default: "
	  "an eighth of the machine's memory, at most 8G; 0: none)",
	  offsetof(struct options, cache_size), NULL },
	{ "allow-upload", 0, CLI_FLAG, NULL,
	  "take uploads (nix copy --to http://:TOKEN@host), from whoever has the token, or of what "
	  "a required key has signed",
	  offsetof(struct options, allow_upload), NULL },
	{ "upload-token", 0, CLI_STRING, "TOKEN",
	  "what uploads have to bring, as a bearer token or as a password; it is seen in the list "
	  "of "
	  "processes: better by --upload-token-file or in CASTOR_UPLOAD_TOKEN",
	  offsetof(struct options, upload_token), "CASTOR_UPLOAD_TOKEN" },
	{ "upload-token-file", 0, CLI_STRING, "FILE", "a file with that token",
	  offsetof(struct options, upload_token_file), NULL },
	{ "require-signature", 0, CLI_LIST, "KEY",
	  "publish only what one of these public keys (name:base64) has signed; may be given many "
	  "times",
	  offsetof(struct options, require_signature), NULL },
	{ "sign-key", 0, CLI_STRING, "FILE",
	  "sign narinfos that are served, and what is uploaded, with this secret key, as nix-store "
	  "--generate-binary-cache-key writes it",
	  offsetof(struct options, sign_key), NULL },
	{ NULL },
};

static enum rc listen_address(void *server, const char *address, struct err *err)
{
	return http_server_listen(server, address, NULL, err);
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
		serve_until_signal(cli, &options->listen, DEFAULT_ADDRESS);
	return rc;
}

/* What is decoded takes the place that the page cache has for a server of files. */
static size_t default_cache_size(void)
{
	uint64_t share = machine_memory() / 8;

	return share < CACHE_SIZE_MAX ? (size_t)share : (size_t)CACHE_SIZE_MAX;
}

static enum rc cache_options(const struct cli *cli, const struct options *options,
			     struct binary_cache_options *out, struct err *err)
{
	*out = (struct binary_cache_options){ .services = &cli->services,
					      .priority = options->priority };
	if (options->compression && strcmp(options->compression, "none") == 0)
		out->plain = true;
	else if (options->compression && strcmp(options->compression, "zstd") != 0)
		return err_set(err, RC_INVALID, "--compression is zstd or none, not %s",
			       options->compression);
	return cli_cache_size(options->cache_size, default_cache_size(), 0, &out->decoded, err);
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	const struct upload_wish uploads = {
		.allow = options->allow_upload,
		.token = options->upload_token,
		.token_file = options->upload_token_file,
		.required = &options->require_signature,
		.sign_key = options->sign_key,
	};
	struct cache_server server = { 0 };
	struct binary_cache_options wish;
	struct upload_policy policy;
	enum rc rc = cache_options(cli, options, &wish, err);

	(void)argc, (void)argv;
	if (rc == RC_OK)
		rc = upload_policy_load(&uploads, &policy, err);
	if (rc != RC_OK)
		return rc;
	upload_policy_apply(&policy, &wish);
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
	.run = run,
};
