/*
 * Writes blobs to a daemon: blobs of one chunk as many small calls in flight, larger ones as one
 * stream each, chunk by chunk. A put is acknowledged by the server when it is durable there; commit
 * waits for all of them.
 *
 * What the server already has is not sent again: encode asks for it by Stat. Where the first
 * answers say that all of it is new, asking costs more than it saves, and only one blob in sixteen
 * is asked for until one is known again.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "net/messages.h"
#include "service/blob/grpc.h"

enum {
	IN_FLIGHT = 256,
	IN_FLIGHT_BYTES = 16 << 20,
	PIECE = 1 << 20,    /* of content in one message */
	ALL_NEW_AFTER = 64, /* answers of "unknown" in a row */
	ASK_ONE_IN = 16,
};

static const char put_method[] = "castore.v1.BlobService/Put";

struct grpc_encoded {
	struct blob_encoded encoded;
	uint8_t *bytes;
};

/* A small put in flight. */
struct small_put {
	struct digest expected;
	size_t bytes;
	bool replied;
	struct digest got;
};

struct grpc_batch {
	struct blob_batch batch;
	struct rpc_channel *channel;
	atomic_uint unknown_in_a_row;
	atomic_uint not_asked;
	/* Of the adding thread: */
	struct rpc_flight *flight;
	size_t flight_bytes;
	struct grpc_encoded *held; /* the first chunk of a blob: it may be its only one */
	struct rpc_stream *stream; /* of a blob of several chunks */
};

static struct grpc_batch *grpc_of(struct blob_batch *batch)
{
	return CONTAINER_OF(batch, struct grpc_batch, batch);
}

static void free_encoded(struct blob_encoded *encoded)
{
	struct grpc_encoded *chunk = CONTAINER_OF(encoded, struct grpc_encoded, encoded);

	free(chunk->bytes);
	free(chunk);
}

static void drop_held(struct grpc_batch *grpc)
{
	if (grpc->held)
		free_encoded(&grpc->held->encoded);
	grpc->held = NULL;
}

/* ---- encode ---- */

static bool worth_asking(struct grpc_batch *grpc)
{
	if (atomic_load_explicit(&grpc->unknown_in_a_row, memory_order_relaxed) < ALL_NEW_AFTER)
		return true;
	return atomic_fetch_add_explicit(&grpc->not_asked, 1, memory_order_relaxed) % ASK_ONE_IN ==
	       0;
}

static enum rc ask(struct grpc_batch *grpc, const struct op *op, const struct digest *digest,
		   bool *known, struct err *err)
{
	struct blob_chunk_list list;
	enum rc rc = blob_grpc_stat(grpc->channel, op, digest, &list, err);

	*known = rc == RC_OK;
	if (rc == RC_OK)
		blob_chunk_list_release(&list);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	if (*known)
		atomic_store(&grpc->unknown_in_a_row, 0);
	else
		atomic_fetch_add(&grpc->unknown_in_a_row, 1);
	return RC_OK;
}

static enum rc batch_encode(struct blob_batch *batch, const struct op *op, struct view chunk,
			    struct blob_encoded **out, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);
	struct grpc_encoded *made = mem_zalloc(sizeof(*made));
	enum rc rc = RC_OK;

	made->encoded.digest = digest_of(chunk);
	made->encoded.size = (uint32_t)chunk.len;
	made->encoded.cost = sizeof(*made) + chunk.len;
	/* A blob of several chunks is one stream, which needs every byte: asking for them gains
	 * nothing. */
	if (chunk.len < CHUNK_MIN && worth_asking(grpc))
		rc = ask(grpc, op, &made->encoded.digest, &made->encoded.known, err);
	if (rc == RC_OK)
		made->bytes = mem_try_alloc(chunk.len ? chunk.len : 1);
	if (!made->bytes) {
		free(made);
		return rc != RC_OK ? rc : err_set(err, RC_NO_MEMORY, "no memory for a chunk");
	}
	memcpy(made->bytes, chunk.ptr, chunk.len);
	*out = &made->encoded;
	return RC_OK;
}

/* ---- small puts ---- */

static enum rc small_reply(void *context, struct view message, struct err *err)
{
	struct small_put *put = context;

	put->replied = true;
	return message_read_digest(message, &put->got, err);
}

static enum rc check_digest(struct grpc_batch *grpc, const struct digest *expected,
			    const struct digest *got, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	if (digest_equal(expected, got))
		return RC_OK;
	digest_hex(expected, hex);
	return err_set(err, RC_CORRUPT, "%s stored blob %s under another digest",
		       rpc_channel_address(grpc->channel), hex);
}

static enum rc take_up(struct grpc_batch *grpc, const struct rpc_done *done, struct err *err)
{
	struct small_put *put AUTO_FREE = done->context;

	grpc->flight_bytes -= put->bytes;
	if (done->rc != RC_OK)
		return err_set(err, done->rc, "%s", done->err.message);
	if (!put->replied)
		return err_set(err, RC_INVALID, "%s: an empty reply",
			       rpc_channel_address(grpc->channel));
	return check_digest(grpc, &put->expected, &put->got, err);
}

/* Takes up what came back, and waits until at most `most` calls with `most_bytes` are in flight. */
static enum rc drain(struct grpc_batch *grpc, const struct op *op, size_t most, size_t most_bytes,
		     struct err *err)
{
	while (rpc_flight_count(grpc->flight) > 0) {
		bool full =
			rpc_flight_count(grpc->flight) > most || grpc->flight_bytes > most_bytes;
		struct rpc_done done = { 0 };
		bool any;
		enum rc rc = rpc_flight_next(grpc->flight, op, full, &done, &any, err);

		if (rc == RC_OK && any)
			rc = take_up(grpc, &done, err);
		if (rc != RC_OK || !any)
			return rc;
	}
	return RC_OK;
}

static void message_of(const uint8_t *bytes, size_t len, struct buf *out)
{
	buf_reserve(out, len + 16);
	message_begin_blob_chunk(len, out);
	buf_append(out, bytes, len);
}

static enum rc put_small(struct grpc_batch *grpc, const struct op *op, struct err *err)
{
	struct small_put *put = mem_zalloc(sizeof(*put));
	struct buf message = BUF_INIT;

	put->expected = grpc->held->encoded.digest;
	put->bytes = grpc->held->encoded.size;
	message_of(grpc->held->bytes, grpc->held->encoded.size, &message);
	drop_held(grpc);
	grpc->flight_bytes += put->bytes;
	rpc_flight_start(grpc->flight, op, put_method, &message, small_reply, put);
	buf_release(&message);
	return drain(grpc, op, IN_FLIGHT, IN_FLIGHT_BYTES, err);
}

/* ---- add ---- */

static enum rc send_held(struct grpc_batch *grpc, const struct op *op, struct err *err)
{
	const struct grpc_encoded *chunk = grpc->held;
	enum rc rc = RC_OK;

	if (!grpc->stream)
		grpc->stream = rpc_stream_open(grpc->channel, op, put_method);
	for (size_t at = 0; rc == RC_OK && at < chunk->encoded.size; at += PIECE) {
		size_t left = chunk->encoded.size - at;
		struct buf message = BUF_INIT;

		message_of(chunk->bytes + at, left < PIECE ? left : PIECE, &message);
		rc = rpc_stream_write(grpc->stream, op, &message, err);
		buf_release(&message);
	}
	drop_held(grpc);
	return rc;
}

static enum rc batch_add_chunk(struct blob_batch *batch, const struct op *op,
			       struct blob_encoded *encoded, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);
	enum rc rc = RC_OK;

	if (grpc->held)
		rc = send_held(grpc, op, err);
	grpc->held = CONTAINER_OF(encoded, struct grpc_encoded, encoded);
	return rc;
}

static enum rc finish_stream(struct grpc_batch *grpc, const struct op *op,
			     const struct digest *digest, struct err *err)
{
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct digest got;
	bool end = false;
	enum rc rc;

	rc = send_held(grpc, op, err);
	if (rc == RC_OK)
		rc = rpc_stream_close_send(grpc->stream, op, err);
	if (rc == RC_OK)
		rc = rpc_stream_read(grpc->stream, op, &reply, &end, err);
	if (rc == RC_OK && end)
		rc = err_set(err, RC_INVALID, "%s: an empty reply",
			     rpc_channel_address(grpc->channel));
	if (rc == RC_OK)
		rc = message_read_digest(buf_view(&reply), &got, err);
	if (rc == RC_OK)
		rc = check_digest(grpc, digest, &got, err);
	rpc_stream_free(grpc->stream);
	grpc->stream = NULL;
	return rc;
}

static enum rc batch_add_blob(struct blob_batch *batch, const struct op *op,
			      const struct digest *digest, uint64_t size,
			      const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);

	(void)chunks;
	(void)count;
	(void)size;
	if (grpc->stream)
		return finish_stream(grpc, op, digest, err);
	if (!grpc->held) {
		/* The empty blob: other servers do not have it of themselves. */
		grpc->held = mem_zalloc(sizeof(*grpc->held));
		grpc->held->encoded.digest = digest_empty;
	}
	if (grpc->held->encoded.known) {
		drop_held(grpc);
		return RC_OK;
	}
	return put_small(grpc, op, err);
}

static enum rc batch_commit(struct blob_batch *batch, const struct op *op, struct err *err)
{
	return drain(grpc_of(batch), op, 0, 0, err);
}

static void batch_free(struct blob_batch *batch)
{
	struct grpc_batch *grpc = grpc_of(batch);

	drop_held(grpc);
	rpc_stream_free(grpc->stream);
	rpc_flight_cancel(grpc->flight);
	/* Each call has memory of ours: take all of them up, whatever they say. */
	while (rpc_flight_count(grpc->flight) > 0)
		(void)!drain(grpc, &op_none, 0, 0, NULL);
	rpc_flight_free(grpc->flight);
	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static const struct blob_batch_ops batch_ops = {
	.free = batch_free,
	.encode = batch_encode,
	.add_chunk = batch_add_chunk,
	.add_blob = batch_add_blob,
	.commit = batch_commit,
	.free_encoded = free_encoded,
};

struct blob_batch *blob_grpc_batch_new(struct rpc_channel *channel)
{
	struct grpc_batch *grpc = mem_zalloc(sizeof(*grpc));

	blob_batch_init(&grpc->batch, &batch_ops);
	grpc->channel = rpc_channel_ref(channel);
	grpc->flight = rpc_flight_new(channel);
	return &grpc->batch;
}
