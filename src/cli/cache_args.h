/* What the commands that serve a binary cache are told of it. */
#ifndef CASTOR_CLI_CACHE_ARGS_H
#define CASTOR_CLI_CACHE_ARGS_H

#include "cli/cli.h"
#include "cli/upload_policy.h"
#include "server/binary_cache.h"

struct cache_args {
	unsigned priority;
	const char *compression;
	const char *cache_size;
	struct upload_wish uploads;
};
extern const struct cli_option cache_options[];

/* All that is said, but the services. *out borrows from *policy, which is empty where this fails. */
enum rc cache_args_load(const struct cache_args *args, struct upload_policy *policy,
			struct binary_cache_options *out, struct err *err) MUST_USE;
/* Was anything said? A token in the environment is not. */
bool cache_args_given(const struct cache_args *args);

#endif
