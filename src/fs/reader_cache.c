/*
 * Idle blob readers (reader_cache.h). One lock; readers are opened and closed outside it. There are
 * few enough of them for a scan.
 */
#include "fs/reader_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

struct idle {
	struct blob_reader *reader;
	int64_t last_used;
};

struct reader_cache {
	struct blob_service *blobs;
	size_t max;
	pthread_mutex_t lock; /* guards the rest */
	struct idle *idle;    /* max elements; the oldest first */
	size_t count;
};

struct reader_cache *reader_cache_new(struct blob_service *blobs, size_t max)
{
	struct reader_cache *cache = mem_zalloc(sizeof(*cache));

	cache->blobs = blob_service_ref(blobs);
	cache->max = max;
	cache->idle = mem_array(max, sizeof(*cache->idle));
	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void reader_cache_free(struct reader_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < cache->count; i++)
		blob_reader_free(cache->idle[i].reader);
	free(cache->idle);
	blob_service_unref(cache->blobs);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static struct blob_reader *remove_at(struct reader_cache *cache, size_t i)
{
	struct blob_reader *reader = cache->idle[i].reader;

	cache->count--;
	for (; i < cache->count; i++)
		cache->idle[i] = cache->idle[i + 1];
	return reader;
}

enum rc reader_cache_take(struct reader_cache *cache, const struct op *op,
			  const struct digest *digest, uint64_t size, struct blob_reader **out,
			  struct err *err)
{
	*out = NULL;
	pthread_mutex_lock(&cache->lock);
	for (size_t i = cache->count; i-- > 0 && !*out;)
		if (digest_equal(&cache->idle[i].reader->digest, digest))
			*out = remove_at(cache, i);
	pthread_mutex_unlock(&cache->lock);
	if (*out)
		return RC_OK;
	return blob_service_open_read(cache->blobs, op, digest, size, out, err);
}

void reader_cache_give(struct reader_cache *cache, struct blob_reader *reader)
{
	struct blob_reader *victim = NULL;

	pthread_mutex_lock(&cache->lock);
	if (cache->count == cache->max)
		victim = remove_at(cache, 0);
	cache->idle[cache->count++] = (struct idle){ reader, clock_monotonic_ns() };
	pthread_mutex_unlock(&cache->lock);
	blob_reader_free(victim);
}

size_t reader_cache_shrink(struct reader_cache *cache, int64_t before_ns)
{
	size_t left;

	for (;;) {
		struct blob_reader *victim = NULL;

		pthread_mutex_lock(&cache->lock);
		if (cache->count && cache->idle[0].last_used < before_ns)
			victim = remove_at(cache, 0);
		left = cache->count;
		pthread_mutex_unlock(&cache->lock);
		if (!victim)
			return left;
		blob_reader_free(victim);
	}
}
