/*
 * The files of stat_cache.h:
 *
 *	header   sixteen bytes, `magic`; the boot's id, 36 characters of text; u32 0; the realtime
 *	         clock minus that of the time since boot, s64 ns
 *	records  88 bytes a file: mount u64, filesystem u64, inode u64, size u64, mtime s64 and
 *	         u32 ns, ctime s64 and u32 ns, BLAKE3 of the content; numbers little-endian
 *	trailer  BLAKE3 of all that comes before it
 */
#include "transfer/stat_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

static const uint8_t magic[16] = "castor tree 2\n";

enum {
	BOOT_ID_SIZE = 36,
	BOOT_SIZE = BOOT_ID_SIZE + 4, /* in the header, and the clock after it */
	HEADER_SIZE = sizeof(magic) + BOOT_SIZE + 8,
	RECORD_SIZE = 88,
	STAT_SIZE = 56, /* of a record, before its digest */
	BUFFER_SIZE = 1024 * RECORD_SIZE,
	KEY_SIZE = 16,
	TREES_MAX = 4096,
};
/* Of one tree: three million files. Of all. */
#define FILE_MAX  (UINT64_C(256) << 20)
#define TOTAL_MAX (UINT64_C(1) << 30)
/* How much the clock may have been set since, well under the age that a file must have. */
#define CLOCK_SET_MAX (20 * NS_PER_S)

int stat_cache_age_s = 60;

/* ---- The directory ---- */

/* Where it is; NULL: nowhere. */
static char *directory_path(void)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	/* Relative ones are to be ignored, says the XDG specification. */
	if (cache && cache[0] == '/')
		return mem_printf("%s/castor/trees", cache);
	if (home && home[0] == '/')
		return mem_printf("%s/.cache/castor/trees", home);
	return NULL;
}

/* -1: there is none that this user alone can write. */
static int directory_open(bool create)
{
	char *path AUTO_FREE = directory_path();
	int fd AUTO_FD = -1;
	struct stat st;
	int out;

	if (!path)
		return -1;
	if (create && file_mkdirs(path, 0700, NULL) != RC_OK)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
		log_debug("the stat cache %s is not private to this user: not used", path);
		return -1;
	}
	out = fd;
	fd = -1;
	return out;
}

static void put_u32(uint8_t *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> 8 * i);
}

static void put_u64(uint8_t *out, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_u64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

static void put_time(uint8_t *out, struct timespec time)
{
	put_u64(out, (uint64_t)time.tv_sec);
	put_u32(out + 8, (uint32_t)time.tv_nsec);
}

/* All that tells whether the file is the same: two stats are the same where these bytes are. */
static void put_stat(uint8_t out[STAT_SIZE], const struct tree_stat *stat)
{
	put_u64(out, stat->mount);
	put_u64(out + 8, stat->filesystem);
	put_u64(out + 16, stat->inode);
	put_u64(out + 24, stat->size);
	put_time(out + 32, stat->mtime);
	put_time(out + 44, stat->ctime);
}

/* The header. False: this boot cannot be told from another. */
static bool make_header(uint8_t out[HEADER_SIZE])
{
	struct buf id CLEANUP(buf_release) = BUF_INIT;
	struct timespec up;

	if (file_read_path(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &id, NULL) != RC_OK ||
	    id.len < BOOT_ID_SIZE || clock_gettime(CLOCK_BOOTTIME, &up) != 0)
		return false;
	memset(out, 0, HEADER_SIZE);
	memcpy(out, magic, sizeof(magic));
	memcpy(out + sizeof(magic), id.ptr, BOOT_ID_SIZE);
	put_u64(out + sizeof(magic) + BOOT_SIZE,
		(uint64_t)(clock_realtime_ns() - (up.tv_sec * NS_PER_S + up.tv_nsec)));
	return true;
}

/* Is it one of this boot, and has the clock not been set since? */
static bool is_of_now(const uint8_t header[HEADER_SIZE])
{
	uint8_t now[HEADER_SIZE];
	int64_t set;

	if (!make_header(now) || memcmp(header, now, sizeof(magic) + BOOT_SIZE) != 0)
		return false;
	set = (int64_t)(get_u64(now + sizeof(magic) + BOOT_SIZE) -
			get_u64(header + sizeof(magic) + BOOT_SIZE));
	return set <= CLOCK_SET_MAX && set >= -CLOCK_SET_MAX;
}

/* A tree's name is a hash of its root's place. */
static void name_of(const struct tree_stat *root, char out[2 * KEY_SIZE + 1])
{
	uint8_t place[16];
	struct digest digest;

	put_u64(place, root->filesystem);
	put_u64(place + 8, root->inode);
	digest = digest_of(view_of(place, sizeof(place)));
	hex_encode(digest.bytes, KEY_SIZE, out);
}

/* ---- Reading ---- */

struct stat_cache_reader {
	int fd;
	uint64_t left; /* bytes of records not yet in the buffer */
	uint64_t offset;
	struct hasher hasher;
	size_t at, len;
	uint8_t buffer[BUFFER_SIZE];
};

void stat_cache_close(struct stat_cache_reader *reader)
{
	if (!reader)
		return;
	close(reader->fd);
	free(reader);
}

static bool read_at(struct stat_cache_reader *reader, void *out, size_t len)
{
	size_t got;

	if (file_pread_full(reader->fd, out, len, reader->offset, &got, "stat cache", NULL) !=
		    RC_OK ||
	    got != len)
		return false;
	reader->offset += len;
	return true;
}

struct stat_cache_reader *stat_cache_open(const struct tree_stat *root)
{
	char name[2 * KEY_SIZE + 1];
	uint8_t header[HEADER_SIZE];
	struct stat_cache_reader *reader;
	int dirfd AUTO_FD = directory_open(false);
	struct stat st;
	int fd;

	if (dirfd < 0 || root->mount == 0)
		return NULL;
	name_of(root, name);
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	reader = mem_zalloc(sizeof(*reader));
	reader->fd = fd;
	hasher_init(&reader->hasher);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_size < (off_t)(HEADER_SIZE + DIGEST_SIZE) ||
	    ((uint64_t)st.st_size - HEADER_SIZE - DIGEST_SIZE) % RECORD_SIZE != 0 ||
	    !read_at(reader, header, sizeof(header)) || !is_of_now(header)) {
		stat_cache_close(reader);
		return NULL;
	}
	hasher_update(&reader->hasher, header, sizeof(header));
	reader->left = (uint64_t)st.st_size - HEADER_SIZE - DIGEST_SIZE;
	/* Its age tells which to give up first. */
	futimens(fd, NULL);
	return reader;
}

bool stat_cache_next(struct stat_cache_reader *reader, const struct tree_stat *stat,
		     struct digest *out)
{
	uint8_t expected[STAT_SIZE];
	const uint8_t *record;

	if (reader->at == reader->len) {
		size_t len = reader->left < BUFFER_SIZE ? (size_t)reader->left : BUFFER_SIZE;

		if (len == 0 || !read_at(reader, reader->buffer, len))
			return false;
		hasher_update(&reader->hasher, reader->buffer, len);
		reader->left -= len;
		reader->len = len;
		reader->at = 0;
	}
	record = reader->buffer + reader->at;
	put_stat(expected, stat);
	if (stat->mount == 0 || memcmp(record, expected, STAT_SIZE) != 0)
		return false;
	memcpy(out->bytes, record + STAT_SIZE, DIGEST_SIZE);
	reader->at += RECORD_SIZE;
	return true;
}

bool stat_cache_finish(struct stat_cache_reader *reader)
{
	struct digest stored, computed = hasher_final(&reader->hasher);

	if (reader->left > 0 || reader->at != reader->len ||
	    !read_at(reader, stored.bytes, sizeof(stored.bytes)))
		return false;
	return digest_equal(&stored, &computed);
}

/* ---- Writing ---- */

struct stat_cache_writer {
	int dirfd, fd;
	bool failed;
	struct timespec old; /* a ctime after this is too young */
	uint64_t written;
	struct hasher hasher;
	char name[2 * KEY_SIZE + 1];
	char temporary[64];
	size_t len;
	uint8_t buffer[BUFFER_SIZE];
};

static void append(struct stat_cache_writer *writer, const void *bytes, size_t len)
{
	if (writer->failed)
		return;
	hasher_update(&writer->hasher, bytes, len);
	writer->written += len;
	if (writer->written > FILE_MAX ||
	    file_write_all(writer->fd, bytes, len, "stat cache", NULL) != RC_OK)
		writer->failed = true;
}

struct stat_cache_writer *stat_cache_create(const struct tree_stat *root)
{
	int dirfd, fd;
	struct stat_cache_writer *writer;
	uint8_t header[HEADER_SIZE];
	static atomic_uint number;

	if (root->mount == 0 || !make_header(header))
		return NULL;
	dirfd = directory_open(true);
	if (dirfd < 0)
		return NULL;
	writer = mem_zalloc(sizeof(*writer));
	name_of(root, writer->name);
	snprintf(writer->temporary, sizeof(writer->temporary), "%s.%ld.%u.tmp", writer->name,
		 (long)getpid(), atomic_fetch_add(&number, 1));
	fd = openat(dirfd, writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0) {
		close(dirfd);
		free(writer);
		return NULL;
	}
	writer->dirfd = dirfd;
	writer->fd = fd;
	clock_gettime(CLOCK_REALTIME, &writer->old);
	writer->old.tv_sec -= stat_cache_age_s;
	hasher_init(&writer->hasher);
	append(writer, header, sizeof(header));
	return writer;
}

static bool is_after(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

bool stat_cache_settle(const struct stat_cache_writer *writer, struct tree_stat *stat, int fd)
{
	/* Written-back pages are write-protected in every mapping: the next write faults, and stamps
	 * the file. Pages of a file that nobody writes to are clean, and nothing is waited for. */
	if (writer && stat->mount != 0 && !is_after(stat->ctime, writer->old) &&
	    sync_file_range(fd, 0, 0,
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) == 0)
		return true;
	stat->mount = 0;
	return false;
}

void stat_cache_add(struct stat_cache_writer *writer, const struct tree_stat *stat,
		    const struct digest *digest)
{
	if (writer->failed)
		return;
	if (stat->mount == 0 || is_after(stat->ctime, writer->old)) {
		writer->failed = true;
		return;
	}
	put_stat(writer->buffer + writer->len, stat);
	memcpy(writer->buffer + writer->len + STAT_SIZE, digest->bytes, DIGEST_SIZE);
	writer->len += RECORD_SIZE;
	if (writer->len == BUFFER_SIZE) {
		append(writer, writer->buffer, writer->len);
		writer->len = 0;
	}
}

struct found {
	char name[sizeof(((struct dirent *)0)->d_name)];
	struct timespec time;
	uint64_t size;
};

static int found_compare(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	/* The youngest first. */
	return is_after(x->time, y->time) ? -1 : is_after(y->time, x->time) ? 1 : 0;
}

/* Keeps the youngest that fit, removes the rest, and leftovers of imports that were killed. */
static void prune(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct found *found = NULL;
	size_t count = 0, cap = 0;
	uint64_t total = 0;
	struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		found = mem_grow(found, count, &cap, 64, sizeof(*found));
		found[count].time = st.st_mtim;
		found[count].size = (uint64_t)st.st_size;
		strcpy(found[count++].name, d->d_name);
	}
	closedir(dir);
	if (count > 0)
		qsort(found, count, sizeof(*found), found_compare);
	for (size_t i = 0; i < count; i++) {
		total += found[i].size;
		if (i >= TREES_MAX || total > TOTAL_MAX)
			unlinkat(dirfd, found[i].name, 0);
	}
	free(found);
}

void stat_cache_commit(struct stat_cache_writer *writer)
{
	struct digest digest;

	append(writer, writer->buffer, writer->len);
	digest = hasher_final(&writer->hasher);
	append(writer, digest.bytes, sizeof(digest.bytes));
	if (writer->failed)
		return;
	/* Not synced: what a crash leaves of it has the wrong checksum. */
	if (renameat(writer->dirfd, writer->temporary, writer->dirfd, writer->name) != 0)
		return;
	writer->temporary[0] = '\0';
	prune(writer->dirfd);
}

void stat_cache_free(struct stat_cache_writer *writer)
{
	if (!writer)
		return;
	if (writer->temporary[0])
		unlinkat(writer->dirfd, writer->temporary, 0);
	close(writer->fd);
	close(writer->dirfd);
	free(writer);
}
