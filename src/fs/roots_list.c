/*
 * Root nodes from an explicit list: a castore directory made of them does all the work.
 */
#include "fs/roots.h"

#include <stdlib.h>

#include "base/mem.h"
#include "castore/directory.h"

struct roots_list {
	struct roots base;
	struct directory *nodes;
};

static struct roots_list *self_of(struct roots *roots)
{
	return CONTAINER_OF(roots, struct roots_list, base);
}

static void list_free(struct roots *roots)
{
	struct roots_list *self = self_of(roots);

	directory_unref(self->nodes);
	free(self);
}

static enum rc list_lookup(struct roots *roots, const struct op *op, struct view name,
			   struct node *out, struct err *err)
{
	const struct node *node = directory_find(self_of(roots)->nodes, name);

	(void)op;
	if (!node)
		return err_set(err, RC_NOT_FOUND, "no such root");
	node_copy(out, node);
	return RC_OK;
}

static enum rc list_list(struct roots *roots, const struct op *op, uint64_t after,
			 struct root_entry *out, size_t count, size_t *got, struct err *err)
{
	const struct directory *nodes = self_of(roots)->nodes;

	(void)op;
	(void)err;
	*got = 0;
	for (; *got < count && after < directory_count(nodes); after++, ++*got) {
		node_copy(&out[*got].node, directory_at(nodes, after));
		out[*got].next = after + 1;
	}
	return RC_OK;
}

static enum rc list_generation(struct roots *roots, const struct op *op, uint64_t *out,
			       struct err *err)
{
	(void)roots;
	(void)op;
	(void)err;
	*out = 0;
	return RC_OK;
}

static const struct roots_ops list_ops = {
	.remote = false,
	.fixed = true,
	.free = list_free,
	.lookup = list_lookup,
	.list = list_list,
	.generation = list_generation,
};

enum rc roots_list_new(const struct node *nodes, size_t count, struct roots **out, struct err *err)
{
	struct directory *directory;
	struct roots_list *self;
	enum rc rc;

	*out = NULL;
	rc = directory_from_nodes(nodes, count, &directory, err);
	if (rc != RC_OK)
		return err_context(err, rc, "the list of roots");
	self = mem_zalloc(sizeof(*self));
	self->base.ops = &list_ops;
	self->nodes = directory;
	*out = &self->base;
	return RC_OK;
}
