/* The wrappers of the scratch store. */
#include "service/scratch/scratch_store.h"

#include <assert.h>

void scratch_store_init(struct scratch_store *store, const struct scratch_store_ops *ops)
{
	assert(ops->name && ops->free && ops->get && ops->put && ops->remove && ops->scan);
	*store = (struct scratch_store){ .ops = ops };
	refcount_init(&store->ref);
}

struct scratch_store *scratch_store_ref(struct scratch_store *store)
{
	refcount_ref(&store->ref);
	return store;
}

void scratch_store_unref(struct scratch_store *store)
{
	if (store && refcount_unref(&store->ref))
		store->ops->free(store);
}

static enum rc called(struct scratch_store *store, const struct op *op, const char *call,
		      const struct digest *key, enum rc rc)
{
	struct view view = key ? view_of(key->bytes, DIGEST_SIZE) : (struct view){ 0 };

	return service_called(&store->counts, op, store->ops->name, call, view, rc);
}

enum rc scratch_store_get(struct scratch_store *store, const struct op *op,
			  enum scratch_table table, const struct digest *key, struct buf *out,
			  struct err *err)
{
	enum rc rc = op_check(op, err);

	if (rc == RC_OK)
		rc = store->ops->get(store, op, table, key, out, err);
	return called(store, op, "scratch get", key, rc);
}

enum rc scratch_store_put(struct scratch_store *store, const struct op *op,
			  enum scratch_table table, const struct digest *key, struct view value,
			  struct err *err)
{
	enum rc rc = op_check(op, err);

	if (rc == RC_OK && value.len > SCRATCH_VALUE_MAX)
		rc = err_set(err, RC_TOO_LARGE, "a value of %zu bytes is not for scratch",
			     value.len);
	if (rc == RC_OK)
		rc = store->ops->put(store, op, table, key, value, err);
	return called(store, op, "scratch put", key, rc);
}

enum rc scratch_store_remove(struct scratch_store *store, const struct op *op,
			     enum scratch_table table, const struct digest *key, struct err *err)
{
	enum rc rc = op_check(op, err);

	if (rc == RC_OK)
		rc = store->ops->remove(store, op, table, key, err);
	return called(store, op, "scratch remove", key, rc);
}

enum rc scratch_store_scan(struct scratch_store *store, const struct op *op,
			   enum scratch_table table, scratch_each *each, void *context,
			   struct err *err)
{
	enum rc rc = op_check(op, err);

	if (rc == RC_OK)
		rc = store->ops->scan(store, op, table, each, context, err);
	return called(store, op, "scratch scan", NULL, rc);
}
