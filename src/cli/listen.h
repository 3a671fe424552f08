/* What the commands that serve others have in common: where they listen, and how long they run. */
#ifndef CASTOR_CLI_LISTEN_H
#define CASTOR_CLI_LISTEN_H

#include "cli/cli.h"

/* How a server takes an address as people write it (*port: the one that stands for 0), and a listening
 * socket, which it then owns. */
struct listener {
	void *server;
	enum rc (*address)(void *server, const char *address, int *port, struct err *err) MUST_USE;
	enum rc (*socket)(void *server, int fd, struct err *err) MUST_USE;
};

/* At each of the addresses, or at the default where none was given; "sd-listen" stands for the sockets
 * that systemd passed. */
enum rc listen_everywhere(const struct listener *listener, const struct cli_list *addresses,
			  const char *default_address, struct err *err) MUST_USE;

/* At this address, and the log says so. */
enum rc listen_at(const struct listener *listener, const char *address, struct err *err) MUST_USE;

/* Says to systemd that the server is ready, and returns at the first SIGINT or SIGTERM. */
void serve_until_signal(struct cli *cli);

#endif
