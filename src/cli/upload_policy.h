/* Who may upload to a binary cache, and what is signed: from what a person says to what a server takes. */
#ifndef CASTOR_CLI_UPLOAD_POLICY_H
#define CASTOR_CLI_UPLOAD_POLICY_H

#include "base/err.h"
#include "cli/cli.h"
#include "server/binary_cache.h"

/* Values of options; all may be left out. */
struct upload_wish {
	bool allow;
	const char *token, *token_file;
	struct cli_list required;  /* public keys */
	struct cli_list sign_keys; /* files */
};

struct upload_policy {
	char *token;
	struct public_key *keys;
	size_t key_count;
	struct secret_key *sign;
	size_t sign_count;
};

/* RC_INVALID where everybody could upload, or a key is none. */
enum rc upload_policy_load(const struct upload_wish *wish, struct upload_policy *out,
			   struct err *err) MUST_USE;
/* The options borrow from the policy. */
void upload_policy_apply(const struct upload_policy *policy, struct binary_cache_options *options);
/* What --upload-token-file says by now: *token is the caller's, NULL where there is no such file. */
enum rc upload_policy_read_token(const struct upload_wish *wish, char **token,
				 struct err *err) MUST_USE;
void upload_policy_release(struct upload_policy *policy); /* forgets the secrets */

#endif
