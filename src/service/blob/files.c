/*
 * One plain file per blob.
 *
 *	<dir>/00 … <dir>/ff/<64 hex>   a blob, whole and synced, mode 0444
 *	<dir>/tmp/<16 hex>/<number>    what an open batch is writing
 *
 * A batch owns a directory under tmp by flock(2). What lies there without an owner was left by a
 * process that died; it is removed when the service is opened. A commit syncs what the batch wrote
 * (a few files one by one, many by one syncfs), renames it into place, and syncs the directories,
 * so that a name always stands for whole, durable bytes.
 *
 * Blobs up to 1 MiB are one chunk, checked when read. Larger ones are read in stretches without a
 * digest: they were hashed when they were written.
 */
#include "service/blob/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum {
	WHOLE_MAX = 1 << 20, /* blobs up to this are one chunk */
	STRETCH = 512 << 10,
	SHARDS = 256,
	SHARD_NAME = 3,          /* "ff" and its NUL */
	BLOB_NAME = 3 + 64 + 1,  /* "ff/", 64 digits, NUL */
	BATCH_NAME = 4 + 16 + 1, /* "tmp/", 16 digits, NUL */
	FILE_NAME = 21,          /* a u64 in decimal */
	SYNC_ONE_BY_ONE = 16,    /* so many files are synced on their own, more by syncfs */
};

struct files {
	struct blob_service base;
	int dirfd;
	char *dir; /* for messages */
};

static struct files *files_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct files, base);
}

static void blob_name(const struct digest *digest, char out[BLOB_NAME])
{
	digest_hex(digest, out + 3);
	out[0] = out[3];
	out[1] = out[4];
	out[2] = '/';
}

static void files_free(struct blob_service *service)
{
	struct files *files = files_of(service);

	close(files->dirfd);
	free(files->dir);
	free(files);
}

/* ---- Questions ---- */

/* What the system says of a blob's file, by descriptor or (fd < 0) by name. */
static enum rc file_size(const struct files *files, int fd, const struct digest *digest,
			 uint64_t *size, struct err *err)
{
	char name[BLOB_NAME];
	struct stat st;

	blob_name(digest, name);
	if (fd >= 0 ? fstat(fd, &st) : fstatat(files->dirfd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return err_set(err, RC_NOT_FOUND, "blob %s is not in %s", name + 3,
				       files->dir);
		return err_errno(err, errno, "%s/%s", files->dir, name);
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, RC_CORRUPT, "%s/%s is not a plain file", files->dir, name);
	*size = (uint64_t)st.st_size;
	return RC_OK;
}

static enum rc files_has_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, bool *out,
			      struct err *err)
{
	uint64_t size;

	for (size_t i = 0; i < count; i++) {
		enum rc rc = op_check(op, err);

		if (rc == RC_OK)
			rc = file_size(files_of(service), -1, &digests[i], &size, err);
		if (rc != RC_OK && rc != RC_NOT_FOUND)
			return rc;
		out[i] = rc == RC_OK;
	}
	return RC_OK;
}

static enum rc files_stat(struct blob_service *service, const struct op *op,
			  const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			  struct err *err)
{
	(void)op;
	(void)list; /* there are no chunks to tell of */
	return file_size(files_of(service), -1, digest, size, err);
}

/* ---- Reading ---- */

struct files_reader {
	struct blob_reader base;
	int fd;
};

static void reader_free(struct blob_reader *base)
{
	struct files_reader *reader = CONTAINER_OF(base, struct files_reader, base);

	close(reader->fd);
	free(reader);
}

static enum rc reader_locate(struct blob_reader *base, const struct op *op, uint64_t offset,
			     struct blob_chunk *out, struct err *err)
{
	uint64_t left;

	(void)op;
	(void)err;
	if (base->size <= WHOLE_MAX) {
		out->digest = base->digest;
		out->size = (uint32_t)base->size;
		out->has_digest = true;
		return RC_OK;
	}
	out->offset = offset - offset % STRETCH;
	left = base->size - out->offset;
	out->size = left < STRETCH ? (uint32_t)left : STRETCH;
	return RC_OK;
}

static enum rc reader_read_chunk(struct blob_reader *base, const struct op *op,
				 const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct files_reader *reader = CONTAINER_OF(base, struct files_reader, base);
	char hex[DIGEST_HEX_MAX];
	size_t got;
	enum rc rc;

	(void)op;
	digest_hex(&base->digest, hex);
	rc = file_pread_full(reader->fd, out, chunk->size, chunk->offset, &got, hex, err);
	if (rc == RC_OK && got < chunk->size)
		rc = err_set(err, RC_CORRUPT,
			     "the file of blob %s ends at %" PRIu64 " of its %" PRIu64 " bytes",
			     hex, chunk->offset + got, base->size);
	return rc;
}

static int reader_fd(struct blob_reader *base)
{
	return CONTAINER_OF(base, struct files_reader, base)->fd;
}

static void reader_will_need(struct blob_reader *base, uint64_t offset, uint64_t len)
{
	posix_fadvise(CONTAINER_OF(base, struct files_reader, base)->fd, (off_t)offset, (off_t)len,
		      POSIX_FADV_WILLNEED);
}

static const struct blob_reader_ops reader_ops = {
	.free = reader_free,
	.locate = reader_locate,
	.read_chunk = reader_read_chunk,
	.fd = reader_fd,
	.will_need = reader_will_need,
};

static enum rc files_open_read(struct blob_service *service, const struct op *op,
			       const struct digest *digest, uint64_t expected,
			       struct blob_reader **out, struct err *err)
{
	struct files *files = files_of(service);
	struct files_reader *reader;
	int fd AUTO_FD = -1;
	char name[BLOB_NAME];
	uint64_t size;
	enum rc rc;

	(void)op;
	(void)expected;
	blob_name(digest, name);
	fd = openat(files->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, RC_NOT_FOUND, "blob %s is not in %s", name + 3, files->dir);
	if (fd < 0)
		return err_errno(err, errno, "%s/%s", files->dir, name);
	rc = file_size(files, fd, digest, &size, err);
	if (rc != RC_OK)
		return rc;
	reader = mem_zalloc(sizeof(*reader));
	blob_reader_init(&reader->base, &reader_ops, digest, size);
	reader->fd = fd;
	fd = -1;
	*out = &reader->base;
	return RC_OK;
}

/* ---- Writing ---- */

struct files_encoded {
	struct blob_encoded base;
	uint8_t bytes[];
};

/* A blob that waits for the commit. */
struct pending {
	struct digest digest;
	uint64_t file; /* its name in the batch's directory; 0: it was there already */
};

struct files_batch {
	struct blob_batch base;
	struct files *files;
	int dirfd;
	char name[BATCH_NAME];
	struct pending *pending;
	size_t count, room;
	uint64_t last_file;         /* numbers start at 1 */
	struct files_encoded *held; /* the first chunk of a blob waits for whether it is the only */
	int fd;                     /* of the file that the chunks of a blob go to, or -1 */
};

static struct files_batch *batch_of(struct blob_batch *base)
{
	return CONTAINER_OF(base, struct files_batch, base);
}

static void free_encoded(struct blob_encoded *base)
{
	struct files_encoded *encoded = CONTAINER_OF(base, struct files_encoded, base);

	free(encoded);
}

static void file_name(uint64_t number, char out[FILE_NAME])
{
	snprintf(out, FILE_NAME, "%" PRIu64, number);
}

static void batch_free(struct blob_batch *base)
{
	struct files_batch *batch = batch_of(base);
	char name[FILE_NAME];

	/* Numbers that were renamed into place are not there any more; that is fine. */
	for (uint64_t file = 1; file <= batch->last_file; file++) {
		file_name(file, name);
		unlinkat(batch->dirfd, name, 0);
	}
	unlinkat(batch->files->dirfd, batch->name, AT_REMOVEDIR);
	close(batch->dirfd);
	fd_cleanup(&batch->fd);
	free(batch->held);
	free(batch->pending);
	free(batch);
}

static enum rc batch_encode(struct blob_batch *base, const struct op *op, struct view chunk,
			    struct blob_encoded **out, struct err *err)
{
	struct files_encoded *encoded;
	uint64_t size;
	enum rc rc;

	(void)op;
	encoded = mem_try_alloc(sizeof(*encoded) + chunk.len);
	if (!encoded)
		return err_set(err, RC_NO_MEMORY, "no memory for a chunk of %zu bytes", chunk.len);
	encoded->base = (struct blob_encoded){
		.digest = digest_of(chunk),
		.size = (uint32_t)chunk.len,
		.cost = sizeof(*encoded) + chunk.len,
	};
	memcpy(encoded->bytes, chunk.ptr, chunk.len);
	rc = file_size(batch_of(base)->files, -1, &encoded->base.digest, &size, err);
	if (rc != RC_OK && rc != RC_NOT_FOUND) {
		free(encoded);
		return rc;
	}
	encoded->base.known = rc == RC_OK && size == chunk.len;
	*out = &encoded->base;
	return RC_OK;
}

static enum rc write_chunk(struct files_batch *batch, const struct files_encoded *chunk,
			   struct err *err)
{
	char name[FILE_NAME];

	if (batch->fd < 0) {
		file_name(++batch->last_file, name);
		batch->fd =
			openat(batch->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (batch->fd < 0)
			return err_errno(err, errno, "%s/%s/%s", batch->files->dir, batch->name,
					 name);
	}
	return file_write_all(batch->fd, chunk->bytes, chunk->base.size, batch->files->dir, err);
}

static enum rc write_held(struct files_batch *batch, struct err *err)
{
	enum rc rc = RC_OK;

	if (batch->held)
		rc = write_chunk(batch, batch->held, err);
	free(batch->held);
	batch->held = NULL;
	return rc;
}

static enum rc batch_add_chunk(struct blob_batch *base, const struct op *op,
			       struct blob_encoded *base_chunk, struct err *err)
{
	struct files_encoded *chunk = CONTAINER_OF(base_chunk, struct files_encoded, base);
	struct files_batch *batch = batch_of(base);
	enum rc rc;

	(void)op;
	if (!batch->held && batch->fd < 0) {
		batch->held = chunk;
		return RC_OK;
	}
	rc = write_held(batch, err);
	if (rc == RC_OK)
		rc = write_chunk(batch, chunk, err);
	free(chunk);
	return rc;
}

/* The chunks are in a file of their own: closes it, or gives it up where the blob is there already
 * (*kept false). Errors of delayed writes come with the sync. */
static enum rc end_file(struct files_batch *batch, const struct digest *digest, uint64_t size,
			bool *kept, struct err *err)
{
	char name[FILE_NAME];
	uint64_t found;
	enum rc rc;

	fd_cleanup(&batch->fd);
	rc = file_size(batch->files, -1, digest, &found, err);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	*kept = rc == RC_NOT_FOUND || found != size;
	if (!*kept) {
		file_name(batch->last_file, name);
		unlinkat(batch->dirfd, name, 0);
	}
	return RC_OK;
}

static enum rc batch_add_blob(struct blob_batch *base, const struct op *op,
			      const struct digest *digest, uint64_t size,
			      const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct files_batch *batch = batch_of(base);
	bool written = false;
	enum rc rc = RC_OK;

	(void)op;
	(void)chunks;
	if (count == 0) /* the empty blob is everywhere */
		return RC_OK;
	if (batch->held && batch->held->base.known) {
		free(batch->held);
		batch->held = NULL;
	} else {
		rc = write_held(batch, err);
		if (rc == RC_OK)
			rc = end_file(batch, digest, size, &written, err);
	}
	if (rc != RC_OK)
		return rc;
	batch->pending =
		mem_grow(batch->pending, batch->count, &batch->room, 16, sizeof(*batch->pending));
	batch->pending[batch->count++] = (struct pending){
		.digest = *digest,
		.file = written ? batch->last_file : 0,
	};
	return RC_OK;
}

static enum rc sync_one(int dirfd, const char *name, bool directory, const char *what,
			struct err *err)
{
	int fd AUTO_FD = openat(dirfd, name, O_RDONLY | O_CLOEXEC | (directory ? O_DIRECTORY : 0));

	if (fd < 0 || (directory ? fsync(fd) : fdatasync(fd)))
		return err_errno(err, errno, "%s: sync of %s", what, name);
	return RC_OK;
}

/* What was written is durable when this returns. The batch's own descriptor, opened before it wrote
 * anything, is what the kernel reports failed writes to. */
static enum rc sync_contents(struct files_batch *batch, const struct op *op, struct err *err)
{
	char name[FILE_NAME];
	enum rc rc = RC_OK;

	if (batch->count > SYNC_ONE_BY_ONE) {
		if (syncfs(batch->dirfd))
			return err_errno(err, errno, "%s: sync", batch->files->dir);
		return RC_OK;
	}
	for (size_t i = 0; rc == RC_OK && i < batch->count; i++) {
		if (batch->pending[i].file == 0)
			continue;
		rc = op_check(op, err);
		file_name(batch->pending[i].file, name);
		if (rc == RC_OK)
			rc = sync_one(batch->dirfd, name, false, batch->files->dir, err);
	}
	return rc;
}

/* Moves one file into place, making the directory that it goes to where it is the first. */
static enum rc rename_one(struct files_batch *batch, const struct pending *pending, struct err *err)
{
	char from[FILE_NAME], to[BLOB_NAME], shard[SHARD_NAME] = "";
	int dirfd = batch->files->dirfd;

	file_name(pending->file, from);
	blob_name(&pending->digest, to);
	if (renameat(batch->dirfd, from, dirfd, to) == 0)
		return RC_OK;
	memcpy(shard, to, SHARD_NAME - 1);
	if (errno == ENOENT && (mkdirat(dirfd, shard, 0755) == 0 || errno == EEXIST) &&
	    renameat(batch->dirfd, from, dirfd, to) == 0)
		return RC_OK;
	return err_errno(err, errno, "%s/%s", batch->files->dir, to);
}

/* Notes which directories names may be new in: what was there already may have been renamed, and
 * not yet synced, by another process. */
static enum rc rename_all(struct files_batch *batch, bool touched[SHARDS], struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < batch->count; i++) {
		const struct pending *pending = &batch->pending[i];

		touched[pending->digest.bytes[0]] = true;
		if (pending->file > 0)
			rc = rename_one(batch, pending, err);
	}
	return rc;
}

static enum rc sync_names(struct files_batch *batch, const bool touched[SHARDS], struct err *err)
{
	char shard[SHARD_NAME];
	enum rc rc = RC_OK;

	if (batch->count > SYNC_ONE_BY_ONE) {
		if (syncfs(batch->dirfd))
			return err_errno(err, errno, "%s: sync", batch->files->dir);
		return RC_OK;
	}
	for (unsigned i = 0; rc == RC_OK && i < SHARDS; i++) {
		if (!touched[i])
			continue;
		snprintf(shard, sizeof(shard), "%02hhx", (unsigned char)i);
		rc = sync_one(batch->files->dirfd, shard, true, batch->files->dir, err);
	}
	if (rc == RC_OK && batch->count > 0)
		rc = file_sync_dir(batch->files->dirfd, batch->files->dir, err);
	return rc;
}

static enum rc batch_commit(struct blob_batch *base, const struct op *op, struct err *err)
{
	struct files_batch *batch = batch_of(base);
	bool touched[SHARDS] = { false };
	enum rc rc = sync_contents(batch, op, err);

	if (rc == RC_OK)
		rc = rename_all(batch, touched, err);
	if (rc == RC_OK)
		rc = sync_names(batch, touched, err);
	if (rc == RC_OK) {
		batch->count = 0;
		batch->last_file = 0;
	}
	return rc;
}

static const struct blob_batch_ops batch_ops = {
	.free = batch_free,
	.encode = batch_encode,
	.add_chunk = batch_add_chunk,
	.add_blob = batch_add_blob,
	.commit = batch_commit,
	.free_encoded = free_encoded,
};

/* Makes a directory of a name that nobody has, and owns it. */
static enum rc make_batch_dir(const struct files *files, char name[BATCH_NAME], int *out,
			      struct err *err)
{
	uint64_t random;
	struct stat st;

	for (;;) {
		int fd AUTO_FD = -1;

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return err_errno(err, errno, "random bytes");
		snprintf(name, BATCH_NAME, "tmp/%016" PRIx64, random);
		if (mkdirat(files->dirfd, name, 0700)) {
			if (errno == EEXIST)
				continue;
			return err_errno(err, errno, "%s/%s", files->dir, name);
		}
		fd = openat(files->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || flock(fd, LOCK_EX) || fstat(fd, &st))
			return err_errno(err, errno, "%s/%s", files->dir, name);
		if (st.st_nlink == 0)
			continue; /* taken for one that was left behind, between mkdir and flock */
		*out = fd;
		fd = -1;
		return RC_OK;
	}
}

static enum rc files_open_batch(struct blob_service *service, const struct op *op,
				struct blob_batch **out, struct err *err)
{
	struct files *files = files_of(service);
	char name[BATCH_NAME];
	struct files_batch *batch;
	int dirfd = -1;
	enum rc rc = make_batch_dir(files, name, &dirfd, err);

	(void)op;
	if (rc != RC_OK)
		return rc;
	batch = mem_zalloc(sizeof(*batch));
	blob_batch_init(&batch->base, &batch_ops);
	batch->files = files;
	batch->dirfd = dirfd;
	batch->fd = -1;
	memcpy(batch->name, name, sizeof(name));
	*out = &batch->base;
	return RC_OK;
}

/* ---- Opening ---- */

static const struct blob_service_ops service_ops = {
	.name = "files",
	.latency = BLOB_LATENCY_DISK,
	.free = files_free,
	.has_many = files_has_many,
	.stat = files_stat,
	.open_read = files_open_read,
	.open_batch = files_open_batch,
};

/* Removes one directory under tmp, if nobody owns it. */
static void remove_if_left(int tmpfd, const char *name)
{
	int fd AUTO_FD = openat(tmpfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct dirent *entry;
	DIR *dir;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return;
	dir = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	while (dir && (entry = readdir(dir)))
		unlinkat(fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
	unlinkat(tmpfd, name, AT_REMOVEDIR);
}

/* What cannot be removed harms nobody: no outcome. */
static void remove_left_behind(const struct files *files)
{
	int fd = openat(files->dirfd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			remove_if_left(fd, entry->d_name);
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

enum rc blob_files_open(const char *dir, struct blob_service **out, struct err *err)
{
	struct files *files;
	enum rc rc;
	int dirfd;

	*out = NULL;
	rc = file_mkdirs(dir, 0755, err);
	if (rc != RC_OK)
		return rc;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_errno(err, errno, "%s", dir);
	files = mem_zalloc(sizeof(*files));
	blob_service_init(&files->base, &service_ops);
	files->dirfd = dirfd;
	files->dir = mem_strdup(dir);
	if (mkdirat(dirfd, "tmp", 0755) && errno != EEXIST && errno != EACCES && errno != EROFS) {
		rc = err_errno(err, errno, "%s/tmp", dir);
		files_free(&files->base);
		return rc;
	}
	remove_left_behind(files);
	*out = &files->base;
	return RC_OK;
}
