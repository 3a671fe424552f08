/*
 * What is done ahead of readers, in threads that answer no requests:
 *
 *  - a file that is read in its order: the next chunks are decoded into the chunk cache;
 *  - a large file that is read here and there: the whole chunk that a READ decoded goes into the
 *    kernel's page cache (FUSE_NOTIFY_STORE), and for each such READ at most two chunks that come
 *    after it, while nothing else is to be done;
 *  - the files of a directory that are read in its order: the next ones go into the page cache,
 *    before anybody asks for them.
 *
 * A push waits in the kernel for pages that a READ in flight has locked, so it never runs in a
 * thread that answers READs.
 */
#ifndef CASTOR_FS_READ_AHEAD_H
#define CASTOR_FS_READ_AHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/inode_table.h"

struct fs;
struct fs_session;

enum { FILE_PATTERNS = 256, DIRECTORY_PATTERNS = 64 };

/* How one file has been read lately. */
struct file_pattern {
	uint64_t nodeid;
	uint64_t next;       /* where the last READ ended */
	uint64_t ahead;      /* the chunk's end for which chunks were last fetched ahead */
	uint64_t pushed;     /* one more than the offset of the chunk that was pushed last */
	uint32_t run, jumps; /* READs that went on, and that did not */
	uint8_t *covered;    /* a bit for each CELL of the file: it lies in a chunk that was
			      * pushed; NULL: nothing was, or the file is too large */
};

/* How the files of one directory have been read lately. */
struct directory_pattern {
	uint64_t nodeid;
	uint32_t last; /* the entry that was read last */
	uint32_t next; /* entries before this one were pushed, or looked at for it */
	bool read;     /* a READ came */
};

/* The part of a session that sees patterns. Tables of fixed size, which forget by overwriting. */
struct read_ahead {
	pthread_mutex_t lock; /* guards all of it */
	pthread_cond_t idle;
	unsigned jobs; /* under way */
	bool ending;
	/* Whether directories that are listed are then read: up by two with the first READ in one,
	 * down by one with each that is pushed on the mere strength of having been listed. */
	unsigned trust;
	struct file_pattern files[FILE_PATTERNS];
	struct directory_pattern directories[DIRECTORY_PATTERNS];
};

void read_ahead_init(struct read_ahead *ahead);
/* No new jobs; those under way hurry. */
void read_ahead_end(struct fs_session *session);
/* Waits for the jobs under way. */
void read_ahead_release(struct fs_session *session);

/* After (or during) a READ of [offset, offset + len), whose last byte is in the chunk that covers
 * [chunk_start, chunk_end). direct: past the page cache, so that nothing is to be put there. The session
 * must outlive the call. */
void read_ahead_saw(struct fs_session *session, const struct inode *inode, uint64_t offset,
		    uint64_t len, bool direct, uint64_t chunk_start, uint64_t chunk_end);
/* The kernel has taken in the entries of a directory (it asks what comes after them). */
void read_ahead_listed(struct fs_session *session, const struct inode *directory);

#endif
