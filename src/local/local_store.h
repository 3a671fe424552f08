/*
 * The on-disk store that the local backends of all services share: packs, index, raw files.
 * docs/formats/local-store.md is its format. Several processes may have one store open at once;
 * opening the same store twice in one process gives the same object (by device and inode).
 * Thread-safe.
 */
#ifndef CASTOR_LOCAL_LOCAL_STORE_H
#define CASTOR_LOCAL_LOCAL_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"

struct local_store;

enum local_compression {
	LOCAL_COMPRESSION_NONE,
	LOCAL_COMPRESSION_ZSTD,
	LOCAL_COMPRESSION_ANY, /* in a wish: as the store has it, or the default */
};
#define LOCAL_RAW_FILES_ANY UINT64_MAX /* likewise */

/* Kept in the store when it is created. */
struct local_policy {
	enum local_compression compression;
	int level;          /* of zstd: 1 to 19 */
	uint64_t raw_files; /* blobs from this size up are kept as raw files; 0: none are */
};

/* zstd:3, no raw files. */
extern const struct local_policy local_policy_default;

enum local_store_use {
	/* An existing one (RC_NOT_FOUND). Where this user cannot write to it, or its format is of an
	 * earlier version, it is opened read-only: what was committed by then is seen, days of use are
	 * not noted, and calls that store are RC_DENIED. */
	LOCAL_STORE_READ,
	/* Made (and its parents) with `policy` where there is nothing or an empty directory. */
	LOCAL_STORE_WRITE,
};

/* Opens the store at dir. What policy wishes (NULL: nothing) must be what an existing store has, or
 * RC_FAILED_PRECONDITION; a new store has the default of what it does not. A store of a newer format
 * version is RC_UNSUPPORTED, as is one of an earlier version that is to be written to; one that has lost
 * its index or its file `format`, and one with a damaged index or one older than its packs, RC_CORRUPT,
 * naming `castor index rebuild`; a rebuild under way RC_BUSY. */
enum rc local_store_open(const char *dir, enum local_store_use use,
			 const struct local_policy *policy, struct local_store **out,
			 struct err *err) MUST_USE;
bool local_store_read_only(const struct local_store *store);
struct local_store *local_store_ref(struct local_store *store);
void local_store_unref(
	struct local_store *store); /* NULL is fine; the last one waits for the sync thread */

struct local_policy local_store_policy(const struct local_store *store);

/* Bytes that the store takes on disk: packs up to what is committed, the index, raw files. Reads
 * the directory of raw files, if it has any. */
enum rc local_store_usage(struct local_store *store, uint64_t *out, struct err *err) MUST_USE;

struct local_rebuild_stats {
	uint64_t packs, records, chunks, blobs, directories, path_infos;
	uint64_t dropped_path_infos; /* whose closure is not whole */
	uint64_t damaged_records;
};
/* Rebuilds the index from packs and raw files. Needs the store alone: RC_BUSY where anybody has
 * it open. The old index stays until the new one is whole and synced. */
enum rc local_store_rebuild_index(const char *dir, const struct op *op,
				  struct local_rebuild_stats *stats, struct err *err) MUST_USE;

#endif
