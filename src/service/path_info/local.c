/* The path infos and the NAR facts of an on-disk store; what is behind is src/local/. */
#include "service/path_info/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "local/local_internal.h"
#include "nix/nixbase32.h"

struct local {
	struct path_info_service base;
	struct local_store *store;
};

static struct local_store *store_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct local, base)->store;
}

static void local_free(struct path_info_service *service)
{
	local_store_unref(store_of(service));
	free(CONTAINER_OF(service, struct local, base));
}

static enum rc read_record(struct local_store *store, const uint8_t hash[STORE_PATH_HASH_SIZE],
			   const struct local_place *place, struct path_info *out, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct digest key = local_path_info_key(hash);
	enum rc rc =
		local_packs_meta(store->packs, place, LOCAL_RECORD_PATH_INFO, &key, &message, err);

	if (rc == RC_OK) {
		rc = path_info_decode(buf_view(&message), out, err);
		if (rc == RC_INVALID)
			rc = RC_CORRUPT;
	}
	if (rc == RC_OK && memcmp(out->path.hash, hash, STORE_PATH_HASH_SIZE) != 0) {
		path_info_release(out);
		rc = err_set(err, RC_CORRUPT, "a path info lies under the hash of another");
	}
	return rc;
}

struct record {
	struct local_store *store;
	const uint8_t *hash;
	struct path_info *out;
};

static enum rc use_record(void *context, struct view bytes, struct err *err)
{
	const struct record *record = context;
	struct local_path_value value;
	enum rc rc = local_path_value_decode(bytes, &value, err);

	if (rc != RC_OK)
		return rc;
	local_touch(record->store, LOCAL_TABLE_PATHS, view_of(record->hash, STORE_PATH_HASH_SIZE),
		    value.day);
	return read_record(record->store, record->hash, &value.place, record->out, err);
}

static enum rc local_get(struct path_info_service *service, const struct op *op,
			 const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			 struct err *err)
{
	struct record record = { store_of(service), hash, out };

	(void)op;
	enum rc rc =
		local_with_value(record.store, LOCAL_TABLE_PATHS,
				 view_of(hash, STORE_PATH_HASH_SIZE), use_record, &record, err);
	return rc == RC_NOT_FOUND ? err_set(err, rc, "no path info of that hash") : rc;
}

static enum rc local_put(struct path_info_service *service, const struct op *op,
			 const struct path_info *info, struct path_info *stored, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	path_info_encode(info, &message);
	rc = local_put_path_info(store_of(service), op, info->path.hash, buf_view(&message), err);
	if (rc == RC_OK && stored)
		path_info_copy(stored, info);
	return rc;
}

/* ---- Listing ---- */

enum { LISTED = 128 }; /* looked up in one short read of the index */

struct listed {
	uint8_t hash[STORE_PATH_HASH_SIZE];
	bool placed;
	struct local_place place;
};

struct local_iter {
	struct path_info_iter base;
	struct local_store *store;
	struct path_info_service *service;
	bool all; /* from the start */
	bool ended;
	uint8_t after[STORE_PATH_HASH_SIZE];
	size_t at, count;
	struct listed listed[LISTED];
};

static void local_iter_free(struct path_info_iter *base)
{
	struct local_iter *iter = CONTAINER_OF(base, struct local_iter, base);

	path_info_service_unref(iter->service);
	free(iter);
}

struct filling {
	struct local_iter *iter;
	enum rc rc;
	struct err *err;
};

static bool fill_one(void *context, struct view key, struct view bytes)
{
	struct filling *filling = context;
	struct local_iter *iter = filling->iter;
	struct local_path_value value;

	if (key.len != STORE_PATH_HASH_SIZE) {
		filling->rc = err_set(filling->err, RC_CORRUPT, "a key of the index is malformed");
		return false;
	}
	memcpy(iter->listed[iter->count].hash, key.ptr, STORE_PATH_HASH_SIZE);
	/* That row alone is damaged: its turn will come. */
	iter->listed[iter->count].placed = local_path_value_decode(bytes, &value, NULL) == RC_OK;
	iter->listed[iter->count].place = value.place;
	return ++iter->count < LISTED;
}

static enum rc fill(struct local_iter *iter, struct err *err)
{
	struct view after = view_of(iter->after, iter->all ? 0 : STORE_PATH_HASH_SIZE);
	struct filling filling = { iter, RC_OK, err };
	struct local_read *read;

	iter->at = iter->count = 0;
	enum rc rc = local_index_read(iter->store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_scan(read, LOCAL_TABLE_PATHS, after, fill_one, &filling, err);
	local_read_end(read);
	if (rc == RC_OK)
		rc = filling.rc;
	iter->ended = iter->count < LISTED;
	if (rc == RC_OK && iter->count > 0) {
		iter->all = false;
		memcpy(iter->after, iter->listed[iter->count - 1].hash, STORE_PATH_HASH_SIZE);
	}
	return rc;
}

/* Behind it the listing goes on. */
static enum rc entry_failed(struct path_info_iter *iter, const uint8_t hash[STORE_PATH_HASH_SIZE],
			    enum rc rc, struct err *err)
{
	char text[STORE_PATH_HASH_CHARS + 1];

	nixbase32_encode(hash, STORE_PATH_HASH_SIZE, text);
	iter->goes_on = true;
	return err_context(err, rc, "the path info of %s/%s-…", STORE_DIR, text);
}

static enum rc local_iter_next(struct path_info_iter *base, const struct op *op,
			       struct path_info *out, bool *end, struct err *err)
{
	struct local_iter *iter = CONTAINER_OF(base, struct local_iter, base);
	enum rc rc = RC_OK;

	if (iter->at == iter->count && !iter->ended)
		rc = fill(iter, err);
	if (rc != RC_OK)
		return rc;
	*end = iter->at == iter->count;
	if (*end)
		return RC_OK;
	const struct listed *next = &iter->listed[iter->at++];
	rc = next->placed ? read_record(iter->store, next->hash, &next->place, out, err)
			  : RC_NOT_FOUND;
	if (rc == RC_NOT_FOUND)
		rc = local_get(iter->service, op, next->hash, out, err);
	return rc == RC_CORRUPT || rc == RC_IO ? entry_failed(base, next->hash, rc, err) : rc;
}

static const struct path_info_iter_ops iter_ops = {
	.free = local_iter_free,
	.next = local_iter_next,
};

static enum rc local_list(struct path_info_service *service, const struct op *op,
			  const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			  struct err *err)
{
	struct local_iter *iter = mem_zalloc(sizeof(*iter));

	(void)op;
	(void)err;
	iter->base.ops = &iter_ops;
	iter->store = store_of(service);
	iter->service = path_info_service_ref(service);
	iter->all = !after;
	if (after)
		memcpy(iter->after, after, sizeof(iter->after));
	*out = &iter->base;
	return RC_OK;
}

static enum rc local_generation(struct path_info_service *service, const struct op *op,
				uint64_t *out, struct err *err)
{
	struct local_counters counters;
	struct local_read *read;
	struct view value;

	(void)op;
	enum rc rc = local_index_read(store_of(service)->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_COUNTERS, view_of_string("counters"), &value, err);
	if (rc == RC_OK)
		rc = local_counters_decode(value, &counters, err);
	local_read_end(read);
	*out = rc == RC_OK ? counters.generation : 0;
	return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
}

static const struct path_info_service_ops service_ops = {
	.name = "local",
	.free = local_free,
	.get = local_get,
	.put = local_put,
	.list = local_list,
	.generation = local_generation,
};

struct path_info_service *path_info_local_new(struct local_store *store)
{
	struct local *local = mem_zalloc(sizeof(*local));

	path_info_service_init(&local->base, &service_ops);
	local->store = local_store_ref(store);
	return &local->base;
}

/* ---- NAR facts, by the digest of the encoded node ---- */

struct local_facts {
	struct nar_facts_store base;
	struct local_store *store;
};

static struct local_store *facts_store(struct nar_facts_store *base)
{
	return CONTAINER_OF(base, struct local_facts, base)->store;
}

static void facts_free(struct nar_facts_store *base)
{
	local_store_unref(facts_store(base));
	free(CONTAINER_OF(base, struct local_facts, base));
}

/* What was put last: a moment ago and not committed yet, or what the index has. */
static enum rc facts_find(struct local_store *store, const struct digest *key,
			  struct local_facts_value *out, struct err *err)
{
	struct buf pending CLEANUP(buf_release) = BUF_INIT;
	struct local_read *read;
	struct view view;

	if (local_inserts_peek(&store->inserts, LOCAL_TABLE_FACTS, key->bytes, &pending))
		return local_facts_value_decode(buf_view(&pending), out, err);
	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_FACTS, view_of(key->bytes, DIGEST_SIZE), &view, err);
	if (rc == RC_OK)
		rc = local_facts_value_decode(view, out, err);
	local_read_end(read);
	return rc;
}

static enum rc facts_get(struct nar_facts_store *base, const struct op *op, const struct node *node,
			 struct nar_facts *out, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct local_facts_value facts;

	(void)op;
	node_encode(node, false, &message);
	struct digest key = digest_of(buf_view(&message));
	enum rc rc = facts_find(facts_store(base), &key, &facts, err);
	if (rc == RC_NOT_FOUND)
		return err_set(err, rc, "no NAR facts of that node");
	if (rc != RC_OK)
		return rc;
	out->nar_size = facts.nar_size;
	memcpy(out->nar_sha256.bytes, facts.nar_sha256, sizeof(facts.nar_sha256));
	return RC_OK;
}

static enum rc facts_make(struct local_store *store, struct view node, const struct digest *key,
			  const struct local_facts_value *value, struct local_insert *insert,
			  struct err *err)
{
	struct buf payload CLEANUP(buf_release) = BUF_INIT;
	struct local_nar_facts record = { .nar_size = value->nar_size, .node = node };
	uint8_t bytes[LOCAL_FACTS_VALUE_SIZE];

	memcpy(record.nar_sha256, value->nar_sha256, sizeof(record.nar_sha256));
	local_nar_facts_encode(&record, &payload);
	local_facts_value_encode(value, bytes);
	buf_append(&insert->value, bytes, sizeof(bytes));
	enum rc rc = local_record_make(store->codec, LOCAL_RECORD_NAR_FACTS, key,
				       buf_view(&payload), &insert->record, err);
	local_insert_settle(&store->inserts, insert,
			    rc == RC_OK ? LOCAL_INSERT_READY : LOCAL_INSERT_FAILED);
	return rc;
}

/* Not waited for: they can be computed again, and the next commit takes them along. *again: other
 * facts of that node were on their way, and were committed. */
static enum rc facts_put_once(struct local_store *store, const struct op *op, struct view node,
			      const struct local_facts_value *value, bool *again, struct err *err)
{
	struct digest key = digest_of(node);
	struct local_hold hold = { .from = 0 };
	struct local_facts_value old;
	bool mine;

	*again = false;
	enum rc rc = facts_find(store, &key, &old, err);
	if (rc == RC_OK && old.nar_size == value->nar_size &&
	    memcmp(old.nar_sha256, value->nar_sha256, sizeof(old.nar_sha256)) == 0)
		return RC_OK;
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	struct local_insert *insert = local_insert_claim(&store->inserts, LOCAL_TABLE_FACTS,
							 key.bytes, DIGEST_SIZE, &mine);
	rc = mine ? facts_make(store, node, &key, value, insert, err) : RC_OK;
	if (rc == RC_OK)
		rc = local_add(store, op, &hold, LOCAL_PACK_META, insert, err);
	if (rc == RC_OK && !mine) {
		rc = local_wait(store, op, &hold, err);
		*again = true;
	}
	local_insert_unref(&store->inserts, insert);
	return rc;
}

static enum rc facts_put(struct nar_facts_store *base, const struct op *op, const struct node *node,
			 const struct nar_facts *facts, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct local_facts_value value = { .nar_size = facts->nar_size };
	bool again;
	enum rc rc;

	memcpy(value.nar_sha256, facts->nar_sha256.bytes, sizeof(value.nar_sha256));
	node_encode(node, false, &message);
	do
		rc = facts_put_once(facts_store(base), op, buf_view(&message), &value, &again, err);
	while (rc == RC_OK && again);
	return rc;
}

static const struct nar_facts_store_ops facts_ops = {
	.name = "local",
	.free = facts_free,
	.get = facts_get,
	.put = facts_put,
};

struct nar_facts_store *nar_facts_local_new(struct local_store *store)
{
	struct local_facts *facts = mem_zalloc(sizeof(*facts));

	nar_facts_store_init(&facts->base, &facts_ops);
	facts->store = local_store_ref(store);
	return &facts->base;
}
