/*
 * Work ahead of readers (read_ahead.h): the patterns, and the jobs that they start. The lock of a
 * struct read_ahead is held for looking at its tables, never over a call.
 */
#include "fs/read_ahead.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fs/internal.h"

enum {
	/* READs of one reader may overtake each other by so much: the kernel's read-ahead, whose
	 * READs are large, and a reader that asks for a few pages at a time. */
	NEAR = 4 << 20,
	NEAR_SMALL = 128 << 10,
	SMALL_READ = 32 << 10,
	CHUNKS_AHEAD = 2, /* of a file that is read in its order */
	JUMPS_MIN = 4,    /* before a file counts as read here and there */
	CHUNKS_MORE = 2,  /* pushed after the one that was read, of such a file */
	CELL = 128 << 10,
	WINDOW = 64, /* entries of a directory that are pushed at once */
	BATCH = 16,  /* files of those that are fetched at once */
	LEAD = 3,    /* entries before a reader that has overtaken its pushes */
	TRUST_MAX = 8,
	TRUST_ENOUGH = 4,
};

#define COVERED_MAX ((uint64_t)1 << 30)
/* Files above this are left to their READs; what one window pushes at most, at first and later. */
#define PUSH_FILE_MAX     ((uint64_t)256 << 10)
#define PUSH_BYTES_FIRST  ((uint64_t)1 << 20)
#define PUSH_BYTES_WINDOW ((uint64_t)4 << 20)

/* ---- Patterns ---- */

static struct file_pattern *file_slot(struct read_ahead *ahead, uint64_t nodeid)
{
	struct file_pattern *pattern = &ahead->files[nodeid % FILE_PATTERNS];

	if (pattern->nodeid != nodeid) {
		free(pattern->covered);
		*pattern = (struct file_pattern){ .nodeid = nodeid };
	}
	return pattern;
}

/* Under the lock. */
static void cover(struct file_pattern *pattern, uint64_t size, const struct blob_chunk *location)
{
	uint64_t last = (location->offset + location->size - 1) / CELL;

	if (size > COVERED_MAX)
		return;
	if (!pattern->covered)
		pattern->covered = mem_zalloc(size / CELL / 8 + 1);
	for (uint64_t cell = location->offset / CELL; cell <= last; cell++)
		pattern->covered[cell / 8] |= (uint8_t)(1 << cell % 8);
}

/* The first byte at or after `from` that no pushed chunk is near; the file's size: none. Under the
 * lock. */
static uint64_t next_uncovered(const struct file_pattern *pattern, uint64_t size, uint64_t from)
{
	uint64_t cell = from / CELL;

	if (!pattern->covered)
		return size;
	while (cell * CELL < size && pattern->covered[cell / 8] & 1 << cell % 8)
		cell++;
	return cell * CELL > from ? cell * CELL : from;
}

static struct directory_pattern *directory_slot(struct read_ahead *ahead, uint64_t nodeid,
						bool *fresh)
{
	struct directory_pattern *pattern = &ahead->directories[nodeid % DIRECTORY_PATTERNS];

	*fresh = pattern->nodeid != nodeid;
	if (*fresh)
		*pattern = (struct directory_pattern){ .nodeid = nodeid };
	return pattern;
}

/* ---- Jobs ---- */

struct job {
	struct fs_session *session;
	struct inode inode;    /* the file; or the directory */
	uint64_t offset;       /* in the file */
	uint32_t first, count; /* entries of the directory; or so many chunks of the file */
	uint64_t budget;       /* bytes of files */
	bool leave_first;
};

void read_ahead_init(struct read_ahead *ahead)
{
	pthread_mutex_init(&ahead->lock, NULL);
	pthread_cond_init(&ahead->idle, NULL);
}

void read_ahead_end(struct fs_session *session)
{
	struct read_ahead *ahead = &session->ahead;

	pthread_mutex_lock(&ahead->lock);
	ahead->ending = true;
	pthread_mutex_unlock(&ahead->lock);
	atomic_store(&session->ended, true);
}

void read_ahead_release(struct fs_session *session)
{
	struct read_ahead *ahead = &session->ahead;

	read_ahead_end(session);
	pthread_mutex_lock(&ahead->lock);
	while (ahead->jobs)
		pthread_cond_wait(&ahead->idle, &ahead->lock);
	pthread_mutex_unlock(&ahead->lock);
	for (size_t i = 0; i < FILE_PATTERNS; i++)
		free(ahead->files[i].covered);
	pthread_cond_destroy(&ahead->idle);
	pthread_mutex_destroy(&ahead->lock);
}

static void job_done(struct job *job)
{
	struct read_ahead *ahead = &job->session->ahead;

	pthread_mutex_lock(&ahead->lock);
	if (--ahead->jobs == 0)
		pthread_cond_broadcast(&ahead->idle);
	pthread_mutex_unlock(&ahead->lock);
	free(job);
}

/* Where the pool is full the work is not done: it was only a favour. */
static void submit(struct fs_session *session, struct pool *pool, void (*run)(void *arg),
		   const struct job *wanted)
{
	struct read_ahead *ahead = &session->ahead;
	struct job *job;
	bool ending;

	pthread_mutex_lock(&ahead->lock);
	ending = ahead->ending;
	if (!ending)
		ahead->jobs++;
	pthread_mutex_unlock(&ahead->lock);
	if (ending)
		return;
	job = mem_dup(wanted, sizeof(*wanted));
	job->session = session;
	if (!pool_try_submit(pool, run, job))
		job_done(job);
}

static struct op job_op(const struct fs_session *session)
{
	return (struct op){
		.deadline_ns = clock_monotonic_ns() + session->fs->options.deadline_ns,
		.cancel = &session->ended,
	};
}

/* ---- Chunks of one file ---- */

/* Where the reader has come to meanwhile: what lies before that is decoded for nothing. */
static uint64_t reader_position(struct fs_session *session, uint64_t nodeid)
{
	struct read_ahead *ahead = &session->ahead;
	uint64_t next;

	pthread_mutex_lock(&ahead->lock);
	next = file_slot(ahead, nodeid)->next;
	pthread_mutex_unlock(&ahead->lock);
	return next;
}

/* Decodes the chunks from offset on. Errors are left to the READ that meets them. */
static void fetch_chunks(void *arg)
{
	struct job *job = arg;
	struct fs *fs = job->session->fs;
	struct op op = job_op(job->session);
	struct blob_reader *reader;
	uint64_t offset = job->offset;
	enum rc rc;

	rc = fs_open_reader(fs, &op, &job->inode.digest, job->inode.size, &reader, NULL);
	for (uint32_t i = 0; rc == RC_OK && i < job->count && offset < job->inode.size; i++) {
		struct blob_chunk location;
		struct chunk *chunk;

		rc = blob_reader_locate(reader, &op, offset, &location, NULL);
		if (rc != RC_OK)
			break;
		offset = location.offset + location.size;
		if (reader_position(job->session, job->inode.nodeid) > location.offset)
			continue;
		rc = fs_load_chunk(fs, &op, reader, &location, false, &chunk, NULL);
		if (rc == RC_OK)
			chunk_cache_put(fs->chunks, chunk, 0);
		if (rc == RC_BUSY)
			rc = RC_OK;
	}
	if (rc == RC_OK)
		reader_cache_give(fs->readers, reader);
	else
		blob_reader_free(reader);
	job_done(job);
}

/* Bytes of a file into the kernel's page cache. */
static void store(struct fs_session *session, uint64_t nodeid, uint64_t offset, const void *bytes,
		  uint32_t size)
{
	struct fuse_notify_store_out head = { .nodeid = nodeid, .offset = offset, .size = size };
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)bytes, .iov_len = size },
	};

	if (session->ops->notify(session, FUSE_NOTIFY_STORE, iov, 2) != 0)
		return;
	atomic_fetch_add_explicit(&session->fs->pushes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&session->fs->pushed_bytes, size, memory_order_relaxed);
}

/* Whole pages only, but for the last of the file: a part of a page does not make it up to date. */
static void store_chunk(struct fs_session *session, const struct inode *inode,
			const struct blob_chunk *location, const struct chunk *chunk)
{
	uint64_t start = (location->offset + FS_PAGE - 1) & ~(uint64_t)(FS_PAGE - 1);
	uint64_t end = location->offset + location->size;

	if (end < inode->size)
		end &= ~(uint64_t)(FS_PAGE - 1);
	if (start < end)
		store(session, inode->nodeid, start, chunk->bytes + (start - location->offset),
		      (uint32_t)(end - start));
}

static enum rc push_one(struct job *job, const struct op *op, struct blob_reader *reader,
			uint64_t offset, uint64_t *end)
{
	struct fs_session *session = job->session;
	struct blob_chunk location;
	struct chunk *chunk;
	enum rc rc = blob_reader_locate(reader, op, offset, &location, NULL);

	if (rc == RC_OK)
		rc = fs_load_chunk(session->fs, op, reader, &location, true, &chunk, NULL);
	if (rc != RC_OK)
		return rc;
	pthread_mutex_lock(&session->ahead.lock);
	cover(file_slot(&session->ahead, job->inode.nodeid), job->inode.size, &location);
	pthread_mutex_unlock(&session->ahead.lock);
	store_chunk(session, &job->inode, &location, chunk);
	chunk_cache_put(session->fs->chunks, chunk, chunk->size);
	*end = location.offset + location.size;
	return RC_OK;
}

/* What to push after the chunk that ends there: the next of the file that was not, from its
 * beginning again after its end. False: nothing, or there is other work. */
static bool more_to_push(const struct job *job, uint64_t end, uint64_t *offset)
{
	struct read_ahead *ahead = &job->session->ahead;
	uint64_t size = job->inode.size;
	bool idle;

	pthread_mutex_lock(&ahead->lock);
	idle = ahead->jobs == 1 && !ahead->ending;
	*offset = next_uncovered(file_slot(ahead, job->inode.nodeid), size, end);
	if (*offset >= size)
		*offset = next_uncovered(file_slot(ahead, job->inode.nodeid), size, 0);
	pthread_mutex_unlock(&ahead->lock);
	return idle && *offset < size;
}

static void push_chunks(void *arg)
{
	struct job *job = arg;
	struct fs *fs = job->session->fs;
	struct op op = job_op(job->session);
	struct blob_reader *reader;
	uint64_t end = 0, offset = job->offset;
	enum rc rc;

	rc = fs_open_reader(fs, &op, &job->inode.digest, job->inode.size, &reader, NULL);
	if (rc == RC_OK)
		rc = push_one(job, &op, reader, offset, &end);
	for (int i = 0; rc == RC_OK && i < CHUNKS_MORE && more_to_push(job, end, &offset); i++)
		rc = push_one(job, &op, reader, offset, &end);
	if (rc == RC_OK)
		reader_cache_give(fs->readers, reader);
	else
		blob_reader_free(reader);
	job_done(job);
}

/* ---- Files of one directory ---- */

/* Some files that follow each other, to be fetched at once. */
struct batch {
	struct fs_session *session;
	struct inode files[BATCH];
	struct digest digests[BATCH];
	size_t count;
};

/* Only what nobody has read meanwhile. */
static void push_file(void *context, size_t i, enum rc rc, struct view bytes)
{
	const struct batch *batch = context;
	struct fs_session *session = batch->session;
	uint64_t nodeid;

	if (rc != RC_OK || bytes.len != batch->files[i].size ||
	    atomic_load_explicit(&session->ended, memory_order_relaxed))
		return;
	nodeid = inode_table_claim_file(session->inodes, &batch->files[i], true);
	if (nodeid)
		store(session, nodeid, 0, bytes.ptr, (uint32_t)bytes.len);
}

/* The budget was spent: the READ of that entry shall call for more. */
static void stop_before(const struct job *job, uint32_t index)
{
	struct read_ahead *ahead = &job->session->ahead;
	struct directory_pattern *pattern;
	bool fresh;

	pthread_mutex_lock(&ahead->lock);
	pattern = directory_slot(ahead, job->inode.nodeid, &fresh);
	if (pattern->next == job->first + job->count)
		pattern->next = index;
	pthread_mutex_unlock(&ahead->lock);
}

/* A reader that has overtaken its pushes is not raced but met further on. */
static size_t ahead_of_reader(const struct job *job, size_t at)
{
	struct read_ahead *ahead = &job->session->ahead;
	const struct directory_pattern *pattern;
	bool fresh;

	pthread_mutex_lock(&ahead->lock);
	pattern = directory_slot(ahead, job->inode.nodeid, &fresh);
	if (pattern->read && pattern->last >= at)
		at = pattern->last + (size_t)LEAD;
	pthread_mutex_unlock(&ahead->lock);
	return at;
}

/* The next files from *at on that the kernel knows and has not read yet. From the very start of a
 * directory the first of them is left out: its READ shows that files are read, not just listed. */
static void next_batch(struct job *job, const struct directory *directory, size_t *at,
		       struct batch *batch)
{
	struct inode_table *inodes = job->session->inodes;
	size_t end = job->first + (size_t)job->count;

	batch->count = 0;
	for (; batch->count < BATCH && *at < end && *at < directory_count(directory); ++*at) {
		const struct node *node = directory_at(directory, *at);
		struct inode *file = &batch->files[batch->count];

		if (node->kind != NODE_FILE || node->size == 0 || node->size > PUSH_FILE_MAX)
			continue;
		inode_describe(inodes, &job->inode, &job->inode.digest, node, (uint32_t)*at, file);
		if (!inode_table_claim_file(inodes, file, false))
			continue;
		if (node->size > job->budget) {
			stop_before(job, (uint32_t)*at);
			*at = end;
			return;
		}
		if (job->leave_first) {
			job->leave_first = false;
			continue;
		}
		job->budget -= node->size;
		batch->digests[batch->count++] = node->digest;
	}
}

static void push_files(void *arg)
{
	struct job *job = arg;
	struct fs *fs = job->session->fs;
	struct op op = job_op(job->session);
	struct batch batch = { .session = job->session };
	AUTO_DIRECTORY struct directory *directory = NULL;
	size_t at = job->first;
	enum rc rc = RC_OK;

	directory = lru_get(fs->directory_cache, &job->inode.digest);
	if (!directory)
		rc = directory_service_get(fs->directories, &op, &job->inode.digest, &directory,
					   NULL);
	while (rc == RC_OK) {
		at = ahead_of_reader(job, at);
		next_batch(job, directory, &at, &batch);
		if (!batch.count)
			break;
		/* A file's failure is met, and logged, by its READ. */
		rc = blob_service_get_many(fs->blobs, &op, batch.digests, batch.count, push_file,
					   &batch, NULL);
	}
	job_done(job);
}

/* ---- What is seen ---- */

/* What a READ of a file of several chunks calls for. Under the lock. */
static void see_file(struct file_pattern *pattern, uint64_t offset, uint64_t len,
		     uint64_t chunk_start, uint64_t chunk_end, bool *fetch, bool *push)
{
	uint64_t slack = len <= SMALL_READ ? NEAR_SMALL : NEAR;
	bool near = offset + slack >= pattern->next && offset <= pattern->next + slack;

	if (near && pattern->next) {
		pattern->run++;
		pattern->jumps = 0;
	} else if (pattern->next || offset) {
		pattern->run = 0;
		pattern->jumps++;
	}
	if (!near || offset + len > pattern->next)
		pattern->next = offset + len;
	if (pattern->run && chunk_end > pattern->ahead) {
		*fetch = true;
		pattern->ahead = chunk_end;
	}
	if (pattern->jumps >= JUMPS_MIN && pattern->pushed != chunk_start + 1) {
		*push = true;
		pattern->pushed = chunk_start + 1;
		pattern->ahead = 0;
	}
}

/* What the first READ of a file calls for in its directory. Under the lock. */
static void see_directory(struct read_ahead *ahead, uint64_t nodeid, uint32_t index,
			  struct job *job)
{
	bool fresh;
	struct directory_pattern *pattern = directory_slot(ahead, nodeid, &fresh);

	if (!pattern->read && ahead->trust < TRUST_MAX)
		ahead->trust += 2;
	if (!fresh && index >= pattern->last && index < pattern->next) {
		/* It overtook its push, or was left out of it. */
		pattern->last = index;
		pattern->read = true;
		return;
	}
	job->first = index + 1;
	/* In order, or after a gap that is no longer than a window; else the order is another. */
	if (!pattern->read || (index >= pattern->next && index - pattern->next <= WINDOW))
		job->count = WINDOW;
	job->budget = pattern->read || ahead->trust >= TRUST_ENOUGH ? PUSH_BYTES_WINDOW
								    : PUSH_BYTES_FIRST;
	pattern->read = true;
	pattern->last = index;
	pattern->next = index + 1 + job->count;
}

void read_ahead_saw(struct fs_session *session, const struct inode *inode, uint64_t offset,
		    uint64_t len, bool direct, uint64_t chunk_start, uint64_t chunk_end)
{
	struct read_ahead *ahead = &session->ahead;
	bool can_push = session->ops->notify && !direct;
	bool fetch = false, push = false;
	struct job job = { .inode = *inode };
	struct job walk = { .count = 0 };

	pthread_mutex_lock(&ahead->lock);
	if (chunk_start > 0 || chunk_end < inode->size)
		see_file(file_slot(ahead, inode->nodeid), offset, len, chunk_start, chunk_end,
			 &fetch, &push);
	if (offset == 0 && can_push && inode->place) {
		see_directory(ahead, inode->place, inode->index, &walk);
	}
	pthread_mutex_unlock(&ahead->lock);

	if (fetch && chunk_end < inode->size) {
		job.offset = chunk_end;
		job.count = CHUNKS_AHEAD;
		submit(session, session->fs->ahead, fetch_chunks, &job);
	}
	if (push && can_push) {
		job.offset = chunk_start;
		submit(session, session->fs->pushers, push_chunks, &job);
	}
	if (walk.count && inode_table_get(session->inodes, inode->place, &walk.inode))
		submit(session, session->fs->pushers, push_files, &walk);
}

void read_ahead_listed(struct fs_session *session, const struct inode *directory)
{
	struct read_ahead *ahead = &session->ahead;
	struct job walk = { .inode = *directory, .budget = PUSH_BYTES_WINDOW, .leave_first = true };

	if (!session->ops->notify)
		return;
	pthread_mutex_lock(&ahead->lock);
	if (ahead->trust >= TRUST_ENOUGH) {
		bool fresh;
		struct directory_pattern *pattern =
			directory_slot(ahead, directory->nodeid, &fresh);

		if (fresh) {
			ahead->trust--;
			pattern->next = walk.count = WINDOW;
		}
	}
	pthread_mutex_unlock(&ahead->lock);
	if (walk.count)
		submit(session, session->fs->pushers, push_files, &walk);
}
