/*
 * The one cache of decoded, verified chunks: bounded by bytes, least recently used out first, one
 * load per chunk however many ask for it. Thread-safe.
 *
 * Buffers are page-aligned (the kernel copies twice as fast from those), straight from the system,
 * and recycled by size class; chunk_cache_shrink gives back what has not been used lately.
 */
#ifndef CASTOR_FS_CHUNK_CACHE_H
#define CASTOR_FS_CHUNK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "service/blob/blob_service.h"

struct chunk_cache;

/* A chunk in memory. Whoever got one from chunk_cache_get has it until chunk_cache_put. */
struct chunk {
	uint8_t *bytes; /* read-only, except for who loads it */
	uint32_t size;
};

struct chunk_cache *chunk_cache_new(size_t budget);
void chunk_cache_free(struct chunk_cache *cache); /* every chunk must have been put */

/* The chunk of that blob. *load false: its bytes are there. *load true: the caller has to fill them
 * and then call chunk_cache_loaded; others that want it wait meanwhile. Where somebody else is
 * loading it: waits for that (as long as op allows), or RC_BUSY if !wait. */
enum rc chunk_cache_get(struct chunk_cache *cache, const struct op *op, const struct digest *blob,
			const struct blob_chunk *location, bool wait, struct chunk **out,
			bool *load, struct err *err) MUST_USE;
/* ok: the bytes are right. Otherwise the chunk is dropped, and the next who waits loads it. The
 * caller still has to put it. */
void chunk_cache_loaded(struct chunk_cache *cache, struct chunk *chunk, bool ok);
/* served: how many of its bytes went to the kernel. Once those are as many as the chunk has, the
 * kernel's page cache holds it, and it is dropped: its buffer, still in the processor's cache,
 * serves the next chunk. */
void chunk_cache_put(struct chunk_cache *cache, struct chunk *chunk, size_t served);
/* Drops what was last used before that time (CLOCK_MONOTONIC), and all spare buffers. Returns the
 * bytes that are left. */
size_t chunk_cache_shrink(struct chunk_cache *cache, int64_t before_ns);
size_t chunk_cache_bytes(struct chunk_cache *cache);

#endif
