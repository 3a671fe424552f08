/* Import of a directory tree (or a file, or a symlink) into services. */
#ifndef CASTOR_TRANSFER_TREE_IN_H
#define CASTOR_TRANSFER_TREE_IN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"
#include "transfer/tree_exclude.h"

/* Seen so far; the callback is called from one of the import's threads, at most ten times a second.
 */
struct import_progress {
	uint64_t files, directories, symlinks;
	uint64_t bytes;        /* of content seen */
	uint64_t bytes_read;   /* of them really read (the rest was in the stat cache) */
	uint64_t bytes_stored; /* that the store did not have, before compression */
};
typedef void import_progress_fn(void *context, const struct import_progress *progress);

struct import_options {
	const char *name; /* of the store path; NULL: the last component of the path */
	bool no_cache;    /* neither reads nor writes the stat cache */
	bool references;  /* finds the store paths that it refers to; reads every file */
	const struct tree_exclude *exclude; /* what is left out; borrowed, may be NULL */
	bool one_filesystem; /* what is mounted below the path is an empty directory */
	bool skip_special;   /* sockets, fifos and devices are left out, with a warning */
	unsigned
		retries; /* so often all is begun again where a file changed or vanished meanwhile */
	unsigned threads;             /* 0: chosen from the processors */
	size_t memory;                /* bytes of content in flight at most; 0: 64 MiB */
	import_progress_fn *progress; /* may be NULL */
	void *progress_context;
};

/*
 * Imports `path` with recursive SHA-256 content address, the store path that `nix-store --add`
 * gives, and publishes its path info; nothing is published unless all of it succeeded. It is durable
 * then, or with the commit that the op names. Errors name
 * the file: RC_DENIED (unreadable), RC_UNSUPPORTED (a socket, device or fifo),
 * RC_FAILED_PRECONDITION (changed or vanished while it was read), RC_TOO_LARGE (deeper than
 * NODE_DEPTH_MAX), RC_INVALID (a name that no store path can have).
 *
 * With `references` the path info has those, as nix would find them, among the paths that the services
 * know. RC_UNSUPPORTED where the path is a store path that refers to itself: its content would have to
 * be changed for the path that it gets.
 */
enum rc tree_import(const struct services *services, const struct op *op, const char *path,
		    const struct import_options *options, struct path_info *out,
		    struct import_progress *stats, struct err *err) MUST_USE;

/*
 * Imports `path` as the store path of which another program knows `as`, all but its node, and
 * publishes that. RC_CORRUPT where the content's NAR has not the size and hash that `as` says,
 * RC_INVALID where its content address does not fit. The options' name and references play no part.
 */
enum rc tree_import_as(const struct services *services, const struct op *op, const char *path,
		       const struct import_options *options, const struct path_info *as,
		       struct import_progress *stats, struct err *err) MUST_USE;

#endif
