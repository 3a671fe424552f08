/* The text of narinfo files: lines of "Key: value". */
#include "nix/narinfo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "nix/signature.h"

enum { TOKEN_MAX = 64 }; /* of Compression and System */

enum field {
	FIELD_STORE_PATH,
	FIELD_URL,
	FIELD_COMPRESSION,
	FIELD_FILE_HASH,
	FIELD_FILE_SIZE,
	FIELD_NAR_HASH,
	FIELD_NAR_SIZE,
	FIELD_REFERENCES,
	FIELD_DERIVER,
	FIELD_SYSTEM,
	FIELD_CA,
	FIELD_SIG, /* the only one that may be repeated */
	FIELD_COUNT_,
};

static const char *const field_names[FIELD_COUNT_] = {
	[FIELD_STORE_PATH] = "StorePath",
	[FIELD_URL] = "URL",
	[FIELD_COMPRESSION] = "Compression",
	[FIELD_FILE_HASH] = "FileHash",
	[FIELD_FILE_SIZE] = "FileSize",
	[FIELD_NAR_HASH] = "NarHash",
	[FIELD_NAR_SIZE] = "NarSize",
	[FIELD_REFERENCES] = "References",
	[FIELD_DERIVER] = "Deriver",
	[FIELD_SYSTEM] = "System",
	[FIELD_CA] = "CA",
	[FIELD_SIG] = "Sig",
};

void narinfo_release(struct narinfo *narinfo)
{
	path_info_release(&narinfo->info);
	free(narinfo->url);
	free(narinfo->compression);
	free(narinfo->system);
	memset(narinfo, 0, sizeof(*narinfo));
}

/* ---- Values ---- */

/* Printable ASCII without blanks, 1 to max of them. */
static enum rc parse_token(struct view value, size_t max, char **out, struct err *err)
{
	if (value.len == 0)
		return err_set(err, RC_INVALID, "it is empty");
	if (value.len > max)
		return err_set(err, RC_INVALID, "it has %zu bytes, more than %zu", value.len, max);
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] <= ' ' || value.ptr[i] >= 0x7f)
			return err_set(err, RC_INVALID, "it has byte 0x%02x", value.ptr[i]);
	}
	*out = mem_strndup(value);
	return RC_OK;
}

static enum rc parse_size(struct view value, uint64_t *out, struct err *err)
{
	return text_parse_u64(value, out) ? RC_OK : err_set(err, RC_INVALID, "it is no number");
}

static enum rc parse_store_path(struct view value, struct store_path *out, struct err *err)
{
	static const char dir[] = STORE_DIR "/";

	if (value.len < sizeof(dir) - 1 || memcmp(value.ptr, dir, sizeof(dir) - 1) != 0)
		return err_set(err, RC_INVALID, "it is not in " STORE_DIR);
	return store_path_parse(value, out, err);
}

static int compare_paths(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

/* Takes what stands before the next blank, and all blanks after it. */
static struct view take_word(struct view *text)
{
	struct view word = *text;
	size_t len = 0;

	while (len < text->len && text->ptr[len] != ' ')
		len++;
	word.len = len;
	while (len < text->len && text->ptr[len] == ' ')
		len++;
	*text = view_slice(*text, len, text->len - len);
	return word;
}

static enum rc parse_references(struct view value, struct path_info *info, struct err *err)
{
	size_t cap = 0, unique = 0;

	while (value.len > 0) {
		struct view word = take_word(&value);
		enum rc rc;

		if (word.len == 0) /* blanks at the start */
			continue;
		if (info->reference_count == PATH_INFO_REFERENCES_MAX)
			return err_set(err, RC_INVALID, "more than %d of them",
				       PATH_INFO_REFERENCES_MAX);
		info->references = mem_grow(info->references, info->reference_count, &cap, 16,
					    sizeof(*info->references));
		rc = store_path_parse_basename(word, &info->references[info->reference_count], err);
		if (rc != RC_OK)
			return rc;
		info->reference_count++;
	}
	if (info->reference_count == 0)
		return RC_OK;
	qsort(info->references, info->reference_count, sizeof(*info->references), compare_paths);
	for (size_t i = 1; i < info->reference_count; i++) {
		if (!store_path_equal(&info->references[i], &info->references[unique]))
			info->references[++unique] = info->references[i];
	}
	info->reference_count = unique + 1;
	return RC_OK;
}

static enum rc parse_deriver(struct view value, struct path_info *info, struct err *err)
{
	enum rc rc;

	if (value.len == 0 || view_equal_string(value, "unknown-deriver"))
		return RC_OK;
	rc = store_path_parse(value, &info->deriver, err);
	if (rc == RC_OK)
		store_path_drop_drv(&info->deriver);
	info->has_deriver = rc == RC_OK;
	return rc;
}

/* One that is none, or of a kind yet to come, vouches for nothing and spoils nothing; nor does one too
 * many. */
static void parse_signature(struct view value, struct path_info *info)
{
	struct signature signature;

	if (info->signature_count == PATH_INFO_SIGNATURES_MAX ||
	    signature_parse(value, &signature, NULL) != RC_OK)
		return;
	info->signatures = mem_realloc_array(info->signatures, info->signature_count + 1,
					     sizeof(*info->signatures));
	info->signatures[info->signature_count++] = signature;
}

/* Of the file as it lies in the cache. One of another kind than SHA-256 is not kept: the NAR's own is
 * what counts. */
static enum rc parse_file_hash(struct view value, struct narinfo *out, struct err *err)
{
	enum rc rc = nar_hash_parse(value, &out->file_sha256, err);

	out->has_file_hash = rc == RC_OK;
	return other_hash_is_valid(value) ? RC_OK : rc;
}

/* What only says something of itself: kept if it is printable. */
static void parse_remark(struct view value, char **out)
{
	if (parse_token(value, TOKEN_MAX, out, NULL) != RC_OK)
		*out = NULL;
}

static enum rc parse_value(enum field field, struct view value, struct narinfo *out,
			   struct err *err)
{
	struct path_info *info = &out->info;
	enum rc rc;

	switch (field) {
	case FIELD_STORE_PATH:
		return parse_store_path(value, &info->path, err);
	case FIELD_URL:
		return parse_token(value, NARINFO_URL_MAX, &out->url, err);
	case FIELD_COMPRESSION:
		parse_remark(value, &out->compression);
		return RC_OK;
	case FIELD_FILE_HASH:
		return parse_file_hash(value, out, err);
	case FIELD_FILE_SIZE:
		rc = parse_size(value, &out->file_size, err);
		out->has_file_size = rc == RC_OK;
		return rc;
	case FIELD_NAR_HASH:
		return nar_hash_parse(value, &info->nar_sha256, err);
	case FIELD_NAR_SIZE:
		rc = parse_size(value, &info->nar_size, err);
		if (rc == RC_OK && info->nar_size == 0)
			rc = err_set(err, RC_INVALID, "no NAR is empty");
		return rc;
	case FIELD_REFERENCES:
		return parse_references(value, info, err);
	case FIELD_DERIVER:
		return parse_deriver(value, info, err);
	case FIELD_SYSTEM:
		parse_remark(value, &out->system);
		return RC_OK;
	case FIELD_CA:
		return path_info_parse_ca(info, value, err);
	case FIELD_SIG:
		parse_signature(value, info);
		return RC_OK;
	case FIELD_COUNT_:
		break;
	}
	return RC_OK;
}

/* ---- Lines ---- */

static enum field field_of(struct view key)
{
	unsigned field = 0;

	while (field < FIELD_COUNT_ && !view_equal_string(key, field_names[field]))
		field++;
	return (enum field)field;
}

/* Without its newline, and not empty. */
static enum rc parse_line(struct view line, bool seen[FIELD_COUNT_], struct narinfo *out,
			  struct err *err)
{
	const uint8_t *colon = memchr(line.ptr, ':', line.len);
	struct view key, value;
	enum field field;
	enum rc rc;

	if (!colon)
		return RC_OK;
	key = view_slice(line, 0, (size_t)(colon - line.ptr));
	value = view_slice(line, key.len + 1, line.len - key.len - 1);
	field = field_of(key);
	if (field == FIELD_COUNT_)
		return RC_OK;
	if (value.len > 0 && value.ptr[0] != ' ')
		return err_set(err, RC_INVALID, "%s: expected a blank after the colon",
			       field_names[field]);
	if (value.len > 0)
		value = view_slice(value, 1, value.len - 1);
	if (seen[field] && field != FIELD_SIG)
		return err_set(err, RC_INVALID, "%s comes twice", field_names[field]);
	seen[field] = true;
	rc = parse_value(field, value, out, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", field_names[field]);
}

static enum rc check_mandatory(const bool seen[FIELD_COUNT_], struct err *err)
{
	static const enum field mandatory[] = { FIELD_STORE_PATH, FIELD_URL, FIELD_NAR_HASH,
						FIELD_NAR_SIZE };

	for (size_t i = 0; i < ARRAY_LEN(mandatory); i++) {
		if (!seen[mandatory[i]])
			return err_set(err, RC_INVALID, "bad narinfo: %s is missing",
				       field_names[mandatory[i]]);
	}
	return RC_OK;
}

enum rc narinfo_parse(struct view text, struct narinfo *out, struct err *err)
{
	bool seen[FIELD_COUNT_] = { false };
	size_t number = 0;
	enum rc rc = RC_OK;

	memset(out, 0, sizeof(*out));
	if (text.len > NARINFO_MAX)
		return err_set(err, RC_INVALID, "bad narinfo: more than %d bytes", NARINFO_MAX);
	/* Half a line can look whole. */
	if (text.len > 0 && text.ptr[text.len - 1] != '\n')
		return err_set(err, RC_INVALID, "bad narinfo: it is cut off in its last line");
	while (rc == RC_OK && text.len > 0) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		size_t len = (size_t)(end - text.ptr);

		number++;
		if (len > 0)
			rc = parse_line(view_slice(text, 0, len), seen, out, err);
		if (rc != RC_OK)
			err_context(err, rc, "bad narinfo: line %zu", number);
		text = view_slice(text, len + 1, text.len - len - 1);
	}
	if (rc == RC_OK)
		rc = check_mandatory(seen, err);
	if (rc != RC_OK) {
		narinfo_release(out);
		return rc;
	}
	if (!out->compression)
		out->compression = mem_strdup("bzip2");
	return RC_OK;
}

/* ---- Writing ---- */

static void print_hash(enum field field, const struct nar_hash *hash, struct buf *out)
{
	buf_printf(out, "%s: ", field_names[field]);
	nar_hash_print(hash, out);
	buf_append_byte(out, '\n');
}

static void print_references(const struct path_info *info, struct buf *out)
{
	AUTO_FREE struct store_path *sorted = mem_array(info->reference_count + 1, sizeof(*sorted));
	char text[STORE_PATH_BASENAME_MAX + 1];

	if (info->reference_count > 0)
		memcpy(sorted, info->references, info->reference_count * sizeof(*sorted));
	qsort(sorted, info->reference_count, sizeof(*sorted), compare_paths);
	/* Readers want the blank also where nothing follows it. */
	buf_printf(out, "%s:", field_names[FIELD_REFERENCES]);
	if (info->reference_count == 0)
		buf_append_byte(out, ' ');
	for (size_t i = 0; i < info->reference_count; i++) {
		if (i > 0 && store_path_equal(&sorted[i], &sorted[i - 1]))
			continue;
		store_path_basename(&sorted[i], text);
		buf_printf(out, " %s", text);
	}
	buf_append_byte(out, '\n');
}

static void print_deriver(const struct path_info *info, struct buf *out)
{
	struct store_path deriver = info->deriver;
	char text[STORE_PATH_BASENAME_MAX + 1];

	if (!info->has_deriver)
		return;
	store_path_drop_drv(&deriver); /* some programs store it with the ending: never two */
	store_path_basename(&deriver, text);
	buf_printf(out, "%s: %s.drv\n", field_names[FIELD_DERIVER], text);
}

void narinfo_print(const struct narinfo *narinfo, struct buf *out)
{
	const struct path_info *info = &narinfo->info;
	char text[STORE_PATH_ABSOLUTE_MAX + 1];

	store_path_absolute(&info->path, text);
	buf_printf(out, "%s: %s\n", field_names[FIELD_STORE_PATH], text);
	buf_printf(out, "%s: %s\n", field_names[FIELD_URL], narinfo->url);
	buf_printf(out, "%s: %s\n", field_names[FIELD_COMPRESSION], narinfo->compression);
	if (narinfo->has_file_hash)
		print_hash(FIELD_FILE_HASH, &narinfo->file_sha256, out);
	if (narinfo->has_file_size)
		buf_printf(out, "%s: %" PRIu64 "\n", field_names[FIELD_FILE_SIZE],
			   narinfo->file_size);
	print_hash(FIELD_NAR_HASH, &info->nar_sha256, out);
	buf_printf(out, "%s: %" PRIu64 "\n", field_names[FIELD_NAR_SIZE], info->nar_size);
	print_references(info, out);
	print_deriver(info, out);
	if (narinfo->system && narinfo->system[0])
		buf_printf(out, "%s: %s\n", field_names[FIELD_SYSTEM], narinfo->system);
	for (size_t i = 0; i < info->signature_count; i++) {
		buf_printf(out, "%s: ", field_names[FIELD_SIG]);
		signature_print(&info->signatures[i], out);
		buf_append_byte(out, '\n');
	}
	if (info->has_ca || info->other_ca) {
		buf_printf(out, "%s: ", field_names[FIELD_CA]);
		path_info_print_ca(info, out);
		buf_append_byte(out, '\n');
	}
}
