/* nixbase32, the encoding of hashes in store paths and narinfos (alphabet without e o u t). */
#ifndef CASTOR_NIX_NIXBASE32_H
#define CASTOR_NIX_NIXBASE32_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

/* ceil(8n/5) characters and a NUL. */
#define NIXBASE32_LEN(bytes) (((bytes)*8 + 4) / 5)

void nixbase32_encode(const void *bytes, size_t len, char *out);
/* Exactly NIXBASE32_LEN(len) characters; refuses foreign ones and non-zero padding bits. */
bool nixbase32_decode(struct view text, void *out, size_t len) MUST_USE;

#endif
