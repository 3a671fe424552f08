/* Directories behind a daemon. */
#include "service/directory/grpc.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/messages.h"
#include "service/grpc.h"

static const char get_method[] = "castore.v1.DirectoryService/Get";
static const char put_method[] = "castore.v1.DirectoryService/Put";

struct directory_grpc {
	struct directory_service service;
	struct rpc_channel *channel;
};

static struct directory_grpc *grpc_of(struct directory_service *service)
{
	return CONTAINER_OF(service, struct directory_grpc, service);
}

static void grpc_free(struct directory_service *service)
{
	struct directory_grpc *grpc = grpc_of(service);

	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static const struct grpc_question question = { .method = get_method,
					       .stream = true,
					       .write = message_write_get_directory };

static enum rc find_family(struct rpc_channel *channel, const struct op *op, struct err *err)
{
	return grpc_find_family(channel, op, &question, err);
}

static enum rc grpc_get(struct directory_service *service, const struct op *op,
			const struct digest *digest, struct directory **out, struct err *err)
{
	struct directory_grpc *grpc = grpc_of(service);
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	message_write_get_directory(digest, false, &request);
	rc = rpc_unary(grpc->channel, op, get_method, buf_view(&request), true, &reply, err);
	return rc == RC_OK ? directory_decode(buf_view(&reply), out, err) : rc;
}

static enum rc has_many(struct directory_service *service, const struct op *op,
			const struct digest *digests, size_t count, bool *out, struct err *err)
{
	return grpc_has_many(grpc_of(service)->channel, op, &question, digests, count, out, err);
}

/* ---- Closures ---- */

struct grpc_iter {
	struct directory_iter iter;
	struct rpc_stream *stream;
	struct buf message;
	struct digest root;
	bool any;
};

static void iter_free(struct directory_iter *iter)
{
	struct grpc_iter *grpc = CONTAINER_OF(iter, struct grpc_iter, iter);

	rpc_stream_free(grpc->stream);
	buf_release(&grpc->message);
	free(grpc);
}

static enum rc iter_next(struct directory_iter *iter, const struct op *op, struct directory **out,
			 struct err *err)
{
	struct grpc_iter *grpc = CONTAINER_OF(iter, struct grpc_iter, iter);
	bool end;
	enum rc rc = rpc_stream_read(grpc->stream, op, &grpc->message, &end, err);

	if (rc == RC_OK && end && !grpc->any) {
		char hex[DIGEST_HEX_MAX];

		/* An unknown root is an empty stream here, and NOT_FOUND at some servers. */
		digest_hex(&grpc->root, hex);
		return err_set(err, RC_NOT_FOUND, "directory %s is not there", hex);
	}
	if (rc != RC_OK || end)
		return rc;
	grpc->any = true;
	return directory_decode(buf_view(&grpc->message), out, err);
}

static const struct directory_iter_ops iter_ops = { .free = iter_free, .next = iter_next };

static enum rc grpc_get_recursive(struct directory_service *service, const struct op *op,
				  const struct digest *root, struct directory_iter **out,
				  struct err *err)
{
	struct directory_grpc *grpc = grpc_of(service);
	struct buf request = BUF_INIT;
	struct grpc_iter *iter;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	iter = mem_zalloc(sizeof(*iter));
	iter->iter.ops = &iter_ops;
	iter->root = *root;
	iter->stream = rpc_stream_open(grpc->channel, op, get_method);
	message_write_get_directory(root, true, &request);
	rc = rpc_stream_write(iter->stream, op, &request, err);
	if (rc == RC_OK)
		rc = rpc_stream_close_send(iter->stream, op, err);
	buf_release(&request);
	if (rc != RC_OK) {
		iter_free(&iter->iter);
		return rc;
	}
	*out = &iter->iter;
	return RC_OK;
}

/* ---- Put ---- */

struct grpc_put {
	struct directory_put put;
	struct rpc_channel *channel;
	struct rpc_stream *stream; /* opened at the first directory */
};

static void put_free(struct directory_put *put)
{
	struct grpc_put *grpc = CONTAINER_OF(put, struct grpc_put, put);

	rpc_stream_free(grpc->stream);
	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static enum rc put_add(struct directory_put *put, const struct op *op, struct directory *dir,
		       struct err *err)
{
	struct grpc_put *grpc = CONTAINER_OF(put, struct grpc_put, put);
	struct buf message = BUF_INIT;
	enum rc rc;

	/* The call outlives the op of one add: without its deadline. */
	if (!grpc->stream)
		grpc->stream = rpc_stream_open(grpc->channel, &(struct op){ .trace = op->trace },
					       put_method);
	buf_append_view(&message, directory_encoded(dir));
	rc = rpc_stream_write(grpc->stream, op, &message, err);
	buf_release(&message);
	return rc;
}

static enum rc put_close(struct directory_put *put, const struct op *op, const struct digest *root,
			 struct err *err)
{
	struct grpc_put *grpc = CONTAINER_OF(put, struct grpc_put, put);
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct digest got;
	bool end = false;
	enum rc rc;

	rc = rpc_stream_close_send(grpc->stream, op, err);
	if (rc == RC_OK)
		rc = rpc_stream_read(grpc->stream, op, &reply, &end, err);
	if (rc == RC_OK && end)
		rc = err_set(err, RC_INVALID, "%s: an empty reply",
			     rpc_channel_address(grpc->channel));
	if (rc == RC_OK)
		rc = message_read_digest(buf_view(&reply), &got, err);
	if (rc == RC_OK && !digest_equal(&got, root))
		rc = err_set(err, RC_CORRUPT, "%s stored the directories under another root",
			     rpc_channel_address(grpc->channel));
	return rc;
}

static const struct directory_put_ops put_ops = { .free = put_free,
						  .add = put_add,
						  .close = put_close };

static enum rc grpc_open_put(struct directory_service *service, const struct op *op,
			     struct directory_put **out, struct err *err)
{
	struct directory_grpc *grpc = grpc_of(service);
	struct grpc_put *put;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	put = mem_zalloc(sizeof(*put));
	put->put.ops = &put_ops;
	put->channel = rpc_channel_ref(grpc->channel);
	*out = &put->put;
	return RC_OK;
}

static const struct directory_service_ops grpc_ops = {
	.name = "grpc",
	.remote = true,
	.free = grpc_free,
	.get = grpc_get,
	.has_many = has_many,
	.get_recursive = grpc_get_recursive,
	.open_put = grpc_open_put,
};

struct directory_service *directory_grpc_new(struct rpc_channel *channel)
{
	struct directory_grpc *grpc = mem_zalloc(sizeof(*grpc));

	directory_service_init(&grpc->service, &grpc_ops);
	grpc->channel = rpc_channel_ref(channel);
	return &grpc->service;
}
