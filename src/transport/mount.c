/* A filesystem on this machine's /dev/fuse: mounting, serving, unmounting. */
#include "transport/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/log.h"
#include "base/mem.h"
#include "transport/connection.h"
#include "transport/dev_fuse.h"
#include "transport/fuse_uring.h"
#include "transport/fusermount.h"
#include "transport/mount_point.h"

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

static bool is_fuse(const struct mountinfo *info)
{
	return info->point && strncmp(info->type, "fuse", 4) == 0;
}

static bool is_castor(const struct mountinfo *info)
{
	return info->point && strcmp(info->type, MOUNT_TYPE) == 0;
}

static enum rc umount_point(const char *path, struct err *err)
{
	return geteuid() == 0 ? mount_point_umount(path, err) : fusermount_umount(path, err);
}

/* Takes away the dead mounts at dir. RC_BUSY where a living one is there. *path is where it is. */
static enum rc clear_place(const char *dir, char **path, struct err *err)
{
	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		CLEANUP(mount_point_release) struct mount_point point;
		enum rc rc = mount_point_look(dir, &point, err);
		if (rc != RC_OK)
			return rc;
		if (!is_fuse(&point.mount)) {
			if (!point.directory)
				return err_errno(err, ENOTDIR, "'%s'", dir);
			*path = point.path;
			point.path = NULL;
			return RC_OK;
		}
		if (mount_point_is_served(point.minor) || !mount_point_is_dead(point.path))
			return err_set(err, RC_BUSY, "'%s' is in use by another FUSE mount (%s)",
				       dir, point.mount.type);
		log_info("replacing a dead mount at '%s'", dir);
		rc = umount_point(point.path, err);
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
	unsigned long flags =
		MS_RDONLY | MS_NOSUID | MS_NODEV | (options->no_exec ? MS_NOEXEC : 0UL);
	enum rc rc = mount_point_mount(dir, source, MOUNT_TYPE, flags, data, *fd, err);
	if (rc != RC_OK) {
		close(*fd);
		*fd = -1;
	}
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
	if (options->no_exec)
		buf_append_string(&text, ",noexec");
	return fusermount_mount(dir, buf_string(&text), fd, err);
}

/* Of the mount just made: by it, it is told from whatever else may be mounted at its place later. */
static enum rc find_device(struct mount *mount, struct err *err)
{
	CLEANUP(mount_point_release) struct mount_point point;
	enum rc rc = mount_point_look(mount->dir, &point, err);
	if (rc != RC_OK)
		return rc;
	if (!is_castor(&point.mount))
		return err_set(err, RC_BUSY, "'%s' was mounted over at once", mount->dir);
	mount->major = point.major;
	mount->minor = point.minor;
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

/* Is ours, wherever it has been moved to, still there to be unmounted? A mount that ended is normally
 * gone, and the number of its device may be another's by now; but an aborted connection leaves a dead
 * mount behind. One that lies under another's mount is left there. */
static bool is_there(const struct mount *mount, const struct mountinfo *info, bool ended)
{
	CLEANUP(mount_point_release) struct mount_point point;
	struct err err = ERR_INIT;
	if (!is_castor(info))
		return false;
	if (mount_point_look(info->point, &point, &err) != RC_OK) {
		log_warning("%s", err.message);
		return false;
	}
	if (point.mount.id != info->id || point.minor != mount->minor) {
		log_warning("the mount at '%s' stays, dead: another mount lies on it", info->point);
		return false;
	}
	return !ended || mount_point_is_dead(point.path);
}

static void unmount(struct mount *mount, bool ended)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	CLEANUP(mountinfo_release) struct mountinfo info = { .point = NULL };
	struct err err = ERR_INIT;
	enum rc rc = mountinfo_read(&text, &err);
	if (rc == RC_OK)
		rc = mountinfo_find_device(buf_view(&text), mount->major, mount->minor, &info,
					   &err);
	if (rc == RC_OK && is_there(mount, &info, ended))
		rc = umount_point(info.point, &err);
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
	rc = dev_fuse_serve(mount->dev, by_rings ? 1 : threads, err);
	if (rc != RC_OK)
		end(mount);
	return rc;
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
	enum rc rc = clear_place(dir, &mount->dir, err);
	if (rc == RC_OK)
		rc = mount->by_helper ? mount_by_helper(mount->dir, options, source, &fd, err)
				      : mount_as_root(mount->dir, options, source, &fd, err);
	if (rc != RC_OK) {
		mount_free(mount);
		return rc;
	}
	rc = find_device(mount, err);
	if (rc != RC_OK) { /* what is there now is another's */
		close(fd);
		mount_free(mount);
		return rc;
	}
	rc = serve(mount, fs, fd, options, err);
	if (rc != RC_OK) {
		unmount(mount, false);
		mount_free(mount);
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

bool mount_lost_io_uring(const struct mount *mount)
{
	return mount->uring && fuse_uring_lost(mount->uring);
}

void mount_stop(struct mount *mount)
{
	struct pollfd poller = { .fd = mount->connection.ended, .events = POLLIN };
	unmount(mount, poll(&poller, 1, 0) == 1 && !mount_lost_io_uring(mount));
	end(mount);
	mount_free(mount);
}

enum rc mount_umount(const char *dir, struct err *err)
{
	CLEANUP(mount_point_release) struct mount_point point;
	enum rc rc = mount_point_look(dir, &point, err);
	if (rc != RC_OK)
		return rc;
	if (!point.mount.point)
		return err_set(err, RC_NOT_FOUND, "nothing is mounted at '%s'", point.path);
	if (!is_castor(&point.mount))
		return err_set(err, RC_NOT_FOUND, "what is mounted at '%s' is not castor's (%s)",
			       point.path, point.mount.type);
	return umount_point(point.path, err);
}
