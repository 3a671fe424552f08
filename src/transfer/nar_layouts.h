/*
 * Layouts of NARs by root node, computed once: a bounded cache in memory, before the scratch table of
 * the store, where there is one. Requests for the same layout at the same time compute it once.
 * Thread-safe.
 */
#ifndef CASTOR_TRANSFER_NAR_LAYOUTS_H
#define CASTOR_TRANSFER_NAR_LAYOUTS_H

#include "transfer/nar_layout.h"

struct nar_layouts;

/* Borrows the services. budget: bytes of memory. */
struct nar_layouts *nar_layouts_new(const struct services *services, size_t budget);
void nar_layouts_free(struct nar_layouts *layouts); /* NULL is fine */
/* The key of a node: its name plays no part. */
struct digest nar_layouts_key(const struct node *node);
/* A new reference, if it is in memory; else NULL. Never waits. */
struct nar_layout *nar_layouts_peek(struct nar_layouts *layouts, const struct digest *key);
/* A new reference. Outcomes as of nar_layout_make. */
enum rc nar_layouts_get(struct nar_layouts *layouts, const struct op *op, const struct node *node,
			struct nar_layout **out, struct err *err) MUST_USE;

#endif
