/* One request, for the files of the HTTP server. */
#ifndef CASTOR_SERVER_HTTP_EXCHANGE_H
#define CASTOR_SERVER_HTTP_EXCHANGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/http_peers.h"
#include "server/http_rate.h"
#include "server/http_server.h"
#include "server/http_work.h"
#include "net/listen_socket.h"

enum {
	HTTP_LISTENERS_MAX = 64,
	/* Of a body, read and given to the kernel at once; fewer bytes where many are sent. */
	HTTP_BLOCK_MAX = 1 << 20,
};

struct http_server {
	struct http_handlers handlers;
	struct http_limits limits;
	struct MHD_Daemon *daemon;
	struct http_work *local, *remote;
	struct http_peers *peers;
	struct client_shares *requests; /* of whom proxies name */
	struct client_key proxies[HTTP_LISTENERS_MAX];
	size_t proxy_count;
	struct listen_socket listeners[HTTP_LISTENERS_MAX];
	size_t listener_count;
	int stop_fd; /* an eventfd: the accepting thread ends */
	pthread_t accepter, watcher;
	bool started, drained;
	atomic_bool draining;        /* whatever is asked now is refused */
	atomic_bool ending;          /* and whatever waits is cut off */
	atomic_size_t blocks_memory; /* of bodies that are being sent */

	pthread_mutex_t lock;
	pthread_cond_t idle, stopping; /* on the monotonic clock */
	bool stopped;                  /* the watching thread ends */
	struct exchange *exchanges;
};

/* Who waits, and whether somebody works for it, in one number: who wakes it may be faster than the
 * thread that suspends it. */
enum { WAKE_RUNNING, WAKE_SUSPENDED, WAKE_WOKEN, WAKE_STATES = 3, WAKE_WORKING = 4 };

/* How far a request is: what its access handler does next. */
enum stage { STAGE_BEGIN, STAGE_WORKED, STAGE_BODY, STAGE_END, STAGE_REPLY };

struct exchange {
	struct http_exchange base;
	struct http_server *server;
	struct MHD_Connection *connection;
	struct http_peer *peer;
	_Atomic(enum stage) stage;
	atomic_int wake;
	unsigned status;
	struct MHD_Response *response;
	bool bad_target;
	bool queued;  /* the library has the reply */
	bool counted; /* among the requests of its client */
	struct op op;
	atomic_bool cancelled;
	/* While WAKE_WORKING. */
	struct http_job job;
	void (*run)(struct exchange *exchange, void *arg);
	void *arg;

	/* For the watching thread. */
	atomic_uint_least64_t moved; /* bytes of bodies */
	struct http_rate rate;

	/* Under the server's lock: all exchanges. */
	struct exchange *before, *after;
};

struct exchange *http_exchange_of(const struct http_exchange *base);
/* In the connection's thread, which returns to the library at once after it: runs that where it may
 * wait, and the connection goes on afterwards. */
void http_exchange_run(struct exchange *exchange, struct http_work *work,
		       void (*run)(struct exchange *exchange, void *arg), void *arg);

/* Under the server's lock: its op ends, its connection too, and if it waits it is woken. Who works for it
 * sees its op, and who is about to suspend it comes here again. */
void http_exchange_end(struct exchange *exchange);

/* For the library, which asks whenever there is something: the headers, a piece of the body, its end. */
enum MHD_Result http_exchange_access(void *server, struct MHD_Connection *connection,
				     const char *target, const char *method, const char *version,
				     const char *data, size_t *len, void **state);
void http_exchange_completed(void *server, struct MHD_Connection *connection, void **state,
			     enum MHD_RequestTerminationCode code);

/* ---- http_watch.c: the thread that ends what does not go on ---- */

void *http_watch(void *server);
/* Ends a connection from outside: the library sees it closed. */
void http_hang_up(int fd);

/* ---- http_head.c ---- */

/* Why the head of a request means different things to different readers, or NULL. */
const char *http_head_fault(struct MHD_Connection *connection);
/* For the library, which asks before it takes a target apart: the state of a request whose target hides
 * something is the address of http_bad_target. */
void *http_look_at_target(void *server, const char *target, struct MHD_Connection *connection);
extern char http_bad_target;

#endif
