/*
 * An HTTP server over libmicrohttpd: sockets, threads, and the life of a request, so that what is
 * served (binary_cache.c) is only handlers.
 *
 * Few threads serve many connections, so that nothing may wait in them: a handler that has to wait
 * either asks for its `work`, which another thread does, or waits to be woken. What is kept per request
 * is the exchange; handlers of one exchange never run at the same time.
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

struct http_server;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_OTHER };

struct http_exchange {
	enum http_method method;
	const char *path; /* as it was sent, without the query */
	bool has_body;    /* the request has one */
	/* The handlers' own; released by `close`. */
	void *state;
};

/* What a handler decided. */
enum http_next {
	HTTP_REPLIED, /* by http_reply */
	HTTP_WORK,    /* call `work`, in a thread that may wait, then (without a reply) `end` */
	HTTP_WAIT,    /* of `end` only: call it again after http_exchange_wake */
	HTTP_BODY,    /* of `begin`, for a PUT: take the request's body, then call `end` */
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
	/* May wait; the op's cancel flag is set when the server stops. */
	void (*work)(void *context, struct http_exchange *exchange, const struct op *op);
	/* The exchange is over, in whatever way. */
	void (*close)(void *context, struct http_exchange *exchange);
};

/* ---- What handlers may ask of an exchange ---- */

/* The value of a header, or NULL. */
const char *http_header(const struct http_exchange *exchange, const char *name);
/* The value of a parameter of the query (decoded), or NULL. */
const char *http_parameter(const struct http_exchange *exchange, const char *name);
/* Who asks: the address, without the port; "unix" for a local socket. Appends. */
void http_client(const struct http_exchange *exchange, struct buf *out);
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
/* For callbacks that make bodies: carries the server's cancel flag. */
const struct op *http_server_op(const struct http_server *server);

/* ---- The server ---- */

struct http_server_options {
	unsigned threads;     /* that serve connections; 0: one a processor */
	unsigned workers;     /* that may wait; 0: 16 */
	unsigned connections; /* at once; 0: 1,024 */
	unsigned timeout_s;   /* without a byte either way; 0: 60 */
};

enum rc http_server_new(const struct http_server_options *options,
			const struct http_handlers *handlers, struct http_server **out,
			struct err *err) MUST_USE;
/* Before http_server_start; addresses as of listen_socket.h. *port (may be NULL): of TCP. */
enum rc http_server_listen(struct http_server *server, const char *address, int *port,
			   struct err *err) MUST_USE;
/* A socket that somebody else bound (systemd). The server owns it. */
enum rc http_server_listen_fd(struct http_server *server, int fd, struct err *err) MUST_USE;
enum rc http_server_start(struct http_server *server, struct err *err) MUST_USE;
/* Stops accepting, lets exchanges that are under way finish for up to grace_ns, ends the rest. */
void http_server_stop(struct http_server *server, int64_t grace_ns);
void http_server_free(struct http_server *server); /* after stop, or never started; NULL is fine */

#endif
