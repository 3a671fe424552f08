/* System calls on files, repeated until done. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum rc file_write_all(int fd, const void *bytes, size_t len, const char *what, struct err *err)
{
	const uint8_t *next = bytes;

	while (len) {
		ssize_t n = write(fd, next, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "%s: cannot write", what);
		next += n;
		len -= (size_t)n;
	}
	return RC_OK;
}

enum rc file_pwrite_all(int fd, const void *bytes, size_t len, uint64_t offset, const char *what,
			struct err *err)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };

	return file_pwritev_all(fd, &iov, 1, offset, what, err);
}

/* Steps over `done` bytes at the front of the vector. */
static void iov_advance(struct iovec **iov, int *count, size_t done)
{
	while (*count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

enum rc file_pwritev_all(int fd, struct iovec *iov, int count, uint64_t offset, const char *what,
			 struct err *err)
{
	iov_advance(&iov, &count, 0);
	while (count) {
		ssize_t n = pwritev(fd, iov, count < IOV_MAX ? count : IOV_MAX, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "%s: cannot write at %ju", what,
					 (uintmax_t)offset);
		offset += (uint64_t)n;
		iov_advance(&iov, &count, (size_t)n);
	}
	return RC_OK;
}

enum rc file_preadv_full(int fd, struct iovec *iov, int n, uint64_t offset, size_t *got,
			 const char *what, struct err *err)
{
	*got = 0;
	while (n > 0) {
		ssize_t done = preadv(fd, iov, n, (off_t)(offset + *got));

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			enum rc rc = err_errno(err, errno, "%s: cannot read at %ju", what,
					       (uintmax_t)(offset + *got));

			*got = 0;
			return rc;
		}
		if (done == 0)
			break;
		*got += (size_t)done;
		for (; n > 0 && (size_t)done >= iov->iov_len; iov++, n--)
			done -= (ssize_t)iov->iov_len;
		if (n > 0)
			*iov = (struct iovec){ (uint8_t *)iov->iov_base + done,
					       iov->iov_len - (size_t)done };
	}
	return RC_OK;
}

enum rc file_pread_full(int fd, void *out, size_t len, uint64_t offset, size_t *got,
			const char *what, struct err *err)
{
	return file_preadv_full(fd, &(struct iovec){ out, len }, 1, offset, got, what, err);
}

enum rc file_read_full(int fd, void *out, size_t len, size_t *got, const char *what,
		       struct err *err)
{
	*got = 0;
	while (*got < len) {
		ssize_t n = read(fd, (uint8_t *)out + *got, len - *got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*got = 0;
			return err_errno(err, errno, "%s: cannot read", what);
		}
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return RC_OK;
}

enum rc file_read_path(int dirfd, const char *path, size_t max, struct buf *out, struct err *err)
{
	size_t before = out->len;
	AUTO_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t step = 4096;
	struct stat st;
	enum rc rc = RC_OK;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(err, errno, "%s: cannot open", path);
	/* Files of /proc say 0. One byte more than there is shows the end in the same read. */
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		step = (uint64_t)st.st_size < max ? (size_t)st.st_size + 1 : max;
	for (;;) {
		size_t got;

		if (!buf_try_reserve(out, step)) {
			rc = err_set(err, RC_NO_MEMORY, "%s: no memory for its content", path);
			break;
		}
		rc = file_read_full(fd, out->ptr + out->len, step, &got, path, err);
		if (rc != RC_OK)
			break;
		out->len += got;
		if (out->len - before > max) {
			rc = err_set(err, RC_TOO_LARGE, "%s: larger than %zu bytes", path, max);
			break;
		}
		if (got < step)
			return RC_OK;
		step = 4096;
	}
	out->len = before;
	return rc;
}

enum rc file_mkdirs(const char *path, mode_t mode, struct err *err)
{
	AUTO_FREE char *prefix = mem_strdup(path);
	struct stat st;

	for (char *end = prefix; *end; *end = '/') {
		end += strspn(end, "/");
		end += strcspn(end, "/");
		if (*end == '\0')
			break;
		*end = '\0';
		if (mkdir(prefix, mode) != 0 && errno != EEXIST && access(prefix, F_OK) != 0)
			return err_errno(err, errno, "%s: cannot make the directory", prefix);
	}
	if (mkdir(path, mode) == 0)
		return RC_OK;
	if (errno != EEXIST)
		return err_errno(err, errno, "%s: cannot make the directory", path);
	if (stat(path, &st) != 0)
		return err_errno(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, RC_EXISTS, "%s: exists, and is not a directory", path);
	return RC_OK;
}

enum rc file_sync_dir(int dirfd, const char *what, struct err *err)
{
	if (fsync(dirfd) != 0)
		return err_errno(err, errno, "%s: cannot sync the directory", what);
	return RC_OK;
}
