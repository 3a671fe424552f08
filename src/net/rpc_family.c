/* Which of the two families of service names a server knows. */
#include "net/rpc_queue.h"

static enum rc ignore_reply(void *context, struct view message, struct err *err)
{
	(void)context;
	(void)message;
	(void)err;
	return RC_OK;
}

/* RC_UNSUPPORTED: the server does not know the name. Any other answer comes from one that does. */
static enum rc probe(struct rpc_channel *channel, enum rpc_family family, const struct op *op,
		     const char *method, struct view message, struct err *err)
{
	struct rpc_calls *calls = rpc_calls_new_as(channel, family);
	struct buf copy CLEANUP(buf_release) = BUF_INIT;
	struct rpc_done done = { 0 };
	bool any;
	enum rc rc;

	buf_append_view(&copy, message);
	rpc_calls_start(calls, op, method, &copy, ignore_reply, NULL);
	rc = rpc_calls_next(calls, op, true, &done, &any, err);
	rpc_calls_free(calls);
	return rc == RC_OK && done.rc != RC_OK ? err_set(err, done.rc, "%s", done.err.message) : rc;
}

enum rc rpc_family_find(struct rpc_channel *channel, const struct op *op, const char *method,
			struct view message, struct err *err)
{
	static const enum rpc_family families[] = { RPC_FAMILY_SNIX, RPC_FAMILY_TVIX };

	if (rpc_channel_family(channel) != RPC_FAMILY_UNKNOWN)
		return RC_OK;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		enum rc rc = probe(channel, families[i], op, method, message, err);

		if (rc == RC_UNSUPPORTED)
			continue;
		if (rc == RC_UNAVAILABLE || rc == RC_DEADLINE || rc == RC_CANCELLED)
			return rc;
		rpc_channel_set_family(channel, families[i]);
		return RC_OK;
	}
	return err_set(err, RC_UNSUPPORTED, "%s: the server knows neither snix.%s nor tvix.%s",
		       rpc_channel_address(channel), method, method);
}
