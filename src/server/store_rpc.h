/*
 * The three services of a store as gRPC methods, under the names of both families.
 */
#ifndef CASTOR_SERVER_STORE_RPC_H
#define CASTOR_SERVER_STORE_RPC_H

#include <stdbool.h>

#include "server/rpc_server.h"
#include "service/services.h"

struct store_rpc {
	struct services services; /* borrowed; all but nar_facts are needed */
	bool allow_incomplete; /* a path info may be put whose blobs or directories are not here */
	bool no_replace; /* what is said of a path that is here adds signatures, or is refused */
	bool allow_list; /* PathInfoService.List */
	/* Made by store_rpc_register: */
	struct put_group *puts; /* NULL: each upload is committed in a thread of its own */
	struct pool *encoders;  /* compress the chunks of large uploads */
	struct client_shares *large_puts; /* uploads under way that hold more than a little */
};

/* Registers everything with the server; context must outlive it. */
void store_rpc_register(struct rpc_server *server, struct store_rpc *context);
/* When the server has stopped. */
void store_rpc_release(struct store_rpc *context);

/* The parts: blob_rpc.c, directory_rpc.c, path_info_rpc.c. */
void blob_rpc_register(struct rpc_server *server, struct store_rpc *context);
void directory_rpc_register(struct rpc_server *server, struct store_rpc *context);
void path_info_rpc_register(struct rpc_server *server, struct store_rpc *context);

#endif
