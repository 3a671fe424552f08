/*
 * Signatures of store paths: Ed25519 over a fingerprint, by keys that are written "name:base64".
 * Source: the Nix manual, "Binary Cache Object"; the key format is that of
 * `nix-store --generate-binary-cache-key`.
 */
#ifndef CASTOR_NIX_SIGNATURE_H
#define CASTOR_NIX_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "nix/store_path.h"

enum {
	SIGNATURE_SIZE = 64,
	SIGNATURE_NAME_MAX = 255,
	PUBLIC_KEY_SIZE = 32,
	SECRET_KEY_SIZE = 64, /* the seed, then the public key */
	PUBLIC_KEYS_MAX = 1024,
};

struct signature {
	char *name; /* of the key; owned; alphanumerics, '-', '.', '_' */
	uint8_t data[SIGNATURE_SIZE];
};

struct public_key {
	char name[SIGNATURE_NAME_MAX + 1];
	uint8_t data[PUBLIC_KEY_SIZE];
};

struct secret_key {
	char name[SIGNATURE_NAME_MAX + 1];
	uint8_t data[SECRET_KEY_SIZE];
};

/* 1 to SIGNATURE_NAME_MAX of [0-9A-Za-z._-]; other programs take no '_'. */
enum rc signature_check_name(struct view name, struct err *err) MUST_USE;

/* "name:base64". White space around it is dropped from keys, as files of one have it. */
enum rc signature_parse(struct view text, struct signature *out, struct err *err) MUST_USE;
void signature_print(const struct signature *signature, struct buf *out);
void signature_release(struct signature *signature);
enum rc public_key_parse(struct view text, struct public_key *out, struct err *err) MUST_USE;
void public_key_print(const struct public_key *key, struct buf *out);
/* Also refuses a key whose two halves do not belong together. */
enum rc secret_key_parse(struct view text, struct secret_key *out, struct err *err) MUST_USE;
void secret_key_print(const struct secret_key *key, struct buf *out);
enum rc secret_key_generate(struct view name, struct secret_key *out, struct err *err) MUST_USE;
void secret_key_public(const struct secret_key *key, struct public_key *out);
void secret_key_wipe(struct secret_key *key); /* also right for CLEANUP */

/* Keys separated by white space. Appends to an owned array, which may be NULL for none. */
enum rc public_keys_parse(struct view text, struct public_key **keys, size_t *count,
			  struct err *err) MUST_USE;

/* What a signature of a path covers. The references need not be sorted; each counts once. Appends.
 */
void fingerprint(const struct store_path *path, const struct nar_hash *nar_sha256,
		 uint64_t nar_size, const struct store_path *references, size_t count,
		 struct buf *out);

/* The name of *out is owned. */
enum rc signature_make(const struct secret_key *key, struct view message, struct signature *out,
		       struct err *err) MUST_USE;
bool signature_verify(const struct public_key *key, const struct signature *signature,
		      struct view message);
/* The first key, and of it the first signature under exactly its name, that is right; NULL: none.
 */
const struct public_key *signatures_find(const struct signature *signatures, size_t count,
					 const struct public_key *keys, size_t key_count,
					 struct view message);

#endif
