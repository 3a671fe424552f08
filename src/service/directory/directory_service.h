/*
 * The directory service: directories by the digest of their canonical message.
 * Same shape and rules as blob_service.h. The empty directory exists everywhere; iterators and puts
 * hold a reference on their service (the wrappers see to both).
 */
#ifndef CASTOR_SERVICE_DIRECTORY_DIRECTORY_SERVICE_H
#define CASTOR_SERVICE_DIRECTORY_DIRECTORY_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "castore/closure.h"
#include "castore/directory.h"
#include "service/call.h"

struct directory_service;
struct directory_iter;
struct directory_put;

struct directory_service_ops {
	const char *name;
	bool remote; /* calls may wait for another machine or process */
	void (*free)(struct directory_service *service);
	/* RC_NOT_FOUND. The wrapper checks that the digest is right (RC_CORRUPT). */
	enum rc (*get)(struct directory_service *service, const struct op *op,
		       const struct digest *digest, struct directory **out, struct err *err);
	/* out[i]: is digests[i] there? */
	enum rc (*has_many)(struct directory_service *service, const struct op *op,
			    const struct digest *digests, size_t count, bool *out, struct err *err);
	/* The closure of root, root first, each digest once. RC_NOT_FOUND here or at the first
	 * next. A missing child is RC_CORRUPT at next, naming it. NULL slot: made of `get` by the
	 * wrapper. */
	enum rc (*get_recursive)(struct directory_service *service, const struct op *op,
				 const struct digest *root, struct directory_iter **out,
				 struct err *err);
	enum rc (*open_put)(struct directory_service *service, const struct op *op,
			    struct directory_put **out, struct err *err);
};

struct directory_service {
	const struct directory_service_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

void directory_service_init(struct directory_service *service,
			    const struct directory_service_ops *ops);
struct directory_service *directory_service_ref(struct directory_service *service);
void directory_service_unref(struct directory_service *service);
bool directory_service_is_remote(const struct directory_service *service);

enum rc directory_service_get(struct directory_service *service, const struct op *op,
			      const struct digest *digest, struct directory **out,
			      struct err *err) MUST_USE;
enum rc directory_service_has_many(struct directory_service *service, const struct op *op,
				   const struct digest *digests, size_t count, bool *out,
				   struct err *err) MUST_USE;
enum rc directory_service_get_recursive(struct directory_service *service, const struct op *op,
					const struct digest *root, struct directory_iter **out,
					struct err *err) MUST_USE;

/* Iterators: one thread at a time. */
struct directory_iter_ops {
	void (*free)(struct directory_iter *iter);
	/* RC_OK with a new reference, or with NULL at the end. */
	enum rc (*next)(struct directory_iter *iter, const struct op *op, struct directory **out,
			struct err *err);
};
struct directory_iter {
	const struct directory_iter_ops *ops;
	/* The wrapper's: every closure that comes in is checked. */
	struct directory_service *service;
	struct closure_download *check;
	struct digest root;
	bool began, ended, failed;
};
/* RC_NOT_FOUND, at the first call only: the root is not there. *out NULL: the end, and the closure
 * was whole. */
enum rc directory_iter_next(struct directory_iter *iter, const struct op *op,
			    struct directory **out, struct err *err) MUST_USE;
void directory_iter_free(struct directory_iter *iter); /* NULL is fine */

/* A put of one closure, leaves first; the wrapper checks order (closure.h) before the backend sees
 * a directory. Nothing is promised before close; a close that succeeded is durable and visible.
 * Freed without close: nothing of it needs to be kept. Blobs are not asked for. */
struct directory_put_ops {
	void (*free)(struct directory_put *put);
	enum rc (*add)(struct directory_put *put, const struct op *op, struct directory *dir,
		       struct err *err);
	enum rc (*close)(struct directory_put *put, const struct op *op, const struct digest *root,
			 struct err *err);
};
struct directory_put {
	const struct directory_put_ops *ops;
	/* The wrapper's. */
	struct directory_service *service;
	struct closure_upload *check;
	bool failed; /* only good for free now */
};
enum rc directory_service_open_put(struct directory_service *service, const struct op *op,
				   struct directory_put **out, struct err *err) MUST_USE;
/* Keeps its own reference where it needs one. A repeat is fine. */
enum rc directory_put_add(struct directory_put *put, const struct op *op, struct directory *dir,
			  struct err *err) MUST_USE;
enum rc directory_put_close(struct directory_put *put, const struct op *op, struct digest *root,
			    struct err *err) MUST_USE;
void directory_put_free(struct directory_put *put); /* NULL is fine */

#endif
