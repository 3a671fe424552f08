#include "cli/closure_file.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "nix/nixbase32.h"

enum { CLOSURE_FILE_MAX = 256 << 20, STEP = 1 << 16 };

struct reading {
	const char *name;
	bool whole;
	struct closure_file *out;
};

/* ---- Text ---- */

static enum rc read_stdin(struct buf *text, struct err *err)
{
	size_t got = STEP;
	enum rc rc = RC_OK;

	while (rc == RC_OK && got > 0) {
		if (text->len > CLOSURE_FILE_MAX)
			return err_set(err, RC_TOO_LARGE,
				       "standard input is larger than a closure can be");
		buf_reserve(text, STEP);
		rc = file_read_full(STDIN_FILENO, text->ptr + text->len, STEP, &got,
				    "standard input", err);
		text->len += got;
	}
	return rc;
}

static enum rc read_json(const char *name, json_t **out, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	json_error_t error;
	enum rc rc = strcmp(name, "-") == 0
			     ? read_stdin(&text, err)
			     : file_read_path(AT_FDCWD, name, CLOSURE_FILE_MAX, &text, err);

	if (rc != RC_OK)
		return rc;
	*out = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!*out)
		return err_set(err, RC_INVALID, "%s: line %d: %s", name, error.line, error.text);
	return RC_OK;
}

/* ---- One path ----
 *
 * Of nix before 2.33, and its JSON format 1: paths whole, a content address and signatures as text. Of format 2:
 * base names, {"method", "hash"} and {"keyName", "sig"}.
 */

static struct view text_of(json_t *value)
{
	return view_of(json_string_value(value), json_string_length(value));
}

static enum rc parse_path(struct view text, struct store_path *out, struct err *err)
{
	return text.len > 0 && text.ptr[0] == '/' ? store_path_parse(text, out, err)
						  : store_path_parse_basename(text, out, err);
}

static enum rc wrong(const char *key, const char *what, struct err *err)
{
	return err_set(err, RC_INVALID, "%s: %s", key, what);
}

static int compare_paths(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

static enum rc read_references(json_t *list, struct path_info *info, struct err *err)
{
	json_t *value;
	size_t i, kept = 0;

	if (!json_is_array(list))
		return wrong("references", "not there, or no list", err);
	if (json_array_size(list) > PATH_INFO_REFERENCES_MAX)
		return wrong("references", "too many", err);
	info->references = mem_array(json_array_size(list) + 1, sizeof(*info->references));
	json_array_foreach(list, i, value)
	{
		enum rc rc = parse_path(text_of(value), &info->references[i], err);

		if (rc != RC_OK)
			return err_context(err, rc, "references");
	}
	qsort(info->references, json_array_size(list), sizeof(*info->references), compare_paths);
	for (i = 0; i < json_array_size(list); i++)
		if (kept == 0 ||
		    !store_path_equal(&info->references[kept - 1], &info->references[i]))
			info->references[kept++] = info->references[i];
	info->reference_count = kept;
	return RC_OK;
}

/* "" where there is none. */
static const char *string_in(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static enum rc read_signatures(json_t *list, struct path_info *info, struct err *err)
{
	json_t *value;
	size_t i;

	if (!list || json_is_null(list))
		return RC_OK;
	if (!json_is_array(list) || json_array_size(list) > PATH_INFO_SIGNATURES_MAX)
		return wrong("signatures", "no list, or too long", err);
	info->signatures = mem_array(json_array_size(list) + 1, sizeof(*info->signatures));
	json_array_foreach(list, i, value)
	{
		char *both AUTO_FREE =
			mem_printf("%s:%s", string_in(value, "keyName"), string_in(value, "sig"));
		enum rc rc = signature_parse(json_is_object(value) ? view_of_string(both)
								   : text_of(value),
					     &info->signatures[i], err);

		if (rc != RC_OK)
			return err_context(err, rc, "signatures");
		info->signature_count++;
	}
	return RC_OK;
}

static enum rc read_deriver(json_t *value, struct path_info *info, struct err *err)
{
	enum rc rc;

	if (!json_is_string(value))
		return RC_OK;
	rc = parse_path(text_of(value), &info->deriver, err);
	if (rc != RC_OK)
		return err_context(err, rc, "deriver");
	store_path_drop_drv(&info->deriver);
	info->has_deriver = true;
	return RC_OK;
}

/* {"method": "nar", "hash": "sha256-…"} as "fixed:r:sha256:…". */
static enum rc print_ca(json_t *object, struct buf *out, struct err *err)
{
	static const struct {
		const char *method, *prefix;
	} methods[] = { { "nar", "fixed:r:" },
			{ "flat", "fixed:" },
			{ "text", "text:" },
			{ "git", "fixed:git:" } };
	const char *method = string_in(object, "method"), *hash = string_in(object, "hash");
	const char *dash = strchr(hash, '-');
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	char text[NIXBASE32_LEN(64) + 1];

	if (!dash || !base64_decode(BASE64_STANDARD, view_of_string(dash + 1), &bytes) ||
	    bytes.len == 0 || bytes.len > 64)
		return wrong("ca", "its hash is none", err);
	nixbase32_encode(bytes.ptr, bytes.len, text);
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		if (strcmp(methods[i].method, method) != 0)
			continue;
		buf_printf(out, "%s%.*s:%s", methods[i].prefix, (int)(dash - hash), hash, text);
		return RC_OK;
	}
	return wrong("ca", "of no method that is known", err);
}

static enum rc read_ca(json_t *value, struct path_info *info, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = RC_OK;

	if (json_is_object(value))
		rc = print_ca(value, &text, err);
	else if (json_is_string(value))
		buf_append_view(&text, text_of(value));
	if (rc != RC_OK || text.len == 0)
		return rc;
	rc = path_info_parse_ca(info, buf_view(&text), err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "ca");
}

static enum rc read_content(json_t *object, struct path_info *info, struct err *err)
{
	json_t *size = json_object_get(object, "narSize");
	json_t *hash = json_object_get(object, "narHash");
	enum rc rc;

	if (!json_is_string(hash))
		return wrong("narHash", "not there, or no text", err);
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return wrong("narSize", "not there, or no size", err);
	info->nar_size = (uint64_t)json_integer_value(size);
	rc = nar_hash_parse(text_of(hash), &info->nar_sha256, err);
	if (rc != RC_OK)
		return err_context(err, rc, "narHash");
	rc = read_references(json_object_get(object, "references"), info, err);
	if (rc == RC_OK)
		rc = read_deriver(json_object_get(object, "deriver"), info, err);
	if (rc == RC_OK)
		rc = read_signatures(json_object_get(object, "signatures"), info, err);
	return rc == RC_OK ? read_ca(json_object_get(object, "ca"), info, err) : rc;
}

static enum rc add_path(struct reading *reading, struct view path, json_t *object, struct err *err)
{
	struct closure_file *out = reading->out;
	struct path_info info = { .nar_size = 0 };
	enum rc rc = parse_path(path, &info.path, err);

	if (rc == RC_OK && reading->whole)
		rc = read_content(object, &info, err);
	if (rc != RC_OK) {
		path_info_release(&info);
		return err_context(err, rc, "%s: %.*s", reading->name, (int)path.len,
				   (const char *)path.ptr);
	}
	out->infos = mem_grow(out->infos, out->count, &out->room, 64, sizeof(*out->infos));
	out->infos[out->count++] = info;
	return RC_OK;
}

/* ---- All ---- */

static enum rc add_listed(struct reading *reading, json_t *root, struct err *err)
{
	json_t *closure = json_object_get(root, "closure");
	json_t *version = json_object_get(root, "version");
	const char *key;
	json_t *value;
	size_t i;
	enum rc rc = RC_OK;

	if (!closure && json_is_integer(version)) {
		closure = json_object_get(root, "info");
		if (json_integer_value(version) != 2 || !json_is_object(closure))
			return err_set(err, RC_UNSUPPORTED,
				       "%s: castor knows JSON of formats 1 and 2", reading->name);
		if (strcmp(string_in(root, "storeDir"), STORE_DIR) != 0)
			return err_set(err, RC_INVALID, "%s: of another store than " STORE_DIR,
				       reading->name);
	}
	if (!closure)
		closure = root;
	if (json_is_object(closure)) {
		json_object_foreach(closure, key, value)
		{
			if (rc == RC_OK)
				rc = add_path(reading, view_of_string(key), value, err);
		}
		return rc;
	}
	if (!json_is_array(closure))
		return err_set(err, RC_INVALID, "%s: no \"closure\" in it", reading->name);
	json_array_foreach(closure, i, value)
	{
		json_t *path = json_object_get(value, "path");

		if (!json_is_string(path))
			return err_set(err, RC_INVALID,
				       "%s: element %zu of the closure has no path", reading->name,
				       i);
		rc = add_path(reading, text_of(path), value, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

enum rc closure_file_read(const char *name, bool whole, struct closure_file *out, struct err *err)
{
	struct reading reading = { .name = name, .whole = whole, .out = out };
	json_t *root;
	enum rc rc = read_json(name, &root, err);

	if (rc != RC_OK)
		return rc;
	rc = add_listed(&reading, root, err);
	json_decref(root);
	return rc;
}

void closure_file_release(struct closure_file *file)
{
	for (size_t i = 0; i < file->count; i++)
		path_info_release(&file->infos[i]);
	free(file->infos);
	*file = (struct closure_file){ 0 };
}
