/*
 * How long a call waits for its client: for a message, or for one of ours to be taken. Patience runs
 * out while it waits, comes back by what was transferred, and is never more than at first, so that
 * neither silence nor a byte now and then keeps a call open. Time that we need ourselves does not count.
 */
#include "base/clock.h"
#include "server/rpc_call.h"

enum { LEAST_RATE = 1024 }; /* bytes a second */

void rpc_patience_begin(struct rpc_call *call, int64_t patience_ns)
{
	call->patience_ns = patience_ns;
}

void rpc_patience_wait(struct rpc_call *call)
{
	call->waiting_since_ns = clock_monotonic_ns();
	atomic_store(&call->due_ns, call->waiting_since_ns + call->patience_ns);
}

void rpc_patience_met(struct rpc_call *call, size_t bytes)
{
	int64_t most = call->calls->idle_ns, back = (int64_t)bytes * (NS_PER_S / LEAST_RATE);

	if (atomic_exchange(&call->due_ns, 0) == 0)
		return;
	if (call->got_message)
		call->patience_ns -= clock_monotonic_ns() - call->waiting_since_ns;
	else /* what comes after the first message has other measures */
		call->patience_ns = most;
	call->patience_ns = back > most - call->patience_ns ? most : call->patience_ns + back;
}

unsigned rpc_patience_check(struct rpc_calls *calls, int64_t now)
{
	unsigned ended = 0;

	pthread_mutex_lock(&calls->lock);
	for (struct rpc_call *at = calls->open; at; at = at->next) {
		int64_t due = atomic_load(&at->due_ns);

		if (due == 0 || now < due)
			continue;
		atomic_store(&at->due_ns, 0);
		(void)grpc_call_cancel_with_status(at->call, GRPC_STATUS_DEADLINE_EXCEEDED,
						   "the server waited too long for its client",
						   NULL);
		ended++;
	}
	pthread_mutex_unlock(&calls->lock);
	return ended;
}
