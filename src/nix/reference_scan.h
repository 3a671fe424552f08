/*
 * Finds what may be references in a stream of bytes: every 32 characters in a row that could be the hash
 * part of a store path, as nix looks for them in a NAR. Which of them are store paths, only a store can
 * tell.
 */
#ifndef CASTOR_NIX_REFERENCE_SCAN_H
#define CASTOR_NIX_REFERENCE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "nix/store_path.h"

/* Different ones that are kept: some 30 bytes each. A tree of 1.5 GB has about 100,000. */
enum { REFERENCE_SCAN_MAX = 4 << 20 };

struct reference_scan;
struct reference_scan *reference_scan_new(void);
void reference_scan_free(struct reference_scan *scan); /* NULL is fine */
/* The next bytes of the stream. One thread at a time. */
void reference_scan_feed(struct reference_scan *scan, struct view bytes);
/* There were more than are kept. */
bool reference_scan_overflowed(const struct reference_scan *scan);
bool reference_scan_has(const struct reference_scan *scan,
			const uint8_t hash[STORE_PATH_HASH_SIZE]);
size_t reference_scan_count(const struct reference_scan *scan);
/* for (size_t at = 0; (hash = reference_scan_next(scan, &at));) …: each once, in no order. */
const uint8_t *reference_scan_next(const struct reference_scan *scan, size_t *at);

#endif
