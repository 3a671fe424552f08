/* One stack of nodes and one of names serve all open directories: a directory's own lie at the top
 * of both, and are replaced by the one node of the directory when it ends. */
#include "transfer/tree_build.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* A node that waits for its directory; its name and target lie in build->bytes. */
struct pending {
	struct node node;
	size_t name_at, target_at;
};

struct level {
	size_t first;    /* pending */
	size_t bytes_at; /* where its own name starts in bytes; its entries' follow */
	size_t name_len;
};

struct tree_build {
	struct directory_service *directories;
	struct directory_put *put;
	struct buf bytes;
	struct pending *pending;
	size_t count, cap;
	struct level *levels;
	size_t depth, levels_cap;
	struct node *nodes; /* scratch for directory_from_nodes */
	size_t nodes_cap;
	struct node root; /* borrows its target from bytes */
	bool whole;
};

struct tree_build *tree_build_new(struct directory_service *directories)
{
	struct tree_build *build = mem_zalloc(sizeof(*build));

	build->directories = directories;
	return build;
}

void tree_build_free(struct tree_build *build)
{
	if (!build)
		return;
	directory_put_free(build->put);
	buf_release(&build->bytes);
	free(build->pending);
	free(build->levels);
	free(build->nodes);
	free(build);
}

enum rc tree_build_begin(struct tree_build *build, const struct op *op, struct view name,
			 struct err *err)
{
	assert(!build->whole);
	if (!build->put) {
		enum rc rc = directory_service_open_put(build->directories, op, &build->put, err);

		if (rc != RC_OK)
			return rc;
	}
	build->levels = mem_grow(build->levels, build->depth, &build->levels_cap, 16,
				 sizeof(*build->levels));
	build->levels[build->depth++] = (struct level){ .first = build->count,
							.bytes_at = build->bytes.len,
							.name_len = name.len };
	buf_append_view(&build->bytes, name);
	return RC_OK;
}

static void push(struct tree_build *build, const struct node *node, size_t name_at,
		 size_t target_at)
{
	build->pending =
		mem_grow(build->pending, build->count, &build->cap, 64, sizeof(*build->pending));
	build->pending[build->count++] =
		(struct pending){ .node = *node, .name_at = name_at, .target_at = target_at };
}

void tree_build_add(struct tree_build *build, const struct node *node)
{
	size_t name_at = build->bytes.len, target_at;

	assert(!build->whole);
	buf_append_view(&build->bytes, node->name);
	target_at = build->bytes.len;
	buf_append_view(&build->bytes, node->target);
	if (build->depth > 0) {
		push(build, node, name_at, target_at);
		return;
	}
	build->root = *node;
	build->root.name = view_of(NULL, 0);
	if (node->target.len > 0)
		build->root.target = view_of(build->bytes.ptr + target_at, node->target.len);
	build->whole = true;
}

/* The nodes from `first` on, with pointers to their names. */
static const struct node *resolve(struct tree_build *build, size_t first)
{
	size_t count = build->count - first;

	if (count > build->nodes_cap) {
		build->nodes_cap = count > 2 * build->nodes_cap ? count : 2 * build->nodes_cap;
		build->nodes =
			mem_realloc_array(build->nodes, build->nodes_cap, sizeof(*build->nodes));
	}
	for (size_t i = 0; i < count; i++) {
		const struct pending *p = &build->pending[first + i];

		build->nodes[i] = p->node;
		build->nodes[i].name.ptr = build->bytes.ptr + p->name_at;
		build->nodes[i].target.ptr = build->bytes.ptr + p->target_at;
	}
	return build->nodes;
}

enum rc tree_build_end(struct tree_build *build, const struct op *op, struct err *err)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	const struct level *level;
	struct node node;
	enum rc rc;

	assert(build->depth > 0);
	level = &build->levels[--build->depth];
	rc = directory_from_nodes(resolve(build, level->first), build->count - level->first, &dir,
				  err);
	if (rc == RC_OK)
		rc = directory_put_add(build->put, op, dir, err);
	if (rc != RC_OK)
		return rc;
	node = (struct node){ .kind = NODE_DIRECTORY,
			      .size = directory_size(dir),
			      .digest = *directory_digest(dir),
			      .name = { NULL, level->name_len } };
	build->count = level->first;
	build->bytes.len = level->bytes_at + level->name_len;
	if (build->depth > 0) {
		push(build, &node, level->bytes_at, level->bytes_at);
		return RC_OK;
	}
	node.name = view_of(NULL, 0);
	build->root = node;
	build->whole = true;
	return RC_OK;
}

const struct node *tree_build_root(const struct tree_build *build)
{
	assert(build->whole);
	return &build->root;
}

enum rc tree_build_commit(struct tree_build *build, const struct op *op, struct err *err)
{
	struct digest root;

	assert(build->whole);
	if (!build->put)
		return RC_OK;
	return directory_put_close(build->put, op, &root, err);
}
