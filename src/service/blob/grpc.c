/* Blobs behind a daemon: questions. Reading is in grpc_reader.c, writing in grpc_batch.c. */
#include "service/blob/grpc.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/messages.h"

enum {
	IN_FLIGHT = 256,
	READS_IN_FLIGHT = 64, /* each may bring as much as BLOB_GET_MANY_MAX */
};

static const char stat_method[] = "castore.v1.BlobService/Stat";
static const char read_method[] = "castore.v1.BlobService/Read";

struct blob_grpc {
	struct blob_service service;
	struct rpc_channel *channel;
};

static struct blob_grpc *grpc_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct blob_grpc, service);
}

/* Every call begins here: under which name does the server know the service? */
static enum rc find_family(struct rpc_channel *channel, const struct op *op, struct err *err)
{
	struct buf probe CLEANUP(buf_release) = BUF_INIT;

	if (rpc_channel_family(channel) != RPC_FAMILY_UNKNOWN)
		return RC_OK;
	message_write_stat_request(&digest_empty, false, &probe);
	return rpc_family_find(channel, op, stat_method, buf_view(&probe), err);
}

static void grpc_free(struct blob_service *service)
{
	struct blob_grpc *grpc = grpc_of(service);

	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static enum rc ignore_reply(void *context, struct view message, struct err *err)
{
	(void)context;
	(void)message;
	(void)err;
	return RC_OK;
}

static enum rc take_answer(const struct rpc_done *done, struct err *err)
{
	bool *there = done->context;

	if (done->rc != RC_OK && done->rc != RC_NOT_FOUND)
		return err_set(err, done->rc, "%s", done->err.message);
	*there = done->rc == RC_OK;
	return RC_OK;
}

static enum rc grpc_has_many(struct blob_service *service, const struct op *op,
			     const struct digest *digests, size_t count, bool *out, struct err *err)
{
	struct blob_grpc *grpc = grpc_of(service);
	struct rpc_flight *flight;
	size_t asked = 0;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	flight = rpc_flight_new(grpc->channel);
	while (rc == RC_OK && (asked < count || rpc_flight_count(flight) > 0)) {
		struct rpc_done done = { 0 };
		bool any;

		while (asked < count && rpc_flight_count(flight) < IN_FLIGHT) {
			struct buf message = BUF_INIT;

			message_write_stat_request(&digests[asked], false, &message);
			rpc_flight_start_unary(flight, op, stat_method, &message, ignore_reply,
					       &out[asked]);
			asked++;
		}
		rc = rpc_flight_next(flight, op, true, &done, &any, err);
		if (rc == RC_OK && any)
			rc = take_answer(&done, err);
	}
	rpc_flight_free(flight);
	return rc;
}

enum rc blob_grpc_stat(struct rpc_channel *channel, const struct op *op,
		       const struct digest *digest, struct blob_chunk_list *list, struct err *err)
{
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	message_write_stat_request(digest, true, &request);
	rc = rpc_unary(channel, op, stat_method, buf_view(&request), true, &reply, err);
	return rc == RC_OK ? message_read_stat_response(buf_view(&reply), list, err) : rc;
}

static enum rc grpc_stat(struct blob_service *service, const struct op *op,
			 const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			 struct err *err)
{
	struct blob_grpc *grpc = grpc_of(service);
	struct blob_chunk_list chunks = { 0 };
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc == RC_OK)
		rc = blob_grpc_stat(grpc->channel, op, digest, &chunks, err);
	if (rc != RC_OK)
		return rc;
	*size = BLOB_SIZE_UNKNOWN;
	if (chunks.count > 0)
		*size = chunks.chunks[chunks.count - 1].offset +
			chunks.chunks[chunks.count - 1].size;
	if (list)
		*list = chunks;
	else
		blob_chunk_list_release(&chunks);
	return RC_OK;
}

static enum rc grpc_open_read(struct blob_service *service, const struct op *op,
			      const struct digest *digest, uint64_t size, struct blob_reader **out,
			      struct err *err)
{
	struct blob_grpc *grpc = grpc_of(service);
	enum rc rc = find_family(grpc->channel, op, err);

	return rc == RC_OK ? blob_grpc_reader_open(grpc->channel, op, digest, size, out, err) : rc;
}

static enum rc grpc_open_batch(struct blob_service *service, const struct op *op,
			       struct blob_batch **out, struct err *err)
{
	struct blob_grpc *grpc = grpc_of(service);
	enum rc rc = find_family(grpc->channel, op, err);

	if (rc == RC_OK)
		*out = blob_grpc_batch_new(grpc->channel);
	return rc;
}

/* ---- Many small blobs ---- */

/* A blob on its way. */
struct got {
	size_t i;
	struct buf bytes;
	bool again; /* asked for a second time: the server had been away */
};

static enum rc got_reply(void *context, struct view message, struct err *err)
{
	struct got *got = context;
	struct view data;
	enum rc rc = message_read_blob_chunk(message, &data, err);

	if (rc != RC_OK)
		return rc;
	if (data.len > BLOB_GET_MANY_MAX - got->bytes.len)
		return err_set(err, RC_TOO_LARGE, "a blob of more than %d bytes",
			       BLOB_GET_MANY_MAX);
	buf_append_view(&got->bytes, data);
	return RC_OK;
}

static void get_one(struct rpc_flight *flight, const struct op *op, const struct digest *digest,
		    struct got *got)
{
	struct buf message = BUF_INIT;

	buf_clear(&got->bytes);
	message_write_digest(digest, &message);
	rpc_flight_start(flight, op, read_method, &message, got_reply, got);
}

static enum rc get_all(struct rpc_flight *flight, const struct op *op, const struct digest *digests,
		       size_t count, struct got *gots, blob_done *done, void *context,
		       struct err *err)
{
	size_t asked = 0;

	for (; asked < count && asked < READS_IN_FLIGHT; asked++) {
		gots[asked].i = asked;
		get_one(flight, op, &digests[asked], &gots[asked]);
	}
	while (rpc_flight_count(flight) > 0) {
		struct rpc_done over = { 0 };
		struct got *got;
		bool any;
		enum rc rc = rpc_flight_next(flight, op, true, &over, &any, err);

		if (rc != RC_OK)
			return rc;
		got = over.context;
		if (over.rc == RC_UNAVAILABLE && !got->again) {
			got->again = true;
			get_one(flight, op, &digests[got->i], got);
			continue;
		}
		done(context, got->i, over.rc, buf_view(&got->bytes));
		if (asked < count) {
			*got = (struct got){ .i = asked, .bytes = got->bytes };
			get_one(flight, op, &digests[asked++], got);
		}
	}
	return RC_OK;
}

static enum rc grpc_get_many(struct blob_service *service, const struct op *op,
			     const struct digest *digests, size_t count, blob_done *done,
			     void *context, struct err *err)
{
	struct blob_grpc *grpc = grpc_of(service);
	struct got *gots AUTO_FREE = mem_array(READS_IN_FLIGHT, sizeof(*gots));
	struct rpc_flight *flight;
	enum rc rc = find_family(grpc->channel, op, err);

	if (rc != RC_OK)
		return rc;
	flight = rpc_flight_new(grpc->channel);
	rc = get_all(flight, op, digests, count, gots, done, context, err);
	rpc_flight_free(flight);
	for (size_t i = 0; i < READS_IN_FLIGHT; i++)
		buf_release(&gots[i].bytes);
	return rc;
}

static const struct blob_service_ops grpc_ops = {
	.name = "grpc",
	.latency = BLOB_LATENCY_REMOTE,
	.free = grpc_free,
	.has_many = grpc_has_many,
	.stat = grpc_stat,
	.open_read = grpc_open_read,
	.open_batch = grpc_open_batch,
	.get_many = grpc_get_many,
};

struct blob_service *blob_grpc_new(struct rpc_channel *channel)
{
	struct blob_grpc *grpc = mem_zalloc(sizeof(*grpc));

	blob_service_init(&grpc->service, &grpc_ops);
	grpc->channel = rpc_channel_ref(channel);
	return &grpc->service;
}
