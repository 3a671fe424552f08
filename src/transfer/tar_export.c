/*
 * A tar archive (pax, by libarchive) of a stored tree. Names are bytes, whatever the locale: where
 * one is not UTF-8, the pax header of its entry says so (hdrcharset=BINARY).
 */
#include "transfer/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "transfer/tar_locale.h"
#include "transfer/tree_read.h"
#include "transfer/zero_runs.h"

enum { BLOCK_BYTES = 256 << 10 };

struct tar_out {
	struct archive *archive;
	struct archive_entry *entry;
	struct buf path;   /* of the innermost open directory, with a slash; or empty */
	size_t *path_ends; /* its length before each open directory */
	size_t depth, depth_cap;
	const char *top;
	const struct services *services;
	const struct op *op;

	int fd;
	bool discard; /* nothing more is written: a failed archive must not look whole */
	enum rc write_rc;
	struct err write_err;
};

/*
 * Takes what libarchive has formatted. A failure is kept for `outcome` and not told to libarchive,
 * which would not free its buffers.
 */
static la_ssize_t take_bytes(struct archive *archive, void *context, const void *bytes, size_t len)
{
	struct tar_out *out = context;

	(void)archive;
	if (out->discard)
		return (la_ssize_t)len;
	out->write_rc = file_write_all(out->fd, bytes, len, "the tar archive", &out->write_err);
	out->discard = out->write_rc != RC_OK;
	return (la_ssize_t)len;
}

/* Of a call of libarchive. */
static enum rc outcome(const struct tar_out *out, bool good, struct err *err)
{
	const char *sentence = archive_error_string(out->archive);
	struct buf shown CLEANUP(buf_release) = BUF_INIT;

	if (out->write_rc != RC_OK)
		return err_set(err, out->write_rc, "%s", out->write_err.message);
	if (good)
		return RC_OK;
	text_printable(buf_view(&out->path), &shown);
	return err_set(err, RC_IO, "cannot write \"%s\" into a tar archive (%s)",
		       buf_string(&shown), sentence ? sentence : "libarchive says no more");
}

/* The path of a node, in out->path; its length before is to be restored. */
static void append_name(struct tar_out *out, const struct node *node)
{
	if (out->depth == 0)
		buf_append_string(&out->path, out->top);
	else
		buf_append_view(&out->path, node->name);
}

/* Long runs of zeros are not written: what unpacks the archive makes holes of them. */
static enum rc leave_zeros_out(struct tar_out *out, const struct node *node, struct err *err)
{
	struct data_extents data AUTO_DATA_EXTENTS = { 0 };
	enum rc rc = data_extents_find(out->services->blobs, out->op, node, &data, err);
	bool whole = data.count == 1 && data.extents[0].len == node->size;

	if (rc == RC_NOT_FOUND || rc == RC_CORRUPT)
		return RC_OK; /* the reader of the tree meets it, too, and says where */
	if (rc != RC_OK || whole || node->size == 0)
		return rc;
	/* The size behind it tells the rest. */
	if (data.count == 0)
		archive_entry_sparse_add_entry(out->entry, 0, 0);
	for (size_t i = 0; i < data.count; i++)
		archive_entry_sparse_add_entry(out->entry, (int64_t)data.extents[i].offset,
					       (int64_t)data.extents[i].len);
	return RC_OK;
}

static enum rc write_header(struct tar_out *out, const struct node *node, struct err *err)
{
	static const struct {
		unsigned type, mode;
	} kinds[] = {
		[NODE_DIRECTORY] = { AE_IFDIR, 0555 },
		[NODE_FILE] = { AE_IFREG, 0444 },
		[NODE_SYMLINK] = { AE_IFLNK, 0777 },
	};
	struct archive_entry *entry = archive_entry_clear(out->entry);
	AUTO_FREE char *target = NULL;
	int result;

	archive_entry_copy_pathname(entry, buf_string(&out->path));
	archive_entry_set_filetype(entry, kinds[node->kind].type);
	archive_entry_set_perm(entry, node->executable ? 0555 : kinds[node->kind].mode);
	archive_entry_set_mtime(entry, 1, 0);
	archive_entry_set_uid(entry, 0);
	archive_entry_set_gid(entry, 0);
	archive_entry_set_size(entry, node->kind == NODE_FILE ? (int64_t)node->size : 0);
	if (node->kind == NODE_SYMLINK) {
		target = mem_strndup(node->target);
		archive_entry_copy_symlink(entry, target);
	}
	if (node->kind == NODE_FILE) {
		enum rc rc = leave_zeros_out(out, node, err);

		if (rc != RC_OK)
			return rc;
	}
	result = archive_write_header(out->archive, entry);
	/* A name that is not UTF-8 gives this warning; any other would be about something lost. */
	return outcome(out,
		       result == ARCHIVE_OK ||
			       (result == ARCHIVE_WARN && archive_errno(out->archive) == EILSEQ),
		       err);
}

static enum rc begin_directory(struct tar_out *out, const struct node *node, struct err *err)
{
	size_t before = out->path.len;
	enum rc rc = RC_OK;

	append_name(out, node);
	if (out->path.len > 0)
		buf_append_byte(&out->path, '/');
	/* Without a top-level name the root is where the archive will be unpacked: not ours. */
	if (out->path.len > 0)
		rc = write_header(out, node, err);
	out->path_ends =
		mem_grow(out->path_ends, out->depth, &out->depth_cap, 16, sizeof(*out->path_ends));
	out->path_ends[out->depth++] = before;
	return rc;
}

static enum rc write_leaf(struct tar_out *out, const struct node *node, struct err *err)
{
	size_t before = out->path.len;
	enum rc rc;

	append_name(out, node);
	if (out->path.len == 0)
		return err_set(err, RC_INVALID,
			       "a tar archive of a single file or symlink needs a "
			       "name for it");
	rc = write_header(out, node, err);
	out->path.len = before;
	return rc;
}

static enum rc write_data(struct tar_out *out, struct view data, struct err *err)
{
	la_ssize_t written = archive_write_data(out->archive, data.ptr, data.len);

	return outcome(out, written == (la_ssize_t)data.len, err);
}

static enum rc write_event(struct tar_out *out, const struct tree_event *event, struct err *err)
{
	switch (event->kind) {
	case TREE_DIRECTORY:
		return begin_directory(out, event->node, err);
	case TREE_DIRECTORY_END:
		out->path.len = out->path_ends[--out->depth];
		return RC_OK;
	case TREE_FILE:
	case TREE_SYMLINK:
		return write_leaf(out, event->node, err);
	case TREE_DATA:
		return write_data(out, event->data, err);
	case TREE_FILE_END:
		return RC_OK;
	case TREE_END:
		break;
	}
	return outcome(out, archive_write_close(out->archive) == ARCHIVE_OK, err);
}

static enum rc open_archive(struct tar_out *out, struct err *err)
{
	out->archive = archive_write_new();
	out->entry = archive_entry_new();
	if (!out->archive || !out->entry)
		return err_set(err, RC_NO_MEMORY, "no memory for a tar archive");
	return outcome(
		out,
		archive_write_set_format_pax_restricted(out->archive) == ARCHIVE_OK &&
			archive_write_set_bytes_per_block(out->archive, BLOCK_BYTES) ==
				ARCHIVE_OK &&
			archive_write_set_bytes_in_last_block(out->archive, 1) == ARCHIVE_OK &&
			archive_write_open(out->archive, out, NULL, take_bytes, NULL) == ARCHIVE_OK,
		err);
}

static void close_archive(struct tar_out *out)
{
	/* What libarchive writes to end a failed archive goes nowhere. */
	out->discard = true;
	archive_write_free(out->archive);
	archive_entry_free(out->entry);
	buf_release(&out->path);
	free(out->path_ends);
}

enum rc tar_export(const struct services *services, const struct op *op, const struct node *node,
		   const char *top, int fd, struct err *err)
{
	struct tar_out out = {
		.top = top, .services = services, .op = op, .path = BUF_INIT, .fd = fd
	};
	AUTO_TREE_READER struct tree_reader *reader = NULL;
	struct tree_event event = { .kind = TREE_DIRECTORY };
	struct tar_locale locale;
	enum rc rc;

	if (top[0] != '\0') {
		rc = node_check_name(view_of_string(top), err);
		if (rc != RC_OK)
			return err_context(err, rc, "the top-level name of a tar archive");
	}
	locale = tar_locale_enter();
	rc = open_archive(&out, err);
	reader = tree_reader_new(services, op, node);
	while (rc == RC_OK && event.kind != TREE_END) {
		rc = tree_reader_next(reader, &event, err);
		if (rc == RC_OK)
			rc = write_event(&out, &event, err);
	}
	close_archive(&out);
	tar_locale_leave(&locale);
	return rc;
}
