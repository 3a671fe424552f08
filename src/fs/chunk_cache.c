/*
 * The cache of decoded chunks (chunk_cache.h). One lock; loads and waits happen outside it.
 */
#include "fs/chunk_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/hashmap.h"
#include "base/mem.h"

/* Buffers come in these sizes; larger ones are made to measure and not recycled. */
static const uint32_t class_sizes[] = {
	4 << 10,  8 << 10,   16 << 10,  24 << 10,  32 << 10,  48 << 10,  64 << 10,
	96 << 10, 128 << 10, 192 << 10, 256 << 10, 384 << 10, 512 << 10,
};
enum {
	CLASS_COUNT = ARRAY_LEN(class_sizes),
	CLASS_NONE = CLASS_COUNT,
	WAIT_SLOTS = 16, /* condition variables, shared by keys */
};

/* A chunk with a digest of its own is the same wherever it is used; a stretch of a raw file is
 * named by its blob and its place. */
struct chunk_key {
	struct digest digest;
	uint64_t offset; /* one more than that of the stretch; 0: digest is the chunk's */
};

enum chunk_state { CHUNK_LOADING, CHUNK_READY, CHUNK_DROPPED };

struct entry {
	struct chunk chunk;
	struct chunk_key key;
	enum chunk_state state;
	unsigned pins;
	unsigned class;
	size_t served; /* bytes that went to the kernel */
	size_t capacity;
	int64_t last_used;
	struct entry *older, *newer; /* only while it is ready and has no pins */
};

struct chunk_cache {
	size_t budget;
	pthread_mutex_t lock; /* guards all that follows */
	struct hashmap entries;
	struct entry *oldest, *newest;
	size_t bytes; /* of all buffers: in entries, and spare */
	size_t spare_bytes;
	void *spare[CLASS_COUNT]; /* each begins with a pointer to the next */
	pthread_cond_t wait[WAIT_SLOTS];
};

static struct entry *entry_of(struct chunk *chunk)
{
	return CONTAINER_OF(chunk, struct entry, chunk);
}

struct chunk_cache *chunk_cache_new(size_t budget)
{
	struct chunk_cache *cache = mem_zalloc(sizeof(*cache));

	cache->budget = budget;
	pthread_mutex_init(&cache->lock, NULL);
	hashmap_init(&cache->entries, sizeof(struct chunk_key));
	for (size_t i = 0; i < WAIT_SLOTS; i++)
		cond_init(&cache->wait[i]);
	return cache;
}

/* ---- Buffers ---- */

static unsigned class_of(uint32_t size)
{
	unsigned class = 0;

	while (class < CLASS_COUNT && class_sizes[class] < size)
		class ++;
	return class;
}

static void free_buffer(struct chunk_cache *cache, void *buffer, size_t capacity)
{
	mem_pages_free(buffer, capacity);
	cache->bytes -= capacity;
}

/* Spare buffers may hold an eighth of the budget. */
static void recycle(struct chunk_cache *cache, void *buffer, unsigned class, size_t capacity)
{
	if (class == CLASS_NONE || cache->spare_bytes + capacity > cache->budget / 8) {
		free_buffer(cache, buffer, capacity);
		return;
	}
	memcpy(buffer, &cache->spare[class], sizeof(void *));
	cache->spare[class] = buffer;
	cache->spare_bytes += capacity;
}

static void *take_spare(struct chunk_cache *cache, unsigned class)
{
	void *buffer = class == CLASS_NONE ? NULL : cache->spare[class];

	if (buffer) {
		memcpy(&cache->spare[class], buffer, sizeof(void *));
		cache->spare_bytes -= class_sizes[class];
	}
	return buffer;
}

static void drop_spares(struct chunk_cache *cache)
{
	for (unsigned class = 0; class < CLASS_COUNT; class ++) {
		void *buffer;

		while ((buffer = take_spare(cache, class)))
			free_buffer(cache, buffer, class_sizes[class]);
	}
}

/* ---- The list of what nobody is using ---- */

static void list_add(struct chunk_cache *cache, struct entry *entry)
{
	entry->older = cache->newest;
	entry->newer = NULL;
	if (cache->newest)
		cache->newest->newer = entry;
	else
		cache->oldest = entry;
	cache->newest = entry;
}

static void list_remove(struct chunk_cache *cache, struct entry *entry)
{
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		cache->oldest = entry->newer;
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		cache->newest = entry->older;
	entry->older = entry->newer = NULL;
}

static void evict(struct chunk_cache *cache, struct entry *entry)
{
	list_remove(cache, entry);
	hashmap_remove(&cache->entries, &entry->key);
	recycle(cache, entry->chunk.bytes, entry->class, entry->capacity);
	free(entry);
}

static bool new_buffer(struct chunk_cache *cache, struct entry *entry)
{
	entry->class = class_of(entry->chunk.size);
	entry->capacity = entry->class == CLASS_NONE ? ((size_t)entry->chunk.size + 4095) & ~4095UL
						     : class_sizes[entry->class];
	entry->chunk.bytes = take_spare(cache, entry->class);
	while (!entry->chunk.bytes && cache->bytes + entry->capacity > cache->budget &&
	       cache->oldest) {
		evict(cache, cache->oldest);
		entry->chunk.bytes = take_spare(cache, entry->class);
	}
	if (entry->chunk.bytes)
		return true;
	if (cache->bytes + entry->capacity > cache->budget)
		drop_spares(cache);
	/* Past the budget only where all of it is in use at this moment. */
	entry->chunk.bytes = mem_pages_alloc(entry->capacity);
	if (entry->chunk.bytes)
		cache->bytes += entry->capacity;
	return entry->chunk.bytes != NULL;
}

void chunk_cache_free(struct chunk_cache *cache)
{
	if (!cache)
		return;
	while (cache->oldest)
		evict(cache, cache->oldest);
	assert(cache->entries.count == 0);
	drop_spares(cache);
	hashmap_release(&cache->entries);
	for (size_t i = 0; i < WAIT_SLOTS; i++)
		pthread_cond_destroy(&cache->wait[i]);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* ---- Getting ---- */

static struct chunk_key key_of(const struct digest *blob, const struct blob_chunk *location)
{
	struct chunk_key key = { .digest = location->has_digest ? location->digest : *blob,
				 .offset = location->has_digest ? 0 : location->offset + 1 };

	return key;
}

static pthread_cond_t *wait_slot(struct chunk_cache *cache, const struct chunk_key *key)
{
	return &cache->wait[key->digest.bytes[0] % WAIT_SLOTS];
}

static void pin(struct chunk_cache *cache, struct entry *entry)
{
	if (entry->pins++ == 0 && entry->state == CHUNK_READY)
		list_remove(cache, entry);
}

/* Wakes up twenty times a second to see whether anybody still wants it. */
static void wait_a_little(struct chunk_cache *cache, const struct chunk_key *key)
{
	(void)cond_wait_until(wait_slot(cache, key), &cache->lock,
			      clock_monotonic_ns() + 50 * NS_PER_MS);
}

static struct entry *new_entry(struct chunk_cache *cache, const struct chunk_key *key,
			       uint32_t size)
{
	struct entry *entry = mem_zalloc(sizeof(*entry));

	entry->key = *key;
	entry->chunk.size = size;
	entry->state = CHUNK_LOADING;
	entry->pins = 1;
	if (!new_buffer(cache, entry)) {
		free(entry);
		return NULL;
	}
	hashmap_put(&cache->entries, key, entry);
	return entry;
}

/* Gives up a pin. */
static void unpin(struct chunk_cache *cache, struct entry *entry)
{
	if (--entry->pins > 0)
		return;
	if (entry->state == CHUNK_READY && entry->served >= entry->chunk.size) {
		hashmap_remove(&cache->entries, &entry->key);
		entry->state = CHUNK_DROPPED;
	}
	if (entry->state == CHUNK_DROPPED) {
		recycle(cache, entry->chunk.bytes, entry->class, entry->capacity);
		free(entry);
	} else {
		entry->last_used = clock_monotonic_ns();
		list_add(cache, entry);
	}
	while (cache->bytes > cache->budget && cache->oldest) {
		evict(cache, cache->oldest);
		if (cache->bytes > cache->budget)
			drop_spares(cache);
	}
}

/* Stays pinned while it waits, so that it gets the chunk even if that is dropped soon after. The
 * state that it waited for, or CHUNK_LOADING with *rc set where op ended. */
static enum chunk_state wait_for(struct chunk_cache *cache, struct entry *entry,
				 const struct op *op, enum rc *rc, struct err *err)
{
	while (entry->state == CHUNK_LOADING) {
		*rc = op_check(op, err);
		if (*rc != RC_OK)
			break;
		wait_a_little(cache, &entry->key);
	}
	return entry->state;
}

/* Pins the chunk of that key if it is there, or comes while we wait. */
static enum rc find(struct chunk_cache *cache, const struct op *op, const struct chunk_key *key,
		    bool wait, struct entry **out, struct err *err)
{
	struct entry *entry;
	enum rc rc = RC_OK;

	*out = NULL;
	while (!*out && rc == RC_OK && (entry = hashmap_get(&cache->entries, key))) {
		if (entry->state == CHUNK_LOADING && !wait)
			return err_set(err, RC_BUSY, "the chunk is being loaded");
		pin(cache, entry);
		if (wait_for(cache, entry, op, &rc, err) == CHUNK_READY)
			*out = entry;
		else
			unpin(cache, entry);
	}
	return rc;
}

enum rc chunk_cache_get(struct chunk_cache *cache, const struct op *op, const struct digest *blob,
			const struct blob_chunk *location, bool wait, struct chunk **out,
			bool *load, struct err *err)
{
	struct chunk_key key = key_of(blob, location);
	struct entry *entry;
	enum rc rc;

	*out = NULL;
	*load = false;
	pthread_mutex_lock(&cache->lock);
	rc = find(cache, op, &key, wait, &entry, err);
	if (rc == RC_OK && entry && entry->chunk.size != location->size) {
		unpin(cache, entry);
		rc = err_set(err, RC_CORRUPT, "two chunk lists disagree about a chunk's size");
	} else if (rc == RC_OK && !entry) {
		entry = new_entry(cache, &key, location->size);
		*load = entry != NULL;
		if (!entry)
			rc = err_set(err, RC_NO_MEMORY, "no memory for a chunk of %u bytes",
				     location->size);
	}
	if (rc == RC_OK)
		*out = &entry->chunk;
	pthread_mutex_unlock(&cache->lock);
	return rc;
}

void chunk_cache_loaded(struct chunk_cache *cache, struct chunk *chunk, bool ok)
{
	struct entry *entry = entry_of(chunk);

	pthread_mutex_lock(&cache->lock);
	assert(entry->state == CHUNK_LOADING);
	entry->state = ok ? CHUNK_READY : CHUNK_DROPPED;
	if (!ok)
		hashmap_remove(&cache->entries, &entry->key);
	pthread_cond_broadcast(wait_slot(cache, &entry->key));
	pthread_mutex_unlock(&cache->lock);
}

void chunk_cache_put(struct chunk_cache *cache, struct chunk *chunk, size_t served)
{
	struct entry *entry = entry_of(chunk);

	pthread_mutex_lock(&cache->lock);
	assert(entry->pins > 0 && entry->state != CHUNK_LOADING);
	entry->served += served;
	unpin(cache, entry);
	pthread_mutex_unlock(&cache->lock);
}

size_t chunk_cache_shrink(struct chunk_cache *cache, int64_t before_ns)
{
	size_t left;

	pthread_mutex_lock(&cache->lock);
	while (cache->oldest && cache->oldest->last_used < before_ns)
		evict(cache, cache->oldest);
	drop_spares(cache);
	left = cache->bytes;
	pthread_mutex_unlock(&cache->lock);
	return left;
}

size_t chunk_cache_bytes(struct chunk_cache *cache)
{
	size_t bytes;

	pthread_mutex_lock(&cache->lock);
	bytes = cache->bytes;
	pthread_mutex_unlock(&cache->lock);
	return bytes;
}
