/*
 * Raw files: blobs kept as plain files, for the kernel to read by itself.
 *
 * One is written under a temporary name, locked by its writer; the group that it is handed to syncs
 * it, gives it its name and syncs the directory, all before the index names it. A temporary file
 * that nobody holds the lock of is left from a crash.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "local/local_internal.h"

#define TEMPORARY ".new-"

enum { KICK_BYTES = 8 << 20 };

static bool lock_file(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

enum rc local_raw_begin(struct local_store *store, struct local_raw_out **out, struct err *err)
{
	static atomic_uint counter;
	struct local_raw_out *raw = mem_zalloc(sizeof(*raw));

	*out = NULL;
	for (;;) {
		snprintf(raw->temporary, sizeof(raw->temporary), TEMPORARY "%jx-%x-%x",
			 (uintmax_t)clock_realtime_ns(), (unsigned)getpid(),
			 atomic_fetch_add(&counter, 1));
		raw->fd = openat(store->layout.raw_fd, raw->temporary,
				 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				 store->layout.file_mode);
		if (raw->fd < 0 && errno == EEXIST)
			continue;
		if (raw->fd < 0 || fchmod(raw->fd, store->layout.file_mode) != 0) {
			enum rc rc = err_errno(err, errno, "cannot make a raw file");

			fd_cleanup(&raw->fd);
			free(raw);
			return rc;
		}
		/* Whoever clears up may have been quicker: then it is gone. */
		if (lock_file(raw->fd))
			break;
		close(raw->fd);
	}
	*out = raw;
	return RC_OK;
}

enum rc local_raw_write(struct local_raw_out *raw, struct view bytes, struct err *err)
{
	enum rc rc = file_pwrite_all(raw->fd, bytes.ptr, bytes.len, raw->size, "raw file", err);

	if (rc != RC_OK)
		return rc;
	raw->size += bytes.len;
	if (raw->size >= raw->kicked + KICK_BYTES) {
		(void)sync_file_range(raw->fd, (off_t)raw->kicked, (off_t)(raw->size - raw->kicked),
				      SYNC_FILE_RANGE_WRITE);
		raw->kicked = raw->size;
	}
	return RC_OK;
}

void local_raw_drop(struct local_store *store, struct local_raw_out *raw)
{
	if (!raw)
		return;
	/* Gone already where it has been given its name. */
	(void)unlinkat(store->layout.raw_fd, raw->temporary, 0);
	close(raw->fd);
	free(raw);
}

static enum rc open_fan(struct local_store *store, const char *name, int *out, struct err *err)
{
	char dir[3] = { name[0], name[1], '\0' };

	bool made = mkdirat(store->layout.raw_fd, dir, 0700) == 0;
	if (!made && errno != EEXIST)
		return err_errno(err, errno, "cannot make raw/%s", dir);
	*out = openat(store->layout.raw_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*out < 0)
		return err_errno(err, errno, "cannot open raw/%s", dir);
	if (made && fchmod(*out, store->layout.dir_mode) != 0)
		return err_errno(err, errno, "cannot make raw/%s", dir);
	return RC_OK;
}

enum rc local_raw_name_it(struct local_store *store, const struct local_raw_out *raw,
			  struct err *err)
{
	char name[LOCAL_RAW_NAME_MAX];
	AUTO_FD int fan = -1;

	local_raw_name(&raw->blob, name);
	if (fsync(raw->fd) != 0)
		return err_errno(err, errno, "cannot sync raw file %s", name);
	enum rc rc = open_fan(store, name, &fan, err);
	if (rc != RC_OK)
		return rc;
	/* One that is there has the same bytes: it takes its place. */
	if (renameat(store->layout.raw_fd, raw->temporary, store->layout.raw_fd, name) != 0)
		return err_errno(err, errno, "cannot name raw file %s", name);
	rc = file_sync_dir(fan, "a directory of raw files", err);
	/* Another process may have made it, and not come to sync it. */
	if (rc == RC_OK && !store->writer.fans_synced[raw->blob.bytes[0]]) {
		rc = file_sync_dir(store->layout.raw_fd, "the directory of raw files", err);
		store->writer.fans_synced[raw->blob.bytes[0]] = rc == RC_OK;
	}
	return rc;
}

void local_raw_clear(struct local_store *store)
{
	int fd = openat(store->layout.raw_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir) {
		fd_cleanup(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, TEMPORARY, strlen(TEMPORARY)) != 0)
			continue;
		AUTO_FD int file = openat(store->layout.raw_fd, entry->d_name,
					  O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (file >= 0 && lock_file(file))
			(void)unlinkat(store->layout.raw_fd, entry->d_name, 0);
	}
	closedir(dir);
}
