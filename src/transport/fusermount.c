/*
 * Mounting through fusermount3. It is given a socket in _FUSE_COMMFD, mounts, and sends the
 * connection's descriptor back through it. What it has to say comes on its standard error, and
 * becomes our error.
 */
#include "transport/fusermount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "transport/mount_point.h"

enum { COMPLAINT_MAX = 512, COMMFD = 3 };

extern char **environ;

/* The environment with _FUSE_COMMFD; the array is the caller's. */
static char **child_environment(char *commfd)
{
	size_t count = 0;
	while (environ[count])
		count++;
	char **out = mem_array(count + 2, sizeof(*out));
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (strncmp(environ[i], "_FUSE_COMMFD=", 13) != 0)
			out[kept++] = environ[i];
	}
	out[kept] = commfd;
	return out;
}

/* Starts the helper with its end of the socket as descriptor 3 and the pipe as standard error. */
static enum rc start(char *const argv[], int sock, int complaints, pid_t *pid, struct err *err)
{
	char commfd[] = "_FUSE_COMMFD=3";
	AUTO_FREE char **environment = child_environment(commfd);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, complaints, STDERR_FILENO);
	if (sock >= 0)
		posix_spawn_file_actions_adddup2(&actions, sock, COMMFD);
	/* The helper must see its own signals whatever this thread blocks. */
	posix_spawnattr_t attr;
	posix_spawnattr_init(&attr);
	sigset_t none;
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int rc = posix_spawnp(pid, argv[0], &actions, &attr, argv, environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (rc == ENOENT)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "mounting without root needs fusermount3 (package fuse3)");
	return rc == 0 ? RC_OK : err_errno(err, rc, "cannot run fusermount3");
}

/* Collects what the helper says until it ends: len bytes of text. False: it does not end in time. */
static bool listen_to(int complaints, char *text, size_t *len)
{
	int64_t deadline = clock_monotonic_ns() + MOUNT_POINT_WAIT_MS * NS_PER_MS;
	*len = 0;
	for (;;) {
		struct pollfd poller = { .fd = complaints, .events = POLLIN };
		int64_t left = (deadline - clock_monotonic_ns() + NS_PER_MS - 1) / NS_PER_MS;
		if (left <= 0)
			return false;
		if (poll(&poller, 1, (int)left) <= 0)
			continue;
		char dropped[64];
		bool room = *len < COMPLAINT_MAX;
		ssize_t got = read(complaints, room ? text + *len : dropped,
				   room ? COMPLAINT_MAX - *len : sizeof(dropped));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return true;
		if (room)
			*len += (size_t)got;
	}
}

static enum rc finish(pid_t pid, int complaints, struct err *err)
{
	char text[COMPLAINT_MAX];
	size_t len;
	int status = 0;
	if (!listen_to(complaints, text, &len)) {
		/* It holds nothing of ours, and the kernel ends it when the filesystem answers. */
		kill(pid, SIGKILL);
		(void)waitpid(pid, &status, WNOHANG);
		return err_set(err, RC_DEADLINE,
			       "fusermount3 waits for a filesystem that does not answer");
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return RC_OK;
	while (len > 0 && text[len - 1] == '\n')
		len--;
	CLEANUP(buf_release) struct buf shown = BUF_INIT;
	text_printable(view_of(text, len), &shown);
	return err_set(err, RC_DENIED, "%s", len ? buf_string(&shown) : "fusermount3 failed");
}

static int receive_descriptor(int sock)
{
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct timeval wait = { .tv_sec = MOUNT_POINT_WAIT_MS / 1000 };
	ssize_t got;
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		return -1;
	do {
		got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	int fd;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* sock: the helper's end, closed here; -1: none. */
static enum rc run(char *const argv[], int sock, int ours, int *fd, struct err *err)
{
	int complaints[2];
	if (pipe2(complaints, O_CLOEXEC) < 0) {
		enum rc rc = err_errno(err, errno, "cannot make a pipe");
		if (sock >= 0)
			close(sock);
		return rc;
	}
	pid_t pid;
	enum rc rc = start(argv, sock, complaints[1], &pid, err);
	close(complaints[1]);
	if (sock >= 0)
		close(sock);
	if (rc == RC_OK) {
		if (fd)
			*fd = receive_descriptor(ours);
		rc = finish(pid, complaints[0], err);
	}
	close(complaints[0]);
	return rc;
}

enum rc fusermount_mount(const char *dir, const char *options, int *fd, struct err *err)
{
	*fd = -1;
	int sockets[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return err_errno(err, errno, "cannot make a socket pair");
	AUTO_FD int ours = sockets[0];
	AUTO_FREE char *option_text = mem_strdup(options);
	AUTO_FREE char *dir_text = mem_strdup(dir);
	char name[] = "fusermount3", o[] = "-o", end[] = "--";
	char *argv[] = { name, o, option_text, end, dir_text, NULL };
	enum rc rc = run(argv, sockets[1], ours, fd, err);
	if (rc == RC_OK && *fd < 0)
		rc = err_set(err, RC_IO, "fusermount3 sent no descriptor");
	if (rc != RC_OK && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return rc == RC_OK ? RC_OK : err_context(err, rc, "cannot mount at '%s'", dir);
}

enum rc fusermount_umount(const char *dir, struct err *err)
{
	AUTO_FREE char *dir_text = mem_strdup(dir);
	char name[] = "fusermount3", u[] = "-u", z[] = "-z", end[] = "--";
	char *argv[] = { name, u, z, end, dir_text, NULL };
	enum rc rc = run(argv, -1, -1, NULL, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "cannot unmount '%s'", dir);
}
