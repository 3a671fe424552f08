/*
 * Documents by name, which lie beside store paths: build logs, realisations, listings, debug information,
 * as the protocol of Nix's binary caches has them ("log/….drv"). A contract like scratch_store.h's, but what
 * was put is durable. Backends: memory, files (in a directory of an on-disk store), combined. Thread-safe.
 */
#ifndef CASTOR_SERVICE_DOCUMENT_DOCUMENT_STORE_H
#define CASTOR_SERVICE_DOCUMENT_DOCUMENT_STORE_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "service/call.h"

enum { DOCUMENT_NAME_MAX = 1024, DOCUMENT_MAX = 64 << 20 };

struct document_store;

struct document_store_ops {
	const char *name;
	void (*free)(struct document_store *store);
	/* RC_NOT_FOUND; RC_CORRUPT. Appends. */
	enum rc (*get)(struct document_store *store, const struct op *op, struct view name,
		       struct buf *out, struct err *err);
	/* Replaces an earlier one of that name; durable when it returns. */
	enum rc (*put)(struct document_store *store, const struct op *op, struct view name,
		       struct view content, struct err *err);
};

struct document_store {
	const struct document_store_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

void document_store_init(struct document_store *store, const struct document_store_ops *ops);
struct document_store *document_store_ref(struct document_store *store);
void document_store_unref(struct document_store *store); /* NULL is fine */
/* Both: RC_INVALID for a name that is empty or longer than DOCUMENT_NAME_MAX; RC_TOO_LARGE for more than
 * DOCUMENT_MAX bytes. */
enum rc document_store_get(struct document_store *store, const struct op *op, struct view name,
			   struct buf *out, struct err *err) MUST_USE;
enum rc document_store_put(struct document_store *store, const struct op *op, struct view name,
			   struct view content, struct err *err) MUST_USE;

struct document_store *document_memory_new(void);
/* In the directory `dir` of parent_fd, which the first put makes with that mode; its files get it without the
 * bits to search and to inherit. The descriptor is duplicated. */
enum rc document_files_new(int parent_fd, const char *dir, mode_t mode, struct document_store **out,
			   struct err *err) MUST_USE;
/* What near does not have is asked of far, and is not kept; where far cannot be asked, it has nothing. Puts are
 * near's. Takes references. */
struct document_store *document_combined_new(struct document_store *near,
					     struct document_store *far);

#endif
