/* Messages of vhost-user on their socket. */
#include "transport/vhost_user_message.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void vhost_user_close_fds(struct vhost_user_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fd_count = 0;
}

int vhost_user_take_fd(struct vhost_user_message *message, unsigned i)
{
	if (i >= message->fd_count)
		return -1;
	int fd = message->fds[i];
	message->fds[i] = -1;
	return fd;
}

/* False: more than a message may have; those that do not fit are closed. */
static bool take_fds(struct msghdr *header, struct vhost_user_message *message)
{
	bool fits = !(header->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at)) {
		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(at) + i * sizeof(fd), sizeof(fd));
			if (message->fd_count < VHOST_USER_FDS_MAX) {
				message->fds[message->fd_count++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	return fits;
}

static enum rc wait_readable(int fd, int stop_fd, struct err *err)
{
	struct pollfd polled[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};
	while (poll(polled, 2, -1) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "poll");
	return polled[1].revents ? err_set(err, RC_CANCELLED, "interrupted") : RC_OK;
}

/* Exactly len bytes; RC_NOT_FOUND: the end came before the first of them. */
static enum rc receive(int fd, int stop_fd, void *bytes, size_t len,
		       struct vhost_user_message *message, struct err *err)
{
	for (size_t done = 0; done < len;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
		} control;
		struct iovec iov = { .iov_base = (uint8_t *)bytes + done, .iov_len = len - done };
		struct msghdr header = { .msg_iov = &iov,
					 .msg_iovlen = 1,
					 .msg_control = control.bytes,
					 .msg_controllen = sizeof(control.bytes) };
		enum rc rc = wait_readable(fd, stop_fd, err);
		if (rc != RC_OK)
			return rc;
		ssize_t got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return done ? err_set(err, RC_INVALID,
					      "the front-end hung up within a message")
				    : RC_NOT_FOUND;
		if (got < 0)
			return err_errno(err, errno, "cannot receive from the front-end");
		if (!take_fds(&header, message))
			return err_set(err, RC_INVALID,
				       "the front-end sent more than %d descriptors with a message",
				       VHOST_USER_FDS_MAX);
		done += (size_t)got;
	}
	return RC_OK;
}

static enum rc receive_body(int fd, int stop_fd, struct vhost_user_message *out, struct err *err)
{
	const struct vhost_user_header *header = &out->header;
	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return err_set(err, RC_UNSUPPORTED, "the front-end speaks version %u of vhost-user",
			       header->flags & VHOST_USER_VERSION_MASK);
	if (header->size > sizeof(out->body))
		return err_set(err, RC_INVALID, "message %u of the front-end has %u bytes",
			       header->request, header->size);
	enum rc rc = receive(fd, stop_fd, &out->body, header->size, out, err);
	return rc == RC_NOT_FOUND
		       ? err_set(err, RC_INVALID, "the front-end hung up within message %u",
				 header->request)
		       : rc;
}

enum rc vhost_user_receive(int fd, int stop_fd, struct vhost_user_message *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	enum rc rc = receive(fd, stop_fd, &out->header, sizeof(out->header), out, err);
	if (rc == RC_OK)
		rc = receive_body(fd, stop_fd, out, err);
	if (rc != RC_OK)
		vhost_user_close_fds(out);
	return rc;
}

enum rc vhost_user_answer(int fd, struct vhost_user_message *message, uint32_t size,
			  struct err *err)
{
	struct vhost_user_header header = { .request = message->header.request,
					    .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
					    .size = size };
	struct iovec iov[] = { { .iov_base = &header, .iov_len = sizeof(header) },
			       { .iov_base = &message->body, .iov_len = size } };
	struct msghdr out = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t sent = sendmsg(fd, &out, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return err_errno(err, errno, "cannot answer the front-end");
	if ((size_t)sent != sizeof(header) + size)
		return err_set(err, RC_IO, "the front-end does not read its answers");
	return RC_OK;
}
