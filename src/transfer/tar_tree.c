/* A growing array of entries, each with its parent, found by a hash of parent and name. */
#include "transfer/tar_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "base/text.h"
#include "castore/node.h"

struct entry {
	enum node_kind kind;
	bool executable;
	bool replaced; /* by a later entry: it and what is in it are no part of the tree */
	uint16_t name_len, target_len;
	uint32_t parent;
	uint32_t depth;   /* the root's is 1 */
	size_t name_at;   /* in text */
	size_t target_at; /* in text; of a symlink */
	size_t blob;      /* of a file */
};

/* A file that came again: at the end it must have had the same content. */
struct repeat {
	uint32_t entry;
	size_t blob;
};

struct tar_tree {
	bool last_wins;
	struct entry *entries; /* the first is the root */
	size_t count, cap;
	struct buf text;
	struct hashmap index; /* digest of (parent, name) → entry number */
	struct repeat *repeats;
	size_t repeat_count, repeat_cap;
};

struct tar_tree *tar_tree_new(bool last_wins)
{
	struct tar_tree *tree = mem_zalloc(sizeof(*tree));

	tree->last_wins = last_wins;
	hashmap_init(&tree->index, DIGEST_SIZE);
	tree->cap = 64;
	tree->entries = mem_array(tree->cap, sizeof(*tree->entries));
	tree->entries[0] = (struct entry){ .kind = NODE_DIRECTORY, .depth = 1 };
	tree->count = 1;
	return tree;
}

void tar_tree_free(struct tar_tree *tree)
{
	if (!tree)
		return;
	hashmap_release(&tree->index);
	buf_release(&tree->text);
	free(tree->entries);
	free(tree->repeats);
	free(tree);
}

static struct view name_of(const struct tar_tree *tree, const struct entry *entry)
{
	return view_of(tree->text.ptr + entry->name_at, entry->name_len);
}

static struct view target_of(const struct tar_tree *tree, const struct entry *entry)
{
	return view_of(tree->text.ptr + entry->target_at, entry->target_len);
}

/* ---- Paths ---- */

static struct digest key_of(uint32_t parent, struct view name)
{
	struct hasher hasher;

	hasher_init(&hasher);
	hasher_update(&hasher, &parent, sizeof(parent));
	hasher_update(&hasher, name.ptr, name.len);
	return hasher_final(&hasher);
}

/* The entry's number; 0 (the root, which is nobody's child): none of that name. */
static uint32_t find_child(const struct tar_tree *tree, uint32_t parent, struct view name)
{
	struct digest key = key_of(parent, name);

	return (uint32_t)(uintptr_t)hashmap_get(&tree->index, key.bytes);
}

static enum rc add_child(struct tar_tree *tree, uint32_t parent, struct view name,
			 struct entry *entry, uint32_t *out, struct err *err)
{
	struct digest key = key_of(parent, name);

	if (tree->count == TAR_ENTRIES_MAX)
		return err_set(err, RC_TOO_LARGE, "more than %d files and directories",
			       TAR_ENTRIES_MAX);
	entry->parent = parent;
	entry->depth = tree->entries[parent].depth + 1;
	if (entry->depth > NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "deeper than %d levels", NODE_DEPTH_MAX);
	if (tree->count == tree->cap) {
		tree->cap *= 2;
		tree->entries = mem_realloc_array(tree->entries, tree->cap, sizeof(*tree->entries));
	}
	entry->name_at = tree->text.len;
	entry->name_len = (uint16_t)name.len;
	buf_append_view(&tree->text, name);
	*out = (uint32_t)tree->count++;
	tree->entries[*out] = *entry;
	hashmap_put(&tree->index, key.bytes, (void *)(uintptr_t)*out);
	return RC_OK;
}

/* Takes the next component that is neither empty nor "."; empty: there is none. */
static struct view next_component(struct view *path)
{
	struct view component;

	do {
		const uint8_t *slash = path->len ? memchr(path->ptr, '/', path->len) : NULL;
		size_t len = slash ? (size_t)(slash - path->ptr) : path->len;
		size_t taken = slash ? len + 1 : len;

		component = view_slice(*path, 0, len);
		*path = view_slice(*path, taken, path->len - taken);
	} while (path->len > 0 && (component.len == 0 || view_equal_string(component, ".")));
	if (view_equal_string(component, "."))
		component.len = 0;
	return component;
}

/*
 * Follows all but the last component; *last is that one, empty where the path means the root. Where
 * `make` is set, directories that are missing on the way are made.
 */
static enum rc follow(struct tar_tree *tree, struct view path, bool make, uint32_t *parent,
		      struct view *last, struct err *err)
{
	*parent = 0;
	if (path.len > 0 && path.ptr[0] == '/')
		return err_set(err, RC_INVALID, "an absolute path");
	*last = next_component(&path);
	while (last->len > 0) {
		enum rc rc = node_check_name(*last, err);
		struct view next = next_component(&path);
		uint32_t child;

		if (rc != RC_OK || next.len == 0)
			return rc;
		child = find_child(tree, *parent, *last);
		if (child == 0 && !make)
			return err_set(err, RC_INVALID, "it is not there");
		if (child == 0)
			rc = add_child(tree, *parent, *last,
				       &(struct entry){ .kind = NODE_DIRECTORY }, &child, err);
		if (rc != RC_OK)
			return rc;
		if (tree->entries[child].kind != NODE_DIRECTORY)
			return err_set(err, RC_INVALID,
				       "its path goes through something that is "
				       "no directory");
		*parent = child;
		*last = next;
	}
	return RC_OK;
}

/* ---- Entries ---- */

/* A second entry of one name: *entry is what it says, `earlier` what is there. */
static enum rc add_again(struct tar_tree *tree, uint32_t earlier, const struct entry *entry,
			 struct err *err)
{
	const struct entry *there = &tree->entries[earlier];
	bool same = there->kind == entry->kind && there->executable == entry->executable;

	if (same && entry->kind == NODE_SYMLINK)
		same = view_equal(target_of(tree, there), target_of(tree, entry));
	if (!same)
		return err_set(err, RC_INVALID, "an earlier entry of that name is different");
	if (entry->kind != NODE_FILE || entry->blob == there->blob)
		return RC_OK;
	tree->repeats = mem_grow(tree->repeats, tree->repeat_count, &tree->repeat_cap, 16,
				 sizeof(*tree->repeats));
	tree->repeats[tree->repeat_count++] =
		(struct repeat){ .entry = earlier, .blob = entry->blob };
	return RC_OK;
}

static enum rc add(struct tar_tree *tree, struct view path, struct entry *entry, struct err *err)
{
	uint32_t parent, number;
	struct view last;
	enum rc rc = follow(tree, path, true, &parent, &last, err);

	if (rc != RC_OK)
		return rc;
	if (last.len == 0)
		return entry->kind == NODE_DIRECTORY
			       ? RC_OK
			       : err_set(err, RC_INVALID, "the root is no directory");
	number = find_child(tree, parent, last);
	if (number != 0 && !tree->last_wins)
		return add_again(tree, number, entry, err);
	if (number != 0) {
		if (entry->kind == NODE_DIRECTORY && tree->entries[number].kind == NODE_DIRECTORY)
			return RC_OK;
		tree->entries[number].replaced = true;
	}
	return add_child(tree, parent, last, entry, &number, err);
}

enum rc tar_tree_directory(struct tar_tree *tree, struct view path, struct err *err)
{
	return add(tree, path, &(struct entry){ .kind = NODE_DIRECTORY }, err);
}

enum rc tar_tree_symlink(struct tar_tree *tree, struct view path, struct view target,
			 struct err *err)
{
	struct entry entry = { .kind = NODE_SYMLINK, .target_at = tree->text.len };
	enum rc rc = node_check_target(target, err);

	if (rc != RC_OK)
		return rc;
	entry.target_len = (uint16_t)target.len;
	buf_append_view(&tree->text, target);
	return add(tree, path, &entry, err);
}

enum rc tar_tree_file(struct tar_tree *tree, struct view path, bool executable, size_t blob,
		      struct err *err)
{
	return add(tree, path,
		   &(struct entry){ .kind = NODE_FILE, .executable = executable, .blob = blob },
		   err);
}

enum rc tar_tree_link(struct tar_tree *tree, struct view path, struct view target, struct err *err)
{
	uint32_t parent, number = 0;
	struct entry entry;
	struct view last;
	enum rc rc = follow(tree, target, false, &parent, &last, err);

	if (rc == RC_OK && last.len > 0)
		number = find_child(tree, parent, last);
	if (rc == RC_OK && number == 0)
		rc = err_set(err, RC_INVALID, "it is not there");
	if (rc == RC_OK && tree->entries[number].kind == NODE_DIRECTORY)
		rc = err_set(err, RC_INVALID, "it is a directory");
	if (rc != RC_OK)
		return err_context(err, rc, "the target of a hard link");
	entry = tree->entries[number];
	return add(tree, path, &entry, err);
}

bool tar_tree_is_empty(const struct tar_tree *tree)
{
	return tree->count == 1;
}

/* ---- The tree ---- */

static int compare_entries(const void *a_, const void *b_, void *context)
{
	const struct tar_tree *tree = context;
	const struct entry *a = &tree->entries[*(const uint32_t *)a_];
	const struct entry *b = &tree->entries[*(const uint32_t *)b_];

	if (a->parent != b->parent)
		return a->parent < b->parent ? -1 : 1;
	return view_compare(name_of(tree, a), name_of(tree, b));
}

static enum rc check_repeats(const struct tar_tree *tree, const struct tar_blob *blobs,
			     struct err *err)
{
	for (size_t i = 0; i < tree->repeat_count; i++) {
		const struct entry *entry = &tree->entries[tree->repeats[i].entry];
		struct buf name CLEANUP(buf_release) = BUF_INIT;

		if (digest_equal(&blobs[entry->blob].digest, &blobs[tree->repeats[i].blob].digest))
			continue;
		text_printable(name_of(tree, entry), &name);
		return err_set(err, RC_INVALID,
			       "\"%s\" comes twice in the archive, with different contents",
			       buf_string(&name));
	}
	return RC_OK;
}

/* All entries but the root, by parent and name; *first[n]: where the children of n start. */
static uint32_t *sort_entries(const struct tar_tree *tree, uint32_t **first)
{
	uint32_t *order = mem_array(tree->count, sizeof(*order));
	uint32_t *starts = mem_array(tree->count + 1, sizeof(*starts));
	size_t at = 0;

	for (size_t i = 1; i < tree->count; i++)
		order[i - 1] = (uint32_t)i;
	qsort_r(order, tree->count - 1, sizeof(*order), compare_entries, (void *)tree);
	for (size_t parent = 0; parent <= tree->count; parent++) {
		while (at < tree->count - 1 && tree->entries[order[at]].parent < parent)
			at++;
		starts[parent] = (uint32_t)at;
	}
	*first = starts;
	return order;
}

static void add_leaf(const struct tar_tree *tree, const struct entry *entry,
		     const struct tar_blob *blobs, struct tree_build *build)
{
	struct node node = { .kind = entry->kind, .name = name_of(tree, entry) };

	if (entry->kind == NODE_SYMLINK) {
		node.target = target_of(tree, entry);
	} else {
		node.executable = entry->executable;
		node.digest = blobs[entry->blob].digest;
		node.size = blobs[entry->blob].size;
	}
	tree_build_add(build, &node);
}

enum rc tar_tree_build(const struct tar_tree *tree, const struct tar_blob *blobs,
		       struct tree_build *build, const struct op *op, struct err *err)
{
	AUTO_FREE uint32_t *first = NULL;
	AUTO_FREE uint32_t *order = sort_entries(tree, &first);
	AUTO_FREE uint32_t *next = mem_array(NODE_DEPTH_MAX + 1, sizeof(*next));
	uint32_t at = 0; /* the directory that is open */
	enum rc rc = check_repeats(tree, blobs, err);

	if (rc == RC_OK)
		rc = tree_build_begin(build, op, view_of(NULL, 0), err);
	next[1] = first[0];
	while (rc == RC_OK) {
		const struct entry *dir = &tree->entries[at], *entry;
		uint32_t number;

		if (next[dir->depth] == first[at + 1]) {
			rc = tree_build_end(build, op, err);
			if (at == 0)
				break;
			at = dir->parent;
			continue;
		}
		number = order[next[dir->depth]++];
		entry = &tree->entries[number];
		if (entry->replaced)
			continue;
		if (entry->kind != NODE_DIRECTORY) {
			add_leaf(tree, entry, blobs, build);
			continue;
		}
		rc = tree_build_begin(build, op, name_of(tree, entry), err);
		next[entry->depth] = first[number];
		at = number;
	}
	return rc;
}
