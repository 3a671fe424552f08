/* BlobService: Stat, Read, Put. */
#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "net/messages.h"
#include "server/put_group.h"
#include "server/rpc_block.h"
#include "server/store_rpc.h"

enum {
	/* Of content in one message of a Read, at most: the largest chunk of all but huge blobs. More
	 * only makes the client fetch more memory from its kernel. */
	READ_MESSAGE_BYTES = CHUNK_MAX,
	READ_QUICK_BYTES = 16 << 10,
	/* An upload's message of this much is only copied: no work for another thread. */
	PUT_QUICK_BYTES = 64 << 10,
};

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

/* How much comes in the next message: whole chunks, which are then decoded right into it. */
static enum rc next_length(struct rpc_call *call, struct read_state *state, size_t room,
			   size_t *out, struct err *err)
{
	uint64_t end = state->offset;
	uint64_t first_end = 0;

	while (end < blob_reader_size(state->reader)) {
		struct blob_chunk chunk;
		enum rc rc = blob_reader_locate(state->reader, rpc_call_op(call), end, &chunk, err);

		if (rc != RC_OK)
			return rc;
		first_end = first_end ? first_end : chunk.offset + chunk.size;
		if (chunk.offset + chunk.size - state->offset > room)
			break;
		end = chunk.offset + chunk.size;
	}
	/* Chunks may be larger than a message: those of a huge blob, or where memory is scarce. */
	*out = end > state->offset ? (size_t)(end - state->offset) : room;
	if (*out > first_end - state->offset && end == state->offset)
		*out = (size_t)(first_end - state->offset);
	return RC_OK;
}

/* Reads what goes into the message. Where that is only a part of a chunk, because memory is scarce,
 * the chunk is decoded elsewhere: nothing of it stays while the client is slow. */
static enum rc read_content(struct rpc_call *call, struct read_state *state, uint8_t *out,
			    size_t want, struct err *err)
{
	const struct op *op = rpc_call_op(call);
	struct blob_chunk chunk;
	uint8_t *scratch;
	size_t got;
	enum rc rc = blob_reader_locate(state->reader, op, state->offset, &chunk, err);

	if (rc == RC_OK && chunk.has_digest && chunk.size <= RPC_BLOCK_SIZE &&
	    (chunk.offset != state->offset || want < chunk.size)) {
		scratch = rpc_scratch_take();
		if (!scratch)
			return err_set(err, RC_NO_MEMORY, "no memory for a chunk");
		rc = blob_reader_read_chunk(state->reader, op, &chunk, scratch, err);
		if (rc == RC_OK)
			memcpy(out, scratch + (state->offset - chunk.offset), want);
		rpc_scratch_give(scratch);
		return rc;
	}
	if (rc == RC_OK)
		rc = blob_reader_pread(state->reader, op, out, want, state->offset, &got, err);
	blob_reader_forget(state->reader);
	if (rc == RC_OK && got != want)
		rc = err_set(err, RC_CORRUPT, "a blob ended %zu bytes early", want - got);
	return rc;
}

static enum rc read_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			 struct err *err)
{
	struct read_state *state = rpc_call_state(call);
	size_t room = out->cap - MESSAGE_BLOB_CHUNK_HEAD;
	size_t want;
	enum rc rc;

	room = room < READ_MESSAGE_BYTES ? room : READ_MESSAGE_BYTES;
	if (state->offset == blob_reader_size(state->reader)) {
		*next = RPC_NEXT_END;
		return RC_OK;
	}
	rc = next_length(call, state, room, &want, err);
	if (rc != RC_OK)
		return rc;
	message_begin_blob_chunk(want, out);
	rc = read_content(call, state, out->ptr + out->len, want, err);
	if (rc != RC_OK)
		return rc;
	out->len += want;
	state->offset += want;
	*next = state->offset == blob_reader_size(state->reader) ? RPC_NEXT_LAST : RPC_NEXT_MESSAGE;
	return RC_OK;
}

/* A small one takes less than waking another thread. */
static bool read_is_small(struct rpc_call *call)
{
	struct read_state *state = rpc_call_state(call);

	return blob_reader_size(state->reader) <= READ_QUICK_BYTES;
}

static void read_close(struct rpc_call *call)
{
	struct read_state *state = rpc_call_state(call);

	blob_reader_free(state->reader);
}

/* ---- Put ---- */

struct put_state {
	struct rpc_call *call;
	struct blob_batch *batch;
	struct blob_writer *writer;
	struct digest digest;
	struct put_commit commit;
	uint64_t received;
	bool large;     /* counted as one */
	bool entered;   /* the group waits for us */
	bool committed; /* commit.rc says how it went */
};

static enum rc put_open(struct rpc_call *call, struct put_state *state, struct err *err)
{
	const struct store_rpc *context = rpc_call_context(call);
	enum rc rc;

	if (state->writer)
		return RC_OK;
	rc = blob_service_open_batch(blobs_of(call), rpc_call_op(call), &state->batch, err);
	if (rc == RC_OK)
		rc = blob_writer_open(state->batch, &state->writer, err);
	if (rc != RC_OK)
		return rc;
	blob_writer_encode_on(state->writer, context->encoders);
	if (context->puts)
		put_group_enter(context->puts);
	state->entered = context->puts != NULL;
	return RC_OK;
}

/* Takes content in. Each large upload that is under way holds some memory, however long. */
static enum rc put_data(struct rpc_call *call, struct put_state *state, struct view data,
			struct err *err)
{
	const struct store_rpc *context = rpc_call_context(call);
	enum rc rc = put_open(call, state, err);

	if (rc != RC_OK)
		return rc;
	state->received += data.len;
	if (!state->large && state->received > PUT_QUICK_BYTES) {
		if (client_shares_take(context->large_puts, rpc_call_client(call)) !=
		    CLIENT_SHARE_TAKEN)
			return err_set(
				err, RC_NO_MEMORY,
				"the server takes in as many large blobs already as it may, or "
				"as it may of one client");
		state->large = true;
	}
	return blob_writer_write(state->writer, rpc_call_op(call), data, err);
}

static enum rc put_message(struct rpc_call *call, struct view message, struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	struct view data;
	enum rc rc;

	rc = message_read_blob_chunk(message, &data, err);
	return rc == RC_OK ? put_data(call, state, data, err) : rc;
}

static enum rc put_piece(struct rpc_call *call, struct view piece, size_t rest, bool first,
			 bool *whole, struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	struct view data = piece;

	if (first && !message_split_blob_chunk(piece, rest, &data)) {
		*whole = true;
		return RC_OK;
	}
	return put_data(call, state, data, err);
}

static void put_committed(struct put_commit *commit)
{
	struct put_state *state = CONTAINER_OF(commit, struct put_state, commit);

	state->committed = true;
	rpc_call_resume(state->call);
}

/* All of it is in the batch. */
static enum rc put_commit(struct rpc_call *call, struct put_state *state, enum rpc_next *next,
			  struct err *err)
{
	const struct store_rpc *context = rpc_call_context(call);

	if (!context->puts)
		return blob_batch_commit(state->batch, rpc_call_op(call), err);
	state->call = call;
	state->commit = (struct put_commit){ .batch = state->batch,
					     .op = rpc_call_op(call),
					     .done = put_committed };
	state->entered = false;
	*next = RPC_NEXT_LATER;
	rpc_call_suspend(call);
	put_group_commit(context->puts, &state->commit);
	return RC_OK;
}

static enum rc put_more(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			struct err *err)
{
	struct put_state *state = rpc_call_state(call);
	uint64_t size;
	enum rc rc;

	*next = RPC_NEXT_MESSAGE;
	if (state->committed) {
		rc = state->commit.rc;
		if (rc != RC_OK)
			return err_set(err, rc, "%s", state->commit.err.message);
	} else {
		rc = put_open(call, state, err);
		if (rc == RC_OK)
			rc = blob_writer_close(state->writer, rpc_call_op(call), &state->digest,
					       &size, err);
		if (rc == RC_OK)
			rc = put_commit(call, state, next, err);
	}
	if (rc == RC_OK && *next == RPC_NEXT_MESSAGE)
		message_write_digest(&state->digest, out);
	return rc;
}

static void put_close(struct rpc_call *call)
{
	const struct store_rpc *context = rpc_call_context(call);
	struct put_state *state = rpc_call_state(call);

	if (state->large)
		client_shares_give(context->large_puts, rpc_call_client(call));
	if (state->entered)
		put_group_leave(context->puts);
	blob_writer_free(state->writer);
	blob_batch_free(state->batch);
}

/* clang-format off */
#define METHODS(family) \
	{ .path = "/" family ".castore.v1.BlobService/Stat", .cost.quick = true, .state_size = sizeof(struct stat_state), \
	  .message = stat_message, .more = stat_more, .close = stat_close }, \
	{ .path = "/" family ".castore.v1.BlobService/Read", .server_streams = true, .block_replies = true, \
	  .cost.quick_bytes = PUT_QUICK_BYTES, .cost.quick_more = read_is_small, \
	  .state_size = sizeof(struct read_state), .message = read_message, .more = read_more, .close = read_close }, \
	{ .path = "/" family ".castore.v1.BlobService/Put", .client_streams = true, .cost.computes = true, \
	  .cost.quick_bytes = PUT_QUICK_BYTES, .state_size = sizeof(struct put_state), .message = put_message, .piece = put_piece, .more = put_more, .close = put_close }
/* clang-format on */

_Static_assert(READ_MESSAGE_BYTES + MESSAGE_BLOB_CHUNK_HEAD <= RPC_BLOCK_SIZE, "fits");

static const struct rpc_method methods[] = { METHODS("tvix"), METHODS("snix") };

void blob_rpc_register(struct rpc_server *server, struct store_rpc *context)
{
	rpc_server_register(server, methods, ARRAY_LEN(methods), context,
			    blob_service_latency(context->services.blobs) != BLOB_LATENCY_REMOTE);
}
