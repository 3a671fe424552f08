/* BLAKE3-256: the name of every blob, chunk and directory. */
#ifndef CASTOR_CASTORE_DIGEST_H
#define CASTOR_CASTORE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <blake3.h>

#include "base/buf.h"
#include "base/compiler.h"

enum { DIGEST_SIZE = 32, DIGEST_HEX_MAX = 65 };

struct digest {
	uint8_t bytes[DIGEST_SIZE];
};

/* Of no bytes: the empty blob, and the empty directory. */
extern const struct digest digest_empty;

struct hasher {
	blake3_hasher state;
};

void hasher_init(struct hasher *hasher);
void hasher_update(struct hasher *hasher, const void *bytes, size_t len);
struct digest hasher_final(const struct hasher *hasher);

struct digest digest_of(struct view bytes);
void digest_hex(const struct digest *digest, char out[DIGEST_HEX_MAX]);
/* Exactly 64 hexadecimal digits. */
bool digest_parse_hex(struct view text, struct digest *out) MUST_USE;

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_SIZE) == 0;
}

static inline int digest_compare(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_SIZE);
}

#endif
