/*
 * The io_uring channel: one ring and one thread for each possible processor, pinned to it, since
 * the kernel hands a request to the queue of the processor on which it was made. INIT, FORGET and
 * INTERRUPT still come through /dev/fuse (dev_fuse.h).
 *
 * Kernel: Linux 6.14 and the parameter enable_uring of module fuse. The kernel chooses it for a
 * connection as a whole, at INIT.
 */
#ifndef CASTOR_TRANSPORT_FUSE_URING_H
#define CASTOR_TRANSPORT_FUSE_URING_H

#include "transport/connection.h"

struct fuse_uring;

/* Whether the kernel knows FUSE over io_uring, and whether it is switched on. */
enum fuse_uring_support { FUSE_URING_UNKNOWN, FUSE_URING_OFF, FUSE_URING_ON };
enum fuse_uring_support fuse_uring_support(void);

/* Makes the rings, before INIT: once INIT has accepted io_uring there is no way back but the
 * kernel's. RC_UNSUPPORTED where this machine's number of processors would need over 64 MiB. */
enum rc fuse_uring_new(struct fuse_uring **out, struct err *err) MUST_USE;
/* For connection_init. */
uint32_t fuse_uring_max_read(const struct fuse_uring *uring);
/* After an INIT that accepted it: registers the rings and serves. On failure the kernel goes on by
 * /dev/fuse alone. Borrows connection. */
enum rc fuse_uring_serve(struct fuse_uring *uring, struct connection *connection,
			 struct err *err) MUST_USE;
/* A queue has no entries left, so that requests made on its processor would wait for ever: the kernel
 * has no way back for a connection that has begun with io_uring. connection->ended was set; mount
 * again without. */
bool fuse_uring_lost(const struct fuse_uring *uring);
/* As dev_fuse_quiesce. */
void fuse_uring_quiesce(struct fuse_uring *uring);
/* Ends the threads. NULL is fine. */
void fuse_uring_free(struct fuse_uring *uring);

#endif
