/*
 * A gRPC server over the C core library: completion queues, calls and their life, so that the
 * services (blob_rpc.c and the like) are only handlers.
 *
 * A call is a small state machine and holds no thread while it waits: for a message of its client,
 * for room to send, or for nothing. One thread serves the completion queue; handlers run on a pool,
 * or (quick unary ones) in that thread. Handlers of one call never run at the same time.
 */
#ifndef CASTOR_SERVER_RPC_SERVER_H
#define CASTOR_SERVER_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "server/client_share.h"
#include "server/server.h"

struct rpc_server;
struct rpc_call;

/* What a handler's `more` made. */
enum rpc_next {
	RPC_NEXT_MESSAGE, /* out holds a message to send; ask again */
	RPC_NEXT_LAST,    /* out holds the last message of a stream of replies */
	RPC_NEXT_END,     /* no more: of this call, or (bidirectional) for this request */
	RPC_NEXT_HOLD, /* nothing for now: keep the call open; asked again when the server drains */
	RPC_NEXT_LATER, /* the call was suspended: ask again when it is resumed */
};

/* What the handlers of a method cost, and so where they run. */
struct rpc_cost {
	bool quick;         /* wait for local disks at most: may run in the queue's thread */
	bool computes;      /* wait for local disks at most, and keep a processor busy: few run at
			       once, and stay in the processors' caches */
	size_t quick_bytes; /* quick for `message` alone, with messages of at most this much */
	/* Then: may `more` run there too, as it looks after that message? NULL: no. */
	bool (*quick_more)(struct rpc_call *call);
};

struct rpc_method {
	const char *path;    /* "/package.Service/Method" */
	bool client_streams; /* the client sends any number of messages */
	bool bidirectional;  /* each of them is answered at once; implies client_streams */
	bool server_streams; /* any number of replies; else exactly one, which goes out with the
				status */
	bool may_idle; /* the client may be silent between its messages for as long as it likes */
	bool always;   /* answered however many calls there are: health checks */
	struct rpc_cost cost;
	bool block_replies; /* replies of a stream are put into a block (rpc_block.h): `out` has
				that room, and must not grow */
	size_t state_size;  /* of rpc_call_state, zeroed */
	/* One message of the client; borrowed. Anything but RC_OK ends the call with that status. A
	 * client that does not stream and sends no message is refused before this. */
	enum rc (*message)(struct rpc_call *call, struct view message, struct err *err);
	/* Optional, instead of `message`: takes a message as it lies in memory, piece by piece, `rest`
	 * bytes after this one. *whole (for the first piece, which does nothing then): it has to be
	 * put together for `message` after all. */
	enum rc (*piece)(struct rpc_call *call, struct view piece, size_t rest, bool first,
			 bool *whole, struct err *err);
	/* The client has sent all: make the replies, one a call. Of a stream of replies the next
	 * one is made while the last is being sent: a call has at most two in memory. */
	enum rc (*more)(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			struct err *err);
	/* The call is over, in whatever way. NULL: nothing to release. */
	void (*close)(struct rpc_call *call);
};

/* What handlers may ask of a call. */
void *rpc_call_state(struct rpc_call *call);
void *rpc_call_context(struct rpc_call *call); /* what the method was registered with */
/* Carries the client's deadline and a trace of its own; its cancel flag is set when the client went
 * away, or kept the call waiting for longer than it may. */
const struct op *rpc_call_op(struct rpc_call *call);
/* For a `more` of one reply that must wait for something without holding a thread: suspends the
 * call, hands it to whoever will resume it, and returns RPC_NEXT_LATER. `more` is asked again, in
 * the thread that resumes. Each suspended call must be resumed, also a cancelled one. */
void rpc_call_suspend(struct rpc_call *call);
void rpc_call_resume(struct rpc_call *call);

/* Who is calling. */
const struct client_key *rpc_call_client(const struct rpc_call *call);
/* The server takes no more calls, and waits for those that it has. */
bool rpc_call_draining(const struct rpc_call *call);

/* What clients may hold of a server; 0 stands for the default. A client: client_share.h. */
struct rpc_limits {
	unsigned calls;              /* at once, above it RESOURCE_EXHAUSTED; 16,384 */
	unsigned client_calls;       /* of one client; a quarter of `calls` */
	unsigned connections;        /* at once, others are closed; 4,096. Not with TLS */
	unsigned client_connections; /* of one client; a quarter of `connections` */
	unsigned streams;            /* calls on one connection; 128 */
	size_t message;              /* bytes of one message; 16 MiB */
	size_t memory;               /* bytes that the library may hold for all; 256 MiB */
	unsigned first_message_s;    /* a call's first message comes within; 30 */
	unsigned idle_s; /* a call waits for its client for so long, and for a second more
				      for each KiB that comes or goes: then it ends; 300 */
	unsigned connection_idle_s; /* a connection without calls is closed; 900 */
	unsigned keepalive_s;       /* a client that is silent is asked whether it lives; 60 */
};

struct rpc_server_options {
	unsigned threads; /* of the pool; 0: 128 */
	struct rpc_limits limits;
	const char *tls_cert; /* PEM files; NULL: no TLS */
	const char *tls_key;
	const char *tls_client_ca; /* clients must show a certificate of it; NULL: any client */
};

enum rc rpc_server_new(const struct rpc_server_options *options, struct rpc_server **out,
		       struct err *err) MUST_USE;
/* Before rpc_server_start. The array must outlive the server. local: no service behind the context
 * waits for another machine, so that methods cost what they say; else each may take long. */
void rpc_server_register(struct rpc_server *server, const struct rpc_method *methods, size_t count,
			 void *context, bool local);
/* "host:port", "[::1]:8000", "/path/of/socket", "@abstract", before rpc_server_start. RC_BUSY where
 * another server lives there; a dead socket file is replaced. *port (may be NULL) is the TCP port
 * that was bound. */
enum rc rpc_server_listen(struct rpc_server *server, const char *address, int *port,
			  struct err *err) MUST_USE;
/* Reads the files of TLS again; connections from here on get what they say now. Where they cannot be used
 * (RC_CERTIFICATE), all stays as it was. Any thread. */
enum rc rpc_server_reload(struct rpc_server *server, struct err *err) MUST_USE;
/* Listens on a socket that somebody else bound (systemd). The server owns it. RC_UNSUPPORTED
 * together with TLS: the library takes accepted descriptors without TLS only. */
enum rc rpc_server_listen_fd(struct rpc_server *server, int fd, struct err *err) MUST_USE;
enum rc rpc_server_start(struct rpc_server *server, struct err *err) MUST_USE;
/* Closes what it listens on, refuses new calls (UNAVAILABLE), and tells those that hold on. Returns
 * at once; may be called again. */
void rpc_server_drain(struct rpc_server *server);
/* Drains, lets calls in flight finish until then (CLOCK_MONOTONIC), cancels the rest, and waits for
 * them. */
void rpc_server_stop(struct rpc_server *server, int64_t until_ns);
/* A server like others. */
extern const struct server_ops rpc_server_ops;
void rpc_server_free(struct rpc_server *server); /* after stop, or never started; NULL is fine */

#endif
