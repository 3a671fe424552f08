/*
 * The PathInfo message and its checks.
 *
 *	PathInfo   node = 1, references = 2 (repeated, 20 bytes), narinfo = 3
 *	NARInfo    nar_size = 1, nar_sha256 = 2, signatures = 3, reference_names = 4, deriver = 5,
 *ca = 6 Signature  name = 1, data = 2 StorePath  name = 1, digest = 2 CA         type = 1, digest =
 *2
 *
 * and, of castor alone, other_ca = 1000: a content address in text, of a kind that CA.type has no number for.
 * Other programs skip it.
 *
 * A decoder that follows protobuf to the letter merges a field that comes twice; nobody writes
 *that, and it is refused here.
 */
#include "nix/path_info.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/wire.h"

enum { OTHER_CA_FIELD = 1000 };

/* ---- The value ---- */

void path_info_release(struct path_info *info)
{
	node_release(&info->node);
	free(info->references);
	for (size_t i = 0; i < info->signature_count; i++)
		free(info->signatures[i].name);
	free(info->signatures);
	free(info->other_ca);
	memset(info, 0, sizeof(*info));
}

void path_info_copy(struct path_info *out, const struct path_info *in)
{
	*out = *in;
	node_copy(&out->node, &in->node);
	out->references = NULL;
	out->signatures = NULL;
	out->other_ca = in->other_ca ? mem_strdup(in->other_ca) : NULL;
	if (in->reference_count > 0)
		out->references =
			mem_dup(in->references, in->reference_count * sizeof(*in->references));
	if (in->signature_count > 0)
		out->signatures = mem_array(in->signature_count, sizeof(*in->signatures));
	for (size_t i = 0; i < in->signature_count; i++) {
		out->signatures[i] = in->signatures[i];
		out->signatures[i].name = mem_strdup(in->signatures[i].name);
	}
}

/* ---- Content addresses ---- */

/* One that castor understands is never kept as one that it does not. */
static enum rc check_other_ca(struct view text, struct err *err)
{
	struct ca known;

	if (text.len > OTHER_CA_MAX)
		return err_set(err, RC_INVALID, "a content address of %zu bytes, more than %d",
			       text.len, OTHER_CA_MAX);
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f)
			return err_set(err, RC_INVALID, "a content address with byte 0x%02x",
				       text.ptr[i]);
	}
	if (ca_parse(text, &known, err) == RC_UNSUPPORTED)
		return RC_OK;
	return err_set(err, RC_INVALID, "no content address of another kind");
}

enum rc path_info_parse_ca(struct path_info *info, struct view text, struct err *err)
{
	enum rc rc;

	if (text.len == 0)
		return RC_OK;
	rc = ca_parse(text, &info->ca, err);
	info->has_ca = rc == RC_OK;
	if (rc != RC_UNSUPPORTED)
		return rc;
	rc = check_other_ca(text, err);
	if (rc == RC_OK)
		info->other_ca = mem_strndup(text);
	return rc;
}

bool path_info_print_ca(const struct path_info *info, struct buf *out)
{
	if (info->has_ca)
		ca_print(&info->ca, out);
	else if (info->other_ca)
		buf_append_string(out, info->other_ca);
	return info->has_ca || info->other_ca;
}

/* ---- Checks ---- */

static enum rc check_counts(size_t references, size_t signatures, struct err *err)
{
	if (references > PATH_INFO_REFERENCES_MAX)
		return err_set(err, RC_INVALID, "a path info with %zu references, more than %d",
			       references, PATH_INFO_REFERENCES_MAX);
	if (signatures > PATH_INFO_SIGNATURES_MAX)
		return err_set(err, RC_INVALID, "a path info with %zu signatures, more than %d",
			       signatures, PATH_INFO_SIGNATURES_MAX);
	return RC_OK;
}

static enum rc check_path(const struct store_path *path, const char *what, struct err *err)
{
	size_t len = strnlen(path->name, sizeof(path->name));
	enum rc rc = store_path_check_name(view_of(path->name, len), err);

	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", what);
}

static enum rc check_node(const struct path_info *info, struct err *err)
{
	char basename[STORE_PATH_BASENAME_MAX + 1];

	store_path_basename(&info->path, basename);
	if (!view_equal_string(info->node.name, basename))
		return err_set(err, RC_INVALID, "the root node of %s has another name", basename);
	switch (info->node.kind) {
	case NODE_DIRECTORY:
	case NODE_FILE:
		return RC_OK;
	case NODE_SYMLINK:
		return node_check_target(info->node.target, err);
	}
	return err_set(err, RC_INVALID, "the root node of %s is of no known kind", basename);
}

enum rc path_info_check(const struct path_info *info, struct err *err)
{
	enum rc rc = check_counts(info->reference_count, info->signature_count, err);

	if (rc == RC_OK)
		rc = check_path(&info->path, "path", err);
	if (rc == RC_OK)
		rc = check_node(info, err);
	for (size_t i = 0; rc == RC_OK && i < info->reference_count; i++)
		rc = check_path(&info->references[i], "references", err);
	for (size_t i = 0; rc == RC_OK && i < info->signature_count; i++)
		rc = signature_check_name(view_of_string(info->signatures[i].name), err);
	if (rc == RC_OK && info->has_deriver)
		rc = check_path(&info->deriver, "deriver", err);
	if (rc == RC_OK && info->has_ca && (unsigned)info->ca.kind >= CA_KIND_COUNT_)
		rc = err_set(err, RC_INVALID, "a content address of kind %u, which is unknown",
			     (unsigned)info->ca.kind);
	if (rc == RC_OK && info->other_ca)
		rc = info->has_ca ? err_set(err, RC_INVALID, "two content addresses")
				  : check_other_ca(view_of_string(info->other_ca), err);
	return rc;
}

bool path_info_refers_to_itself(const struct path_info *info)
{
	for (size_t i = 0; i < info->reference_count; i++) {
		if (store_path_equal(&info->references[i], &info->path))
			return true;
	}
	return false;
}

enum rc path_info_check_ca(const struct path_info *info, struct err *err)
{
	AUTO_FREE struct store_path *others = NULL;
	struct store_path path;
	size_t count = 0;
	enum rc rc;

	if (!info->has_ca)
		return RC_OK;
	others = mem_array(info->reference_count + 1, sizeof(*others));
	for (size_t i = 0; i < info->reference_count; i++) {
		if (!store_path_equal(&info->references[i], &info->path))
			others[count++] = info->references[i];
	}
	rc = store_path_from_ca(&info->ca, view_of_string(info->path.name), others, count,
				count < info->reference_count, &path, err);
	if (rc == RC_OK && !store_path_equal(&path, &info->path))
		rc = err_set(err, RC_INVALID, "the content address of %s leads to another path",
			     info->path.name);
	if (rc == RC_OK && info->ca.kind == CA_NAR_SHA256 && count == info->reference_count &&
	    memcmp(info->ca.digest, info->nar_sha256.bytes, sizeof(info->nar_sha256.bytes)) != 0)
		rc = err_set(err, RC_INVALID, "the content address of %s is not its NAR's hash",
			     info->path.name);
	return rc;
}

void path_info_fingerprint(const struct path_info *info, struct buf *out)
{
	fingerprint(&info->path, &info->nar_sha256, info->nar_size, info->references,
		    info->reference_count, out);
}

/* ---- Merging ---- */

static bool has_signature(const struct path_info *info, const struct signature *signature)
{
	for (size_t i = 0; i < info->signature_count; i++) {
		if (strcmp(info->signatures[i].name, signature->name) == 0 &&
		    memcmp(info->signatures[i].data, signature->data, SIGNATURE_SIZE) == 0)
			return true;
	}
	return false;
}

bool path_info_add_signature(struct path_info *info, struct signature *signature)
{
	if (info->signature_count >= PATH_INFO_SIGNATURES_MAX || has_signature(info, signature)) {
		signature_release(signature);
		return false;
	}
	info->signatures = mem_realloc_array(info->signatures, info->signature_count + 1,
					     sizeof(*info->signatures));
	info->signatures[info->signature_count++] = *signature;
	return true;
}

enum rc path_info_merge(struct path_info *info, const struct path_info *said, bool *changed,
			struct err *err)
{
	CLEANUP(buf_release) struct buf known = BUF_INIT, other = BUF_INIT;

	*changed = false;
	path_info_fingerprint(info, &known);
	path_info_fingerprint(said, &other);
	if (!view_equal(buf_view(&known), buf_view(&other)))
		return err_set(err, RC_EXISTS,
			       "%s is here already, with another content, name or references",
			       info->path.name);
	for (size_t i = 0; i < said->signature_count; i++) {
		struct signature copy = said->signatures[i];

		copy.name = mem_strdup(copy.name);
		*changed |= path_info_add_signature(info, &copy);
	}
	return RC_OK;
}

/* ---- Encoding ---- */

static void append_element_buf(struct buf *out, uint32_t number, const struct buf *element)
{
	wire_append_element(out, number, buf_view(element));
}

static void encode_nar_info(const struct path_info *info, struct buf *out)
{
	CLEANUP(buf_release) struct buf element = BUF_INIT;
	char basename[STORE_PATH_BASENAME_MAX + 1];

	wire_append_u64(out, 1, info->nar_size);
	wire_append_bytes(out, 2, view_of(info->nar_sha256.bytes, sizeof(info->nar_sha256.bytes)));
	for (size_t i = 0; i < info->signature_count; i++) {
		buf_clear(&element);
		wire_append_bytes(&element, 1, view_of_string(info->signatures[i].name));
		wire_append_bytes(&element, 2, view_of(info->signatures[i].data, SIGNATURE_SIZE));
		append_element_buf(out, 3, &element);
	}
	for (size_t i = 0; i < info->reference_count; i++) {
		store_path_basename(&info->references[i], basename);
		wire_append_element(out, 4, view_of_string(basename));
	}
	if (info->has_deriver) {
		buf_clear(&element);
		wire_append_bytes(&element, 1, view_of_string(info->deriver.name));
		wire_append_bytes(&element, 2, view_of(info->deriver.hash, STORE_PATH_HASH_SIZE));
		append_element_buf(out, 5, &element);
	}
	if (info->has_ca) {
		buf_clear(&element);
		wire_append_u64(&element, 1, info->ca.kind);
		wire_append_bytes(&element, 2,
				  view_of(info->ca.digest, ca_digest_size(info->ca.kind)));
		append_element_buf(out, 6, &element);
	}
	if (info->other_ca)
		wire_append_bytes(out, OTHER_CA_FIELD, view_of_string(info->other_ca));
}

void path_info_encode(const struct path_info *info, struct buf *out)
{
	CLEANUP(buf_release) struct buf element = BUF_INIT;

	node_encode(&info->node, true, &element);
	append_element_buf(out, 1, &element);
	for (size_t i = 0; i < info->reference_count; i++)
		wire_append_element(out, 2,
				    view_of(info->references[i].hash, STORE_PATH_HASH_SIZE));
	buf_clear(&element);
	encode_nar_info(info, &element);
	append_element_buf(out, 3, &element);
}

/* ---- Decoding ---- */

/* One field that may come once, and what a message says of it. */
struct once {
	bool seen;
	struct view bytes;
	uint64_t value;
};

static enum rc want_type(const struct wire_field *field, enum wire_type type, const char *name,
			 struct err *err)
{
	if (field->type != type)
		return err_set(err, RC_INVALID, "%s is of another wire type (%d)", name,
			       (int)field->type);
	return RC_OK;
}

static enum rc take_once(const struct wire_field *field, enum wire_type type, const char *name,
			 struct once *out, struct err *err)
{
	if (out->seen)
		return err_set(err, RC_INVALID, "%s comes twice", name);
	out->seen = true;
	out->bytes = field->bytes;
	out->value = field->value;
	return want_type(field, type, name, err);
}

static enum rc want_size(struct view bytes, size_t size, const char *name, struct err *err)
{
	if (bytes.len != size)
		return err_set(err, RC_INVALID, "%s has %zu bytes instead of %zu", name, bytes.len,
			       size);
	return RC_OK;
}

static enum rc want_end(const struct cursor *message, const char *name, struct err *err)
{
	if (message->failed)
		return err_set(err, RC_INVALID, "%s is malformed at byte %zu", name, message->at);
	return RC_OK;
}

static enum rc decode_signature(struct view bytes, struct signature *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct once name = { 0 }, data = { 0 };
	struct wire_field field;
	enum rc rc = RC_OK;

	while (rc == RC_OK && wire_next(&message, &field)) {
		if (field.number == 1)
			rc = take_once(&field, WIRE_BYTES, "Signature.name", &name, err);
		else if (field.number == 2)
			rc = take_once(&field, WIRE_BYTES, "Signature.data", &data, err);
	}
	if (rc == RC_OK)
		rc = want_end(&message, "Signature", err);
	if (rc == RC_OK)
		rc = signature_check_name(name.bytes, err);
	if (rc == RC_OK)
		rc = want_size(data.bytes, SIGNATURE_SIZE, "Signature.data", err);
	if (rc != RC_OK)
		return rc;
	out->name = mem_strndup(name.bytes);
	memcpy(out->data, data.bytes.ptr, SIGNATURE_SIZE);
	return RC_OK;
}

static enum rc decode_deriver(struct view bytes, struct store_path *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct once name = { 0 }, digest = { 0 };
	struct wire_field field;
	enum rc rc = RC_OK;

	while (rc == RC_OK && wire_next(&message, &field)) {
		if (field.number == 1)
			rc = take_once(&field, WIRE_BYTES, "StorePath.name", &name, err);
		else if (field.number == 2)
			rc = take_once(&field, WIRE_BYTES, "StorePath.digest", &digest, err);
	}
	if (rc == RC_OK)
		rc = want_end(&message, "StorePath", err);
	if (rc == RC_OK)
		rc = want_size(digest.bytes, STORE_PATH_HASH_SIZE, "StorePath.digest", err);
	if (rc == RC_OK)
		rc = store_path_check_name(name.bytes, err);
	if (rc != RC_OK)
		return rc;
	memcpy(out->hash, digest.bytes.ptr, STORE_PATH_HASH_SIZE);
	memcpy(out->name, name.bytes.ptr, name.bytes.len);
	store_path_drop_drv(out); /* some programs keep the ending, some do not */
	return RC_OK;
}

static enum rc decode_ca(struct view bytes, struct ca *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct once type = { 0 }, digest = { 0 };
	struct wire_field field;
	enum rc rc = RC_OK;

	while (rc == RC_OK && wire_next(&message, &field)) {
		if (field.number == 1)
			rc = take_once(&field, WIRE_VARINT, "CA.type", &type, err);
		else if (field.number == 2)
			rc = take_once(&field, WIRE_BYTES, "CA.digest", &digest, err);
	}
	if (rc == RC_OK)
		rc = want_end(&message, "CA", err);
	if (rc == RC_OK && type.value >= CA_KIND_COUNT_)
		rc = err_set(err, RC_INVALID, "CA.type is %llu, which is unknown",
			     (unsigned long long)type.value);
	if (rc != RC_OK)
		return rc;
	out->kind = (enum ca_kind)type.value;
	rc = want_size(digest.bytes, ca_digest_size(out->kind), "CA.digest", err);
	if (rc == RC_OK)
		memcpy(out->digest, digest.bytes.ptr, digest.bytes.len);
	return rc;
}

/* A reference's name must go with the hash that PathInfo.references has at the same place. */
static enum rc decode_reference_name(struct view bytes, struct store_path *reference,
				     struct err *err)
{
	struct store_path path;
	enum rc rc = store_path_parse_basename(bytes, &path, err);

	if (rc != RC_OK)
		return rc;
	if (memcmp(path.hash, reference->hash, STORE_PATH_HASH_SIZE) != 0)
		return err_set(err, RC_INVALID, "%s is not the reference at the same place",
			       path.name);
	*reference = path;
	return RC_OK;
}

/* The repeated fields, in the room that was made for them. */
static enum rc decode_nar_info_elements(struct view bytes, struct path_info *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct wire_field field;
	size_t names = 0;

	while (wire_next(&message, &field)) {
		enum rc rc = RC_OK;

		if (field.number == 3) {
			rc = decode_signature(field.bytes, &out->signatures[out->signature_count],
					      err);
			if (rc != RC_OK)
				return err_context(err, rc, "NARInfo.signatures[%zu]",
						   out->signature_count);
			out->signature_count++;
		} else if (field.number == 4) {
			rc = decode_reference_name(field.bytes, &out->references[names], err);
			if (rc != RC_OK)
				return err_context(err, rc, "NARInfo.reference_names[%zu]", names);
			names++;
		}
	}
	return RC_OK;
}

static enum rc decode_nar_info(struct view bytes, struct path_info *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct once size = { 0 }, sha256 = { 0 }, deriver = { 0 }, ca = { 0 }, other_ca = { 0 };
	struct wire_field field;
	size_t names = 0, signatures = 0;
	enum rc rc = RC_OK;

	while (rc == RC_OK && wire_next(&message, &field)) {
		switch (field.number) {
		case 1:
			rc = take_once(&field, WIRE_VARINT, "NARInfo.nar_size", &size, err);
			break;
		case 2:
			rc = take_once(&field, WIRE_BYTES, "NARInfo.nar_sha256", &sha256, err);
			break;
		case 3:
			signatures++;
			rc = want_type(&field, WIRE_BYTES, "NARInfo.signatures", err);
			break;
		case 4:
			names++;
			rc = want_type(&field, WIRE_BYTES, "NARInfo.reference_names", err);
			break;
		case 5:
			rc = take_once(&field, WIRE_BYTES, "NARInfo.deriver", &deriver, err);
			break;
		case 6:
			rc = take_once(&field, WIRE_BYTES, "NARInfo.ca", &ca, err);
			break;
		case OTHER_CA_FIELD:
			rc = take_once(&field, WIRE_BYTES, "NARInfo.other_ca", &other_ca, err);
			break;
		}
	}
	if (rc == RC_OK)
		rc = want_end(&message, "NARInfo", err);
	if (rc == RC_OK)
		rc = want_size(sha256.bytes, sizeof(out->nar_sha256.bytes), "NARInfo.nar_sha256",
			       err);
	if (rc == RC_OK && names != out->reference_count)
		rc = err_set(err, RC_INVALID, "%zu references, but %zu names of references",
			     out->reference_count, names);
	if (rc == RC_OK)
		rc = check_counts(names, signatures, err);
	if (rc != RC_OK)
		return rc;

	out->nar_size = size.value;
	memcpy(out->nar_sha256.bytes, sha256.bytes.ptr, sha256.bytes.len);
	if (signatures > 0)
		out->signatures = mem_array(signatures, sizeof(*out->signatures));
	rc = decode_nar_info_elements(bytes, out, err);
	out->has_deriver = deriver.seen;
	if (rc == RC_OK && deriver.seen)
		rc = decode_deriver(deriver.bytes, &out->deriver, err);
	out->has_ca = ca.seen;
	if (rc == RC_OK && ca.seen)
		rc = decode_ca(ca.bytes, &out->ca, err);
	if (rc == RC_OK && other_ca.seen)
		rc = ca.seen ? err_set(err, RC_INVALID, "NARInfo has two content addresses")
			     : check_other_ca(other_ca.bytes, err);
	if (rc == RC_OK && other_ca.seen)
		out->other_ca = mem_strndup(other_ca.bytes);
	return rc;
}

static enum rc decode_node(struct view bytes, struct path_info *out, struct err *err)
{
	struct node node;
	enum rc rc = node_decode(bytes, &node, err);

	if (rc == RC_OK)
		rc = store_path_parse_basename(node.name, &out->path, err);
	if (rc != RC_OK)
		return err_context(err, rc, "PathInfo.node");
	node_copy(&out->node, &node);
	return RC_OK;
}

static enum rc decode_references(struct view bytes, size_t count, struct path_info *out,
				 struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct wire_field field;

	if (count == 0)
		return RC_OK;
	out->references = mem_try_alloc(count * sizeof(*out->references));
	if (!out->references)
		return err_set(err, RC_NO_MEMORY, "no memory for %zu references", count);
	memset(out->references, 0, count * sizeof(*out->references));
	while (wire_next(&message, &field)) {
		enum rc rc;

		if (field.number != 2)
			continue;
		rc = want_size(field.bytes, STORE_PATH_HASH_SIZE, "PathInfo.references", err);
		if (rc != RC_OK)
			return rc;
		memcpy(out->references[out->reference_count++].hash, field.bytes.ptr,
		       STORE_PATH_HASH_SIZE);
	}
	return RC_OK;
}

enum rc path_info_decode(struct view bytes, struct path_info *out, struct err *err)
{
	struct cursor message = cursor_of(bytes);
	struct once node = { 0 }, nar_info = { 0 };
	struct wire_field field;
	size_t references = 0;
	enum rc rc = RC_OK;

	memset(out, 0, sizeof(*out));
	while (rc == RC_OK && wire_next(&message, &field)) {
		if (field.number == 1) {
			rc = take_once(&field, WIRE_BYTES, "PathInfo.node", &node, err);
		} else if (field.number == 2) {
			references++;
			rc = want_type(&field, WIRE_BYTES, "PathInfo.references", err);
		} else if (field.number == 3) {
			rc = take_once(&field, WIRE_BYTES, "PathInfo.narinfo", &nar_info, err);
		}
	}
	if (rc == RC_OK)
		rc = want_end(&message, "PathInfo", err);
	if (rc == RC_OK && !node.seen)
		rc = err_set(err, RC_INVALID, "PathInfo.node is missing");
	if (rc == RC_OK && !nar_info.seen)
		rc = err_set(err, RC_INVALID, "PathInfo.narinfo is missing");
	if (rc == RC_OK)
		rc = check_counts(references, 0, err);
	if (rc == RC_OK)
		rc = decode_node(node.bytes, out, err);
	if (rc == RC_OK)
		rc = decode_references(bytes, references, out, err);
	if (rc == RC_OK)
		rc = decode_nar_info(nar_info.bytes, out, err);
	if (rc != RC_OK)
		path_info_release(out);
	return rc;
}
