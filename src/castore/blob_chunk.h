/* Chunks of a blob, as lists of them are kept, sent and read. */
#ifndef CASTOR_CASTORE_BLOB_CHUNK_H
#define CASTOR_CASTORE_BLOB_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "castore/digest.h"

/* One chunk of a blob. */
struct blob_chunk {
	struct digest digest; /* all zero where has_digest is false */
	uint64_t offset;      /* in the blob */
	uint32_t size;
	bool has_digest; /* false: a stretch of a raw file, which was checked when it was written */
};

/* The ordered, contiguous chunks of a blob; empty for a blob of one chunk or none. */
struct blob_chunk_list {
	struct blob_chunk *chunks; /* owned */
	size_t count;
};
void blob_chunk_list_release(struct blob_chunk_list *list);

#endif
