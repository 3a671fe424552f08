/*
 * Small values by digest that may be lost: what can be computed again (the layouts of NARs), and what
 * is forgotten after a while anyway (uploads that wait for their narinfo). Shared by all processes
 * that have the store open. A contract like nar_facts.h's, with the backends memory and local.
 * Thread-safe.
 */
#ifndef CASTOR_SERVICE_SCRATCH_SCRATCH_STORE_H
#define CASTOR_SERVICE_SCRATCH_SCRATCH_STORE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "castore/digest.h"
#include "local/local_store.h"
#include "service/call.h"

enum scratch_table { SCRATCH_NAR_LAYOUTS, SCRATCH_PENDING_UPLOADS, SCRATCH_TABLES_ };

/* Of one value; larger ones are RC_TOO_LARGE. */
enum { SCRATCH_VALUE_MAX = 64 << 20 };

struct scratch_store;

/* The value is valid during the call only; false ends the scan. Nothing of the store may be called. */
typedef bool scratch_each(void *context, const struct digest *key, struct view value);

struct scratch_store_ops {
	const char *name;
	void (*free)(struct scratch_store *store);
	/* RC_NOT_FOUND. Appends. */
	enum rc (*get)(struct scratch_store *store, const struct op *op, enum scratch_table table,
		       const struct digest *key, struct buf *out, struct err *err);
	/* Replaces. Visible to everybody when it returns. */
	enum rc (*put)(struct scratch_store *store, const struct op *op, enum scratch_table table,
		       const struct digest *key, struct view value, struct err *err);
	/* RC_OK too where nothing was. */
	enum rc (*remove)(struct scratch_store *store, const struct op *op,
			  enum scratch_table table, const struct digest *key, struct err *err);
	/* RC_UNSUPPORTED of a backend that cannot list that table. */
	enum rc (*scan)(struct scratch_store *store, const struct op *op, enum scratch_table table,
			scratch_each *each, void *context, struct err *err);
};

struct scratch_store {
	const struct scratch_store_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

void scratch_store_init(struct scratch_store *store, const struct scratch_store_ops *ops);
struct scratch_store *scratch_store_ref(struct scratch_store *store);
void scratch_store_unref(struct scratch_store *store); /* NULL is fine */
enum rc scratch_store_get(struct scratch_store *store, const struct op *op,
			  enum scratch_table table, const struct digest *key, struct buf *out,
			  struct err *err) MUST_USE;
enum rc scratch_store_put(struct scratch_store *store, const struct op *op,
			  enum scratch_table table, const struct digest *key, struct view value,
			  struct err *err) MUST_USE;
enum rc scratch_store_remove(struct scratch_store *store, const struct op *op,
			     enum scratch_table table, const struct digest *key,
			     struct err *err) MUST_USE;
enum rc scratch_store_scan(struct scratch_store *store, const struct op *op,
			   enum scratch_table table, scratch_each *each, void *context,
			   struct err *err) MUST_USE;

struct scratch_store *scratch_memory_new(void);
/* Takes a reference on the store. */
struct scratch_store *scratch_local_new(struct local_store *store);

#endif
