/*
 * A closure made of single gets: depth first in NAR order, each digest once. Iterative; what is
 * still to be visited is a stack of digests, what was seen a set of them: some 80 bytes for each
 * directory of the closure.
 */
#include "service/directory/recursive.h"

#include <stdlib.h>

#include "base/hashmap.h"
#include "base/mem.h"

struct recursive {
	struct directory_iter base;
	struct directory_service *service;
	struct hashmap seen; /* digest → anything */
	struct digest *stack;
	size_t count, room;
	bool began;
};

static void push(struct recursive *iter, const struct digest *digest)
{
	if (hashmap_put(&iter->seen, digest->bytes, iter))
		return;
	iter->stack = mem_grow(iter->stack, iter->count, &iter->room, 16, sizeof(*iter->stack));
	iter->stack[iter->count++] = *digest;
}

static void recursive_free(struct directory_iter *base)
{
	struct recursive *iter = CONTAINER_OF(base, struct recursive, base);

	hashmap_release(&iter->seen);
	free(iter->stack);
	free(iter);
}

static enum rc recursive_next(struct directory_iter *base, const struct op *op,
			      struct directory **out, struct err *err)
{
	struct recursive *iter = CONTAINER_OF(base, struct recursive, base);
	struct digest digest;
	enum rc rc;

	if (iter->count == 0)
		return RC_OK;
	digest = iter->stack[--iter->count];
	rc = directory_service_get(iter->service, op, &digest, out, err);
	if (rc == RC_NOT_FOUND && iter->began) {
		char hex[DIGEST_HEX_MAX];

		digest_hex(&digest, hex);
		return err_set(err, RC_CORRUPT, "directory %s is referred to, and not there", hex);
	}
	if (rc != RC_OK)
		return rc;
	iter->began = true;
	for (size_t i = directory_count(*out); i-- > 0;)
		if (directory_at(*out, i)->kind == NODE_DIRECTORY)
			push(iter, &directory_at(*out, i)->digest);
	return RC_OK;
}

static const struct directory_iter_ops recursive_ops = {
	.free = recursive_free,
	.next = recursive_next,
};

struct directory_iter *directory_recursive_new(struct directory_service *service,
					       const struct digest *root)
{
	struct recursive *iter = mem_zalloc(sizeof(*iter));

	iter->base.ops = &recursive_ops;
	iter->service = service;
	hashmap_init(&iter->seen, DIGEST_SIZE);
	push(iter, root);
	return &iter->base;
}
