/*
 * The filesystem: answers FUSE requests from a blob service, a directory service and root nodes.
 * Knows no transport: /dev/fuse, io_uring and virtqueues bring requests to a session (session.h).
 * Thread-safe.
 */
#ifndef CASTOR_FS_FS_H
#define CASTOR_FS_FS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "fs/roots.h"
#include "service/blob/blob_service.h"
#include "service/directory/directory_service.h"

struct fs;

/*
 * Memory of a mount (RssAnon): at most 142 bytes an inode that the kernel knows, over a base of at
 * most chunk_cache + directory_cache + about 10 MiB for all else. Chunks that the kernel has got
 * whole are dropped at once, so that reading files in their order takes some 10 MiB of the first;
 * ten seconds after the last request only the inodes and the 10 MiB are left.
 */
struct fs_options {
	bool show_xattr;        /* user.castor.blob.digest and the like */
	bool share_files;       /* equal files are hard links of one inode, and share pages */
	bool inode32;           /* inode numbers of 32 bits (inode_table.h) */
	bool passthrough;       /* OPEN is answered, raw files are handed to the kernel */
	size_t chunk_cache;     /* bytes of decoded chunks kept; 0: 64 MiB */
	size_t directory_cache; /* bytes of decoded directories kept; 0: 16 MiB */
	unsigned pool_threads;  /* that may wait for slow services; 0: 128 */
	int64_t deadline_ns;    /* of one request; 0: 30 s */
	size_t inodes_max;      /* that one kernel may hold; 0: FS_INODES_MAX */
};
/* 2^25, about 4.5 GiB: a bound for a kernel that never forgets. */
#define FS_INODES_MAX ((size_t)1 << 25)

/* Takes references on the services, and owns roots from here (also on failure). */
enum rc fs_new(struct blob_service *blobs, struct directory_service *directories,
	       struct roots *roots, const struct fs_options *options, struct fs **out,
	       struct err *err) MUST_USE;
/* All sessions must be gone. Waits for requests that are still being worked on (their cancel flags
 * are set). */
void fs_free(struct fs *fs);

/* Gives back all memory that can be had again: cached chunks, directories and idle readers. A mount
 * does so by itself: chunks go once they were not used for ten seconds, all of it after as long
 * without a request. */
void fs_trim(struct fs *fs);

/* For tests and `castor mount` on SIGUSR1. */
enum { FS_OPCODES = 64 };
struct fs_stats {
	size_t inodes;      /* known to a kernel, the root not counted */
	size_t inode_bytes; /* memory that they hold */
	size_t chunk_bytes; /* decoded chunks kept */
	size_t directory_bytes;
	uint64_t requests, pushes, pushed_bytes;
	uint64_t by_opcode[FS_OPCODES]; /* requests; 0: those of no known opcode */
};
void fs_get_stats(struct fs *fs, struct fs_stats *out);
/* "LOOKUP" and such; NULL for what is not known. */
const char *fs_opcode_name(unsigned opcode);

#endif
