/* Files of a cache. The lock guards the count of bytes, and is not held while files are written. */
#include "service/scratch/file_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	NAME_MAX_ = 2 * DIGEST_SIZE + 32,
	FRESH_S = 3600, /* a use is noted once an hour; what is being written is not older */
};
static const char new_prefix[] = ".new-";

struct file_cache {
	int parent_fd;
	char *name;
	mode_t mode;
	uint64_t budget;
	pthread_mutex_t lock;
	uint64_t written;  /* since the directory was looked at */
	uint64_t allowed;  /* so many more, and it is looked at again */
	uint64_t sequence; /* of temporary names */
};

struct file_cache *file_cache_new(int parent_fd, const char *name, mode_t mode, uint64_t budget)
{
	struct file_cache *cache = mem_zalloc(sizeof(*cache));

	cache->parent_fd = parent_fd;
	cache->name = mem_strdup(name);
	cache->mode = mode;
	cache->budget = budget;
	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void file_cache_free(struct file_cache *cache)
{
	if (!cache)
		return;
	pthread_mutex_destroy(&cache->lock);
	free(cache->name);
	free(cache);
}

static int open_dir(const struct file_cache *cache)
{
	return openat(cache->parent_fd, cache->name,
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static void name_of(const struct digest *key, char out[NAME_MAX_])
{
	hex_encode(key->bytes, DIGEST_SIZE, out);
}

enum rc file_cache_get(struct file_cache *cache, const struct digest *key, size_t max,
		       struct buf *out, struct err *err)
{
	AUTO_FD int dir = open_dir(cache);
	char name[NAME_MAX_];
	struct stat st;

	name_of(key, name);
	if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? err_set(err, RC_NOT_FOUND, "nothing of that key")
				       : err_errno(err, errno, "cache");
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(err, RC_NOT_FOUND, "nothing of that key");
	enum rc rc = file_read_path(dir, name, max, out, err);
	if (rc == RC_OK && st.st_mtime + FRESH_S < time(NULL))
		(void)utimensat(dir, name, NULL, AT_SYMLINK_NOFOLLOW);
	return rc;
}

/* ---- The budget ---- */

struct kept {
	time_t used;
	uint64_t size;
	char name[NAME_MAX_];
};

static int compare_kept(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return (x->used > y->used) - (x->used < y->used);
}

/* Removes what was used longest ago until a quarter of the budget is free. Returns what is left. */
static uint64_t trim(const struct file_cache *cache, int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct kept *all = NULL;
	size_t count = 0, room = 0;
	uint64_t total = 0;
	struct dirent *entry;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(dir))) {
		if (strlen(entry->d_name) >= NAME_MAX_ ||
		    fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if (strncmp(entry->d_name, new_prefix, strlen(new_prefix)) == 0) {
			if (st.st_mtime + FRESH_S < time(NULL)) /* of one that was killed */
				(void)unlinkat(dir_fd, entry->d_name, 0);
			continue;
		}
		all = mem_grow(all, count, &room, 256, sizeof(*all));
		all[count] =
			(struct kept){ .used = st.st_mtime, .size = (uint64_t)st.st_blocks * 512 };
		strcpy(all[count].name, entry->d_name);
		total += all[count++].size;
	}
	closedir(dir);
	if (total > cache->budget && count > 0)
		qsort(all, count, sizeof(*all), compare_kept);
	uint64_t limit = total > cache->budget ? cache->budget / 4 * 3 : total;
	for (size_t i = 0; i < count && total > limit; i++) {
		if (unlinkat(dir_fd, all[i].name, 0) == 0)
			total -= all[i].size;
	}
	free(all);
	return total;
}

/* Others write too: the directory is looked at before this process alone could have filled what was free,
 * and at least each eighth of the budget. */
static void count_written(struct file_cache *cache, int dir, uint64_t bytes)
{
	pthread_mutex_lock(&cache->lock);
	cache->written += bytes + 4096;
	if (cache->written > cache->allowed) {
		uint64_t left = trim(cache, dir),
			 free_ = cache->budget > left ? cache->budget - left : 0;

		cache->written = 0;
		cache->allowed = free_ < cache->budget / 8 ? free_ : cache->budget / 8;
	}
	pthread_mutex_unlock(&cache->lock);
}

/* ---- Writing ---- */

static enum rc make_dir(const struct file_cache *cache, int *out, struct err *err)
{
	if (mkdirat(cache->parent_fd, cache->name, 0700) == 0 &&
	    fchmodat(cache->parent_fd, cache->name, cache->mode, 0) != 0)
		return err_errno(err, errno, "cache");
	*out = open_dir(cache);
	return *out >= 0 ? RC_OK : err_errno(err, errno, "cache");
}

enum rc file_cache_put(struct file_cache *cache, const struct digest *key, struct view value,
		       struct err *err)
{
	char name[NAME_MAX_], temporary[NAME_MAX_];
	AUTO_FD int dir = -1;
	enum rc rc = make_dir(cache, &dir, err);

	if (rc != RC_OK)
		return rc;
	name_of(key, name);
	pthread_mutex_lock(&cache->lock);
	uint64_t sequence = cache->sequence++;
	pthread_mutex_unlock(&cache->lock);
	snprintf(temporary, sizeof(temporary), "%s%u-%p-%ju", new_prefix, (unsigned)getpid(),
		 (void *)cache, (uintmax_t)sequence);
	AUTO_FD int fd =
		openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "cache");
	rc = file_write_all(fd, value.ptr, value.len, "cache", err);
	if (rc == RC_OK &&
	    (fchmod(fd, cache->mode & 0666) != 0 || renameat(dir, temporary, dir, name) != 0))
		rc = err_errno(err, errno, "cache");
	if (rc == RC_OK)
		count_written(cache, dir, value.len);
	else
		(void)unlinkat(dir, temporary, 0);
	return rc;
}

enum rc file_cache_remove(struct file_cache *cache, const struct digest *key, struct err *err)
{
	AUTO_FD int dir = open_dir(cache);
	char name[NAME_MAX_];

	name_of(key, name);
	if ((dir < 0 || unlinkat(dir, name, 0) != 0) && errno != ENOENT)
		return err_errno(err, errno, "cache");
	return RC_OK;
}
