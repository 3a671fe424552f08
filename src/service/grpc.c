/* Questions to a daemon. */
#include "service/grpc.h"

enum { IN_FLIGHT = 256 };

enum rc grpc_find_family(struct rpc_channel *channel, const struct op *op,
			 const struct grpc_question *question, struct err *err)
{
	struct buf probe CLEANUP(buf_release) = BUF_INIT;

	if (rpc_channel_family(channel) != RPC_FAMILY_UNKNOWN)
		return RC_OK;
	question->write(&digest_empty, false, &probe);
	return rpc_family_find(channel, op, question->method, buf_view(&probe), err);
}

static enum rc ignore_reply(void *context, struct view message, struct err *err)
{
	(void)context;
	(void)message;
	(void)err;
	return RC_OK;
}

static void ask(struct rpc_calls *calls, const struct op *op, const struct grpc_question *question,
		const struct digest *digest, void *context)
{
	struct buf message = BUF_INIT;

	question->write(digest, false, &message);
	if (question->stream)
		rpc_calls_start(calls, op, question->method, &message, ignore_reply, context);
	else
		rpc_calls_start_unary(calls, op, question->method, &message, ignore_reply, context);
}

static enum rc ask_again(struct rpc_channel *channel, const struct op *op,
			 const struct grpc_question *question, const struct digest *digest,
			 struct err *err)
{
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	question->write(digest, false, &request);
	return rpc_unary(channel, op, question->method, buf_view(&request), true, &reply, err);
}

enum rc grpc_has_many(struct rpc_channel *channel, const struct op *op,
		      const struct grpc_question *question, const struct digest *digests,
		      size_t count, bool *out, struct err *err)
{
	enum rc rc = grpc_find_family(channel, op, question, err);
	struct rpc_calls *calls;
	size_t asked = 0;

	if (rc != RC_OK)
		return rc;
	calls = rpc_calls_new(channel);
	while (rc == RC_OK && (asked < count || rpc_calls_count(calls) > 0)) {
		struct rpc_done done = { 0 };
		bool any;

		for (; asked < count && rpc_calls_count(calls) < IN_FLIGHT; asked++)
			ask(calls, op, question, &digests[asked], &out[asked]);
		rc = rpc_calls_next(calls, op, true, &done, &any, err);
		if (rc != RC_OK || !any)
			break;
		bool *there = done.context;
		if (done.rc == RC_UNAVAILABLE)
			done.rc =
				ask_again(channel, op, question, &digests[there - out], &done.err);
		*there = done.rc == RC_OK;
		if (done.rc != RC_OK && done.rc != RC_NOT_FOUND)
			rc = err_set(err, done.rc, "%s", done.err.message);
	}
	rpc_calls_free(calls);
	return rc;
}
