#include "cli/cache_args.h"

#include <string.h>

#include "base/machine.h"

#define CACHE_SIZE_MAX (UINT64_C(8) << 30) /* unless told otherwise */

const struct cli_option cache_options[] = {
	{ "priority", 0, CLI_UNSIGNED, "N",
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
	{ "sign-key", 0, CLI_STRING, "FILE",
	  "sign narinfos that are served, and what is uploaded, with this secret key, as nix-store "
	  "--generate-binary-cache-key writes it",
	  offsetof(struct cache_args, uploads.sign_key), NULL },
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

enum rc cache_args_load(const struct cache_args *args, struct upload_policy *policy,
			struct binary_cache_options *out, struct err *err)
{
	enum rc rc;

	*policy = (struct upload_policy){ 0 };
	*out = (struct binary_cache_options){ .priority = args->priority };
	rc = parse_compression(args->compression, &out->plain, err);
	if (rc == RC_OK)
		rc = cli_cache_size(args->cache_size, default_cache_size(), 0, &out->decoded, err);
	if (rc == RC_OK)
		rc = upload_policy_load(&args->uploads, policy, err);
	if (rc == RC_OK)
		upload_policy_apply(policy, out);
	return rc;
}

bool cache_args_given(const struct cache_args *args)
{
	const struct upload_wish *uploads = &args->uploads;

	return args->priority || args->compression || args->cache_size || uploads->allow ||
	       uploads->token_file || uploads->required.count > 0 || uploads->sign_key;
}
