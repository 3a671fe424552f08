/* Listening by address. */
#include "net/listen_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

enum { BACKLOG = 1024 };

/* Whether nobody listens there: another program's socket has no lock of ours. */
static bool is_dead(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool dead;

	memcpy(un.sun_path, path, strlen(path));
	dead = fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0 &&
	       (errno == ECONNREFUSED || errno == ENOENT);
	fd_cleanup(&fd);
	return dead;
}

enum rc listen_socket_lock(const char *path, int *lock_fd, struct err *err)
{
	char *lock_path AUTO_FREE = mem_printf("%s.lock", path);
	struct stat stat;
	int fd;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(err, RC_INVALID, "%s: too long for a socket's path", path);
	if (lstat(path, &stat) == 0 && !S_ISSOCK(stat.st_mode))
		return err_set(err, RC_EXISTS, "%s is there already, and is no socket", path);
	fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "%s", lock_path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0 || !is_dead(path)) {
		close(fd);
		return err_set(err, RC_BUSY, "another server listens on %s", path);
	}
	*lock_fd = fd;
	return RC_OK;
}

static int open_socket(int family, const struct sockaddr *address, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, errnum;

	if (fd < 0)
		return -1;
	if (family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	errnum = errno;
	close(fd);
	errno = errnum;
	return -1;
}

static enum rc open_failed(const char *address, struct err *err)
{
	int errnum = errno;

	if (errnum == EADDRINUSE)
		return err_set(err, RC_BUSY, "cannot listen on %s: it is in use", address);
	return err_errno(err, errnum, "cannot listen on %s", address);
}

static enum rc open_unix(const char *address, bool abstract, struct listen_socket *out,
			 struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(address);
	enum rc rc = RC_OK;

	if (len == 0 || len >= sizeof(un.sun_path))
		return err_set(err, RC_INVALID, "a socket's path has 1 to %zu bytes: '%s'",
			       sizeof(un.sun_path) - 1, address);
	memcpy(un.sun_path, address, len);
	if (abstract) {
		un.sun_path[0] = '\0';
	} else {
		len++;
		rc = listen_socket_lock(address, &out->lock_fd, err);
		if (rc != RC_OK)
			return rc;
		(void)unlink(address);
	}
	out->fd = open_socket(AF_UNIX, (struct sockaddr *)&un,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	if (out->fd < 0) {
		rc = open_failed(address, err);
		fd_cleanup(&out->lock_fd);
		out->lock_fd = -1;
	} else if (!abstract) {
		out->path = mem_strdup(address);
	}
	return rc;
}

static enum rc open_tcp(const char *address, struct listen_socket *out, struct err *err)
{
	char *copy AUTO_FREE = mem_strdup(address);
	char *colon = strrchr(copy, ':'), *host = copy;
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	int result;

	if (!colon || colon[1] == '\0')
		return err_set(err, RC_INVALID, "%s: an address is host:port", address);
	*colon = '\0';
	if (host[0] == '[' && colon > host && colon[-1] == ']') {
		host++;
		colon[-1] = '\0';
	}
	result = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, colon + 1, &hints,
			     &list);
	if (result != 0)
		return err_set(err, RC_INVALID, "%s: %s", address, gai_strerror(result));
	errno = EADDRNOTAVAIL;
	for (struct addrinfo *at = list; at && out->fd < 0; at = at->ai_next)
		out->fd = open_socket(at->ai_family, at->ai_addr, at->ai_addrlen);
	freeaddrinfo(list);
	return out->fd < 0 ? open_failed(address, err) : RC_OK;
}

enum rc listen_socket_open(const char *address, struct listen_socket *out, struct err *err)
{
	*out = (struct listen_socket){ .fd = -1, .lock_fd = -1 };
	return strchr("/.@", address[0]) && address[0]
		       ? open_unix(address, address[0] == '@', out, err)
		       : open_tcp(address, out, err);
}

enum rc listen_socket_open_path(const char *path, struct listen_socket *out, struct err *err)
{
	*out = (struct listen_socket){ .fd = -1, .lock_fd = -1 };
	return open_unix(path, false, out, err);
}

int listen_socket_port(const struct listen_socket *socket)
{
	struct sockaddr_storage bound = { 0 };
	socklen_t len = sizeof(bound);

	if (getsockname(socket->fd, (struct sockaddr *)&bound, &len) != 0)
		return 0;
	if (bound.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&bound)->sin_port);
	return bound.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&bound)->sin6_port) : 0;
}

void listen_socket_close(struct listen_socket *socket)
{
	if (socket->path)
		unlink(socket->path);
	fd_cleanup(&socket->fd);
	fd_cleanup(&socket->lock_fd);
	free(socket->path);
	*socket = (struct listen_socket){ .fd = -1, .lock_fd = -1 };
}
