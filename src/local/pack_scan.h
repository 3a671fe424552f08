/*
 * Reads a pack from front to back, as a rebuild does: every record is checked by its CRC, which is
 * salted for this pack alone, and what is damaged is stepped over, to the next record that is whole.
 */
#ifndef CASTOR_LOCAL_PACK_SCAN_H
#define CASTOR_LOCAL_PACK_SCAN_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "local/pack_format.h"

struct local_scan {
	int fd; /* borrowed */
	const char *name;
	struct local_pack_head head; /* id 0: not known, and no record is found */
	uint64_t size;               /* of the file, when the scan began */
	uint64_t at;                 /* where the next record is looked for */
	uint64_t damaged;            /* stretches stepped over so far */
	struct buf window;
	uint64_t window_at; /* offset in the file of the window's first byte */
};

struct local_scanned {
	struct local_record_header header;
	uint64_t offset;
	struct view frame; /* valid until the next call */
};

/* What a pack says of itself: by its first record, or, where that is damaged, by a commit record at its
 * very end. RC_CORRUPT; RC_UNSUPPORTED for a version that this program does not know. */
enum rc local_pack_head_read(int fd, uint64_t size, struct local_pack_head *out,
			     struct err *err) MUST_USE;

/* RC_UNSUPPORTED as above. The scan begins at offset `at`. */
enum rc local_scan_init(struct local_scan *scan, int fd, const char *name, uint64_t at,
			struct err *err) MUST_USE;
void local_scan_release(struct local_scan *scan);
/* *end: no whole record is left. Fails only where the system does. */
enum rc local_scan_next(struct local_scan *scan, struct local_scanned *out, bool *end,
			struct err *err) MUST_USE;

#endif
