/*
 * HTTP as a client of one server: GET and HEAD, on libcurl. Replies are read as they come, by the
 * thread that asks; nothing runs in the background. HTTP/1.1, so that what a paused reply holds is one
 * socket buffer; connections are kept for the next request.
 *
 * A request that failed before its reply was given is repeated some times, after growing waits; a body
 * that breaks off is gone on with where it broke. A server that could not be reached is left alone for
 * a while: requests fail at once meanwhile.
 *
 * Redirects are followed to http and https only, and never from https to http. A server on a public
 * address leads to no private one, by redirect or by URL: what such a server says is not to make us ask
 * machines that only we can reach. file: URLs are read, too; nothing leads from http there.
 */
#ifndef CASTOR_NET_HTTP_CLIENT_H
#define CASTOR_NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"

enum {
	HTTP_HEADERS_MAX = 64 << 10, /* bytes of a reply's headers, of all redirects together */
	HTTP_ETAG_MAX = 255,
	/* A reply must bring that much while it is waited for one `stall`, or end. */
	HTTP_STALL_LEAST = 16 << 10,
};
#define HTTP_SIZE_UNKNOWN UINT64_MAX

struct http_options {
	const char *ca_file; /* certificates that are trusted; NULL: the system's; borrowed, kept */
	/* For URLs that begin with this one alone; borrowed, kept. NULL: nobody is told who we are. */
	const char *origin;
	const char *user;   /* "name:password"; NULL: none; borrowed, kept */
	const char *bearer; /* a token; NULL: none; borrowed, kept */
	const char
		*netrc; /* a file that says who we are to which host; NULL: none; borrowed, kept */
	int64_t connect_ns;   /* at most, to connect */
	int64_t stall_ns;     /* at most, to wait for HTTP_STALL_LEAST bytes, or for the headers */
	unsigned attempts;    /* at least 1 */
	int64_t backoff_ns;   /* before the second attempt; doubles */
	int64_t down_ns;      /* how long an unreachable server is left alone; doubles up to... */
	int64_t down_most_ns; /* ...this */
};
extern const struct http_options http_options_default;

struct http_client;
/* Thread-safe. The options are copied. */
struct http_client *http_client_new(const struct http_options *options);
void http_client_free(struct http_client *client); /* NULL is fine; no reply may be open */

struct http_reply {
	uint64_t size;                /* of the body that will be read; HTTP_SIZE_UNKNOWN */
	char etag[HTTP_ETAG_MAX + 1]; /* "": none, or one that is too long */
};

/*
 * Outcomes of all three: RC_NOT_FOUND for 404, 410 and 403 (which caches in buckets answer where
 * nothing is); RC_DENIED for 401 and 407; RC_UNAVAILABLE for all else that is not a success, and
 * where the server cannot be reached, is too slow or breaks off; RC_TOO_LARGE past a limit;
 * RC_DEADLINE and RC_CANCELLED as the op says. Sentences name the URL.
 */

/* The whole body, of at most max bytes. Appends. A Content-Encoding is undone. */
enum rc http_get(struct http_client *client, const struct op *op, const char *url, size_t max,
		 struct buf *out, struct err *err) MUST_USE;
enum rc http_head(struct http_client *client, const struct op *op, const char *url,
		  struct http_reply *out, struct err *err) MUST_USE;

/* A body to be read, from that byte on: as it was sent, whatever its Content-Encoding. One thread at a
 * time. reply may be NULL. */
struct http_body;
enum rc http_open(struct http_client *client, const struct op *op, const char *url, uint64_t from,
		  struct http_reply *reply, struct http_body **out, struct err *err) MUST_USE;
/* Up to len bytes; *got 0: the end, and the body was whole. */
enum rc http_body_read(struct http_body *body, const struct op *op, void *out, size_t len,
		       size_t *got, struct err *err) MUST_USE;
void http_body_free(struct http_body *body); /* NULL is fine; an unfinished reply is given up */

#endif
