/* Nodes and directories, as the public sees them. */
#include "lib/lib.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "transfer/lookup.h"

static_assert((int)CASTOR_DIRECTORY == (int)NODE_DIRECTORY, "kinds");
static_assert((int)CASTOR_FILE == (int)NODE_FILE, "kinds");
static_assert((int)CASTOR_SYMLINK == (int)NODE_SYMLINK, "kinds");
static_assert((int)CASTOR_DIGEST_SIZE == (int)DIGEST_SIZE, "digests");

void lib_node_init(struct lib_node *out, const struct node *node)
{
	*out = (struct lib_node){
		.name = mem_strndup(node->name),
		.target = mem_strndup(node->target),
	};
	out->node.kind = (enum castor_node_kind)(int)node->kind;
	out->node.executable = node->executable;
	out->node.size = node->size;
	memcpy(out->node.digest.bytes, node->digest.bytes, DIGEST_SIZE);
	out->node.name = out->name;
	out->node.target = out->target;
}

void lib_node_release(struct lib_node *node)
{
	free(node->name);
	free(node->target);
}

enum castor_rc castor_lookup(struct castor_store *store, const struct castor_op *op,
			     const char *path, struct castor_node **out, struct castor_error *error)
{
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	struct node node;
	enum rc rc;

	*out = NULL;
	rc = lookup(&store->services, &inner, path, &node, NULL, &err);
	if (rc == RC_OK) {
		struct lib_node *found = mem_alloc(sizeof(*found));

		lib_node_init(found, &node);
		node_release(&node);
		*out = &found->node;
	}
	return lib_result(rc, &err, error);
}

void castor_node_free(struct castor_node *node)
{
	struct lib_node *lib_node;

	if (!node)
		return;
	lib_node = CONTAINER_OF(node, struct lib_node, node);
	lib_node_release(lib_node);
	free(lib_node);
}

char *castor_node_text(const struct castor_node *node)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct node inner = {
		.kind = (enum node_kind)(int)node->kind,
		.executable = node->executable != 0,
		.size = node->size,
		.target = view_of_string(node->target),
	};

	memcpy(inner.digest.bytes, node->digest.bytes, DIGEST_SIZE);
	node_print(&inner, &text);
	return mem_strndup(buf_view(&text));
}

void castor_string_free(char *string)
{
	free(string);
}

/* ---- Directories ---- */

struct castor_directory {
	size_t count;
	struct lib_node entries[];
};

enum castor_rc castor_directory_open(struct castor_store *store, const struct castor_op *op,
				     const char *path, struct castor_directory **out,
				     struct castor_error *error)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	struct node node;
	enum rc rc;

	*out = NULL;
	rc = lookup(&store->services, &inner, path, &node, NULL, &err);
	if (rc != RC_OK)
		return lib_result(rc, &err, error);
	if (node.kind != NODE_DIRECTORY)
		rc = err_set(&err, RC_INVALID, "%s is not a directory", path);
	else
		rc = directory_service_get(store->services.directories, &inner, &node.digest, &dir,
					   &err);
	node_release(&node);
	if (rc == RC_OK) {
		size_t count = directory_count(dir);

		*out = mem_alloc(sizeof(**out) + count * sizeof((*out)->entries[0]));
		(*out)->count = count;
		for (size_t i = 0; i < count; i++)
			lib_node_init(&(*out)->entries[i], directory_at(dir, i));
	}
	return lib_result(rc, &err, error);
}

size_t castor_directory_count(const struct castor_directory *directory)
{
	return directory->count;
}

const struct castor_node *castor_directory_at(const struct castor_directory *directory,
					      size_t index)
{
	return index < directory->count ? &directory->entries[index].node : NULL;
}

void castor_directory_close(struct castor_directory *directory)
{
	if (!directory)
		return;
	for (size_t i = 0; i < directory->count; i++)
		lib_node_release(&directory->entries[i]);
	free(directory);
}
