/*
 * One long call: messages go out and come in, one of each under way at a time. The status has a tag
 * of its own, asked for at the start, so that a server that ends the call early is noticed.
 */
#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/rpc_leftover.h"
#include "net/rpc_queue.h"

enum stream_tag { TAG_HEADERS, TAG_SEND, TAG_RECEIVE, TAG_STATUS, TAG_COUNT };

struct rpc_stream {
	struct rpc_leftover leftover;
	struct rpc_channel *channel;
	struct rpc_queue *queue;
	grpc_call *call;
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *received;
	grpc_status_code status;
	grpc_slice details;
	bool under_way[TAG_COUNT];
	bool succeeded[TAG_COUNT]; /* of the last that came back */
	bool over;                 /* the status is here */
};

static void start(struct rpc_stream *stream, const grpc_op *ops, size_t count, enum stream_tag tag)
{
	grpc_call_error error;

	assert(!stream->under_way[tag]);
	stream->under_way[tag] = true;
	error = grpc_call_start_batch(stream->call, ops, count, &stream->under_way[tag], NULL);
	assert(error == GRPC_CALL_OK);
	(void)error;
}

struct rpc_stream *rpc_stream_open(struct rpc_channel *channel, const struct op *op,
				   const char *method)
{
	struct rpc_stream *stream = mem_zalloc(sizeof(*stream));
	grpc_op headers[2] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
			       { .op = GRPC_OP_RECV_INITIAL_METADATA } };
	grpc_op status = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };

	stream->channel = rpc_channel_ref(channel);
	stream->queue = rpc_queue_take(channel);
	stream->details = grpc_empty_slice();
	grpc_metadata_array_init(&stream->headers);
	grpc_metadata_array_init(&stream->trailers);
	stream->call =
		rpc_channel_call(channel, stream->queue, op, rpc_channel_family(channel), method);
	status.data.recv_status_on_client.trailing_metadata = &stream->trailers;
	status.data.recv_status_on_client.status = &stream->status;
	status.data.recv_status_on_client.status_details = &stream->details;
	start(stream, &status, 1, TAG_STATUS);
	headers[1].data.recv_initial_metadata.recv_initial_metadata = &stream->headers;
	start(stream, headers, 2, TAG_HEADERS);
	return stream;
}

/* Waits until that tag came back. */
static enum rc wait_for(struct rpc_stream *stream, const struct op *op, enum stream_tag tag,
			struct err *err)
{
	while (stream->under_way[tag]) {
		grpc_event event;
		size_t came;
		enum rc rc = rpc_queue_next(stream->queue, op, true, &event, err);

		if (rc != RC_OK) {
			grpc_call_cancel(stream->call, NULL);
			return rc;
		}
		came = (size_t)((bool *)event.tag - stream->under_way);
		assert(came < TAG_COUNT);
		stream->under_way[came] = false;
		stream->succeeded[came] = event.success != 0;
		if (came == TAG_STATUS)
			stream->over = true;
	}
	return RC_OK;
}

/* The call is over, or as good as: its status. */
static enum rc status_of(struct rpc_stream *stream, const struct op *op, struct err *err)
{
	enum rc rc = wait_for(stream, op, TAG_STATUS, err);

	return rc == RC_OK ? rpc_status(stream->channel, stream->status, stream->details, err) : rc;
}

static enum rc sent(struct rpc_stream *stream, const struct op *op, struct err *err)
{
	enum rc rc = wait_for(stream, op, TAG_SEND, err);

	if (rc != RC_OK || stream->succeeded[TAG_SEND])
		return rc;
	rc = status_of(stream, op, err);
	return rc != RC_OK ? rc
			   : err_set(err, RC_IO, "%s: the server ended the call early",
				     rpc_channel_address(stream->channel));
}

enum rc rpc_stream_write(struct rpc_stream *stream, const struct op *op, struct buf *message,
			 struct err *err)
{
	grpc_byte_buffer *bytes = rpc_bytes_of(message);
	grpc_op ops = { .op = GRPC_OP_SEND_MESSAGE };

	ops.data.send_message.send_message = bytes;
	start(stream, &ops, 1, TAG_SEND);
	grpc_byte_buffer_destroy(bytes);
	return sent(stream, op, err);
}

enum rc rpc_stream_close_send(struct rpc_stream *stream, const struct op *op, struct err *err)
{
	grpc_op ops = { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };

	start(stream, &ops, 1, TAG_SEND);
	return sent(stream, op, err);
}

static void receive(struct rpc_stream *stream)
{
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

	op.data.recv_message.recv_message = &stream->received;
	start(stream, &op, 1, TAG_RECEIVE);
}

enum rc rpc_stream_read(struct rpc_stream *stream, const struct op *op, struct buf *message,
			bool *end, struct err *err)
{
	enum rc rc;

	*end = false;
	buf_clear(message);
	if (!stream->under_way[TAG_RECEIVE])
		receive(stream);
	rc = wait_for(stream, op, TAG_RECEIVE, err);
	if (rc != RC_OK)
		return rc;
	if (!stream->succeeded[TAG_RECEIVE] || !stream->received) {
		*end = true;
		return status_of(stream, op, err);
	}
	rc = rpc_bytes_read(stream->received, message, err);
	grpc_byte_buffer_destroy(stream->received);
	stream->received = NULL;
	/* Ask for the next one already: it travels while this one is worked on. */
	if (rc == RC_OK)
		receive(stream);
	return rc;
}

static bool end_stream(struct rpc_leftover *leftover, const struct op *op)
{
	struct rpc_stream *stream = CONTAINER_OF(leftover, struct rpc_stream, leftover);

	for (int tag = 0; tag < TAG_COUNT; tag++)
		if (wait_for(stream, op, (enum stream_tag)tag, NULL) != RC_OK)
			return false;
	if (stream->received)
		grpc_byte_buffer_destroy(stream->received);
	grpc_slice_unref(stream->details);
	grpc_metadata_array_destroy(&stream->headers);
	grpc_metadata_array_destroy(&stream->trailers);
	grpc_call_unref(stream->call);
	rpc_queue_give(stream->channel, stream->queue);
	rpc_channel_unref(stream->channel);
	free(stream);
	return true;
}

void rpc_stream_free(struct rpc_stream *stream)
{
	if (!stream)
		return;
	if (!stream->over)
		grpc_call_cancel(stream->call, NULL);
	stream->leftover.end = end_stream;
	rpc_leftover_end(&stream->leftover);
}
