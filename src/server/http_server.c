/*
 * The HTTP server. A thread of its own accepts, so that connections are dealt out evenly to the threads
 * of libmicrohttpd, and a server may listen in many places; another one watches (http_watch.c).
 *
 * A request that has to wait is suspended in the library. Who wakes it may be faster than the thread
 * that suspends it: `wake` orders the two. The library wants suspend before resume, and nobody suspended
 * when it is stopped: so that waits until every exchange is over.
 *
 * Locks: `lock` guards the list of exchanges under way; the library's own are taken under it.
 */
#include "server/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"
#include "server/http_exchange.h"

enum {
	/* Request line and headers must fit into it. The library clears it for each request. */
	CONNECTION_MEMORY = 32 << 10,
};

const struct http_limits http_limits_default = {
	.connections = 1024,
	.client_connections = 256,
	.health_connections = 16,
	.workers = 16,
	.remote_workers = 64,
	.head_ns = 10 * NS_PER_S,
	.idle_ns = 60 * NS_PER_S,
	.wait_ns = 600 * NS_PER_S,
	.rate = 1024,
	.rate_ns = 30 * NS_PER_S,
};

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
	exchange->op.trace = atomic_fetch_add(&server->traces, 1) + 1;
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
	const char *fault = http_head_fault(exchange->connection);

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

/* The library asks whenever there is something: the headers, a piece of the body, its end. */
static enum MHD_Result access_handler(void *arg, struct MHD_Connection *connection,
				      const char *target, const char *method, const char *version,
				      const char *data, size_t *len, void **state)
{
	struct http_server *server = arg;
	struct exchange *exchange = *state;

	(void)version;
	if (atomic_load(&server->ending) || (exchange && atomic_load(&exchange->cancelled)))
		return MHD_NO;
	if (!exchange) {
		*state = exchange = exchange_new(server, connection, target, method);
		return begin_exchange(exchange);
	}
	if (atomic_load(&exchange->wake) & WAKE_WORKING) {
		suspend(exchange);
		return MHD_YES;
	}
	return *len > 0 ? take_body(exchange, data, len) : continue_exchange(exchange);
}

static void completed(void *arg, struct MHD_Connection *connection, void **state,
		      enum MHD_RequestTerminationCode code)
{
	struct http_server *server = arg;
	struct exchange *exchange = *state;

	(void)connection, (void)code;
	if (!exchange)
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

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = arg;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		*context = http_peers_open(
			server->peers,
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
				->connect_fd);
	else if (*context)
		http_peers_remove(server->peers, *context);
}

/* Paths are taken as they were sent, so that no encoding of a path is another name for it; only
 * parameters of the query are decoded, and none of them needs it. */
static size_t keep_escaped(void *arg, struct MHD_Connection *connection, char *text)
{
	(void)arg, (void)connection;
	return strlen(text);
}

static void PRINTF_LIKE(2, 0) library_log(void *arg, const char *format, va_list args)
{
	char line[512];
	int len = vsnprintf(line, sizeof(line), format, args);

	(void)arg;
	if (len > 0 && line[strlen(line) - 1] == '\n')
		line[strlen(line) - 1] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

/* ---- Accepting ---- */

static bool is_proxy(const struct http_server *server, const struct client_key *client)
{
	for (size_t i = 0; i < server->proxy_count; i++) {
		if (memcmp(&server->proxies[i], client, sizeof(*client)) == 0)
			return true;
	}
	return false;
}

static void add_connection(struct http_server *server, int fd, struct sockaddr *address,
			   socklen_t len)
{
	struct client_key client;
	struct http_peer *peer;

	client_key_of(address, &client);
	peer = http_peers_add(server->peers, &client, is_proxy(server, &client), fd,
			      clock_monotonic_ns());
	if (!peer)
		close(fd);
	else if (MHD_add_connection(server->daemon, fd, address, len) != MHD_YES)
		http_peers_forget(server->peers, fd);
}

static void accept_from(struct http_server *server, int listener)
{
	for (;;) {
		struct sockaddr_storage address = { 0 };
		socklen_t len = sizeof(address);
		int fd = accept4(listener, (struct sockaddr *)&address, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0) {
			/* Out of descriptors or of memory, mostly: some will be given back. */
			if (errno != EAGAIN && errno != ECONNABORTED) {
				log_warning("cannot accept a connection: %s", strerror(errno));
				clock_sleep_ns(20 * NS_PER_MS);
			}
			return;
		}
		add_connection(server, fd, (struct sockaddr *)&address, len);
	}
}

static void *accept_all(void *arg)
{
	struct http_server *server = arg;
	struct pollfd fds[HTTP_LISTENERS_MAX + 1];
	nfds_t count = (nfds_t)server->listener_count;

	for (size_t i = 0; i < count; i++)
		fds[i] = (struct pollfd){ .fd = server->listeners[i].fd, .events = POLLIN };
	fds[count] = (struct pollfd){ .fd = server->stop_fd, .events = POLLIN };
	for (;;) {
		if (poll(fds, count + 1, -1) < 0)
			continue;
		if (fds[count].revents)
			return NULL;
		for (size_t i = 0; i < count; i++) {
			if (fds[i].revents)
				accept_from(server, fds[i].fd);
		}
	}
}

/* ---- The server ---- */

enum rc http_server_new(const struct http_limits *limits, const struct http_handlers *handlers,
			struct http_server **out, struct err *err)
{
	struct http_server *server = mem_zalloc(sizeof(*server));

	*out = NULL;
	server->handlers = *handlers;
	server->limits = limits ? *limits : http_limits_default;
	if (server->limits.threads == 0)
		server->limits.threads = machine_cpus();
	pthread_mutex_init(&server->lock, NULL);
	cond_init(&server->idle);
	server->peers = http_peers_new(&server->limits, http_hang_up);
	server->requests = client_shares_new(2 * server->limits.connections,
					     server->limits.client_connections);
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (server->stop_fd < 0) {
		enum rc rc = err_errno(err, errno, "eventfd");

		http_server_free(server);
		return rc;
	}
	*out = server;
	return RC_OK;
}

enum rc http_server_trust_proxy(struct http_server *server, const char *address, struct err *err)
{
	struct client_key *key = &server->proxies[server->proxy_count];

	if (server->proxy_count == HTTP_LISTENERS_MAX)
		return err_set(err, RC_TOO_LARGE, "more than %d proxies", HTTP_LISTENERS_MAX);
	*key = (struct client_key){ { 0 } };
	if (strcmp(address, "unix") != 0 && !client_key_parse(view_of_string(address), key))
		return err_set(err, RC_INVALID,
			       "a proxy is an IP address, or \"unix\" for local sockets, not '%s'",
			       address);
	server->proxy_count++;
	return RC_OK;
}

static enum rc room_for_listener(const struct http_server *server, struct err *err)
{
	if (server->listener_count == HTTP_LISTENERS_MAX)
		return err_set(err, RC_TOO_LARGE, "more than %d addresses to listen on",
			       HTTP_LISTENERS_MAX);
	return RC_OK;
}

enum rc http_server_listen(struct http_server *server, const char *address, int *port,
			   struct err *err)
{
	struct listen_socket *listener = &server->listeners[server->listener_count];
	enum rc rc = room_for_listener(server, err);

	if (rc == RC_OK)
		rc = listen_socket_open(address, listener, err);
	if (rc != RC_OK)
		return rc;
	server->listener_count++;
	if (port)
		*port = listen_socket_port(listener);
	return RC_OK;
}

enum rc http_server_listen_fd(struct http_server *server, int fd, struct err *err)
{
	enum rc rc = room_for_listener(server, err);

	if (rc != RC_OK) {
		close(fd);
		return rc;
	}
	server->listeners[server->listener_count++] =
		(struct listen_socket){ .fd = fd, .lock_fd = -1 };
	return RC_OK;
}

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
	const struct http_limits *limits = &server->limits;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
			 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
	/* The library refuses a pool of one. */
	unsigned threads = limits->threads > 1 ? limits->threads : 0;
	/* Those that were hung up stay there for a moment. */
	unsigned connections = 2 * limits->connections + limits->health_connections;

	return MHD_start_daemon(
		flags, 0, NULL, NULL, access_handler, server, MHD_OPTION_EXTERNAL_LOGGER,
		library_log, NULL, MHD_OPTION_NOTIFY_COMPLETED, completed, server,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK,
		keep_escaped, NULL, MHD_OPTION_CONNECTION_LIMIT, connections,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(limits->idle_ns / NS_PER_S) + 1,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_THREAD_POOL_SIZE, threads,
		MHD_OPTION_END);
}

enum rc http_server_start(struct http_server *server, struct err *err)
{
	server->local = http_work_new("http-work", server->limits.workers);
	server->remote = http_work_new("http-remote", server->limits.remote_workers);
	server->daemon = start_daemon(server);
	if (!server->daemon) {
		http_work_free(server->local);
		http_work_free(server->remote);
		server->local = server->remote = NULL;
		return err_set(err, RC_IO, "cannot start the HTTP server");
	}
	server->accepter = thread_start("http-accept", accept_all, server);
	server->watcher = thread_start("http-watch", http_watch, server);
	server->started = true;
	return RC_OK;
}

void http_server_drain(struct http_server *server)
{
	uint64_t one = 1;

	if (!server->started || server->drained)
		return;
	server->drained = true;
	atomic_store(&server->draining, true);
	while (write(server->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(server->accepter, NULL);
	for (size_t i = 0; i < server->listener_count; i++)
		listen_socket_close(&server->listeners[i]);
	server->listener_count = 0;
	http_peers_drain(server->peers);
}

/* Waits until no exchange is under way, up to that moment; true: none is. Called under the lock. */
static bool wait_idle(struct http_server *server, int64_t until)
{
	while (server->exchanges && cond_wait_until(&server->idle, &server->lock, until))
		;
	return !server->exchanges;
}

/* Those that wait are woken, and cut off; those that work end when their op does. A handler that was about
 * to suspend its exchange is seen the next time. */
static void end_exchanges(struct http_server *server)
{
	atomic_store(&server->ending, true);
	pthread_mutex_lock(&server->lock);
	do {
		for (struct exchange *at = server->exchanges; at; at = at->after) {
			atomic_store(&at->cancelled, true);
			http_hang_up(at->peer->fd);
			if (atomic_load(&at->wake) == WAKE_SUSPENDED)
				wake_up(at, 0);
		}
	} while (!wait_idle(server, clock_monotonic_ns() + 20 * NS_PER_MS));
	pthread_mutex_unlock(&server->lock);
}

void http_server_stop(struct http_server *server, int64_t until_ns)
{
	if (!server->started)
		return;
	http_server_drain(server);
	server->started = false;
	pthread_mutex_lock(&server->lock);
	(void)wait_idle(server, until_ns);
	pthread_mutex_unlock(&server->lock);
	end_exchanges(server);
	atomic_store(&server->stopped, true);
	pthread_join(server->watcher, NULL);
	MHD_stop_daemon(server->daemon);
	server->daemon = NULL;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	http_work_free(server->local);
	http_work_free(server->remote);
	for (size_t i = 0; i < server->listener_count; i++)
		listen_socket_close(&server->listeners[i]);
	fd_cleanup(&server->stop_fd);
	http_peers_free(server->peers);
	client_shares_free(server->requests);
	pthread_cond_destroy(&server->idle);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static enum rc start(void *self, struct err *err)
{
	return http_server_start(self, err);
}

static void drain(void *self)
{
	http_server_drain(self);
}

static void stop(void *self, int64_t until_ns)
{
	http_server_stop(self, until_ns);
}

const struct server_ops http_server_ops = { .start = start, .drain = drain, .stop = stop };
