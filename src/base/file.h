/* System calls on files, repeated until done. */
#ifndef CASTOR_BASE_FILE_H
#define CASTOR_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"

/* `what` names the file in the error. */
enum rc file_write_all(int fd, const void *bytes, size_t len, const char *what,
		       struct err *err) MUST_USE;
enum rc file_pwrite_all(int fd, const void *bytes, size_t len, uint64_t offset, const char *what,
			struct err *err) MUST_USE;
/* Writes every byte of the vector (which it may change) at offset. */
enum rc file_pwritev_all(int fd, struct iovec *iov, int count, uint64_t offset, const char *what,
			 struct err *err) MUST_USE;
/* Reads up to len bytes; *got is smaller only at the end of the file. */
enum rc file_pread_full(int fd, void *out, size_t len, uint64_t offset, size_t *got,
			const char *what, struct err *err) MUST_USE;
/* The same into many pieces, at most IOV_MAX; changes iov. */
enum rc file_preadv_full(int fd, struct iovec *iov, int n, uint64_t offset, size_t *got,
			 const char *what, struct err *err) MUST_USE;
enum rc file_read_full(int fd, void *out, size_t len, size_t *got, const char *what,
		       struct err *err) MUST_USE;
/* The whole file, RC_TOO_LARGE past max. Appends. */
enum rc file_read_path(int dirfd, const char *path, size_t max, struct buf *out,
		       struct err *err) MUST_USE;
/* Makes every missing directory of path with that mode; an existing one is fine. */
enum rc file_mkdirs(const char *path, mode_t mode, struct err *err) MUST_USE;
/* fsync of a directory: makes names in it durable. */
enum rc file_sync_dir(int dirfd, const char *what, struct err *err) MUST_USE;

#endif
