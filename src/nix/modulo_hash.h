/*
 * SHA-256 of a NAR that holds the hash part of its own store path, as if it did not: the digest in the content
 * address of such a path. Each place where the hash part stands counts as 32 zero bytes, and behind the NAR comes
 * "|<offset>" for each. Source: HashModuloSink of nix.
 */
#ifndef CASTOR_NIX_MODULO_HASH_H
#define CASTOR_NIX_MODULO_HASH_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "nix/store_path.h"

/* So many places are kept, of 8 bytes each. */
enum { MODULO_HASH_PLACES_MAX = 4 << 20 };

struct modulo_hash;

/* NULL: no memory. One thread at a time. */
struct modulo_hash *modulo_hash_new(const uint8_t hash[STORE_PATH_HASH_SIZE]);
void modulo_hash_free(struct modulo_hash *modulo); /* NULL is fine */
/* The next bytes of the NAR. RC_TOO_LARGE where there are too many places. */
enum rc modulo_hash_feed(struct modulo_hash *modulo, struct view bytes, struct err *err) MUST_USE;
/* Once, at the end. */
enum rc modulo_hash_final(struct modulo_hash *modulo, struct nar_hash *out,
			  struct err *err) MUST_USE;

#endif
