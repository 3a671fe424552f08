/*
 * What the library still holds of calls that were cancelled. It lets go of them at once, except where a
 * connection takes no more bytes, as with a peer that was stopped: then it waits for that, perhaps for
 * ever. Nobody else has to.
 */
#ifndef CASTOR_NET_RPC_LEFTOVER_H
#define CASTOR_NET_RPC_LEFTOVER_H

#include <stdbool.h>

#include "base/op.h"

/* At the beginning of what is left over. */
struct rpc_leftover {
	/* Waits until that op ends; true: it is over, and was freed. By one thread at a time. */
	bool (*end)(struct rpc_leftover *leftover, const struct op *op);
	struct rpc_leftover *next;
};

/* Ends it: in this thread if that is soon, else in one that has all of them. Takes it over. */
void rpc_leftover_end(struct rpc_leftover *leftover);

#endif
