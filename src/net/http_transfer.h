/* One exchange with a server, in the thread that reads it: what http_client.c is made of. */
#ifndef CASTOR_NET_HTTP_TRANSFER_H
#define CASTOR_NET_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "net/http_client.h"

struct http_question {
	const char *url; /* http:// or https:// */
	bool head;
	bool decode;      /* undo a Content-Encoding */
	uint64_t from;    /* the first byte that is wanted */
	const char *etag; /* of the reply that is gone on with; "": none */
};

enum { HTTP_REACH_UNKNOWN, HTTP_REACH_PRIVATE, HTTP_REACH_PUBLIC };

/* Where the server that a client asks lies, which its first connection tells. */
struct http_reach {
	atomic_int of;
};

/* Is it one that only some machines can reach: loopback, link-local, private, shared, unspecified? */
bool http_address_is_private(const struct sockaddr *address);
/* May a connection be made there? The first one of a client may, whatever it is. */
bool http_reach_allows(struct http_reach *reach, const struct sockaddr *address);

struct http_transfer {
	const struct http_options *options;
	struct http_reach *reach;
	CURLM *multi; /* keeps the connection for the next exchange */
	CURL *easy;
	struct curl_slist *headers;
	char curl_error[CURL_ERROR_SIZE];
	bool running;
	bool https;
	bool refused; /* the address that was to be connected to */

	/* What the server sent. */
	long status;
	bool have_headers; /* of the last reply, behind all redirects */
	size_t header_bytes;
	bool headers_too_large;
	struct http_reply reply;
	uint64_t range_from; /* of a 206 */
	struct buf body;     /* not yet read, from body_at on */
	size_t body_at;
	bool paused;
	bool done;
	CURLcode result;

	/* How long it was waited for, and what came meanwhile. */
	int64_t waited_ns;
	uint64_t waited_bytes;
};

/* NULL: libcurl has no memory. */
struct http_transfer *http_transfer_new(const struct http_options *options,
					struct http_reach *reach);
void http_transfer_free(struct http_transfer *transfer);

/* Asks, and waits for the headers of the reply. *again: another attempt may do better. Any HTTP
 * status is RC_OK here. */
enum rc http_transfer_start(struct http_transfer *transfer, const struct op *op,
			    const struct http_question *question, bool *again,
			    struct err *err) MUST_USE;
/* Up to len bytes of the body; *got 0: its end. */
enum rc http_transfer_read(struct http_transfer *transfer, const struct op *op, void *out,
			   size_t len, size_t *got, bool *again, struct err *err) MUST_USE;
/* Whatever state it is in: ready to be started. An unfinished reply costs its connection. */
void http_transfer_stop(struct http_transfer *transfer);

#endif
