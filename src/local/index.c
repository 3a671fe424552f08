/*
 * LMDB, kept at arm's length: no other file of castor includes lmdb.h.
 *
 * Lock order: the writer's turn, `remap` (shared by every open transaction; exclusive while the map
 * is changed), then `pool_lock`. LMDB's own writer lock is taken while `remap` is held shared.
 *
 * LMDB waits for its writer lock without an end, as long as another process is stopped within a
 * transaction. So a writer first takes turns with the threads of this process, and then a lock on the
 * file that can be waited for by trying: whoever has both finds LMDB's own one free.
 */
#include "local/index.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "local/index_check.h"

/* Address space is free; what cannot have it (ulimit -v, valgrind) gets less, and grows. */
#define MAP_SIZE_WISH  ((size_t)1 << 40)
#define MAP_SIZE_LEAST ((size_t)1 << 22)

/* Between two looks whether another process has ended its transaction. */
#define LOCK_PAUSE_LEAST_NS (NS_PER_MS / 4)
#define LOCK_PAUSE_MOST_NS  (8 * NS_PER_MS)

enum {
	READERS_MAX = 4096,
	/* What LMDB makes of it for so many readers, or a little more. */
	LOCK_FILE_SIZE = READERS_MAX * 64 + 256,
	POOL_MAX = 64,
	/* LMDB need not write a page that was allocated and freed again in one transaction, so the
	 * file may lawfully end a little before the last page that the meta page counts. */
	MISSING_PAGES_MAX = 32,
	/* An index of more than about 700,000 entries is not checked as a whole when it is opened. */
	CHECKED_SIZE_MAX = 64 << 20,
};

static const char *const table_names[LOCAL_TABLES_] = {
	[LOCAL_TABLE_CHUNKS] = "chunks",           [LOCAL_TABLE_BLOBS] = "blobs",
	[LOCAL_TABLE_DIRECTORIES] = "directories", [LOCAL_TABLE_PATHS] = "paths",
	[LOCAL_TABLE_FACTS] = "nar-facts",         [LOCAL_TABLE_PACKS] = "packs",
	[LOCAL_TABLE_COUNTERS] = "counters",       [LOCAL_TABLE_PENDING] = "pending-uploads",
};

/* In place of a table that an index lacks. */
#define NO_TABLE UINT_MAX

struct local_read {
	struct local_index *index;
	MDB_txn *txn;
};

struct local_write {
	struct local_index *index;
	MDB_txn *txn;
	int failed; /* the last failure of LMDB inside the change */
};

struct local_index {
	MDB_env *env;
	char *path;
	MDB_dbi tables[LOCAL_TABLES_];
	bool building;
	bool lost; /* under `remap`: the map could not be made again */
	bool read_only;

	pthread_mutex_t turn_lock;
	pthread_cond_t turn_ended;
	bool writing; /* some thread has the turn */
	int lock_fd;  /* the file once more: to lock it */

	pthread_rwlock_t remap;

	pthread_mutex_t pool_lock;
	struct local_read *pool[POOL_MAX]; /* reset transactions, ready to be renewed */
	size_t pooled;
};

static enum rc index_error(const struct local_index *index, int rc, struct err *err)
{
	const char *path = index->path;

	switch (rc) {
	case MDB_SUCCESS:
		return RC_OK;
	case MDB_NOTFOUND:
		return RC_NOT_FOUND;
	case MDB_READERS_FULL:
		return err_set(err, RC_BUSY, "index %s: more than %d readers at once", path,
			       READERS_MAX);
	case MDB_MAP_FULL:
		return err_set(err, RC_TOO_LARGE, "index %s: an index ends at 1 TiB", path);
	case MDB_TXN_FULL:
		return err_set(err, RC_TOO_LARGE,
			       "index %s: LMDB has no room for so many changes at once", path);
	case ENOMEM:
		return err_set(err, RC_NO_MEMORY,
			       "index %s: no address space or memory left for it (ulimit -v)",
			       path);
	case MDB_VERSION_MISMATCH:
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_CURSOR_FULL:
	case MDB_PAGE_FULL:
	case MDB_INCOMPATIBLE:
	case MDB_BAD_TXN:
	case MDB_BAD_DBI:
		return err_set(err, RC_CORRUPT,
			       "index %s is damaged (%s); `castor index rebuild` rebuilds it", path,
			       mdb_strerror(rc));
	case EACCES:
	case EPERM:
	case EROFS:
		return err_set(err, RC_DENIED, "index %s: %s", path, mdb_strerror(rc));
	case EAGAIN:
		return err_set(err, RC_BUSY,
			       "index %s: its lock is held by a process with the same number in "
			       "another pid namespace; give both the same pid namespace",
			       path);
	default:
		return err_errno(err, rc > 0 ? rc : EIO, "index %s", path);
	}
}

static void assert_failed(MDB_env *env, const char *message)
{
	const char *path = NULL;

	(void)mdb_env_get_path(env, &path);
	log_error("index %s is damaged (%s); `castor index rebuild` rebuilds it", path ? path : "?",
		  message);
}

/* ---- Opening ---- */

/* Where address space is limited, threads and buffers need some too. */
static size_t first_map_size(void)
{
	size_t size = MAP_SIZE_WISH;
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
		while (size > limit.rlim_cur / 4 && size > MAP_SIZE_LEAST)
			size >>= 1;
	}
	return size;
}

/* On a full disk, LMDB's first touch of a lock file that has holes is a SIGBUS. */
static enum rc fill_lock_file(const struct local_index *index, bool create, mode_t mode,
			      struct err *err)
{
	static const uint8_t zeros[LOCK_FILE_SIZE];
	AUTO_FREE char *path = mem_printf("%s-lock", index->path);
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return index_error(index, errno, err);
	/* It may be another user's, who has set its mode. */
	if (create && fchmod(fd, mode) != 0 && errno != EPERM)
		return err_errno(err, errno, "index %s", path);
	off_t size = st.st_size > LOCK_FILE_SIZE / 2 ? st.st_size : LOCK_FILE_SIZE;
	if (fallocate(fd, 0, 0, size) == 0)
		return RC_OK;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return err_errno(err, errno, "index %s", path);
	return st.st_size > 0 ? RC_OK : file_write_all(fd, zeros, sizeof(zeros), path, err);
}

static enum rc reserve_map(struct local_index *index, int flags, mode_t mode, struct err *err)
{
	int rc = ENOMEM;

	for (size_t size = first_map_size(); size >= MAP_SIZE_LEAST; size >>= 1) {
		rc = mdb_env_create(&index->env);
		if (rc != 0)
			return index_error(index, rc, err);
		mdb_env_set_maxreaders(index->env, READERS_MAX);
		mdb_env_set_maxdbs(index->env, LOCAL_TABLES_);
		mdb_env_set_mapsize(index->env, size);
		mdb_env_set_assert(index->env, assert_failed);
		rc = mdb_env_open(index->env, index->path, (unsigned)flags, mode);
		if (rc == 0)
			return RC_OK;
		mdb_env_close(index->env);
		index->env = NULL;
		/* valgrind: EINVAL */
		if (rc != ENOMEM && rc != EINVAL)
			break;
	}
	return index_error(index, rc, err);
}

static enum rc damaged(const struct local_index *index, enum rc rc, struct err *err)
{
	return err_context(err, rc, "index %s is damaged; `castor index rebuild` rebuilds it",
			   index->path);
}

static enum rc truncated(const struct local_index *index, struct err *err)
{
	return err_set(err, RC_CORRUPT, "index %s is cut short; `castor index rebuild` rebuilds it",
		       index->path);
}

static enum rc read_exact(void *context, uint64_t offset, void *out, size_t len, struct err *err)
{
	size_t got;
	enum rc rc = file_pread_full(*(const int *)context, out, len, offset, &got, "index", err);

	return rc == RC_OK && got < len ? err_set(err, RC_CORRUPT, "it is cut short") : rc;
}

/* Before LMDB sees the file: it would make a new one in place of an empty one, and map as much memory
 * as one says that it is long. */
static enum rc check_start(const struct local_index *index, struct err *err)
{
	AUTO_FD int fd = open(index->path, O_RDONLY | O_CLOEXEC);
	uint32_t page_size;
	uint64_t pages;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(err, RC_CORRUPT,
			       "index %s is missing; `castor index rebuild` rebuilds it",
			       index->path);
	if (fd < 0)
		return index_error(index, errno, err);
	enum rc rc = local_index_check_start(read_exact, &fd, &pages, &page_size, err);
	if (rc != RC_OK)
		return rc == RC_CORRUPT ? damaged(index, rc, err) : rc;
	/* After the pages were read: others make it longer meanwhile. */
	if (fstat(fd, &st) != 0)
		return err_errno(err, errno, "index %s", index->path);
	if ((uint64_t)st.st_size / page_size + MISSING_PAGES_MAX < pages)
		return truncated(index, err);
	return RC_OK;
}

/* Reading past the end of the file through the map would be a SIGBUS. */
static enum rc check_length(struct local_index *index, struct err *err)
{
	MDB_envinfo info;
	MDB_stat stat;
	MDB_txn *txn;
	struct stat st;
	int fd;

	if (mdb_env_get_fd(index->env, &fd) != 0 || fstat(fd, &st) != 0)
		return err_errno(err, errno, "index %s", index->path);
	mdb_env_stat(index->env, &stat);
	mdb_env_info(index->env, &info);
	if ((uint64_t)st.st_size / stat.ms_psize > info.me_last_pgno)
		return RC_OK;
	/* Again under the writer lock: nobody extends the file meanwhile. */
	int rc = mdb_txn_begin(index->env, NULL, 0, &txn);
	if (rc != 0)
		return index_error(index, rc, err);
	mdb_env_info(index->env, &info);
	enum rc out = RC_OK;
	uint64_t whole = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
	if (fstat(fd, &st) != 0)
		out = err_errno(err, errno, "index %s", index->path);
	else if ((uint64_t)st.st_size + MISSING_PAGES_MAX * (uint64_t)stat.ms_psize < whole)
		out = truncated(index, err);
	else if ((uint64_t)st.st_size < whole && ftruncate(fd, (off_t)whole) != 0)
		out = err_errno(err, errno, "index %s", index->path);
	mdb_txn_abort(txn);
	return out;
}

/* Every page, where that takes no time to speak of; LMDB itself would crash on damage. The pages
 * are in memory then, which the first lookups thank for. */
static enum rc check_pages(struct local_index *index, struct err *err)
{
	struct stat st;
	MDB_txn *txn;
	int fd;

	if (mdb_env_get_fd(index->env, &fd) != 0 || fstat(fd, &st) != 0)
		return err_errno(err, errno, "index %s", index->path);
	if (st.st_size > CHECKED_SIZE_MAX)
		return RC_OK;
	/* The read transaction keeps the pages that it sees from being written over. */
	int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0)
		return index_error(index, rc, err);
	enum rc out = fstat(fd, &st) == 0 ? local_index_check(read_exact, &fd, (uint64_t)st.st_size,
							      mdb_txn_id(txn), err)
					  : err_errno(err, errno, "index %s", index->path);
	mdb_txn_abort(txn);
	/* Its meta page was written over meanwhile: others use it, and it works for them. */
	if (out == RC_NOT_FOUND)
		return RC_OK;
	return out == RC_CORRUPT ? damaged(index, out, err) : out;
}

/* Makes those from `made` on, where they are not there. */
static int try_tables(struct local_index *index, enum local_table made)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(index->env, NULL, made < LOCAL_TABLES_ ? 0 : MDB_RDONLY, &txn);

	for (enum local_table i = 0; rc == 0 && i < LOCAL_TABLES_; i++) {
		rc = mdb_dbi_open(txn, table_names[i], i >= made ? MDB_CREATE : 0,
				  &index->tables[i]);
		/* Scratch may be missing in an index of an earlier castor. */
		if (rc == MDB_NOTFOUND && i >= LOCAL_TABLE_PENDING && index->read_only) {
			index->tables[i] = NO_TABLE;
			rc = 0;
		}
		if (rc == MDB_NOTFOUND && i < LOCAL_TABLE_PENDING)
			rc = MDB_CORRUPTED;
		if (rc != 0)
			mdb_txn_abort(txn);
	}
	return rc == 0 ? mdb_txn_commit(txn) : rc;
}

static enum rc open_tables(struct local_index *index, bool create, struct err *err)
{
	int rc = try_tables(index, create ? (enum local_table)0 : LOCAL_TABLES_);

	/* The table of scratch may be missing: an index of an earlier castor. */
	if (rc == MDB_NOTFOUND)
		rc = try_tables(index, LOCAL_TABLE_PENDING);
	return index_error(index, rc, err);
}

static enum rc set_mode(struct local_index *index, mode_t mode, struct err *err)
{
	int fd;

	if (mdb_env_get_fd(index->env, &fd) != 0 || fchmod(fd, mode) != 0)
		return err_errno(err, errno, "index %s", index->path);
	return RC_OK;
}

static struct local_index *index_new(const char *path)
{
	struct local_index *index = mem_zalloc(sizeof(*index));

	index->path = mem_strdup(path);
	index->lock_fd = -1;
	pthread_mutex_init(&index->turn_lock, NULL);
	cond_init(&index->turn_ended);
	pthread_rwlock_init(&index->remap, NULL);
	pthread_mutex_init(&index->pool_lock, NULL);
	return index;
}

enum rc local_index_open(const char *path, enum local_index_mode mode, mode_t file_mode,
			 struct local_index **out, struct err *err)
{
	bool create = mode != LOCAL_INDEX_OPEN;
	int flags = MDB_NOSUBDIR | MDB_NOTLS | (mode == LOCAL_INDEX_BUILD ? MDB_NOSYNC : 0);

	*out = NULL;
	struct local_index *index = index_new(path);

	index->building = mode == LOCAL_INDEX_BUILD;
	enum rc rc = create ? RC_OK : check_start(index, err);
	if (rc == RC_OK)
		rc = fill_lock_file(index, create, file_mode, err);
	if (rc == RC_OK)
		rc = reserve_map(index, flags, file_mode, err);
	if (rc == RC_OK && create)
		rc = set_mode(index, file_mode, err);
	if (rc == RC_OK) {
		index->lock_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (index->lock_fd < 0)
			rc = index_error(index, errno, err);
	}
	if (rc == RC_OK) {
		int dead;

		(void)mdb_reader_check(index->env, &dead);
		rc = check_length(index, err);
	}
	if (rc == RC_OK && !create)
		rc = check_pages(index, err);
	if (rc == RC_OK)
		rc = open_tables(index, create, err);
	if (rc != RC_OK) {
		local_index_close(index);
		return rc;
	}
	*out = index;
	return RC_OK;
}

/* What LMDB calls the newest state: copies of it before and after tell whether there was a commit. */
static enum rc read_metas(int fd, uint8_t *out, size_t len, size_t page_size, struct err *err)
{
	enum rc rc = read_exact(&fd, 0, out, len, err);

	return rc == RC_OK ? read_exact(&fd, page_size, out + len, len, err) : rc;
}

static enum rc copy_once(int from, int to, size_t page_size, bool *whole, struct err *err)
{
	enum { META = 256, PIECE = 1 << 20 };
	uint8_t before[2 * META], after[2 * META];
	AUTO_FREE uint8_t *piece = mem_alloc(PIECE);
	enum rc rc = read_metas(from, before, META, page_size, err);
	uint64_t at = 0;
	size_t got = PIECE;

	if (rc == RC_OK && ftruncate(to, 0) != 0)
		rc = err_errno(err, errno, "a copy of the index");
	for (; rc == RC_OK && got == PIECE; at += got) {
		rc = file_pread_full(from, piece, PIECE, at, &got, "index", err);
		if (rc == RC_OK)
			rc = file_pwrite_all(to, piece, got, at, "a copy of the index", err);
	}
	if (rc == RC_OK)
		rc = read_metas(from, after, META, page_size, err);
	*whole = rc == RC_OK && memcmp(before, after, sizeof(before)) == 0;
	return rc;
}

/* A change that is under way writes to no page of the last state, so that a copy during which nothing
 * was committed is whole. */
static enum rc copy_index(const char *path, int to, struct err *err)
{
	enum { TRIES = 20 };
	AUTO_FD int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint32_t page_size;
	uint64_t pages;
	bool whole = false;

	if (from < 0 && errno == ENOENT)
		return err_set(err, RC_CORRUPT,
			       "index %s is missing; `castor index rebuild` rebuilds it", path);
	if (from < 0)
		return err_errno(err, errno, "index %s", path);
	enum rc rc = local_index_check_start(read_exact, &from, &pages, &page_size, err);
	for (int i = 0; rc == RC_OK && !whole && i < TRIES; i++)
		rc = copy_once(from, to, page_size, &whole, err);
	if (rc == RC_OK && !whole)
		rc = err_set(err, RC_BUSY, "it is being changed all the time; try again");
	return rc == RC_OK ? rc : err_context(err, rc, "index %s", path);
}

enum rc local_index_open_copy(const char *path, struct local_index **out, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	AUTO_FD int fd = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	*out = NULL;
	if (fd < 0)
		fd = memfd_create("castor-index", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "a copy of the index");
	AUTO_FREE char *name = mem_printf("/proc/self/fd/%d", fd);
	struct local_index *index = index_new(path);
	index->read_only = true;
	enum rc rc = copy_index(path, fd, err);
	if (rc == RC_OK) {
		free(index->path);
		index->path = mem_strdup(name);
		rc = reserve_map(index, MDB_NOSUBDIR | MDB_NOTLS | MDB_RDONLY | MDB_NOLOCK, 0, err);
	}
	if (rc == RC_OK)
		rc = check_pages(index, err);
	if (rc == RC_OK)
		rc = open_tables(index, false, err);
	free(index->path);
	index->path = mem_strdup(path);
	if (rc != RC_OK) {
		local_index_close(index);
		return rc;
	}
	*out = index;
	return RC_OK;
}

void local_index_close(struct local_index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < index->pooled; i++) {
		mdb_txn_abort(index->pool[i]->txn);
		free(index->pool[i]);
	}
	if (index->env)
		mdb_env_close(index->env);
	fd_cleanup(&index->lock_fd);
	pthread_cond_destroy(&index->turn_ended);
	pthread_mutex_destroy(&index->turn_lock);
	pthread_rwlock_destroy(&index->remap);
	pthread_mutex_destroy(&index->pool_lock);
	free(index->path);
	free(index);
}

enum rc local_index_sync(struct local_index *index, struct err *err)
{
	return index_error(index, mdb_env_sync(index->env, 1), err);
}

/* LMDB unmaps what it has before it maps more, and is lost where that fails. */
static bool has_address_space(size_t more)
{
	void *at = mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at != MAP_FAILED && munmap(at, more) == 0;
}

/* The file has outgrown the map, by this process's changes (grow) or by another's. No transaction of
 * this process is active while `remap` is held exclusively. */
static int change_map(struct local_index *index, bool grow)
{
	MDB_envinfo info;
	MDB_stat stat;
	int rc = ENOMEM;

	pthread_rwlock_wrlock(&index->remap);
	if (!index->lost) {
		mdb_env_info(index->env, &info);
		mdb_env_stat(index->env, &stat);
		size_t least = grow ? info.me_mapsize + MAP_SIZE_LEAST
				    : (info.me_last_pgno + 1) * stat.ms_psize;
		size_t size = info.me_mapsize;
		while (size < least || (grow && size == info.me_mapsize))
			size *= 2;
		if (size > info.me_mapsize && !has_address_space(size - info.me_mapsize))
			size = least;
		if (grow && least > MAP_SIZE_WISH)
			rc = MDB_MAP_FULL;
		else if (size <= info.me_mapsize)
			rc = 0; /* another thread was here */
		else if (has_address_space(size - info.me_mapsize)) {
			rc = mdb_env_set_mapsize(index->env, size);
			index->lost = rc != 0;
		}
	}
	pthread_rwlock_unlock(&index->remap);
	return rc;
}

/* ---- Reading ---- */

static struct local_read *take_pooled(struct local_index *index)
{
	struct local_read *read = NULL;

	pthread_mutex_lock(&index->pool_lock);
	if (index->pooled > 0)
		read = index->pool[--index->pooled];
	pthread_mutex_unlock(&index->pool_lock);
	return read;
}

enum rc local_index_read(struct local_index *index, struct local_read **out, struct err *err)
{
	struct local_read *read = take_pooled(index);
	int rc;

	*out = NULL;
	if (!read) {
		read = mem_zalloc(sizeof(*read));
		read->index = index;
	}
	for (;;) {
		pthread_rwlock_rdlock(&index->remap);
		if (index->lost)
			rc = ENOMEM;
		else if (read->txn)
			rc = mdb_txn_renew(read->txn);
		else
			rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &read->txn);
		if (rc == 0)
			break;
		pthread_rwlock_unlock(&index->remap);
		if (rc != MDB_MAP_RESIZED)
			break;
		rc = change_map(index, false);
		if (rc != 0)
			break;
	}
	if (rc != 0) {
		if (read->txn)
			mdb_txn_abort(read->txn);
		free(read);
		return index_error(index, rc, err);
	}
	*out = read;
	return RC_OK;
}

void local_read_end(struct local_read *read)
{
	if (!read)
		return;
	struct local_index *index = read->index;
	mdb_txn_reset(read->txn);
	pthread_mutex_lock(&index->pool_lock);
	if (index->pooled < POOL_MAX) {
		index->pool[index->pooled++] = read;
		read = NULL;
	}
	pthread_mutex_unlock(&index->pool_lock);
	if (read) {
		mdb_txn_abort(read->txn);
		free(read);
	}
	pthread_rwlock_unlock(&index->remap);
}

static MDB_val val_of(struct view view)
{
	return (MDB_val){ .mv_size = view.len, .mv_data = (void *)(uintptr_t)view.ptr };
}

static enum rc get(struct local_index *index, MDB_txn *txn, enum local_table table, struct view key,
		   struct view *value, struct err *err)
{
	MDB_val k = val_of(key), v;
	int rc = index->tables[table] == NO_TABLE ? MDB_NOTFOUND
						  : mdb_get(txn, index->tables[table], &k, &v);

	*value = rc == 0 ? view_of(v.mv_data, v.mv_size) : view_of(NULL, 0);
	return index_error(index, rc, err);
}

enum rc local_read_get(struct local_read *read, enum local_table table, struct view key,
		       struct view *value, struct err *err)
{
	return get(read->index, read->txn, table, key, value, err);
}

enum rc local_read_scan(struct local_read *read, enum local_table table, struct view after,
			local_read_each *each, void *context, struct err *err)
{
	MDB_cursor *cursor;
	MDB_val k = val_of(after), v;
	int rc = mdb_cursor_open(read->txn, read->index->tables[table], &cursor);

	if (rc != 0)
		return index_error(read->index, rc, err);
	rc = mdb_cursor_get(cursor, &k, &v, after.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
	if (rc == 0 && after.len > 0 && view_equal(view_of(k.mv_data, k.mv_size), after))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	while (rc == 0 &&
	       each(context, view_of(k.mv_data, k.mv_size), view_of(v.mv_data, v.mv_size)))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? RC_OK : index_error(read->index, rc, err);
}

enum rc local_read_count(struct local_read *read, enum local_table table, uint64_t *out,
			 struct err *err)
{
	MDB_stat stat;
	int rc = mdb_stat(read->txn, read->index->tables[table], &stat);

	*out = rc == 0 ? stat.ms_entries : 0;
	return index_error(read->index, rc, err);
}

/* ---- Writing ---- */

static int lock_file(const struct local_index *index, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };

	return fcntl(index->lock_fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

static void end_turn(struct local_index *index)
{
	pthread_mutex_lock(&index->turn_lock);
	index->writing = false;
	pthread_cond_signal(&index->turn_ended);
	pthread_mutex_unlock(&index->turn_lock);
}

static enum rc begin_turn(struct local_index *index, const struct op *op, struct err *err)
{
	int64_t pause = LOCK_PAUSE_LEAST_NS;
	enum rc rc = RC_OK;
	int failed;

	pthread_mutex_lock(&index->turn_lock);
	while (index->writing && rc == RC_OK)
		rc = cond_wait_op(&index->turn_ended, &index->turn_lock, op, err);
	if (rc == RC_OK)
		index->writing = true;
	pthread_mutex_unlock(&index->turn_lock);
	if (rc != RC_OK)
		return rc;
	while (rc == RC_OK && (failed = lock_file(index, F_WRLCK)) != 0) {
		rc = failed == EAGAIN || failed == EACCES || failed == EINTR
			     ? op_check(op, err)
			     : err_errno(err, failed, "cannot lock index %s", index->path);
		if (rc == RC_OK)
			clock_sleep_ns(pause);
		pause = pause < LOCK_PAUSE_MOST_NS ? 2 * pause : pause;
	}
	if (rc != RC_OK)
		end_turn(index);
	return rc;
}

static int write_once(struct local_index *index, local_change *change, void *context, enum rc *out,
		      struct err *err)
{
	struct local_write write = { .index = index };

	pthread_rwlock_rdlock(&index->remap);
	int dead, rc = index->lost ? ENOMEM : mdb_reader_check(index->env, &dead);
	/* What killed readers saw need not be kept any longer. */
	if (rc == 0)
		rc = mdb_txn_begin(index->env, NULL, 0, &write.txn);
	if (rc == 0) {
		*out = change(&write, context, err);
		if (*out == RC_OK) {
			rc = mdb_txn_commit(write.txn);
		} else {
			rc = write.failed;
			mdb_txn_abort(write.txn);
		}
	}
	pthread_rwlock_unlock(&index->remap);
	return rc;
}

static enum rc write_in_turn(struct local_index *index, local_change *change, void *context,
			     struct err *err)
{
	for (;;) {
		enum rc out = RC_OK;
		int rc = write_once(index, change, context, &out, err);

		if (rc == MDB_MAP_RESIZED || rc == MDB_MAP_FULL)
			rc = change_map(index, rc == MDB_MAP_FULL);
		else if (out != RC_OK)
			return out;
		else
			return index_error(index, rc, err);
		if (rc != 0)
			return index_error(index, rc, err);
	}
}

enum rc local_index_write(struct local_index *index, const struct op *op, local_change *change,
			  void *context, struct err *err)
{
	if (index->read_only)
		return err_set(err, RC_DENIED, "index %s is open for reading only", index->path);
	enum rc rc = begin_turn(index, op, err);

	if (rc != RC_OK)
		return rc;
	rc = write_in_turn(index, change, context, err);
	(void)lock_file(index, F_UNLCK);
	end_turn(index);
	return rc;
}

enum rc local_write_get(struct local_write *write, enum local_table table, struct view key,
			struct view *value, struct err *err)
{
	return get(write->index, write->txn, table, key, value, err);
}

enum rc local_write_put(struct local_write *write, enum local_table table, struct view key,
			struct view value, struct err *err)
{
	MDB_val k = val_of(key), v = val_of(value);
	int rc = mdb_put(write->txn, write->index->tables[table], &k, &v, 0);

	write->failed = rc;
	return index_error(write->index, rc, err);
}

enum rc local_write_add(struct local_write *write, enum local_table table, struct view key,
			struct view value, bool *added, struct err *err)
{
	MDB_val k = val_of(key), v = val_of(value);
	int rc = mdb_put(write->txn, write->index->tables[table], &k, &v, MDB_NOOVERWRITE);

	*added = rc == 0;
	if (rc == MDB_KEYEXIST)
		return RC_OK;
	write->failed = rc;
	return index_error(write->index, rc, err);
}

enum rc local_write_delete(struct local_write *write, enum local_table table, struct view key,
			   struct err *err)
{
	MDB_val k = val_of(key);
	int rc = mdb_del(write->txn, write->index->tables[table], &k, NULL);

	if (rc != MDB_NOTFOUND)
		write->failed = rc;
	return index_error(write->index, rc, err);
}
