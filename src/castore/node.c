/* Nodes: their limits, their message, their text. */
#include "castore/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/wire.h"
#include "castore/node_body.h"

enum { FIELD_NAME = 1, FIELD_DIGEST = 2, FIELD_TARGET = 2, FIELD_SIZE = 3, FIELD_EXECUTABLE = 4 };

static const char *const kind_names[] = {
	[NODE_DIRECTORY] = "directory",
	[NODE_FILE] = "file",
	[NODE_SYMLINK] = "symlink",
};

void node_copy(struct node *out, const struct node *in)
{
	*out = *in;
	out->name.ptr = mem_dup(in->name.ptr, in->name.len);
	out->target.ptr = mem_dup(in->target.ptr, in->target.len);
}

void node_release(struct node *node)
{
	free((void *)(uintptr_t)node->name.ptr);
	free((void *)(uintptr_t)node->target.ptr);
	*node = (struct node){ .kind = NODE_DIRECTORY };
}

bool node_equal(const struct node *a, const struct node *b)
{
	if (a->kind != b->kind || !view_equal(a->name, b->name))
		return false;
	if (a->kind == NODE_SYMLINK)
		return view_equal(a->target, b->target);
	return a->size == b->size && digest_equal(&a->digest, &b->digest) &&
	       (a->kind == NODE_DIRECTORY || a->executable == b->executable);
}

enum rc node_check_name(struct view name, struct err *err)
{
	if (name.len == 0)
		return err_set(err, RC_INVALID, "the name is empty");
	if (name.ptr[0] == '.' && (name.len == 1 || (name.len == 2 && name.ptr[1] == '.')))
		return err_set(err, RC_INVALID, "the name is '%.*s'", (int)name.len,
			       (const char *)name.ptr);
	if (name.len > NODE_NAME_MAX)
		return err_set(err, RC_INVALID, "the name has %zu bytes, more than %d", name.len,
			       NODE_NAME_MAX);
	if (memchr(name.ptr, '/', name.len))
		return err_set(err, RC_INVALID, "the name holds a '/'");
	if (memchr(name.ptr, '\0', name.len))
		return err_set(err, RC_INVALID, "the name holds a NUL");
	return RC_OK;
}

enum rc node_check_target(struct view target, struct err *err)
{
	if (target.len == 0)
		return err_set(err, RC_INVALID, "the target is empty");
	if (target.len > NODE_TARGET_MAX)
		return err_set(err, RC_INVALID, "the target has %zu bytes, more than %d",
			       target.len, NODE_TARGET_MAX);
	if (memchr(target.ptr, '\0', target.len))
		return err_set(err, RC_INVALID, "the target holds a NUL");
	return RC_OK;
}

uint32_t node_body_field(enum node_kind kind)
{
	return kind == NODE_DIRECTORY ? NODE_FIELD_DIRECTORY
	       : kind == NODE_FILE    ? NODE_FIELD_FILE
				      : NODE_FIELD_SYMLINK;
}

bool node_body_kind(uint32_t field, enum node_kind *out)
{
	*out = field == NODE_FIELD_DIRECTORY ? NODE_DIRECTORY
	       : field == NODE_FIELD_FILE    ? NODE_FILE
					     : NODE_SYMLINK;
	return field >= NODE_FIELD_DIRECTORY && field <= NODE_FIELD_SYMLINK;
}

size_t node_body_least(enum node_kind kind)
{
	return wire_size_bytes(FIELD_NAME, 1) +
	       (kind == NODE_SYMLINK ? wire_size_bytes(FIELD_TARGET, 1)
				     : wire_size_bytes(FIELD_DIGEST, DIGEST_SIZE));
}

size_t node_body_size(const struct node *node)
{
	size_t size = wire_size_bytes(FIELD_NAME, node->name.len);

	if (node->kind == NODE_SYMLINK)
		return size + wire_size_bytes(FIELD_TARGET, node->target.len);
	size += wire_size_bytes(FIELD_DIGEST, DIGEST_SIZE);
	size += wire_size_u64(FIELD_SIZE, node->size);
	if (node->kind == NODE_FILE)
		size += wire_size_u64(FIELD_EXECUTABLE, node->executable);
	return size;
}

void node_body_append(const struct node *node, struct buf *out)
{
	wire_append_bytes(out, FIELD_NAME, node->name);
	if (node->kind == NODE_SYMLINK) {
		wire_append_bytes(out, FIELD_TARGET, node->target);
		return;
	}
	wire_append_bytes(out, FIELD_DIGEST, view_of(node->digest.bytes, DIGEST_SIZE));
	wire_append_u64(out, FIELD_SIZE, node->size);
	if (node->kind == NODE_FILE)
		wire_append_bool(out, FIELD_EXECUTABLE, node->executable);
}

static enum rc decode_digest(struct view bytes, struct node *out, struct err *err)
{
	if (bytes.len != DIGEST_SIZE)
		return err_set(err, RC_INVALID, "the digest has %zu bytes, not %d", bytes.len,
			       DIGEST_SIZE);
	memcpy(out->digest.bytes, bytes.ptr, DIGEST_SIZE);
	return RC_OK;
}

/* A field of that number and type belongs to the kind's message. */
static bool field_is_known(enum node_kind kind, const struct wire_field *field)
{
	switch (field->number) {
	case FIELD_NAME:
	case FIELD_DIGEST: /* and FIELD_TARGET */
		return field->type == WIRE_BYTES;
	case FIELD_SIZE:
		return kind != NODE_SYMLINK && field->type == WIRE_VARINT;
	case FIELD_EXECUTABLE:
		return kind == NODE_FILE && field->type == WIRE_VARINT;
	default:
		return false;
	}
}

static enum rc decode_field(enum node_kind kind, const struct wire_field *field, struct node *out,
			    struct err *err)
{
	switch (field->number) {
	case FIELD_NAME:
		out->name = field->bytes;
		return RC_OK;
	case FIELD_DIGEST:
		if (kind != NODE_SYMLINK)
			return decode_digest(field->bytes, out, err);
		out->target = field->bytes;
		return RC_OK;
	case FIELD_SIZE:
		out->size = field->value;
		return RC_OK;
	default:
		if (field->value != 1)
			return err_set(err, RC_INVALID, "field 4 (executable) is %ju, not 1",
				       (uintmax_t)field->value);
		out->executable = true;
		return RC_OK;
	}
}

enum rc node_body_decode(enum node_kind kind, struct view body, struct node *out, struct err *err)
{
	struct cursor message = cursor_of(body);
	struct wire_field field;
	uint32_t before = 0;
	bool has_digest = false;

	*out = (struct node){ .kind = kind };
	while (wire_next(&message, &field)) {
		enum rc rc;

		if (!field_is_known(kind, &field))
			return err_set(err, RC_INVALID, "it has an unknown field %u of type %d",
				       field.number, (int)field.type);
		if (!field.shortest || field.number <= before ||
		    (field.value == 0 && field.bytes.len == 0))
			return err_set(err, RC_INVALID, "its field %u is not canonically encoded",
				       field.number);
		before = field.number;
		has_digest |= field.number == FIELD_DIGEST;
		rc = decode_field(kind, &field, out, err);
		if (rc != RC_OK)
			return rc;
	}
	if (message.failed)
		return err_set(err, RC_INVALID, "its message is malformed at byte %zu", field.at);
	if (kind == NODE_SYMLINK)
		return node_check_target(out->target, err);
	if (!has_digest)
		return err_set(err, RC_INVALID, "it has no digest");
	return RC_OK;
}

void node_encode(const struct node *node, bool with_name, struct buf *out)
{
	struct node shown = *node;

	if (!with_name)
		shown.name = view_of(NULL, 0);
	wire_append_header(out, node_body_field(node->kind), node_body_size(&shown));
	node_body_append(&shown, out);
}

static enum rc decode_node(struct view message, struct node *out, struct err *err)
{
	struct cursor cursor = cursor_of(message);
	struct wire_field field;
	enum node_kind kind;
	enum rc rc;

	if (!wire_next(&cursor, &field))
		return err_set(err, RC_INVALID, "the node's message is %s",
			       cursor.failed ? "malformed" : "empty");
	if (!node_body_kind(field.number, &kind) || field.type != WIRE_BYTES)
		return err_set(err, RC_INVALID, "the node's message has an unknown field %u",
			       field.number);
	if (!field.shortest || cursor_left(&cursor) > 0)
		return err_set(err, RC_INVALID, "the node's message is not canonically encoded");
	rc = node_body_decode(kind, field.bytes, out, err);
	if (rc == RC_OK && out->name.len)
		rc = node_check_name(out->name, err);
	if (rc != RC_OK)
		return err_context(err, rc, "the %s node", kind_names[kind]);
	return RC_OK;
}

enum rc node_decode(struct view message, struct node *out, struct err *err)
{
	enum rc rc = decode_node(message, out, err);

	if (rc != RC_OK)
		*out = (struct node){ .kind = NODE_DIRECTORY };
	return rc;
}

void node_print(const struct node *node, struct buf *out)
{
	char hex[DIGEST_HEX_MAX];

	if (node->kind == NODE_SYMLINK) {
		buf_append_string(out, "symlink:");
		buf_append_view(out, node->target);
		return;
	}
	digest_hex(&node->digest, hex);
	buf_printf(out, "%s:%s:%" PRIu64 "%s", kind_names[node->kind], hex, node->size,
		   node->kind == NODE_FILE && node->executable ? ":x" : "");
}

/* Splits *text at its first colon: what stands before it, and *text becomes what stands after. */
static bool split_colon(struct view *text, struct view *before)
{
	const uint8_t *colon = text->len ? memchr(text->ptr, ':', text->len) : NULL;
	size_t len = colon ? (size_t)(colon - text->ptr) : 0;

	if (!colon)
		return false;
	*before = view_slice(*text, 0, len);
	*text = view_slice(*text, len + 1, text->len - len - 1);
	return true;
}

/* "<hex>:<number>", and for files perhaps ":x" */
static enum rc parse_digest_and_size(struct view rest, struct node *out, struct err *err)
{
	struct view digest, size, mode;

	if (!split_colon(&rest, &digest) || !digest_parse_hex(digest, &out->digest))
		return err_set(err, RC_INVALID,
			       "a %s node needs a digest of 64 hexadecimal digits and a size",
			       kind_names[out->kind]);
	if (split_colon(&rest, &size)) {
		mode = rest;
		if (out->kind != NODE_FILE || !view_equal_string(mode, "x"))
			return err_set(err, RC_INVALID, "a %s node ends after its size%s",
				       kind_names[out->kind],
				       out->kind == NODE_FILE ? ", or with ':x'" : "");
		out->executable = true;
	} else {
		size = rest;
	}
	if (!text_parse_u64(size, &out->size))
		return err_set(err, RC_INVALID, "the size of a %s node is not a number",
			       kind_names[out->kind]);
	return RC_OK;
}

static enum rc parse_node(struct view text, struct node *out, struct err *err)
{
	struct view rest = text;
	struct view kind;

	if (digest_parse_hex(text, &out->digest))
		return RC_OK;
	if (!split_colon(&rest, &kind))
		kind = view_of(NULL, 0);
	if (view_equal_string(kind, "symlink")) {
		out->kind = NODE_SYMLINK;
		out->target = rest;
		return node_check_target(rest, err);
	}
	if (view_equal_string(kind, "file"))
		out->kind = NODE_FILE;
	else if (!view_equal_string(kind, "directory"))
		return err_set(err, RC_INVALID,
			       "a node is written directory:<hex>:<size>, file:<hex>:<bytes>[:x], "
			       "symlink:<target>, or as the digest of a directory");
	return parse_digest_and_size(rest, out, err);
}

enum rc node_parse(struct view text, struct node *out, struct err *err)
{
	enum rc rc;

	*out = (struct node){ .kind = NODE_DIRECTORY };
	rc = parse_node(text, out, err);
	if (rc != RC_OK)
		*out = (struct node){ .kind = NODE_DIRECTORY };
	return rc;
}
