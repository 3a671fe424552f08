/* Ed25519 by libcrypto. Keys are made for each call: that takes a few microseconds. */
#include "nix/signature.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/mem.h"
#include "base/text.h"
#include "nix/nixbase32.h"

enum { SEED_SIZE = 32 };

enum rc signature_check_name(struct view name, struct err *err)
{
	if (name.len == 0 || name.len > SIGNATURE_NAME_MAX)
		return err_set(err, RC_INVALID, "the name of a key has %zu bytes, not 1 to %d",
			       name.len, SIGNATURE_NAME_MAX);
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			    (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_';

		if (!good)
			return err_set(err, RC_INVALID,
				       "the name of a key has byte 0x%02x: allowed are letters, "
				       "digits and -._",
				       c);
	}
	return RC_OK;
}

/* ---- Text ---- */

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct view trim(struct view text)
{
	while (text.len > 0 && is_space(text.ptr[0]))
		text = view_slice(text, 1, text.len - 1);
	while (text.len > 0 && is_space(text.ptr[text.len - 1]))
		text.len--;
	return text;
}

/* "name:base64" of `size` bytes. The name is borrowed. */
static enum rc parse_pair(struct view text, const char *what, size_t size, struct view *name,
			  uint8_t *data, struct err *err)
{
	CLEANUP(buf_release) struct buf decoded = BUF_INIT;
	const uint8_t *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
	size_t name_len = colon ? (size_t)(colon - text.ptr) : 0;
	bool good;
	enum rc rc;

	if (!colon)
		return err_set(err, RC_INVALID, "%s is not name:base64, there is no colon", what);
	*name = view_slice(text, 0, name_len);
	rc = signature_check_name(*name, err);
	if (rc != RC_OK)
		return rc;
	good = base64_decode(BASE64_STANDARD,
			     view_slice(text, name_len + 1, text.len - name_len - 1), &decoded) &&
	       decoded.len == size;
	if (good)
		memcpy(data, decoded.ptr, size);
	if (decoded.len > 0)
		OPENSSL_cleanse(decoded.ptr, decoded.len);
	if (!good)
		return err_set(err, RC_INVALID, "%s \"%.*s\" is not %zu bytes of base64", what,
			       (int)name_len, (const char *)name->ptr, size);
	return RC_OK;
}

static void print_pair(const char *name, const uint8_t *data, size_t size, struct buf *out)
{
	buf_append_string(out, name);
	buf_append_byte(out, ':');
	base64_encode(BASE64_STANDARD, view_of(data, size), out);
}

enum rc signature_parse(struct view text, struct signature *out, struct err *err)
{
	struct view name;
	enum rc rc;

	memset(out, 0, sizeof(*out));
	rc = parse_pair(text, "a signature", SIGNATURE_SIZE, &name, out->data, err);
	if (rc == RC_OK)
		out->name = mem_strndup(name);
	return rc;
}

void signature_print(const struct signature *signature, struct buf *out)
{
	print_pair(signature->name, signature->data, SIGNATURE_SIZE, out);
}

void signature_release(struct signature *signature)
{
	free(signature->name);
	memset(signature, 0, sizeof(*signature));
}

enum rc public_key_parse(struct view text, struct public_key *out, struct err *err)
{
	struct view name;
	enum rc rc;

	memset(out, 0, sizeof(*out));
	rc = parse_pair(trim(text), "a public key", PUBLIC_KEY_SIZE, &name, out->data, err);
	if (rc == RC_OK)
		memcpy(out->name, name.ptr, name.len);
	return rc;
}

void public_key_print(const struct public_key *key, struct buf *out)
{
	print_pair(key->name, key->data, PUBLIC_KEY_SIZE, out);
}

void secret_key_print(const struct secret_key *key, struct buf *out)
{
	print_pair(key->name, key->data, SECRET_KEY_SIZE, out);
}

void secret_key_wipe(struct secret_key *key)
{
	OPENSSL_cleanse(key, sizeof(*key));
}

enum rc public_keys_parse(struct view text, struct public_key **keys, size_t *count,
			  struct err *err)
{
	for (;;) {
		struct public_key key;
		size_t len = 0;
		enum rc rc;

		text = trim(text);
		if (text.len == 0)
			return RC_OK;
		while (len < text.len && !is_space(text.ptr[len]))
			len++;
		rc = public_key_parse(view_slice(text, 0, len), &key, err);
		if (rc == RC_OK && *count == PUBLIC_KEYS_MAX)
			rc = err_set(err, RC_TOO_LARGE, "more than %d public keys",
				     PUBLIC_KEYS_MAX);
		if (rc != RC_OK)
			return rc;
		*keys = mem_realloc_array(*keys, *count + 1, sizeof(**keys));
		(*keys)[(*count)++] = key;
		text = view_slice(text, len, text.len - len);
	}
}

/* ---- Secret keys ---- */

static enum rc public_of_seed(const uint8_t seed[SEED_SIZE], uint8_t out[PUBLIC_KEY_SIZE],
			      struct err *err)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, SEED_SIZE);
	size_t len = PUBLIC_KEY_SIZE;
	bool good = key && EVP_PKEY_get_raw_public_key(key, out, &len) == 1;

	EVP_PKEY_free(key);
	return good ? RC_OK : err_set(err, RC_NO_MEMORY, "libcrypto makes no Ed25519 key");
}

enum rc secret_key_parse(struct view text, struct secret_key *out, struct err *err)
{
	uint8_t public[PUBLIC_KEY_SIZE];
	struct view name;
	enum rc rc;

	memset(out, 0, sizeof(*out));
	rc = parse_pair(trim(text), "a secret key", SECRET_KEY_SIZE, &name, out->data, err);
	if (rc == RC_OK)
		rc = public_of_seed(out->data, public, err);
	if (rc == RC_OK && memcmp(public, out->data + SEED_SIZE, PUBLIC_KEY_SIZE) != 0)
		rc = err_set(err, RC_INVALID,
			     "the two halves of the secret key \"%.*s\" do not "
			     "belong together",
			     (int)name.len, (const char *)name.ptr);
	if (rc != RC_OK) {
		secret_key_wipe(out);
		return rc;
	}
	memcpy(out->name, name.ptr, name.len);
	return RC_OK;
}

enum rc secret_key_generate(struct view name, struct secret_key *out, struct err *err)
{
	enum rc rc = signature_check_name(name, err);

	memset(out, 0, sizeof(*out));
	if (rc == RC_OK && RAND_priv_bytes(out->data, SEED_SIZE) != 1)
		rc = err_set(err, RC_IO, "the system gives no random bytes");
	if (rc == RC_OK)
		rc = public_of_seed(out->data, out->data + SEED_SIZE, err);
	if (rc == RC_OK)
		memcpy(out->name, name.ptr, name.len);
	else
		secret_key_wipe(out);
	return rc;
}

void secret_key_public(const struct secret_key *key, struct public_key *out)
{
	memcpy(out->name, key->name, sizeof(out->name));
	memcpy(out->data, key->data + SEED_SIZE, PUBLIC_KEY_SIZE);
}

/* ---- Signing ---- */

static int compare_paths(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

void fingerprint(const struct store_path *path, const struct nar_hash *nar_sha256,
		 uint64_t nar_size, const struct store_path *references, size_t count,
		 struct buf *out)
{
	AUTO_FREE struct store_path *sorted = NULL;
	char text[STORE_PATH_ABSOLUTE_MAX + 1], hash[NIXBASE32_LEN(sizeof(nar_sha256->bytes)) + 1];

	store_path_absolute(path, text);
	nixbase32_encode(nar_sha256->bytes, sizeof(nar_sha256->bytes), hash);
	buf_printf(out, "1;%s;sha256:%s;%" PRIu64 ";", text, hash, nar_size);
	if (count == 0)
		return;
	sorted = mem_array(count, sizeof(*sorted));
	memcpy(sorted, references, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_paths);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && store_path_equal(&sorted[i], &sorted[i - 1]))
			continue;
		if (i > 0)
			buf_append_byte(out, ',');
		store_path_absolute(&sorted[i], text);
		buf_append_string(out, text);
	}
}

enum rc signature_make(const struct secret_key *key, struct view message, struct signature *out,
		       struct err *err)
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->data, SEED_SIZE);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t len = SIGNATURE_SIZE;
	bool good = pkey && context && EVP_DigestSignInit(context, NULL, NULL, NULL, pkey) == 1 &&
		    EVP_DigestSign(context, out->data, &len, message.ptr, message.len) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(pkey);
	out->name = NULL;
	if (!good) {
		memset(out, 0, sizeof(*out));
		return err_set(err, RC_NO_MEMORY, "libcrypto makes no Ed25519 signature");
	}
	out->name = mem_strdup(key->name);
	return RC_OK;
}

bool signature_verify(const struct public_key *key, const struct signature *signature,
		      struct view message)
{
	EVP_PKEY *pkey =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->data, PUBLIC_KEY_SIZE);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = pkey && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
		    EVP_DigestVerify(context, signature->data, SIGNATURE_SIZE, message.ptr,
				     message.len) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(pkey);
	return good;
}

const struct public_key *signatures_find(const struct signature *signatures, size_t count,
					 const struct public_key *keys, size_t key_count,
					 struct view message)
{
	for (size_t k = 0; k < key_count; k++) {
		for (size_t s = 0; s < count; s++) {
			if (strcmp(keys[k].name, signatures[s].name) == 0 &&
			    signature_verify(&keys[k], &signatures[s], message))
				return &keys[k];
		}
	}
	return NULL;
}
