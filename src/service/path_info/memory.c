/* Path infos and NAR facts in this process's memory. */
#include "service/path_info/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

struct memory {
	struct path_info_service base;
	pthread_mutex_t lock;
	/* Under the lock: sorted by hash, each owned. */
	struct path_info **infos;
	size_t count, room;
	uint64_t generation;
};

/* Goes on after the last hash that it gave out, whatever was put meanwhile. */
struct memory_iter {
	struct path_info_iter base;
	struct memory *memory;
	bool all; /* from the start: `after` means nothing yet */
	uint8_t after[STORE_PATH_HASH_SIZE];
};

static struct memory *memory_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct memory, base);
}

static void memory_free(struct path_info_service *service)
{
	struct memory *memory = memory_of(service);

	for (size_t i = 0; i < memory->count; i++) {
		path_info_release(memory->infos[i]);
		free(memory->infos[i]);
	}
	free(memory->infos);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

/* Where the first hash not below `hash` is; under the lock. */
static size_t position(const struct memory *memory, const uint8_t *hash, bool *found)
{
	size_t low = 0, high = memory->count;

	*found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(memory->infos[middle]->path.hash, hash, STORE_PATH_HASH_SIZE);

		if (order < 0)
			low = middle + 1;
		else
			high = middle;
		*found = *found || order == 0;
	}
	return low;
}

static enum rc memory_get(struct path_info_service *service, const struct op *op,
			  const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			  struct err *err)
{
	struct memory *memory = memory_of(service);
	bool found;
	size_t at;

	(void)op;
	pthread_mutex_lock(&memory->lock);
	at = position(memory, hash, &found);
	if (found)
		path_info_copy(out, memory->infos[at]);
	pthread_mutex_unlock(&memory->lock);
	return found ? RC_OK : err_set(err, RC_NOT_FOUND, "no path info of that hash");
}

static enum rc memory_put(struct path_info_service *service, const struct op *op,
			  const struct path_info *info, struct path_info *stored, struct err *err)
{
	struct memory *memory = memory_of(service);
	struct path_info *copy = mem_zalloc(sizeof(*copy));
	bool found;
	size_t at;

	(void)op;
	(void)err;
	path_info_copy(copy, info);
	pthread_mutex_lock(&memory->lock);
	at = position(memory, info->path.hash, &found);
	if (found) {
		path_info_release(memory->infos[at]);
		free(memory->infos[at]);
	} else {
		memory->infos = mem_grow(memory->infos, memory->count, &memory->room, 16,
					 sizeof(struct path_info *));
		memmove(memory->infos + at + 1, memory->infos + at,
			(memory->count - at) * sizeof(struct path_info *));
		memory->count++;
	}
	memory->infos[at] = copy;
	memory->generation++;
	pthread_mutex_unlock(&memory->lock);
	if (stored)
		path_info_copy(stored, info);
	return RC_OK;
}

static void memory_iter_free(struct path_info_iter *base)
{
	free(base);
}

static enum rc memory_iter_next(struct path_info_iter *base, const struct op *op,
				struct path_info *out, bool *end, struct err *err)
{
	struct memory_iter *iter = CONTAINER_OF(base, struct memory_iter, base);
	struct memory *memory = iter->memory;
	bool found = false;
	size_t at;

	(void)op;
	(void)err;
	pthread_mutex_lock(&memory->lock);
	at = iter->all ? 0 : position(memory, iter->after, &found);
	if (found)
		at++;
	*end = at == memory->count;
	if (!*end)
		path_info_copy(out, memory->infos[at]);
	pthread_mutex_unlock(&memory->lock);
	if (!*end) {
		iter->all = false;
		memcpy(iter->after, out->path.hash, sizeof(iter->after));
	}
	return RC_OK;
}

static const struct path_info_iter_ops iter_ops = {
	.free = memory_iter_free,
	.next = memory_iter_next,
};

static enum rc memory_list(struct path_info_service *service, const struct op *op,
			   const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			   struct err *err)
{
	struct memory_iter *iter = mem_zalloc(sizeof(*iter));

	(void)op;
	(void)err;
	iter->base.ops = &iter_ops;
	iter->memory = memory_of(service);
	iter->all = !after;
	if (after)
		memcpy(iter->after, after, sizeof(iter->after));
	*out = &iter->base;
	return RC_OK;
}

static enum rc memory_generation(struct path_info_service *service, const struct op *op,
				 uint64_t *out, struct err *err)
{
	struct memory *memory = memory_of(service);

	(void)op;
	(void)err;
	pthread_mutex_lock(&memory->lock);
	*out = memory->generation;
	pthread_mutex_unlock(&memory->lock);
	return RC_OK;
}

static const struct path_info_service_ops service_ops = {
	.name = "memory",
	.free = memory_free,
	.get = memory_get,
	.put = memory_put,
	.list = memory_list,
	.generation = memory_generation,
};

struct path_info_service *path_info_memory_new(void)
{
	struct memory *memory = mem_zalloc(sizeof(*memory));

	path_info_service_init(&memory->base, &service_ops);
	pthread_mutex_init(&memory->lock, NULL);
	return &memory->base;
}

/* ---- NAR facts, by the digest of the encoded node ---- */

struct memory_facts {
	struct nar_facts_store base;
	pthread_mutex_t lock;
	struct hashmap facts; /* under the lock: digest → struct nar_facts */
};

static struct digest facts_key(const struct node *node)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;

	node_encode(node, false, &message);
	return digest_of(buf_view(&message));
}

static void memory_facts_free(struct nar_facts_store *base)
{
	struct memory_facts *store = CONTAINER_OF(base, struct memory_facts, base);
	void *facts;

	for (size_t at = 0; hashmap_next(&store->facts, &at, NULL, &facts);)
		free(facts);
	hashmap_release(&store->facts);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

static enum rc memory_facts_get(struct nar_facts_store *base, const struct op *op,
				const struct node *node, struct nar_facts *out, struct err *err)
{
	struct memory_facts *store = CONTAINER_OF(base, struct memory_facts, base);
	struct digest key = facts_key(node);
	const struct nar_facts *facts;

	(void)op;
	pthread_mutex_lock(&store->lock);
	facts = hashmap_get(&store->facts, key.bytes);
	if (facts)
		*out = *facts;
	pthread_mutex_unlock(&store->lock);
	return facts ? RC_OK : err_set(err, RC_NOT_FOUND, "no NAR facts of that node");
}

static enum rc memory_facts_put(struct nar_facts_store *base, const struct op *op,
				const struct node *node, const struct nar_facts *facts,
				struct err *err)
{
	struct memory_facts *store = CONTAINER_OF(base, struct memory_facts, base);
	struct digest key = facts_key(node);
	void *old;

	(void)op;
	(void)err;
	pthread_mutex_lock(&store->lock);
	old = hashmap_put(&store->facts, key.bytes, mem_dup(facts, sizeof(*facts)));
	pthread_mutex_unlock(&store->lock);
	free(old);
	return RC_OK;
}

static const struct nar_facts_store_ops facts_ops = {
	.name = "memory",
	.free = memory_facts_free,
	.get = memory_facts_get,
	.put = memory_facts_put,
};

struct nar_facts_store *nar_facts_memory_new(void)
{
	struct memory_facts *store = mem_zalloc(sizeof(*store));

	nar_facts_store_init(&store->base, &facts_ops);
	pthread_mutex_init(&store->lock, NULL);
	hashmap_init(&store->facts, DIGEST_SIZE);
	return &store->base;
}
