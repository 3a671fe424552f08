/* Mounting for users without rights, through the set-uid helper fusermount3 of the FUSE package. */
#ifndef CASTOR_TRANSPORT_FUSERMOUNT_H
#define CASTOR_TRANSPORT_FUSERMOUNT_H

#include "base/err.h"

/* Mounts with these options (comma-separated) at dir; the connection's descriptor comes back. */
enum rc fusermount_mount(const char *dir, const char *options, int *fd, struct err *err) MUST_USE;
/* Lazy, so that it works where the mount is in use. */
enum rc fusermount_umount(const char *dir, struct err *err) MUST_USE;

#endif
