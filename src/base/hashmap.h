/*
 * A hash map from keys of one fixed size (copied in, compared bytewise) to pointers (borrowed).
 * Keys may be chosen by an enemy: the hash is keyed with random bytes of the process. Not
 * thread-safe. Values are never NULL.
 */
#ifndef CASTOR_BASE_HASHMAP_H
#define CASTOR_BASE_HASHMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hashmap {
	size_t key_size;
	size_t count;
	size_t slots; /* a power of two, or 0 */
	uint8_t *keys;
	void **values;
};

void hashmap_init(struct hashmap *map, size_t key_size);
void hashmap_release(struct hashmap *map);                     /* frees no values */
void *hashmap_get(const struct hashmap *map, const void *key); /* NULL: not there */
/* Stores the value; returns the one that was there before, or NULL. */
void *hashmap_put(struct hashmap *map, const void *key, void *value);
/* Takes it out and returns it; NULL: was not there. Shrinks when mostly empty. */
void *hashmap_remove(struct hashmap *map, const void *key);
/* for (size_t at = 0; hashmap_next(&map, &at, &key, &value);) … in no order; the map must not
 * change meanwhile. key and value may be NULL. */
bool hashmap_next(const struct hashmap *map, size_t *at, const void **key, void **value);

/* The keyed hash itself (SipHash-1-3 with the process's random key). */
uint64_t hashmap_hash(const void *key, size_t len);

#endif
