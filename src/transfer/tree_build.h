/* Builds directories, leaves first, from what a walk in NAR order meets. */
#ifndef CASTOR_TRANSFER_TREE_BUILD_H
#define CASTOR_TRANSFER_TREE_BUILD_H

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "service/directory/directory_service.h"

struct tree_build;

/* The put is opened when the root turns out to be a directory. */
struct tree_build *tree_build_new(struct directory_service *directories);
void tree_build_free(struct tree_build *build); /* NULL is fine; unfinished puts are given up */
/* The names are copied. */
enum rc tree_build_begin(struct tree_build *build, const struct op *op, struct view name,
			 struct err *err) MUST_USE;
void tree_build_add(struct tree_build *build, const struct node *node);
enum rc tree_build_end(struct tree_build *build, const struct op *op, struct err *err) MUST_USE;
/* The root, once all is there; its name is empty. Borrowed. */
const struct node *tree_build_root(const struct tree_build *build);
/* Makes the directories durable and visible. */
enum rc tree_build_commit(struct tree_build *build, const struct op *op, struct err *err) MUST_USE;

#endif
