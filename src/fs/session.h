/*
 * One FUSE connection: from its INIT to its end. The boundary between the filesystem and its
 * transports.
 *
 * A transport receives a request as bytes that nobody else can change any more, puts it into a
 * struct fs_request (embedded in a struct of its own) and calls fs_session_handle. The answer comes
 * by ops->reply, in this call or later, from this thread or another, exactly once; where a request
 * has none (FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY, or bytes that hold no header) by
 * ops->done. Then the request is the transport's again, and may be used for the next one.
 *
 * fs_session_handle never waits for a service whose latency is remote: that goes to the pool of
 * struct fs. With local services it may wait for the disk. fs_session_handle and ops->reply are
 * called with no lock held.
 *
 * Hostile input: `in` may hold anything. Nothing in it is trusted but its length.
 * Source of the protocol: the kernel's UAPI header linux/fuse.h, 7.45; our definitions of it are
 * in fs/fuse_wire.h.
 */
#ifndef CASTOR_FS_SESSION_H
#define CASTOR_FS_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/op.h"
#include "fs/fs.h"

struct fs_session;
struct fs_request;

/* The most elements that a reply's or a notification's vector has; a transport may need some more
 * of its own before them (IOV_MAX is 1024). */
enum { FS_IOV_MAX = 64 };

struct fs_transport_ops {
	/* The one reply: error is 0 or a negative errno (then count is 0). The transport writes the
	 * fuse_out_header before the vector. The bytes may be reused once it returns. From any
	 * thread. */
	void (*reply)(struct fs_request *request, int error, const struct iovec *iov, int count);
	/* The request wants no reply. From the thread that called fs_session_handle. */
	void (*done)(struct fs_request *request);
	/* Sends a notification (FUSE_NOTIFY_STORE and such): the transport writes the
	 * fuse_out_header (unique 0, error = code) before the vector. 0 or a negative errno;
	 * -ENOENT is normal (the kernel has forgotten the inode). May block while a READ of the
	 * same pages is in flight: it is called from threads that answer no requests, several at
	 * once. Once the connection is dead it must not block. NULL: this transport has none. */
	int (*notify)(struct fs_session *session, int code, const struct iovec *iov, int count);
	/* FUSE passthrough: a backing id (> 0) for the descriptor (the caller closes it later), or
	 * a negative errno. NULL: not here. */
	int (*backing_open)(struct fs_session *session, int fd);
	void (*backing_close)(struct fs_session *session, int backing_id);
	/* Whether INIT may accept FUSE over io_uring: the transport has its rings, and registers
	 * them at once after INIT (until then the kernel lets every other request wait). */
	bool io_uring;
	/* The kernel checks permissions itself, and may show the mount under other owners (id-mapped
	 * mounts). Without it a kernel that offers those refuses the INIT that accepts them. */
	bool default_permissions;
	/* The largest payload of a reply that the transport wants, in bytes; rounded down to pages;
	 * 0: 1 MiB. */
	uint32_t max_read;
};

struct fs_request {
	/* The transport's, before fs_session_handle. */
	struct view in;   /* fuse_in_header and what follows it; stays until the reply */
	size_t reply_max; /* bytes after the fuse_out_header that a reply can have */
	/* The filesystem's, until the reply: the transport neither sets nor reads them. */
	struct fs_session *session;
	struct fs_request *next, *previous; /* deferred ones, for INTERRUPT; struct fs's lock */
	struct fs_request *queue_next;      /* waiting for a pool thread; the same lock */
	uint64_t unique, nodeid;
	uint32_t opcode;
	bool may_wait; /* in a pool thread: may ask remote services */
	bool deferred; /* in the list; set before any other thread sees the request */
	bool queued;   /* waiting for a pool thread; under the lock */
	atomic_bool cancelled;
	struct op op;
};

/* context is the transport's, see fs_session_context. ops must outlive the session. */
struct fs_session *fs_session_new(struct fs *fs, const struct fs_transport_ops *ops, void *context);
/* Every request must have been answered (fs_session_cancel_all hurries them), no thread be in
 * fs_session_handle, and the connection dead, so that a notify under way returns: this waits for
 * it. Forgets all lookups of this
 * connection. */
void fs_session_free(struct fs_session *session);
void *fs_session_context(const struct fs_session *session);
void fs_session_handle(struct fs_session *session, struct fs_request *request);
/* Sets the cancel flag of everything in flight, and of what may still come: the connection ends. */
void fs_session_cancel_all(struct fs_session *session);
/* After INIT: what was agreed. */
struct fs_session_features {
	bool initialised;
	bool destroyed;     /* DESTROY came; another INIT may follow */
	uint32_t max_write; /* sizes the transport's receive buffers: small, nothing writes here; a
			     * request is at most this and FUSE_REQUEST_HEADROOM */
	uint32_t max_pages; /* of one request; with max_write, sizes the entries of io_uring */
	bool io_uring;      /* accepted in INIT: the transport must register its rings now */
	bool passthrough;   /* accepted in INIT */
};
void fs_session_get_features(struct fs_session *session, struct fs_session_features *out);

#endif
