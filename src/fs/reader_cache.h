/*
 * Open blob readers that nobody is using at the moment. Files may have no open handle (OPEN is
 * answered ENOSYS), so a reader is found again by its blob. Thread-safe; a reader that was taken
 * belongs to the taker alone, and several may be open for one blob.
 */
#ifndef CASTOR_FS_READER_CACHE_H
#define CASTOR_FS_READER_CACHE_H

#include <stdint.h>

#include "service/blob/blob_service.h"

struct reader_cache;

/* Keeps at most `max` idle readers. Takes a reference on the service. */
struct reader_cache *reader_cache_new(struct blob_service *blobs, size_t max);
void reader_cache_free(struct reader_cache *cache);
/* An idle one, or a new one from the service. */
enum rc reader_cache_take(struct reader_cache *cache, const struct op *op,
			  const struct digest *digest, uint64_t size, struct blob_reader **out,
			  struct err *err) MUST_USE;
/* Hands it back; after an error free it instead. */
void reader_cache_give(struct reader_cache *cache, struct blob_reader *reader);
/* Closes what was last used before that time (CLOCK_MONOTONIC). Returns how many are left. */
size_t reader_cache_shrink(struct reader_cache *cache, int64_t before_ns);

#endif
