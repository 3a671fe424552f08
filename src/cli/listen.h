/* What the commands that serve others have in common: where they listen, and how long they run. */
#ifndef CASTOR_CLI_LISTEN_H
#define CASTOR_CLI_LISTEN_H

#include "cli/cli.h"
#include "cli/socket_access.h"
#include "server/server.h"

/* How a server takes an address as people write it (*port: the one that stands for 0), and a listening
 * socket, which it then owns. */
struct listener {
	void *server;
	struct socket_access access; /* to sockets in the filesystem */
	enum rc (*address)(void *server, const char *address, int *port, struct err *err) MUST_USE;
	enum rc (*socket)(void *server, int fd, struct err *err) MUST_USE;
};

/* At each of the addresses, or at the default where none was given; "sd-listen" stands for the sockets
 * that systemd passed. */
enum rc listen_everywhere(const struct listener *listener, const struct cli_list *addresses,
			  const char *default_address, struct err *err) MUST_USE;

/* At this address, and the log says so. */
enum rc listen_at(const struct listener *listener, const char *address, struct err *err) MUST_USE;

/* What SIGHUP makes a server read again. Where it fails, the server goes on with what it had. */
struct reload {
	enum rc (*reload)(void *context, struct err *err);
	void *context;
};

/* Starts them, says to systemd that they are ready, and at the first SIGINT or SIGTERM stops them, with one
 * grace for all. SIGHUP ends nothing: it reloads. */
enum rc serve_until_signal(struct cli *cli, const struct server *servers, size_t count,
			   const struct reload *reload, struct err *err) MUST_USE;

#endif
