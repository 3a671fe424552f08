/*
 * A filesystem on this machine's /dev/fuse (and io_uring, where the kernel offers it).
 */
#ifndef CASTOR_TRANSPORT_MOUNT_H
#define CASTOR_TRANSPORT_MOUNT_H

#include <stdbool.h>

#include "base/err.h"
#include "fs/fs.h"

struct mount;

struct mount_options {
	bool allow_other;
	bool no_exec;           /* no program of it can be run */
	bool no_io_uring;       /* /dev/fuse even where io_uring is offered */
	unsigned threads;       /* 0: the processors */
	const char *source;     /* shown in /proc/mounts; NULL: "castor" */
	unsigned read_ahead_kb; /* of the mount's bdi, where this user may set it; 0: 1024 */
};

/* Mounts fs at dir (read-only, nosuid, nodev) and serves it by threads of its own. A dead FUSE
 * mount that is there already is replaced; a live mount is RC_BUSY. As root by mount(2), else
 * through fusermount3. Borrows fs, which must outlive the mount. Waits for no filesystem but its
 * own longer than some seconds (mount_point.h): RC_DEADLINE; to that end it starts child processes. */
enum rc mount_start(struct fs *fs, const char *dir, const struct mount_options *options,
		    struct mount **out, struct err *err) MUST_USE;
/* Readable when the mount has ended (unmounted from outside, or failed). Borrowed. */
int mount_ended_fd(const struct mount *mount);
/* What the mount got. */
struct mount_facts {
	bool io_uring;        /* FUSE over io_uring is in use */
	bool io_uring_is_off; /* the kernel knows it, its parameter enable_uring is off */
	bool read_ahead;      /* could be set (needs root) */
	bool by_helper;       /* mounted through fusermount3 */
};
void mount_get_facts(const struct mount *mount, struct mount_facts *out);
/* It has ended since io_uring no longer brings all requests. Whoever has files open loses them; a new
 * mount with no_io_uring serves. */
bool mount_lost_io_uring(const struct mount *mount);
/* Unmounts (lazily where it is in use; what another has mounted over it or in its place stays), waits
 * for its threads, frees. */
void mount_stop(struct mount *mount);

/* Unmounts whatever castor mount is at dir, from any process; where it is in use, those who use it
 * keep it until they are done. RC_NOT_FOUND: none there. RC_DEADLINE as mount_start. */
enum rc mount_umount(const char *dir, struct err *err) MUST_USE;

#endif
