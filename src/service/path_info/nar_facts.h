/*
 * Size and SHA-256 of the NAR of a root node, remembered by that node (without its name), so that
 * they are computed once. A small contract of its own, with the backends memory and local; any
 * path-info service can be used beside one. What computes them is transfer/nar_facts.c.
 */
#ifndef CASTOR_SERVICE_PATH_INFO_NAR_FACTS_H
#define CASTOR_SERVICE_PATH_INFO_NAR_FACTS_H

#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "castore/node.h"
#include "nix/store_path.h"
#include "service/call.h"

struct nar_facts {
	uint64_t nar_size;
	struct nar_hash nar_sha256;
};

struct nar_facts_store;

struct nar_facts_store_ops {
	const char *name;
	void (*free)(struct nar_facts_store *store);
	/* RC_NOT_FOUND. The node's name plays no part. */
	enum rc (*get)(struct nar_facts_store *store, const struct op *op, const struct node *node,
		       struct nar_facts *out, struct err *err);
	/* A node's facts never change: a backend may keep the ones that it has. */
	enum rc (*put)(struct nar_facts_store *store, const struct op *op, const struct node *node,
		       const struct nar_facts *facts, struct err *err);
};

struct nar_facts_store {
	const struct nar_facts_store_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

void nar_facts_store_init(struct nar_facts_store *store, const struct nar_facts_store_ops *ops);
struct nar_facts_store *nar_facts_store_ref(struct nar_facts_store *store);
void nar_facts_store_unref(struct nar_facts_store *store); /* NULL is fine */
enum rc nar_facts_store_get(struct nar_facts_store *store, const struct op *op,
			    const struct node *node, struct nar_facts *out,
			    struct err *err) MUST_USE;
enum rc nar_facts_store_put(struct nar_facts_store *store, const struct op *op,
			    const struct node *node, const struct nar_facts *facts,
			    struct err *err) MUST_USE;

#endif
