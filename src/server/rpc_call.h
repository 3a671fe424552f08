/* One call of the gRPC server; private to rpc_server.c and rpc_call.c. */
#ifndef CASTOR_SERVER_RPC_CALL_H
#define CASTOR_SERVER_RPC_CALL_H

#include <grpc/grpc.h>
#include <stdatomic.h>

#include "base/refcount.h"
#include "server/rpc_server.h"

/* What the completion queue hands back: who is called, and with what. */
struct rpc_tag {
	void (*done)(struct rpc_tag *tag, bool ok);
};

struct rpc_registration {
	const struct rpc_method *method;
	void *context;
	bool quick;
};

/* What a call needs of its server. */
struct rpc_calls {
	struct pool *pool;
	unsigned limit;
	atomic_uint count;
	/* Finds a method; NULL: unknown. path is not NUL-terminated. */
	const struct rpc_registration *(*find)(struct rpc_calls *calls, struct view path);
};

/* What a call is doing; moved only by its own handlers and completions, of which one is under way
 * at a time, except for `closed`, which comes on its own. */
enum rpc_stage {
	RPC_STAGE_MESSAGE, /* give `received` to the handler */
	RPC_STAGE_MORE,    /* ask the handler for a reply */
	RPC_STAGE_STATUS,  /* send `status` */
};

struct rpc_call {
	struct rpc_tag accept_tag, close_tag, receive_tag, send_tag;
	struct rpc_calls *calls;
	struct refcount ref; /* one for each tag under way, one for a job on the pool */
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata; /* of the client */
	grpc_byte_buffer *received;
	int was_cancelled; /* written by the library */

	const struct rpc_method *method;
	void *context;
	void *state;
	bool quick; /* handlers run in the queue's thread */
	enum rpc_stage stage;
	bool opened; /* counted, and the method's close is owed */
	bool headers_sent;
	bool got_message;
	bool client_done;
	enum rc status;
	struct err err;
	atomic_bool cancelled;
	struct op op;
};

/* A call to be accepted: hand accept_tag to grpc_server_request_call. */
struct rpc_call *rpc_call_new(struct rpc_calls *calls,
			      void (*accepted)(struct rpc_tag *tag, bool ok));
/* The call was accepted: begins it. */
void rpc_call_begin(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);

#endif
