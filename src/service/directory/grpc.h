#ifndef CASTOR_SERVICE_DIRECTORY_GRPC_H
#define CASTOR_SERVICE_DIRECTORY_GRPC_H

#include "net/rpc_channel.h"
#include "service/directory/directory_service.h"

/* The DirectoryService of a daemon; takes a reference on the channel. */
struct directory_service *directory_grpc_new(struct rpc_channel *channel);

#endif
