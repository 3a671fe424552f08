/* The order of directories in a stream. A map from digest to a small state each; no recursion. */
#include "castore/closure.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "base/text.h"

/* What is known of each digest, by a number that a map holds (plus one: its values are never
 * NULL). */
struct states {
	struct hashmap map;
	void *items;
	size_t item_size;
	size_t count;
	size_t room;
};

static void states_init(struct states *states, size_t item_size)
{
	*states = (struct states){ .item_size = item_size };
	hashmap_init(&states->map, DIGEST_SIZE);
}

static void states_release(struct states *states)
{
	hashmap_release(&states->map);
	free(states->items);
}

/* Valid until the next states_add. NULL: not there. */
static void *states_find(const struct states *states, const struct digest *digest)
{
	size_t number = (size_t)(uintptr_t)hashmap_get(&states->map, digest->bytes);

	return number ? (char *)states->items + (number - 1) * states->item_size : NULL;
}

/* The new state's bytes are not set. */
static void *states_add(struct states *states, const struct digest *digest)
{
	if (states->count == states->room) {
		states->room = states->room ? states->room * 2 : 64;
		states->items = mem_realloc_array(states->items, states->room, states->item_size);
	}
	hashmap_put(&states->map, digest->bytes, (void *)(uintptr_t)(states->count + 1));
	return (char *)states->items + states->count++ * states->item_size;
}

/* "directory <hex>, entry 'name': " before the sentence that is there. */
static enum rc blame(struct err *err, enum rc rc, const struct directory *dir,
		     const struct node *entry)
{
	CLEANUP(buf_release) struct buf name = BUF_INIT;
	char hex[DIGEST_HEX_MAX];

	digest_hex(directory_digest(dir), hex);
	if (!entry)
		return err_context(err, rc, "directory %s", hex);
	text_printable(entry->name, &name);
	return err_context(err, rc, "directory %s, entry '%s'", hex, buf_string(&name));
}

/* Leaves first. */

struct uploaded {
	uint64_t size;     /* by two per child */
	uint64_t old_size; /* by one per child */
	uint16_t height;   /* levels of the tree under it, itself included */
	bool referred;
};

struct closure_upload {
	struct states states;
	struct digest last;
	size_t roots; /* those that nothing refers to yet */
};

struct closure_upload *closure_upload_new(void)
{
	struct closure_upload *upload = mem_zalloc(sizeof(*upload));

	states_init(&upload->states, sizeof(struct uploaded));
	return upload;
}

void closure_upload_free(struct closure_upload *upload)
{
	if (!upload)
		return;
	states_release(&upload->states);
	free(upload);
}

/* Every child is there, and its size field right. *height: of the directory. */
static enum rc check_children(const struct closure_upload *upload, const struct directory *dir,
			      unsigned *height, struct err *err)
{
	unsigned tallest = 0;

	*height = 0;
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);
		unsigned child_height = 1;

		if (node->kind == NODE_DIRECTORY) {
			const struct uploaded *child = states_find(&upload->states, &node->digest);
			enum rc rc = RC_OK;

			if (!child)
				rc = err_set(err, RC_INVALID,
					     "the directory that it refers to was not sent before");
			else if (node->size != child->size && node->size != child->old_size)
				rc = err_set(err, RC_INVALID,
					     "the size field is %ju, which should be %ju",
					     (uintmax_t)node->size, (uintmax_t)child->size);
			if (rc != RC_OK)
				return blame(err, rc, dir, node);
			child_height = child->height;
		}
		if (child_height > tallest)
			tallest = child_height;
	}
	*height = tallest + 1;
	if (*height > NODE_DEPTH_MAX) {
		enum rc rc = err_set(err, RC_TOO_LARGE, "the tree is deeper than %d levels",
				     NODE_DEPTH_MAX);

		return blame(err, rc, dir, NULL);
	}
	return RC_OK;
}

enum rc closure_upload_add(struct closure_upload *upload, const struct directory *dir, bool *fresh,
			   struct err *err)
{
	struct uploaded *state;
	unsigned height;
	enum rc rc;

	*fresh = false;
	if (states_find(&upload->states, directory_digest(dir)))
		return RC_OK;
	rc = check_children(upload, dir, &height, err);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);

		if (node->kind != NODE_DIRECTORY)
			continue;
		state = states_find(&upload->states, &node->digest);
		upload->roots -= !state->referred;
		state->referred = true;
	}
	state = states_add(&upload->states, directory_digest(dir));
	*state = (struct uploaded){
		.size = directory_size(dir),
		.old_size = directory_size(dir) - directory_count(dir),
		.height = (uint16_t)height,
	};
	upload->last = *directory_digest(dir);
	upload->roots++;
	*fresh = true;
	return RC_OK;
}

enum rc closure_upload_finish(const struct closure_upload *upload, struct digest *root,
			      struct err *err)
{
	const void *key;
	void *number;

	*root = (struct digest){ .bytes = { 0 } };
	if (upload->states.count == 0)
		return err_set(err, RC_INVALID, "no directory was sent");
	if (upload->roots == 1) {
		/* Nothing came after the last one that could refer to it. */
		*root = upload->last;
		return RC_OK;
	}
	for (size_t at = 0; hashmap_next(&upload->states.map, &at, &key, &number);) {
		const struct digest *digest = key;
		const struct uploaded *state = states_find(&upload->states, digest);
		char hex[DIGEST_HEX_MAX];

		if (state->referred || digest_equal(digest, &upload->last))
			continue;
		digest_hex(digest, hex);
		return err_set(err, RC_INVALID, "nothing refers to directory %s, nor to %zu others",
			       hex, upload->roots - 2);
	}
	assert(false);
	return RC_INVALID;
}

/* Root first. */

struct downloaded {
	/* While it is awaited: the size fields that refer to it, at most two that differ. Once it
	 * came: those that are right. */
	uint64_t sizes[2];
	uint8_t size_count;
	bool came;
};

struct closure_download {
	struct states states;
	struct digest root;
	size_t awaited;
};

struct closure_download *closure_download_new(const struct digest *root)
{
	struct closure_download *download = mem_zalloc(sizeof(*download));
	struct downloaded *state;

	states_init(&download->states, sizeof(struct downloaded));
	state = states_add(&download->states, root);
	*state = (struct downloaded){ .came = false };
	download->root = *root;
	download->awaited = 1;
	return download;
}

void closure_download_free(struct closure_download *download)
{
	if (!download)
		return;
	states_release(&download->states);
	free(download);
}

/* Notes that `node` refers to its directory by this size field. */
static enum rc await(struct closure_download *download, const struct node *node, struct err *err)
{
	struct downloaded *child = states_find(&download->states, &node->digest);

	if (!child) {
		child = states_add(&download->states, &node->digest);
		*child = (struct downloaded){ .sizes = { node->size }, .size_count = 1 };
		download->awaited++;
		return RC_OK;
	}
	for (size_t i = 0; i < child->size_count; i++)
		if (child->sizes[i] == node->size)
			return RC_OK;
	if (child->size_count == ARRAY_LEN(child->sizes))
		return err_set(err, RC_CORRUPT, "the size field %ju is wrong",
			       (uintmax_t)node->size);
	child->sizes[child->size_count++] = node->size;
	return RC_OK;
}

enum rc closure_download_add(struct closure_download *download, const struct directory *dir,
			     struct err *err)
{
	struct downloaded *state = states_find(&download->states, directory_digest(dir));
	enum rc rc = RC_OK;

	if (!state)
		rc = err_set(err, RC_CORRUPT, "it came though nothing before it refers to it");
	else if (state->came)
		rc = err_set(err, RC_CORRUPT, "it came twice");
	for (size_t i = 0; rc == RC_OK && i < state->size_count; i++)
		if (!directory_size_matches(dir, state->sizes[i]))
			rc = err_set(err, RC_CORRUPT,
				     "a size field that refers to it is %ju, which should be %ju",
				     (uintmax_t)state->sizes[i], (uintmax_t)directory_size(dir));
	if (rc != RC_OK)
		return blame(err, rc, dir, NULL);
	*state = (struct downloaded){
		.sizes = { directory_size(dir), directory_size(dir) - directory_count(dir) },
		.size_count = 2,
		.came = true,
	};
	download->awaited--;
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);

		if (node->kind != NODE_DIRECTORY)
			continue;
		rc = await(download, node, err);
		if (rc != RC_OK)
			return blame(err, rc, dir, node);
	}
	return RC_OK;
}

enum rc closure_download_finish(const struct closure_download *download, struct err *err)
{
	const void *key;
	void *number;

	if (download->awaited == 0)
		return RC_OK;
	for (size_t at = 0; hashmap_next(&download->states.map, &at, &key, &number);) {
		const struct downloaded *state = states_find(&download->states, key);
		char hex[DIGEST_HEX_MAX];

		if (state->came)
			continue;
		digest_hex(key, hex);
		return err_set(err, RC_CORRUPT, "directory %s is missing, and %zu others", hex,
			       download->awaited - 1);
	}
	assert(false);
	return RC_CORRUPT;
}
