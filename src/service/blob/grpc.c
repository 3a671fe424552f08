/* Blobs behind a daemon: questions. Reading is in grpc_reader.c, writing in grpc_batch.c. */
#include "service/blob/grpc.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/messages.h"
#include "service/grpc.h"

enum { READS_IN_FLIGHT = 64 }; /* each may bring as much as BLOB_GET_MANY_MAX */

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

static const struct grpc_question question = { .method = stat_method,
					       .write = message_write_stat_request };

static enum rc find_family(struct rpc_channel *channel, const struct op *op, struct err *err)
{
	return grpc_find_family(channel, op, &question, err);
}

static void grpc_free(struct blob_service *service)
{
	struct blob_grpc *grpc = grpc_of(service);

	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static enum rc has_many(struct blob_service *service, const struct op *op,
			const struct digest *digests, size_t count, bool *out, struct err *err)
{
	return grpc_has_many(grpc_of(service)->channel, op, &question, digests, count, out, err);
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

static void get_one(struct rpc_calls *calls, const struct op *op, const struct digest *digest,
		    struct got *got)
{
	struct buf message = BUF_INIT;

	buf_clear(&got->bytes);
	message_write_digest(digest, &message);
	rpc_calls_start(calls, op, read_method, &message, got_reply, got);
}

static enum rc get_all(struct rpc_calls *calls, const struct op *op, const struct digest *digests,
		       size_t count, struct got *gots, blob_done *done, void *context,
		       struct err *err)
{
	size_t asked = 0;

	for (; asked < count && asked < READS_IN_FLIGHT; asked++) {
		gots[asked].i = asked;
		get_one(calls, op, &digests[asked], &gots[asked]);
	}
	while (rpc_calls_count(calls) > 0) {
		struct rpc_done over = { 0 };
		struct got *got;
		bool any;
		enum rc rc = rpc_calls_next(calls, op, true, &over, &any, err);

		if (rc != RC_OK)
			return rc;
		got = over.context;
		if (over.rc == RC_UNAVAILABLE && !got->again) {
			got->again = true;
			get_one(calls, op, &digests[got->i], got);
			continue;
		}
		done(context, got->i, over.rc, buf_view(&got->bytes));
		if (asked < count) {
			*got = (struct got){ .i = asked, .bytes = got->bytes };
			get_one(calls, op, &digests[asked++], got);
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
	struct rpc_calls *calls;
	enum rc rc = find_family(grpc->channel, op, err);

	if (rc != RC_OK)
		return rc;
	calls = rpc_calls_new(grpc->channel);
	rc = get_all(calls, op, digests, count, gots, done, context, err);
	rpc_calls_free(calls);
	for (size_t i = 0; i < READS_IN_FLIGHT; i++)
		buf_release(&gots[i].bytes);
	return rc;
}

static const struct blob_service_ops grpc_ops = {
	.name = "grpc",
	.latency = BLOB_LATENCY_REMOTE,
	.free = grpc_free,
	.has_many = has_many,
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
