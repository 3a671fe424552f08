/* One call of the gRPC server; private to rpc_server.c and rpc_call.c. */
#ifndef CASTOR_SERVER_RPC_CALL_H
#define CASTOR_SERVER_RPC_CALL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/refcount.h"
#include "server/rpc_server.h"

/* What the completion queue hands back: who is called, and with what. */
struct rpc_tag {
	void (*done)(struct rpc_tag *tag, bool ok);
};

struct rpc_registration {
	const struct rpc_method *method;
	void *context;
	struct rpc_cost cost; /* the method's, as far as the services behind the context go along */
};

/* What a call needs of its server. */
struct rpc_calls {
	struct pool *pool;
	struct pool *computing; /* for methods that compute */
	struct client_shares *shares;
	int64_t first_message_ns, idle_ns;
	atomic_bool draining;
	/* Finds a method; NULL: unknown. path is not NUL-terminated. */
	const struct rpc_registration *(*find)(struct rpc_calls *calls, struct view path);
	/* Whose is a connection, by the library's name of its other end? */
	void (*client)(struct rpc_calls *calls, const char *peer, struct client_key *out);
	pthread_mutex_t lock;
	/* Under lock: */
	struct rpc_call *open;
	unsigned open_count;
};

/* What a call is doing; moved only by its own handlers and completions, of which one is under way
 * at a time, except for `closed`, which comes on its own. */
enum rpc_stage {
	RPC_STAGE_MESSAGE, /* give `received` to the handler */
	RPC_STAGE_MORE,    /* ask the handler for a reply */
	RPC_STAGE_STATUS,  /* send `status` */
};

/* A stream of replies on its way (rpc_replies.c). */
enum { RPC_REPLIES_AHEAD = 12 };
struct rpc_replies {
	pthread_mutex_t lock;
	/* Under lock: */
	struct buf made[RPC_REPLIES_AHEAD]; /* a ring */
	unsigned first, count;
	bool making;      /* a thread is in the handler, or about to be */
	bool ended, hold; /* the handler has no more, or none for now */
	bool last;        /* the newest message ends the call */
	bool started;     /* the first one was sent */
	bool sending;
	bool failed; /* a message could not be sent */
};

struct rpc_call {
	struct rpc_tag accept_tag, close_tag, receive_tag, send_tag;
	struct rpc_calls *calls;
	struct refcount ref; /* one for each tag under way, one for a job on the pool */
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata; /* of the client */
	grpc_byte_buffer *received;
	int was_cancelled; /* written by the library */

	const struct rpc_method *method;
	void *context;
	void *state;
	struct pool *pool; /* where handlers run, if not in the queue's thread */
	struct rpc_cost cost;
	enum rpc_stage stage;
	struct client_key client;
	struct client_shares *counted; /* the call is counted there; NULL: it is not */
	struct rpc_call *next, **link; /* of those that are open; under calls->lock */
	/* How long it may still wait for its client, see rpc_patience.c: until due_ns, if it does. */
	int64_t patience_ns, waiting_since_ns;
	_Atomic int64_t due_ns; /* 0: it does not wait */
	/* Of a suspended call: set when its handler returned, or when it was resumed, whichever
	 * comes first; the second goes on. */
	atomic_bool met;
	struct rpc_replies replies; /* where the method gives a stream of them */
	bool opened;                /* listed, and the method's close is owed */
	bool headers_sent;
	size_t sending; /* bytes of the message that is on its way */
	bool got_message;
	bool client_done;
	enum rc status;
	struct err err;
	atomic_bool cancelled;
	struct op op;
};

/* A call to be accepted: hand accept_tag to grpc_server_request_call. */
struct rpc_call *rpc_call_new(struct rpc_calls *calls,
			      void (*accepted)(struct rpc_tag *tag, bool ok));
/* The call was accepted: begins it. */
void rpc_call_begin(struct rpc_call *call);
void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);

/* Sends a message, whose memory goes to the library; with the status in the same batch if `last`.
 */
void rpc_call_send_message(struct rpc_call *call, struct buf *message, bool last);
void rpc_call_send_status(struct rpc_call *call);

/* ---- rpc_patience.c: a call waits for its client, but not for ever ---- */

void rpc_patience_begin(struct rpc_call *call, int64_t patience_ns);
/* It waits from now on; its client did what was waited for, by so many bytes. */
void rpc_patience_wait(struct rpc_call *call);
void rpc_patience_met(struct rpc_call *call, size_t bytes);
/* Ends the calls whose patience is over. `now`: CLOCK_MONOTONIC. The number of them. */
unsigned rpc_patience_check(struct rpc_calls *calls, int64_t now);

/* Is its memory a block, or of malloc? */
bool rpc_is_block(const struct rpc_call *call, const struct buf *message);

void rpc_replies_init(struct rpc_replies *replies);
void rpc_replies_release(struct rpc_call *call);
/* Runs the handler, for as long as there is room for what it makes. */
void rpc_replies_make(struct rpc_call *call);
void rpc_replies_sent(struct rpc_call *call, bool ok); /* a message is gone, or cannot go */
/* Asks the handler of a call that is on hold once more. */
void rpc_replies_resume(struct rpc_call *call);

#endif
