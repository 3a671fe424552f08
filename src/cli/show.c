/* Path infos and nodes as people and programs read them. */
#include "cli/show.h"

#include <inttypes.h>

#include "base/text.h"
#include "nix/nixbase32.h"

/* ---- Numbers ---- */

void show_count(uint64_t count, struct buf *out)
{
	if (count >= 1000) {
		show_count(count / 1000, out); /* at most seven deep */
		buf_printf(out, ",%03u", (unsigned)(count % 1000));
	} else {
		buf_printf(out, "%u", (unsigned)count);
	}
}

void show_size(uint64_t bytes, struct buf *out)
{
	char human[TEXT_SIZE_MAX];

	show_count(bytes, out);
	buf_append_string(out, " B");
	if (bytes < 1024)
		return;
	text_size(bytes, human);
	buf_printf(out, " (%s)", human);
}

/* ---- Values ---- */

static void append_nar_hash(const struct nar_hash *hash, struct buf *out)
{
	char text[NIXBASE32_LEN(sizeof(hash->bytes)) + 1];

	nixbase32_encode(hash->bytes, sizeof(hash->bytes), text);
	buf_printf(out, "sha256:%s", text);
}

static void append_signature(const struct signature *signature, struct buf *out)
{
	buf_printf(out, "%s:", signature->name);
	base64_encode(BASE64_STANDARD, view_of(signature->data, SIGNATURE_SIZE), out);
}

static void append_store_path(const struct store_path *path, const char *suffix, struct buf *out)
{
	char text[STORE_PATH_ABSOLUTE_MAX + 1];

	store_path_absolute(path, text);
	buf_printf(out, "%s%s", text, suffix);
}

void show_store_path(const struct store_path *path, struct buf *out)
{
	append_store_path(path, "\n", out);
}

/* ---- JSON ---- */

static void member(struct json *json, const char *key, struct buf *value)
{
	json_bytes(json, key, buf_view(value));
	buf_clear(value);
}

void show_node_members(struct json *json, const struct node *node)
{
	static const char *const kinds[] = {
		[NODE_DIRECTORY] = "directory",
		[NODE_FILE] = "file",
		[NODE_SYMLINK] = "symlink",
	};
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	node_print(node, &text);
	member(json, "node", &text);
	json_key(json, "type");
	json_text(json, kinds[node->kind]);
	if (node->kind == NODE_FILE) {
		json_key(json, "size");
		json_u64(json, node->size);
		json_key(json, "executable");
		json_bool(json, node->executable);
	} else if (node->kind == NODE_SYMLINK) {
		json_bytes(json, "target", node->target);
	}
}

void show_path_info_members(struct json *json, const struct path_info *info)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	append_store_path(&info->path, "", &text);
	member(json, "path", &text);
	append_nar_hash(&info->nar_sha256, &text);
	member(json, "narHash", &text);
	json_key(json, "narSize");
	json_u64(json, info->nar_size);
	json_key(json, "references");
	json_begin_array(json);
	for (size_t i = 0; i < info->reference_count; i++) {
		append_store_path(&info->references[i], "", &text);
		json_view(json, buf_view(&text));
		buf_clear(&text);
	}
	json_end_array(json);
	if (info->has_deriver) {
		append_store_path(&info->deriver, ".drv", &text);
		member(json, "deriver", &text);
	}
	if (path_info_print_ca(info, &text))
		member(json, "ca", &text);
	json_key(json, "signatures");
	json_begin_array(json);
	for (size_t i = 0; i < info->signature_count; i++) {
		append_signature(&info->signatures[i], &text);
		json_view(json, buf_view(&text));
		buf_clear(&text);
	}
	json_end_array(json);
	show_node_members(json, &info->node);
}

void show_path_info_json(struct json *json, const struct path_info *info)
{
	json_begin_object(json);
	show_path_info_members(json, info);
	json_end_object(json);
}

/* ---- Lines ---- */

static void label(struct buf *out, const char *name)
{
	buf_printf(out, "%-11s ", name);
}

void show_node(const struct cli *cli, const struct node *node, struct buf *out)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	label(out, "node");
	node_print(node, &text);
	cli_append_name(cli, buf_view(&text), out);
	buf_append_byte(out, '\n');
	if (node->kind == NODE_FILE) {
		label(out, "size");
		show_size(node->size, out);
		buf_append_byte(out, '\n');
	}
}

void show_path_info(const struct cli *cli, const struct path_info *info, struct buf *out)
{
	label(out, "path");
	show_store_path(&info->path, out);
	show_node(cli, &info->node, out);
	label(out, "nar size");
	show_size(info->nar_size, out);
	buf_append_byte(out, '\n');
	label(out, "nar hash");
	append_nar_hash(&info->nar_sha256, out);
	buf_append_byte(out, '\n');
	for (size_t i = 0; i < info->reference_count; i++) {
		label(out, "reference");
		show_store_path(&info->references[i], out);
	}
	if (info->has_deriver) {
		label(out, "deriver");
		append_store_path(&info->deriver, ".drv\n", out);
	}
	if (info->has_ca || info->other_ca) {
		label(out, "ca");
		path_info_print_ca(info, out);
		buf_append_byte(out, '\n');
	}
	for (size_t i = 0; i < info->signature_count; i++) {
		label(out, "signature");
		append_signature(&info->signatures[i], out);
		buf_append_byte(out, '\n');
	}
}
