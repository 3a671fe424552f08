/* Sockets to listen on, by the addresses that people write; and whose a unix socket's path is. */
#ifndef CASTOR_NET_LISTEN_SOCKET_H
#define CASTOR_NET_LISTEN_SOCKET_H

#include "base/err.h"

struct listen_socket {
	int fd;
	int lock_fd; /* of a unix socket's lock file; -1: none */
	char *path;  /* of a unix socket in the filesystem; NULL: none */
};

/* "host:port", "[::1]:8000", "/path/of/socket", "@abstract"; nonblocking. RC_BUSY where another server
 * lives there; a dead socket file is replaced. */
enum rc listen_socket_open(const char *address, struct listen_socket *out,
			   struct err *err) MUST_USE;
/* The same of a unix socket, whose path may look like anything. */
enum rc listen_socket_open_path(const char *path, struct listen_socket *out,
				struct err *err) MUST_USE;
/* The TCP port that it is bound to; 0: it is a unix socket. */
int listen_socket_port(const struct listen_socket *socket);
/* Removes the socket's file. */
void listen_socket_close(struct listen_socket *socket);

/* Takes the lock beside a unix socket's path. RC_BUSY: somebody has it, or answers at the socket without one. */
enum rc listen_socket_lock(const char *path, int *lock_fd, struct err *err) MUST_USE;

#endif
