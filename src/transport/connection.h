/*
 * What the channels of one FUSE connection share: its session, its /dev/fuse descriptor, and how
 * requests of any channel are answered. Channels: dev_fuse.h (always), fuse_uring.h (where the
 * kernel offers it).
 */
#ifndef CASTOR_TRANSPORT_CONNECTION_H
#define CASTOR_TRANSPORT_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "fs/session.h"

struct connection {
	int fd; /* /dev/fuse, or a SOCK_SEQPACKET socket in tests */
	struct fs_transport_ops ops;
	struct fs_session *session;
	/* From here on channels refuse requests themselves, and leave the session alone. */
	atomic_bool stopping;
	int ended; /* eventfd, readable once the connection is gone */
};

/* A request of any channel: each channel embeds it first in a struct of its own. */
struct channel_request {
	struct fs_request fs;
	struct connection *connection;
	/* The channel's part of fs_transport_ops, same contracts. */
	void (*reply)(struct channel_request *request, int error, const struct iovec *iov,
		      int count);
	void (*done)(struct channel_request *request);
};

/* Owns fd from here (also on failure). max_read: 0 where any reply fits (see session.h). */
enum rc connection_init(struct connection *connection, struct fs *fs, int fd, bool io_uring,
			uint32_t max_read, struct err *err) MUST_USE;
/* Ends in two steps, so that a notification that waits for a page of a READ is let go. First no
 * channel uses the session any more, but all of them still refuse requests (free_session); then
 * there is no channel either (release): the kernel fails whoever still waits. */
void connection_free_session(struct connection *connection);
void connection_release(struct connection *connection);
void connection_set_ended(struct connection *connection);
/* FORGET, BATCH_FORGET and INTERRUPT have no reply. */
bool connection_wants_reply(uint32_t opcode);

/* Sends one message: header, then the vector. 0 or a negative errno. Any thread. */
int connection_send(struct connection *connection, uint64_t unique, int error,
		    const struct iovec *iov, int count);

#endif
