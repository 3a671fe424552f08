/*
 * FastCDC 2020: Xia and others, "The Design of Fast Content-Defined Chunking for Data
 * Deduplication Based Storage Systems". There two bytes make a step, with a hash that is shifted by
 * two; that equals one byte a step, as here, where the masks leave the highest bits alone.
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

void chunker_init_pieces(struct chunker *chunker, uint32_t size)
{
	*chunker = (struct chunker){ .average = size / 2, .pieces = true };
}

size_t chunker_limit(const struct chunker *chunker)
{
	return (size_t)chunker->average * 2;
}

/* The hash shifts by one bit a byte, and no mask looks at bits past 47: whether to cut depends on
 * the last 48 bytes. So two lanes can search at once, the second from 48 bytes before its start. */
enum { HASH_BYTES = 48, LANE = 2048 };

static uint64_t step(uint64_t hash, uint8_t byte)
{
	return (hash << 1) + gear[byte];
}

/* Looks for a cut in [*at, end). True: before *at. */
static bool find_in_one_lane(const uint8_t *bytes, size_t *at, size_t end, uint64_t mask,
			     uint64_t *hash)
{
	uint64_t h = *hash;

	for (size_t a = *at; a < end; a++) {
		h = step(h, bytes[a]);
		if (__builtin_expect(!(h & mask), 0)) {
			*at = a;
			return true;
		}
	}
	*at = end;
	*hash = h;
	return false;
}

/* The same in two lanes of LANE bytes each from *at. */
static bool find_in_two_lanes(const uint8_t *bytes, size_t *at, uint64_t mask, uint64_t *hash)
{
	const uint8_t *left = bytes + *at;
	const uint8_t *right = left + LANE;
	uint64_t h = *hash, g = 0;

	for (const uint8_t *byte = right - HASH_BYTES; byte < right; byte++)
		g = step(g, *byte);
#pragma GCC unroll 4
	for (size_t i = 0; i < LANE; i++) {
		size_t middle = *at + LANE;

		h = step(h, left[i]);
		g = step(g, right[i]);
		if (__builtin_expect(!(h & mask), 0)) {
			*at += i;
			return true;
		}
		if (__builtin_expect((g & mask) != 0, 1))
			continue;
		/* A cut on the right, unless there is one before it in the rest of the left. */
		*at += i + 1;
		if (!find_in_one_lane(bytes, at, middle, mask, &h))
			*at = middle + i;
		return true;
	}
	*at += 2 * LANE;
	*hash = g;
	return false;
}

static bool find_cut(const uint8_t *bytes, size_t *at, size_t end, uint64_t mask, uint64_t *hash)
{
	/* Pairs of bytes: an odd last one is no place to cut. */
	end &= ~(size_t)1;
	while (*at < end && end - *at >= 2 * LANE)
		if (find_in_two_lanes(bytes, at, mask, hash))
			return true;
	return find_in_one_lane(bytes, at, end, mask, hash);
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

static size_t cut_piece(struct chunker *chunker, struct view data)
{
	size_t len = data.len < chunker_limit(chunker) ? data.len : chunker_limit(chunker);

	chunker->offset += len;
	chunker->chunks += len > 0;
	return len;
}

size_t chunker_cut(struct chunker *chunker, struct view data)
{
	if (chunker->pieces)
		return cut_piece(chunker, data);

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
