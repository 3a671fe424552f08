/*
 * One file a document, under the digest of its name in 64 hexadecimal digits, in a directory of its first two:
 *
 *	the text "castor document 1" and a newline
 *	u32 length of the name, the name; u64 length of the content (little-endian)
 *	the content as one zstd frame
 *	32 bytes BLAKE3 of all before
 *
 * Written under another name, synced, renamed, and the directory synced: whole or not there. What killed
 * writers left (".new-…") goes when it is a day old and its directory is written to.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cursor.h"
#include "base/file.h"
#include "base/mem.h"
#include "castore/digest.h"
#include "service/document/document_store.h"

enum {
	LEVEL = 3,
	OVERHEAD = 256,
	NEW_NAME = 64,
	LEFT_OVER_S = 24 * 3600,
};
static const char magic[] = "castor document 1\n";

struct files {
	struct document_store base;
	int parent_fd;
	char *dir;
	mode_t mode;
};

static struct files *files_of(struct document_store *store)
{
	return CONTAINER_OF(store, struct files, base);
}

static void files_free(struct document_store *store)
{
	struct files *files = files_of(store);

	close(files->parent_fd);
	free(files->dir);
	free(files);
}

/* ---- The format ---- */

static enum rc encode(struct view name, struct view content, struct buf *out, struct err *err)
{
	size_t bound = ZSTD_compressBound(content.len), len;
	struct digest digest;

	buf_append_string(out, magic);
	buf_append_u32le(out, (uint32_t)name.len);
	buf_append_view(out, name);
	buf_append_u64le(out, content.len);
	if (!buf_try_reserve(out, bound + DIGEST_SIZE))
		return err_set(err, RC_NO_MEMORY, "no memory for a document");
	len = ZSTD_compress(out->ptr + out->len, bound, content.ptr, content.len, LEVEL);
	if (ZSTD_isError(len))
		return err_set(err, RC_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(len));
	out->len += len;
	digest = digest_of(buf_view(out));
	buf_append(out, digest.bytes, DIGEST_SIZE);
	return RC_OK;
}

static enum rc decode(struct view file, struct view name, struct buf *out, struct err *err)
{
	struct view found, text, frame;
	struct cursor cursor;
	uint32_t name_len;
	uint64_t size;

	if (file.len < DIGEST_SIZE)
		return err_set(err, RC_CORRUPT, "it is cut off");
	struct digest digest = digest_of(view_slice(file, 0, file.len - DIGEST_SIZE));
	if (memcmp(digest.bytes, file.ptr + file.len - DIGEST_SIZE, DIGEST_SIZE) != 0)
		return err_set(err, RC_CORRUPT, "its digest is another");
	cursor = cursor_of(view_slice(file, 0, file.len - DIGEST_SIZE));
	cursor_view(&cursor, sizeof(magic) - 1, &text);
	cursor_u32le(&cursor, &name_len);
	cursor_view(&cursor, name_len, &found);
	cursor_u64le(&cursor, &size);
	if (!cursor_view(&cursor, cursor_left(&cursor), &frame) ||
	    !view_equal_string(text, magic) || !view_equal(found, name) || size > DOCUMENT_MAX)
		return err_set(err, RC_CORRUPT, "it is malformed");
	if (!buf_try_reserve(out, size))
		return err_set(err, RC_NO_MEMORY, "no memory for a document");
	size_t len = ZSTD_decompress(out->ptr + out->len, size, frame.ptr, frame.len);
	if (ZSTD_isError(len) || len != size)
		return err_set(err, RC_CORRUPT, "its content is damaged");
	out->len += len;
	return RC_OK;
}

/* ---- Files ---- */

static enum rc open_dir(int parent, const char *name, bool make, mode_t mode, int *out,
			struct err *err)
{
	bool made = make && mkdirat(parent, name, 0700) == 0;

	if (made && fchmodat(parent, name, mode, 0) != 0)
		return err_errno(err, errno, "%s", name);
	*out = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*out < 0)
		return err_errno(err, errno, "%s", name);
	return made ? file_sync_dir(parent, "the directory of documents", err) : RC_OK;
}

/* The directory in which the document lies, and its name there. */
static enum rc find(const struct files *files, struct view name, bool make, int *dir,
		    char file[DIGEST_HEX_MAX], struct err *err)
{
	struct digest key = digest_of(name);
	AUTO_FD int all = -1;
	char first[3] = { 0 };
	enum rc rc = open_dir(files->parent_fd, files->dir, make, files->mode, &all, err);

	*dir = -1;
	digest_hex(&key, file);
	memcpy(first, file, 2);
	return rc == RC_OK ? open_dir(all, first, make, files->mode, dir, err) : rc;
}

static enum rc files_get(struct document_store *store, const struct op *op, struct view name,
			 struct buf *out, struct err *err)
{
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	char file[DIGEST_HEX_MAX];
	AUTO_FD int dir = -1;
	enum rc rc = find(files_of(store), name, false, &dir, file, err);

	(void)op;
	if (rc == RC_OK)
		rc = file_read_path(dir, file, DOCUMENT_MAX + DOCUMENT_MAX / 64 + OVERHEAD, &bytes,
				    err);
	if (rc == RC_NOT_FOUND)
		return err_set(err, rc, "no document of that name");
	if (rc == RC_OK)
		rc = decode(buf_view(&bytes), name, out, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "document %s", file);
}

/* Of writers that were killed. */
static void clear_new(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct stat stat;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, ".new-", 5) == 0 &&
		    fstatat(dir_fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
		    stat.st_mtime + LEFT_OVER_S < time(NULL))
			(void)unlinkat(dir_fd, entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

static enum rc write_file(const struct files *files, int dir, const char *name, struct view bytes,
			  struct err *err)
{
	AUTO_FD int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum rc rc;

	if (fd < 0)
		return err_errno(err, errno, "a document");
	rc = file_write_all(fd, bytes.ptr, bytes.len, "a document", err);
	if (rc == RC_OK && (fchmod(fd, files->mode & 0666) != 0 || fsync(fd) != 0))
		rc = err_errno(err, errno, "a document");
	return rc;
}

static enum rc files_put(struct document_store *store, const struct op *op, struct view name,
			 struct view content, struct err *err)
{
	static atomic_uint sequence;
	struct files *files = files_of(store);
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	char file[DIGEST_HEX_MAX], temporary[NEW_NAME];
	AUTO_FD int dir = -1;
	enum rc rc = encode(name, content, &bytes, err);

	(void)op;
	if (rc == RC_OK)
		rc = find(files, name, true, &dir, file, err);
	if (rc != RC_OK)
		return rc;
	clear_new(dir);
	snprintf(temporary, sizeof(temporary), ".new-%ld-%ld-%u", (long)getpid(), (long)time(NULL),
		 atomic_fetch_add(&sequence, 1));
	rc = write_file(files, dir, temporary, buf_view(&bytes), err);
	if (rc == RC_OK && renameat(dir, temporary, dir, file) != 0)
		rc = err_errno(err, errno, "document %s", file);
	if (rc != RC_OK) {
		(void)unlinkat(dir, temporary, 0);
		return rc;
	}
	return file_sync_dir(dir, "the directory of documents", err);
}

static const struct document_store_ops files_ops = {
	.name = "files", .free = files_free, .get = files_get, .put = files_put
};

enum rc document_files_new(int parent_fd, const char *dir, mode_t mode, struct document_store **out,
			   struct err *err)
{
	int fd = fcntl(parent_fd, F_DUPFD_CLOEXEC, 0);
	struct files *files;

	*out = NULL;
	if (fd < 0)
		return err_errno(err, errno, "documents");
	files = mem_zalloc(sizeof(*files));
	document_store_init(&files->base, &files_ops);
	files->parent_fd = fd;
	files->dir = mem_strdup(dir);
	files->mode = mode;
	*out = &files->base;
	return RC_OK;
}
