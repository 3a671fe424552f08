/*
 * Names in text: what stands before the first '/' (after "/nix/store/") is the root, what follows
 * is a way down from it, one directory at a time.
 */
#include "transfer/lookup.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "castore/directory.h"
#include "nix/nixbase32.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

static bool starts_with(struct view text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.ptr, prefix, len) == 0;
}

/* Takes what stands before the next '/', and that, from the front of *text. */
static struct view take_component(struct view *text)
{
	const uint8_t *slash = text->len ? memchr(text->ptr, '/', text->len) : NULL;
	size_t len = slash ? (size_t)(slash - text->ptr) : text->len;
	struct view component = view_slice(*text, 0, len);
	size_t taken = slash ? len + 1 : len;

	*text = view_slice(*text, taken, text->len - taken);
	return component;
}

/* ---- Roots ---- */

/* "<hash>-<name>", or the hash alone. */
static enum rc root_of_store_path(const struct services *services, const struct op *op,
				  struct view text, struct node *node, struct path_info *info,
				  struct err *err)
{
	struct store_path path = { 0 };
	enum rc rc = RC_OK;

	if (text.len == STORE_PATH_HASH_CHARS) {
		if (!nixbase32_decode(text, path.hash, STORE_PATH_HASH_SIZE))
			rc = err_set(err, RC_INVALID, "32 characters, but not of nixbase32");
	} else {
		rc = store_path_parse_basename(text, &path, err);
	}
	if (rc != RC_OK)
		return rc;
	if (!services->path_infos)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "store paths need a path-info service, and there is none");
	rc = path_info_service_get(services->path_infos, op, path.hash, info, err);
	if (rc != RC_OK)
		return rc;
	if (path.name[0] && strcmp(path.name, info->path.name) != 0) {
		rc = err_set(err, RC_NOT_FOUND, "under this hash there is another name, %s",
			     info->path.name);
		path_info_release(info);
		return rc;
	}
	node_copy(node, &info->node);
	return RC_OK;
}

/* A size field of 0 is what a bare digest has: the directory itself knows. */
static enum rc complete_size(const struct services *services, const struct op *op,
			     struct node *node, struct err *err)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	enum rc rc;

	if (node->kind != NODE_DIRECTORY || node->size != 0)
		return RC_OK;
	rc = directory_service_get(services->directories, op, &node->digest, &dir, err);
	if (rc == RC_OK)
		node->size = directory_size(dir);
	return rc;
}

static enum rc find_root(const struct services *services, const struct op *op, struct view *text,
			 struct node *node, struct path_info *info, struct err *err)
{
	static const char store_dir[] = STORE_DIR "/";
	struct node parsed;
	struct view root;
	bool is_node;
	enum rc rc;

	if (starts_with(*text, "symlink:")) {
		/* Its target may hold slashes, and nothing lies below it. */
		root = *text;
		*text = view_of(NULL, 0);
	} else {
		if (starts_with(*text, store_dir)) {
			*text = view_slice(*text, strlen(store_dir), text->len - strlen(store_dir));
			root = take_component(text);
			return root_of_store_path(services, op, root, node, info, err);
		}
		root = take_component(text);
	}
	is_node = (root.len && memchr(root.ptr, ':', root.len)) || root.len == 2 * DIGEST_SIZE;
	if (!is_node)
		return root_of_store_path(services, op, root, node, info, err);
	rc = node_parse(root, &parsed, err);
	if (rc == RC_OK)
		rc = complete_size(services, op, &parsed, err);
	if (rc == RC_OK)
		node_copy(node, &parsed);
	return rc;
}

/* ---- The way down ---- */

static enum rc fail_on_way(const struct node *at, struct view name, struct err *err)
{
	AUTO_BUF shown = BUF_INIT;
	AUTO_BUF target = BUF_INIT;

	text_printable(at->name, &shown);
	if (at->kind == NODE_FILE)
		return err_set(err, RC_INVALID, "\"%s\" is a file, nothing lies below it",
			       buf_string(&shown));
	if (at->kind == NODE_SYMLINK) {
		text_printable(at->target, &target);
		return err_set(err, RC_INVALID,
			       "\"%s\" is a symlink to %s, and symlinks are not followed",
			       buf_string(&shown), buf_string(&target));
	}
	buf_clear(&shown);
	text_printable(name, &shown);
	return err_set(err, RC_NOT_FOUND, "there is no \"%s\"", buf_string(&shown));
}

/* Replaces *node, which is owned, by the entry of that name in it. */
static enum rc step_down(const struct services *services, const struct op *op, struct view name,
			 struct node *node, struct err *err)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	const struct node *found;
	char hex[DIGEST_HEX_MAX];
	struct node next;
	enum rc rc;

	rc = node_check_name(name, err);
	if (rc != RC_OK)
		return rc;
	if (node->kind != NODE_DIRECTORY)
		return fail_on_way(node, name, err);
	rc = directory_service_get(services->directories, op, &node->digest, &dir, err);
	if (rc == RC_NOT_FOUND) {
		digest_hex(&node->digest, hex);
		return err_set(err, RC_CORRUPT, "directory %s is missing from the store", hex);
	}
	if (rc != RC_OK)
		return rc;
	found = directory_find(dir, name);
	if (!found)
		return fail_on_way(node, name, err);
	node_copy(&next, found);
	node_release(node);
	*node = next;
	return RC_OK;
}

static enum rc walk_down(const struct services *services, const struct op *op, struct view way,
			 struct node *node, struct err *err)
{
	while (way.len > 0) {
		struct view name = take_component(&way);
		enum rc rc = RC_OK;

		if (name.len > 0) /* "//", or a slash at the end */
			rc = step_down(services, op, name, node, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* What a person typed, for an error: made safe, and cut where it is long. */
static const char *shorten(const char *text, struct buf *out)
{
	enum { SHOWN_MAX = 300 };

	text_printable(view_of_string(text), out);
	if (out->len > SHOWN_MAX) {
		out->len = SHOWN_MAX;
		while ((out->ptr[out->len] & 0xc0) == 0x80) /* inside a character */
			out->len--;
		buf_append_string(out, "…");
	}
	return buf_string(out);
}

enum rc lookup(const struct services *services, const struct op *op, const char *text,
	       struct node *node, struct path_info *info, struct err *err)
{
	AUTO_PATH_INFO struct path_info found = { 0 };
	struct view rest = view_of_string(text);
	AUTO_BUF shown = BUF_INIT;
	enum rc rc;

	*node = (struct node){ 0 };
	if (info)
		*info = (struct path_info){ 0 };
	rc = find_root(services, op, &rest, node, &found, err);
	if (rc == RC_OK)
		rc = walk_down(services, op, rest, node, err);
	if (rc != RC_OK) {
		node_release(node);
		*node = (struct node){ 0 };
		return err_context(err, rc, "%s", shorten(text, &shown));
	}
	if (info) {
		*info = found;
		found = (struct path_info){ 0 };
	}
	return RC_OK;
}
