/* The wrappers of the memory for NAR facts. */
#include "service/path_info/nar_facts.h"

#include <assert.h>

void nar_facts_store_init(struct nar_facts_store *store, const struct nar_facts_store_ops *ops)
{
	assert(ops->name && ops->free && ops->get && ops->put);
	*store = (struct nar_facts_store){ .ops = ops };
	refcount_init(&store->ref);
}

struct nar_facts_store *nar_facts_store_ref(struct nar_facts_store *store)
{
	refcount_ref(&store->ref);
	return store;
}

void nar_facts_store_unref(struct nar_facts_store *store)
{
	if (store && refcount_unref(&store->ref))
		store->ops->free(store);
}

static enum rc called(struct nar_facts_store *store, const struct op *op, const char *call,
		      const struct node *node, enum rc rc)
{
	return service_called(&store->counts, op, store->ops->name, call,
			      view_of(node->digest.bytes, DIGEST_SIZE), rc);
}

enum rc nar_facts_store_get(struct nar_facts_store *store, const struct op *op,
			    const struct node *node, struct nar_facts *out, struct err *err)
{
	enum rc rc;

	*out = (struct nar_facts){ 0 };
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = store->ops->get(store, op, node, out, err);
	if (rc != RC_OK)
		*out = (struct nar_facts){ 0 };
	return called(store, op, "NAR facts get", node, rc);
}

enum rc nar_facts_store_put(struct nar_facts_store *store, const struct op *op,
			    const struct node *node, const struct nar_facts *facts, struct err *err)
{
	enum rc rc = op_check(op, err);

	if (rc == RC_OK)
		rc = store->ops->put(store, op, node, facts, err);
	return called(store, op, "NAR facts put", node, rc);
}
