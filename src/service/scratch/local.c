/* Scratch values of an on-disk store. Layouts of NARs lie in files beside it, which may be lost at any time;
 * uploads in a table of the index that no record of a pack stands for, so that a rebuild forgets them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "local/local_internal.h"
#include "service/scratch/file_cache.h"
#include "service/scratch/scratch_store.h"

struct local_scratch {
	struct scratch_store base;
	struct local_store *store;
	struct file_cache *layouts;
};

/* What the layouts of a store may take on the disk. */
#define LAYOUTS_BUDGET (UINT64_C(64) << 20)

static struct local_store *store_of(struct scratch_store *base)
{
	return CONTAINER_OF(base, struct local_scratch, base)->store;
}

static struct file_cache *layouts_of(struct scratch_store *base)
{
	return CONTAINER_OF(base, struct local_scratch, base)->layouts;
}

static void local_free(struct scratch_store *base)
{
	file_cache_free(layouts_of(base));
	local_store_unref(store_of(base));
	free(CONTAINER_OF(base, struct local_scratch, base));
}

static struct view view_of_key(const struct digest *key)
{
	return view_of(key->bytes, DIGEST_SIZE);
}

static enum rc local_get(struct scratch_store *base, const struct op *op, enum scratch_table table,
			 const struct digest *key, struct buf *out, struct err *err)
{
	struct local_read *read;
	struct view value;

	(void)op;
	if (table == SCRATCH_NAR_LAYOUTS)
		return file_cache_get(layouts_of(base), key, SCRATCH_VALUE_MAX, out, err);
	enum rc rc = local_index_read(store_of(base)->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_PENDING, view_of_key(key), &value, err);
	if (rc == RC_OK)
		buf_append_view(out, value);
	local_read_end(read);
	return rc == RC_NOT_FOUND ? err_set(err, rc, "nothing of that key") : rc;
}

struct change {
	const struct digest *key;
	const struct view *value; /* NULL: remove */
};

static enum rc change_one(struct local_write *write, void *context, struct err *err)
{
	struct change *change = context;
	enum rc rc;

	if (change->value)
		return local_write_put(write, LOCAL_TABLE_PENDING, view_of_key(change->key),
				       *change->value, err);
	rc = local_write_delete(write, LOCAL_TABLE_PENDING, view_of_key(change->key), err);
	return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc local_put(struct scratch_store *base, const struct op *op, enum scratch_table table,
			 const struct digest *key, struct view value, struct err *err)
{
	struct change change = { .key = key, .value = &value };

	if (table == SCRATCH_NAR_LAYOUTS)
		return file_cache_put(layouts_of(base), key, value, err);
	return local_index_write(store_of(base)->index, op, change_one, &change, err);
}

static enum rc local_remove(struct scratch_store *base, const struct op *op,
			    enum scratch_table table, const struct digest *key, struct err *err)
{
	struct change change = { .key = key };

	if (table == SCRATCH_NAR_LAYOUTS)
		return file_cache_remove(layouts_of(base), key, err);
	return local_index_write(store_of(base)->index, op, change_one, &change, err);
}

struct scan {
	scratch_each *each;
	void *context;
};

static bool scan_one(void *context, struct view key, struct view value)
{
	struct scan *scan = context;
	struct digest digest;

	if (key.len != DIGEST_SIZE)
		return true;
	memcpy(digest.bytes, key.ptr, DIGEST_SIZE);
	return scan->each(scan->context, &digest, value);
}

static enum rc local_scan(struct scratch_store *base, const struct op *op, enum scratch_table table,
			  scratch_each *each, void *context, struct err *err)
{
	struct scan scan = { each, context };
	struct local_read *read;

	(void)op;
	if (table == SCRATCH_NAR_LAYOUTS)
		return err_set(err, RC_UNSUPPORTED, "layouts of NARs are not listed");
	enum rc rc = local_index_read(store_of(base)->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_scan(read, LOCAL_TABLE_PENDING, (struct view){ 0 }, scan_one, &scan, err);
	local_read_end(read);
	return rc;
}

static const struct scratch_store_ops local_ops = {
	.name = "local",
	.free = local_free,
	.get = local_get,
	.put = local_put,
	.remove = local_remove,
	.scan = local_scan,
};

struct scratch_store *scratch_local_new(struct local_store *store)
{
	struct local_scratch *scratch = mem_zalloc(sizeof(*scratch));

	scratch_store_init(&scratch->base, &local_ops);
	scratch->store = local_store_ref(store);
	scratch->layouts = file_cache_new(store->layout.dir_fd, "cache", store->layout.dir_mode,
					  LAYOUTS_BUDGET);
	return &scratch->base;
}
