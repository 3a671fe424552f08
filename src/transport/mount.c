/* A filesystem on this machine's /dev/fuse: mounting, serving, unmounting. */
#include "transport/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/log.h"
#include "base/mem.h"
#include "transport/connection.h"
#include "transport/dev_fuse.h"
#include "transport/fuse_uring.h"
#include "transport/fusermount.h"
#include "transport/mountinfo.h"

#define MOUNT_TYPE "fuse.castor"

enum {
	READ_AHEAD_KB = 1024, /* half again as fast as the kernel's 128 for large files */
	DEAD_MOUNTS_MAX = 64, /* on top of each other */
};

struct mount {
	char *dir; /* resolved */
	unsigned major, minor;
	bool by_helper, read_ahead;
	struct connection connection;
	struct dev_fuse *dev;
	struct fuse_uring *uring; /* NULL: not in use */
};

/* The place */

/* realpath(3), also for a directory on which a dead mount lies. */
static enum rc resolve(const char *dir, char **out, struct err *err)
{
	*out = realpath(dir, NULL);
	if (*out)
		return RC_OK;
	if (errno != ENOTCONN && errno != EACCES)
		return err_errno(err, errno, "'%s'", dir);
	int errnum = errno;
	AUTO_FREE char *copy = mem_strdup(dir);
	size_t len = strlen(copy);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_errno(err, errnum, "'%s'", dir);
	const char *parent = ".";
	if (slash == copy) {
		parent = "/";
	} else if (slash) {
		*slash = '\0';
		parent = copy;
	}
	AUTO_FREE char *resolved = realpath(parent, NULL);
	if (!resolved)
		return err_errno(err, errno, "'%s'", dir);
	*out = mem_printf("%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, name);
	return RC_OK;
}

static enum rc find_point(const char *dir, struct mountinfo *out, struct err *err)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	*out = (struct mountinfo){ .point = NULL };
	enum rc rc = mountinfo_read(&text, err);
	return rc == RC_OK ? mountinfo_find_point(buf_view(&text), dir, out, err) : rc;
}

/* By root at once where nobody uses it, else out of sight until nobody does. */
static enum rc umount_as_root(const char *point, struct err *err)
{
	if (umount2(point, UMOUNT_NOFOLLOW) == 0)
		return RC_OK;
	if (errno == EBUSY && umount2(point, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
		return RC_OK;
	return err_errno(err, errno, "cannot unmount '%s'", point);
}

static enum rc umount_point(const char *point, struct err *err)
{
	return geteuid() == 0 ? umount_as_root(point, err) : fusermount_umount(point, err);
}

/* 0 and the mode, or an errno. Asks the server, for the kernel may have cached the answer of one that
 * is dead. */
static int ask(const char *path, mode_t *mode)
{
	struct statx status;
	*mode = 0;
	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &status) < 0)
		return errno;
	*mode = status.stx_mode;
	return 0;
}

static bool means_dead(int errnum)
{
	return errnum == ENOTCONN || errnum == ECONNABORTED;
}

/* Takes away the dead mounts at dir. RC_BUSY where a living one is there. */
static enum rc clear_place(const char *dir, struct err *err)
{
	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		mode_t mode;
		int errnum = ask(dir, &mode);
		CLEANUP(mountinfo_release) struct mountinfo info;
		enum rc rc = find_point(dir, &info, err);
		if (rc != RC_OK && rc != RC_NOT_FOUND)
			return rc;
		bool fuse = rc == RC_OK && strncmp(info.type, "fuse", 4) == 0;
		if (!fuse || !means_dead(errnum)) {
			if (fuse)
				return err_set(err, RC_BUSY,
					       "'%s' is in use by another FUSE mount (%s)", dir,
					       info.type);
			if (errnum != 0)
				return err_errno(err, errnum, "'%s'", dir);
			if (!S_ISDIR(mode))
				return err_errno(err, ENOTDIR, "'%s'", dir);
			return RC_OK;
		}
		log_info("replacing a dead mount at '%s'", dir);
		rc = umount_point(dir, err);
		if (rc != RC_OK)
			return rc;
	}
	return err_set(err, RC_BUSY, "too many dead mounts at '%s'", dir);
}

/* Mounting */

static enum rc mount_as_root(const char *dir, const struct mount_options *options,
			     const char *source, int *fd, struct err *err)
{
	*fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (*fd < 0)
		return err_errno(err, errno, "cannot open /dev/fuse");
	char data[128];
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40555,user_id=%u,group_id=%u,default_permissions%s", *fd,
		 (unsigned)geteuid(), (unsigned)getegid(),
		 options->allow_other ? ",allow_other" : "");
	if (mount(source, dir, MOUNT_TYPE, MS_RDONLY | MS_NOSUID | MS_NODEV, data) == 0)
		return RC_OK;
	enum rc rc = err_errno(err, errno, "cannot mount at '%s'", dir);
	close(*fd);
	*fd = -1;
	return rc;
}

static enum rc mount_by_helper(const char *dir, const struct mount_options *options,
			       const char *source, int *fd, struct err *err)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	buf_append_string(&text, "ro,nosuid,nodev,default_permissions,subtype=castor,fsname=");
	for (const char *at = source; *at; at++) {
		if (*at == ',' || *at == '\\')
			buf_append_byte(&text, '\\');
		buf_append_byte(&text, (uint8_t)*at);
	}
	if (options->allow_other)
		buf_append_string(&text, ",allow_other");
	return fusermount_mount(dir, buf_string(&text), fd, err);
}

static enum rc find_device(struct mount *mount, struct err *err)
{
	struct statx status;
	if (statx(AT_FDCWD, mount->dir, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &status) < 0)
		return err_errno(err, errno, "'%s'", mount->dir);
	mount->major = status.stx_dev_major;
	mount->minor = status.stx_dev_minor;
	return RC_OK;
}

/* The kernel holds a FUSE mount's read-ahead at 128 KiB whatever INIT says. */
static bool set_read_ahead(const struct mount *mount, unsigned kilobytes)
{
	char path[64], number[16];
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", mount->major,
		 mount->minor);
	int len = snprintf(number, sizeof(number), "%u", kilobytes ? kilobytes : READ_AHEAD_KB);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, number, (size_t)len) == len)
		return true;
	log_debug("%s: %s", path, strerror(errno));
	return false;
}

/* Ended, its superblock is normally gone, and the number of its device may be another's by now; but
 * an aborted connection leaves a dead mount behind, which answers nobody. */
static bool is_dead(const struct mountinfo *info)
{
	mode_t mode;
	int errnum = ask(info->point, &mode);
	return strcmp(info->type, MOUNT_TYPE) == 0 && means_dead(errnum);
}

/* Wherever it has been moved to. Nothing to do where it is gone. */
static void unmount(struct mount *mount)
{
	struct pollfd poller = { .fd = mount->connection.ended, .events = POLLIN };
	bool ended = poll(&poller, 1, 0) == 1;
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	CLEANUP(mountinfo_release) struct mountinfo info = { .point = NULL };
	struct err err = ERR_INIT;
	enum rc rc = mountinfo_read(&text, &err);
	if (rc == RC_OK)
		rc = mountinfo_find_device(buf_view(&text), mount->major, mount->minor, &info,
					   &err);
	if (rc == RC_OK && (!ended || is_dead(&info)))
		rc = mount->by_helper ? fusermount_umount(info.point, &err)
				      : umount_as_root(info.point, &err);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		log_warning("%s", err.message);
}

/* Serving */

/* Rings, where the kernel offers them and castor is to use them. */
static struct fuse_uring *make_rings(const struct mount_options *options)
{
	if (options->no_io_uring || fuse_uring_support() != FUSE_URING_ON)
		return NULL;
	struct fuse_uring *uring;
	struct err err = ERR_INIT;
	if (fuse_uring_new(&uring, &err) != RC_OK)
		log_info("%s: going on with /dev/fuse alone", err.message);
	return uring;
}

static void end(struct mount *mount)
{
	struct connection *connection = &mount->connection;
	fs_session_cancel_all(connection->session);
	atomic_store(&connection->stopping, true);
	if (mount->dev)
		dev_fuse_quiesce(mount->dev);
	if (mount->uring)
		fuse_uring_quiesce(mount->uring);
	connection_free_session(connection);
	fuse_uring_free(mount->uring);
	dev_fuse_free(mount->dev);
	connection_release(connection);
}

/* Owns fd from here. */
static enum rc serve(struct mount *mount, struct fs *fs, int fd,
		     const struct mount_options *options, struct err *err)
{
	struct connection *connection = &mount->connection;
	mount->uring = make_rings(options);
	enum rc rc = connection_init(connection, fs, fd, mount->uring != NULL,
				     mount->uring ? fuse_uring_max_read(mount->uring) : 0, err);
	if (rc != RC_OK) {
		fuse_uring_free(mount->uring);
		return rc;
	}
	rc = dev_fuse_new(connection, &mount->dev, err);
	if (rc != RC_OK) {
		end(mount);
		return rc;
	}
	struct fs_session_features features;
	fs_session_get_features(connection->session, &features);
	bool by_rings = false;
	if (features.io_uring && mount->uring) {
		struct err ring_err = ERR_INIT;
		by_rings = fuse_uring_serve(mount->uring, connection, &ring_err) == RC_OK;
		if (!by_rings)
			log_warning("%s: going on with /dev/fuse alone", ring_err.message);
	} else {
		fuse_uring_free(mount->uring);
		mount->uring = NULL;
	}
	unsigned threads = options->threads ? options->threads : machine_cpus();
	dev_fuse_serve(mount->dev, by_rings ? 1 : threads);
	return RC_OK;
}

static void mount_free(struct mount *mount)
{
	free(mount->dir);
	free(mount);
}

enum rc mount_start(struct fs *fs, const char *dir, const struct mount_options *options,
		    struct mount **out, struct err *err)
{
	*out = NULL;
	struct mount *mount = mem_zalloc(sizeof(*mount));
	const char *source = options->source ? options->source : "castor";
	int fd = -1;
	mount->by_helper = geteuid() != 0;
	enum rc rc = resolve(dir, &mount->dir, err);
	if (rc == RC_OK)
		rc = clear_place(mount->dir, err);
	if (rc == RC_OK)
		rc = mount->by_helper ? mount_by_helper(mount->dir, options, source, &fd, err)
				      : mount_as_root(mount->dir, options, source, &fd, err);
	if (rc != RC_OK) {
		mount_free(mount);
		return rc;
	}
	rc = serve(mount, fs, fd, options, err);
	if (rc != RC_OK) {
		struct err ignored = ERR_INIT;
		if (umount_point(mount->dir, &ignored) != RC_OK)
			log_warning("%s", ignored.message);
		mount_free(mount);
		return rc;
	}
	rc = find_device(mount, err);
	if (rc != RC_OK) {
		mount_stop(mount);
		return rc;
	}
	mount->read_ahead = set_read_ahead(mount, options->read_ahead_kb);
	*out = mount;
	return RC_OK;
}

int mount_ended_fd(const struct mount *mount)
{
	return mount->connection.ended;
}

void mount_get_facts(const struct mount *mount, struct mount_facts *out)
{
	*out = (struct mount_facts){
		.io_uring = mount->uring != NULL,
		.io_uring_is_off = fuse_uring_support() == FUSE_URING_OFF,
		.read_ahead = mount->read_ahead,
		.by_helper = mount->by_helper,
	};
}

void mount_stop(struct mount *mount)
{
	unmount(mount);
	end(mount);
	mount_free(mount);
}

enum rc mount_umount(const char *dir, struct err *err)
{
	AUTO_FREE char *point = NULL;
	enum rc rc = resolve(dir, &point, err);
	if (rc != RC_OK)
		return rc;
	CLEANUP(mountinfo_release) struct mountinfo info = { .point = NULL };
	rc = find_point(point, &info, err);
	if (rc != RC_OK)
		return rc;
	if (strcmp(info.type, MOUNT_TYPE) != 0)
		return err_set(err, RC_NOT_FOUND, "what is mounted at '%s' is not castor's (%s)",
			       point, info.type);
	return umount_point(point, err);
}
