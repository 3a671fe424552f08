#include "nix/modulo_hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/mem.h"
#include "nix/nixbase32.h"

enum { STEP = 64 << 10, CARRY = STORE_PATH_HASH_CHARS - 1 };

struct modulo_hash {
	EVP_MD_CTX *sha256;
	char text[STORE_PATH_HASH_CHARS + 1];
	uint64_t *places;
	size_t count, room;
	uint64_t offset; /* of bytes[0] in the NAR */
	size_t len;      /* of bytes: a hash part may begin in them that ends in what is to come */
	uint8_t bytes[CARRY + STEP];
};

struct modulo_hash *modulo_hash_new(const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	struct modulo_hash *modulo = mem_zalloc(sizeof(*modulo));

	nixbase32_encode(hash, STORE_PATH_HASH_SIZE, modulo->text);
	modulo->sha256 = EVP_MD_CTX_new();
	if (modulo->sha256 && EVP_DigestInit_ex(modulo->sha256, EVP_sha256(), NULL) == 1)
		return modulo;
	modulo_hash_free(modulo);
	return NULL;
}

void modulo_hash_free(struct modulo_hash *modulo)
{
	if (!modulo)
		return;
	EVP_MD_CTX_free(modulo->sha256);
	free(modulo->places);
	free(modulo);
}

static enum rc update(struct modulo_hash *modulo, const void *bytes, size_t len, struct err *err)
{
	return EVP_DigestUpdate(modulo->sha256, bytes, len) == 1
		       ? RC_OK
		       : err_set(err, RC_NO_MEMORY, "libcrypto cannot hash");
}

static enum rc blank_places(struct modulo_hash *modulo, struct err *err)
{
	uint8_t *at = modulo->bytes, *end = modulo->bytes + modulo->len;

	while ((at = memmem(at, (size_t)(end - at), modulo->text, STORE_PATH_HASH_CHARS))) {
		if (modulo->count == MODULO_HASH_PLACES_MAX)
			return err_set(err, RC_TOO_LARGE,
				       "a path that refers to itself in more than %d places",
				       MODULO_HASH_PLACES_MAX);
		modulo->places = mem_grow(modulo->places, modulo->count, &modulo->room, 64,
					  sizeof(*modulo->places));
		modulo->places[modulo->count++] = modulo->offset + (uint64_t)(at - modulo->bytes);
		memset(at, 0, STORE_PATH_HASH_CHARS);
		at += STORE_PATH_HASH_CHARS;
	}
	return RC_OK;
}

enum rc modulo_hash_feed(struct modulo_hash *modulo, struct view bytes, struct err *err)
{
	enum rc rc = RC_OK;

	while (rc == RC_OK && bytes.len > 0) {
		size_t some = bytes.len < STEP ? bytes.len : STEP, done;

		memcpy(modulo->bytes + modulo->len, bytes.ptr, some);
		modulo->len += some;
		bytes = view_slice(bytes, some, bytes.len - some);
		rc = blank_places(modulo, err);
		if (rc != RC_OK || modulo->len <= CARRY)
			continue;
		done = modulo->len - CARRY;
		rc = update(modulo, modulo->bytes, done, err);
		memmove(modulo->bytes, modulo->bytes + done, CARRY);
		modulo->len = CARRY;
		modulo->offset += done;
	}
	return rc;
}

enum rc modulo_hash_final(struct modulo_hash *modulo, struct nar_hash *out, struct err *err)
{
	enum rc rc = update(modulo, modulo->bytes, modulo->len, err);

	for (size_t i = 0; rc == RC_OK && i < modulo->count; i++) {
		char text[32];
		int len = snprintf(text, sizeof(text), "|%" PRIu64, modulo->places[i]);

		rc = update(modulo, text, (size_t)len, err);
	}
	if (rc == RC_OK && EVP_DigestFinal_ex(modulo->sha256, out->bytes, NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "libcrypto cannot hash");
	return rc;
}
