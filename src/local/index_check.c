/*
 * A walk over every page of an LMDB file. See the header.
 *
 * A page begins with {u64 number, u16 unused, u16 flags, u16 lower, u16 upper}; u16 offsets of its
 * nodes follow up to `lower`, the nodes lie from `upper` to its end. A node is {u16 low, u16 high,
 * u16 flags, u16 key length}, the key, and in a leaf its data; low and high are the data's length,
 * in a branch with the flags the child's number. An overflow page says in place of lower and upper
 * how many pages it spans.
 */
#include "local/index_check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/mem.h"

enum {
	PAGE_HEADER = 16,
	NODE_HEADER = 8,
	DB_SIZE = 48,
	META_SIZE = 8 + 16 + 2 * DB_SIZE + 16,
	DEPTH_MAX = 32, /* LMDB's own */
	PAGE_LEAST = 512,
	PAGE_MOST = 64 << 10,
	FREE_LIST_MAX = 64 << 20, /* bytes of one value of the free list */

	FLAG_BRANCH = 1,
	FLAG_LEAF = 2,
	FLAG_OVERFLOW = 4,
	FLAG_META = 8,

	/* Of a tree: how its keys are ordered. That of the free list has those of the environment, too. */
	KEYS_MASK = 0x7f,
	KEYS_BYTES = 0,
	KEYS_NUMBERS = 8,

	NODE_BIG = 1,
	NODE_SUB = 2,
};

#define META_MAGIC UINT32_C(0xBEEFC0DE)
#define NO_ROOT    UINT64_MAX

struct tree {
	uint16_t flags;
	uint16_t depth;
	uint64_t root;
};

struct meta {
	uint32_t page_size;
	struct tree free, main;
	uint64_t last_page;
	uint64_t txnid;
};

struct check {
	local_index_reader *reader;
	void *context;
	uint32_t page_size;
	uint64_t pages; /* one more than the last */
	uint8_t *used;  /* a bit for each */
	struct err *err;
};

struct node {
	uint16_t flags;
	struct view key;
	struct view data;   /* of a leaf */
	uint64_t child;     /* of a branch, or the first overflow page */
	uint32_t data_size; /* of a leaf */
};

struct level {
	uint8_t *bytes;
	size_t count, next;
	bool leaf;
};

static enum rc damaged(struct check *check, uint64_t page, const char *what)
{
	return err_set(check->err, RC_CORRUPT, "page %ju: %s", (uintmax_t)page, what);
}

static bool read_tree(struct cursor *cursor, struct tree *out, uint32_t *pad)
{
	cursor_u32le(cursor, pad);
	cursor_u16le(cursor, &out->flags);
	cursor_u16le(cursor, &out->depth);
	cursor_skip(cursor, 4 * sizeof(uint64_t)); /* counts of pages and entries */
	return cursor_u64le(cursor, &out->root);
}

/* Marks [page, page+count) as used; a page in two places is damage. */
static enum rc use(struct check *check, uint64_t page, uint64_t count)
{
	if (page < 2 || page >= check->pages || count > check->pages - page)
		return damaged(check, page, "it lies outside of the file");
	for (uint64_t i = page; i < page + count; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8));

		if (check->used[i / 8] & bit)
			return damaged(check, i, "it is used twice");
		check->used[i / 8] |= bit;
	}
	return RC_OK;
}

/* ---- Pages ---- */

static enum rc load(struct check *check, uint64_t page, struct level *out)
{
	uint64_t number;
	uint16_t flags, lower, upper;

	enum rc rc = use(check, page, 1);
	if (rc == RC_OK)
		rc = check->reader(check->context, page * check->page_size, out->bytes,
				   check->page_size, check->err);
	if (rc != RC_OK)
		return rc;
	struct cursor cursor = cursor_of(view_of(out->bytes, check->page_size));
	cursor_u64le(&cursor, &number);
	cursor_skip(&cursor, 2);
	cursor_u16le(&cursor, &flags);
	cursor_u16le(&cursor, &lower);
	cursor_u16le(&cursor, &upper);
	if (number != page)
		return damaged(check, page, "it has another's number");
	if (flags != FLAG_BRANCH && flags != FLAG_LEAF)
		return damaged(check, page, "it is neither a branch nor a leaf");
	if (lower < PAGE_HEADER || lower > upper || upper > check->page_size || lower % 2 != 0)
		return damaged(check, page, "its bounds are wrong");
	out->leaf = flags == FLAG_LEAF;
	out->count = (lower - PAGE_HEADER) / 2u;
	out->next = 0;
	if (out->count < (out->leaf ? 1u : 2u))
		return damaged(check, page, "it has too few entries");
	return RC_OK;
}

static enum rc read_node(struct check *check, uint64_t page, const struct level *level, size_t i,
			 struct node *out)
{
	struct view bytes = view_of(level->bytes, check->page_size);
	struct cursor cursor = cursor_of(bytes);
	uint16_t upper, at, low, high, key_size;

	cursor_skip(&cursor, 14);
	cursor_u16le(&cursor, &upper);
	cursor_skip(&cursor, i * 2);
	cursor_u16le(&cursor, &at);
	if (at < upper || at > check->page_size)
		return damaged(check, page, "an entry lies outside of it");
	cursor = cursor_of(view_slice(bytes, at, check->page_size - (size_t)at));
	cursor_u16le(&cursor, &low);
	cursor_u16le(&cursor, &high);
	cursor_u16le(&cursor, &out->flags);
	cursor_u16le(&cursor, &key_size);
	cursor_view(&cursor, key_size, &out->key);
	out->data_size = low | (uint32_t)high << 16;
	out->child = out->data_size | (uint64_t)out->flags << 32;
	out->data = view_of(NULL, 0);
	if (level->leaf && (out->flags & NODE_BIG))
		cursor_u64le(&cursor, &out->child);
	else if (level->leaf)
		cursor_view(&cursor, out->data_size, &out->data);
	if (cursor.failed)
		return damaged(check, page, "an entry is longer than it");
	if (level->leaf && (out->flags & ~(NODE_BIG | NODE_SUB)) != 0)
		return damaged(check, page, "an entry has unknown flags");
	return RC_OK;
}

static enum rc check_overflow(struct check *check, const struct node *node)
{
	uint8_t head[PAGE_HEADER];
	struct cursor cursor = cursor_of(view_of(head, sizeof(head)));
	uint64_t number, page = node->child;
	uint16_t flags;
	uint32_t count;

	if (page < 2 || page >= check->pages)
		return damaged(check, page, "it lies outside of the file");
	enum rc rc = check->reader(check->context, page * check->page_size, head, sizeof(head),
				   check->err);
	if (rc != RC_OK)
		return rc;
	cursor_u64le(&cursor, &number);
	cursor_skip(&cursor, 2);
	cursor_u16le(&cursor, &flags);
	cursor_u32le(&cursor, &count);
	uint64_t need =
		((uint64_t)node->data_size + PAGE_HEADER + check->page_size - 1) / check->page_size;
	if (number != page || flags != FLAG_OVERFLOW || count != need)
		return damaged(check, page, "it is not the overflow page that it should be");
	return use(check, page, count);
}

/* ---- Trees ---- */

typedef enum rc each_leaf_node(struct check *check, uint64_t page, const struct node *node);

struct walk {
	struct level levels[DEPTH_MAX];
	uint64_t pages[DEPTH_MAX];
	size_t depth;
	uint8_t *last_key;
	size_t last_len;
	bool has_last;
};

static int compare_keys(struct view a, struct view b, bool numbers)
{
	uint64_t x, y;

	if (!numbers)
		return view_compare(a, b);
	struct cursor ca = cursor_of(a), cb = cursor_of(b);
	cursor_u64le(&ca, &x);
	cursor_u64le(&cb, &y);
	return (x > y) - (x < y);
}

static enum rc leaf_node(struct check *check, struct walk *walk, const struct node *node,
			 bool numbers, each_leaf_node *each)
{
	uint64_t page = walk->pages[walk->depth - 1];
	struct view last = view_of(walk->last_key, walk->last_len);
	enum rc rc = RC_OK;

	if (numbers ? node->key.len != sizeof(uint64_t) : node->key.len == 0)
		return damaged(check, page, "a key has a wrong length");
	if (walk->has_last && compare_keys(last, node->key, numbers) >= 0)
		return damaged(check, page, "its keys are out of order");
	memcpy(walk->last_key, node->key.ptr, node->key.len);
	walk->last_len = node->key.len;
	walk->has_last = true;
	if (node->flags & NODE_BIG)
		rc = check_overflow(check, node);
	return rc == RC_OK && each ? each(check, page, node) : rc;
}

static enum rc walk_levels(struct check *check, struct walk *walk, const struct tree *tree,
			   bool numbers, each_leaf_node *each)
{
	walk->depth = 1;
	walk->pages[0] = tree->root;
	enum rc rc = load(check, tree->root, &walk->levels[0]);
	while (rc == RC_OK && walk->depth > 0) {
		struct level *level = &walk->levels[walk->depth - 1];
		uint64_t page = walk->pages[walk->depth - 1];
		struct node node;

		if (level->leaf != (walk->depth == tree->depth))
			return damaged(check, page, "it lies at a wrong depth");
		if (level->next == level->count) {
			walk->depth--;
			continue;
		}
		rc = read_node(check, page, level, level->next++, &node);
		if (rc == RC_OK && level->leaf) {
			rc = leaf_node(check, walk, &node, numbers, each);
		} else if (rc == RC_OK) {
			walk->pages[walk->depth] = node.child;
			rc = load(check, node.child, &walk->levels[walk->depth]);
			walk->depth++;
		}
	}
	return rc;
}

static enum rc walk_tree(struct check *check, const struct tree *tree, bool numbers,
			 each_leaf_node *each)
{
	if (tree->root == NO_ROOT && tree->depth == 0)
		return RC_OK;
	if (tree->depth == 0 || tree->depth > DEPTH_MAX || tree->root == NO_ROOT)
		return err_set(check->err, RC_CORRUPT, "a tree has a wrong depth");
	struct walk *walk = mem_zalloc(sizeof(*walk));
	AUTO_FREE uint8_t *bytes = mem_array(tree->depth + (size_t)1, check->page_size);
	for (size_t i = 0; i < tree->depth; i++)
		walk->levels[i].bytes = bytes + i * check->page_size;
	walk->last_key = bytes + (size_t)tree->depth * check->page_size;
	enum rc rc = walk_levels(check, walk, tree, numbers, each);
	free(walk);
	return rc;
}

/* An entry of the main tree: a table, itself a tree. */
static enum rc check_table(struct check *check, uint64_t page, const struct node *node)
{
	struct cursor cursor = cursor_of(node->data);
	struct tree tree;
	uint32_t pad;

	if (node->flags != NODE_SUB || node->data_size != DB_SIZE ||
	    !read_tree(&cursor, &tree, &pad))
		return damaged(check, page, "an entry is not a table");
	if (tree.flags != 0)
		return damaged(check, page, "a table is of an unknown kind");
	return walk_tree(check, &tree, false, NULL);
}

/* An entry of the free list: how many pages, then their numbers in descending order. */
static enum rc check_free(struct check *check, uint64_t page, const struct node *node)
{
	AUTO_FREE uint8_t *big = NULL;
	struct view data = node->data;
	uint64_t count, number, before = NO_ROOT;
	enum rc rc = RC_OK;

	if (node->flags & NODE_SUB || node->data_size > FREE_LIST_MAX)
		return damaged(check, page, "its free list is malformed");
	if (node->flags & NODE_BIG) {
		big = mem_try_alloc(node->data_size);
		if (!big)
			return err_set(check->err, RC_NO_MEMORY, "no memory to check the index");
		rc = check->reader(check->context, node->child * check->page_size + PAGE_HEADER,
				   big, node->data_size, check->err);
		data = view_of(big, node->data_size);
	}
	if (rc != RC_OK)
		return rc;
	struct cursor cursor = cursor_of(data);
	cursor_u64le(&cursor, &count);
	if (cursor.failed || count > cursor_left(&cursor) / sizeof(uint64_t))
		return damaged(check, page, "its free list is malformed");
	while (rc == RC_OK && count-- > 0) {
		cursor_u64le(&cursor, &number);
		if (number >= before)
			return damaged(check, page, "its free list is out of order");
		before = number;
		rc = use(check, number, 1);
	}
	return rc;
}

/* ---- Meta pages ---- */

/* False: it is none. */
static bool read_meta(local_index_reader *reader, void *context, uint64_t offset, struct meta *out)
{
	uint8_t bytes[PAGE_HEADER + META_SIZE] = { 0 };
	struct cursor cursor = cursor_of(view_of(bytes, sizeof(bytes)));
	uint32_t magic, version, pad;
	uint16_t flags;

	memset(out, 0, sizeof(*out));
	if (reader(context, offset, bytes, sizeof(bytes), NULL) != RC_OK)
		return false;
	cursor_skip(&cursor, 10);
	cursor_u16le(&cursor, &flags);
	cursor_skip(&cursor, 4);
	cursor_u32le(&cursor, &magic);
	cursor_u32le(&cursor, &version);
	cursor_skip(&cursor, 16); /* address, size of the map */
	read_tree(&cursor, &out->free, &out->page_size);
	read_tree(&cursor, &out->main, &pad);
	cursor_u64le(&cursor, &out->last_page);
	cursor_u64le(&cursor, &out->txnid);
	return !cursor.failed && (flags & FLAG_META) && magic == META_MAGIC && version == 1 &&
	       (out->free.flags & KEYS_MASK) == KEYS_NUMBERS && out->main.flags == KEYS_BYTES &&
	       out->page_size >= PAGE_LEAST && out->page_size <= PAGE_MOST &&
	       (out->page_size & (out->page_size - 1)) == 0;
}

/* LMDB trusts both, and finds that of a transaction by whether its number is odd. In a new file
 * both are of none. */
static enum rc read_metas(local_index_reader *reader, void *context, struct meta out[2],
			  struct err *err)
{
	if (!read_meta(reader, context, 0, &out[0]) ||
	    !read_meta(reader, context, out[0].page_size, &out[1]))
		return err_set(err, RC_CORRUPT, "it does not begin as an index does");
	for (uint64_t i = 0; i < 2; i++) {
		if (out[i].page_size != out[0].page_size || out[i].last_page == UINT64_MAX ||
		    (out[i].txnid != 0 && out[i].txnid % 2 != i))
			return err_set(err, RC_CORRUPT, "its page %ju contradicts itself",
				       (uintmax_t)i);
	}
	return RC_OK;
}

static const struct meta *newest(const struct meta metas[2])
{
	return metas[1].txnid > metas[0].txnid ? &metas[1] : &metas[0];
}

static enum rc find_meta(local_index_reader *reader, void *context, uint64_t txnid,
			 struct meta *out, struct err *err)
{
	struct meta metas[2];
	enum rc rc = read_metas(reader, context, metas, err);

	if (rc != RC_OK)
		return rc;
	*out = txnid != 0 ? metas[txnid % 2] : *newest(metas);
	return txnid == 0 || out->txnid == txnid ? RC_OK : RC_NOT_FOUND;
}

enum rc local_index_check_start(local_index_reader *reader, void *context, uint64_t *pages,
				uint32_t *page_size, struct err *err)
{
	struct meta metas[2];
	enum rc rc = read_metas(reader, context, metas, err);

	if (rc != RC_OK)
		return rc;
	*pages = newest(metas)->last_page + 1;
	*page_size = metas[0].page_size;
	return RC_OK;
}

enum rc local_index_check(local_index_reader *reader, void *context, uint64_t file_size,
			  uint64_t txnid, struct err *err)
{
	struct meta meta;
	enum rc rc = find_meta(reader, context, txnid, &meta, err);

	if (rc != RC_OK)
		return rc;
	struct check check = {
		.reader = reader,
		.context = context,
		.page_size = meta.page_size,
		.pages = meta.last_page + 1,
		.err = err,
	};
	if (file_size / meta.page_size < check.pages)
		return err_set(err, RC_CORRUPT, "it is cut short");
	check.used = mem_try_alloc((size_t)(check.pages / 8 + 1));
	if (!check.used)
		return err_set(err, RC_NO_MEMORY, "no memory to check the index");
	memset(check.used, 0, (size_t)(check.pages / 8 + 1));
	rc = walk_tree(&check, &meta.main, false, check_table);
	if (rc == RC_OK)
		rc = walk_tree(&check, &meta.free, true, check_free);
	free(check.used);
	return rc;
}
