/* The wrappers, and the combination of two. */
#include "service/document/document_store.h"

#include <stdlib.h>

#include "base/mem.h"
#include "castore/digest.h"

void document_store_init(struct document_store *store, const struct document_store_ops *ops)
{
	*store = (struct document_store){ .ops = ops };
	refcount_init(&store->ref);
}

struct document_store *document_store_ref(struct document_store *store)
{
	refcount_ref(&store->ref);
	return store;
}

void document_store_unref(struct document_store *store)
{
	if (store && refcount_unref(&store->ref))
		store->ops->free(store);
}

static enum rc called(struct document_store *store, const struct op *op, const char *call,
		      struct view name, enum rc rc)
{
	struct digest key = digest_of(name);

	return service_called(&store->counts, op, store->ops->name, call,
			      view_of(key.bytes, DIGEST_SIZE), rc);
}

static enum rc check(const struct op *op, struct view name, struct err *err)
{
	if (name.len == 0 || name.len > DOCUMENT_NAME_MAX)
		return err_set(err, RC_INVALID, "no name of a document has %zu bytes", name.len);
	return op_check(op, err);
}

enum rc document_store_get(struct document_store *store, const struct op *op, struct view name,
			   struct buf *out, struct err *err)
{
	size_t before = out->len;
	enum rc rc = check(op, name, err);

	if (rc == RC_OK)
		rc = store->ops->get(store, op, name, out, err);
	if (rc != RC_OK)
		out->len = before;
	return called(store, op, "document get", name, rc);
}

enum rc document_store_put(struct document_store *store, const struct op *op, struct view name,
			   struct view content, struct err *err)
{
	enum rc rc = check(op, name, err);

	if (rc == RC_OK && content.len > DOCUMENT_MAX)
		rc = err_set(err, RC_TOO_LARGE, "a document of more than %d bytes", DOCUMENT_MAX);
	if (rc == RC_OK)
		rc = store->ops->put(store, op, name, content, err);
	return called(store, op, "document put", name, rc);
}

/* ---- Two as one ---- */

struct combined {
	struct document_store base;
	struct document_store *near, *far;
};

static struct combined *combined_of(struct document_store *store)
{
	return CONTAINER_OF(store, struct combined, base);
}

static void combined_free(struct document_store *store)
{
	struct combined *combined = combined_of(store);

	document_store_unref(combined->near);
	document_store_unref(combined->far);
	free(combined);
}

static enum rc combined_get(struct document_store *store, const struct op *op, struct view name,
			    struct buf *out, struct err *err)
{
	struct combined *combined = combined_of(store);
	enum rc rc = document_store_get(combined->near, op, name, out, err);

	if (rc == RC_NOT_FOUND)
		rc = document_store_get(combined->far, op, name, out, err);
	return rc == RC_UNAVAILABLE || rc == RC_DENIED || rc == RC_CERTIFICATE ? RC_NOT_FOUND : rc;
}

static enum rc combined_put(struct document_store *store, const struct op *op, struct view name,
			    struct view content, struct err *err)
{
	return document_store_put(combined_of(store)->near, op, name, content, err);
}

static const struct document_store_ops combined_ops = {
	.name = "combined", .free = combined_free, .get = combined_get, .put = combined_put
};

struct document_store *document_combined_new(struct document_store *near,
					     struct document_store *far)
{
	struct combined *combined = mem_zalloc(sizeof(*combined));

	document_store_init(&combined->base, &combined_ops);
	combined->near = document_store_ref(near);
	combined->far = document_store_ref(far);
	return &combined->base;
}
