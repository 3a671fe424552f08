#ifndef CASTOR_SERVER_REFLECTION_H
#define CASTOR_SERVER_REFLECTION_H

#include "base/buf.h"
#include "base/err.h"
#include "server/rpc_server.h"

/* grpc.reflection.v1 and v1alpha: what the methods and messages of this server are. */
void reflection_register(struct rpc_server *server);

/* The reply to one request, appended; for the handler, and for tests. */
enum rc reflection_answer(struct view request, struct buf *out, struct err *err) MUST_USE;

#endif
