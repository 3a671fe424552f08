/*
 * The /dev/fuse channel: threads that read requests, one message a read(2), and answer them by
 * writev(2) from whatever thread the answer comes.
 *
 * As many threads as there are processors: more only take each other's caches. Where all of them
 * are held by requests that wait (a slow disk), a watch thread starts relief readers, so that
 * INTERRUPT and requests that need no wait still get through. It costs the hot path no wakeup: it
 * looks by the clock, and sleeps while the mount is idle.
 */
#ifndef CASTOR_TRANSPORT_DEV_FUSE_H
#define CASTOR_TRANSPORT_DEV_FUSE_H

#include "transport/connection.h"

struct dev_fuse;

/* Reads the kernel's INIT and lets the session answer it. Borrows connection. */
enum rc dev_fuse_new(struct connection *connection, struct dev_fuse **out,
		     struct err *err) MUST_USE;
/* Lets at least that many threads read. From one thread at a time. */
enum rc dev_fuse_serve(struct dev_fuse *dev, unsigned threads, struct err *err) MUST_USE;
/* After connection->stopping was set and the session's requests were cancelled: waits until no
 * request is in the session. The threads go on refusing. */
void dev_fuse_quiesce(struct dev_fuse *dev);
/* Ends the threads. NULL is fine. */
void dev_fuse_free(struct dev_fuse *dev);

#endif
