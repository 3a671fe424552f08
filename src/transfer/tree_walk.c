/*
 * The walk of tree_walk.h. One thread walks; directories (struct tree_dir) are shared with the
 * threads that open files in them, by two atomic counts: `users` hold the descriptor, `refs` the
 * object, whose chain of parents gives the path for error sentences.
 */
#include "transfer/tree_walk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "castore/directory.h"
#include "castore/node.h"

/* Of a path in a sentence: the end of a longer one. */
enum { PATH_SHOWN_MAX = 600, LISTING_KEPT_MAX = 64 << 10, DENTS_SIZE = 32 << 10 };

/* Linux 6.8; older kernels answer without it. */
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Counts open directories; outlives the walk while a tree_dir does. */
struct dir_counter {
	atomic_uint refs;
	atomic_uint open;
};

struct tree_dir {
	atomic_uint refs;
	atomic_uint users;
	int fd;
	uint64_t device, inode;
	uint64_t mount, filesystem; /* as in struct tree_stat, but for kinds that prove nothing */
	bool vouches;               /* ctime there is the kernel's own */
	struct dir_counter *counter;
	struct tree_dir *parent; /* a reference without a use; NULL above the root */
	char name[];
};

/* A name in a listing; the listing's bytes hold it with a NUL after it. */
struct entry {
	uint32_t at;
	uint16_t len;
	uint8_t type; /* DT_… */
};

struct frame {
	struct tree_dir *dir;
	bool given_up; /* dir is a reference without a use */
	struct buf names;
	struct entry *entries;
	size_t count, cap, next;
};

struct tree_walk {
	struct tree_walk_options options;
	uint64_t skipped;
	struct dir_counter *counter;
	struct tree_dir *base; /* above the root: stands for the current directory */
	char *path;            /* of the root */
	struct frame *frames;  /* the first `frames_made` have been used and may hold memory */
	size_t depth, frames_made, frames_cap;
	uid_t uid;
	bool quiet_dirs; /* O_NOATIME has not been refused for a directory yet */
	bool started;
	char target[NODE_TARGET_MAX + 2];
	uint8_t dents[DENTS_SIZE] __attribute__((aligned(8)));
};

/* ---- Directories ---- */

static void counter_unref(struct dir_counter *counter)
{
	if (atomic_fetch_sub(&counter->refs, 1) == 1)
		free(counter);
}

/* Takes fd over. */
static struct tree_dir *dir_new(struct tree_dir *parent, struct dir_counter *counter, int fd,
				const char *name)
{
	size_t len = strlen(name);
	struct tree_dir *dir = mem_zalloc(sizeof(*dir) + len + 1);

	atomic_init(&dir->refs, 1);
	atomic_init(&dir->users, 1);
	dir->fd = fd;
	dir->counter = counter;
	atomic_fetch_add(&counter->refs, 1);
	if (fd != AT_FDCWD)
		atomic_fetch_add(&counter->open, 1);
	if (parent)
		atomic_fetch_add(&parent->refs, 1);
	dir->parent = parent;
	memcpy(dir->name, name, len + 1);
	return dir;
}

static void dir_drop_ref(struct tree_dir *dir)
{
	while (dir && atomic_fetch_sub(&dir->refs, 1) == 1) {
		struct tree_dir *parent = dir->parent;

		counter_unref(dir->counter);
		free(dir);
		dir = parent;
	}
}

static void dir_drop_use(struct tree_dir *dir)
{
	if (atomic_fetch_sub(&dir->users, 1) == 1 && dir->fd != AT_FDCWD) {
		close(dir->fd);
		atomic_fetch_sub(&dir->counter->open, 1);
	}
}

struct tree_dir *tree_dir_ref(struct tree_dir *dir)
{
	atomic_fetch_add(&dir->refs, 1);
	atomic_fetch_add(&dir->users, 1);
	return dir;
}

void tree_dir_unref(struct tree_dir *dir)
{
	if (!dir)
		return;
	dir_drop_use(dir);
	dir_drop_ref(dir);
}

/* ---- Sentences ---- */

/* The path of `name` in dir, safe to print; only its end where it is long. */
static const char *path_of(const struct tree_dir *dir, const char *name, struct buf *out)
{
	const char *parts[NODE_DEPTH_MAX + 2];
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	size_t count = 0, len = strlen(name) + 1;
	size_t skip;

	parts[count++] = name;
	/* The object above the root has an empty name. */
	for (; dir && dir->parent && count < ARRAY_LEN(parts) && len < PATH_SHOWN_MAX;
	     dir = dir->parent) {
		parts[count++] = dir->name;
		len += strlen(dir->name) + 1;
	}
	if (dir && dir->parent)
		buf_append_string(&path, "…/");
	while (count > 0) {
		buf_append_string(&path, parts[--count]);
		/* A root may end in a slash: "/" does. */
		if (count > 0 && path.ptr[path.len - 1] != '/')
			buf_append_byte(&path, '/');
	}
	skip = path.len > 2 * PATH_SHOWN_MAX ? path.len - 2 * PATH_SHOWN_MAX : 0;
	text_printable(view_slice(buf_view(&path), skip, path.len - skip), out);
	return buf_string(out);
}

enum rc tree_file_errno(struct tree_dir *dir, const char *name, int errnum, struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	const char *shown = path_of(dir, name, &path);

	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case ENXIO:
	case ESTALE:
		return err_set(err, RC_FAILED_PRECONDITION,
			       "%s vanished or was replaced while it was imported", shown);
	case EACCES:
	case EPERM:
		return err_set(err, RC_DENIED, "cannot read %s: %s", shown, strerror(errnum));
	default:
		return err_errno(err, errnum, "cannot read %s", shown);
	}
}

enum rc tree_file_changed(struct tree_dir *dir, const char *name, struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;

	return err_set(err, RC_FAILED_PRECONDITION, "%s changed while it was read",
		       path_of(dir, name, &path));
}

/* ---- Files ---- */

bool tree_stat_equal(const struct tree_stat *a, const struct tree_stat *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static int stat_at(int fd, const char *name, struct statx *out)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(fd, name, flags, STATX_BASIC_STATS | STATX_MNT_ID_UNIQUE, out);
}

static uint64_t device_of(const struct statx *st)
{
	return makedev(st->stx_dev_major, st->stx_dev_minor);
}

static uint64_t mount_of(const struct statx *st)
{
	return st->stx_mask & STATX_MNT_ID_UNIQUE ? st->stx_mnt_id : 0;
}

static struct timespec time_of(const struct statx_timestamp *time)
{
	return (struct timespec){ .tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec };
}

static struct tree_stat stat_from(const struct statx *st)
{
	return (struct tree_stat){
		.device = device_of(st),
		.inode = st->stx_ino,
		.size = st->stx_size,
		.mtime = time_of(&st->stx_mtime),
		.ctime = time_of(&st->stx_ctime),
	};
}

/* EINTR is retried; O_NOATIME is dropped where it is refused. */
static int open_in(int dirfd, const char *name, int flags, bool *quiet)
{
	for (;;) {
		int fd = openat(dirfd, name,
				flags | O_RDONLY | O_NOFOLLOW | O_CLOEXEC |
					(*quiet ? O_NOATIME : 0));

		if (fd >= 0)
			return fd;
		if (errno == EPERM && *quiet)
			*quiet = false;
		else if (errno != EINTR)
			return -1;
	}
}

enum rc tree_file_open(struct tree_dir *dir, const char *name, bool quiet, int *fd, struct err *err)
{
	/* O_NONBLOCK: a fifo that took the file's place must not hold us. */
	*fd = open_in(dir->fd, name, O_NONBLOCK | O_NOCTTY, &quiet);
	if (*fd < 0)
		return tree_file_errno(dir, name, errno, err);
	return RC_OK;
}

enum rc tree_file_check(struct tree_dir *dir, const char *name, int fd,
			const struct tree_stat *expected, struct err *err)
{
	struct statx st;
	struct tree_stat now;

	if (stat_at(fd, "", &st) != 0)
		return tree_file_errno(dir, name, errno, err);
	now = stat_from(&st);
	if (!S_ISREG(st.stx_mode) || !tree_stat_equal(&now, expected))
		return tree_file_changed(dir, name, err);
	return RC_OK;
}

/* ---- The walk ---- */

enum rc tree_walk_new(const char *path, const struct tree_walk_options *options,
		      struct tree_walk **out, struct err *err)
{
	struct tree_walk *walk;
	size_t len = strlen(path);

	*out = NULL;
	if (len == 0)
		return err_set(err, RC_INVALID, "the path to import is empty");
	walk = mem_zalloc(sizeof(*walk));
	if (options)
		walk->options = *options;
	walk->counter = mem_zalloc(sizeof(*walk->counter));
	atomic_init(&walk->counter->refs, 1);
	walk->base = dir_new(NULL, walk->counter, AT_FDCWD, "");
	/* "link/" is the link, as for Nix. */
	while (len > 1 && path[len - 1] == '/')
		len--;
	walk->path = mem_strndup(view_of(path, len));
	walk->uid = geteuid();
	walk->quiet_dirs = true;
	*out = walk;
	return RC_OK;
}

static void frame_clear(struct frame *frame)
{
	if (!frame->dir)
		return;
	if (!frame->given_up)
		dir_drop_use(frame->dir);
	dir_drop_ref(frame->dir);
	frame->dir = NULL;
	frame->given_up = false;
}

void tree_walk_free(struct tree_walk *walk)
{
	if (!walk)
		return;
	for (size_t i = 0; i < walk->frames_made; i++) {
		frame_clear(&walk->frames[i]);
		buf_release(&walk->frames[i].names);
		free(walk->frames[i].entries);
	}
	free(walk->frames);
	tree_dir_unref(walk->base);
	counter_unref(walk->counter);
	free(walk->path);
	free(walk);
}

uint64_t tree_walk_skipped(const struct tree_walk *walk)
{
	return walk->skipped;
}

unsigned tree_walk_open_dirs(const struct tree_walk *walk)
{
	return atomic_load(&walk->counter->open);
}

static int entry_compare(const void *a, const void *b, void *names)
{
	const struct entry *x = a, *y = b;
	const uint8_t *bytes = names;

	/* Names hold no NUL and have one after them, so this orders a prefix before the longer. */
	return memcmp(bytes + x->at, bytes + y->at, (x->len < y->len ? x->len : y->len) + 1U);
}

static enum rc frame_add(struct frame *frame, const char *name, uint8_t type, struct err *err)
{
	size_t len = strlen(name);
	struct buf path CLEANUP(buf_release) = BUF_INIT;

	if (len > NODE_NAME_MAX)
		return err_set(err, RC_TOO_LARGE, "the name %s has more than %d bytes",
			       path_of(frame->dir, name, &path), NODE_NAME_MAX);
	/* A directory of these names could not be encoded: say so before they take memory. */
	if (frame->names.len + 4 * frame->count + len > DIRECTORY_BYTES_MAX)
		return err_set(err, RC_TOO_LARGE, "too many names in %s",
			       path_of(frame->dir, "", &path));
	frame->entries =
		mem_grow(frame->entries, frame->count, &frame->cap, 16, sizeof(*frame->entries));
	frame->entries[frame->count++] = (struct entry){ .at = (uint32_t)frame->names.len,
							 .len = (uint16_t)len,
							 .type = type };
	buf_append(&frame->names, name, len + 1);
	return RC_OK;
}

/* Reads and sorts the names of frame->dir. */
static enum rc frame_list(struct tree_walk *walk, struct frame *frame, struct err *err)
{
	buf_clear(&frame->names);
	frame->count = frame->next = 0;
	for (;;) {
		ssize_t got = getdents64(frame->dir->fd, walk->dents, sizeof(walk->dents));

		if (got < 0)
			return tree_file_errno(frame->dir->parent, frame->dir->name, errno, err);
		if (got == 0)
			break;
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *d = (const void *)(walk->dents + at);
			enum rc rc;

			at += d->d_reclen;
			if (d->d_name[0] == '.' &&
			    (d->d_name[1] == '\0' || (d->d_name[1] == '.' && d->d_name[2] == '\0')))
				continue;
			rc = frame_add(frame, d->d_name, d->d_type, err);
			if (rc != RC_OK)
				return rc;
		}
	}
	if (frame->count > 1)
		qsort_r(frame->entries, frame->count, sizeof(*frame->entries), entry_compare,
			frame->names.ptr);
	return RC_OK;
}

/* Does the kernel itself stamp ctime there, whenever a content changes? Of a filesystem that cannot be
 * written to, the times are those of whoever made the image. */
static bool vouches(int fd, uint64_t *filesystem)
{
	struct statfs fs;

	static_assert(sizeof(*filesystem) == sizeof(fs.f_fsid), "f_fsid has 64 bits");
	*filesystem = 0;
	if (fstatfs(fd, &fs) != 0 || (fs.f_flags & ST_RDONLY))
		return false;
	memcpy(filesystem, &fs.f_fsid, sizeof(*filesystem));
	switch ((uint32_t)fs.f_type) {
	case EXT4_SUPER_MAGIC: /* ext2 and ext3, too */
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* fd and what fstat says of it. Takes fd over. */
static enum rc dir_open(struct tree_walk *walk, struct tree_dir *parent, int at_fd,
			const char *at_name, const char *name, struct tree_dir **out,
			struct err *err)
{
	struct statx st;
	int fd = open_in(at_fd, at_name, O_DIRECTORY, &walk->quiet_dirs);

	*out = NULL;
	if (fd < 0 || stat_at(fd, "", &st) != 0) {
		int errnum = errno;

		if (fd >= 0)
			close(fd);
		return tree_file_errno(parent, name, errnum, err);
	}
	*out = dir_new(parent, walk->counter, fd, name);
	(*out)->device = device_of(&st);
	(*out)->inode = st.stx_ino;
	(*out)->mount = mount_of(&st);
	if (parent->mount && parent->mount == (*out)->mount && parent->device == (*out)->device) {
		(*out)->vouches = parent->vouches;
		(*out)->filesystem = parent->filesystem;
	} else {
		(*out)->vouches = vouches(fd, &(*out)->filesystem);
	}
	return RC_OK;
}

/* Is it of another filesystem, where one was asked for? */
static bool is_elsewhere(const struct tree_walk *walk, uint64_t device)
{
	return walk->options.one_filesystem && walk->frames[0].dir->device != device;
}

static enum rc enter(struct tree_walk *walk, struct tree_dir *parent, const char *name,
		     struct err *err)
{
	struct frame *frame;
	enum rc rc;

	walk->frames =
		mem_grow(walk->frames, walk->depth, &walk->frames_cap, 16, sizeof(*walk->frames));
	frame = &walk->frames[walk->depth];
	if (walk->depth == walk->frames_made) {
		*frame = (struct frame){ .dir = NULL };
		walk->frames_made++;
	}
	rc = dir_open(walk, parent, parent->fd, name, name, &frame->dir, err);
	if (rc != RC_OK)
		return rc;
	walk->depth++;
	if (walk->depth > TREE_WALK_DESCRIPTORS) {
		struct frame *far = &walk->frames[walk->depth - 1 - TREE_WALK_DESCRIPTORS];

		dir_drop_use(far->dir);
		far->given_up = true;
	}
	if (is_elsewhere(walk, frame->dir->device)) {
		buf_clear(&frame->names);
		frame->count = frame->next = 0;
		return RC_OK;
	}
	return frame_list(walk, frame, err);
}

/* The parent's descriptor was given up: get it again from the child. */
static enum rc reopen(struct tree_walk *walk, struct frame *frame, const struct frame *child,
		      struct err *err)
{
	struct tree_dir *old = frame->dir, *new;
	enum rc rc = dir_open(walk, old->parent, child->dir->fd, "..", old->name, &new, err);

	if (rc != RC_OK)
		return rc;
	if (new->device != old->device || new->inode != old->inode) {
		tree_dir_unref(new);
		return tree_file_errno(old->parent, old->name, ESTALE, err);
	}
	dir_drop_ref(old);
	frame->dir = new;
	frame->given_up = false;
	return RC_OK;
}

static enum rc leave(struct tree_walk *walk, struct tree_walk_event *out, struct err *err)
{
	struct frame *frame = &walk->frames[walk->depth - 1];
	enum rc rc = RC_OK;

	if (walk->depth > 1 && walk->frames[walk->depth - 2].given_up)
		rc = reopen(walk, &walk->frames[walk->depth - 2], frame, err);
	frame_clear(frame);
	if (frame->names.cap > LISTING_KEPT_MAX) {
		buf_release(&frame->names);
		free(frame->entries);
		frame->entries = NULL;
		frame->cap = 0;
	}
	walk->depth--;
	out->kind = TREE_WALK_DIRECTORY_END;
	return rc;
}

static enum rc give_symlink(struct tree_walk *walk, struct tree_dir *dir, const char *name,
			    struct tree_walk_event *out, struct err *err)
{
	ssize_t len = readlinkat(dir->fd, name, walk->target, sizeof(walk->target));
	struct buf path CLEANUP(buf_release) = BUF_INIT;

	if (len < 0)
		return errno == EINVAL ? tree_file_errno(dir, name, ELOOP, err)
				       : tree_file_errno(dir, name, errno, err);
	if (len > NODE_TARGET_MAX)
		return err_set(err, RC_TOO_LARGE,
			       "the target of the symlink %s has more than %d bytes",
			       path_of(dir, name, &path), NODE_TARGET_MAX);
	if (len == 0)
		return err_set(err, RC_UNSUPPORTED, "the target of the symlink %s is empty",
			       path_of(dir, name, &path));
	out->kind = TREE_WALK_SYMLINK;
	out->target = view_of(walk->target, (size_t)len);
	return RC_OK;
}

static const char *special_name(mode_t mode)
{
	return S_ISSOCK(mode)   ? "socket"
	       : S_ISFIFO(mode) ? "fifo"
	       : S_ISCHR(mode)  ? "character device"
	       : S_ISBLK(mode)  ? "block device"
				: "file of unknown type";
}

/* Of what lies in dir, or for the root at its path. */
static void stat_mount(const struct tree_walk *walk, const struct tree_dir *dir, const char *name,
		       const struct statx *st, struct tree_stat *out)
{
	if (dir != walk->base) {
		/* A file may be a mount of its own, of another filesystem: such ones are rare. */
		if (dir->vouches && dir->device == out->device) {
			out->mount = dir->mount;
			out->filesystem = dir->filesystem;
		}
		return;
	}
	int fd AUTO_FD = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && vouches(fd, &out->filesystem))
		out->mount = mount_of(st);
}

static enum rc meet_special(struct tree_walk *walk, const struct tree_dir *dir, const char *name,
			    mode_t mode, bool *left_out, struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	const char *shown = path_of(dir, name, &path);

	if (!walk->options.skip_special || dir == walk->base)
		return err_set(err, RC_UNSUPPORTED,
			       "%s is a %s: only files, directories and symlinks can be imported%s",
			       shown, special_name(mode),
			       dir == walk->base ? "" : " (--skip-special leaves others out)");
	if (!walk->options.silent)
		log_warning("%s is a %s: left out", shown, special_name(mode));
	walk->skipped++;
	*left_out = true;
	return RC_OK;
}

/* The event for `name` in dir, whatever it is; none where it is left out. */
static enum rc visit(struct tree_walk *walk, struct tree_dir *dir, const char *name, uint8_t type,
		     struct tree_walk_event *out, bool *left_out, struct err *err)
{
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	struct statx st;

	/* The root has depth 1, whatever is in a directory is one deeper. */
	if (walk->depth == NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "nested deeper than %d levels: %s",
			       NODE_DEPTH_MAX, path_of(dir, name, &path));
	out->dir = dir;
	out->open_name = name;
	if (type == DT_LNK)
		return give_symlink(walk, dir, name, out, err);
	if (type != DT_DIR) {
		if (stat_at(dir->fd, name, &st) != 0)
			return dir == walk->base && errno == ENOENT
				       ? err_set(err, RC_NOT_FOUND, "%s does not exist",
						 path_of(dir, name, &path))
				       : tree_file_errno(dir, name, errno, err);
		if (S_ISLNK(st.stx_mode))
			return give_symlink(walk, dir, name, out, err);
	}
	if (type == DT_DIR || S_ISDIR(st.stx_mode)) {
		enum rc rc = enter(walk, dir, name, err);

		if (rc != RC_OK)
			return rc;
		out->kind = TREE_WALK_DIRECTORY;
		/* Of the directory itself, so that a root can be known by it. */
		out->dir = walk->frames[walk->depth - 1].dir;
		out->stat.mount = out->dir->vouches ? out->dir->mount : 0;
		out->stat.filesystem = out->dir->filesystem;
		out->stat.device = out->dir->device;
		out->stat.inode = out->dir->inode;
		return RC_OK;
	}
	if (!S_ISREG(st.stx_mode))
		return meet_special(walk, dir, name, st.stx_mode, left_out, err);
	if (dir != walk->base && is_elsewhere(walk, device_of(&st))) {
		*left_out = true;
		return RC_OK;
	}
	out->kind = TREE_WALK_FILE;
	out->executable = (st.stx_mode & S_IXUSR) != 0;
	out->quiet = walk->uid == 0 || walk->uid == st.stx_uid;
	out->stat = stat_from(&st);
	stat_mount(walk, dir, name, &st, &out->stat);
	return RC_OK;
}

/* Says a pattern to leave it out? */
static bool is_excluded(const struct tree_walk *walk, const struct tree_dir *dir, const char *name,
			uint8_t type)
{
	const char *names[NODE_DEPTH_MAX + 1];
	size_t count = 0;
	struct statx st;

	if (!walk->options.exclude)
		return false;
	for (size_t i = 1; i < walk->depth; i++)
		names[count++] = walk->frames[i].dir->name;
	names[count++] = name;
	if (type == DT_UNKNOWN && stat_at(dir->fd, name, &st) == 0 && S_ISDIR(st.stx_mode))
		type = DT_DIR;
	return tree_exclude_matches(walk->options.exclude, names, count, type == DT_DIR);
}

enum rc tree_walk_next(struct tree_walk *walk, struct tree_walk_event *out, struct err *err)
{
	bool left_out = false;
	enum rc rc = RC_OK;

	*out = (struct tree_walk_event){ .kind = TREE_WALK_END };
	if (!walk->started) {
		walk->started = true;
		return visit(walk, walk->base, walk->path, DT_UNKNOWN, out, &left_out, err);
	}
	if (walk->depth == 0)
		return RC_OK;
	do {
		struct frame *frame = &walk->frames[walk->depth - 1];
		const struct entry *entry;
		const char *name;

		if (frame->next == frame->count)
			return leave(walk, out, err);
		entry = &frame->entries[frame->next++];
		name = (const char *)frame->names.ptr + entry->at;
		out->name = view_of(name, entry->len);
		left_out = is_excluded(walk, frame->dir, name, entry->type);
		if (!left_out)
			rc = visit(walk, frame->dir, name, entry->type, out, &left_out, err);
	} while (rc == RC_OK && left_out);
	return rc;
}
