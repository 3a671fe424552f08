/* DirectoryService: Get and Put. */
#include "net/messages.h"
#include "server/store_rpc.h"

static struct directory_service *directories_of(struct rpc_call *call)
{
	const struct store_rpc *context = rpc_call_context(call);

	return context->services.directories;
}

/* ---- Get ---- */

struct get_state {
	struct directory *single; /* of a Get that is not recursive, until it was sent */
	struct directory_iter *iter;
};

static enum rc get_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct get_state *state = rpc_call_state(call);
	struct digest digest;
	bool recursive;
	enum rc rc;

	rc = message_read_get_directory(message, &digest, &recursive, err);
	if (rc != RC_OK)
		return rc;
	if (!recursive)
		return directory_service_get(directories_of(call), rpc_call_op(call), &digest,
					     &state->single, err);
	rc = directory_service_get_recursive(directories_of(call), rpc_call_op(call), &digest,
					     &state->iter, err);
	/* An unknown root is an empty stream: NOT_FOUND would be a broken store to the other
	 * clients. */
	return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc get_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			struct err *err)
{
	struct get_state *state = rpc_call_state(call);
	struct directory *dir AUTO_DIRECTORY = state->single;
	struct view encoded;
	enum rc rc;

	state->single = NULL;
	*next = RPC_NEXT_END;
	if (!dir && state->iter) {
		rc = directory_iter_next(state->iter, rpc_call_op(call), &dir, err);
		if (rc != RC_OK)
			return rc == RC_NOT_FOUND ? RC_OK : rc;
	}
	if (!dir)
		return RC_OK;
	encoded = directory_encoded(dir);
	if (encoded.len > MESSAGE_SEND_MAX) {
		char hex[DIGEST_HEX_MAX];

		digest_hex(directory_digest(dir), hex);
		return err_set(err, RC_TOO_LARGE,
			       "directory %s has %zu bytes, and clients of this protocol take %d",
			       hex, encoded.len, MESSAGE_SEND_MAX);
	}
	buf_append_view(out, encoded);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void get_close(struct rpc_call *call)
{
	struct get_state *state = rpc_call_state(call);

	directory_unref(state->single);
	directory_iter_free(state->iter);
}

/* ---- Put ---- */

struct put_state {
	struct directory_put *put;
};

static enum rc put_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	struct directory *dir AUTO_DIRECTORY = NULL;
	enum rc rc;

	rc = directory_decode(message, &dir, err);
	if (rc == RC_OK && !state->put)
		rc = directory_service_open_put(directories_of(call), rpc_call_op(call),
						&state->put, err);
	return rc == RC_OK ? directory_put_add(state->put, rpc_call_op(call), dir, err) : rc;
}

static enum rc put_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	struct digest root;
	enum rc rc;

	if (!state->put)
		return err_set(err, RC_INVALID, "the stream holds no directory");
	rc = directory_put_close(state->put, rpc_call_op(call), &root, err);
	if (rc != RC_OK)
		return rc;
	message_write_digest(&root, out);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void put_close(struct rpc_call *call)
{
	struct put_state *state = rpc_call_state(call);

	directory_put_free(state->put);
}

/* clang-format off */
#define METHODS(family) \
	{ .path = "/" family ".castore.v1.DirectoryService/Get", .server_streams = true, \
	  .state_size = sizeof(struct get_state), .message = get_message, .more = get_more, .close = get_close }, \
	{ .path = "/" family ".castore.v1.DirectoryService/Put", .client_streams = true, .may_idle = true, \
	  .state_size = sizeof(struct put_state), .message = put_message, .more = put_more, .close = put_close }
/* clang-format on */

static const struct rpc_method methods[] = { METHODS("tvix"), METHODS("snix") };

void directory_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), context, false);
}
