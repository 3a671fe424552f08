/*
 * Reads a pack from front to back, as a rebuild does: every record is checked by its CRC, and what
 * is damaged is stepped over, to the next record that is whole.
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
	uint64_t size;    /* of the file, when the scan began */
	uint64_t at;      /* where the next record is looked for */
	uint64_t damaged; /* stretches stepped over so far */
	struct buf window;
	uint64_t window_at; /* offset in the file of the window's first byte */
};

struct local_scanned {
	struct local_record_header header;
	uint64_t offset;
	struct view frame; /* valid until the next call */
};

enum rc local_scan_init(struct local_scan *scan, int fd, const char *name,
			struct err *err) MUST_USE;
void local_scan_release(struct local_scan *scan);
/* *end: no whole record is left. Fails only where the system does. */
enum rc local_scan_next(struct local_scan *scan, struct local_scanned *out, bool *end,
			struct err *err) MUST_USE;

#endif
