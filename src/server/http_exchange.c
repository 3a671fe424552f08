/*
 * One request: what its handlers decide, and how it waits.
 *
 * A request that has to wait is suspended in the library. Who wakes it may be faster than the thread
 * that suspends it: `wake` orders the two. The library wants suspend before resume.
 */
#include "server/http_exchange.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"

struct exchange *http_exchange_of(const struct http_exchange *base)
{
	return CONTAINER_OF((struct http_exchange *)base, struct exchange, base);
}

/* ---- What handlers ask ---- */

const char *http_header(const struct http_exchange *exchange, const char *name)
{
	return MHD_lookup_connection_value(http_exchange_of(exchange)->connection, MHD_HEADER_KIND,
					   name);
}

const char *http_parameter(const struct http_exchange *exchange, const char *name)
{
	return MHD_lookup_connection_value(http_exchange_of(exchange)->connection,
					   MHD_GET_ARGUMENT_KIND, name);
}

const struct op *http_exchange_op(const struct http_exchange *exchange)
{
	return &http_exchange_of(exchange)->op;
}

void http_reply(struct http_exchange *base, unsigned status, struct MHD_Response *response)
{
	struct exchange *exchange = http_exchange_of(base);

	if (exchange->response)
		MHD_destroy_response(exchange->response);
	exchange->status = status;
	exchange->response = response;
}

void http_reply_shared(struct http_exchange *base, unsigned status, struct MHD_Response *response)
{
	struct exchange *exchange = http_exchange_of(base);

	exchange->queued = MHD_queue_response(exchange->connection, status, response) == MHD_YES;
}

static struct MHD_Response *line_response(const char *line)
{
	char *text AUTO_FREE = mem_printf("%s\n", line);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);

	if (response)
		(void)MHD_add_response_header(response, "Content-Type",
					      "text/plain; charset=utf-8");
	return response;
}

void http_reply_text(struct http_exchange *exchange, unsigned status, const char *line)
{
	struct MHD_Response *response = line_response(line);

	if (response)
		http_reply(exchange, status, response);
}

/* ---- Waiting ---- */

/* Called in the connection's thread: after it the handler returns to the library at once. */
static void suspend(struct exchange *exchange)
{
	int seen = atomic_load(&exchange->wake), next;

	MHD_suspend_connection(exchange->connection);
	do {
		next = (seen & WAKE_STATES) == WAKE_WOKEN ? WAKE_RUNNING : WAKE_SUSPENDED;
	} while (!atomic_compare_exchange_weak(&exchange->wake, &seen,
					       next | (seen & WAKE_WORKING)));
	/* It was woken before. */
	if (next == WAKE_RUNNING)
		MHD_resume_connection(exchange->connection);
}

/* Whoever makes it run again resumes it. drop: of `wake`. After it the exchange may be gone. */
static void wake_up(struct exchange *exchange, int drop)
{
	struct MHD_Connection *connection = exchange->connection;
	int seen = atomic_load(&exchange->wake), next;

	do {
		next = (seen & WAKE_STATES) == WAKE_SUSPENDED ? WAKE_RUNNING : WAKE_WOKEN;
	} while (!atomic_compare_exchange_weak(&exchange->wake, &seen,
					       next | (seen & WAKE_WORKING & ~drop)));
	if (next == WAKE_RUNNING)
		MHD_resume_connection(connection);
}

void http_exchange_wake(struct http_exchange *base)
{
	wake_up(http_exchange_of(base), 0);
}

void http_exchange_end(struct exchange *exchange)
{
	atomic_store(&exchange->cancelled, true);
	http_hang_up(exchange->peer->fd);
	if (atomic_load(&exchange->wake) == WAKE_SUSPENDED)
		wake_up(exchange, 0);
}

static void do_job(struct http_job *job)
{
	struct exchange *exchange = CONTAINER_OF(job, struct exchange, job);

	exchange->run(exchange, exchange->arg);
	exchange->op.deadline_ns = 0;
	wake_up(exchange, WAKE_WORKING);
}

void http_exchange_run(struct exchange *exchange, struct http_work *work,
		       void (*run)(struct exchange *exchange, void *arg), void *arg)
{
	exchange->run = run;
	exchange->arg = arg;
	exchange->job.run = do_job;
	exchange->job.client = exchange->base.client;
	exchange->op.deadline_ns = clock_monotonic_ns() + exchange->server->limits.wait_ns;
	atomic_fetch_or(&exchange->wake, WAKE_WORKING);
	http_work_submit(work, &exchange->job);
	suspend(exchange);
}

static void do_work(struct exchange *exchange, void *arg)
{
	const struct http_handlers *handlers = &exchange->server->handlers;

	(void)arg;
	handlers->work(handlers->context, &exchange->base, &exchange->op);
}

/* ---- Requests ---- */

static enum MHD_Result send_reply(struct exchange *exchange)
{
	enum MHD_Result result;

	atomic_store(&exchange->stage, STAGE_REPLY);
	if (exchange->queued)
		return MHD_YES;
	if (!exchange->response)
		http_reply_text(&exchange->base, 500, "nothing to say");
	if (!exchange->response)
		return MHD_NO;
	result = MHD_queue_response(exchange->connection, exchange->status, exchange->response);
	MHD_destroy_response(exchange->response);
	exchange->response = NULL;
	exchange->queued = result == MHD_YES;
	return result;
}

static enum MHD_Result go_on(struct exchange *exchange, enum http_next next)
{
	struct http_server *server = exchange->server;

	switch (next) {
	case HTTP_REPLIED:
		return send_reply(exchange);
	case HTTP_WORK:
	case HTTP_WORK_REMOTE:
		atomic_store(&exchange->stage, STAGE_WORKED);
		http_exchange_run(exchange, next == HTTP_WORK ? server->local : server->remote,
				  do_work, NULL);
		return MHD_YES;
	case HTTP_WAIT:
		suspend(exchange);
		return MHD_YES;
	case HTTP_BODY:
		atomic_store(&exchange->stage, STAGE_BODY);
		break;
	}
	return MHD_YES;
}

static enum http_method method_of(const char *method)
{
	if (strcmp(method, "GET") == 0)
		return HTTP_GET;
	if (strcmp(method, "HEAD") == 0)
		return HTTP_HEAD;
	return strcmp(method, "PUT") == 0 ? HTTP_PUT : HTTP_OTHER;
}

/* Of an absolute target, "http://host/path", its path. */
static const char *path_of(const char *target)
{
	const char *host = NULL;

	if (strncasecmp(target, "http://", 7) == 0)
		host = target + 7;
	else if (strncasecmp(target, "https://", 8) == 0)
		host = target + 8;
	if (!host)
		return target;
	host = strchr(host, '/');
	return host ? host : "/";
}

/* Whom a proxy names: the last address is the one that it saw itself. */
static struct client_key client_of(const struct exchange *exchange)
{
	struct client_key key;
	const char *list, *last;

	if (!exchange->peer->proxy || !(list = http_header(&exchange->base, "X-Forwarded-For")))
		return exchange->peer->client;
	last = strrchr(list, ',');
	last = last ? last + 1 : list;
	last += strspn(last, " \t");
	return client_key_parse(view_of(last, strcspn(last, " \t")), &key) ? key
									   : exchange->peer->client;
}

static struct http_peer *peer_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
		->socket_context;
}

static struct exchange *exchange_new(struct http_server *server, struct MHD_Connection *connection,
				     const char *target, const char *method)
{
	struct exchange *exchange = mem_zalloc(sizeof(*exchange));
	const char *length;

	exchange->server = server;
	exchange->connection = connection;
	exchange->peer = peer_of(connection);
	exchange->base.method = method_of(method);
	exchange->base.path = path_of(target);
	exchange->base.client = client_of(exchange);
	exchange->op.cancel = &exchange->cancelled;
	exchange->op.trace = op_trace_new();
	length = http_header(&exchange->base, "Content-Length");
	exchange->base.has_body = (length && strcmp(length, "0") != 0) ||
				  http_header(&exchange->base, "Transfer-Encoding");
	http_peer_begin(server->peers, exchange->peer);
	pthread_mutex_lock(&server->lock);
	exchange->after = server->exchanges;
	if (exchange->after)
		exchange->after->before = exchange;
	server->exchanges = exchange;
	pthread_mutex_unlock(&server->lock);
	return exchange;
}

/* Why a request is not taken at all; NULL: it is. */
static const char *refusal(struct exchange *exchange, unsigned *status)
{
	struct http_server *server = exchange->server;
	const struct http_handlers *handlers = &server->handlers;
	const char *fault = exchange->bad_target ? "a target with a NUL byte"
						 : http_head_fault(exchange->connection);

	*status = MHD_HTTP_BAD_REQUEST;
	if (fault)
		return fault;
	*status = MHD_HTTP_SERVICE_UNAVAILABLE;
	if (atomic_load(&server->draining))
		return "the server stops";
	if (handlers->is_health && handlers->is_health(handlers->context, &exchange->base))
		return NULL;
	if (exchange->peer->reserve)
		return "the server is full";
	exchange->counted =
		client_shares_take(server->requests, &exchange->base.client) == CLIENT_SHARE_TAKEN;
	return exchange->counted ? NULL : "too many requests of one client at once";
}

static enum MHD_Result refuse(struct exchange *exchange, unsigned status, const char *why)
{
	struct MHD_Response *response = line_response(why);

	if (!response)
		return MHD_NO;
	(void)MHD_add_response_header(response, "Connection", "close");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		(void)MHD_add_response_header(response, "Retry-After", "1");
	http_reply(&exchange->base, status, response);
	return send_reply(exchange);
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t *len)
{
	struct http_server *server = exchange->server;
	size_t taken = 0;

	atomic_fetch_add(&exchange->moved, *len);
	/* Of a request whose answer is known, or that nobody asked to have a body. */
	if (exchange->stage != STAGE_BODY || exchange->response) {
		*len = 0;
		return MHD_YES;
	}
	server->handlers.body(server->handlers.context, &exchange->base, view_of(data, *len),
			      &taken);
	if (exchange->response)
		taken = *len;
	*len -= taken;
	if (*len > 0)
		suspend(exchange);
	return MHD_YES;
}

static enum MHD_Result begin(struct exchange *exchange)
{
	const struct http_handlers *handlers = &exchange->server->handlers;

	return go_on(exchange, handlers->begin(handlers->context, &exchange->base));
}

static enum MHD_Result begin_exchange(struct exchange *exchange)
{
	unsigned status;
	const char *why = refusal(exchange, &status);

	/* The library closes a connection whose request is answered before its end: right for what is
	 * refused, and for nothing else. */
	if (why)
		return refuse(exchange, status, why);
	return exchange->base.method == HTTP_PUT ? begin(exchange) : MHD_YES;
}

static enum MHD_Result continue_exchange(struct exchange *exchange)
{
	const struct http_handlers *handlers = &exchange->server->handlers;

	switch (atomic_load(&exchange->stage)) {
	case STAGE_BODY:
	case STAGE_WORKED:
		atomic_store(&exchange->stage, STAGE_END);
		if (exchange->response)
			return go_on(exchange, HTTP_REPLIED);
		return go_on(exchange, handlers->end(handlers->context, &exchange->base));
	case STAGE_END:
		return go_on(exchange, handlers->end(handlers->context, &exchange->base));
	case STAGE_BEGIN:
		return begin(exchange);
	case STAGE_REPLY:
		break;
	}
	return send_reply(exchange);
}

enum MHD_Result http_exchange_access(void *arg, struct MHD_Connection *connection,
				     const char *target, const char *method, const char *version,
				     const char *data, size_t *len, void **state)
{
	struct http_server *server = arg;
	struct exchange *exchange = *state;

	(void)version;
	if (atomic_load(&server->ending) || !peer_of(connection))
		return MHD_NO;
	if (!exchange || *state == &http_bad_target) {
		bool bad = exchange;

		*state = exchange = exchange_new(server, connection, target, method);
		exchange->bad_target = bad;
		return begin_exchange(exchange);
	}
	if (atomic_load(&exchange->cancelled))
		return MHD_NO;
	if (atomic_load(&exchange->wake) & WAKE_WORKING) {
		suspend(exchange);
		return MHD_YES;
	}
	return *len > 0 ? take_body(exchange, data, len) : continue_exchange(exchange);
}

void http_exchange_completed(void *arg, struct MHD_Connection *connection, void **state,
			     enum MHD_RequestTerminationCode code)
{
	struct http_server *server = arg;
	struct exchange *exchange = *state;

	(void)connection, (void)code;
	if (!exchange || *state == &http_bad_target)
		return;
	*state = NULL;
	server->handlers.close(server->handlers.context, &exchange->base);
	if (exchange->response)
		MHD_destroy_response(exchange->response);
	if (exchange->counted)
		client_shares_give(server->requests, &exchange->base.client);
	pthread_mutex_lock(&server->lock);
	if (exchange->before)
		exchange->before->after = exchange->after;
	else
		server->exchanges = exchange->after;
	if (exchange->after)
		exchange->after->before = exchange->before;
	if (!server->exchanges)
		pthread_cond_broadcast(&server->idle);
	pthread_mutex_unlock(&server->lock);
	http_peer_end(server->peers, exchange->peer, clock_monotonic_ns());
	free(exchange);
}
