/* Where a stored file holds nothing but zeros. */
#ifndef CASTOR_TRANSFER_ZERO_RUNS_H
#define CASTOR_TRANSFER_ZERO_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/blob/blob_service.h"

enum {
	/* Shorter runs of zeros count as data. Of longer ones whole chunks are zeros, whatever stands around them, so
	 * that the list of chunks tells at once which files have none. */
	ZERO_RUN_MIN = 2 << 20,
	ZERO_RUN_ALIGN = 4096,
};

struct data_extent {
	uint64_t offset, len;
};

/* What lies between the zeros, in order; of a file with no run of zeros all of it, of one with nothing else none. */
struct data_extents {
	struct data_extent *extents; /* owned */
	size_t count;
};
#define AUTO_DATA_EXTENTS CLEANUP(data_extents_release)
void data_extents_release(struct data_extents *extents);

/* By the content alone, however it was cut into chunks. Reads it where there may be such zeros. */
enum rc data_extents_find(struct blob_service *blobs, const struct op *op, const struct node *file,
			  struct data_extents *out, struct err *err) MUST_USE;

#endif
