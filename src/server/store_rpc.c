#include "server/store_rpc.h"

void store_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	blob_rpc_register(server, context);
	directory_rpc_register(server, context);
	path_info_rpc_register(server, context);
}
