/* What is on its way into the store. One lock; see local_internal.h for its place in the order. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cond.h"
#include "base/mem.h"
#include "local/local_internal.h"

void local_inserts_init(struct local_inserts *inserts)
{
	pthread_mutex_init(&inserts->lock, NULL);
	cond_init(&inserts->made);
	hashmap_init(&inserts->map, LOCAL_INSERT_KEY);
}

void local_inserts_release(struct local_inserts *inserts)
{
	assert(inserts->map.count == 0);
	hashmap_release(&inserts->map);
	pthread_cond_destroy(&inserts->made);
	pthread_mutex_destroy(&inserts->lock);
}

static void map_key(enum local_table table, const uint8_t *key, uint8_t out[LOCAL_INSERT_KEY])
{
	out[0] = (uint8_t)table;
	memcpy(out + 1, key, DIGEST_SIZE);
}

struct local_insert *local_insert_new(enum local_table table, const uint8_t *key, size_t key_size)
{
	struct local_insert *insert = mem_zalloc(sizeof(*insert));

	assert(key_size <= sizeof(insert->key));
	insert->table = table;
	memcpy(insert->key, key, key_size);
	insert->refs = 1;
	insert->state = LOCAL_INSERT_MAKING;
	return insert;
}

static void insert_free(struct local_insert *insert)
{
	local_record_release(&insert->record);
	buf_release(&insert->value);
	free(insert);
}

struct local_insert *local_insert_claim(struct local_inserts *inserts, enum local_table table,
					const uint8_t *key, size_t key_size, bool *mine)
{
	struct local_insert *fresh = local_insert_new(table, key, key_size);
	uint8_t whole[LOCAL_INSERT_KEY];

	fresh->mapped = true;
	map_key(table, fresh->key, whole);
	pthread_mutex_lock(&inserts->lock);
	struct local_insert *insert = hashmap_get(&inserts->map, whole);
	*mine = !insert;
	if (insert)
		insert->refs++;
	else
		hashmap_put(&inserts->map, whole, fresh);
	pthread_mutex_unlock(&inserts->lock);
	if (!insert)
		return fresh;
	free(fresh);
	return insert;
}

static void unmap(struct local_inserts *inserts, struct local_insert *insert)
{
	uint8_t whole[LOCAL_INSERT_KEY];

	if (!insert->mapped)
		return;
	insert->mapped = false;
	map_key(insert->table, insert->key, whole);
	hashmap_remove(&inserts->map, whole);
}

void local_insert_settle(struct local_inserts *inserts, struct local_insert *insert,
			 enum local_insert_state state)
{
	pthread_mutex_lock(&inserts->lock);
	assert(insert->state == LOCAL_INSERT_MAKING);
	insert->state = state;
	if (state != LOCAL_INSERT_READY)
		unmap(inserts, insert);
	pthread_cond_broadcast(&inserts->made);
	pthread_mutex_unlock(&inserts->lock);
}

enum rc local_insert_await(struct local_inserts *inserts, const struct op *op,
			   struct local_insert *insert, bool *stored, struct err *err)
{
	enum rc rc = RC_OK;

	pthread_mutex_lock(&inserts->lock);
	while (insert->state == LOCAL_INSERT_MAKING && rc == RC_OK)
		rc = cond_wait_op(&inserts->made, &inserts->lock, op, err);
	*stored = insert->state == LOCAL_INSERT_STORED;
	pthread_mutex_unlock(&inserts->lock);
	return rc;
}

enum local_insert_state local_insert_take(struct local_inserts *inserts,
					  struct local_insert *insert, bool *append)
{
	pthread_mutex_lock(&inserts->lock);
	assert(insert->state != LOCAL_INSERT_MAKING);
	*append = insert->state == LOCAL_INSERT_READY;
	if (*append) {
		insert->state = LOCAL_INSERT_ADDED;
		insert->refs++; /* the group's */
	}
	enum local_insert_state state = insert->state;
	pthread_mutex_unlock(&inserts->lock);
	return state;
}

void local_insert_ref(struct local_inserts *inserts, struct local_insert *insert)
{
	pthread_mutex_lock(&inserts->lock);
	insert->refs++;
	pthread_mutex_unlock(&inserts->lock);
}

void local_insert_unref(struct local_inserts *inserts, struct local_insert *insert)
{
	if (!insert)
		return;
	pthread_mutex_lock(&inserts->lock);
	bool last = --insert->refs == 0;
	if (last)
		unmap(inserts, insert);
	pthread_mutex_unlock(&inserts->lock);
	if (last)
		insert_free(insert);
}

void local_inserts_finish(struct local_inserts *inserts, struct local_insert *list,
			  enum local_insert_state state)
{
	struct local_insert *gone = NULL;

	pthread_mutex_lock(&inserts->lock);
	while (list) {
		struct local_insert *insert = list;

		list = insert->next;
		assert(insert->state == LOCAL_INSERT_ADDED);
		insert->state = state;
		unmap(inserts, insert);
		if (--insert->refs == 0) {
			insert->next = gone;
			gone = insert;
		}
	}
	pthread_mutex_unlock(&inserts->lock);
	while (gone) {
		struct local_insert *insert = gone;

		gone = insert->next;
		insert_free(insert);
	}
}

bool local_inserts_peek(struct local_inserts *inserts, enum local_table table, const uint8_t *key,
			struct buf *value)
{
	uint8_t whole[LOCAL_INSERT_KEY];

	map_key(table, key, whole);
	pthread_mutex_lock(&inserts->lock);
	struct local_insert *insert = hashmap_get(&inserts->map, whole);
	bool found = insert && insert->state == LOCAL_INSERT_ADDED;
	if (found)
		buf_append_view(value, buf_view(&insert->value));
	pthread_mutex_unlock(&inserts->lock);
	return found;
}
