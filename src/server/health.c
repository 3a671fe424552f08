/* grpc.health.v1: the empty service name, and our own by name. */
#include <string.h>

#include "base/mem.h"
#include <grpc.health.v1.pb-c.h>
#include "server/health.h"

typedef Grpc__Health__V1__HealthCheckRequest Request;
typedef Grpc__Health__V1__HealthCheckResponse Response;

struct health_state {
	Grpc__Health__V1__HealthCheckResponse__ServingStatus status;
	bool watch;
	bool sent;
	bool last; /* the server is stopping: nothing comes after this one */
};

static bool is_ours(const char *service)
{
	static const char *const ours[] = {
		"",
		"tvix.castore.v1.BlobService",
		"tvix.castore.v1.DirectoryService",
		"tvix.store.v1.PathInfoService",
		"snix.castore.v1.BlobService",
		"snix.castore.v1.DirectoryService",
		"snix.store.v1.PathInfoService",
		"grpc.health.v1.Health",
	};

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (strcmp(service, ours[i]) == 0)
			return true;
	return false;
}

static enum rc read_request(struct rpc_call *call, struct view message, bool *ours, struct err *err)
{
	Request *request =
		grpc__health__v1__health_check_request__unpack(NULL, message.len, message.ptr);

	(void)call;
	if (!request)
		return err_set(err, RC_INVALID, "malformed HealthCheckRequest message");
	*ours = is_ours(request->service);
	grpc__health__v1__health_check_request__free_unpacked(request, NULL);
	return RC_OK;
}

static enum rc check_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct health_state *state = rpc_call_state(call);
	bool ours;
	enum rc rc = read_request(call, message, &ours, err);

	if (rc != RC_OK)
		return rc;
	if (!ours)
		return err_set(err, RC_NOT_FOUND, "unknown service");
	state->status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return RC_OK;
}

static enum rc watch_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct health_state *state = rpc_call_state(call);
	bool ours;
	enum rc rc = read_request(call, message, &ours, err);

	state->watch = true;
	state->status =
		ours ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
		     : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
	return rc;
}

static enum rc health_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			   struct err *err)
{
	struct health_state *state = rpc_call_state(call);
	Response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	(void)err;
	/* The status does not change before the server goes away. */
	if (state->sent && rpc_call_draining(call) && !state->last) {
		state->last = true;
		state->status =
			GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	} else if (state->sent) {
		*next = state->watch && !state->last ? RPC_NEXT_HOLD : RPC_NEXT_END;
		return RC_OK;
	}
	state->sent = true;
	response.status = state->status;
	buf_reserve(out, protobuf_c_message_get_packed_size(&response.base));
	out->len += protobuf_c_message_pack(&response.base, out->ptr + out->len);
	*next = state->last ? RPC_NEXT_LAST : RPC_NEXT_MESSAGE;
	return RC_OK;
}

static const struct rpc_method methods[] = {
	{ .path = "/grpc.health.v1.Health/Check",
	  .always = true,
	  .cost.quick = true,
	  .state_size = sizeof(struct health_state),
	  .message = check_message,
	  .more = health_more },
	{ .path = "/grpc.health.v1.Health/Watch",
	  .server_streams = true,
	  .state_size = sizeof(struct health_state),
	  .message = watch_message,
	  .more = health_more },
};

void health_register(struct rpc_server *server)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), NULL, true);
}
