/*
 * An HTTP server on loopback that answers as a function of the test says: also late, in pieces, with
 * nonsense, or by hanging up. Each connection has a thread, in which the function is called.
 */
#ifndef CASTOR_DOUBLE_HTTP_H
#define CASTOR_DOUBLE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

struct http_double;

struct http_exchange {
	struct http_double *server;
	const char *method, *path; /* path with its query */
	const char *head;          /* all of the request's head */
	unsigned number;           /* how many requests the server saw before this one */
	int fd;
	bool hang_up; /* set by the function: the connection ends with this reply */
};

typedef void http_double_answer(void *context, struct http_exchange *exchange);

struct http_double *http_double_start(http_double_answer *answer, void *context);
void http_double_stop(struct http_double *server); /* hangs up on everybody */
unsigned http_double_port(const struct http_double *server);
unsigned http_double_requests(const struct http_double *server);
/* Until all that was asked is answered, so that what the function reads may change; but no longer than
 * 200 ms. */
void http_double_settle(struct http_double *server);
unsigned http_double_connections(const struct http_double *server);

/* Bytes as they are. */
void http_double_send(struct http_exchange *exchange, struct view bytes);
void http_double_print(struct http_exchange *exchange, const char *format, ...) PRINTF_LIKE(2, 3);
/* A whole reply; headers end with "\r\n" each, or are "". To HEAD without its body. The second one
 * honours a range, as http_double_range gives it. */
void http_double_reply(struct http_exchange *exchange, int status, const char *headers,
		       struct view body);
void http_double_reply_range(struct http_exchange *exchange, const char *headers, struct view body);
/* The number of the request's "Range: bytes=N-"; 0: none. */
size_t http_double_range(const struct http_exchange *exchange);
/* Until the server is stopped, or so long. */
void http_double_sleep(struct http_exchange *exchange, unsigned ms);

#endif
