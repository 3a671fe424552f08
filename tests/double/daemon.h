/* A real gRPC server in this process, over services of the test's choice, on a socket in `dir`. */
#ifndef CASTOR_TESTS_DOUBLE_DAEMON_H
#define CASTOR_TESTS_DOUBLE_DAEMON_H

#include "base/err.h"
#include "net/rpc_channel.h"
#include "server/store_rpc.h"

struct daemon {
	struct rpc_server *server;
	struct store_rpc served;
	char *socket;
};

/* Takes the references in services over. Everything is allowed (daemon->served says what). */
enum rc daemon_start(struct daemon *daemon, const char *dir, const struct services *services,
		     const struct rpc_server_options *options, struct err *err);
/* Stops at once, and releases the services. */
void daemon_stop(struct daemon *daemon);
/* A channel to it; params as in "?package=tvix", or "". */
enum rc daemon_connect(const struct daemon *daemon, const char *params, struct rpc_channel **out,
		       struct err *err);

#endif
