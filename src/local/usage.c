/* How much a store takes on disk. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "local/local_internal.h"

static bool add_pack(void *context, struct view key, struct view value)
{
	uint64_t *total = context;
	struct local_pack_value pack;
	struct err err = ERR_INIT;

	(void)key;
	if (local_pack_value_decode(value, &pack, &err) == RC_OK)
		*total += pack.end;
	return true;
}

static void add_file(int dir_fd, const char *name, uint64_t *total)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		*total += (uint64_t)st.st_size;
}

/* What lies in a directory, and in those below it down to `depth`. */
static void add_directory(int parent_fd, const char *name, unsigned depth, uint64_t *total)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		fd_cleanup(&fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR && depth > 0)
			add_directory(fd, entry->d_name, depth - 1, total);
		else
			add_file(fd, entry->d_name, total);
	}
	closedir(dir);
}

enum rc local_store_usage(struct local_store *store, uint64_t *out, struct err *err)
{
	struct local_read *read;
	uint64_t total = 0;
	enum rc rc = local_index_read(store->index, &read, err);

	*out = 0;
	if (rc != RC_OK)
		return rc;
	rc = local_read_scan(read, LOCAL_TABLE_PACKS, (struct view){ 0 }, add_pack, &total, err);
	local_read_end(read);
	if (rc != RC_OK)
		return rc;
	add_file(store->layout.dir_fd, "index.mdb", &total);
	if (store->layout.policy.raw_files != 0)
		add_directory(store->layout.dir_fd, "raw", 1, &total);
	*out = total;
	return RC_OK;
}
