/* Store paths: /nix/store/<32 characters of nixbase32>-<name>. */
#ifndef CASTOR_NIX_STORE_PATH_H
#define CASTOR_NIX_STORE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define STORE_DIR "/nix/store"
enum {
	STORE_PATH_HASH_SIZE = 20,
	STORE_PATH_HASH_CHARS = 32,
	STORE_PATH_NAME_MAX = 211,
	STORE_PATH_BASENAME_MAX = STORE_PATH_HASH_CHARS + 1 + STORE_PATH_NAME_MAX,
	STORE_PATH_ABSOLUTE_MAX = 11 + STORE_PATH_BASENAME_MAX, /* "/nix/store/…" */
};

struct store_path {
	uint8_t hash[STORE_PATH_HASH_SIZE];
	char name[STORE_PATH_NAME_MAX + 1];
};

/* SHA-256 of a NAR, and its length: what Nix knows a path's content by. */
struct nar_hash {
	uint8_t bytes[32];
};

/* "sha256:<nixbase32>"; appends. */
void nar_hash_print(const struct nar_hash *hash, struct buf *out);
/* "sha256:" and nixbase32, hex or base64, or "sha256-" and base64. */
enum rc nar_hash_parse(struct view text, struct nar_hash *out, struct err *err) MUST_USE;
/* Is it, spelled in the same ways, an MD5, SHA-1, SHA-512 or BLAKE3? */
bool other_hash_is_valid(struct view text);

/* "<hash>-<name>"; out holds STORE_PATH_BASENAME_MAX + 1 bytes. */
void store_path_basename(const struct store_path *path, char *out);
/* "/nix/store/<hash>-<name>"; out holds STORE_PATH_ABSOLUTE_MAX + 1 bytes. */
void store_path_absolute(const struct store_path *path, char *out);
enum rc store_path_parse_basename(struct view text, struct store_path *out,
				  struct err *err) MUST_USE;
/* With or without "/nix/store/" before it, with nothing after it. */
enum rc store_path_parse(struct view text, struct store_path *out, struct err *err) MUST_USE;
/* [0-9A-Za-z+._?=-], 1 to 211 bytes. */
enum rc store_path_check_name(struct view name, struct err *err) MUST_USE;
bool store_path_equal(const struct store_path *a, const struct store_path *b);
int store_path_compare(const struct store_path *a, const struct store_path *b); /* by basename */

/* Takes one ".drv" from the end of its name, if there is more to it. */
void store_path_drop_drv(struct store_path *path);

/* Content addresses. The numbers are those of the protobuf enum NARInfo.CA.Hash. */
enum ca_kind {
	CA_NAR_SHA256 = 0,
	CA_NAR_SHA1 = 1,
	CA_NAR_SHA512 = 2,
	CA_NAR_MD5 = 3,
	CA_TEXT_SHA256 = 4,
	CA_FLAT_SHA1 = 5,
	CA_FLAT_MD5 = 6,
	CA_FLAT_SHA256 = 7,
	CA_FLAT_SHA512 = 8,
	CA_KIND_COUNT_,
};

struct ca {
	enum ca_kind kind;
	uint8_t digest[64]; /* ca_digest_size(kind) bytes */
};

size_t ca_digest_size(enum ca_kind kind);
/* "text:sha256:<nixbase32>", "fixed:[r:]<algorithm>:<nixbase32>" */
void ca_print(const struct ca *ca, struct buf *out);
/* Takes hex as well. RC_UNSUPPORTED: fixed or text, but of a method or algorithm that is
 * not above. */
enum rc ca_parse(struct view text, struct ca *out, struct err *err) MUST_USE;

/* The store path of fixed content. References (to other paths; self: to itself) are for
 * CA_NAR_SHA256; CA_TEXT_SHA256 has references but no self; others refuse both. They need not be
 * sorted. */
enum rc store_path_from_ca(const struct ca *ca, struct view name,
			   const struct store_path *references, size_t count, bool self,
			   struct store_path *out, struct err *err) MUST_USE;

#endif
