/*
 * A place in the filesystem where something is, or shall be, mounted: looking at it and changing it
 * without waiting for what lies there.
 *
 * A path may lead through filesystems of others that do not answer, and a request that a FUSE server
 * has read cannot even be killed. So whatever walks a path does so in a child process that holds no
 * descriptor of ours, and that we go on without after MOUNT_POINT_WAIT_MS; the kernel ends it with the
 * server at the latest. Looking sends no request to what is mounted at the place itself: it opens with
 * O_PATH, asks statx for nothing but what the kernel knows, and reads the rest in mountinfo.
 */
#ifndef CASTOR_TRANSPORT_MOUNT_POINT_H
#define CASTOR_TRANSPORT_MOUNT_POINT_H

#include <stdbool.h>

#include "base/err.h"
#include "transport/mountinfo.h"

enum {
	MOUNT_POINT_WAIT_MS = 5000, /* for a path to be walked */
	MOUNT_POINT_LIFE_MS = 2000, /* for a FUSE server to show that it lives */
};

struct mount_point {
	char *path; /* absolute, without symlinks; owned */
	bool directory;
	unsigned major, minor;  /* of the filesystem */
	struct mountinfo mount; /* what is mounted exactly there, on top; .point NULL: nothing */
};

void mount_point_release(struct mount_point *point);
/* What is at dir. RC_NOT_FOUND, RC_DEADLINE. */
enum rc mount_point_look(const char *dir, struct mount_point *out, struct err *err) MUST_USE;
/* Whether the FUSE mount at this absolute path has lost its server. One that does not answer has not. */
bool mount_point_is_dead(const char *path);
/* Whether a process that this one may look into serves the FUSE connection of that device (Linux 6.14
 * tells). Sends it nothing. */
bool mount_point_is_served(unsigned minor);
/* mount(2), at an absolute path; fd: a descriptor that data names. */
enum rc mount_point_mount(const char *path, const char *source, const char *type,
			  unsigned long flags, const char *data, int fd, struct err *err) MUST_USE;
/* umount(2): at once where nobody uses it, else out of sight until nobody does. */
enum rc mount_point_umount(const char *path, struct err *err) MUST_USE;

#endif
