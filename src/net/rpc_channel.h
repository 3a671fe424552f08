/*
 * The client's side of gRPC over the C core library: a channel to one server, many small calls at
 * once (a calls), and one long call (a stream). Nothing here knows castor's services.
 */
#ifndef CASTOR_NET_RPC_CHANNEL_H
#define CASTOR_NET_RPC_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "base/url.h"

/* Starts the library, for whoever uses it by himself (the server). It is never shut down: that
 * waits for its poller, which may look up only every ten seconds. */
void rpc_library_init(void);

/* ---- Channels: shared, thread-safe ---- */

struct rpc_channel;

/* url: grpc+http://host[:port], grpc+https://…, grpc+unix:///path, with the parameters
 * wait-connect=1 (fail now where nobody answers within ten seconds), package=tvix|snix|auto, and
 * for https tls-ca=FILE, tls-cert=FILE, tls-key=FILE. One channel is made for equal addresses.
 * Connects at the first call. */
enum rc rpc_channel_open(const struct url *url, struct rpc_channel **out, struct err *err) MUST_USE;
struct rpc_channel *rpc_channel_ref(struct rpc_channel *channel);
void rpc_channel_unref(struct rpc_channel *channel);                /* NULL is fine */
const char *rpc_channel_address(const struct rpc_channel *channel); /* for messages */

/* The family that a server speaks. */
enum rpc_family { RPC_FAMILY_UNKNOWN, RPC_FAMILY_SNIX, RPC_FAMILY_TVIX };
/* As the address said, or as was found out since. */
enum rpc_family rpc_channel_family(const struct rpc_channel *channel);
/* Finds out which family the server speaks, once a channel: calls the method (a probe that changes
 * nothing) under one name and, where that is unknown, under the other. RC_UNSUPPORTED: it knows
 * neither. */
enum rc rpc_family_find(struct rpc_channel *channel, const struct op *op, const char *method,
			struct view message, struct err *err) MUST_USE;

/* ---- Calls in flight: one thread at a time ---- */

struct rpc_calls;

/* Called for each message of a call's reply, from rpc_calls_next. Not RC_OK: cancels the call with
 * that outcome. */
typedef enum rc rpc_reply(void *context, struct view message, struct err *err);

/* A call that is over. */
struct rpc_done {
	void *context; /* what the call was started with */
	enum rc rc;    /* its status */
	struct err err;
};

struct rpc_calls *rpc_calls_new(struct rpc_channel *channel);
/* Cancels what is in flight: no reply function is called any more. NULL is fine. */
void rpc_calls_free(struct rpc_calls *calls);
/* Starts a call that sends one message, taken over from *message, and gives every reply message to
 * `reply`. Methods have the form "castore.v1.BlobService/Stat": the family comes before it. */
void rpc_calls_start(struct rpc_calls *calls, const struct op *op, const char *method,
		     struct buf *message, rpc_reply *reply, void *context);
/* The same for methods with one reply message, for less work a call. */
void rpc_calls_start_unary(struct rpc_calls *calls, const struct op *op, const char *method,
			   struct buf *message, rpc_reply *reply, void *context);
/* Hurries everything in flight to its end; rpc_calls_next still returns each call. */
void rpc_calls_cancel(struct rpc_calls *calls);
size_t
rpc_calls_count(const struct rpc_calls *calls); /* calls that rpc_calls_next has not returned yet */
/* Moves everything on, until one call is over (*any true) or, with wait false, nothing is left to
 * do at the moment. The op bounds the wait; on RC_DEADLINE and RC_CANCELLED everything in flight is
 * cancelled. */
enum rc rpc_calls_next(struct rpc_calls *calls, const struct op *op, bool wait,
		       struct rpc_done *out, bool *any, struct err *err) MUST_USE;

/* One call with one reply message, from any thread. With `again`, RC_UNAVAILABLE is tried again a
 * few times, with growing pauses: only for methods that may run twice. */
enum rc rpc_unary(struct rpc_channel *channel, const struct op *op, const char *method,
		  struct view message, bool again, struct buf *reply, struct err *err) MUST_USE;

/* ---- Streams: one thread at a time ---- */

struct rpc_stream;

struct rpc_stream *rpc_stream_open(struct rpc_channel *channel, const struct op *op,
				   const char *method);
/* Takes the message over. A failure is the call's status, if the server ended it. */
enum rc rpc_stream_write(struct rpc_stream *stream, const struct op *op, struct buf *message,
			 struct err *err) MUST_USE;
/* No more messages from here. */
enum rc rpc_stream_close_send(struct rpc_stream *stream, const struct op *op,
			      struct err *err) MUST_USE;
/* The next message into *message (cleared first), or *end, and then the status was OK. */
enum rc rpc_stream_read(struct rpc_stream *stream, const struct op *op, struct buf *message,
			bool *end, struct err *err) MUST_USE;
void rpc_stream_free(struct rpc_stream *stream); /* cancels it where it is not over; NULL is fine */

#endif
