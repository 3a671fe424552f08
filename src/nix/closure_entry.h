/*
 * What stands around the NARs in a file of `nix-store --export`:
 *
 *	for each path:  u64 1, the NAR, u64 0x4558494e,
 *	                string path, u64 number of references, string each, string deriver ("" for none),
 *	                u64 0 (or 1, and a string: a signature of old, which is skipped)
 *	at the end:     u64 0
 *
 * Numbers are little-endian; a string is its length, its bytes, and zeros up to a multiple of 8. Source:
 * libstore/export-import.cc of nix.
 */
#ifndef CASTOR_NIX_CLOSURE_ENTRY_H
#define CASTOR_NIX_CLOSURE_ENTRY_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "nix/path_info.h"

enum {
	CLOSURE_ENTRY = 1, /* the number before a NAR */
	CLOSURE_END = 0,
	/* What stands behind a NAR is never longer: the most references, each of the longest name, and a signature. */
	CLOSURE_ENTRY_MAX = (PATH_INFO_REFERENCES_MAX + 3) * (STORE_PATH_ABSOLUTE_MAX + 16) + 65536,
};

/*
 * Reads what stands behind a NAR from the front of *bytes, and moves that. *more: it is cut off, nothing was
 * moved, and *out is empty. *out has path, references (sorted, each once), and deriver, without its ".drv".
 * RC_INVALID for anything else.
 */
enum rc closure_entry_parse(struct view *bytes, struct path_info *out, bool *more,
			    struct err *err) MUST_USE;
/* Appends the same. */
void closure_entry_print(const struct path_info *info, struct buf *out);
/* One of the numbers above. */
void closure_number_print(uint64_t number, struct buf *out);

#endif
