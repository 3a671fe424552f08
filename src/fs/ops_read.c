/*
 * The contents of files: OPEN, READ, RELEASE, LSEEK, POLL.
 *
 * A READ is answered straight from the buffers of the chunk cache, without a copy. Where the
 * kernel can do without, OPEN is answered ENOSYS: then there are no handles, and a READ finds its
 * reader by the inode's digest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fs/internal.h"

/* ---- Reading ---- */

enum rc fs_load_chunk(struct fs *fs, const struct op *op, struct blob_reader *reader,
		      const struct blob_chunk *location, bool wait, struct chunk **out,
		      struct err *err)
{
	struct chunk *chunk;
	bool load;
	enum rc rc;

	*out = NULL;
	rc = chunk_cache_get(fs->chunks, op, &reader->digest, location, wait, &chunk, &load, err);
	if (rc != RC_OK)
		return rc;
	if (load) {
		rc = blob_reader_read_chunk(reader, op, location, chunk->bytes, err);
		chunk_cache_loaded(fs->chunks, chunk, rc == RC_OK);
	}
	if (rc != RC_OK) {
		chunk_cache_put(fs->chunks, chunk, 0);
		return rc;
	}
	*out = chunk;
	return RC_OK;
}

void fs_pieces_release(struct fs *fs, struct fs_pieces *pieces)
{
	for (int i = 0; i < pieces->chunk_count; i++)
		chunk_cache_put(fs->chunks, pieces->chunks[i],
				pieces->keep ? 0 : pieces->iov[i].iov_len);
	pieces->chunk_count = pieces->count = 0;
	free(pieces->copy);
	pieces->copy = NULL;
}

/* Too many pieces for a vector (a blob of tiny chunks): goes on in one buffer of `total` bytes. */
static enum rc begin_copy(struct fs *fs, struct fs_pieces *pieces, size_t total, struct err *err)
{
	uint8_t *copy = mem_try_alloc(total);
	size_t len = 0;

	if (!copy)
		return err_set(err, RC_NO_MEMORY, "no memory for a reply of %zu bytes", total);
	for (int i = 0; i < pieces->count; i++) {
		memcpy(copy + len, pieces->iov[i].iov_base, pieces->iov[i].iov_len);
		len += pieces->iov[i].iov_len;
	}
	fs_pieces_release(fs, pieces);
	pieces->copy = copy;
	pieces->iov[0] = (struct iovec){ .iov_base = copy, .iov_len = len };
	pieces->count = 1;
	return RC_OK;
}

static void add_piece(struct fs *fs, struct fs_pieces *pieces, struct chunk *chunk, size_t at,
		      size_t len)
{
	if (pieces->copy) {
		memcpy((uint8_t *)pieces->copy + pieces->iov[0].iov_len, chunk->bytes + at, len);
		pieces->iov[0].iov_len += len;
		chunk_cache_put(fs->chunks, chunk, pieces->keep ? 0 : len);
		return;
	}
	pieces->chunks[pieces->chunk_count++] = chunk;
	pieces->iov[pieces->count++] =
		(struct iovec){ .iov_base = chunk->bytes + at, .iov_len = len };
}

static enum rc gather(struct fs *fs, const struct op *op, struct blob_reader *reader,
		      uint64_t offset, size_t len, struct fs_pieces *out, struct err *err)
{
	size_t done = 0;

	while (done < len) {
		struct blob_chunk location;
		struct chunk *chunk;
		size_t at, part;
		enum rc rc = blob_reader_locate(reader, op, offset + done, &location, err);

		if (rc == RC_OK && !out->copy && out->count == FS_IOV_MAX)
			rc = begin_copy(fs, out, len, err);
		if (rc == RC_OK)
			rc = fs_load_chunk(fs, op, reader, &location, true, &chunk, err);
		if (rc != RC_OK)
			return rc;
		at = (size_t)(offset + done - location.offset);
		part = location.size - at < len - done ? location.size - at : len - done;
		add_piece(fs, out, chunk, at, part);
		done += part;
		out->last_start = location.offset;
		out->last_end = location.offset + location.size;
	}
	return RC_OK;
}

enum rc fs_open_reader(struct fs *fs, const struct op *op, const struct digest *digest,
		       uint64_t size, struct blob_reader **out, struct err *err)
{
	enum rc rc = reader_cache_take(fs->readers, op, digest, size, out, err);

	if (rc == RC_OK && blob_reader_size(*out) != size) {
		rc = err_set(err, RC_CORRUPT, "it has %llu bytes, its directory says %llu",
			     (unsigned long long)blob_reader_size(*out), (unsigned long long)size);
		blob_reader_free(*out);
		*out = NULL;
	}
	return rc;
}

int fs_read_file(struct fs_request *request, const struct inode *inode, uint64_t offset, size_t len,
		 bool direct, struct fs_pieces *out)
{
	struct fs *fs = request->session->fs;
	struct blob_reader *reader = NULL;
	struct err err = ERR_INIT;
	enum rc rc;

	out->count = out->chunk_count = 0;
	out->copy = NULL;
	/* No page cache has it afterwards; or other guests may read the same. */
	out->keep = direct || !request->session->ops->notify;
	if (fs->blobs_remote && !request->may_wait)
		return FS_DEFER;
	rc = fs_open_reader(fs, &request->op, &inode->digest, inode->size, &reader, &err);
	if (rc == RC_OK)
		rc = gather(fs, &request->op, reader, offset, len, out, &err);
	if (rc == RC_OK) {
		reader_cache_give(fs->readers, reader);
		return 0;
	}
	blob_reader_free(reader);
	fs_pieces_release(fs, out);
	fs_log_object(fs, "blob", &inode->digest, rc, &err);
	return fs_errno(rc);
}

int fs_op_read(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;
	bool in_pool = request->may_wait;
	struct fs *fs = session->fs;
	struct fs_pieces pieces;
	struct fuse_read_in read;
	struct inode inode;
	bool direct;
	size_t len;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	if (inode.kind != NODE_FILE)
		return inode.kind == NODE_DIRECTORY ? -EISDIR : -EINVAL;
	cursor_copy(in, &read, sizeof(read));
	direct = read.flags & O_DIRECT;
	if (read.offset >= inode.size || read.size == 0)
		return fs_reply_empty(request);
	len = read.size < FS_MAX_READ ? read.size : FS_MAX_READ;
	if (len > request->reply_max)
		len = request->reply_max;
	if (len > inode.size - read.offset)
		len = (size_t)(inode.size - read.offset);
	result = fs_read_file(request, &inode, read.offset, len, direct, &pieces);
	if (result)
		return result;
	if (read.offset == 0)
		inode_table_note_read(session->inodes, inode.nodeid);
	/* The answer first; but in a pool thread the session may be gone after it. */
	if (in_pool)
		read_ahead_saw(session, &inode, read.offset, len, direct, pieces.last_start,
			       pieces.last_end);
	fs_reply_iov(request, pieces.iov, pieces.count);
	if (!in_pool)
		read_ahead_saw(session, &inode, read.offset, len, direct, pieces.last_start,
			       pieces.last_end);
	fs_pieces_release(fs, &pieces);
	return 0;
}

/* ---- Handles, where there are any ---- */

/*
 * What the opens of one inode have in common while one lasts: with passthrough the kernel takes no
 * second backing id for an open inode, nor a cached open beside a passthrough one.
 */
struct backing {
	uint64_t opens;
	int id; /* 0: read through castor */
};

/* Under session->lock. */
static struct backing *find_backing(struct fs_session *session, uint64_t nodeid)
{
	return hashmap_get(&session->backings, &nodeid);
}

static struct backing *add_backing(struct fs_session *session, uint64_t nodeid, int fd)
{
	struct backing *backing = mem_zalloc(sizeof(*backing));

	if (fd >= 0)
		backing->id = session->ops->backing_open(session, fd);
	/* ELOOP (the store lies on an overlay), EPERM (a user namespace) and all else: castor reads
	 * the file itself. */
	if (backing->id < 0)
		backing->id = 0;
	hashmap_put(&session->backings, &nodeid, backing);
	return backing;
}

static int open_backing(struct fs_request *request, const struct inode *inode, int *id)
{
	struct fs_session *session = request->session;
	struct fs *fs = session->fs;
	struct blob_reader *reader = NULL;
	struct err err = ERR_INIT;
	struct backing *backing;
	enum rc rc;

	pthread_mutex_lock(&session->lock);
	backing = find_backing(session, inode->nodeid);
	if (!backing) {
		pthread_mutex_unlock(&session->lock);
		if (fs->blobs_remote && !request->may_wait)
			return FS_DEFER;
		rc = fs_open_reader(fs, &request->op, &inode->digest, inode->size, &reader, &err);
		if (rc != RC_OK) {
			fs_log_object(fs, "blob", &inode->digest, rc, &err);
			return fs_errno(rc);
		}
		pthread_mutex_lock(&session->lock);
		backing = find_backing(session, inode->nodeid);
		if (!backing)
			backing = add_backing(session, inode->nodeid, blob_reader_fd(reader));
	}
	backing->opens++;
	*id = backing->id;
	pthread_mutex_unlock(&session->lock);
	if (reader)
		reader_cache_give(fs->readers, reader);
	return 0;
}

int fs_op_open(struct fs_request *request, struct cursor *in)
{
	uint64_t flags = atomic_load(&request->session->flags);
	struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH };
	struct fuse_open_in open;
	struct inode inode;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	cursor_copy(in, &open, sizeof(open));
	if ((open.flags & O_ACCMODE) != O_RDONLY || open.flags & O_TRUNC)
		return -EROFS;
	if (inode.kind != NODE_FILE)
		return inode.kind == NODE_DIRECTORY ? -EISDIR : -ELOOP;
	if (flags & FUSE_NO_OPEN_SUPPORT)
		return -ENOSYS;
	if (flags & FUSE_PASSTHROUGH) {
		int id = 0;

		result = open_backing(request, &inode, &id);
		if (result)
			return result;
		if (id > 0) {
			out.open_flags = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH;
			out.backing_id = id;
		}
	}
	return fs_reply(request, &out, sizeof(out));
}

int fs_op_release(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;
	struct backing *backing;

	(void)in;
	pthread_mutex_lock(&session->lock);
	backing = find_backing(session, request->nodeid);
	if (backing && --backing->opens == 0) {
		hashmap_remove(&session->backings, &request->nodeid);
		if (backing->id > 0)
			session->ops->backing_close(session, backing->id);
		free(backing);
	}
	pthread_mutex_unlock(&session->lock);
	return fs_reply_empty(request);
}

void fs_close_backings(struct fs_session *session)
{
	size_t at = 0;
	void *value;

	pthread_mutex_lock(&session->lock);
	while (hashmap_next(&session->backings, &at, NULL, &value)) {
		struct backing *backing = value;

		if (backing->id > 0)
			session->ops->backing_close(session, backing->id);
		free(backing);
	}
	hashmap_release(&session->backings);
	hashmap_init(&session->backings, sizeof(uint64_t));
	pthread_mutex_unlock(&session->lock);
}

/* ---- LSEEK, POLL ---- */

int fs_op_lseek(struct fs_request *request, struct cursor *in)
{
	struct fuse_lseek_out out = { 0 };
	struct fuse_lseek_in seek;
	struct inode inode;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	cursor_copy(in, &seek, sizeof(seek));
	if (inode.kind != NODE_FILE || (seek.whence != SEEK_DATA && seek.whence != SEEK_HOLE))
		return -EINVAL;
	if (seek.offset >= inode.size)
		return -ENXIO;
	/* All of a file is data. */
	out.offset = seek.whence == SEEK_DATA ? seek.offset : inode.size;
	return fs_reply(request, &out, sizeof(out));
}

int fs_op_poll(struct fs_request *request, struct cursor *in)
{
	struct fuse_poll_out out = { 0 };
	struct fuse_poll_in poll;
	struct inode inode;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	cursor_copy(in, &poll, sizeof(poll));
	/* As for any file on a disk: always ready. */
	out.revents = poll.events & (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
	return fs_reply(request, &out, sizeof(out));
}
