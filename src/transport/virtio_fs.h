/*
 * A virtio filesystem device, as one guest sees it: FUSE requests over virtqueues. Queue 0 is the
 * high-priority one (FORGET), the others take requests; a session serves them all alike.
 * Source: OASIS virtio 1.2, section 5.11.
 *
 * A queue is started by its kick descriptor, and has a thread of its own until it is stopped. The
 * thread answers what it takes, but that READs with other requests behind them go to a pool that
 * all queues share. A queue whose guest breaks the rules of the ring takes nothing more until it is
 * started again; the other queues go on.
 *
 * Called by one thread (vhost_user.c); the queues' threads are inside.
 */
#ifndef CASTOR_TRANSPORT_VIRTIO_FS_H
#define CASTOR_TRANSPORT_VIRTIO_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "fs/fs.h"
#include "transport/guest_memory.h"

struct virtio_fs;

enum { VIRTIO_FS_QUEUES_MAX = 64 };

/* Borrows fs and pool. */
struct virtio_fs *virtio_fs_new(struct fs *fs, struct pool *pool);
/* Cancels what is in flight, and waits for it. NULL is fine. */
void virtio_fs_free(struct virtio_fs *device);

/* VIRTQUEUE_INDIRECT and such, for queues that are started later. */
void virtio_fs_set_features(struct virtio_fs *device, unsigned features);
/* Takes a reference. Queues that run have their rings in it from now on; where they do not lie in
 * it, they break. */
void virtio_fs_set_memory(struct virtio_fs *device, struct guest_memory *memory);

/* Settings of a queue: before it is started. index: below VIRTIO_FS_QUEUES_MAX. */
enum rc virtio_fs_set_size(struct virtio_fs *device, unsigned index, uint32_t size,
			   struct err *err) MUST_USE;
enum rc virtio_fs_set_base(struct virtio_fs *device, unsigned index, uint32_t base,
			   struct err *err) MUST_USE;
/* Addresses of the front-end. At any time. */
enum rc virtio_fs_set_rings(struct virtio_fs *device, unsigned index, uint64_t descriptors,
			    uint64_t available, uint64_t used, struct err *err) MUST_USE;
/* Eventfds, owned from here (also on failure); -1: none. At any time. */
void virtio_fs_set_call(struct virtio_fs *device, unsigned index, int fd);
void virtio_fs_set_error(struct virtio_fs *device, unsigned index, int fd);
/* Starts the queue, or starts it again. */
enum rc virtio_fs_set_kick(struct virtio_fs *device, unsigned index, int fd,
			   struct err *err) MUST_USE;
/* A queue that is not enabled takes no requests. */
void virtio_fs_enable(struct virtio_fs *device, unsigned index, bool enabled);
/* Answers what was taken and ends the queue's thread: requests that wait for a service for long are
 * interrupted. Returns the base. */
uint16_t virtio_fs_stop(struct virtio_fs *device, unsigned index);

#endif
