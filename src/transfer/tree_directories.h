/*
 * The directories of one tree, by digest, for whoever walks it down from its root. From a service
 * that is far away they come in one call, and what comes before it is asked for is kept, in bounded
 * memory.
 */
#ifndef CASTOR_TRANSFER_TREE_DIRECTORIES_H
#define CASTOR_TRANSFER_TREE_DIRECTORIES_H

#include "base/err.h"
#include "base/op.h"
#include "castore/directory.h"
#include "service/directory/directory_service.h"

struct tree_directories;

/* Takes a reference on the service. One thread at a time. */
struct tree_directories *tree_directories_new(struct directory_service *service,
					      const struct digest *root);
void tree_directories_free(struct tree_directories *tree); /* NULL is fine */
/* A new reference. Fails as directory_service_get does, whatever became of the one call: where that
 * broke off, or told of damage elsewhere in the tree, the directory is asked for by itself. */
enum rc tree_directories_get(struct tree_directories *tree, const struct op *op,
			     const struct digest *digest, struct directory **out,
			     struct err *err) MUST_USE;

#endif
