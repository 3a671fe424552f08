/*
 * Import of a tar archive. Entries come in any order, so the blobs go through the pipeline of
 * tree_pipe.h alone, and the tree is built in memory (tar_tree.h) until all entries were seen.
 */
#include "transfer/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/mem.h"
#include "base/text.h"
#include "transfer/tar_locale.h"
#include "transfer/tar_tree.h"
#include "transfer/tree_collect.h"
#include "transfer/tree_fill.h"
#include "transfer/tree_pipe.h"

enum { INPUT_BYTES = 256 << 10, SHOWN_MAX = 300 };

struct tar_in {
	int fd;
	struct tar_import_options options;
	/* Of the fill thread, until the pipeline is finished. */
	struct archive *archive;
	struct tar_tree *tree;
	size_t files;
	bool stripped_away; /* an entry, whole */
	bool sparse;        /* the entry at hand: it may end in a hole */
	/* Of the calling thread. */
	struct tar_blob *blobs;
	size_t blob_count, blob_cap;
};

/* ---- Failures ---- */

/* What libarchive itself finds wrong has EILSEQ or a negative number; its sentences say little of what
 * was being done, and nothing of where. */
static enum rc failed(struct archive *archive, const char *what, struct err *err)
{
	int errnum = archive_errno(archive);
	const char *sentence = archive_error_string(archive);

	if (errnum > 0 && errnum != EILSEQ)
		return err_errno(err, errnum, "cannot read the tar archive");
	return err_set(err, RC_INVALID, "%s, at byte %" PRId64 " of the tar archive (%s)", what,
		       archive_filter_bytes(archive, 0),
		       sentence ? sentence : "libarchive says no more");
}

/* Of the next header; number: of entries before it. */
static enum rc header_failed(struct archive *archive, size_t number, struct err *err)
{
	if (number == 0 && archive_format(archive) == 0)
		return failed(archive,
			      "this is no tar archive, or compressed in a way that castor does "
			      "not read",
			      err);
	return failed(archive, "the header of an entry is damaged or cut off", err);
}

static enum rc name_entry(struct archive_entry *entry, enum rc rc, struct err *err)
{
	struct buf shown CLEANUP(buf_release) = BUF_INIT;
	const char *path = archive_entry_pathname(entry);

	text_printable(view_of_string(path ? path : "?"), &shown);
	if (shown.len > SHOWN_MAX)
		shown.len = SHOWN_MAX;
	return err_context(err, rc, "tar entry \"%s\"", buf_string(&shown));
}

/* ---- Contents ---- */

/* The next len bytes of the entry; holes of sparse files are zeros. */
static enum rc read_contents(void *context, void *out, size_t len, struct err *err)
{
	struct tar_in *in = context;
	size_t done = 0;

	while (done < len) {
		la_ssize_t got = archive_read_data(in->archive, (char *)out + done, len - done);

		if (got < 0)
			return failed(in->archive, "its contents are damaged or cut off", err);
		if (got == 0 && !in->sparse)
			return err_set(err, RC_INVALID, "its contents are shorter than its size");
		if (got == 0) {
			memset((char *)out + done, 0, len - done);
			return RC_OK;
		}
		done += (size_t)got;
	}
	return RC_OK;
}

static enum rc fill_file(struct tree_fill *fill, struct tar_in *in, struct archive_entry *entry,
			 bool *stopped, struct err *err)
{
	struct tree_fill_file file = { .size = 0 };
	struct tree_entry *room;

	if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
		return err_set(err, RC_INVALID, "a file without a size");
	file.size = (uint64_t)archive_entry_size(entry);
	in->sparse = archive_entry_sparse_count(entry) > 0;
	if (file.size > TREE_FILE_SMALL)
		return tree_fill_large(fill, &file, read_contents, in, stopped, err);
	*stopped = !tree_fill_small(fill, &file, &room);
	if (*stopped)
		return RC_OK;
	return read_contents(in, fill->block->bytes + room->at, (size_t)file.size, err);
}

/* ---- Entries ---- */

static enum rc take_file(struct tree_fill *fill, struct tar_in *in, struct archive_entry *entry,
			 struct view path, bool *stopped, struct err *err)
{
	bool executable = archive_entry_perm(entry) & 0100;
	enum rc rc = tar_tree_file(in->tree, path, executable, in->files, err);

	if (rc != RC_OK)
		return rc;
	in->files++;
	return fill_file(fill, in, entry, stopped, err);
}

/* Takes so many components away, each with the slashes behind it; false: none is left. */
static bool strip(struct view *path, unsigned components)
{
	struct view rest = *path;

	for (; components > 0 && rest.len > 0; components--) {
		while (rest.len > 0 && rest.ptr[0] != '/')
			rest = view_slice(rest, 1, rest.len - 1);
		while (rest.len > 0 && rest.ptr[0] == '/')
			rest = view_slice(rest, 1, rest.len - 1);
	}
	*path = rest;
	return rest.len > 0;
}

static enum rc take_link(struct tar_in *in, struct view path, struct view target, struct err *err)
{
	if (in->options.strip_components > 0 && !strip(&target, in->options.strip_components))
		return err_set(err, RC_INVALID,
			       "the target of a hard link has no more than the %u components that "
			       "are stripped",
			       in->options.strip_components);
	return tar_tree_link(in->tree, path, target, err);
}

static enum rc take_entry(struct tree_fill *fill, struct tar_in *in, struct archive_entry *entry,
			  bool *stopped, struct err *err)
{
	const char *name = archive_entry_pathname(entry);
	const char *link = archive_entry_hardlink(entry);
	const char *target = archive_entry_symlink(entry);
	struct view path;

	if (!name)
		return err_set(err, RC_INVALID, "an entry without a name");
	path = view_of_string(name);
	if (in->options.strip_components > 0 && name[0] != '/' &&
	    !strip(&path, in->options.strip_components)) {
		in->stripped_away = true;
		return RC_OK;
	}
	if (link)
		return take_link(in, path, view_of_string(link), err);
	switch (archive_entry_filetype(entry)) {
	case AE_IFDIR:
		return tar_tree_directory(in->tree, path, err);
	case AE_IFLNK:
		if (!target)
			return err_set(err, RC_INVALID, "a symlink without a target");
		return tar_tree_symlink(in->tree, path, view_of_string(target), err);
	case AE_IFREG:
		return take_file(fill, in, entry, path, stopped, err);
	default:
		return err_set(err, RC_UNSUPPORTED,
			       "a device, fifo or socket: only files, directories and links can "
			       "be imported");
	}
}

static enum rc open_archive(struct tar_in *in, struct err *err)
{
	in->archive = archive_read_new();
	if (!in->archive)
		return err_set(err, RC_NO_MEMORY, "no memory for a tar archive");
	/* Not every filter: some of them start other programs. A missing one is no failure. */
	archive_read_support_filter_bzip2(in->archive);
	archive_read_support_filter_compress(in->archive);
	archive_read_support_filter_gzip(in->archive);
	archive_read_support_filter_lz4(in->archive);
	archive_read_support_filter_lzip(in->archive);
	archive_read_support_filter_lzma(in->archive);
	archive_read_support_filter_xz(in->archive);
	archive_read_support_filter_zstd(in->archive);
	if (archive_read_support_format_tar(in->archive) != ARCHIVE_OK ||
	    archive_read_open_fd(in->archive, in->fd, INPUT_BYTES) != ARCHIVE_OK)
		return header_failed(in->archive, 0, err);
	return RC_OK;
}

static enum rc check_stripped(const struct tar_in *in, struct err *err)
{
	if (!in->stripped_away || !tar_tree_is_empty(in->tree))
		return RC_OK;
	return err_set(err, RC_INVALID,
		       "no path of the archive has more than the %u components that are stripped",
		       in->options.strip_components);
}

static enum rc take_all(struct tree_fill *fill, struct tar_in *in, struct err *err)
{
	enum rc rc = open_archive(in, err);
	bool stopped = false;

	for (size_t number = 0; rc == RC_OK && !stopped; number++) {
		struct archive_entry *entry;
		int result = archive_read_next_header(in->archive, &entry);

		if (result == ARCHIVE_EOF)
			return check_stripped(in, err);
		/* A warning is about names that are not UTF-8, or attributes that castor drops. */
		if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
			return header_failed(in->archive, number, err);
		rc = take_entry(fill, in, entry, &stopped, err);
		if (rc != RC_OK)
			return name_entry(entry, rc, err);
		rc = op_check(fill->pipe->op, err);
	}
	return rc;
}

static void fill_from_tar(struct tree_pipe *pipe, void *context)
{
	struct tar_locale locale = tar_locale_enter();
	struct tar_in *in = context;
	struct err err = ERR_INIT;
	struct tree_fill fill;
	enum rc rc;

	tree_fill_init(&fill, pipe, true);
	rc = take_all(&fill, in, &err);
	tree_fill_finish(&fill, rc, &err);
	archive_read_free(in->archive);
	tar_locale_leave(&locale);
}

/* ---- The import ---- */

/* Files come back in the order in which they were filled. */
static void take_blob(void *context, const struct node *node)
{
	struct tar_in *in = context;

	in->blobs = mem_grow(in->blobs, in->blob_count, &in->blob_cap, 64, sizeof(*in->blobs));
	in->blobs[in->blob_count++] =
		(struct tar_blob){ .digest = node->digest, .size = node->size };
}

static enum rc import_blobs(const struct services *services, const struct op *op, struct tar_in *in,
			    struct err *err)
{
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	struct tree_source source = { .fill = fill_from_tar, .context = in, .bare = true };
	struct tree_taker taker = { .file = take_blob, .context = in };
	struct import_progress stats = { 0 };
	struct tree_report report = { 0 };
	struct nar_facts none;
	struct tree_pipe pipe;
	enum rc rc = blob_service_open_batch(services->blobs, op, &batch, err);

	if (rc != RC_OK)
		return rc;
	tree_pipe_init(&pipe, op, batch, source, 0, 0);
	tree_pipe_start(&pipe);
	rc = tree_collect(&pipe, &taker, &report, &stats, err);
	if (rc == RC_OK)
		rc = tree_pipe_finish(&pipe, &none, err);
	tree_pipe_release(&pipe);
	return rc == RC_OK ? blob_batch_commit(batch, op, err) : rc;
}

enum rc tar_import(const struct services *services, const struct op *op, int fd,
		   const struct tar_import_options *options, struct node *root, struct err *err)
{
	static const struct tar_import_options none = { .strip_components = 0 };
	struct tree_build *build = tree_build_new(services->directories);
	struct tar_in in = { .fd = fd, .options = options ? *options : none };
	enum rc rc;

	*root = (struct node){ 0 };
	in.tree = tar_tree_new(in.options.last_wins);
	rc = import_blobs(services, op, &in, err);
	if (rc == RC_OK)
		rc = tar_tree_build(in.tree, in.blobs, build, op, err);
	if (rc == RC_OK)
		rc = tree_build_commit(build, op, err);
	if (rc == RC_OK)
		node_copy(root, tree_build_root(build));
	tree_build_free(build);
	tar_tree_free(in.tree);
	free(in.blobs);
	return rc;
}
