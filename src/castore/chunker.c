/*
 * FastCDC 2020: Xia and others, "The Design of Fast Content-Defined Chunking for Data
 * Deduplication Based Storage Systems", two bytes a step. The hash shifts by one bit a byte, so
 * each cut depends on the few dozen bytes before it only.
 */
#include "castore/chunker.h"

#include <assert.h>

#include "castore/gear.h"

/* A chunk's least and most are half and twice the average. */
enum { DOUBLING_CHUNKS = 65536, DOUBLINGS_MAX = 7 };

static_assert(CHUNK_MAX_EVER == 2 * (CHUNK_AVERAGE << DOUBLINGS_MAX), "the largest chunk");

/* The masks for the first average, before and after it is reached. A cut is as likely as the mask
 * has few bits: 19 and 17 of them around 2^18 bytes. */
static const uint64_t mask_small = 0x0000d91707537000;
static const uint64_t mask_large = 0x0000d90703537000;

/* Each doubling of the average takes one bit more. Only castor makes chunks of these averages; the
 * bits are those of no mask above, spread among theirs. */
static const uint64_t more_bits[DOUBLINGS_MAX + 1] = {
	0x000000000000, 0x000000200000, 0x000000a00000, 0x000010a00000,
	0x000050a00000, 0x000850a00000, 0x004850a00000, 0x024850a00000,
};

void chunker_init(struct chunker *chunker)
{
	*chunker = (struct chunker){ .average = CHUNK_AVERAGE };
}

size_t chunker_limit(const struct chunker *chunker)
{
	return (size_t)chunker->average * 2;
}

/* Looks for a cut from byte *at (even) on, while whole pairs end within `end`. True: before *at. */
static bool find_cut(const uint8_t *bytes, size_t *at, size_t end, uint64_t mask, uint64_t *hash)
{
	const uint64_t mask_first = mask << 1;
	uint64_t h = *hash;
	size_t a;

	for (a = *at; a / 2 < end / 2; a += 2) {
		uint64_t first = gear[bytes[a]] << 1;
		uint64_t pair = first + gear[bytes[a + 1]];
		uint64_t h_first = (h << 2) + first;

		/* Not by way of h_first: a shorter chain of dependent steps. */
		h = (h << 2) + pair;
		if (__builtin_expect(!(h_first & mask_first), 0)) {
			*at = a;
			return true;
		}
		if (__builtin_expect(!(h & mask), 0)) {
			*at = a + 1;
			return true;
		}
	}
	*at = a;
	*hash = h;
	return false;
}

static size_t cut(struct view data, size_t average, uint64_t small, uint64_t large)
{
	size_t end = data.len < average * 2 ? data.len : average * 2;
	size_t at = average / 2;
	uint64_t hash = 0;

	if (end <= at)
		return end;
	if (find_cut(data.ptr, &at, average < end ? average : end, small, &hash) ||
	    find_cut(data.ptr, &at, end, large, &hash))
		return at;
	return end;
}

size_t chunker_cut(struct chunker *chunker, struct view data)
{
	unsigned doublings = (unsigned)__builtin_ctz(chunker->average / CHUNK_AVERAGE);
	uint64_t more = more_bits[doublings];
	size_t len = cut(data, chunker->average, mask_small | more, mask_large | more);

	if (len == 0)
		return 0;
	chunker->offset += len;
	chunker->chunks++;
	if (chunker->chunks % DOUBLING_CHUNKS == 0 && doublings < DOUBLINGS_MAX)
		chunker->average *= 2;
	return len;
}
