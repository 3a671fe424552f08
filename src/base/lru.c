/*
 * The cache's mutex guards all of struct lru. Values are released after it was given up: an unref
 * may take long, or take locks of its own. `ref` is called under it, and must not.
 */
#include "base/lru.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

/* Linked into a ring through lru->ring: next of it is the warmest, prev the coldest. */
struct link {
	struct link *next;
	struct link *prev;
};

struct entry {
	struct link link; /* first: a link is its entry */
	void *value;
	size_t cost;
	uint8_t key[];
};

struct lru {
	size_t key_size;
	size_t budget;
	const struct lru_ops *ops;
	pthread_mutex_t lock;
	struct hashmap map;
	struct link ring;
	size_t cost;
};

struct lru *lru_new(size_t key_size, size_t budget, const struct lru_ops *ops)
{
	struct lru *lru = mem_zalloc(sizeof(*lru));

	lru->key_size = key_size;
	lru->budget = budget;
	lru->ops = ops;
	pthread_mutex_init(&lru->lock, NULL);
	hashmap_init(&lru->map, key_size);
	lru->ring.next = lru->ring.prev = &lru->ring;
	return lru;
}

void lru_free(struct lru *lru)
{
	if (!lru)
		return;
	lru_clear(lru);
	hashmap_release(&lru->map);
	pthread_mutex_destroy(&lru->lock);
	free(lru);
}

static void unlink_entry(struct link *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
}

static void link_warmest(struct lru *lru, struct entry *entry)
{
	entry->link.prev = &lru->ring;
	entry->link.next = lru->ring.next;
	lru->ring.next->prev = &entry->link;
	lru->ring.next = &entry->link;
}

/* Takes the entry out of everything and pushes it on the list of those to release. */
static void take_out(struct lru *lru, struct entry *entry, struct entry **gone)
{
	hashmap_remove(&lru->map, entry->key);
	unlink_entry(&entry->link);
	lru->cost -= entry->cost;
	entry->link.next = (struct link *)*gone;
	*gone = entry;
}

/* Without the lock. */
static void release_all(struct lru *lru, struct entry *gone)
{
	while (gone) {
		struct entry *next = (struct entry *)gone->link.next;

		lru->ops->unref(gone->value);
		free(gone);
		gone = next;
	}
}

void *lru_get(struct lru *lru, const void *key)
{
	struct entry *entry;
	void *value = NULL;

	pthread_mutex_lock(&lru->lock);
	entry = hashmap_get(&lru->map, key);
	if (entry) {
		unlink_entry(&entry->link);
		link_warmest(lru, entry);
		value = lru->ops->ref(entry->value);
	}
	pthread_mutex_unlock(&lru->lock);
	return value;
}

void lru_put(struct lru *lru, const void *key, void *value, size_t cost)
{
	struct entry *gone = NULL;
	struct entry *old;

	pthread_mutex_lock(&lru->lock);
	old = hashmap_get(&lru->map, key);
	if (old)
		take_out(lru, old, &gone);
	if (cost <= lru->budget) {
		struct entry *entry = mem_alloc(sizeof(*entry) + lru->key_size);

		while (lru->cost > lru->budget - cost)
			take_out(lru, (struct entry *)lru->ring.prev, &gone);
		memcpy(entry->key, key, lru->key_size);
		entry->value = lru->ops->ref(value);
		entry->cost = cost;
		lru->cost += cost;
		hashmap_put(&lru->map, entry->key, entry);
		link_warmest(lru, entry);
	}
	pthread_mutex_unlock(&lru->lock);
	release_all(lru, gone);
}

void lru_remove(struct lru *lru, const void *key)
{
	struct entry *gone = NULL;
	struct entry *entry;

	pthread_mutex_lock(&lru->lock);
	entry = hashmap_get(&lru->map, key);
	if (entry)
		take_out(lru, entry, &gone);
	pthread_mutex_unlock(&lru->lock);
	release_all(lru, gone);
}

void lru_clear(struct lru *lru)
{
	struct entry *gone = NULL;

	pthread_mutex_lock(&lru->lock);
	while (lru->ring.next != &lru->ring)
		take_out(lru, (struct entry *)lru->ring.next, &gone);
	pthread_mutex_unlock(&lru->lock);
	release_all(lru, gone);
}

size_t lru_cost(struct lru *lru)
{
	size_t cost;

	pthread_mutex_lock(&lru->lock);
	cost = lru->cost;
	pthread_mutex_unlock(&lru->lock);
	return cost;
}
