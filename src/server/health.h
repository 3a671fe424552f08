#ifndef CASTOR_SERVER_HEALTH_H
#define CASTOR_SERVER_HEALTH_H

#include "server/rpc_server.h"

/* grpc.health.v1.Health: Check and Watch. */
void health_register(struct rpc_server *server);

#endif
