/* What the channels of one FUSE connection share. */
#include "transport/connection.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/fuse_wire.h"

/* Ioctls of the device, from the kernel's linux/fuse.h, 7.40. */
struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define IOCTL_BACKING_OPEN  _IOW(229, 1, struct backing_map)
#define IOCTL_BACKING_CLOSE _IOW(229, 2, uint32_t)

int connection_send(struct connection *connection, uint64_t unique, int error,
		    const struct iovec *iov, int count)
{
	assert(count >= 0 && count <= FS_IOV_MAX);
	struct fuse_out_header header = { .error = error, .unique = unique };
	struct iovec vector[FS_IOV_MAX + 1];
	vector[0] = (struct iovec){ .iov_base = &header, .iov_len = sizeof(header) };
	size_t len = sizeof(header);
	for (int i = 0; i < count; i++) {
		vector[i + 1] = iov[i];
		len += iov[i].iov_len;
	}
	if (len > UINT32_MAX)
		return -EOVERFLOW;
	header.len = (uint32_t)len;

	ssize_t wrote;
	do {
		wrote = writev(connection->fd, vector, count + 1);
	} while (wrote < 0 && errno == EINTR);
	return wrote < 0 ? -errno : 0;
}

static struct channel_request *of(struct fs_request *request)
{
	return CONTAINER_OF(request, struct channel_request, fs);
}

static void on_reply(struct fs_request *request, int error, const struct iovec *iov, int count)
{
	of(request)->reply(of(request), error, iov, count);
}

static void on_done(struct fs_request *request)
{
	of(request)->done(of(request));
}

/* Notifications have no way but /dev/fuse: the kernel takes none over io_uring. */
static int on_notify(struct fs_session *session, int code, const struct iovec *iov, int count)
{
	return connection_send(fs_session_context(session), 0, code, iov, count);
}

static int on_backing_open(struct fs_session *session, int fd)
{
	struct connection *connection = fs_session_context(session);
	struct backing_map map = { .fd = fd };
	int id = ioctl(connection->fd, IOCTL_BACKING_OPEN, &map);
	return id < 0 ? -errno : id;
}

static void on_backing_close(struct fs_session *session, int backing_id)
{
	struct connection *connection = fs_session_context(session);
	uint32_t id = (uint32_t)backing_id;
	/* Fails only where the connection is gone, and its backing files with it. */
	(void)ioctl(connection->fd, IOCTL_BACKING_CLOSE, &id);
}

enum rc connection_init(struct connection *connection, struct fs *fs, int fd, bool io_uring,
			uint32_t max_read, struct err *err)
{
	*connection = (struct connection){
		.fd = fd,
		.ops = {
			.reply = on_reply,
			.done = on_done,
			.notify = on_notify,
			.backing_open = on_backing_open,
			.backing_close = on_backing_close,
			.io_uring = io_uring,
			.default_permissions = true, /* as mount.c asks for */
			.max_read = max_read,
		},
		.ended = eventfd(0, EFD_CLOEXEC),
	};
	if (connection->ended < 0) {
		enum rc rc = err_errno(err, errno, "cannot make an eventfd");
		close(fd);
		return rc;
	}
	connection->session = fs_session_new(fs, &connection->ops, connection);
	return RC_OK;
}

void connection_free_session(struct connection *connection)
{
	fs_session_free(connection->session);
	connection->session = NULL;
}

void connection_release(struct connection *connection)
{
	assert(!connection->session);
	close(connection->fd);
	close(connection->ended);
}

bool connection_wants_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

void connection_set_ended(struct connection *connection)
{
	uint64_t one = 1;
	if (write(connection->ended, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is readable already */
}
