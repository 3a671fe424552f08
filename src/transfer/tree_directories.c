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

/* Reads on until that directory came. *out NULL: it did not. */
static enum rc read_on(struct tree_directories *tree, const struct op *op,
		       const struct digest *digest, struct directory **out, struct err *err)
{
	enum rc rc = RC_OK;

	*out = NULL;
	if (!tree->closure)
		rc = directory_service_get_recursive(tree->service, op, &tree->root, &tree->closure,
						     err);
	while (rc == RC_OK && !*out && tree->kept_bytes < KEPT_MAX) {
		struct directory *dir;

		rc = directory_iter_next(tree->closure, op, &dir, err);
		if (rc != RC_OK || !dir)
			break;
		keep(tree, dir);
		if (digest_equal(directory_digest(dir), digest))
			*out = dir;
		else
			directory_unref(dir);
	}
	if (rc != RC_OK || !*out)
		give_up_closure(tree);
	/* A server that went away may be back, and one that knows no closures has directories. */
	return rc == RC_UNAVAILABLE || rc == RC_UNSUPPORTED ? RC_OK : rc;
}

enum rc tree_directories_get(struct tree_directories *tree, const struct op *op,
			     const struct digest *digest, struct directory **out, struct err *err)
{
	struct directory *kept = hashmap_get(&tree->kept, digest->bytes);

	*out = kept ? directory_ref(kept) : NULL;
	if (!kept && !tree->single) {
		enum rc rc = read_on(tree, op, digest, out, err);

		if (rc != RC_OK)
			return rc;
	}
	return *out ? RC_OK : directory_service_get(tree->service, op, digest, out, err);
}
