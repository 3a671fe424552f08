/* Scratch values in memory. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "service/scratch/scratch_store.h"

struct memory_scratch {
	struct scratch_store base;
	pthread_mutex_t lock;
	struct hashmap tables[SCRATCH_TABLES_]; /* under the lock: digest → struct buf */
};

static struct memory_scratch *memory_of(struct scratch_store *base)
{
	return CONTAINER_OF(base, struct memory_scratch, base);
}

static void value_free(struct buf *value)
{
	if (value)
		buf_release(value);
	free(value);
}

static void memory_free(struct scratch_store *base)
{
	struct memory_scratch *store = memory_of(base);
	void *value;

	for (int i = 0; i < SCRATCH_TABLES_; i++) {
		for (size_t at = 0; hashmap_next(&store->tables[i], &at, NULL, &value);)
			value_free(value);
		hashmap_release(&store->tables[i]);
	}
	pthread_mutex_destroy(&store->lock);
	free(store);
}

static enum rc memory_get(struct scratch_store *base, const struct op *op, enum scratch_table table,
			  const struct digest *key, struct buf *out, struct err *err)
{
	struct memory_scratch *store = memory_of(base);
	struct buf *value;

	(void)op;
	pthread_mutex_lock(&store->lock);
	value = hashmap_get(&store->tables[table], key->bytes);
	if (value)
		buf_append_view(out, buf_view(value));
	pthread_mutex_unlock(&store->lock);
	return value ? RC_OK : err_set(err, RC_NOT_FOUND, "nothing of that key");
}

static enum rc memory_put(struct scratch_store *base, const struct op *op, enum scratch_table table,
			  const struct digest *key, struct view value, struct err *err)
{
	struct memory_scratch *store = memory_of(base);
	struct buf *copy = mem_zalloc(sizeof(*copy)), *old;

	(void)op;
	(void)err;
	buf_append_view(copy, value);
	pthread_mutex_lock(&store->lock);
	old = hashmap_put(&store->tables[table], key->bytes, copy);
	pthread_mutex_unlock(&store->lock);
	value_free(old);
	return RC_OK;
}

static enum rc memory_remove(struct scratch_store *base, const struct op *op,
			     enum scratch_table table, const struct digest *key, struct err *err)
{
	struct memory_scratch *store = memory_of(base);
	struct buf *old;

	(void)op;
	(void)err;
	pthread_mutex_lock(&store->lock);
	old = hashmap_remove(&store->tables[table], key->bytes);
	pthread_mutex_unlock(&store->lock);
	value_free(old);
	return RC_OK;
}

static enum rc memory_scan(struct scratch_store *base, const struct op *op,
			   enum scratch_table table, scratch_each *each, void *context,
			   struct err *err)
{
	struct memory_scratch *store = memory_of(base);
	const void *key;
	void *value;

	(void)op;
	(void)err;
	pthread_mutex_lock(&store->lock);
	for (size_t at = 0; hashmap_next(&store->tables[table], &at, &key, &value);) {
		struct digest digest;

		memcpy(digest.bytes, key, DIGEST_SIZE);
		if (!each(context, &digest, buf_view(value)))
			break;
	}
	pthread_mutex_unlock(&store->lock);
	return RC_OK;
}

static const struct scratch_store_ops memory_ops = {
	.name = "memory",
	.free = memory_free,
	.get = memory_get,
	.put = memory_put,
	.remove = memory_remove,
	.scan = memory_scan,
};

struct scratch_store *scratch_memory_new(void)
{
	struct memory_scratch *store = mem_zalloc(sizeof(*store));

	scratch_store_init(&store->base, &memory_ops);
	pthread_mutex_init(&store->lock, NULL);
	for (int i = 0; i < SCRATCH_TABLES_; i++)
		hashmap_init(&store->tables[i], DIGEST_SIZE);
	return &store->base;
}
