/* What the backends behind a daemon share. */
#ifndef CASTOR_SERVICE_GRPC_H
#define CASTOR_SERVICE_GRPC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "castore/digest.h"
#include "net/rpc_channel.h"

/* A call that asks for one object, and changes nothing. */
struct grpc_question {
	const char *method;
	bool stream; /* the reply is a stream */
	/* The request; more false: of the object alone, not of what hangs on it. */
	void (*write)(const struct digest *digest, bool more, struct buf *out);
};

/* Every call of a service begins with this: under which name does the server know the service? */
enum rc grpc_find_family(struct rpc_channel *channel, const struct op *op,
			 const struct grpc_question *question, struct err *err) MUST_USE;
/* out[i]: is there an answer for digests[i]? Many are asked at once; where the server was away, a
 * second time. */
enum rc grpc_has_many(struct rpc_channel *channel, const struct op *op,
		      const struct grpc_question *question, const struct digest *digests,
		      size_t count, bool *out, struct err *err) MUST_USE;

#endif
