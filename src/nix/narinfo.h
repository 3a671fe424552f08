/*
 * narinfo files: what a Nix binary cache says of a store path. Source: the Nix manual, "Binary Cache
 * Object", and what caches in the wild write.
 */
#ifndef CASTOR_NIX_NARINFO_H
#define CASTOR_NIX_NARINFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "nix/path_info.h"

/* No longer text needs to be read: the most references, each of the longest name. */
enum { NARINFO_MAX = 20 << 20, NARINFO_URL_MAX = 4096 };

struct narinfo {
	struct path_info info; /* all but its node */
	char *url;             /* owned; no blanks, no control characters */
	char *compression;     /* owned; "bzip2" where the text says nothing */
	bool has_file_hash;
	struct nar_hash file_sha256; /* of the compressed file */
	bool has_file_size;
	uint64_t file_size;
	char *system; /* owned; NULL: not said */
};

/* Zeroed is a valid empty value. */
void narinfo_release(struct narinfo *narinfo);
#define AUTO_NARINFO CLEANUP(narinfo_release)

/*
 * RC_INVALID names the line and what is wrong. Mandatory are StorePath, URL, NarHash and NarSize; a
 * field that may come once must not come twice; each line ends. Lines that are none of the format's, and
 * signatures that are none, are skipped. References come out sorted, each once. A Deriver of
 * "unknown-deriver" is none; a CA of a kind that castor does not know is kept as it is; a FileHash other
 * than SHA-256 is dropped.
 */
enum rc narinfo_parse(struct view text, struct narinfo *out, struct err *err) MUST_USE;
/* So that every reader takes it. Appends. The strings must be such as narinfo_parse gives; system
 * and url may be borrowed, for this call. */
void narinfo_print(const struct narinfo *narinfo, struct buf *out);

#endif
