#include "cli/upload_policy.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/file.h"
#include "base/mem.h"

enum { SECRET_FILE_MAX = 4096 };

/* Without the white space at its end. */
static enum rc read_secret(const char *path, struct buf *out, struct err *err)
{
	enum rc rc = file_read_path(AT_FDCWD, path, SECRET_FILE_MAX, out, err);

	while (rc == RC_OK && out->len > 0 && out->ptr[out->len - 1] <= ' ')
		out->len--;
	if (rc == RC_OK && (out->len == 0 || memchr(out->ptr, '\0', out->len)))
		rc = err_set(err, RC_INVALID, "%s holds no secret", path);
	return rc;
}

static void wipe(struct buf *secret)
{
	if (secret->ptr)
		OPENSSL_cleanse(secret->ptr, secret->cap);
	buf_release(secret);
}

enum rc upload_policy_read_token(const struct upload_wish *wish, char **token, struct err *err)
{
	struct buf text CLEANUP(wipe) = BUF_INIT;
	enum rc rc;

	*token = NULL;
	if (!wish->allow || !wish->token_file)
		return RC_OK;
	rc = read_secret(wish->token_file, &text, err);
	if (rc == RC_OK)
		*token = mem_strndup(buf_view(&text));
	return rc;
}

static enum rc load_token(const struct upload_wish *wish, struct upload_policy *out,
			  struct err *err)
{
	if (wish->token_file)
		return upload_policy_read_token(wish, &out->token, err);
	out->token = wish->token && *wish->token ? mem_strdup(wish->token) : NULL;
	return RC_OK;
}

static enum rc load_keys(const struct upload_wish *wish, struct upload_policy *out, struct err *err)
{
	for (size_t i = 0; i < wish->required.count; i++) {
		enum rc rc = public_keys_parse(view_of_string(wish->required.values[i]), &out->keys,
					       &out->key_count, err);

		if (rc != RC_OK)
			return err_context(err, rc, "--require-signature");
	}
	return RC_OK;
}

static enum rc load_sign_key(const char *path, struct secret_key *out, struct err *err)
{
	struct buf text CLEANUP(wipe) = BUF_INIT;
	enum rc rc = read_secret(path, &text, err);

	if (rc == RC_OK)
		rc = secret_key_parse(buf_view(&text), out, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", path);
}

static enum rc load_sign_keys(const struct upload_wish *wish, struct upload_policy *out,
			      struct err *err)
{
	enum rc rc = RC_OK;

	out->sign = mem_zalloc((wish->sign_keys.count + 1) * sizeof(*out->sign));
	for (size_t i = 0; rc == RC_OK && i < wish->sign_keys.count; i++)
		rc = load_sign_key(wish->sign_keys.values[i], &out->sign[out->sign_count++], err);
	return rc;
}

enum rc upload_policy_load(const struct upload_wish *wish, struct upload_policy *out,
			   struct err *err)
{
	enum rc rc;

	*out = (struct upload_policy){ 0 };
	if (!wish->allow) {
		if (wish->token_file || wish->required.count > 0)
			return err_set(err, RC_INVALID,
				       "what is said of uploads needs "
				       "--allow-upload");
		rc = load_sign_keys(wish, out, err);
		if (rc != RC_OK)
			upload_policy_release(out);
		return rc;
	}
	rc = load_token(wish, out, err);
	if (rc == RC_OK)
		rc = load_keys(wish, out, err);
	if (rc == RC_OK)
		rc = load_sign_keys(wish, out, err);
	if (rc == RC_OK && !out->token && out->key_count == 0)
		rc = err_set(err, RC_INVALID,
			     "--allow-upload would let anybody upload: say who may "
			     "by --upload-token-file, --upload-token, CASTOR_UPLOAD_TOKEN or "
			     "--require-signature");
	if (rc != RC_OK)
		upload_policy_release(out);
	return rc;
}

void upload_policy_apply(const struct upload_policy *policy, struct binary_cache_options *options)
{
	options->uploads = policy->token || policy->key_count > 0;
	options->upload_token = policy->token;
	options->publish = (struct nar_publish_policy){
		.keys = policy->keys,
		.key_count = policy->key_count,
		.sign = policy->sign,
		.sign_count = policy->sign_count,
	};
}

void upload_policy_release(struct upload_policy *policy)
{
	if (policy->token)
		OPENSSL_cleanse(policy->token, strlen(policy->token));
	free(policy->token);
	free(policy->keys);
	for (size_t i = 0; i < policy->sign_count; i++)
		secret_key_wipe(&policy->sign[i]);
	free(policy->sign);
	*policy = (struct upload_policy){ 0 };
}
