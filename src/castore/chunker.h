/*
 * Content-defined chunking: FastCDC 2020, cutting exactly where tvix-store and snix-store cut, so
 * that a copy between stores moves only what is missing. Least 128 KiB, average 256 KiB, most
 * 512 KiB; blobs over 16 GiB double the average for each doubling of their length (at each 65,536
 * chunks), so that chunk lists stay short.
 */
#ifndef CASTOR_CASTORE_CHUNKER_H
#define CASTOR_CASTORE_CHUNKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { CHUNK_MIN = 128 << 10, CHUNK_AVERAGE = 256 << 10, CHUNK_MAX = 512 << 10 };
/* The most a chunk of the largest average can hold. */
enum { CHUNK_MAX_EVER = 64 << 20 };

/* Where to cut. As a blob grows, so does the average: ask chunker_limit at the start of each chunk.
 */
struct chunker {
	uint64_t offset; /* of the next chunk in the blob */
	uint64_t chunks; /* cut so far */
	uint32_t average;
	bool pieces; /* nothing is looked for: each but the last has the most bytes */
};

void chunker_init(struct chunker *chunker);
/* For a receiver that cuts chunks itself: pieces of `size` bytes (even), whatever is in them. */
void chunker_init_pieces(struct chunker *chunker, uint32_t size);
/* The most bytes the next chunk can have: what chunker_cut wants to see, or all that is left. */
size_t chunker_limit(const struct chunker *chunker);
/* data starts at the next chunk, and holds chunker_limit() bytes or all the rest of the blob.
 * Returns the length of the next chunk (data.len at most, 0 only for empty data) and moves on. */
size_t chunker_cut(struct chunker *chunker, struct view data);

#endif
