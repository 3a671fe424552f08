/*
 * Accepts connections for the gRPC library, which itself bounds neither how many there are nor how
 * many of them one client has. A connection is handed to the library once its client has said something.
 */
#ifndef CASTOR_SERVER_RPC_ACCEPT_H
#define CASTOR_SERVER_RPC_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "server/client_share.h"

struct rpc_accept_options {
	unsigned connections;  /* at once */
	unsigned each;         /* of one client that is not local */
	unsigned reserve;      /* more of local clients */
	int64_t first_byte_ns; /* a client that says nothing for so long is dropped */
	void (*take)(void *context,
		     int fd); /* owns the descriptor then, and shuts it down at its end */
	void *context;
};

struct rpc_accept;
enum rc rpc_accept_new(const struct rpc_accept_options *options, struct rpc_accept **out,
		       struct err *err) MUST_USE;
/* Before rpc_accept_start: listens there too. Owns the descriptor. */
enum rc rpc_accept_add(struct rpc_accept *accept, int fd, struct err *err) MUST_USE;
enum rc rpc_accept_start(struct rpc_accept *accept, struct err *err) MUST_USE;
/* Closes what it listens on; connections that were taken go on. May be called again. */
void rpc_accept_stop(struct rpc_accept *accept);
/* When the library has let go of all connections. NULL is fine. */
void rpc_accept_free(struct rpc_accept *accept);

/* Whose connection is that, by the number of the descriptor that was taken? */
bool rpc_accept_client(struct rpc_accept *accept, int fd, struct client_key *out);
unsigned rpc_accept_connections(struct rpc_accept *accept);

#endif
