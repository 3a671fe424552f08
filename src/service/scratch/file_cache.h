/*
 * Values by digest in files of one directory, which may be lost: nothing is synced, the ones used
 * longest ago go where all take more than a budget, and whoever reads one checks it. Shared by
 * processes; thread-safe.
 */
#ifndef CASTOR_SERVICE_SCRATCH_FILE_CACHE_H
#define CASTOR_SERVICE_SCRATCH_FILE_CACHE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"

struct file_cache;

/* In the directory `name` of `parent_fd` (borrowed), which the first put makes with that mode; its files get
 * it without the bits to search and to inherit. */
struct file_cache *file_cache_new(int parent_fd, const char *name, mode_t mode, uint64_t budget);
void file_cache_free(struct file_cache *cache); /* NULL is fine */
/* RC_NOT_FOUND, also for one of more than `max` bytes. Appends. */
enum rc file_cache_get(struct file_cache *cache, const struct digest *key, size_t max,
		       struct buf *out, struct err *err) MUST_USE;
enum rc file_cache_put(struct file_cache *cache, const struct digest *key, struct view value,
		       struct err *err) MUST_USE;
enum rc file_cache_remove(struct file_cache *cache, const struct digest *key,
			  struct err *err) MUST_USE;

#endif
