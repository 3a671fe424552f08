/*
 * Writes blobs to a daemon: those of up to 3 MiB as many calls of one message in flight, larger ones
 * as one stream each, chunk by chunk. A put is acknowledged by the server when it is durable there;
 * commit waits for all of them.
 *
 * What the server already has is not sent again: encode asks for it by Stat. Where the first
 * answers say that all of it is new, asking costs more than it saves, and only one blob in 64 is
 * asked for until one is known again. What comes twice in one batch is sent once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "net/messages.h"
#include "service/blob/grpc.h"

enum {
	IN_FLIGHT = 768, /* the server takes 1,024 on a connection */
	IN_FLIGHT_BYTES = 32 << 20,
	MESSAGE_MAX = 3 << 20, /* content of one message: peers take 4 MiB */
	PIECE = 1 << 20,       /* of a larger blob */
	TAKE_UP_EVERY = 32,    /* calls started between looks at what came back */
	ENDING_MAX = 16,       /* streams whose end the server has not acknowledged yet */
	SEEN_MAX = 1 << 20,    /* digests remembered */
	ALL_NEW_AFTER = 64,    /* answers of "unknown" in a row */
	ASK_ONE_IN = 64,
};

static const char put_method[] = "castore.v1.BlobService/Put";

struct grpc_encoded {
	struct blob_encoded encoded;
	struct buf message; /* a BlobChunk with the chunk */
};

/* A put of one message in flight. */
struct small_put {
	struct digest expected;
	size_t bytes;
	bool replied;
	struct digest got;
};

/* A stream that was sent, and is not acknowledged yet. */
struct ending {
	struct rpc_stream *stream;
	struct digest expected;
};

struct grpc_batch {
	struct blob_batch batch;
	struct rpc_channel *channel;
	atomic_uint unknown_in_a_row;
	atomic_uint not_asked;
	pthread_mutex_t seen_lock;
	struct hashmap seen; /* under it: digests that this batch met, and whether they were sent */
	/* Of the adding thread: */
	struct rpc_calls *calls;
	size_t calls_bytes;
	unsigned since_taken_up;
	/* Chunks of the blob at hand, while it may have one message. */
	struct grpc_encoded **held;
	size_t held_count, held_room;
	uint64_t held_bytes;
	struct rpc_stream *stream; /* of a larger blob */
	struct ending ending[ENDING_MAX];
	size_t ending_count;
};

static struct grpc_batch *grpc_of(struct blob_batch *batch)
{
	return CONTAINER_OF(batch, struct grpc_batch, batch);
}

static struct grpc_encoded *encoded_of(struct blob_encoded *encoded)
{
	return CONTAINER_OF(encoded, struct grpc_encoded, encoded);
}

static void free_encoded(struct blob_encoded *encoded)
{
	struct grpc_encoded *chunk = encoded_of(encoded);

	buf_release(&chunk->message);
	free(chunk);
}

static void drop_held(struct grpc_batch *grpc)
{
	for (size_t i = 0; i < grpc->held_count; i++)
		free_encoded(&grpc->held[i]->encoded);
	grpc->held_count = 0;
	grpc->held_bytes = 0;
}

/* ---- What this batch met already: values of the map ---- */

static char seen_encoded, seen_sent;

/* Was this digest met before? A later mark replaces an earlier one. */
static bool see(struct grpc_batch *grpc, const struct digest *digest, char *mark)
{
	const char *before;

	pthread_mutex_lock(&grpc->seen_lock);
	before = hashmap_get(&grpc->seen, digest->bytes);
	if ((before || grpc->seen.count < SEEN_MAX) && before != &seen_sent)
		hashmap_put(&grpc->seen, digest->bytes, mark);
	pthread_mutex_unlock(&grpc->seen_lock);
	return mark == &seen_sent ? before == &seen_sent : before != NULL;
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
		   bool ours, bool *known, struct err *err)
{
	struct blob_chunk_list list;
	enum rc rc = blob_grpc_stat(grpc->channel, op, digest, &list, err);

	*known = rc == RC_OK;
	if (rc == RC_OK)
		blob_chunk_list_release(&list);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	if (*known && !ours)
		atomic_store(&grpc->unknown_in_a_row, 0);
	else if (!*known)
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
	/* A whole piece is likely to be one of many. The blob has to be sent whole unless the server
	 * has all of it, which nobody knows before its end. */
	if (chunk.len < PIECE) {
		/* That the server has what came from here says nothing of the rest. */
		bool ours = see(grpc, &made->encoded.digest, &seen_encoded);

		if (worth_asking(grpc))
			rc = ask(grpc, op, &made->encoded.digest, ours, &made->encoded.known, err);
	}
	if (rc == RC_OK && !buf_try_reserve(&made->message, chunk.len + MESSAGE_BLOB_CHUNK_HEAD))
		rc = err_set(err, RC_NO_MEMORY, "no memory for a chunk");
	if (rc != RC_OK) {
		free_encoded(&made->encoded);
		return rc;
	}
	message_begin_blob_chunk(chunk.len, &made->message);
	buf_append_view(&made->message, chunk);
	*out = &made->encoded;
	return RC_OK;
}

static struct view content_of(const struct grpc_encoded *chunk)
{
	size_t head = chunk->message.len - chunk->encoded.size;

	return view_slice(buf_view(&chunk->message), head, chunk->encoded.size);
}

/* ---- Blobs of one message ---- */

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

static enum rc empty_reply(struct grpc_batch *grpc, struct err *err)
{
	return err_set(err, RC_INVALID, "%s: an empty reply", rpc_channel_address(grpc->channel));
}

static enum rc take_up(struct grpc_batch *grpc, const struct rpc_done *done, struct err *err)
{
	struct small_put *put AUTO_FREE = done->context;

	grpc->calls_bytes -= put->bytes;
	if (done->rc != RC_OK)
		return err_set(err, done->rc, "%s", done->err.message);
	if (!put->replied)
		return empty_reply(grpc, err);
	return check_digest(grpc, &put->expected, &put->got, err);
}

/* Takes up what came back, and waits until at most `most` calls with `most_bytes` are in flight. */
static enum rc drain(struct grpc_batch *grpc, const struct op *op, size_t most, size_t most_bytes,
		     struct err *err)
{
	while (rpc_calls_count(grpc->calls) > 0) {
		bool full = rpc_calls_count(grpc->calls) > most || grpc->calls_bytes > most_bytes;
		struct rpc_done done = { 0 };
		bool any;
		enum rc rc = rpc_calls_next(grpc->calls, op, full, &done, &any, err);

		if (rc == RC_OK && any)
			rc = take_up(grpc, &done, err);
		if (rc != RC_OK || !any)
			return rc;
	}
	return RC_OK;
}

/* All held chunks in one message; the empty blob is an empty one. */
static struct buf small_message(struct grpc_batch *grpc)
{
	struct buf message = BUF_INIT;

	if (grpc->held_count == 1) {
		message = grpc->held[0]->message;
		grpc->held[0]->message = (struct buf)BUF_INIT;
		return message;
	}
	buf_reserve(&message, grpc->held_bytes + MESSAGE_BLOB_CHUNK_HEAD);
	message_begin_blob_chunk(grpc->held_bytes, &message);
	for (size_t i = 0; i < grpc->held_count; i++)
		buf_append_view(&message, content_of(grpc->held[i]));
	return message;
}

static enum rc put_small(struct grpc_batch *grpc, const struct op *op, const struct digest *digest,
			 struct err *err)
{
	struct small_put *put = mem_zalloc(sizeof(*put));
	struct buf message = small_message(grpc);

	put->expected = *digest;
	put->bytes = message.len;
	drop_held(grpc);
	grpc->calls_bytes += put->bytes;
	rpc_calls_start_unary(grpc->calls, op, put_method, &message, small_reply, put);
	buf_release(&message);
	if (++grpc->since_taken_up < TAKE_UP_EVERY && grpc->calls_bytes < IN_FLIGHT_BYTES &&
	    rpc_calls_count(grpc->calls) < IN_FLIGHT)
		return RC_OK;
	grpc->since_taken_up = 0;
	return drain(grpc, op, IN_FLIGHT, IN_FLIGHT_BYTES, err);
}

/* ---- Larger blobs ---- */

static enum rc send_held(struct grpc_batch *grpc, const struct op *op, struct err *err)
{
	enum rc rc = RC_OK;

	if (!grpc->stream)
		grpc->stream = rpc_stream_open(grpc->channel, op, put_method);
	for (size_t i = 0; rc == RC_OK && i < grpc->held_count; i++) {
		struct grpc_encoded *chunk = grpc->held[i];
		struct view content = content_of(chunk);

		if (content.len <= MESSAGE_MAX) {
			rc = rpc_stream_write(grpc->stream, op, &chunk->message, err);
			continue;
		}
		/* Chunks of a huge blob may be larger than a message. */
		for (size_t at = 0; rc == RC_OK && at < content.len; at += MESSAGE_MAX) {
			size_t len =
				content.len - at < MESSAGE_MAX ? content.len - at : MESSAGE_MAX;
			struct buf message = BUF_INIT;

			buf_reserve(&message, len + MESSAGE_BLOB_CHUNK_HEAD);
			message_begin_blob_chunk(len, &message);
			buf_append_view(&message, view_slice(content, at, len));
			rc = rpc_stream_write(grpc->stream, op, &message, err);
			buf_release(&message);
		}
	}
	drop_held(grpc);
	return rc;
}

/* Waits for the server's word on the stream that ended first. */
static enum rc finish_oldest(struct grpc_batch *grpc, const struct op *op, struct err *err)
{
	struct ending oldest = grpc->ending[0];
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct digest got;
	bool end = false;
	enum rc rc = rpc_stream_read(oldest.stream, op, &reply, &end, err);

	if (rc == RC_OK && end)
		rc = empty_reply(grpc, err);
	if (rc == RC_OK)
		rc = message_read_digest(buf_view(&reply), &got, err);
	if (rc == RC_OK)
		rc = check_digest(grpc, &oldest.expected, &got, err);
	rpc_stream_free(oldest.stream);
	grpc->ending_count--;
	memmove(grpc->ending, grpc->ending + 1, grpc->ending_count * sizeof(grpc->ending[0]));
	return rc;
}

static enum rc end_stream(struct grpc_batch *grpc, const struct op *op, const struct digest *digest,
			  struct err *err)
{
	enum rc rc = send_held(grpc, op, err);

	if (rc == RC_OK)
		rc = rpc_stream_close_send(grpc->stream, op, err);
	if (rc == RC_OK && grpc->ending_count == ENDING_MAX)
		rc = finish_oldest(grpc, op, err);
	if (rc != RC_OK)
		return rc;
	grpc->ending[grpc->ending_count++] = (struct ending){ grpc->stream, *digest };
	grpc->stream = NULL;
	return RC_OK;
}

/* ---- add ---- */

static enum rc batch_add_chunk(struct blob_batch *batch, const struct op *op,
			       struct blob_encoded *encoded, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);

	grpc->held =
		mem_grow(grpc->held, grpc->held_count, &grpc->held_room, 8, sizeof(*grpc->held));
	grpc->held[grpc->held_count++] = encoded_of(encoded);
	grpc->held_bytes += encoded->size;
	return grpc->stream || grpc->held_bytes > MESSAGE_MAX ? send_held(grpc, op, err) : RC_OK;
}

static enum rc batch_add_blob(struct blob_batch *batch, const struct op *op,
			      const struct digest *digest, uint64_t size,
			      const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);
	bool known = grpc->held_count == 1 && grpc->held[0]->encoded.known;

	(void)chunks;
	(void)count;
	(void)size;
	if (grpc->stream)
		return end_stream(grpc, op, digest, err);
	if (see(grpc, digest, &seen_sent) || known) {
		drop_held(grpc);
		return RC_OK;
	}
	/* The empty blob too: other servers do not have it of themselves. */
	return put_small(grpc, op, digest, err);
}

static enum rc batch_commit(struct blob_batch *batch, const struct op *op, struct err *err)
{
	struct grpc_batch *grpc = grpc_of(batch);
	enum rc rc = drain(grpc, op, 0, 0, err);

	while (rc == RC_OK && grpc->ending_count > 0)
		rc = finish_oldest(grpc, op, err);
	return rc;
}

static void batch_free(struct blob_batch *batch)
{
	struct grpc_batch *grpc = grpc_of(batch);

	drop_held(grpc);
	free(grpc->held);
	rpc_stream_free(grpc->stream);
	for (size_t i = 0; i < grpc->ending_count; i++)
		rpc_stream_free(grpc->ending[i].stream);
	rpc_calls_cancel(grpc->calls);
	/* Each call has memory of ours: take all of them up, whatever they say. */
	while (rpc_calls_count(grpc->calls) > 0)
		(void)!drain(grpc, &op_none, 0, 0, NULL);
	rpc_calls_free(grpc->calls);
	hashmap_release(&grpc->seen);
	pthread_mutex_destroy(&grpc->seen_lock);
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
	grpc->batch.pieces = PIECE;
	grpc->channel = rpc_channel_ref(channel);
	grpc->calls = rpc_calls_new(channel);
	pthread_mutex_init(&grpc->seen_lock, NULL);
	hashmap_init(&grpc->seen, DIGEST_SIZE);
	return &grpc->batch;
}
