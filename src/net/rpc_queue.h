/* What calls and streams share; private to net/rpc_*.c. */
#ifndef CASTOR_NET_RPC_QUEUE_H
#define CASTOR_NET_RPC_QUEUE_H

#include <grpc/grpc.h>

#include "net/rpc_channel.h"

struct rpc_queue {
	struct rpc_queue *next; /* idle ones of a channel */
	grpc_completion_queue *queue;
};

/* A completion queue with nothing in it, given back in the same state. */
struct rpc_queue *rpc_queue_take(struct rpc_channel *channel);
void rpc_queue_give(struct rpc_channel *channel, struct rpc_queue *queue);

void rpc_channel_set_family(struct rpc_channel *channel, enum rpc_family family);

/* A new call on the channel: "/<family>.<method>", with the op's deadline. */
grpc_call *rpc_channel_call(struct rpc_channel *channel, struct rpc_queue *queue,
			    const struct op *op, enum rpc_family family, const char *method);
/* A set of calls under the name of one family, for finding out which one is right. */
struct rpc_calls *rpc_calls_new_as(struct rpc_channel *channel, enum rpc_family family);

/* Waits for the next completion at most until the op ends, in slices, so that the cancel flag is
 * seen. RC_OK with event->type GRPC_OP_COMPLETE, or (wait false) GRPC_QUEUE_TIMEOUT. */
enum rc rpc_queue_next(struct rpc_queue *queue, const struct op *op, bool wait, grpc_event *event,
		       struct err *err) MUST_USE;

grpc_byte_buffer *rpc_bytes_of(struct buf *message); /* takes its memory over */
/* Appends the message. RC_INVALID: cannot be decompressed. */
enum rc rpc_bytes_read(grpc_byte_buffer *bytes, struct buf *out, struct err *err) MUST_USE;
/* The outcome and sentence of a status. */
enum rc rpc_status(struct rpc_channel *channel, grpc_status_code status, grpc_slice details,
		   struct err *err);

#endif
