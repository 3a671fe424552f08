/*
 * A library for LD_PRELOAD that stands between castor and the files of a store, for crash tests:
 * it counts what changes files or makes changes durable, and at a chosen call kills the process or
 * lets the call fail; or it writes down every such call with its data.
 *
 *	CASTOR_CRASH_DIR	the directory (a real path) below which calls count
 *	CASTOR_CRASH_MODE	count | kill | torn | record | full | once-full | sync-error
 *	CASTOR_CRASH_AT		the number of the call, from 0
 *	CASTOR_CRASH_LOG	where count and record leave what they saw
 *
 * kill dies before the call; torn does half of it first, if it is a write. full fails everything
 * that needs space from that call on with ENOSPC, once-full just one; sync-error fails one sync
 * with EIO.
 *
 * The log of `record`, little-endian, one entry a call, appended by all processes one after the
 * other: u8 operation, u8 durable at once, u64 inode, u64 offset, u64 length, u16 and u16 lengths
 * of two paths; then the paths, relative to the directory; then for writes the data. crash-test.py
 * reads it. The mutex is held over the real call, so that the order of the entries is a true one.
 */
#undef _FILE_OFFSET_BITS /* both open and open64 are wanted, as functions of their own */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { OFF, COUNT, KILL, TORN, RECORD, FULL, ONCE_FULL, SYNC_ERROR };

/* As crash-test.py has them. */
enum operation {
	OP_CREATE = 1, /* a file came to be under path */
	OP_WRITE,
	OP_TRUNCATE, /* to offset */
	OP_ALLOCATE, /* offset, length; the size grows */
	OP_SYNC,     /* data of the inode; of a directory: its names */
	OP_SYNC_ALL,
	OP_RENAME,
	OP_LINK,
	OP_UNLINK,
	OP_MKDIR,
	OP_RMDIR,
	OP_ACKNOWLEDGED, /* standard output was flushed */
	OP_MAPPED,       /* writable and shared: its writes go unseen */
};

static enum mode mode;
static char directory[PATH_MAX];
static size_t directory_len;
static long at = -1;
static long seen; /* calls so far; under the mutex */
static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void *next_symbol(const char *name)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	if (!symbol)
		abort();
	return symbol;
}

static void log_bytes(const void *bytes, size_t len)
{
	if (syscall(SYS_write, log_fd, bytes, len) != (long)len)
		abort();
}

__attribute__((constructor)) static void start(void)
{
	static const char *const names[] = {
		[OFF] = "off",
		[COUNT] = "count",
		[KILL] = "kill",
		[TORN] = "torn",
		[RECORD] = "record",
		[FULL] = "full",
		[ONCE_FULL] = "once-full",
		[SYNC_ERROR] = "sync-error",
	};
	const char *text = getenv("CASTOR_CRASH_MODE"), *log = getenv("CASTOR_CRASH_LOG");

	for (size_t i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0)
			mode = (enum mode)i;
	}
	text = getenv("CASTOR_CRASH_DIR");
	if (mode == OFF || !text)
		return;
	directory_len = strlen(text);
	memcpy(directory, text, directory_len + 1);
	text = getenv("CASTOR_CRASH_AT");
	if (text)
		at = strtol(text, NULL, 10);
	if (log)
		log_fd = (int)syscall(SYS_openat, AT_FDCWD, log,
				      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((destructor)) static void stop(void)
{
	if (mode == COUNT)
		dprintf(log_fd, "%ld\n", seen);
}

/* ---- Which calls count ---- */

/* The part of a path below the directory; NULL where it is not below. */
static const char *below(const char *path)
{
	if (strncmp(path, directory, directory_len) != 0)
		return NULL;
	if (path[directory_len] == '\0')
		return "";
	return path[directory_len] == '/' ? path + directory_len + 1 : NULL;
}

static const char *path_of_fd(int fd, char buffer[PATH_MAX])
{
	char link[64];
	ssize_t len;

	if (mode == OFF || fd < 0)
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, buffer, PATH_MAX - 1);
	if (len < 0)
		return NULL;
	buffer[len] = '\0';
	return below(buffer);
}

/* Real path of the parent, and the last component as it is. */
static const char *path_at(int dirfd, const char *path, char buffer[PATH_MAX])
{
	char whole[2 * PATH_MAX], base[PATH_MAX], *slash;
	size_t len = 0;

	if (mode == OFF)
		return NULL;
	if (path[0] != '/') {
		char link[64];
		ssize_t got;

		if (dirfd == AT_FDCWD)
			snprintf(link, sizeof(link), "/proc/self/cwd");
		else
			snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
		got = readlink(link, whole, PATH_MAX - 1);
		if (got < 0)
			return NULL;
		len = (size_t)got;
		whole[len++] = '/';
	}
	if (strlen(path) >= PATH_MAX)
		return NULL;
	memcpy(whole + len, path, strlen(path) + 1);
	slash = strrchr(whole, '/');
	snprintf(base, sizeof(base), "%.*s", PATH_MAX - 1, slash + 1);
	*slash = '\0';
	if (!realpath(whole[0] ? whole : "/", buffer))
		return NULL;
	len = strlen(buffer);
	if (len + strlen(base) + 2 > PATH_MAX)
		return NULL;
	buffer[len] = '/';
	memcpy(buffer + len + 1, base, strlen(base) + 1);
	return below(buffer);
}

static void die(void)
{
	syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	for (;;)
		pause();
}

/* ---- One call ---- */

enum need { NEEDS_NOTHING, NEEDS_SPACE, NEEDS_SYNC };

/* Takes the mutex; `leave` gives it back. An errno to fail with, or 0. *half: do half a write, then
 * die. */
static int enter(enum need need, bool *half)
{
	long number;

	pthread_mutex_lock(&mutex);
	if ((mode == FULL || mode == ONCE_FULL) && need != NEEDS_SPACE)
		return 0;
	if (mode == SYNC_ERROR && need != NEEDS_SYNC)
		return 0;
	number = seen++;
	if (half)
		*half = mode == TORN && number == at;
	if ((mode == KILL || (mode == TORN && !half)) && number == at)
		die();
	if ((mode == FULL && number >= at) || (mode == ONCE_FULL && number == at))
		return ENOSPC;
	if (mode == SYNC_ERROR && number == at)
		return EIO;
	return 0;
}

static void leave(void)
{
	int saved = errno;

	pthread_mutex_unlock(&mutex);
	errno = saved;
}

static void put(uint8_t *out, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t inode_at(int dirfd, const char *path)
{
	struct stat st;

	return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static void record(enum operation op, bool durable, uint64_t inode, uint64_t offset,
		   uint64_t length, const char *path, const char *path2)
{
	uint8_t head[30];
	int saved = errno;

	if (mode != RECORD)
		return;
	path = path ? path : "";
	path2 = path2 ? path2 : "";
	head[0] = (uint8_t)op;
	head[1] = durable;
	put(head + 2, inode, 8);
	put(head + 10, offset, 8);
	put(head + 18, length, 8);
	put(head + 26, strlen(path), 2);
	put(head + 28, strlen(path2), 2);
	log_bytes(head, sizeof(head));
	log_bytes(path, strlen(path));
	log_bytes(path2, strlen(path2));
	errno = saved;
}

/* ---- Files come to be ---- */

static int open_common(int dirfd, const char *path, int flags, mode_t permissions)
{
	char buffer[PATH_MAX];
	bool changes = flags & (O_CREAT | O_TRUNC);
	const char *name = changes ? path_at(dirfd, path, buffer) : NULL;
	bool existed;
	int failure, fd;

	if ((flags & O_TMPFILE) == O_TMPFILE && path_at(dirfd, path, buffer))
		abort(); /* not modelled */
	if (!name)
		return (int)syscall(SYS_openat, dirfd, path, flags, permissions);
	existed = inode_at(dirfd, path) != 0;
	if (existed && !(flags & O_TRUNC)) /* changes nothing */
		return (int)syscall(SYS_openat, dirfd, path, flags, permissions);
	failure = enter(NEEDS_SPACE, NULL);
	if (failure) {
		errno = failure;
		fd = -1;
	} else {
		fd = (int)syscall(SYS_openat, dirfd, path, flags, permissions);
		if (fd >= 0 && !existed)
			record(OP_CREATE, false, inode_of(fd), 0, 0, name, NULL);
		else if (fd >= 0)
			record(OP_TRUNCATE, false, inode_of(fd), 0, 0, NULL, NULL);
	}
	leave();
	return fd;
}

#define OPEN_ARGS(flags)                                                                           \
	mode_t permissions = 0;                                                                    \
	if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                   \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		permissions = va_arg(args, mode_t);                                                \
		va_end(args);                                                                      \
	}

#define DEFINE_OPEN(name)                                                                          \
	int name(const char *path, int flags, ...);                                                \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		OPEN_ARGS(flags)                                                                   \
		return open_common(AT_FDCWD, path, flags, permissions);                            \
	}
#define DEFINE_OPENAT(name)                                                                        \
	int name(int dirfd, const char *path, int flags, ...);                                     \
	int name(int dirfd, const char *path, int flags, ...)                                      \
	{                                                                                          \
		OPEN_ARGS(flags)                                                                   \
		return open_common(dirfd, path, flags, permissions);                               \
	}
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

static int mkdir_common(int dirfd, const char *path, mode_t permissions)
{
	char buffer[PATH_MAX];
	const char *name = path_at(dirfd, path, buffer);
	int failure, result;

	if (!name || inode_at(dirfd, path) != 0)
		return (int)syscall(SYS_mkdirat, dirfd, path, permissions);
	failure = enter(NEEDS_SPACE, NULL);
	if (failure) {
		errno = failure;
		result = -1;
	} else {
		result = (int)syscall(SYS_mkdirat, dirfd, path, permissions);
		if (result == 0)
			record(OP_MKDIR, false, inode_at(dirfd, path), 0, 0, name, NULL);
	}
	leave();
	return result;
}

int mkdir(const char *path, mode_t permissions)
{
	return mkdir_common(AT_FDCWD, path, permissions);
}

int mkdirat(int dirfd, const char *path, mode_t permissions)
{
	return mkdir_common(dirfd, path, permissions);
}

/* ---- Data ---- */

/* Writes at offset, or at the descriptor's position where offset is -1. */
static ssize_t write_common(int fd, const struct iovec *iov, int count, off64_t offset)
{
	char buffer[PATH_MAX];
	int flags = fcntl(fd, F_GETFL), failure;
	uint64_t start, left;
	bool half = false;
	size_t len = 0;
	ssize_t result;

	failure = enter(NEEDS_SPACE, &half);
	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	start = offset >= 0 ? (uint64_t)offset : (uint64_t)lseek64(fd, 0, SEEK_CUR);
	if (offset < 0 && (flags & O_APPEND))
		start = (uint64_t)lseek64(fd, 0, SEEK_END);
	if (half) {
		/* An enemy's short write: the first half of the bytes, and then the end. */
		left = len / 2;
		for (int i = 0; i < count && left > 0; i++) {
			size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

			syscall(SYS_pwrite64, fd, iov[i].iov_base, part, start);
			start += part;
			left -= part;
		}
		die();
	}
	if (failure) {
		errno = failure;
		result = -1;
	} else if (offset >= 0) {
		result = syscall(SYS_pwritev, fd, iov, count, offset, 0L);
	} else {
		result = syscall(SYS_writev, fd, iov, count);
	}
	if (result > 0 && mode == RECORD) {
		record(OP_WRITE, flags & O_DSYNC, inode_of(fd), start, (uint64_t)result,
		       path_of_fd(fd, buffer), NULL);
		left = (uint64_t)result;
		for (int i = 0; i < count && left > 0; i++) {
			size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

			log_bytes(iov[i].iov_base, part);
			left -= part;
		}
	}
	leave();
	return result;
}

static bool counts(int fd)
{
	char buffer[PATH_MAX];

	return path_of_fd(fd, buffer) != NULL;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, len };

	if (!counts(fd))
		return syscall(SYS_write, fd, bytes, len);
	return write_common(fd, &iov, 1, -1);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	if (!counts(fd))
		return syscall(SYS_writev, fd, iov, count);
	return write_common(fd, iov, count, -1);
}

#define DEFINE_PWRITE(name, type)                                                                  \
	ssize_t name(int fd, const void *bytes, size_t len, type offset)                           \
	{                                                                                          \
		struct iovec iov = { (void *)(uintptr_t)bytes, len };                              \
		if (!counts(fd))                                                                   \
			return syscall(SYS_pwrite64, fd, bytes, len, offset);                      \
		return write_common(fd, &iov, 1, offset);                                          \
	}
DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

#define DEFINE_PWRITEV(name, type)                                                                 \
	ssize_t name(int fd, const struct iovec *iov, int count, type offset)                      \
	{                                                                                          \
		if (!counts(fd))                                                                   \
			return syscall(SYS_pwritev, fd, iov, count, offset, 0L);                   \
		return write_common(fd, iov, count, offset);                                       \
	}
DEFINE_PWRITEV(pwritev, off_t)
DEFINE_PWRITEV(pwritev64, off64_t)

/* A call on a descriptor that has a result of 0 or -1. */
#define SIMPLE_FD_CALL(need, fd, call, op, offset, length)                                         \
	do {                                                                                       \
		int failure, result;                                                               \
		if (!counts(fd))                                                                   \
			return (int)(call);                                                        \
		failure = enter(need, NULL);                                                       \
		if (failure) {                                                                     \
			errno = failure;                                                           \
			result = -1;                                                               \
		} else {                                                                           \
			result = (int)(call);                                                      \
			if (result == 0)                                                           \
				record(op, false, inode_of(fd), (uint64_t)(offset),                \
				       (uint64_t)(length), NULL, NULL);                            \
		}                                                                                  \
		leave();                                                                           \
		return result;                                                                     \
	} while (0)

int ftruncate(int fd, off_t size)
{
	SIMPLE_FD_CALL(NEEDS_SPACE, fd, syscall(SYS_ftruncate, fd, size), OP_TRUNCATE, size, 0);
}

int ftruncate64(int fd, off64_t size)
{
	SIMPLE_FD_CALL(NEEDS_SPACE, fd, syscall(SYS_ftruncate, fd, size), OP_TRUNCATE, size, 0);
}

/* FALLOC_FL_KEEP_SIZE changes nothing that is seen; the other flags are not modelled. */
static int allocate(int fd, int flags, off64_t offset, off64_t len)
{
	if ((flags & ~FALLOC_FL_KEEP_SIZE) && counts(fd))
		abort();
	if (flags & FALLOC_FL_KEEP_SIZE)
		SIMPLE_FD_CALL(NEEDS_SPACE, fd, syscall(SYS_fallocate, fd, flags, offset, len),
			       OP_ALLOCATE, 0, 0);
	SIMPLE_FD_CALL(NEEDS_SPACE, fd, syscall(SYS_fallocate, fd, flags, offset, len), OP_ALLOCATE,
		       offset, len);
}

int fallocate(int fd, int flags, off_t offset, off_t len)
{
	return allocate(fd, flags, offset, len);
}

int fallocate64(int fd, int flags, off64_t offset, off64_t len)
{
	return allocate(fd, flags, offset, len);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
	return allocate(fd, 0, offset, len) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
	return allocate(fd, 0, offset, len) == 0 ? 0 : errno;
}

/* ---- Durability ---- */

int fsync(int fd)
{
	SIMPLE_FD_CALL(NEEDS_SYNC, fd, syscall(SYS_fsync, fd), OP_SYNC, 0, 0);
}

int fdatasync(int fd)
{
	SIMPLE_FD_CALL(NEEDS_SYNC, fd, syscall(SYS_fdatasync, fd), OP_SYNC, 0, 0);
}

int syncfs(int fd)
{
	SIMPLE_FD_CALL(NEEDS_SYNC, fd, syscall(SYS_syncfs, fd), OP_SYNC_ALL, 0, 0);
}

/* Starts writing out; promises nothing, so that it is not recorded. */
int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
	bool half = false;
	int result;

	if (!counts(fd))
		return (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
	if (mode == SYNC_ERROR)
		return (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
	enter(NEEDS_NOTHING, &half);
	result = (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
	leave();
	return result;
}

/* What castor prints is an acknowledgement: what it tells of must outlive anything. */
int fflush(FILE *stream)
{
	static int (*real)(FILE *);
	int result;

	if (!real)
		real = (int (*)(FILE *))(uintptr_t)next_symbol("fflush");
	if (stream != stdout || mode != RECORD || __fpending(stdout) == 0)
		return real(stream);
	pthread_mutex_lock(&mutex);
	result = real(stream);
	if (result == 0)
		record(OP_ACKNOWLEDGED, false, 0, 0, 0, NULL, NULL);
	leave();
	return result;
}

#define DEFINE_MMAP(name, type)                                                                    \
	void *name(void *address, size_t len, int protection, int flags, int fd, type offset)      \
	{                                                                                          \
		char buffer[PATH_MAX];                                                             \
		const char *path = NULL;                                                           \
		if (mode == RECORD && (protection & PROT_WRITE) && (flags & MAP_SHARED))           \
			path = path_of_fd(fd, buffer);                                             \
		if (path) {                                                                        \
			pthread_mutex_lock(&mutex);                                                \
			record(OP_MAPPED, false, inode_of(fd), 0, 0, path, NULL);                  \
			leave();                                                                   \
		}                                                                                  \
		return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);     \
	}
DEFINE_MMAP(mmap, off_t)
DEFINE_MMAP(mmap64, off64_t)

/* ---- Names ---- */

static int name_call(enum operation op, int dirfd, const char *path, int dirfd2, const char *path2,
		     unsigned flags)
{
	char buffer[PATH_MAX], buffer2[PATH_MAX];
	const char *name = path_at(dirfd, path, buffer);
	const char *name2 = path2 ? path_at(dirfd2, path2, buffer2) : NULL;
	enum need need = op == OP_UNLINK || op == OP_RMDIR ? NEEDS_NOTHING : NEEDS_SPACE;
	uint64_t inode = inode_at(dirfd, path);
	int failure = 0, result = -1;

	if (name || name2)
		failure = enter(need, NULL);
	errno = failure;
	if (failure == 0 && op == OP_RENAME)
		result = (int)syscall(SYS_renameat2, dirfd, path, dirfd2, path2, flags);
	else if (failure == 0 && op == OP_LINK)
		result = (int)syscall(SYS_linkat, dirfd, path, dirfd2, path2, flags);
	else if (failure == 0)
		result = (int)syscall(SYS_unlinkat, dirfd, path, flags);
	if (!name && !name2)
		return result;
	if (result == 0)
		record(op, false, inode, 0, 0, name, name2);
	leave();
	return result;
}

int rename(const char *path, const char *path2)
{
	return name_call(OP_RENAME, AT_FDCWD, path, AT_FDCWD, path2, 0);
}

int renameat(int dirfd, const char *path, int dirfd2, const char *path2)
{
	return name_call(OP_RENAME, dirfd, path, dirfd2, path2, 0);
}

int renameat2(int dirfd, const char *path, int dirfd2, const char *path2, unsigned flags)
{
	if (flags & RENAME_EXCHANGE)
		abort(); /* not modelled */
	return name_call(OP_RENAME, dirfd, path, dirfd2, path2, flags);
}

int link(const char *path, const char *path2)
{
	return name_call(OP_LINK, AT_FDCWD, path, AT_FDCWD, path2, 0);
}

int linkat(int dirfd, const char *path, int dirfd2, const char *path2, int flags)
{
	return name_call(OP_LINK, dirfd, path, dirfd2, path2, (unsigned)flags);
}

int unlink(const char *path)
{
	return name_call(OP_UNLINK, AT_FDCWD, path, AT_FDCWD, NULL, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	return name_call(flags & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK, dirfd, path, AT_FDCWD, NULL,
			 (unsigned)flags);
}

int rmdir(const char *path)
{
	return name_call(OP_RMDIR, AT_FDCWD, path, AT_FDCWD, NULL, AT_REMOVEDIR);
}
