/* Path, references and deriver as `nix-store --export` writes them. */
#include "nix/closure_entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/mem.h"

enum { ENTRY_MAGIC = 0x4558494e, SIGNATURE_MAX = 65536, ALIGN = 8 };

/* ---- Reading: a read that fails by the end of the bytes is no error, unlike one of a length too large ---- */

static enum rc read_string(struct cursor *in, size_t max, const char *what, struct view *out,
			   struct err *err)
{
	static const uint8_t zeros[ALIGN];
	struct view padding;
	uint64_t len;

	*out = view_of(NULL, 0);
	if (!cursor_u64le(in, &len))
		return RC_OK;
	if (len > max)
		return err_set(err, RC_INVALID, "%s has %" PRIu64 " bytes, more than %zu", what,
			       len, max);
	if (!cursor_view(in, (size_t)len, out) ||
	    !cursor_view(in, (ALIGN - (size_t)len % ALIGN) % ALIGN, &padding))
		return RC_OK;
	if (padding.len > 0 && memcmp(padding.ptr, zeros, padding.len) != 0)
		return err_set(err, RC_INVALID, "%s is not followed by zeros", what);
	return RC_OK;
}

static enum rc read_path(struct cursor *in, const char *what, struct store_path *out,
			 struct err *err)
{
	static const char dir[] = STORE_DIR "/";
	struct view text;
	enum rc rc = read_string(in, STORE_PATH_ABSOLUTE_MAX, what, &text, err);

	if (rc != RC_OK || in->failed)
		return rc;
	if (text.len < sizeof(dir) - 1 || memcmp(text.ptr, dir, sizeof(dir) - 1) != 0)
		return err_set(err, RC_INVALID, "%s is not in " STORE_DIR, what);
	rc = store_path_parse(text, out, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", what);
}

static int compare_paths(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

static enum rc read_references(struct cursor *in, struct path_info *out, struct err *err)
{
	size_t kept = 0, room = 0;
	uint64_t count;

	if (!cursor_u64le(in, &count))
		return RC_OK;
	if (count > PATH_INFO_REFERENCES_MAX)
		return err_set(err, RC_INVALID, "%" PRIu64 " references, more than %d", count,
			       PATH_INFO_REFERENCES_MAX);
	while (out->reference_count < count && !in->failed) {
		struct store_path path;
		enum rc rc = read_path(in, "a reference", &path, err);

		if (rc != RC_OK)
			return rc;
		out->references = mem_grow(out->references, out->reference_count, &room, 16,
					   sizeof(*out->references));
		out->references[out->reference_count++] = path;
	}
	if (in->failed || count == 0)
		return RC_OK;
	qsort(out->references, out->reference_count, sizeof(*out->references), compare_paths);
	for (size_t i = 0; i < out->reference_count; i++) {
		if (kept == 0 || !store_path_equal(&out->references[kept - 1], &out->references[i]))
			out->references[kept++] = out->references[i];
	}
	out->reference_count = kept;
	return RC_OK;
}

static enum rc read_deriver(struct cursor *in, struct path_info *out, struct err *err)
{
	struct cursor behind = *in;
	uint64_t len;
	enum rc rc;

	if (cursor_u64le(&behind, &len) && len == 0) {
		*in = behind;
		return RC_OK;
	}
	rc = read_path(in, "the deriver", &out->deriver, err);
	out->has_deriver = rc == RC_OK && !in->failed;
	if (out->has_deriver)
		store_path_drop_drv(&out->deriver);
	return rc;
}

static enum rc read_end(struct cursor *in, struct err *err)
{
	struct view signature;
	uint64_t number;

	if (!cursor_u64le(in, &number) || number == 0)
		return RC_OK;
	if (number != 1)
		return err_set(err, RC_INVALID, "%" PRIu64 " where the path's end should be",
			       number);
	return read_string(in, SIGNATURE_MAX, "the signature", &signature, err);
}

enum rc closure_entry_parse(struct view *bytes, struct path_info *out, bool *more, struct err *err)
{
	struct cursor in = cursor_of(*bytes);
	uint64_t magic;
	enum rc rc = RC_OK;

	memset(out, 0, sizeof(*out));
	if (cursor_u64le(&in, &magic) && magic != ENTRY_MAGIC)
		rc = err_set(err, RC_INVALID, "no path follows its NAR");
	if (rc == RC_OK)
		rc = read_path(&in, "the path", &out->path, err);
	if (rc == RC_OK)
		rc = read_references(&in, out, err);
	if (rc == RC_OK)
		rc = read_deriver(&in, out, err);
	if (rc == RC_OK)
		rc = read_end(&in, err);
	*more = rc == RC_OK && in.failed;
	if (rc != RC_OK || *more)
		path_info_release(out);
	else
		*bytes = view_slice(*bytes, in.at, bytes->len - in.at);
	return rc;
}

/* ---- Writing ---- */

void closure_number_print(uint64_t number, struct buf *out)
{
	for (unsigned i = 0; i < sizeof(number); i++)
		buf_append_byte(out, (uint8_t)(number >> 8 * i));
}

static void print_string(const char *text, struct buf *out)
{
	size_t len = strlen(text);

	closure_number_print(len, out);
	buf_append(out, text, len);
	for (; len % ALIGN != 0; len++)
		buf_append_byte(out, 0);
}

void closure_entry_print(const struct path_info *info, struct buf *out)
{
	char text[STORE_PATH_ABSOLUTE_MAX + 1], deriver[STORE_PATH_ABSOLUTE_MAX + 5] = "";

	closure_number_print(ENTRY_MAGIC, out);
	store_path_absolute(&info->path, text);
	print_string(text, out);
	closure_number_print(info->reference_count, out);
	for (size_t i = 0; i < info->reference_count; i++) {
		store_path_absolute(&info->references[i], text);
		print_string(text, out);
	}
	if (info->has_deriver) {
		store_path_absolute(&info->deriver, text);
		snprintf(deriver, sizeof(deriver), "%s.drv", text);
	}
	print_string(deriver, out);
	closure_number_print(0, out);
}
