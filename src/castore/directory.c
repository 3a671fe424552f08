/*
 * Directories. One allocation holds the struct and its nodes, in NAR order; another the message,
 * into which the nodes' names and targets point.
 */
#include "castore/directory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/refcount.h"
#include "base/text.h"
#include "base/wire.h"
#include "castore/node_body.h"

enum { LISTS = 3 };

struct directory {
	struct refcount refs;
	size_t count;
	uint64_t size; /* two per child, and what the child directories say of themselves */
	struct digest digest;
	struct view bytes; /* owned */
	struct node nodes[];
};

static const char *const list_names[LISTS] = { "directories", "files", "symlinks" };

struct directory *directory_ref(struct directory *dir)
{
	refcount_ref(&dir->refs);
	return dir;
}

void directory_unref(struct directory *dir)
{
	if (!dir || !refcount_unref(&dir->refs))
		return;
	free((void *)(uintptr_t)dir->bytes.ptr);
	free(dir);
}

void directory_cleanup(struct directory **dir)
{
	directory_unref(*dir);
	*dir = NULL;
}

/* With room for so many nodes, and the bytes, which it owns from here on. NULL: no memory, and the
 * bytes are freed. */
static struct directory *directory_new(size_t count, struct view bytes)
{
	struct directory *dir = NULL;
	size_t size;

	if (!__builtin_mul_overflow(count, sizeof(struct node), &size) &&
	    !__builtin_add_overflow(size, sizeof(*dir), &size))
		dir = mem_try_alloc(size);
	if (!dir) {
		free((void *)(uintptr_t)bytes.ptr);
		return NULL;
	}
	memset(dir, 0, sizeof(*dir));
	refcount_init(&dir->refs);
	dir->bytes = bytes;
	return dir;
}

static enum rc no_memory(size_t count, struct err *err)
{
	return err_set(err, RC_NO_MEMORY, "no memory for a directory of %zu entries", count);
}

/* Takes the count and the digest, and adds up the sizes; the nodes are there. */
static enum rc finish(struct directory *dir, size_t count, struct err *err)
{
	uint64_t size = 2 * (uint64_t)count;

	for (size_t i = 0; i < count; i++)
		if (dir->nodes[i].kind == NODE_DIRECTORY &&
		    __builtin_add_overflow(size, dir->nodes[i].size, &size))
			return err_set(err, RC_INVALID,
				       "the sizes of the child directories add up to past 2^64-1");
	dir->count = count;
	dir->size = size;
	dir->digest = digest_of(dir->bytes);
	return RC_OK;
}

/* "files entry 3 ('name'): " before the sentence that is there. */
static enum rc blame(struct err *err, enum rc rc, enum node_kind kind, size_t entry,
		     struct view name)
{
	CLEANUP(buf_release) struct buf shown = BUF_INIT;

	text_printable(view_slice(name, 0, name.len < NODE_NAME_MAX ? name.len : NODE_NAME_MAX),
		       &shown);
	return err_context(err, rc, "%s entry %zu ('%s')", list_names[kind], entry,
			   buf_string(&shown));
}

/* One of the three lists of a message, read entry by entry. */
struct list {
	struct cursor cursor;
	size_t count;     /* entries in all */
	size_t next;      /* entries read */
	struct node head; /* the last one read */
	bool done;
};

/* Where each list lies and how many entries it has. Looks at tags and lengths only; an entry too
 * short to be one is refused here, so that the count is bounded by the message's length. */
static enum rc find_lists(struct view message, struct list lists[LISTS], struct err *err)
{
	struct cursor cursor = cursor_of(message);
	struct wire_field field;
	enum node_kind kind = NODE_DIRECTORY, before = NODE_DIRECTORY;
	size_t start = 0;

	memset(lists, 0, LISTS * sizeof(*lists));
	while (wire_next(&cursor, &field)) {
		if (!node_body_kind(field.number, &kind) || field.type != WIRE_BYTES)
			return err_set(err, RC_INVALID,
				       "the message has an unknown field %u of type %d at byte %zu",
				       field.number, (int)field.type, field.at);
		if (!field.shortest || kind < before)
			return err_set(err, RC_INVALID,
				       "field %u at byte %zu is not canonically encoded",
				       field.number, field.at);
		if (field.bytes.len < node_body_least(kind)) {
			struct node bad;
			enum rc rc = node_body_decode(kind, field.bytes, &bad, err);

			if (rc == RC_OK)
				rc = node_check_name(bad.name, err);
			assert(rc != RC_OK);
			return blame(err, rc, kind, lists[kind].count, bad.name);
		}
		if (kind != before)
			start = field.at;
		before = kind;
		lists[kind].count++;
		lists[kind].cursor = cursor_of(view_slice(message, start, cursor.at - start));
	}
	if (cursor.failed)
		return err_set(err, RC_INVALID, "the message is malformed at byte %zu", field.at);
	return RC_OK;
}

/* Reads the list's next entry into its head. */
static enum rc list_next(struct list *list, enum node_kind kind, struct err *err)
{
	struct view before = list->head.name;
	struct wire_field field;
	enum rc rc;

	list->done = !wire_next(&list->cursor, &field);
	if (list->done)
		return RC_OK;
	rc = node_body_decode(kind, field.bytes, &list->head, err);
	if (rc == RC_OK)
		rc = node_check_name(list->head.name, err);
	if (rc == RC_OK && list->next > 0) {
		int order = view_compare(before, list->head.name);

		if (order == 0)
			rc = err_set(err, RC_INVALID, "the name is there twice");
		else if (order > 0)
			rc = err_set(err, RC_INVALID, "the name is not in order");
	}
	if (rc != RC_OK)
		return blame(err, rc, kind, list->next, list->head.name);
	list->next++;
	return RC_OK;
}

/* Merges the lists into dir->nodes. */
static enum rc merge_lists(struct list lists[LISTS], struct directory *dir, size_t count,
			   struct err *err)
{
	for (int k = 0; k < LISTS; k++) {
		enum rc rc = list_next(&lists[k], (enum node_kind)k, err);

		if (rc != RC_OK)
			return rc;
	}
	for (size_t i = 0; i < count; i++) {
		int least = -1;
		enum rc rc;

		for (int k = 0; k < LISTS; k++)
			if (!lists[k].done &&
			    (least < 0 ||
			     view_compare(lists[k].head.name, lists[least].head.name) < 0))
				least = k;
		assert(least >= 0);
		dir->nodes[i] = lists[least].head;
		if (i > 0 && view_equal(dir->nodes[i - 1].name, dir->nodes[i].name)) {
			rc = err_set(err, RC_INVALID, "the name is also among the %s",
				     list_names[dir->nodes[i - 1].kind]);
			return blame(err, rc, (enum node_kind)least, lists[least].next - 1,
				     dir->nodes[i].name);
		}
		rc = list_next(&lists[least], (enum node_kind)least, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

enum rc directory_decode(struct view message, struct directory **out, struct err *err)
{
	AUTO_DIRECTORY struct directory *dir = NULL;
	struct list lists[LISTS];
	uint8_t *bytes;
	size_t count = 0;
	enum rc rc;

	*out = NULL;
	if (message.len > DIRECTORY_BYTES_MAX)
		return err_set(err, RC_TOO_LARGE, "a directory's message has %zu bytes, over %d",
			       message.len, DIRECTORY_BYTES_MAX);
	bytes = mem_try_alloc(message.len);
	if (!bytes)
		return err_set(err, RC_NO_MEMORY, "no memory for a directory of %zu bytes",
			       message.len);
	if (message.len)
		memcpy(bytes, message.ptr, message.len);
	rc = find_lists(view_of(bytes, message.len), lists, err);
	if (rc != RC_OK) {
		free(bytes);
		return rc;
	}
	for (int k = 0; k < LISTS; k++)
		count += lists[k].count;
	dir = directory_new(count, view_of(bytes, message.len));
	if (!dir)
		return no_memory(count, err);
	rc = merge_lists(lists, dir, count, err);
	if (rc != RC_OK)
		return rc;
	rc = finish(dir, count, err);
	if (rc != RC_OK)
		return rc;
	*out = dir;
	dir = NULL;
	return RC_OK;
}

static int compare_names(const void *a, const void *b)
{
	return view_compare(((const struct node *)a)->name, ((const struct node *)b)->name);
}

static enum rc check_nodes(const struct node *nodes, size_t count, size_t *encoded, struct err *err)
{
	*encoded = 0;
	for (size_t i = 0; i < count; i++) {
		const struct node *node = &nodes[i];
		enum rc rc = node_check_name(node->name, err);

		if (rc == RC_OK && node->kind == NODE_SYMLINK)
			rc = node_check_target(node->target, err);
		if (rc != RC_OK)
			return blame(err, rc, node->kind, i, node->name);
		*encoded += wire_size_element(node_body_field(node->kind), node_body_size(node));
	}
	if (*encoded > DIRECTORY_BYTES_MAX)
		return err_set(err, RC_TOO_LARGE,
			       "a directory of %zu entries would take %zu bytes, over %d", count,
			       *encoded, DIRECTORY_BYTES_MAX);
	return RC_OK;
}

static enum rc sort_nodes(struct node *nodes, size_t count, struct err *err)
{
	bool sorted = true;

	/* Often they come in order already. */
	for (size_t i = 1; i < count && sorted; i++)
		sorted = compare_names(&nodes[i - 1], &nodes[i]) < 0;
	if (sorted)
		return RC_OK;
	qsort(nodes, count, sizeof(*nodes), compare_names);
	for (size_t i = 1; i < count; i++) {
		if (compare_names(&nodes[i - 1], &nodes[i]) == 0) {
			enum rc rc = err_set(err, RC_INVALID, "the name is there twice");

			return blame(err, rc, nodes[i].kind, i, nodes[i].name);
		}
	}
	return RC_OK;
}

/* Writes the message, and points the nodes' names and targets into it. */
static void encode_nodes(struct node *nodes, size_t count, struct buf *out)
{
	for (int k = 0; k < LISTS; k++) {
		for (size_t i = 0; i < count; i++) {
			struct node *node = &nodes[i];
			size_t body_at;
			struct cursor body;
			struct wire_field field;

			if ((int)node->kind != k)
				continue;
			wire_append_header(out, node_body_field(node->kind), node_body_size(node));
			body_at = out->len;
			node_body_append(node, out);
			body = cursor_of(view_of(out->ptr + body_at, out->len - body_at));
			wire_next(&body, &field);
			node->name = field.bytes;
			if (node->kind != NODE_SYMLINK)
				continue;
			wire_next(&body, &field);
			node->target = field.bytes;
		}
	}
}

/* What the kind does not have may hold anything in what a caller gives. */
static struct node only_own_fields(const struct node *in)
{
	struct node node = { .kind = in->kind, .name = in->name };

	if (in->kind == NODE_SYMLINK) {
		node.target = in->target;
		return node;
	}
	node.size = in->size;
	node.digest = in->digest;
	node.executable = in->kind == NODE_FILE && in->executable;
	return node;
}

enum rc directory_from_nodes(const struct node *nodes, size_t count, struct directory **out,
			     struct err *err)
{
	AUTO_DIRECTORY struct directory *dir = NULL;
	struct buf bytes = BUF_INIT;
	size_t encoded;
	enum rc rc;

	*out = NULL;
	rc = check_nodes(nodes, count, &encoded, err);
	if (rc != RC_OK)
		return rc;
	if (!buf_try_reserve(&bytes, encoded))
		return no_memory(count, err);
	dir = directory_new(count, view_of(bytes.ptr, encoded));
	if (!dir)
		return no_memory(count, err);
	for (size_t i = 0; i < count; i++)
		dir->nodes[i] = only_own_fields(&nodes[i]);
	rc = sort_nodes(dir->nodes, count, err);
	if (rc != RC_OK)
		return rc;
	encode_nodes(dir->nodes, count, &bytes);
	assert(bytes.len == encoded && bytes.ptr == dir->bytes.ptr);
	rc = finish(dir, count, err);
	if (rc != RC_OK)
		return rc;
	*out = dir;
	dir = NULL;
	return RC_OK;
}

struct view directory_encoded(const struct directory *dir)
{
	return dir->bytes;
}

const struct digest *directory_digest(const struct directory *dir)
{
	return &dir->digest;
}

size_t directory_count(const struct directory *dir)
{
	return dir->count;
}

const struct node *directory_at(const struct directory *dir, size_t i)
{
	assert(i < dir->count);
	return &dir->nodes[i];
}

const struct node *directory_find(const struct directory *dir, struct view name)
{
	size_t low = 0, high = dir->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = view_compare(name, dir->nodes[middle].name);

		if (order == 0)
			return &dir->nodes[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

size_t directory_cost(const struct directory *dir)
{
	return sizeof(*dir) + dir->count * sizeof(dir->nodes[0]) + dir->bytes.len;
}

uint64_t directory_size(const struct directory *dir)
{
	return dir->size;
}

bool directory_size_matches(const struct directory *dir, uint64_t size)
{
	return size == dir->size || size == dir->size - dir->count;
}
