/* BlobService: Stat, Read, Put. */
#include "base/mem.h"
#include "net/messages.h"
#include "server/store_rpc.h"

/* Of content in one message of a Read: a third faster than 256 KiB, and below every peer's limit.
 */
enum { READ_MESSAGE_BYTES = 1 << 20 };

static struct blob_service *blobs_of(struct rpc_call *call)
{
	const struct store_rpc *context = rpc_call_context(call);

	return context->services.blobs;
}

/* ---- Stat ---- */

struct stat_state {
	struct blob_chunk_list list;
};

static enum rc stat_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct stat_state *state = rpc_call_state(call);
	struct digest digest;
	bool send_chunks;
	uint64_t size;
	enum rc rc;

	rc = message_read_stat_request(message, &digest, &send_chunks, err);
	if (rc != RC_OK)
		return rc;
	/* The list is sent whether it was asked for or not: the other servers do, and clients count
	 * on it. */
	return blob_service_stat(blobs_of(call), rpc_call_op(call), &digest, &size, &state->list,
				 err);
}

static enum rc stat_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct stat_state *state = rpc_call_state(call);

	(void)err;
	message_write_stat_response(&state->list, out);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void stat_close(struct rpc_call *call)
{
	struct stat_state *state = rpc_call_state(call);

	blob_chunk_list_release(&state->list);
}

/* ---- Read ---- */

struct read_state {
	struct blob_reader *reader;
	uint64_t offset;
};

static enum rc read_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct read_state *state = rpc_call_state(call);
	struct digest digest;
	enum rc rc;

	rc = message_read_digest(message, &digest, err);
	if (rc != RC_OK)
		return rc;
	return blob_service_open_read(blobs_of(call), rpc_call_op(call), &digest, BLOB_SIZE_UNKNOWN,
				      &state->reader, err);
}

static enum rc read_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct read_state *state = rpc_call_state(call);
	uint64_t left = blob_reader_size(state->reader) - state->offset;
	size_t want = left < READ_MESSAGE_BYTES ? (size_t)left : READ_MESSAGE_BYTES;
	size_t got;
	enum rc rc;

	if (want == 0) {
		*next = RPC_NEXT_END;
		return RC_OK;
	}
	message_begin_blob_chunk(want, out);
	if (!buf_try_reserve(out, want))
		return err_set(err, RC_NO_MEMORY, "no memory for a message");
	rc = blob_reader_pread(state->reader, rpc_call_op(call), out->ptr + out->len, want,
			       state->offset, &got, err);
	if (rc != RC_OK)
		return rc;
	if (got != want)
		return err_set(err, RC_CORRUPT, "a blob ended %zu bytes early", want - got);
	out->len += got;
	state->offset += got;
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void read_close(struct rpc_call *call)
{
	struct read_state *state = rpc_call_state(call);

	blob_reader_free(state->reader);
}

/* ---- Put ---- */

struct put_state {
	struct blob_batch *batch;
	struct blob_writer *writer;
	struct digest digest;
};

static enum rc put_open(struct rpc_call *call, struct put_state *state, struct err *err)
{
	enum rc rc;

	if (state->writer)
		return RC_OK;
	rc = blob_service_open_batch(blobs_of(call), rpc_call_op(call), &state->batch, err);
	return rc == RC_OK ? blob_writer_open(state->batch, &state->writer, err) : rc;
}

static enum rc put_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	struct view data;
	enum rc rc;

	rc = message_read_blob_chunk(message, &data, err);
	if (rc == RC_OK)
		rc = put_open(call, state, err);
	return rc == RC_OK ? blob_writer_write(state->writer, rpc_call_op(call), data, err) : rc;
}

static enum rc put_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	uint64_t size;
	enum rc rc;

	rc = put_open(call, state, err);
	if (rc == RC_OK)
		rc = blob_writer_close(state->writer, rpc_call_op(call), &state->digest, &size,
				       err);
	/* Commits of calls that end together share one sync. */
	if (rc == RC_OK)
		rc = blob_batch_commit(state->batch, rpc_call_op(call), err);
	if (rc != RC_OK)
		return rc;
	message_write_digest(&state->digest, out);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static void put_close(struct rpc_call *call)
{
	struct put_state *state = rpc_call_state(call);

	blob_writer_free(state->writer);
	blob_batch_free(state->batch);
}

/* clang-format off */
#define METHODS(family) \
	{ .path = "/" family ".castore.v1.BlobService/Stat", .quick = true, .state_size = sizeof(struct stat_state), \
	  .message = stat_message, .more = stat_more, .close = stat_close }, \
	{ .path = "/" family ".castore.v1.BlobService/Read", .server_streams = true, \
	  .state_size = sizeof(struct read_state), .message = read_message, .more = read_more, .close = read_close }, \
	{ .path = "/" family ".castore.v1.BlobService/Put", .client_streams = true, \
	  .state_size = sizeof(struct put_state), .message = put_message, .more = put_more, .close = put_close }
/* clang-format on */

static const struct rpc_method methods[] = { METHODS("tvix"), METHODS("snix") };

void blob_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), context,
			    blob_service_latency(context->services.blobs) != BLOB_LATENCY_REMOTE);
}
