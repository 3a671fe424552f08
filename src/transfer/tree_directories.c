/* A closure that is read as far as it is needed, and what was read of it. */
#include "transfer/tree_directories.h"

#include <stdlib.h>

#include "base/hashmap.h"
#include "base/mem.h"

/* Of directories that are kept. A server sends them in any order that begins with the root; most
 * send them in one in which hardly any has to wait. */
enum { KEPT_MAX = 64 << 20 };

struct tree_directories {
	struct directory_service *service;
	struct digest root;
	struct directory_iter *closure; /* NULL: not begun, over, or given up */
	bool single;                    /* what is not kept is asked for by itself */
	struct hashmap kept; /* digest → struct directory; the same may come up again */
	size_t kept_bytes;
};

struct tree_directories *tree_directories_new(struct directory_service *service,
					      const struct digest *root)
{
	struct tree_directories *tree = mem_zalloc(sizeof(*tree));

	tree->service = directory_service_ref(service);
	tree->root = *root;
	tree->single = !directory_service_is_remote(service);
	hashmap_init(&tree->kept, DIGEST_SIZE);
	return tree;
}

void tree_directories_free(struct tree_directories *tree)
{
	void *dir;

	if (!tree)
		return;
	directory_iter_free(tree->closure);
	for (size_t at = 0; hashmap_next(&tree->kept, &at, NULL, &dir);)
		directory_unref(dir);
	hashmap_release(&tree->kept);
	directory_service_unref(tree->service);
	free(tree);
}

/* Each digest comes once. */
static void keep(struct tree_directories *tree, struct directory *dir)
{
	tree->kept_bytes += directory_cost(dir);
	hashmap_put(&tree->kept, directory_digest(dir)->bytes, directory_ref(dir));
}

static void give_up_closure(struct tree_directories *tree)
{
	directory_iter_free(tree->closure);
	tree->closure = NULL;
	tree->single = true;
}

/* Reads on until that directory came. NULL: it did not. Why is not told: the call may have failed
 * for another directory, which the walk has not come to, and its status says less than that of a
 * single call (for a directory that is missing it is DATA_LOSS, which proves nothing). */
static struct directory *read_on(struct tree_directories *tree, const struct op *op,
				 const struct digest *digest)
{
	struct err err = ERR_INIT;
	enum rc rc = RC_OK;

	if (!tree->closure)
		rc = directory_service_get_recursive(tree->service, op, &tree->root, &tree->closure,
						     &err);
	while (rc == RC_OK && tree->kept_bytes < KEPT_MAX) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		rc = directory_iter_next(tree->closure, op, &dir, &err);
		if (rc != RC_OK || !dir)
			break;
		keep(tree, dir);
		if (digest_equal(directory_digest(dir), digest))
			return directory_ref(dir);
	}
	give_up_closure(tree);
	return NULL;
}

enum rc tree_directories_get(struct tree_directories *tree, const struct op *op,
			     const struct digest *digest, struct directory **out, struct err *err)
{
	struct directory *kept = hashmap_get(&tree->kept, digest->bytes);

	if (kept)
		*out = directory_ref(kept);
	else
		*out = tree->single ? NULL : read_on(tree, op, digest);
	return *out ? RC_OK : directory_service_get(tree->service, op, digest, out, err);
}
