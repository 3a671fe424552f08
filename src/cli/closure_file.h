/*
 * A list of store paths in JSON, as nix writes it: {"closure": [{"path": …}, …]} (a derivation's
 * exportReferencesGraph), such an array itself (`nix path-info --json`), or an object keyed by path
 * (newer versions of it). Keys that are not known are skipped.
 */
#ifndef CASTOR_CLI_CLOSURE_FILE_H
#define CASTOR_CLI_CLOSURE_FILE_H

#include "nix/path_info.h"

/* Zeroed is empty. */
struct closure_file {
	struct path_info *infos; /* owned; all but their nodes */
	size_t count, room;
};

/* name "-": standard input. whole: each path must say its NAR's hash and size, and what it refers to,
 * and else RC_INVALID says what is missing where; not whole: only the paths are taken. */
enum rc closure_file_read(const char *name, bool whole, struct closure_file *out,
			  struct err *err) MUST_USE;
void closure_file_release(struct closure_file *file);

#endif
