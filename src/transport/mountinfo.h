/*
 * Reads /proc/self/mountinfo: what is mounted where in this process's namespace.
 */
#ifndef CASTOR_TRANSPORT_MOUNTINFO_H
#define CASTOR_TRANSPORT_MOUNTINFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct mountinfo {
	uint64_t id;           /* as statx(2) tells it; used again once the mount is gone */
	unsigned major, minor; /* of the superblock's device, unique while it lives */
	char *point;           /* where it is mounted, unescaped; owned */
	char *type;            /* "ext4", "fuse.castor"; owned */
};

void mountinfo_release(struct mountinfo *info);
/* One line without its newline; false where it is not one. Format: proc(5). */
bool mountinfo_parse(struct view line, struct mountinfo *out) MUST_USE;
/* The mount of that number in a whole mountinfo text. RC_NOT_FOUND. */
enum rc mountinfo_find_id(struct view text, uint64_t id, struct mountinfo *out,
			  struct err *err) MUST_USE;
/* The mount of that device that came last. RC_NOT_FOUND. */
enum rc mountinfo_find_device(struct view text, unsigned major, unsigned minor,
			      struct mountinfo *out, struct err *err) MUST_USE;
/* /proc/self/mountinfo. Appends. */
enum rc mountinfo_read(struct buf *out, struct err *err) MUST_USE;

#endif
