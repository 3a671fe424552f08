/* The directories of an on-disk store; what is behind is src/local/. */
#include "service/directory/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "local/local_internal.h"
#include "local/sound.h"

struct local {
	struct directory_service base;
	struct local_store *store;
};

struct local_put {
	struct directory_put base;
	struct local_store *store;
	struct local_hold hold;
};

static struct local_store *store_of(struct directory_service *service)
{
	return CONTAINER_OF(service, struct local, base)->store;
}

static struct view key_of(const struct digest *digest)
{
	return view_of(digest->bytes, DIGEST_SIZE);
}

static void local_free(struct directory_service *service)
{
	local_store_unref(store_of(service));
	free(CONTAINER_OF(service, struct local, base));
}

struct record {
	struct local_store *store;
	const struct digest *digest;
	struct buf *message;
};

static enum rc read_record(void *context, struct view bytes, struct err *err)
{
	const struct record *record = context;
	struct local_place_value value;
	enum rc rc = local_place_value_decode(bytes, &value, err);

	if (rc != RC_OK)
		return rc;
	local_touch(record->store, LOCAL_TABLE_DIRECTORIES, key_of(record->digest), value.day);
	return local_packs_meta(record->store->packs, &value.place, LOCAL_RECORD_DIRECTORY,
				record->digest, record->message, err);
}

static enum rc local_get(struct directory_service *service, const struct op *op,
			 const struct digest *digest, struct directory **out, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	char hex[DIGEST_HEX_MAX];

	(void)op;
	struct record record = { store_of(service), digest, &message };
	enum rc rc = local_with_value(record.store, LOCAL_TABLE_DIRECTORIES, key_of(digest),
				      read_record, &record, err);
	if (rc == RC_OK) {
		rc = directory_decode(buf_view(&message), out, err);
		/* What a store holds was checked when it came in. */
		return rc == RC_INVALID ? RC_CORRUPT : rc;
	}
	digest_hex(digest, hex);
	return rc == RC_NOT_FOUND ? err_set(err, rc, "directory %s is not there", hex) : rc;
}

static enum rc local_has_many(struct directory_service *service, const struct op *op,
			      const struct digest *digests, size_t count, bool *out,
			      struct err *err)
{
	enum { STRETCH = 256 };
	struct local_store *store = store_of(service);
	struct local_sound sound = { .pack = 0 };

	for (size_t i = 0; i < count; i++) {
		struct local_place_value value;
		enum rc rc = i % STRETCH == 0 ? op_check(op, err) : RC_OK;

		if (rc == RC_OK)
			rc = local_find_sound(store, &sound, LOCAL_TABLE_DIRECTORIES, &digests[i],
					      &value, err);
		if (rc != RC_OK && rc != RC_NOT_FOUND)
			return rc;
		out[i] = rc == RC_OK;
		if (out[i])
			local_touch(store, LOCAL_TABLE_DIRECTORIES, key_of(&digests[i]), value.day);
	}
	return RC_OK;
}

/* ---- Putting ---- */

static void local_put_free(struct directory_put *base)
{
	free(CONTAINER_OF(base, struct local_put, base));
}

static enum rc make(struct local_store *store, struct directory *dir, struct local_insert *insert,
		    struct err *err)
{
	const struct digest *digest = directory_digest(dir);
	enum local_insert_state state = LOCAL_INSERT_FAILED;
	struct local_sound sound = { .pack = 0 };
	struct local_place_value value;
	enum rc rc = local_find_sound(store, &sound, LOCAL_TABLE_DIRECTORIES, digest, &value, err);

	if (rc == RC_OK) {
		state = LOCAL_INSERT_STORED;
		local_touch(store, LOCAL_TABLE_DIRECTORIES, key_of(digest), value.day);
	} else if (rc == RC_NOT_FOUND) {
		insert->heals = value.place.pack != 0;
		rc = local_record_make(store->codec, LOCAL_RECORD_DIRECTORY, digest,
				       directory_encoded(dir), &insert->record, err);
		if (rc == RC_OK)
			state = LOCAL_INSERT_READY;
	}
	local_insert_settle(&store->inserts, insert, state);
	return rc;
}

/* Appended at once: leaves come first, so what is committed is whole at every moment. */
static enum rc local_put_add(struct directory_put *base, const struct op *op, struct directory *dir,
			     struct err *err)
{
	struct local_put *put = CONTAINER_OF(base, struct local_put, base);
	struct local_inserts *inserts = &put->store->inserts;
	enum rc rc = RC_OK;
	bool mine;

	struct local_insert *insert = local_insert_claim(
		inserts, LOCAL_TABLE_DIRECTORIES, directory_digest(dir)->bytes, DIGEST_SIZE, &mine);
	if (mine)
		rc = make(put->store, dir, insert, err);
	if (rc == RC_OK)
		rc = local_add(put->store, op, &put->hold, LOCAL_PACK_META, insert, err);
	local_insert_unref(inserts, insert);
	return rc;
}

static enum rc local_put_close(struct directory_put *base, const struct op *op,
			       const struct digest *root, struct err *err)
{
	struct local_put *put = CONTAINER_OF(base, struct local_put, base);

	(void)root;
	return local_finish(put->store, op, &put->hold, err);
}

static const struct directory_put_ops put_ops = {
	.free = local_put_free,
	.add = local_put_add,
	.close = local_put_close,
};

static enum rc local_open_put(struct directory_service *service, const struct op *op,
			      struct directory_put **out, struct err *err)
{
	struct local_put *put = mem_zalloc(sizeof(*put));

	(void)op;
	(void)err;
	put->base.ops = &put_ops;
	put->store = store_of(service);
	*out = &put->base;
	return RC_OK;
}

static const struct directory_service_ops service_ops = {
	.name = "local",
	.free = local_free,
	.get = local_get,
	.has_many = local_has_many,
	.open_put = local_open_put,
};

struct directory_service *directory_local_new(struct local_store *store)
{
	struct local *local = mem_zalloc(sizeof(*local));

	directory_service_init(&local->base, &service_ops);
	local->store = local_store_ref(store);
	return &local->base;
}
