/* Closures in one file, as `nix-store --export` writes them and `nix-store --import` reads them. */
#ifndef CASTOR_TRANSFER_NAR_CLOSURE_H
#define CASTOR_TRANSFER_NAR_CLOSURE_H

#include "transfer/nar.h"
#include "nix/path_info.h"

/*
 * Writes these paths, in an order in which each comes after those it refers to (ingest_order), and the end.
 * The sink is called by this thread. RC_CORRUPT names the path.
 */
enum rc nar_closure_export(const struct services *services, const struct op *op,
			   const struct path_info *infos, size_t count, nar_sink *sink,
			   void *context, struct err *err) MUST_USE;

/* A path that was read; there: the store had it before, with the same content. */
typedef enum rc nar_closure_imported(void *context, const struct path_info *info, bool there,
				     struct err *err);

/*
 * Reads the paths of a closure, and stores each as it comes; each is durable when `imported` is told of it. The
 * file says neither hash nor signature nor content address of a path: who imports it trusts it. Paths come
 * after those they refer to: one that refers to what neither came before nor is in the store is RC_NOT_FOUND,
 * and one that is in the store with another content RC_EXISTS. RC_INVALID for what is malformed, cut off, or
 * followed by something. What came before a failure stays.
 */
enum rc nar_closure_import(const struct services *services, const struct op *op, nar_source *source,
			   void *source_context, nar_closure_imported *imported, void *context,
			   struct err *err) MUST_USE;

#endif
