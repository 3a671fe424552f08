/* PathInfoService: Get, Put, CalculateNAR, List. */
#include "base/log.h"
#include "net/messages.h"
#include "server/store_rpc.h"
#include "transfer/completeness.h"
#include "transfer/nar.h"

static const struct store_rpc *context_of(struct rpc_call *call)
{
	return rpc_call_context(call);
}

/* ---- Get and Put: one path info in, or a hash; one path info out ---- */

struct info_state {
	struct path_info info;
};

static enum rc get_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct info_state *state = rpc_call_state(call);
	uint8_t hash[STORE_PATH_HASH_SIZE];
	enum rc rc;

	rc = message_read_get_path_info(message, hash, err);
	if (rc != RC_OK)
		return rc;
	return path_info_service_get(context_of(call)->services.path_infos, rpc_call_op(call), hash,
				     &state->info, err);
}

/* *same: the very one is kept already, and is what is answered. */
static enum rc find_same(const struct store_rpc *context, const struct op *op,
			 const struct path_info *info, struct path_info *found, bool *same,
			 struct err *err)
{
	struct services kept = services_kept(&context->services);
	struct buf old CLEANUP(buf_release) = BUF_INIT;
	struct buf new CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = path_info_service_get(kept.path_infos, op, info->path.hash, found, err);

	*same = false;
	/* What is damaged is absent to a writer. */
	if (rc != RC_OK)
		return rc == RC_NOT_FOUND || rc == RC_CORRUPT ? RC_OK : rc;
	path_info_encode(found, &old);
	path_info_encode(info, &new);
	*same = view_equal(buf_view(&old), buf_view(&new));
	if (!*same)
		path_info_release(found);
	return RC_OK;
}

static enum rc put_message(struct rpc_call *call, struct view message, struct err *err)
{
	const struct store_rpc *context = context_of(call);
	struct info_state *state = rpc_call_state(call);
	struct path_info info AUTO_PATH_INFO = { 0 };
	bool same = false;
	enum rc rc;

	rc = path_info_decode(message, &info, err);
	if (rc == RC_OK && !context->allow_incomplete)
		rc = completeness_keep(&context->services, rpc_call_op(call), &info.node, err);
	if (rc == RC_FAILED_PRECONDITION)
		return err_context(err, rc,
				   "put its blobs and directories first, or start the daemon with "
				   "--allow-incomplete");
	if (rc == RC_OK)
		rc = find_same(context, rpc_call_op(call), &info, &state->info, &same, err);
	if (rc != RC_OK || same)
		return rc;
	return (context->no_replace ? path_info_service_add : path_info_service_put)(
		services_kept(&context->services).path_infos, rpc_call_op(call), &info,
		&state->info, err);
}

static enum rc info_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct info_state *state = rpc_call_state(call);

	path_info_encode(&state->info, out);
	if (out->len > MESSAGE_SEND_MAX)
		return err_set(err, RC_TOO_LARGE, "the path info has %zu bytes", out->len);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void info_close(struct rpc_call *call)
{
	struct info_state *state = rpc_call_state(call);

	path_info_release(&state->info);
}

/* ---- CalculateNAR ---- */

struct calculate_state {
	struct nar_facts facts;
};

static enum rc calculate_message(struct rpc_call *call, struct view message, struct err *err)
{
	const struct store_rpc *context = context_of(call);
	struct calculate_state *state = rpc_call_state(call);
	struct node node;
	enum rc rc;

	rc = node_decode(message, &node, err);
	if (rc != RC_OK)
		return rc;
	rc = nar_facts_of(&context->services, rpc_call_op(call), &node, &state->facts, err);
	/* What the node names and is not here is lost data to those who ask. */
	return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
}

static enum rc calculate_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			      struct err *err)
{
	struct calculate_state *state = rpc_call_state(call);

	(void)err;
	message_write_calculate_nar_response(state->facts.nar_size, &state->facts.nar_sha256, out);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

/* ---- List ---- */

struct list_state {
	struct path_info_iter *iter;
	size_t failed; /* entries that could not be read: the status tells of them behind the others */
	enum rc rc;    /* of the first */
	struct err err;
};

static enum rc list_message(struct rpc_call *call, struct view message, struct err *err)
{
	const struct store_rpc *context = context_of(call);
	struct list_state *state = rpc_call_state(call);

	(void)message;
	if (!context->allow_list)
		return err_set(err, RC_NOT_PERMITTED, "this server does not list its path infos");
	return path_info_service_list(context->services.path_infos, rpc_call_op(call), NULL,
				      &state->iter, err);
}

static enum rc list_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct list_state *state = rpc_call_state(call);
	struct path_info info AUTO_PATH_INFO = { 0 };
	bool end;
	enum rc rc;

	while ((rc = path_info_iter_next(state->iter, rpc_call_op(call), &info, &end, err)) !=
	       RC_OK) {
		if (!path_info_iter_goes_on(state->iter))
			return rc;
		log_warning("a listing leaves it out: %s", err->message);
		if (state->failed++ > 0)
			continue;
		state->rc = rc;
		state->err = *err;
	}
	if (end && state->failed > 1)
		return err_set(err, state->rc, "%s, and %zu others", state->err.message,
			       state->failed - 1);
	if (end && state->failed > 0)
		return err_set(err, state->rc, "%s", state->err.message);
	*next = end ? RPC_NEXT_END : RPC_NEXT_MESSAGE;
	if (!end)
		path_info_encode(&info, out);
	return RC_OK;
}

static void list_close(struct rpc_call *call)
{
	struct list_state *state = rpc_call_state(call);

	path_info_iter_free(state->iter);
}

/* clang-format off */
#define METHODS(family) \
	{ .path = "/" family ".store.v1.PathInfoService/Get", .cost.quick = true, .state_size = sizeof(struct info_state), \
	  .message = get_message, .more = info_more, .close = info_close }, \
	{ .path = "/" family ".store.v1.PathInfoService/Put", .state_size = sizeof(struct info_state), \
	  .message = put_message, .more = info_more, .close = info_close }, \
	{ .path = "/" family ".store.v1.PathInfoService/CalculateNAR", .state_size = sizeof(struct calculate_state), \
	  .message = calculate_message, .more = calculate_more }, \
	{ .path = "/" family ".store.v1.PathInfoService/List", .server_streams = true, \
	  .state_size = sizeof(struct list_state), .message = list_message, .more = list_more, .close = list_close }
/* clang-format on */

static const struct rpc_method methods[] = { METHODS("tvix"), METHODS("snix") };

void path_info_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), context,
			    !path_info_service_is_remote(context->services.path_infos));
}
