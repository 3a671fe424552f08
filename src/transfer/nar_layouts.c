/*
 * Layouts by root node.
 *
 * Locks: `lock` guards the set of keys that are being computed, and is held while nothing is waited
 * for but that set.
 */
#include "transfer/nar_layouts.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/lru.h"
#include "base/mem.h"

struct nar_layouts {
	const struct services *services;
	struct lru *lru; /* struct digest → struct nar_layout */

	pthread_mutex_t lock;
	pthread_cond_t done;
	struct hashmap busy; /* keys → anything */
};

static void *layout_ref(void *layout)
{
	return nar_layout_ref(layout);
}

static void layout_unref(void *layout)
{
	nar_layout_unref(layout);
}

static const struct lru_ops layout_lru = { .ref = layout_ref, .unref = layout_unref };

struct nar_layouts *nar_layouts_new(const struct services *services, size_t budget)
{
	struct nar_layouts *layouts = mem_zalloc(sizeof(*layouts));

	layouts->services = services;
	layouts->lru = lru_new(sizeof(struct digest), budget, &layout_lru);
	hashmap_init(&layouts->busy, sizeof(struct digest));
	pthread_mutex_init(&layouts->lock, NULL);
	cond_init(&layouts->done);
	return layouts;
}

void nar_layouts_free(struct nar_layouts *layouts)
{
	if (!layouts)
		return;
	lru_free(layouts->lru);
	hashmap_release(&layouts->busy);
	pthread_cond_destroy(&layouts->done);
	pthread_mutex_destroy(&layouts->lock);
	free(layouts);
}

struct digest nar_layouts_key(const struct node *node)
{
	struct buf encoded CLEANUP(buf_release) = BUF_INIT;

	node_encode(node, false, &encoded);
	return digest_of(buf_view(&encoded));
}

struct nar_layout *nar_layouts_peek(struct nar_layouts *layouts, const struct digest *key)
{
	return lru_get(layouts->lru, key);
}

/* True: this thread computes it now. False: another one did, or the op ended. */
static bool begin(struct nar_layouts *layouts, const struct op *op, const struct digest *key)
{
	bool mine = true;

	pthread_mutex_lock(&layouts->lock);
	while (hashmap_get(&layouts->busy, key)) {
		mine = false;
		if (cond_wait_op(&layouts->done, &layouts->lock, op, NULL) != RC_OK)
			break;
	}
	if (mine)
		hashmap_put(&layouts->busy, key, layouts);
	pthread_mutex_unlock(&layouts->lock);
	return mine;
}

static void end(struct nar_layouts *layouts, const struct digest *key)
{
	pthread_mutex_lock(&layouts->lock);
	hashmap_remove(&layouts->busy, key);
	pthread_cond_broadcast(&layouts->done);
	pthread_mutex_unlock(&layouts->lock);
}

/* From the scratch table. What is damaged or stale there counts as missing. */
static enum rc load(struct nar_layouts *layouts, const struct op *op, const struct digest *key,
		    struct nar_layout **out)
{
	struct scratch_store *scratch = layouts->services->scratch;
	struct buf value CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	if (!scratch)
		return RC_NOT_FOUND;
	rc = scratch_store_get(scratch, op, SCRATCH_NAR_LAYOUTS, key, &value, NULL);
	if (rc == RC_OK)
		rc = nar_layout_decode(layouts->services, op, buf_view(&value), out, NULL);
	return rc;
}

/* It can be computed again: a store that is full, or only read, is no failure. */
static void save(struct nar_layouts *layouts, const struct op *op, const struct digest *key,
		 const struct nar_layout *layout)
{
	struct scratch_store *scratch = layouts->services->scratch;
	struct buf value CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;

	if (!scratch)
		return;
	nar_layout_encode(layout, &value);
	if (value.len <= SCRATCH_VALUE_MAX &&
	    scratch_store_put(scratch, op, SCRATCH_NAR_LAYOUTS, key, buf_view(&value), &err) !=
		    RC_OK)
		log_debug("a NAR layout is not kept: %s", err.message);
}

enum rc nar_layouts_get(struct nar_layouts *layouts, const struct op *op, const struct node *node,
			struct nar_layout **out, struct err *err)
{
	struct digest key = nar_layouts_key(node);
	enum rc rc;

	for (;;) {
		*out = lru_get(layouts->lru, &key);
		if (*out)
			return RC_OK;
		rc = op_check(op, err);
		if (rc != RC_OK)
			return rc;
		if (begin(layouts, op, &key))
			break;
	}
	/* Between the look and the turn, another may have made it. */
	*out = lru_get(layouts->lru, &key);
	rc = *out ? RC_OK : load(layouts, op, &key, out);
	if (rc != RC_OK) {
		rc = nar_layout_make(layouts->services, op, node, out, err);
		if (rc == RC_OK)
			save(layouts, op, &key, *out);
	}
	if (rc == RC_OK)
		lru_put(layouts->lru, &key, *out, nar_layout_cost(*out));
	end(layouts, &key);
	return rc;
}
