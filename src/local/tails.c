/* What lies behind the committed ends of packs. See the header. */
#include "local/tails.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "local/pack_scan.h"

enum {
	COMMITS_MAX = 2,
	RECORDS_MAX = 1 << 18, /* more than a group has */
	COMMIT_RECORD_MAX = 256,
};

static bool is_commit(int fd, uint64_t at, const struct local_record_header *header, uint64_t salt)
{
	uint8_t bytes[COMMIT_RECORD_MAX];
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + header->stored, got;

	return header->kind == LOCAL_RECORD_COMMIT && len <= sizeof(bytes) &&
	       file_pread_full(fd, bytes, len, at, &got, "pack", NULL) == RC_OK && got == len &&
	       local_record_sealed(
		       bytes, crc32c(0, bytes + LOCAL_RECORD_HEADER_SIZE, header->stored), salt);
}

unsigned local_tail_commits(int fd, uint64_t from)
{
	struct local_pack_head head;
	unsigned commits = 0;
	struct stat st;

	if (fstat(fd, &st) != 0 || (uint64_t)st.st_size <= from ||
	    local_pack_head_read(fd, (uint64_t)st.st_size, &head, NULL) != RC_OK)
		return 0;
	for (int i = 0; i < RECORDS_MAX && commits < COMMITS_MAX; i++) {
		uint8_t bytes[LOCAL_RECORD_HEADER_SIZE];
		struct local_record_header header;
		uint64_t salt = from == 0 ? 0 : head.salt;
		size_t got;

		if (file_pread_full(fd, bytes, sizeof(bytes), from, &got, "pack", NULL) != RC_OK ||
		    local_record_header_decode(view_of(bytes, got), &header, NULL) != RC_OK ||
		    header.mark != local_record_mark(salt) ||
		    !local_kind_belongs(header.kind, head.class, from))
			break;
		commits += is_commit(fd, from, &header, salt);
		from += (uint64_t)LOCAL_RECORD_HEADER_SIZE + header.stored;
	}
	return commits;
}

/* ---- All packs ---- */

struct tails {
	struct local_store *store;
	struct local_read *read;
	const char *stale, *doubtful; /* a pack of those, in one of the names */
	char names[2][LOCAL_PACK_NAME_MAX];
};

/* False: the index cannot be read. */
static bool read_end(struct local_read *read, uint32_t id, uint64_t *end)
{
	uint8_t key[LOCAL_PACK_KEY_SIZE];
	struct local_pack_value pack;
	struct view value;

	*end = 0;
	local_pack_key_encode(id, key);
	enum rc rc =
		local_read_get(read, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)), &value, NULL);
	if (rc == RC_NOT_FOUND)
		return true;
	if (rc != RC_OK || local_pack_value_decode(value, &pack, NULL) != RC_OK)
		return false;
	*end = pack.end;
	return true;
}

/* Under the pack's lock, where there is one: what the index says now counts. */
static bool read_end_again(struct local_store *store, uint32_t id, uint64_t *end)
{
	struct local_read *read;

	if (local_index_read(store->index, &read, NULL) != RC_OK)
		return false;
	bool there = read_end(read, id, end);
	local_read_end(read);
	return there;
}

/* Nobody writes to it, and nobody will as long as fd is open; or, in a store that is only read, nobody
 * does now. */
static bool is_idle(const struct local_store *store, int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (!store->layout.read_only)
		return fcntl(fd, F_OFD_SETLK, &lock) == 0;
	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

static void check_tail(struct tails *tails, uint32_t id, const char *name)
{
	struct local_store *store = tails->store;
	bool read_only = store->layout.read_only;
	AUTO_FD int fd = openat(store->layout.packs_fd, name,
				(read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	uint64_t end;

	if (fd < 0 || !is_idle(store, fd) || !read_end_again(store, id, &end) ||
	    fstat(fd, &st) != 0 || (uint64_t)st.st_size <= end)
		return;
	unsigned commits = local_tail_commits(fd, end);
	/* What a writer that was killed had written: it takes space, and says nothing. */
	if (commits == 0 && !read_only)
		(void)(ftruncate(fd, (off_t)end) == 0);
	if (commits > 1) {
		memcpy(tails->names[1], name, LOCAL_PACK_NAME_MAX);
		tails->stale = tails->names[1];
	} else if (commits == 1) {
		memcpy(tails->names[0], name, LOCAL_PACK_NAME_MAX);
		tails->doubtful = tails->names[0];
	}
}

static void check_each(struct tails *tails, DIR *dir)
{
	for (struct dirent *entry; (entry = readdir(dir));) {
		char name[LOCAL_PACK_NAME_MAX];
		uint64_t end;
		struct stat st;
		unsigned id;

		if (sscanf(entry->d_name, "%8x", &id) != 1 || id == 0)
			continue;
		local_pack_name(id, name);
		if (strcmp(name, entry->d_name) != 0 ||
		    fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !read_end(tails->read, id, &end))
			continue;
		if ((uint64_t)st.st_size > end)
			check_tail(tails, id, name);
	}
}

enum rc local_tails_check(struct local_store *store, struct err *err)
{
	struct tails tails = { .store = store };
	int fd = openat(store->layout.packs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		fd_cleanup(&fd);
		return RC_OK;
	}
	enum rc rc = local_index_read(store->index, &tails.read, err);
	if (rc == RC_OK)
		check_each(&tails, dir);
	local_read_end(tails.read);
	closedir(dir);
	if (tails.stale)
		return err_set(
			err, RC_CORRUPT,
			"store %s: its index is older than its packs (%s has commits that it "
			"does not know); `castor index rebuild` takes them in",
			store->layout.dir, tails.stale);
	if (tails.doubtful)
		log_warning("store %s: pack %s ends with a commit that the index does not know, of "
			    "a writer that was killed, or of a newer index than this one; `castor "
			    "index rebuild` takes it in",
			    store->layout.dir, tails.doubtful);
	return rc;
}
