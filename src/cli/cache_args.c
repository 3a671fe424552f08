#include "cli/cache_args.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	DEFAULT_PRIORITY = 40,
	HOURS_MAX = 10 * 365 * 24,
};

#define CACHE_SIZE_MAX (UINT64_C(8) << 30) /* unless told otherwise */

const struct cli_option cache_options[] = {
	{ "priority", 0, CLI_STRING, "N",
	  "what clients are told: of several caches they ask that of the least number first "
	  "(default: 40)",
	  offsetof(struct cache_args, priority), NULL },
	{ "compression", 0, CLI_STRING, "KIND",
	  "how NARs are sent: zstd (default), as the store keeps their contents, or none",
	  offsetof(struct cache_args, compression), NULL },
	{ "cache-size", 0, CLI_STRING, "SIZE",
	  "how many decoded bytes to keep in memory for NARs that are sent uncompressed (default: "
	  "an eighth of the machine's memory, at most 8G; 0: none)",
	  offsetof(struct cache_args, cache_size), NULL },
	{ "eager", 0, CLI_FLAG, NULL,
	  "fetch a path from an upstream when its narinfo is asked for, not when its NAR is",
	  offsetof(struct cache_args, eager), NULL },
	{ "allow-upload", 0, CLI_FLAG, NULL,
	  "take uploads (nix copy --to http://:TOKEN@host), from whoever has the token, or of what "
	  "a required key has signed",
	  offsetof(struct cache_args, uploads.allow), NULL },
	{ "upload-token", 0, CLI_STRING, "TOKEN",
	  "what uploads have to bring, as a bearer token or as a password; it is seen in the list "
	  "of processes: better by --upload-token-file or in CASTOR_UPLOAD_TOKEN",
	  offsetof(struct cache_args, uploads.token), "CASTOR_UPLOAD_TOKEN" },
	{ "upload-token-file", 0, CLI_STRING, "FILE", "a file with that token",
	  offsetof(struct cache_args, uploads.token_file), NULL },
	{ "require-signature", 0, CLI_LIST, "KEY",
	  "publish only what one of these public keys (name:base64) has signed",
	  offsetof(struct cache_args, uploads.required), NULL },
	{ "sign-key", 0, CLI_LIST, "FILE",
	  "sign narinfos that are served, and what is uploaded, with this secret key, as nix-store "
	  "--generate-binary-cache-key writes it",
	  offsetof(struct cache_args, uploads.sign_keys), NULL },
	{ "upload-quota", 0, CLI_STRING, "SIZE",
	  "how many bytes of one client's NARs may be on their way, or wait for their narinfo "
	  "(default: 64G)",
	  offsetof(struct cache_args, upload_quota), NULL },
	{ "upload-threads", 0, CLI_UNSIGNED, "N",
	  "how many uploads are stored at once; others wait for their turn (default: 8)",
	  offsetof(struct cache_args, parallel_uploads), NULL },
	{ "upload-nar-size", 0, CLI_STRING, "SIZE",
	  "how large one uploaded NAR may be, uncompressed (default: 1T)",
	  offsetof(struct cache_args, upload_nar_size), NULL },
	{ "upload-keep", 0, CLI_UNSIGNED, "HOURS",
	  "how long an uploaded NAR waits for its narinfo, from its last use (default: 24)",
	  offsetof(struct cache_args, upload_keep), NULL },
	{ "upload-timeout", 0, CLI_UNSIGNED, "HOURS", "how long one upload may take (default: 6)",
	  offsetof(struct cache_args, upload_timeout), NULL },
	{ "trusted-proxy", 0, CLI_LIST, "ADDRESS",
	  "requests from this IP address, or from sockets (unix), are those of whom their last "
	  "X-Forwarded-For names",
	  offsetof(struct cache_args, proxies), NULL },
	{ "http-connections", 0, CLI_UNSIGNED, "N",
	  "how many connections are served at once (default: 1024)",
	  offsetof(struct cache_args, connections), NULL },
	{ "http-client-connections", 0, CLI_UNSIGNED, "N",
	  "how many of them one client may have: an IPv4 address, or a /64 of IPv6 (default: 256)",
	  offsetof(struct cache_args, client_connections), NULL },
	{ "http-health-connections", 0, CLI_UNSIGNED, "N",
	  "how many more are served for /healthz alone (default: 16)",
	  offsetof(struct cache_args, health_connections), NULL },
	{ "http-workers", 0, CLI_UNSIGNED, "N",
	  "how many requests read this machine's disks at once; others wait (default: 16)",
	  offsetof(struct cache_args, workers), NULL },
	{ "http-remote-workers", 0, CLI_UNSIGNED, "N",
	  "how many requests ask other machines at once; others wait (default: 64)",
	  offsetof(struct cache_args, remote_workers), NULL },
	{ "http-head-timeout", 0, CLI_UNSIGNED, "SECONDS",
	  "how long the first request of a connection may take to come (default: 10)",
	  offsetof(struct cache_args, head_timeout), NULL },
	{ "http-idle-timeout", 0, CLI_UNSIGNED, "SECONDS",
	  "how long a connection may be without another request (default: 60)",
	  offsetof(struct cache_args, idle_timeout), NULL },
	{ "http-wait-timeout", 0, CLI_UNSIGNED, "SECONDS",
	  "how long a request may wait for other machines (default: 600)",
	  offsetof(struct cache_args, wait_timeout), NULL },
	{ "http-least-rate", 0, CLI_STRING, "SIZE",
	  "how many bytes a second of a body have to pass, either way, on average over 30 seconds "
	  "(default: 1K)",
	  offsetof(struct cache_args, least_rate), NULL },
	{ NULL },
};

/* What is decoded takes the place that the page cache has for a server of files. */
static size_t default_cache_size(void)
{
	uint64_t share = machine_memory() / 8;

	return share < CACHE_SIZE_MAX ? (size_t)share : (size_t)CACHE_SIZE_MAX;
}

static enum rc parse_compression(const char *text, bool *plain, struct err *err)
{
	*plain = text && strcmp(text, "none") == 0;
	if (text && !*plain && strcmp(text, "zstd") != 0)
		return err_set(err, RC_INVALID, "--compression is zstd or none, not %s", text);
	return RC_OK;
}

static enum rc parse_priority(const char *text, unsigned *out, struct err *err)
{
	uint64_t value = DEFAULT_PRIORITY;

	if (text && (!text_parse_u64(view_of_string(text), &value) || value > INT32_MAX))
		return err_set(err, RC_INVALID, "--priority takes a number, not \"%s\"", text);
	*out = (unsigned)value;
	return RC_OK;
}

static void set(unsigned *limit, unsigned wish)
{
	if (wish > 0)
		*limit = wish;
}

static void set_seconds(int64_t *limit_ns, unsigned wish)
{
	if (wish > 0)
		*limit_ns = wish * NS_PER_S;
}

static enum rc set_hours(const char *option, int64_t *limit_ns, unsigned wish, struct err *err)
{
	if (wish > HOURS_MAX)
		return err_set(err, RC_INVALID, "--%s is at most %d hours, not %u", option,
			       HOURS_MAX, wish);
	if (wish > 0)
		*limit_ns = wish * 3600 * NS_PER_S;
	return RC_OK;
}

static enum rc load_limits(const struct cache_args *args, struct http_limits *out, struct err *err)
{
	size_t rate = 0;
	enum rc rc = cli_size("http-least-rate", args->least_rate, http_limits_default.rate, 0,
			      &rate, err);

	*out = http_limits_default;
	out->rate = rate;
	set(&out->connections, args->connections);
	out->client_connections = out->connections / 4 > 0 ? out->connections / 4 : 1;
	set(&out->client_connections, args->client_connections);
	set(&out->health_connections, args->health_connections);
	set(&out->workers, args->workers);
	set(&out->remote_workers, args->remote_workers);
	set_seconds(&out->head_ns, args->head_timeout);
	set_seconds(&out->idle_ns, args->idle_timeout);
	set_seconds(&out->wait_ns, args->wait_timeout);
	return rc;
}

static enum rc load_upload_limits(const struct cache_args *args, struct nar_upload_limits *out,
				  struct err *err)
{
	size_t quota = 0, nar_size = 0;
	enum rc rc = cli_size("upload-quota", args->upload_quota,
			      nar_upload_limits_default.client_bytes, 0, &quota, err);

	if (rc == RC_OK)
		rc = cli_size("upload-nar-size", args->upload_nar_size,
			      nar_upload_limits_default.nar_bytes, 1, &nar_size, err);
	*out = nar_upload_limits_default;
	out->nar_bytes = nar_size;
	out->client_bytes = quota;
	if (quota > out->all_bytes / 4)
		out->all_bytes = quota > UINT64_MAX / 4 ? UINT64_MAX : 4 * (uint64_t)quota;
	set(&out->parallel, args->parallel_uploads);
	if (rc == RC_OK)
		rc = set_hours("upload-keep", &out->keep_ns, args->upload_keep, err);
	if (rc == RC_OK)
		rc = set_hours("upload-timeout", &out->upload_ns, args->upload_timeout, err);
	return rc;
}

enum rc cache_args_load(const struct cache_args *args, struct upload_policy *policy,
			struct cache_wish *out, struct err *err)
{
	struct binary_cache_options *cache = &out->cache;
	enum rc rc;

	*policy = (struct upload_policy){ 0 };
	*out = (struct cache_wish){ .proxies = &args->proxies };
	cache->eager = args->eager;
	rc = parse_priority(args->priority, &cache->priority, err);
	if (rc == RC_OK)
		rc = parse_compression(args->compression, &cache->plain, err);
	if (rc == RC_OK)
		rc = cli_size("cache-size", args->cache_size, default_cache_size(), 0,
			      &cache->decoded, err);
	if (rc == RC_OK)
		rc = load_limits(args, &out->limits, err);
	if (rc == RC_OK)
		rc = load_upload_limits(args, &cache->upload_limits, err);
	if (rc == RC_OK)
		rc = upload_policy_load(&args->uploads, policy, err);
	if (rc == RC_OK)
		upload_policy_apply(policy, cache);
	return rc;
}

enum rc cache_wish_open(const struct cache_wish *wish, struct cache_server *out, struct err *err)
{
	enum rc rc = cache_server_open(&wish->cache, &wish->limits, out, err);

	for (size_t i = 0; rc == RC_OK && i < wish->proxies->count; i++)
		rc = http_server_trust_proxy(out->http, wish->proxies->values[i], err);
	return rc;
}

enum rc cache_args_reload(const struct cache_args *args, const struct cache_server *server,
			  struct err *err)
{
	AUTO_FREE char *token = NULL;
	enum rc rc = upload_policy_read_token(&args->uploads, &token, err);

	if (rc != RC_OK || !token)
		return rc;
	binary_cache_set_token(server->cache, token);
	OPENSSL_cleanse(token, strlen(token));
	return RC_OK;
}

bool cache_args_given(const struct cache_args *args)
{
	const struct upload_wish *uploads = &args->uploads;

	return args->priority || args->compression || args->cache_size || args->eager ||
	       uploads->allow || uploads->token_file || uploads->required.count > 0 ||
	       uploads->sign_keys.count > 0 || args->upload_quota || args->parallel_uploads ||
	       args->upload_nar_size || args->upload_keep || args->upload_timeout ||
	       args->health_connections || args->workers || args->remote_workers ||
	       args->proxies.count > 0 || args->connections || args->client_connections ||
	       args->head_timeout || args->idle_timeout || args->wait_timeout || args->least_rate;
}
