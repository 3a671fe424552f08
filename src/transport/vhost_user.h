/*
 * castor as the back-end of a vhost-user filesystem device: QEMU, cloud-hypervisor, crosvm or
 * another front-end connects to a socket, shares its guest's memory, and the guest mounts with
 * `-t virtiofs`. virtio_fs.h has the device behind it.
 *
 * Not offered: live migration (no dirty log, no state in flight), packed rings, DAX windows (a guest
 * that asks for one gets ENOSYS).
 */
#ifndef CASTOR_TRANSPORT_VHOST_USER_H
#define CASTOR_TRANSPORT_VHOST_USER_H

#include "base/err.h"
#include "fs/fs.h"

struct vhost_user;

struct vhost_user_options {
	unsigned threads; /* beside one a queue, for READs; 0: the processors */
	/* For front-ends that ask the back-end for its configuration; NULL: they shall not. At most
	 * 36 bytes. */
	const char *tag;
};

/* Borrows fs, which must outlive it. */
enum rc vhost_user_new(struct fs *fs, const struct vhost_user_options *options,
		       struct vhost_user **out, struct err *err) MUST_USE;
void vhost_user_free(struct vhost_user *vhost); /* NULL is fine */

/* Serves one front-end over fd (owned from here) until it hangs up: RC_OK; until stop_fd is
 * readable: RC_CANCELLED; or until it breaks the protocol. One at a time. */
enum rc vhost_user_serve(struct vhost_user *vhost, int fd, int stop_fd, struct err *err) MUST_USE;

#endif
