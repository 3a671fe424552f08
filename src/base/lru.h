/*
 * A bounded least-recently-used cache from fixed-size keys to reference-counted values.
 * Thread-safe. The cache holds one reference on each value and gives up the coldest when the sum of
 * their costs passes the budget. A value handed out carries a reference of its own, so eviction
 * never pulls it from under a user.
 */
#ifndef CASTOR_BASE_LRU_H
#define CASTOR_BASE_LRU_H

#include <stddef.h>

struct lru;

struct lru_ops {
	void *(*ref)(void *value);
	void (*unref)(void *value);
};

struct lru *lru_new(size_t key_size, size_t budget, const struct lru_ops *ops);
void lru_free(struct lru *lru); /* NULL is fine */
/* A new reference, or NULL. */
void *lru_get(struct lru *lru, const void *key);
/* Puts the value under key (the cache takes a reference of its own), in place of an older one.
 * A value whose cost passes the whole budget is not kept. */
void lru_put(struct lru *lru, const void *key, void *value, size_t cost);
void lru_remove(struct lru *lru, const void *key);
void lru_clear(struct lru *lru);
size_t lru_cost(struct lru *lru); /* the sum of the costs now */

#endif
