/*
 * The life of one gRPC call. Three kinds of batches are started on it: one RECV_CLOSE_ON_SERVER,
 * which completes when the call is over or its client went away; at most one RECV_MESSAGE; at most
 * one send. Every tag comes back exactly once, also on failure, and holds a reference until then.
 */
#include "server/rpc_call.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/refcount.h"
#include "server/rpc_block.h"

static void on_closed(struct rpc_tag *tag, bool ok);
static void on_received(struct rpc_tag *tag, bool ok);
static void on_sent(struct rpc_tag *tag, bool ok);

struct rpc_call *rpc_call_new(struct rpc_calls *calls,
			      void (*accepted)(struct rpc_tag *tag, bool ok))
{
	struct rpc_call *call = mem_zalloc(sizeof(*call));

	call->calls = calls;
	refcount_init(&call->ref);
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->metadata);
	call->accept_tag.done = accepted;
	call->close_tag.done = on_closed;
	call->receive_tag.done = on_received;
	call->send_tag.done = on_sent;
	return call;
}

void rpc_call_ref(struct rpc_call *call)
{
	refcount_ref(&call->ref);
}

static void list(struct rpc_call *call)
{
	struct rpc_calls *calls = call->calls;

	pthread_mutex_lock(&calls->lock);
	call->next = calls->open;
	call->link = &calls->open;
	if (call->next)
		call->next->link = &call->next;
	calls->open = call;
	calls->open_count++;
	pthread_mutex_unlock(&calls->lock);
}

static void unlist(struct rpc_call *call)
{
	struct rpc_calls *calls = call->calls;

	pthread_mutex_lock(&calls->lock);
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	calls->open_count--;
	pthread_mutex_unlock(&calls->lock);
}

void rpc_call_unref(struct rpc_call *call)
{
	if (!refcount_unref(&call->ref))
		return;
	if (call->opened) {
		rpc_replies_release(call);
		if (call->method->close)
			call->method->close(call);
		free(call->state);
		unlist(call);
	}
	if (call->counted)
		client_shares_give(call->counted, &call->client);
	if (call->received)
		grpc_byte_buffer_destroy(call->received);
	grpc_metadata_array_destroy(&call->metadata);
	grpc_call_details_destroy(&call->details);
	if (call->call)
		grpc_call_unref(call->call);
	free(call);
}

void *rpc_call_state(struct rpc_call *call)
{
	return call->state;
}

void *rpc_call_context(struct rpc_call *call)
{
	return call->context;
}

const struct op *rpc_call_op(struct rpc_call *call)
{
	return &call->op;
}

const struct client_key *rpc_call_client(const struct rpc_call *call)
{
	return &call->client;
}

bool rpc_call_draining(const struct rpc_call *call)
{
	return atomic_load(&call->calls->draining);
}

/* Starts a batch whose completion comes to tag. The library refuses one only for our own mistakes.
 */
static void start(struct rpc_call *call, const grpc_op *ops, size_t count, struct rpc_tag *tag)
{
	grpc_call_error error;

	refcount_ref(&call->ref);
	error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
	assert(error == GRPC_CALL_OK);
	(void)error;
}

static void receive(struct rpc_call *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

	if (!call->got_message || !call->method->may_idle)
		rpc_patience_wait(call);

	op.data.recv_message.recv_message = &call->received;
	start(call, &op, 1, &call->receive_tag);
}

static size_t add_headers(struct rpc_call *call, grpc_op *ops, size_t count)
{
	if (!call->headers_sent) {
		call->headers_sent = true;
		ops[count++] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
	}
	return count;
}

/* Adds the end of the call; *details holds memory until the batch was started. */
static size_t add_status(struct rpc_call *call, grpc_op *ops, size_t count, grpc_slice *details)
{
	*details = grpc_slice_from_copied_string(call->err.message);
	ops[count] = (grpc_op){ .op = GRPC_OP_SEND_STATUS_FROM_SERVER };
	ops[count].data.send_status_from_server.status = (grpc_status_code)rc_to_grpc(call->status);
	if (call->status != RC_OK)
		ops[count].data.send_status_from_server.status_details = details;
	return count + 1;
}

void rpc_call_send_status(struct rpc_call *call)
{
	grpc_op ops[2] = { 0 };
	grpc_slice details;
	size_t count = add_headers(call, ops, 0);

	count = add_status(call, ops, count, &details);
	start(call, ops, count, &call->send_tag);
	grpc_slice_unref(details);
}

void rpc_call_send_message(struct rpc_call *call, struct buf *message, bool last)
{
	grpc_op ops[3] = { 0 };
	grpc_slice details = grpc_empty_slice();
	grpc_slice slice =
		message->len > 0
			? grpc_slice_new_with_user_data(
				  message->ptr, message->len,
				  rpc_is_block(call, message) ? rpc_block_give : free, message->ptr)
			: grpc_empty_slice();
	grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
	size_t count = add_headers(call, ops, 0);

	call->sending = message->len;
	rpc_patience_wait(call);
	if (message->len > 0)
		*message = (struct buf)BUF_INIT;
	ops[count] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE };
	ops[count++].data.send_message.send_message = bytes;
	if (last)
		count = add_status(call, ops, count, &details);
	start(call, ops, count, &call->send_tag);
	grpc_byte_buffer_destroy(bytes);
	grpc_slice_unref(slice);
	grpc_slice_unref(details);
}

/* Hands the message over in pieces. *whole: it has to be put together. */
static enum rc give_pieces(struct rpc_call *call, bool *whole)
{
	grpc_byte_buffer_reader reader;
	grpc_slice *slice;
	size_t rest = grpc_byte_buffer_length(call->received);
	bool first = true;
	enum rc rc = RC_OK;

	*whole = !grpc_byte_buffer_reader_init(&reader, call->received);
	if (*whole)
		return RC_OK;
	while (rc == RC_OK && !*whole && grpc_byte_buffer_reader_peek(&reader, &slice)) {
		struct view piece =
			view_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));

		rest -= piece.len;
		rc = call->method->piece(call, piece, rest, first, whole, &call->err);
		first = false;
	}
	*whole |= first;
	grpc_byte_buffer_reader_destroy(&reader);
	return rc;
}

static enum rc give_whole(struct rpc_call *call)
{
	grpc_byte_buffer_reader reader;
	enum rc rc;

	if (!grpc_byte_buffer_reader_init(&reader, call->received))
		rc = err_set(&call->err, RC_INVALID, "the message cannot be decompressed");
	else {
		grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);

		rc = call->method->message(
			call, view_of(GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice)),
			&call->err);
		grpc_slice_unref(slice);
		grpc_byte_buffer_reader_destroy(&reader);
	}
	return rc;
}

static enum rc give_message(struct rpc_call *call)
{
	bool whole = !call->method->piece;
	enum rc rc = whole ? RC_OK : give_pieces(call, &whole);

	if (whole)
		rc = give_whole(call);
	grpc_byte_buffer_destroy(call->received);
	call->received = NULL;
	return rc;
}

/* RPC_STAGE_MESSAGE. True: go on with the stage that is set now; false: wait for a completion. */
static bool run_message(struct rpc_call *call)
{
	call->status = give_message(call);
	if (call->status != RC_OK) {
		call->stage = RPC_STAGE_STATUS;
		return true;
	}
	if (call->method->client_streams && !call->method->bidirectional) {
		receive(call);
		return false;
	}
	call->stage = RPC_STAGE_MORE;
	return true;
}

static void run(struct rpc_call *call, bool in_queue);

static void run_job(void *arg)
{
	struct rpc_call *call = arg;

	run(call, false);
	rpc_call_unref(call);
}

/* Goes on in a thread of the pool. */
static void submit(struct rpc_call *call)
{
	refcount_ref(&call->ref);
	/* The queue has room for every call that can be open, so this does not wait. */
	pool_submit(call->pool, run_job, call);
}

static bool is_stream(const struct rpc_call *call)
{
	return call->method->server_streams && !call->method->bidirectional;
}

/* Of the two that this call waits for, did the other one come before? */
static bool second(struct rpc_call *call)
{
	return atomic_exchange(&call->met, true);
}

/* One reply, or one for each message. */
static bool run_reply(struct rpc_call *call)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	enum rpc_next next = RPC_NEXT_END;

	call->status = call->method->more(call, &message, &next, &call->err);
	if (call->status == RC_OK && next == RPC_NEXT_MESSAGE) {
		if (!call->method->bidirectional)
			call->stage = RPC_STAGE_STATUS;
		rpc_call_send_message(call, &message, !call->method->bidirectional);
		return false;
	}
	if (call->status == RC_OK && next == RPC_NEXT_HOLD)
		return false;
	if (call->status == RC_OK && next == RPC_NEXT_LATER)
		return second(call);
	if (call->status == RC_OK && call->method->bidirectional && !call->client_done) {
		call->stage = RPC_STAGE_MESSAGE;
		receive(call);
		return false;
	}
	call->stage = RPC_STAGE_STATUS;
	return true;
}

/* RPC_STAGE_MORE. */
static bool run_more(struct rpc_call *call)
{
	if (!is_stream(call))
		return run_reply(call);
	rpc_replies_make(call);
	return false;
}

/* After a message that was worked on in the queue's thread: the replies there too? */
static bool may_go_on(struct rpc_call *call, bool in_queue)
{
	return !in_queue || call->cost.quick ||
	       (call->cost.quick_more && call->cost.quick_more(call));
}

/* Runs handlers until the call has to wait. Holds a reference of its caller's. in_queue: this is the
 * queue's thread, which must not be held up. */
static void run(struct rpc_call *call, bool in_queue)
{
	bool on = true;

	while (on) {
		switch (call->stage) {
		case RPC_STAGE_MESSAGE:
			on = run_message(call);
			if (on && call->stage == RPC_STAGE_MORE && !may_go_on(call, in_queue)) {
				submit(call);
				on = false;
			}
			break;
		case RPC_STAGE_MORE:
			on = run_more(call);
			break;
		case RPC_STAGE_STATUS:
			rpc_call_send_status(call);
			on = false;
			break;
		}
	}
}

static bool is_quick(const struct rpc_call *call)
{
	return call->cost.quick || call->stage == RPC_STAGE_STATUS ||
	       (call->stage == RPC_STAGE_MESSAGE &&
		grpc_byte_buffer_length(call->received) <= call->cost.quick_bytes);
}

static void schedule(struct rpc_call *call)
{
	if (is_quick(call)) {
		run(call, true);
		return;
	}
	submit(call);
}

static void fail(struct rpc_call *call, enum rc rc)
{
	call->status = rc;
	call->stage = RPC_STAGE_STATUS;
}

static void on_received(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(tag, struct rpc_call, receive_tag);

	rpc_patience_met(call, call->received ? grpc_byte_buffer_length(call->received) : 0);
	if (ok && call->received) {
		call->got_message = true;
		call->stage = RPC_STAGE_MESSAGE;
	} else if (atomic_load(&call->cancelled) || !ok) {
		fail(call, err_set(&call->err, RC_CANCELLED, "the client went away"));
	} else {
		call->client_done = true;
		if (!call->method->client_streams)
			fail(call, err_set(&call->err, RC_INVALID, "the request has no message"));
		else
			call->stage =
				call->method->bidirectional ? RPC_STAGE_STATUS : RPC_STAGE_MORE;
	}
	schedule(call);
	rpc_call_unref(call);
}

static void on_sent(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(tag, struct rpc_call, send_tag);

	rpc_patience_met(call, call->sending);
	if (call->opened && is_stream(call)) {
		rpc_replies_sent(call, ok);
	} else if (call->stage == RPC_STAGE_MORE) {
		if (!ok)
			fail(call, err_set(&call->err, RC_CANCELLED, "the client went away"));
		schedule(call);
	}
	rpc_call_unref(call);
}

void rpc_call_suspend(struct rpc_call *call)
{
	refcount_ref(&call->ref);
	atomic_store(&call->met, false);
}

void rpc_call_resume(struct rpc_call *call)
{
	if (second(call))
		run(call, false);
	rpc_call_unref(call);
}

static void on_closed(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(tag, struct rpc_call, close_tag);

	(void)ok;
	if (call->was_cancelled)
		atomic_store(&call->cancelled, true);
	rpc_call_unref(call);
}

/* The client's deadline, on our clock; 0: none. */
static int64_t deadline_of(const grpc_call_details *details)
{
	gpr_timespec left;

	if (gpr_time_cmp(details->deadline, gpr_inf_future(details->deadline.clock_type)) == 0)
		return 0;
	left = gpr_time_sub(gpr_convert_clock_type(details->deadline, GPR_CLOCK_MONOTONIC),
			    gpr_now(GPR_CLOCK_MONOTONIC));
	if (left.tv_sec > 1000000)
		return 0;
	return clock_monotonic_ns() + left.tv_sec * NS_PER_S + left.tv_nsec;
}

/* Counts the call, if its client may have one more. */
static enum rc count(struct rpc_call *call)
{
	struct rpc_calls *calls = call->calls;
	char *peer = grpc_call_get_peer(call->call);

	calls->client(calls, peer, &call->client);
	gpr_free(peer);
	if (call->method->always)
		return RC_OK;
	switch (client_shares_take(calls->shares, &call->client)) {
	case CLIENT_SHARE_TAKEN:
		call->counted = calls->shares;
		return RC_OK;
	case CLIENT_SHARE_ALL_USED:
		return err_set(&call->err, RC_NO_MEMORY,
			       "the server has as many calls as it takes");
	case CLIENT_SHARE_OWN_USED:
		break;
	}
	return err_set(&call->err, RC_NO_MEMORY,
		       "this client has as many calls as the server takes of one");
}

static enum rc open_call(struct rpc_call *call)
{
	struct view path = view_of(GRPC_SLICE_START_PTR(call->details.method),
				   GRPC_SLICE_LENGTH(call->details.method));
	const struct rpc_registration *found = call->calls->find(call->calls, path);

	if (!found)
		return err_set(&call->err, RC_UNSUPPORTED, "unknown method");
	if (rpc_call_draining(call))
		return err_set(&call->err, RC_UNAVAILABLE, "the server is stopping");
	call->method = found->method;
	call->context = found->context;
	enum rc rc = count(call);
	if (rc != RC_OK)
		return rc;
	call->cost = found->cost;
	call->pool = found->cost.computes ? call->calls->computing : call->calls->pool;
	rpc_replies_init(&call->replies);
	call->state = call->method->state_size > 0 ? mem_zalloc(call->method->state_size) : NULL;
	call->opened = true;
	call->op = (struct op){ .deadline_ns = deadline_of(&call->details),
				.cancel = &call->cancelled,
				.trace = op_trace_new() };
	rpc_patience_begin(call, call->calls->first_message_ns);
	list(call);
	return RC_OK;
}

void rpc_call_begin(struct rpc_call *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };

	op.data.recv_close_on_server.cancelled = &call->was_cancelled;
	start(call, &op, 1, &call->close_tag);
	call->status = open_call(call);
	if (call->status == RC_OK)
		receive(call);
	else
		rpc_call_send_status(call);
}
