#include "server/store_rpc.h"

#include "base/machine.h"
#include "base/pool.h"
#include "server/put_group.h"

enum { LARGE_PUTS_MAX = 512 };

void store_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	unsigned cpus = machine_cpus();

	/* A store elsewhere may hang: one upload must not wait for another there. */
	if (blob_service_latency(context->services.blobs) != BLOB_LATENCY_REMOTE)
		context->puts = put_group_new();
	context->large_puts = client_shares_new(LARGE_PUTS_MAX, LARGE_PUTS_MAX / 4);
	context->encoders = pool_new("rpc-encode", cpus, 2 * (size_t)cpus);
	blob_rpc_register(server, context);
	directory_rpc_register(server, context);
	path_info_rpc_register(server, context);
}

void store_rpc_release(struct store_rpc *context)
{
	put_group_free(context->puts);
	client_shares_free(context->large_puts);
	pool_free(context->encoders);
	context->puts = NULL;
	context->large_puts = NULL;
	context->encoders = NULL;
}
