#ifndef CASTOR_SERVICE_PATH_INFO_GRPC_H
#define CASTOR_SERVICE_PATH_INFO_GRPC_H

#include "net/rpc_channel.h"
#include "service/path_info/nar_facts.h"
#include "service/path_info/path_info_service.h"

/* The PathInfoService of a daemon; each takes a reference on the channel. */
struct path_info_service *path_info_grpc_new(struct rpc_channel *channel);
/* Its CalculateNAR: the server computes and remembers; put is nothing to it. */
struct nar_facts_store *nar_facts_grpc_new(struct rpc_channel *channel);

#endif
