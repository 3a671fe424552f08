/*
 * An HTTP server over libmicrohttpd: sockets, threads, and the life of a request, so that what is
 * served (binary_cache.c) is only handlers.
 *
 * Few threads serve many connections, so that nothing may wait in them: a handler that has to wait
 * either asks for its `work`, which another thread does, or waits to be woken. What is kept per request
 * is the exchange; handlers of one exchange never run at the same time. No client keeps others out:
 * http_limits.h says what each may have, and how long it may be waited for.
 */
#ifndef CASTOR_SERVER_HTTP_SERVER_H
#define CASTOR_SERVER_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <microhttpd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "server/client_share.h"
#include "server/http_limits.h"
#include "server/server.h"

struct http_server;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_OTHER };

struct http_exchange {
	enum http_method method;
	const char *path; /* as it was sent, without the query */
	bool has_body;    /* the request has one */
	/* Who asks: whom a trusted proxy names, or else whose connection it is. */
	struct client_key client;
	/* The handlers' own; released by `close`. */
	void *state;
};

/* What a handler decided. */
enum http_next {
	HTTP_REPLIED, /* by http_reply */
	/* Call `work` in a thread that may wait for this machine's disks, then (without a reply) `end`. */
	HTTP_WORK,
	HTTP_WORK_REMOTE, /* the same in one that may wait for other machines */
	HTTP_WAIT,        /* of `end` only: call it again after http_exchange_wake */
	HTTP_BODY,        /* of `begin`, for a PUT: take the request's body, then call `end` */
};

struct http_handlers {
	void *context;
	/* The headers are there, and of a PUT nothing else, so that a reply means that its body is not
	 * wanted; bodies of others were read and dropped. Must not wait. */
	enum http_next (*begin)(void *context, struct http_exchange *exchange);
	/* A piece of the body: takes the first *taken bytes. If that is not all, it is called with the
	 * rest after http_exchange_wake. Must not wait. After http_reply the rest of the body is read and
	 * dropped, without calling this. */
	void (*body)(void *context, struct http_exchange *exchange, struct view bytes,
		     size_t *taken);
	/* The body is complete, or `work` is done. Must not wait. */
	enum http_next (*end)(void *context, struct http_exchange *exchange);
	/* May wait. The op ends when the client goes, when the server stops, and after the time that a
	 * request may wait for others. */
	void (*work)(void *context, struct http_exchange *exchange, const struct op *op);
	/* The exchange is over, in whatever way. */
	void (*close)(void *context, struct http_exchange *exchange);
	/* Is the request answered even where the server is full? Asked before `begin`. */
	bool (*is_health)(void *context, const struct http_exchange *exchange);
};

/* ---- What handlers may ask of an exchange ---- */

/* The value of a header, or NULL. */
const char *http_header(const struct http_exchange *exchange, const char *name);
/* The value of a parameter of the query (decoded), or NULL. */
const char *http_parameter(const struct http_exchange *exchange, const char *name);
/* Of the exchange, as `work` gets it; for callbacks of its own. */
const struct op *http_exchange_op(const struct http_exchange *exchange);
/* Takes the response over. Once an exchange. */
void http_reply(struct http_exchange *exchange, unsigned status, struct MHD_Response *response);
/* The same with a response that is kept for others as well; from `begin` and `end` only. */
void http_reply_shared(struct http_exchange *exchange, unsigned status,
		       struct MHD_Response *response);
/* A reply of one line of text. */
void http_reply_text(struct http_exchange *exchange, unsigned status, const char *line);
/* For a handler that said HTTP_WAIT, or took less of a body than there was: from any thread, also before
 * that handler has come back. */
void http_exchange_wake(struct http_exchange *exchange);

/* What is sent, made while it is sent, in order. */
struct http_body {
	uint64_t len;
	bool remote; /* `read` may wait for other machines: no thread that serves connections calls it */
	void *context;
	/* Up to len bytes of what comes next; *got is 0 at the end only. */
	enum rc (*read)(void *context, const struct op *op, void *out, size_t len, size_t *got,
			struct err *err);
	void (*free)(void *context);
};
/* Reads the beginning first: a failure there is still an answer. So for a remote body it is for `work`
 * alone. Takes the body over, also where it fails; *out is for http_reply. For a HEAD nothing is
 * read. */
enum rc http_body_response(struct http_exchange *exchange, const struct http_body *body,
			   struct MHD_Response **out, struct err *err) MUST_USE;

/* ---- The server ---- */

/* Copies limits; NULL: the default ones. */
enum rc http_server_new(const struct http_limits *limits, const struct http_handlers *handlers,
			struct http_server **out, struct err *err) MUST_USE;
/* Requests that come from that address ("unix": from local sockets) are those of whom their last
 * X-Forwarded-For names. Before http_server_start; RC_INVALID: it is no address. */
enum rc http_server_trust_proxy(struct http_server *server, const char *address,
				struct err *err) MUST_USE;
/* Before http_server_start; addresses as of listen_socket.h. *port (may be NULL): of TCP. */
enum rc http_server_listen(struct http_server *server, const char *address, int *port,
			   struct err *err) MUST_USE;
/* A socket that somebody else bound (systemd). The server owns it. */
enum rc http_server_listen_fd(struct http_server *server, int fd, struct err *err) MUST_USE;
enum rc http_server_start(struct http_server *server, struct err *err) MUST_USE;
/* See server.h. Drained, it closes connections whose request is over, and new requests are not taken. */
void http_server_drain(struct http_server *server);
void http_server_stop(struct http_server *server, int64_t until_ns);
void http_server_free(struct http_server *server); /* after stop, or never started; NULL is fine */
extern const struct server_ops http_server_ops;

#endif
