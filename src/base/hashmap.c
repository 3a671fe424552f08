/*
 * Open addressing with linear probing; removal moves later entries back, so that there are no
 * tombstones. At most three quarters of the slots are taken, at least an eighth before it shrinks.
 */
#include "base/hashmap.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

enum { SLOTS_MIN = 16 };

static uint64_t sip_key[2];
static pthread_once_t sip_once = PTHREAD_ONCE_INIT;

static void sip_init(void)
{
	uint8_t *bytes = (uint8_t *)sip_key;
	size_t got = 0;

	while (got < sizeof(sip_key)) {
		ssize_t n = getrandom(bytes + got, sizeof(sip_key) - got, 0);

		/* Without getrandom (a sandbox), the loader's random address space must do. */
		if (n <= 0) {
			sip_key[0] ^= (uint64_t)(uintptr_t)&sip_init * 0x9e3779b97f4a7c15;
			sip_key[1] ^= (uint64_t)(uintptr_t)&n * 0xc2b2ae3d27d4eb4f;
			return;
		}
		got += (size_t)n;
	}
}

static uint64_t rotl(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3: Aumasson and Bernstein, with one round a word and three at the end. */
static uint64_t siphash13(const uint64_t key[2], const uint8_t *bytes, size_t len)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			  key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };
	uint64_t last = (uint64_t)len << 56;
	size_t whole = len & ~(size_t)7;

	for (size_t i = 0; i < whole; i += 8) {
		uint64_t word = 0;

		for (size_t b = 0; b < 8; b++)
			word |= (uint64_t)bytes[i + b] << (8 * b);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t b = whole; b < len; b++)
		last |= (uint64_t)bytes[b] << (8 * (b - whole));
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hashmap_hash(const void *key, size_t len)
{
	pthread_once(&sip_once, sip_init);
	return siphash13(sip_key, key, len);
}

void hashmap_init(struct hashmap *map, size_t key_size)
{
	assert(key_size > 0);
	*map = (struct hashmap){ .key_size = key_size };
}

void hashmap_release(struct hashmap *map)
{
	free(map->keys);
	free(map->values);
	hashmap_init(map, map->key_size);
}

static const uint8_t *key_at(const struct hashmap *map, size_t slot)
{
	return map->keys + slot * map->key_size;
}

static size_t home_of(const struct hashmap *map, const void *key)
{
	return (size_t)hashmap_hash(key, map->key_size) & (map->slots - 1);
}

/* The slot of that key, or the free one where it would go. There always is a free one. */
static size_t find_slot(const struct hashmap *map, const void *key)
{
	size_t slot = home_of(map, key);

	while (map->values[slot] && memcmp(key_at(map, slot), key, map->key_size) != 0)
		slot = (slot + 1) & (map->slots - 1);
	return slot;
}

static void resize(struct hashmap *map, size_t slots)
{
	struct hashmap old = *map;

	map->slots = slots;
	map->keys = mem_realloc_array(NULL, slots, map->key_size);
	map->values = mem_array(slots, sizeof(*map->values));
	for (size_t i = 0; i < old.slots; i++) {
		size_t slot;

		if (!old.values[i])
			continue;
		slot = find_slot(map, key_at(&old, i));
		memcpy(map->keys + slot * map->key_size, key_at(&old, i), map->key_size);
		map->values[slot] = old.values[i];
	}
	free(old.keys);
	free(old.values);
}

void *hashmap_get(const struct hashmap *map, const void *key)
{
	return map->count ? map->values[find_slot(map, key)] : NULL;
}

void *hashmap_put(struct hashmap *map, const void *key, void *value)
{
	size_t slot;
	void *before;

	assert(value);
	if (map->count >= map->slots - map->slots / 4)
		resize(map, map->slots ? map->slots * 2 : SLOTS_MIN);
	slot = find_slot(map, key);
	before = map->values[slot];
	map->values[slot] = value;
	if (!before) {
		memcpy(map->keys + slot * map->key_size, key, map->key_size);
		map->count++;
	}
	return before;
}

/* Fills the hole with the next entry that may live there, and so on until a free slot ends the run.
 */
static void close_hole(struct hashmap *map, size_t hole)
{
	size_t mask = map->slots - 1;

	for (size_t slot = (hole + 1) & mask; map->values[slot]; slot = (slot + 1) & mask) {
		size_t home = home_of(map, key_at(map, slot));

		/* It may not move to before its home. */
		if (((slot - home) & mask) < ((slot - hole) & mask))
			continue;
		memcpy(map->keys + hole * map->key_size, key_at(map, slot), map->key_size);
		map->values[hole] = map->values[slot];
		hole = slot;
	}
	map->values[hole] = NULL;
}

void *hashmap_remove(struct hashmap *map, const void *key)
{
	size_t slot;
	void *value;

	if (map->count == 0)
		return NULL;
	slot = find_slot(map, key);
	value = map->values[slot];
	if (!value)
		return NULL;
	close_hole(map, slot);
	map->count--;
	if (map->slots > SLOTS_MIN && map->count < map->slots / 8)
		resize(map, map->slots / 2);
	return value;
}

bool hashmap_next(const struct hashmap *map, size_t *at, const void **key, void **value)
{
	while (*at < map->slots) {
		size_t slot = (*at)++;

		if (!map->values[slot])
			continue;
		if (key)
			*key = key_at(map, slot);
		if (value)
			*value = map->values[slot];
		return true;
	}
	return false;
}
