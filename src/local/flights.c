/* What is on its way into the store. One lock; see local_internal.h for its place in the order. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "local/local_internal.h"

void local_flights_init(struct local_flights *flights)
{
	pthread_mutex_init(&flights->lock, NULL);
	pthread_cond_init(&flights->made, NULL);
	hashmap_init(&flights->map, LOCAL_FLIGHT_KEY);
}

void local_flights_release(struct local_flights *flights)
{
	assert(flights->map.count == 0);
	hashmap_release(&flights->map);
	pthread_cond_destroy(&flights->made);
	pthread_mutex_destroy(&flights->lock);
}

static void map_key(enum local_table table, const uint8_t *key, uint8_t out[LOCAL_FLIGHT_KEY])
{
	out[0] = (uint8_t)table;
	memcpy(out + 1, key, DIGEST_SIZE);
}

struct local_flight *local_flight_new(enum local_table table, const uint8_t *key, size_t key_size)
{
	struct local_flight *flight = mem_zalloc(sizeof(*flight));

	assert(key_size <= sizeof(flight->key));
	flight->table = table;
	memcpy(flight->key, key, key_size);
	flight->refs = 1;
	flight->state = LOCAL_FLIGHT_MAKING;
	return flight;
}

static void flight_free(struct local_flight *flight)
{
	local_record_release(&flight->record);
	buf_release(&flight->value);
	free(flight);
}

struct local_flight *local_flight_claim(struct local_flights *flights, enum local_table table,
					const uint8_t *key, size_t key_size, bool *mine)
{
	struct local_flight *fresh = local_flight_new(table, key, key_size);
	uint8_t whole[LOCAL_FLIGHT_KEY];

	fresh->mapped = true;
	map_key(table, fresh->key, whole);
	pthread_mutex_lock(&flights->lock);
	struct local_flight *flight = hashmap_get(&flights->map, whole);
	*mine = !flight;
	if (flight)
		flight->refs++;
	else
		hashmap_put(&flights->map, whole, fresh);
	pthread_mutex_unlock(&flights->lock);
	if (!flight)
		return fresh;
	free(fresh);
	return flight;
}

static void unmap(struct local_flights *flights, struct local_flight *flight)
{
	uint8_t whole[LOCAL_FLIGHT_KEY];

	if (!flight->mapped)
		return;
	flight->mapped = false;
	map_key(flight->table, flight->key, whole);
	hashmap_remove(&flights->map, whole);
}

void local_flight_settle(struct local_flights *flights, struct local_flight *flight,
			 enum local_flight_state state)
{
	pthread_mutex_lock(&flights->lock);
	assert(flight->state == LOCAL_FLIGHT_MAKING);
	flight->state = state;
	if (state != LOCAL_FLIGHT_READY)
		unmap(flights, flight);
	pthread_cond_broadcast(&flights->made);
	pthread_mutex_unlock(&flights->lock);
}

enum local_flight_state local_flight_await(struct local_flights *flights,
					   struct local_flight *flight)
{
	pthread_mutex_lock(&flights->lock);
	/* Making one waits for no other thread, so this ends. */
	while (flight->state == LOCAL_FLIGHT_MAKING)
		pthread_cond_wait(&flights->made, &flights->lock);
	enum local_flight_state state = flight->state;
	pthread_mutex_unlock(&flights->lock);
	return state;
}

enum local_flight_state local_flight_take(struct local_flights *flights,
					  struct local_flight *flight, bool *append)
{
	pthread_mutex_lock(&flights->lock);
	assert(flight->state != LOCAL_FLIGHT_MAKING);
	*append = flight->state == LOCAL_FLIGHT_READY;
	if (*append) {
		flight->state = LOCAL_FLIGHT_ADDED;
		flight->refs++; /* the group's */
	}
	enum local_flight_state state = flight->state;
	pthread_mutex_unlock(&flights->lock);
	return state;
}

void local_flight_ref(struct local_flights *flights, struct local_flight *flight)
{
	pthread_mutex_lock(&flights->lock);
	flight->refs++;
	pthread_mutex_unlock(&flights->lock);
}

void local_flight_unref(struct local_flights *flights, struct local_flight *flight)
{
	if (!flight)
		return;
	pthread_mutex_lock(&flights->lock);
	bool last = --flight->refs == 0;
	if (last)
		unmap(flights, flight);
	pthread_mutex_unlock(&flights->lock);
	if (last)
		flight_free(flight);
}

void local_flights_land(struct local_flights *flights, struct local_flight *list,
			enum local_flight_state state)
{
	struct local_flight *gone = NULL;

	pthread_mutex_lock(&flights->lock);
	while (list) {
		struct local_flight *flight = list;

		list = flight->next;
		assert(flight->state == LOCAL_FLIGHT_ADDED);
		flight->state = state;
		unmap(flights, flight);
		if (--flight->refs == 0) {
			flight->next = gone;
			gone = flight;
		}
	}
	pthread_mutex_unlock(&flights->lock);
	while (gone) {
		struct local_flight *flight = gone;

		gone = flight->next;
		flight_free(flight);
	}
}

bool local_flights_peek(struct local_flights *flights, enum local_table table, const uint8_t *key,
			struct buf *value)
{
	uint8_t whole[LOCAL_FLIGHT_KEY];

	map_key(table, key, whole);
	pthread_mutex_lock(&flights->lock);
	struct local_flight *flight = hashmap_get(&flights->map, whole);
	bool found = flight && flight->state == LOCAL_FLIGHT_ADDED;
	if (found)
		buf_append_view(value, buf_view(&flight->value));
	pthread_mutex_unlock(&flights->lock);
	return found;
}
