/*
 * What the files of fs/ share: the filesystem and its sessions from inside, and the handlers of the
 * FUSE operations.
 *
 * Lock order: none is held while another is taken, but that struct fs's comes before a session's.
 */
#ifndef CASTOR_FS_INTERNAL_H
#define CASTOR_FS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/hashmap.h"
#include "base/lru.h"
#include "base/pool.h"
#include "fs/chunk_cache.h"
#include "fs/fs.h"
#include "fs/fuse_wire.h"
#include "fs/inode_table.h"
#include "fs/read_ahead.h"
#include "fs/reader_cache.h"
#include "fs/roots.h"
#include "fs/session.h"

enum {
	FS_PAGE = 4096,
	FS_MAX_WRITE = 4096, /* nothing writes: requests stay small */
	FS_MAX_READ = 1 << 20,
	FS_READERS = 64,     /* idle blob readers kept */
	FS_LOG_SLOTS = 256,  /* digests whose last log line is remembered */
	FS_BLOCK_SIZE = 512, /* of st_blocks */
};

/* Seconds for which the kernel may believe what cannot change. */
#define FS_FOREVER UINT64_C(0xffffffff)
/* For how long it may believe an entry of a root that can, and the root's attributes where it cannot
 * be told that they changed. */
#define FS_ROOT_ENTRY_SECONDS 60
#define FS_ROOT_ATTR_NS       UINT32_C(100000000)

struct logged {
	struct digest digest;
	int64_t at_ns;
};

struct fs {
	struct blob_service *blobs;
	struct directory_service *directories;
	struct roots *roots;
	struct fs_options options;
	bool blobs_remote, directories_remote;

	struct chunk_cache *chunks;
	struct reader_cache *readers;
	struct lru *directory_cache; /* digest → struct directory */
	struct pool *pool;           /* for requests that ask remote services */
	struct pool *ahead;          /* decodes chunks ahead of readers */
	struct pool *pushers;        /* may wait in the kernel for READs under way */

	atomic_uint_fast64_t requests[FS_OPCODES]; /* by opcode */
	atomic_uint_fast64_t pushes, pushed_bytes;

	pthread_mutex_t lock; /* guards the rest */
	/* Deferred requests that no pool thread has begun, the first come first. */
	struct fs_request *queue_head, *queue_tail;
	unsigned pool_active; /* pool threads that are serving the queue */
	struct logged logged[FS_LOG_SLOTS];
	/* The root's mtime, and the generation that it stands for. */
	bool generation_known;
	uint64_t generation;
	int64_t root_mtime_ns;
	pthread_t root_watch;
	bool root_watched; /* root_watch was started */
	/* For root_watch: a kernel got the root's attributes, or it is closing. For the others: a
	 * session is no longer being told. */
	pthread_cond_t root_changed;
	struct fs_session *sessions; /* a list */
	/* The janitor, which gives memory back when nothing goes on. */
	pthread_t janitor;
	bool janitor_started;
	pthread_cond_t janitor_wake;
	bool closing;
};

struct fs_session {
	struct fs *fs;
	const struct fs_transport_ops *ops;
	void *context;
	struct inode_table *inodes;

	struct fs_session *next, *previous; /* under fs->lock */
	struct fs_request *deferred;        /* a list; under fs->lock */
	bool ending;                        /* cancel_all came; under fs->lock */
	/* Interrupts whose request had not been deferred yet; under fs->lock. */
	uint64_t interrupted[16];
	unsigned interrupted_next;
	/* The root's mtime that this kernel holds; 0: none, or it was told; under fs->lock. */
	int64_t root_shown_ns;
	bool telling; /* root_watch is in ops->notify; under fs->lock */

	struct read_ahead ahead;
	atomic_bool ended;          /* cancel_all came: the cancel flag of jobs */
	atomic_bool ready;          /* between INIT and DESTROY */
	atomic_uint_fast64_t flags; /* of INIT, agreed */
	pthread_mutex_t lock;       /* guards the rest */
	struct fs_session_features features;
	struct hashmap backings; /* nodeid → struct backing, of open files (ops_read.c) */
};

/* What a handler returns beside 0 (it has replied, or there is nothing to reply; the request is no
 * longer its own) and a negative errno (the session replies that): it would have to wait for a
 * remote service, and wants to be run again from the start in a pool thread. It must not have
 * changed anything yet. */
enum { FS_DEFER = 1 };

/* in: what follows the fuse_in_header, at least as long as the opcode needs. */
typedef int fs_handler(struct fs_request *request, struct cursor *in);

/* session.c */
fs_handler fs_op_init, fs_op_destroy, fs_op_interrupt;
/* ops_lookup.c */
fs_handler fs_op_lookup, fs_op_forget, fs_op_batch_forget, fs_op_getattr, fs_op_statx;
fs_handler fs_op_readlink, fs_op_access;
/* ops_dir.c */
fs_handler fs_op_opendir, fs_op_readdir, fs_op_readdirplus;
/* ops_read.c */
fs_handler fs_op_open, fs_op_read, fs_op_release, fs_op_lseek, fs_op_poll;
/* ops_xattr.c */
fs_handler fs_op_getxattr, fs_op_listxattr;
/* ops_other.c */
fs_handler fs_op_statfs, fs_op_read_only, fs_op_nothing;

/* Checks the request's shape, finds its handler and runs it (ops.c). Results as a handler's. */
int fs_dispatch(struct fs_request *request);

/* ---- For handlers ---- */

/* The one reply of a request; returns 0. Afterwards the request is the transport's. */
int fs_reply_iov(struct fs_request *request, const struct iovec *iov, int count);
int fs_reply(struct fs_request *request, const void *bytes, size_t len);
int fs_reply_empty(struct fs_request *request);
/* For requests that have no reply; returns 0. */
int fs_done(struct fs_request *request);
/* The inode that the request names, or -ESTALE. */
int fs_inode(struct fs_request *request, struct inode *out);
/* The directory, from the cache or the service: 0 and a reference, a negative errno (logged), or
 * FS_DEFER. */
int fs_directory(struct fs_request *request, const struct digest *digest, struct directory **out);
/* An errno for an outcome of a service, negative; what is missing or damaged is EIO. */
int fs_errno(enum rc rc);
/* Logs, once a minute for one digest, that an object could not be had. */
void fs_log_object(struct fs *fs, const char *what, const struct digest *digest, enum rc rc,
		   const struct err *err);
/* st_mode of an inode. */
uint32_t fs_mode(const struct inode *inode);
void fs_fill_attr(struct fs_session *session, const struct inode *inode, struct fuse_attr *out);
/* root_entry: it stands directly under the root. */
void fs_fill_entry(struct fs_session *session, const struct inode *inode, bool root_entry,
		   struct fuse_entry_out *out);

/* ---- The root's attributes (root_watch.c) ---- */

/* Looks at the root's generation, and moves its mtime where that changed or cannot be had. 0, or
 * -EINTR. */
int fs_root_refresh(struct fs *fs, const struct op *op);
/* The root's mtime for a reply, after which the session's kernel holds it. */
int64_t fs_root_show(struct fs_session *session);
/* Sessions come and go between the two; join after fs->closing was set. */
enum rc fs_root_watch_start(struct fs *fs, struct err *err) MUST_USE;
void fs_root_watch_join(struct fs *fs);

/* The bytes of a file: a vector over pinned chunks. */
struct fs_pieces {
	struct iovec iov[FS_IOV_MAX];
	int count;
	struct chunk *chunks[FS_IOV_MAX];
	int chunk_count;
	void *copy;                    /* instead of chunks, where there would be too many pieces */
	uint64_t last_start, last_end; /* of the chunk with the last byte */
	bool keep; /* chunks stay in the cache even once they were served whole */
};
/* [offset, offset + len) of a file, within its size; direct: past the kernel's page cache. 0, a negative
 * errno (logged) or FS_DEFER. */
int fs_read_file(struct fs_request *request, const struct inode *inode, uint64_t offset, size_t len,
		 bool direct, struct fs_pieces *out);
void fs_pieces_release(struct fs *fs, struct fs_pieces *pieces);
/* A reader from the cache, RC_CORRUPT if the blob has another size. */
enum rc fs_open_reader(struct fs *fs, const struct op *op, const struct digest *digest,
		       uint64_t size, struct blob_reader **out, struct err *err) MUST_USE;
/* The chunk from the cache, or read into it; RC_BUSY if !wait and another thread is reading it. The
 * caller puts it back with chunk_cache_put. */
enum rc fs_load_chunk(struct fs *fs, const struct op *op, struct blob_reader *reader,
		      const struct blob_chunk *location, bool wait, struct chunk **out,
		      struct err *err) MUST_USE;
/* Closes every backing id of the session (ops_read.c). */
void fs_close_backings(struct fs_session *session);

#endif
