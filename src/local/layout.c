/* The directory of a store. See the header. */
#include "local/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	FORMAT_VERSION = 2,
	FORMAT_OLDEST = 1, /* that can be read */
	FORMAT_MAX = 4096,
	/* How long an opener waits for one that makes the store. */
	LOCK_WAIT_MS = 2000,
	/* The policy of a store whose `format` was lost. */
	LOST_RAW_FILES = 1 << 20,
};

static const char format_title[] = "castor local store";

bool local_layout_identity(const char *dir, dev_t *dev, ino_t *ino)
{
	struct stat st;

	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
		return false;
	*dev = st.st_dev;
	*ino = st.st_ino;
	return true;
}

/* ---- The file `format` ---- */

static void format_print(const struct local_policy *policy, unsigned version, struct buf *out)
{
	buf_printf(out, "%s\nversion %u\n", format_title, version);
	if (policy->compression == LOCAL_COMPRESSION_ZSTD)
		buf_printf(out, "compression zstd:%d\n", policy->level);
	else
		buf_append_string(out, "compression none\n");
	buf_printf(out, "raw-files %ju\n", (uintmax_t)policy->raw_files);
}

static bool parse_number(struct view text, const char *before, uint64_t max, uint64_t *out)
{
	size_t len = strlen(before);

	return text.len > len && memcmp(text.ptr, before, len) == 0 &&
	       text_parse_u64(view_slice(text, len, text.len - len), out) && *out <= max;
}

static bool next_line(struct view *text, struct view *line)
{
	const uint8_t *end = text->len > 0 ? memchr(text->ptr, '\n', text->len) : NULL;

	if (!end)
		return false;
	size_t len = (size_t)(end - text->ptr);
	*line = view_slice(*text, 0, len);
	*text = view_slice(*text, len + 1, text->len - len - 1);
	return true;
}

static enum rc format_parse(struct view text, const char *dir, struct local_policy *out,
			    unsigned *version, struct err *err)
{
	struct view line;
	uint64_t number;

	memset(out, 0, sizeof(*out));
	if (!next_line(&text, &line) || !view_equal_string(line, format_title) ||
	    !next_line(&text, &line) || !parse_number(line, "version ", UINT32_MAX, &number))
		return err_set(err, RC_CORRUPT, "store %s: its file `format` is damaged", dir);
	if (number < FORMAT_OLDEST || number > FORMAT_VERSION)
		return err_set(err, RC_UNSUPPORTED,
			       "store %s has format version %ju, and this castor knows up to %d; "
			       "use a newer castor",
			       dir, (uintmax_t)number, FORMAT_VERSION);
	*version = (unsigned)number;
	while (next_line(&text, &line)) {
		if (view_equal_string(line, "compression none")) {
			out->compression = LOCAL_COMPRESSION_NONE;
		} else if (parse_number(line, "compression zstd:", 19, &number) && number >= 1) {
			out->compression = LOCAL_COMPRESSION_ZSTD;
			out->level = (int)number;
		} else if (parse_number(line, "raw-files ", UINT64_MAX, &number)) {
			out->raw_files = number;
		} else {
			return err_set(err, RC_CORRUPT, "store %s: its file `format` is damaged",
				       dir);
		}
	}
	if (text.len > 0)
		return err_set(err, RC_CORRUPT, "store %s: its file `format` is cut short", dir);
	return RC_OK;
}

/* ---- Who may use it ---- */

static bool below_home(const char *dir)
{
	struct passwd *pw = getpwuid(geteuid());
	const char *home = pw ? pw->pw_dir : getenv("HOME");
	AUTO_FREE char *real = realpath(dir, NULL);
	size_t len = home ? strlen(home) : 0;

	if (!real || len < 2)
		return false;
	return strncmp(real, home, len) == 0 && (real[len] == '/' || real[len] == '\0');
}

/* A new store's modes: shared with the group castor where there is one, else private. */
static enum rc choose_modes(struct local_layout *layout, struct err *err)
{
	struct group *group = below_home(layout->dir) ? NULL : getgrnam("castor");

	layout->dir_mode = 0700;
	layout->file_mode = 0600;
	if (group && fchown(layout->dir_fd, (uid_t)-1, group->gr_gid) == 0) {
		layout->dir_mode = 02770;
		layout->file_mode = 0660;
	}
	if (fchmod(layout->dir_fd, layout->dir_mode) != 0)
		return err_errno(err, errno, "store %s: cannot set its mode", layout->dir);
	return RC_OK;
}

static void modes_of(const struct stat *st, struct local_layout *layout)
{
	bool shared = (st->st_mode & S_ISGID) && (st->st_mode & S_IRWXG) == S_IRWXG;

	layout->dir_mode = shared ? 02770 : 0700;
	layout->file_mode = shared ? 0660 : 0600;
}

/* ---- The lock ---- */

static bool try_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static enum rc take_lock(const struct local_layout *layout, enum local_layout_use use,
			 struct err *err)
{
	if (layout->lock_fd < 0)
		return RC_OK; /* a copy without one, which nobody writes to */
	if (use == LOCAL_LAYOUT_REBUILD) {
		if (try_lock(layout->lock_fd, F_WRLCK))
			return RC_OK;
		return err_set(err, RC_BUSY,
			       "store %s is in use; end the mounts, daemons and imports that have "
			       "it open",
			       layout->dir);
	}
	/* Whoever makes a store holds the lock for moments; a rebuild for long. */
	for (int waited = 0; waited <= LOCK_WAIT_MS; waited += 10) {
		if (try_lock(layout->lock_fd, F_RDLCK))
			return RC_OK;
		clock_sleep_ns(10 * NS_PER_MS);
	}
	return err_set(err, RC_BUSY, "store %s: its index is being rebuilt", layout->dir);
}

static bool not_ours(int error)
{
	return error == EACCES || error == EPERM || error == EROFS;
}

/* Can this user write to what a reader writes to, too? 0, or the errno that says why not. */
static int try_writing(const struct local_layout *layout)
{
	static const char *const names[] = { "lock", "index.mdb", "index.mdb-lock" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO_FD int fd = openat(layout->dir_fd, names[i], O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0 && errno == ENOENT &&
		    faccessat(layout->dir_fd, ".", W_OK, AT_EACCESS) == 0)
			continue;
		if (fd < 0)
			return errno == ENOENT ? EACCES : errno;
	}
	return 0;
}

static enum rc open_lock(struct local_layout *layout, enum local_layout_use use, struct err *err)
{
	int error = try_writing(layout);

	if (error != 0 && use == LOCAL_LAYOUT_READ && not_ours(error))
		layout->read_only = true;
	else if (error != 0)
		return err_errno(err, error, "store %s: cannot write to it", layout->dir);
	/* A lock that is only read is enough to hold it shared. */
	layout->lock_fd =
		layout->read_only
			? openat(layout->dir_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
			: openat(layout->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				 0600);
	if (layout->lock_fd < 0 && !(layout->read_only && errno == ENOENT))
		return err_errno(err, errno, "store %s: lock", layout->dir);
	return RC_OK;
}

/* ---- Making one ---- */

static enum rc make_dir(const struct local_layout *layout, const char *name, struct err *err)
{
	if (mkdirat(layout->dir_fd, name, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, "store %s: cannot make %s", layout->dir, name);
	AUTO_FD int fd =
		openat(layout->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchmod(fd, layout->dir_mode) != 0)
		return err_errno(err, errno, "store %s: %s", layout->dir, name);
	return RC_OK;
}

static enum rc write_format(const struct local_layout *layout, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	format_print(&layout->policy, layout->version, &text);
	AUTO_FD int fd = openat(layout->dir_fd, "format.new",
				O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "store %s: cannot write to it", layout->dir);
	enum rc rc = file_write_all(fd, text.ptr, text.len, "format", err);
	if (rc != RC_OK)
		return rc;
	if (fchmod(fd, layout->file_mode) != 0 || fsync(fd) != 0 ||
	    renameat(layout->dir_fd, "format.new", layout->dir_fd, "format") != 0)
		return err_errno(err, errno, "store %s: format", layout->dir);
	return file_sync_dir(layout->dir_fd, layout->dir, err);
}

static bool has_format(const struct local_layout *layout)
{
	return faccessat(layout->dir_fd, "format", F_OK, 0) == 0;
}

/* Calls each for every name in a directory of the store, until it returns false. */
static bool each_name(const struct local_layout *layout, const char *name,
		      bool (*each)(void *context, const char *name), void *context)
{
	int fd = openat(layout->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	bool more = true;

	if (!dir) {
		fd_cleanup(&fd);
		return false;
	}
	for (struct dirent *entry; more && (entry = readdir(dir));) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			more = each(context, entry->d_name);
	}
	closedir(dir);
	return true;
}

static bool note_any(void *context, const char *name)
{
	(void)name;
	*(bool *)context = true;
	return false;
}

/* Packs or raw files that no `format` stands beside: part of a store, not the making of one. */
static bool has_data(const struct local_layout *layout)
{
	bool any = false;

	(void)each_name(layout, "packs", note_any, &any);
	if (!any)
		(void)each_name(layout, "raw", note_any, &any);
	return any;
}

static enum rc lost_format(const struct local_layout *layout, struct err *err)
{
	return err_set(err, RC_CORRUPT,
		       "store %s has packs or raw files, but has lost its file `format`; `castor "
		       "index rebuild --store local://%s%s` makes it whole again",
		       layout->dir, layout->dir[0] == '/' ? "" : "/", layout->dir);
}

static bool note_stranger(void *context, const char *name)
{
	static const char *const ours[] = { "lock",       "packs",          "raw",   "index.mdb",
					    "format.new", "index.mdb-lock", "cache", "documents" };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (strcmp(name, ours[i]) == 0)
			return true;
	}
	*(char **)context = mem_strdup(name);
	return false;
}

/* Nothing but what an interrupted creation left: so that `local:///home/me` makes no mess. Or a
 * store, if another process has just made it. */
static enum rc check_empty(const struct local_layout *layout, struct err *err)
{
	AUTO_FREE char *stranger = NULL;

	if (!each_name(layout, ".", note_stranger, &stranger))
		return err_set(err, RC_DENIED, "store %s: cannot be listed", layout->dir);
	if (stranger && !has_format(layout))
		return err_set(err, RC_FAILED_PRECONDITION,
			       "%s is neither a store nor empty: it holds \"%s\"", layout->dir,
			       stranger);
	return has_data(layout) && !has_format(layout) ? lost_format(layout, err) : RC_OK;
}

static enum rc sync_parent(const struct local_layout *layout, struct err *err)
{
	AUTO_FD int fd = openat(layout->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* A parent that may be crossed but not read cannot be synced. */
	return fd >= 0 ? file_sync_dir(fd, layout->dir, err) : RC_OK;
}

static struct local_policy policy_of_new(const struct local_policy *wish)
{
	struct local_policy policy = wish ? *wish : local_policy_default;

	if (policy.compression == LOCAL_COMPRESSION_ANY) {
		policy.compression = local_policy_default.compression;
		policy.level = local_policy_default.level;
	}
	if (policy.raw_files == LOCAL_RAW_FILES_ANY)
		policy.raw_files = local_policy_default.raw_files;
	return policy;
}

/* Holds the lock exclusively from here on; the caller turns it into a shared one. */
static enum rc make_store(struct local_layout *layout, const struct local_policy *policy,
			  local_make_index *make_index, struct err *err)
{
	enum rc rc = check_empty(layout, err);

	if (rc != RC_OK)
		return rc;
	layout->lock_fd =
		openat(layout->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (layout->lock_fd < 0)
		return err_errno(err, errno, "cannot make a store at %s", layout->dir);
	for (int waited = 0; !try_lock(layout->lock_fd, F_WRLCK); waited += 10) {
		if (waited > LOCK_WAIT_MS || has_format(layout))
			break;
		clock_sleep_ns(10 * NS_PER_MS);
	}
	/* Another process may have made it meanwhile. */
	if (has_format(layout) || !try_lock(layout->lock_fd, F_WRLCK))
		return RC_OK;
	rc = choose_modes(layout, err);
	if (rc != RC_OK)
		return rc;
	if (fchmod(layout->lock_fd, layout->file_mode) != 0)
		return err_errno(err, errno, "store %s: lock", layout->dir);
	if (has_data(layout))
		return lost_format(layout, err);
	layout->policy = policy_of_new(policy);
	layout->version = FORMAT_VERSION;
	(void)unlinkat(layout->dir_fd, "index.mdb", 0);
	(void)unlinkat(layout->dir_fd, "index.mdb-lock", 0);
	rc = make_dir(layout, "packs", err);
	if (rc == RC_OK)
		rc = make_dir(layout, "raw", err);
	if (rc == RC_OK)
		rc = make_index(layout, err);
	if (rc == RC_OK)
		rc = write_format(layout, err);
	return rc == RC_OK ? sync_parent(layout, err) : rc;
}

/* ---- Opening ---- */

enum rc local_layout_check_policy(const struct local_layout *layout,
				  const struct local_policy *wish, struct err *err)
{
	const struct local_policy *have = &layout->policy;
	const char *what = NULL;

	if (!wish)
		return RC_OK;
	if (wish->compression != LOCAL_COMPRESSION_ANY &&
	    (wish->compression != have->compression ||
	     (have->compression == LOCAL_COMPRESSION_ZSTD && wish->level != have->level)))
		what = "compression";
	else if (wish->raw_files != LOCAL_RAW_FILES_ANY && wish->raw_files != have->raw_files)
		what = "raw-files";
	if (!what)
		return RC_OK;
	return err_set(
		err, RC_FAILED_PRECONDITION,
		"store %s was made with another policy of %s (its file `format` tells which)",
		layout->dir, what);
}

static enum rc read_format(struct local_layout *layout, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = file_read_path(layout->dir_fd, "format", FORMAT_MAX, &text, err);

	return rc == RC_OK ? format_parse(buf_view(&text), layout->dir, &layout->policy,
					  &layout->version, err)
			   : rc;
}

/* A store of an earlier version can be read, and so be copied to a new one. */
static enum rc check_writable(struct local_layout *layout, enum local_layout_use use,
			      struct err *err)
{
	if (layout->version == FORMAT_VERSION)
		return RC_OK;
	layout->read_only = true;
	if (use == LOCAL_LAYOUT_READ)
		return RC_OK;
	return err_set(err, RC_UNSUPPORTED,
		       "store %s has format version %u, which this castor only reads; move it by "
		       "`castor copy --all --from local://%s --to local:///new-directory`",
		       layout->dir, layout->version, layout->dir);
}

static enum rc open_dir(const struct local_layout *layout, const char *name, int *fd,
			struct err *err)
{
	*fd = openat(layout->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *fd >= 0 ? RC_OK : err_errno(err, errno, "store %s: %s", layout->dir, name);
}

static enum rc open_directory(struct local_layout *layout, enum local_layout_use use,
			      struct err *err)
{
	layout->dir_fd = open(layout->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->dir_fd < 0 && errno == ENOENT && use == LOCAL_LAYOUT_WRITE) {
		enum rc rc = file_mkdirs(layout->dir, 0700, err);

		if (rc != RC_OK)
			return rc;
		layout->dir_fd = open(layout->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (layout->dir_fd < 0 && errno == ENOENT)
		return err_set(err, RC_NOT_FOUND,
			       "there is no store at %s (`castor init` makes one)", layout->dir);
	return layout->dir_fd >= 0 ? RC_OK : err_errno(err, errno, "store %s", layout->dir);
}

/* What a rebuild does not need, and makes: all but packs and raw files. */
static enum rc restore(struct local_layout *layout, struct err *err)
{
	struct stat st;

	if (has_format(layout))
		return RC_OK;
	if (!has_data(layout))
		return err_set(err, RC_NOT_FOUND, "%s is not a store", layout->dir);
	if (fstat(layout->dir_fd, &st) != 0)
		return err_errno(err, errno, "store %s", layout->dir);
	modes_of(&st, layout);
	layout->version = FORMAT_VERSION;
	layout->policy = local_policy_default;
	/* Any will do for what is there; it says that blobs are looked for in raw files first. */
	bool any = false;
	(void)each_name(layout, "raw", note_any, &any);
	if (any)
		layout->policy.raw_files = LOST_RAW_FILES;
	enum rc rc = make_dir(layout, "packs", err);
	if (rc == RC_OK)
		rc = make_dir(layout, "raw", err);
	return rc;
}

static enum rc open_all(struct local_layout *layout, enum local_layout_use use,
			const struct local_policy *policy, local_make_index *make_index,
			struct err *err)
{
	struct stat st;
	enum rc rc = open_directory(layout, use, err);

	if (rc == RC_OK && !has_format(layout) && use == LOCAL_LAYOUT_WRITE)
		rc = make_store(layout, policy, make_index, err);
	else if (rc == RC_OK && !has_format(layout) && use == LOCAL_LAYOUT_READ)
		rc = has_data(layout) ? lost_format(layout, err)
				      : err_set(err, RC_NOT_FOUND,
						"%s is not a store (`castor init` makes one of an "
						"empty directory)",
						layout->dir);
	else if (rc == RC_OK && use == LOCAL_LAYOUT_REBUILD)
		rc = restore(layout, err);
	if (rc == RC_OK && layout->lock_fd < 0)
		rc = open_lock(layout, use, err);
	if (rc == RC_OK)
		rc = take_lock(layout, use, err);
	if (rc == RC_OK && !(use == LOCAL_LAYOUT_REBUILD && !has_format(layout)))
		rc = read_format(layout, err);
	if (rc == RC_OK)
		rc = check_writable(layout, use, err);
	if (rc == RC_OK)
		rc = local_layout_check_policy(layout, policy, err);
	if (rc == RC_OK)
		rc = open_dir(layout, "packs", &layout->packs_fd, err);
	if (rc == RC_OK)
		rc = open_dir(layout, "raw", &layout->raw_fd, err);
	if (rc == RC_OK && fstat(layout->dir_fd, &st) != 0)
		rc = err_errno(err, errno, "store %s", layout->dir);
	if (rc != RC_OK)
		return rc;
	modes_of(&st, layout);
	layout->dev = st.st_dev;
	layout->ino = st.st_ino;
	return RC_OK;
}

enum rc local_layout_complete(struct local_layout *layout, struct err *err)
{
	if (has_format(layout))
		return RC_OK;
	if (fchmod(layout->lock_fd, layout->file_mode) != 0)
		return err_errno(err, errno, "store %s: lock", layout->dir);
	return write_format(layout, err);
}

enum rc local_layout_open(const char *dir, enum local_layout_use use,
			  const struct local_policy *policy, local_make_index *make_index,
			  struct local_layout *out, struct err *err)
{
	*out = (struct local_layout){
		.dir = mem_strdup(dir),
		.index_path = mem_printf("%s/index.mdb", dir),
		.dir_fd = -1,
		.lock_fd = -1,
		.packs_fd = -1,
		.raw_fd = -1,
	};
	enum rc rc = open_all(out, use, policy, make_index, err);
	if (rc != RC_OK)
		local_layout_close(out);
	return rc;
}

void local_layout_close(struct local_layout *layout)
{
	if (!layout->dir)
		return;
	fd_cleanup(&layout->packs_fd);
	fd_cleanup(&layout->raw_fd);
	fd_cleanup(&layout->lock_fd);
	fd_cleanup(&layout->dir_fd);
	free(layout->dir);
	free(layout->index_path);
	memset(layout, 0, sizeof(*layout));
}
