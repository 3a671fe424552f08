/*
 * Many small calls in flight, driven by the thread that owns them: each sends one message and
 * collects the messages of its reply. Three tags a call: the request (with the headers of both
 * sides), one receive after the other, and the status. A call is over when all of them are. A unary
 * one has one tag for everything.
 */
#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/rpc_leftover.h"
#include "net/rpc_queue.h"

enum { TRIES = 4, FIRST_PAUSE_MS = 50 };

struct pending_call;

struct call_tag {
	struct pending_call *call;
	void (*done)(struct pending_call *call, bool ok);
};

struct pending_call {
	struct pending_call *next, *previous; /* of the calls */
	struct rpc_calls *calls;
	struct call_tag request_tag, receive_tag, status_tag;
	unsigned tags; /* under way */
	grpc_call *call;
	rpc_reply *reply;
	void *context;
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *received;
	grpc_status_code status;
	grpc_slice details;
	enum rc failed; /* what the reply function said */
	struct err err;
};

struct rpc_calls {
	struct rpc_leftover leftover;
	struct rpc_channel *channel;
	struct rpc_queue *queue;
	enum rpc_family family;
	struct pending_call *calls;
	size_t count;
	struct buf message; /* a reply's, while it is handed over */
};

struct rpc_calls *rpc_calls_new(struct rpc_channel *channel)
{
	return rpc_calls_new_as(channel, rpc_channel_family(channel));
}

struct rpc_calls *rpc_calls_new_as(struct rpc_channel *channel, enum rpc_family family)
{
	struct rpc_calls *calls = mem_zalloc(sizeof(*calls));

	calls->channel = rpc_channel_ref(channel);
	calls->family = family;
	calls->queue = rpc_queue_take(channel);
	return calls;
}

size_t rpc_calls_count(const struct rpc_calls *calls)
{
	return calls->count;
}

static void start(struct pending_call *call, const grpc_op *ops, size_t count, struct call_tag *tag)
{
	grpc_call_error error = grpc_call_start_batch(call->call, ops, count, tag, NULL);

	assert(error == GRPC_CALL_OK);
	(void)error;
	call->tags++;
}

static void receive(struct pending_call *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

	op.data.recv_message.recv_message = &call->received;
	start(call, &op, 1, &call->receive_tag);
}

static void on_request(struct pending_call *call, bool ok)
{
	(void)call;
	(void)ok; /* the status says why */
}

static void give_reply(struct pending_call *call)
{
	struct buf *message = &call->calls->message;

	buf_clear(message);
	if (call->failed == RC_OK)
		call->failed = rpc_bytes_read(call->received, message, &call->err);
	grpc_byte_buffer_destroy(call->received);
	call->received = NULL;
	if (call->failed == RC_OK)
		call->failed = call->reply(call->context, buf_view(message), &call->err);
}

static void on_received(struct pending_call *call, bool ok)
{
	if (!ok || !call->received)
		return;
	give_reply(call);
	if (call->failed != RC_OK)
		grpc_call_cancel(call->call, NULL);
	receive(call);
}

static void on_status(struct pending_call *call, bool ok)
{
	(void)call;
	(void)ok;
}

static void on_unary(struct pending_call *call, bool ok)
{
	(void)ok; /* the status says */
	if (call->received)
		give_reply(call);
}

static struct pending_call *call_new(struct rpc_calls *calls, const struct op *op,
				     const char *method, rpc_reply *reply, void *context)
{
	struct pending_call *call = mem_zalloc(sizeof(*call));

	call->calls = calls;
	call->reply = reply;
	call->context = context;
	call->details = grpc_empty_slice();
	grpc_metadata_array_init(&call->headers);
	grpc_metadata_array_init(&call->trailers);
	call->call = rpc_channel_call(calls->channel, calls->queue, op, calls->family, method);
	call->next = calls->calls;
	if (call->next)
		call->next->previous = call;
	calls->calls = call;
	calls->count++;
	return call;
}

/* The request and the headers of both sides: the first four of a call's operations. */
enum { REQUEST_OPS = 4 };
static void request_ops(struct pending_call *call, grpc_byte_buffer *message, grpc_op *ops)
{
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = message;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->headers;
}

static grpc_op status_op(struct pending_call *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };

	op.data.recv_status_on_client.trailing_metadata = &call->trailers;
	op.data.recv_status_on_client.status = &call->status;
	op.data.recv_status_on_client.status_details = &call->details;
	return op;
}

void rpc_calls_start(struct rpc_calls *calls, const struct op *op, const char *method,
		     struct buf *message, rpc_reply *reply, void *context)
{
	struct pending_call *call = call_new(calls, op, method, reply, context);
	grpc_byte_buffer *bytes = rpc_bytes_of(message);
	grpc_op ops[REQUEST_OPS] = { 0 };
	grpc_op status = status_op(call);

	call->request_tag = (struct call_tag){ call, on_request };
	call->receive_tag = (struct call_tag){ call, on_received };
	call->status_tag = (struct call_tag){ call, on_status };
	start(call, &status, 1, &call->status_tag);
	request_ops(call, bytes, ops);
	start(call, ops, ARRAY_LEN(ops), &call->request_tag);
	receive(call);
	grpc_byte_buffer_destroy(bytes);
}

void rpc_calls_start_unary(struct rpc_calls *calls, const struct op *op, const char *method,
			   struct buf *message, rpc_reply *reply, void *context)
{
	struct pending_call *call = call_new(calls, op, method, reply, context);
	grpc_byte_buffer *bytes = rpc_bytes_of(message);
	grpc_op ops[REQUEST_OPS + 2] = { 0 };

	call->request_tag = (struct call_tag){ call, on_unary };
	request_ops(call, bytes, ops);
	ops[REQUEST_OPS].op = GRPC_OP_RECV_MESSAGE;
	ops[REQUEST_OPS].data.recv_message.recv_message = &call->received;
	ops[REQUEST_OPS + 1] = status_op(call);
	start(call, ops, ARRAY_LEN(ops), &call->request_tag);
	grpc_byte_buffer_destroy(bytes);
}

/* Takes a call that is over out of the calls, and frees it. */
static void finish(struct pending_call *call, struct rpc_done *out)
{
	struct rpc_calls *calls = call->calls;

	out->context = call->context;
	out->rc = call->failed;
	out->err = call->err;
	if (out->rc == RC_OK)
		out->rc = rpc_status(calls->channel, call->status, call->details, &out->err);
	if (call->next)
		call->next->previous = call->previous;
	if (call->previous)
		call->previous->next = call->next;
	else
		calls->calls = call->next;
	calls->count--;
	grpc_slice_unref(call->details);
	grpc_metadata_array_destroy(&call->headers);
	grpc_metadata_array_destroy(&call->trailers);
	grpc_call_unref(call->call);
	free(call);
}

void rpc_calls_cancel(struct rpc_calls *calls)
{
	for (struct pending_call *call = calls->calls; call; call = call->next)
		grpc_call_cancel(call->call, NULL);
}

enum rc rpc_calls_next(struct rpc_calls *calls, const struct op *op, bool wait,
		       struct rpc_done *out, bool *any, struct err *err)
{
	*any = false;
	while (calls->count > 0) {
		grpc_event event;
		struct call_tag *tag;
		enum rc rc = rpc_queue_next(calls->queue, op, wait, &event, err);

		if (rc != RC_OK) {
			rpc_calls_cancel(calls);
			return rc;
		}
		if (event.type != GRPC_OP_COMPLETE)
			return RC_OK;
		tag = event.tag;
		tag->call->tags--;
		tag->done(tag->call, event.success != 0);
		if (tag->call->tags == 0) {
			finish(tag->call, out);
			*any = true;
			return RC_OK;
		}
	}
	return RC_OK;
}

static bool end_calls(struct rpc_leftover *leftover, const struct op *op)
{
	struct rpc_calls *calls = CONTAINER_OF(leftover, struct rpc_calls, leftover);
	struct rpc_done done;
	bool any;

	while (calls->count > 0)
		if (rpc_calls_next(calls, op, true, &done, &any, NULL) != RC_OK)
			return false;
	rpc_queue_give(calls->channel, calls->queue);
	rpc_channel_unref(calls->channel);
	buf_release(&calls->message);
	free(calls);
	return true;
}

void rpc_calls_free(struct rpc_calls *calls)
{
	if (!calls)
		return;
	/* Nobody is there for their replies. */
	for (struct pending_call *call = calls->calls; call; call = call->next)
		if (call->failed == RC_OK)
			call->failed = RC_CANCELLED;
	rpc_calls_cancel(calls);
	calls->leftover.end = end_calls;
	rpc_leftover_end(&calls->leftover);
}

struct unary {
	struct buf *reply;
	bool replied;
};

static enum rc unary_reply(void *context, struct view message, struct err *err)
{
	struct unary *unary = context;

	if (unary->replied)
		return err_set(err, RC_INVALID, "more than one message in the reply");
	unary->replied = true;
	buf_append_view(unary->reply, message);
	return RC_OK;
}

static enum rc unary_once(struct rpc_channel *channel, const struct op *op, const char *method,
			  struct view message, struct buf *reply, struct err *err)
{
	struct unary unary = { .reply = reply };
	struct rpc_calls *calls = rpc_calls_new(channel);
	struct buf copy = BUF_INIT;
	struct rpc_done done = { 0 };
	bool any = false;
	enum rc rc;

	buf_append_view(&copy, message);
	rpc_calls_start(calls, op, method, &copy, unary_reply, &unary);
	rc = rpc_calls_next(calls, op, true, &done, &any, err);
	rpc_calls_free(calls);
	buf_release(&copy);
	if (rc != RC_OK)
		return rc;
	if (done.rc != RC_OK)
		return err_set(err, done.rc, "%s", done.err.message);
	if (!unary.replied)
		return err_set(err, RC_INVALID, "%s: %s: an empty reply",
			       rpc_channel_address(channel), method);
	return RC_OK;
}

enum rc rpc_unary(struct rpc_channel *channel, const struct op *op, const char *method,
		  struct view message, bool again, struct buf *reply, struct err *err)
{
	size_t before = reply->len;
	enum rc rc;

	for (int i = 0;; i++) {
		rc = unary_once(channel, op, method, message, reply, err);
		if (rc != RC_UNAVAILABLE || !again || i + 1 >= TRIES)
			return rc;
		reply->len = before;
		clock_sleep_ns((FIRST_PAUSE_MS * NS_PER_MS) << i);
	}
}
