/*
 * A store as an object: opening, the registry of those that are open, and looking things up.
 *
 * registry_lock comes first in the lock order of local_internal.h. It is held while a store is
 * opened and closed, since LMDB must not have one file open twice in a process.
 */
#include "local/local_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "local/bytes.h"
#include "local/local_internal.h"
#include "local/tails.h"
#include "nix/store_path.h"

const struct local_policy local_policy_default = {
	.compression = LOCAL_COMPRESSION_ZSTD,
	.level = 3,
	.raw_files = 0,
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct local_store *registry;

/* ---- Opening ---- */

struct first_counters {
	struct local_counters counters;
};

static enum rc put_counters(struct local_write *write, void *context, struct err *err)
{
	const struct first_counters *first = context;
	uint8_t bytes[LOCAL_COUNTERS_SIZE];

	local_counters_encode(&first->counters, bytes);
	return local_write_put(write, LOCAL_TABLE_COUNTERS, view_of_string("counters"),
			       view_of(bytes, sizeof(bytes)), err);
}

static enum rc make_index(const struct local_layout *layout, struct err *err)
{
	/* A generation that no earlier store of this place had. */
	struct first_counters first = { {
		.version = LOCAL_INDEX_VERSION,
		.next_pack = 1,
		.next_seq = 1,
		.generation = (uint64_t)clock_realtime_ns(),
	} };
	struct local_index *index;

	enum rc rc = local_index_open(layout->index_path, LOCAL_INDEX_CREATE, layout->file_mode,
				      &index, err);
	if (rc != RC_OK)
		return rc;
	rc = local_index_write(index, &op_none, put_counters, &first, err);
	local_index_close(index);
	return rc;
}

static enum rc check_version(struct local_store *store, struct err *err)
{
	struct local_read *read;
	struct local_counters counters;
	struct view value;

	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_COUNTERS, view_of_string("counters"), &value, err);
	if (rc == RC_OK)
		rc = local_counters_decode(value, &counters, err);
	else if (rc == RC_NOT_FOUND)
		rc = err_set(err, RC_CORRUPT,
			     "index %s lost its counters; `castor index rebuild` rebuilds it",
			     store->layout.index_path);
	local_read_end(read);
	return rc;
}

static void store_free(struct local_store *store)
{
	local_packs_free(store->packs);
	local_codec_free(store->codec);
	local_index_close(store->index);
	local_layout_close(&store->layout);
	local_inserts_release(&store->inserts);
	hashmap_release(&store->touched);
	pthread_mutex_destroy(&store->touch_lock);
	free(store);
}

static enum rc open_index(struct local_store *store, struct err *err)
{
	const struct local_layout *layout = &store->layout;

	if (!layout->read_only)
		return local_index_open(layout->index_path, LOCAL_INDEX_OPEN, layout->file_mode,
					&store->index, err);
	return local_index_open_copy(layout->index_path, &store->index, err);
}

static enum rc open_new(const char *dir, enum local_store_use use,
			const struct local_policy *policy, struct local_store **out,
			struct err *err)
{
	struct local_store *store = mem_zalloc(sizeof(*store));

	store->refs = 1;
	pthread_mutex_init(&store->touch_lock, NULL);
	hashmap_init(&store->touched, LOCAL_INSERT_KEY);
	local_inserts_init(&store->inserts);
	enum rc rc = local_layout_open(
		dir, use == LOCAL_STORE_READ ? LOCAL_LAYOUT_READ : LOCAL_LAYOUT_WRITE, policy,
		make_index, &store->layout, err);
	if (rc == RC_OK)
		rc = open_index(store, err);
	if (rc == RC_OK)
		rc = check_version(store, err);
	if (rc != RC_OK) {
		store_free(store);
		return rc;
	}
	store->codec = local_codec_new(&store->layout.policy);
	store->packs = local_packs_new(store->layout.packs_fd, store->layout.raw_fd, store->codec);
	rc = local_tails_check(store, err);
	if (rc != RC_OK) {
		store_free(store);
		return rc;
	}
	if (!store->layout.read_only)
		local_raw_clear(store);
	local_writer_init(&store->writer);
	*out = store;
	return RC_OK;
}

static struct local_store *find_open(const char *dir)
{
	struct local_store *store;
	dev_t dev;
	ino_t ino;

	if (!local_layout_identity(dir, &dev, &ino))
		return NULL;
	for (store = registry; store; store = store->next) {
		if (store->layout.dev == dev && store->layout.ino == ino)
			return store;
	}
	return NULL;
}

enum rc local_store_open(const char *dir, enum local_store_use use,
			 const struct local_policy *policy, struct local_store **out,
			 struct err *err)
{
	enum rc rc = RC_OK;

	*out = NULL;
	pthread_mutex_lock(&registry_lock);
	struct local_store *store = find_open(dir);
	if (store) {
		rc = local_layout_check_policy(&store->layout, policy, err);
		if (rc == RC_OK && use == LOCAL_STORE_WRITE)
			rc = local_check_writable(store, err);
		if (rc == RC_OK) {
			store->refs++;
			*out = store;
		}
	} else {
		rc = open_new(dir, use, policy, &store, err);
		if (rc == RC_OK) {
			store->next = registry;
			registry = store;
			*out = store;
		}
	}
	pthread_mutex_unlock(&registry_lock);
	return rc;
}

struct local_store *local_store_ref(struct local_store *store)
{
	pthread_mutex_lock(&registry_lock);
	assert(store->refs > 0);
	store->refs++;
	pthread_mutex_unlock(&registry_lock);
	return store;
}

void local_store_unref(struct local_store *store)
{
	if (!store)
		return;
	pthread_mutex_lock(&registry_lock);
	if (--store->refs == 0) {
		struct local_store **link = &registry;

		while (*link != store)
			link = &(*link)->next;
		*link = store->next;
		local_writer_stop(store);
		store_free(store);
	}
	pthread_mutex_unlock(&registry_lock);
}

bool local_store_read_only(const struct local_store *store)
{
	return store->layout.read_only;
}

enum rc local_check_writable(const struct local_store *store, struct err *err)
{
	return store->layout.read_only
		       ? err_set(err, RC_DENIED, "store %s is open for reading only",
				 store->layout.dir)
		       : RC_OK;
}

struct local_policy local_store_policy(const struct local_store *store)
{
	return store->layout.policy;
}

/* ---- Looking up ---- */

enum rc local_find_place(struct local_store *store, enum local_table table,
			 const struct digest *digest, struct local_place_value *out,
			 struct err *err)
{
	struct view key = view_of(digest->bytes, DIGEST_SIZE), value;
	struct local_read *read;

	memset(out, 0, sizeof(*out));
	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, table, key, &value, err);
	if (rc == RC_OK)
		rc = local_place_value_decode(value, out, err);
	local_read_end(read);
	return rc;
}

enum rc local_with_value(struct local_store *store, enum local_table table, struct view key,
			 local_use_value *use, void *context, struct err *err)
{
	struct buf copy CLEANUP(buf_release) = BUF_INIT;

	for (int again = 0; again < 2; again++) {
		struct local_read *read;
		struct view value;
		enum rc rc = local_index_read(store->index, &read, err);

		if (rc != RC_OK)
			return rc;
		buf_clear(&copy);
		rc = local_read_get(read, table, key, &value, err);
		if (rc == RC_OK)
			buf_append_view(&copy, value);
		local_read_end(read);
		if (rc != RC_OK)
			return rc;
		rc = use(context, buf_view(&copy), err);
		if (rc != RC_NOT_FOUND)
			return rc;
	}
	return RC_CORRUPT;
}

/* ---- Days ---- */

void local_touch(struct local_store *store, enum local_table table, struct view key, uint16_t day)
{
	uint8_t whole[LOCAL_INSERT_KEY] = { (uint8_t)table };
	bool first = false;

	if (store->layout.read_only || day == (uint16_t)clock_day())
		return;
	assert(key.len <= DIGEST_SIZE);
	memcpy(whole + 1, key.ptr, key.len);
	pthread_mutex_lock(&store->touch_lock);
	/* Past that many in a minute the rest is noted when it is asked for again. */
	if (store->touched.count < LOCAL_TOUCHED_MAX) {
		first = store->touched.count == 0;
		hashmap_put(&store->touched, whole, store);
		if (first)
			store->touched_ns = clock_monotonic_ns();
	}
	pthread_mutex_unlock(&store->touch_lock);
	if (first)
		local_writer_wake(store);
}

int64_t local_touched_since(struct local_store *store)
{
	pthread_mutex_lock(&store->touch_lock);
	int64_t since = store->touched_ns;
	pthread_mutex_unlock(&store->touch_lock);
	return since;
}

void local_touched_take(struct local_store *store, struct hashmap *out)
{
	pthread_mutex_lock(&store->touch_lock);
	struct hashmap empty = *out;
	*out = store->touched;
	store->touched = empty;
	store->touched_ns = 0;
	pthread_mutex_unlock(&store->touch_lock);
}

enum rc local_touched_write(struct local_write *write, const struct hashmap *touched,
			    struct err *err)
{
	uint16_t day = (uint16_t)clock_day();
	const void *key;
	enum rc rc = RC_OK;

	for (size_t at = 0; rc == RC_OK && hashmap_next(touched, &at, &key, NULL);) {
		enum local_table table = (enum local_table) * (const uint8_t *)key;
		size_t len = table == LOCAL_TABLE_PATHS ? STORE_PATH_HASH_SIZE : DIGEST_SIZE;
		size_t day_at = table == LOCAL_TABLE_BLOBS ? 0 : LOCAL_PLACE_SIZE;
		struct view name = view_of((const uint8_t *)key + 1, len), value;
		struct buf copy = BUF_INIT;

		rc = local_write_get(write, table, name, &value, err);
		if (rc == RC_OK && value.len >= day_at + 2) {
			buf_append_view(&copy, value);
			put_u16(copy.ptr + day_at, day);
			rc = local_write_put(write, table, name, buf_view(&copy), err);
			buf_release(&copy);
		} else if (rc == RC_NOT_FOUND) {
			rc = RC_OK;
		}
	}
	return rc;
}
