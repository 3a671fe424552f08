/*
 * Threads that may wait, shared fairly: what clients want done runs in the order in which it came, except
 * that one client has at most its share of the threads while others have something to do too.
 * Thread-safe.
 */
#ifndef CASTOR_SERVER_HTTP_WORK_H
#define CASTOR_SERVER_HTTP_WORK_H

#include "base/err.h"
#include "server/client_share.h"

struct http_work;

/* Lives in what it is for, until `run` was called. */
struct http_job {
	void (*run)(struct http_job *job);
	struct client_key client;
	struct http_job *next;
};

/* name: of the threads (at most 15 bytes), which are started when they are needed. */
struct http_work *http_work_new(const char *name, unsigned threads);
/* Runs what was submitted, then ends the threads. NULL is fine. */
void http_work_free(struct http_work *work);
/* Starts the first thread, so that what is submitted is run. RC_NO_MEMORY. */
enum rc http_work_start(struct http_work *work, struct err *err) MUST_USE;
void http_work_submit(struct http_work *work, struct http_job *job);

#endif
