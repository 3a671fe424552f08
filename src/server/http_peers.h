/*
 * The connections of an HTTP server: who has them, and whether they are waited for. Where one client has
 * too many, or all together are, the one that is longest without a request gives way to a new one: who
 * only holds connections keeps nobody out. Times are given (CLOCK_MONOTONIC, nanoseconds). Thread-safe.
 */
#ifndef CASTOR_SERVER_HTTP_PEERS_H
#define CASTOR_SERVER_HTTP_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/client_share.h"
#include "server/http_limits.h"

struct http_peers;

struct http_peer {
	/* Constant. */
	struct client_key client;
	int fd;
	bool proxy;   /* brings requests of others: has no share of its own */
	bool reserve; /* past the limit: for health checks alone */

	/* Under the lock of all. */
	bool open;        /* the descriptor is the connection's: it may be hung up */
	bool busy;        /* a request is under way */
	bool left;        /* hung up, or will be once it is open: counts no more */
	bool served;      /* had a request */
	int64_t since_ns; /* not busy since */
	struct http_peer *before, *after;
};

/* hang_up ends a connection from outside; called under the lock. */
struct http_peers *http_peers_new(const struct http_limits *limits, void (*hang_up)(int fd));
void http_peers_free(struct http_peers *peers); /* NULL is fine; */

/* A new connection; NULL: there is no room for it. It is not hung up before it is opened. */
struct http_peer *http_peers_add(struct http_peers *peers, const struct client_key *client,
				 bool proxy, int fd, int64_t now_ns);
/* The library has that connection; NULL: it was not added. */
struct http_peer *http_peers_open(struct http_peers *peers, int fd);
/* The library did not take it. */
void http_peers_forget(struct http_peers *peers, int fd);
/* Before its descriptor is closed. */
void http_peers_remove(struct http_peers *peers, struct http_peer *peer);
/* The head of a request is there; and that request is over. */
void http_peer_begin(struct http_peers *peers, struct http_peer *peer);
void http_peer_end(struct http_peers *peers, struct http_peer *peer, int64_t now_ns);
/* Hangs up those whose head is overdue. */
void http_peers_check(struct http_peers *peers, int64_t now_ns);
/* Hangs up all that have no request, and from now on each whose request is over. */
void http_peers_drain(struct http_peers *peers);
size_t http_peers_count(struct http_peers *peers); /* without those that were hung up */

#endif
