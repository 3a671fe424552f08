/*
 * The HTTP server. A thread of its own accepts, so that connections are dealt out evenly to the threads
 * of libmicrohttpd, and a server may listen in many places.
 *
 * A request that has to wait is suspended in the library. Who wakes it may be faster than the thread
 * that suspends it: `wake` orders the two. The library wants suspend before resume.
 *
 * Locks: `lock` guards the list of exchanges under way; the library's own are taken under it.
 */
#include "server/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/pool.h"
#include "server/listen_socket.h"

enum {
	DEFAULT_WORKERS = 16,
	DEFAULT_CONNECTIONS = 1024,
	DEFAULT_TIMEOUT_S = 60,
	/* Request line and headers must fit into it. The library clears it for each request. */
	CONNECTION_MEMORY = 32 << 10,
	LISTENERS_MAX = 64,
};

struct exchange;

struct http_server {
	struct http_handlers handlers;
	struct http_server_options options;
	struct MHD_Daemon *daemon;
	struct pool *pool;
	struct listen_socket listeners[LISTENERS_MAX];
	size_t listener_count;
	int stop_fd; /* an eventfd: the accepting thread ends */
	pthread_t accepter;
	bool started;
	atomic_bool cancelled;
	atomic_bool ending; /* whatever is asked now is cut off */
	struct op op;

	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct exchange *exchanges;
};

enum wake { WAKE_RUNNING, WAKE_SUSPENDED, WAKE_WOKEN };

/* How far a request is: what its access handler does next. */
enum stage { STAGE_BEGIN, STAGE_WORKED, STAGE_BODY, STAGE_END, STAGE_REPLY };

struct exchange {
	struct http_exchange base;
	struct http_server *server;
	struct MHD_Connection *connection;
	enum stage stage;
	_Atomic int wake; /* enum wake */
	unsigned status;
	struct MHD_Response *response;
	bool queued; /* the library has the reply */

	/* Under the server's lock: all exchanges. */
	struct exchange *before, *after;
};

static struct exchange *exchange_of(const struct http_exchange *base)
{
	return CONTAINER_OF((struct http_exchange *)base, struct exchange, base);
}

/* ---- What handlers ask ---- */

const char *http_header(const struct http_exchange *exchange, const char *name)
{
	return MHD_lookup_connection_value(exchange_of(exchange)->connection, MHD_HEADER_KIND,
					   name);
}

const char *http_parameter(const struct http_exchange *exchange, const char *name)
{
	return MHD_lookup_connection_value(exchange_of(exchange)->connection, MHD_GET_ARGUMENT_KIND,
					   name);
}

void http_client(const struct http_exchange *exchange, struct buf *out)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		exchange_of(exchange)->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	char text[INET6_ADDRSTRLEN] = "unix";

	if (info && info->client_addr && info->client_addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr, text,
			  sizeof(text));
	else if (info && info->client_addr && info->client_addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)info->client_addr)->sin6_addr,
			  text, sizeof(text));
	buf_append_string(out, text);
}

void http_reply(struct http_exchange *base, unsigned status, struct MHD_Response *response)
{
	struct exchange *exchange = exchange_of(base);

	if (exchange->response)
		MHD_destroy_response(exchange->response);
	exchange->status = status;
	exchange->response = response;
}

void http_reply_shared(struct http_exchange *base, unsigned status, struct MHD_Response *response)
{
	struct exchange *exchange = exchange_of(base);

	exchange->queued = MHD_queue_response(exchange->connection, status, response) == MHD_YES;
}

void http_reply_text(struct http_exchange *exchange, unsigned status, const char *line)
{
	char *text AUTO_FREE = mem_printf("%s\n", line);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);

	if (!response)
		return;
	(void)MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
	http_reply(exchange, status, response);
}

const struct op *http_server_op(const struct http_server *server)
{
	return &server->op;
}

/* ---- Waiting ---- */

/* Called in the connection's thread: after it the handler returns to the library at once. */
static void suspend(struct exchange *exchange)
{
	int expected = WAKE_RUNNING;

	MHD_suspend_connection(exchange->connection);
	if (!atomic_compare_exchange_strong(&exchange->wake, &expected, WAKE_SUSPENDED)) {
		/* It was woken before. */
		atomic_store(&exchange->wake, WAKE_RUNNING);
		MHD_resume_connection(exchange->connection);
	}
}

void http_exchange_wake(struct http_exchange *base)
{
	struct exchange *exchange = exchange_of(base);
	int expected = WAKE_RUNNING;

	if (atomic_compare_exchange_strong(&exchange->wake, &expected, WAKE_WOKEN))
		return;
	if (expected == WAKE_SUSPENDED) {
		atomic_store(&exchange->wake, WAKE_RUNNING);
		MHD_resume_connection(exchange->connection);
	}
}

static void do_work(void *arg)
{
	struct exchange *exchange = arg;
	struct http_server *server = exchange->server;

	server->handlers.work(server->handlers.context, &exchange->base, &server->op);
	http_exchange_wake(&exchange->base);
}

/* ---- Requests ---- */

static enum MHD_Result send_reply(struct exchange *exchange)
{
	enum MHD_Result result;

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
		exchange->stage = STAGE_REPLY;
		return send_reply(exchange);
	case HTTP_WORK:
		exchange->stage = STAGE_WORKED;
		/* Never full: it has room for every connection. */
		pool_submit(server->pool, do_work, exchange);
		suspend(exchange);
		return MHD_YES;
	case HTTP_WAIT:
		suspend(exchange);
		return MHD_YES;
	case HTTP_BODY:
		exchange->stage = STAGE_BODY;
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

static struct exchange *exchange_new(struct http_server *server, struct MHD_Connection *connection,
				     const char *path, const char *method)
{
	struct exchange *exchange = mem_zalloc(sizeof(*exchange));
	const char *length;

	exchange->server = server;
	exchange->connection = connection;
	exchange->base.method = method_of(method);
	exchange->base.path = path;
	length = http_header(&exchange->base, "Content-Length");
	exchange->base.has_body = (length && strcmp(length, "0") != 0) ||
				  http_header(&exchange->base, "Transfer-Encoding");
	pthread_mutex_lock(&server->lock);
	exchange->after = server->exchanges;
	if (exchange->after)
		exchange->after->before = exchange;
	server->exchanges = exchange;
	pthread_mutex_unlock(&server->lock);
	return exchange;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t *len)
{
	struct http_server *server = exchange->server;
	size_t taken = 0;

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

/* The library asks whenever there is something: the headers, a piece of the body, its end. */
static enum MHD_Result access_handler(void *arg, struct MHD_Connection *connection, const char *url,
				      const char *method, const char *version, const char *data,
				      size_t *len, void **state)
{
	struct http_server *server = arg;
	struct exchange *exchange = *state;
	const struct http_handlers *handlers = &server->handlers;

	(void)version;
	if (atomic_load(&server->ending))
		return MHD_NO;
	if (!exchange) {
		*state = exchange = exchange_new(server, connection, url, method);
		/* The library closes a connection whose request is answered before its end: right for
		 * an upload that is refused, and for nothing else. */
		if (exchange->base.method != HTTP_PUT)
			return MHD_YES;
		return go_on(exchange, handlers->begin(handlers->context, &exchange->base));
	}
	if (*len > 0)
		return take_body(exchange, data, len);
	switch (exchange->stage) {
	case STAGE_BODY:
		exchange->stage = STAGE_END;
		if (exchange->response)
			return go_on(exchange, HTTP_REPLIED);
		return go_on(exchange, handlers->end(handlers->context, &exchange->base));
	case STAGE_WORKED:
		exchange->stage = STAGE_END;
		if (exchange->response)
			return go_on(exchange, HTTP_REPLIED);
		return go_on(exchange, handlers->end(handlers->context, &exchange->base));
	case STAGE_END:
		return go_on(exchange, handlers->end(handlers->context, &exchange->base));
	case STAGE_BEGIN:
		return go_on(exchange, handlers->begin(handlers->context, &exchange->base));
	case STAGE_REPLY:
		break;
	}
	return send_reply(exchange);
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
	free(exchange);
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

static void accept_from(struct http_server *server, int listener)
{
	for (;;) {
		struct sockaddr_storage address;
		socklen_t len = sizeof(address);
		int fd = accept4(listener, (struct sockaddr *)&address, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			/* Out of descriptors: some will be given back. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			    errno == ENOBUFS) {
				log_warning("cannot accept a connection: %s", strerror(errno));
				clock_sleep_ns(20 * NS_PER_MS);
			}
			return;
		}
		/* Closes it where there are too many. */
		(void)MHD_add_connection(server->daemon, fd, (struct sockaddr *)&address, len);
	}
}

static void *accept_all(void *arg)
{
	struct http_server *server = arg;
	struct pollfd fds[LISTENERS_MAX + 1];
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

enum rc http_server_new(const struct http_server_options *options,
			const struct http_handlers *handlers, struct http_server **out,
			struct err *err)
{
	struct http_server *server = mem_zalloc(sizeof(*server));

	*out = NULL;
	server->handlers = *handlers;
	server->options = *options;
	if (server->options.threads == 0)
		server->options.threads = machine_cpus();
	if (server->options.workers == 0)
		server->options.workers = DEFAULT_WORKERS;
	if (server->options.connections == 0)
		server->options.connections = DEFAULT_CONNECTIONS;
	if (server->options.timeout_s == 0)
		server->options.timeout_s = DEFAULT_TIMEOUT_S;
	server->op = (struct op){ .cancel = &server->cancelled };
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->idle, NULL);
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (server->stop_fd < 0) {
		enum rc rc = err_errno(err, errno, "eventfd");

		http_server_free(server);
		return rc;
	}
	*out = server;
	return RC_OK;
}

static enum rc room_for_listener(const struct http_server *server, struct err *err)
{
	if (server->listener_count == LISTENERS_MAX)
		return err_set(err, RC_TOO_LARGE, "more than %d addresses to listen on",
			       LISTENERS_MAX);
	return RC_OK;
}

enum rc http_server_listen(struct http_server *server, const char *address, int *port,
			   struct err *err)
{
	struct listen_socket *listener = &server->listeners[server->listener_count];
	struct sockaddr_storage bound = { 0 };
	socklen_t len = sizeof(bound);
	enum rc rc = room_for_listener(server, err);

	if (rc == RC_OK)
		rc = listen_socket_open(address, listener, err);
	if (rc != RC_OK)
		return rc;
	server->listener_count++;
	if (!port)
		return RC_OK;
	*port = 0;
	if (getsockname(listener->fd, (struct sockaddr *)&bound, &len) == 0) {
		if (bound.ss_family == AF_INET)
			*port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
		else if (bound.ss_family == AF_INET6)
			*port = ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
	}
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

enum rc http_server_start(struct http_server *server, struct err *err)
{
	const struct http_server_options *options = &server->options;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
			 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
	/* The library refuses a pool of one. */
	unsigned threads = options->threads > 1 ? options->threads : 0;

	server->pool = pool_new("http-work", options->workers, options->connections + 1);
	server->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, access_handler, server, MHD_OPTION_EXTERNAL_LOGGER,
		library_log, NULL, MHD_OPTION_NOTIFY_COMPLETED, completed, server,
		MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL, MHD_OPTION_CONNECTION_LIMIT,
		options->connections, MHD_OPTION_CONNECTION_TIMEOUT, options->timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_THREAD_POOL_SIZE, threads,
		MHD_OPTION_END);
	if (!server->daemon) {
		pool_free(server->pool);
		server->pool = NULL;
		return err_set(err, RC_IO, "cannot start the HTTP server");
	}
	server->accepter = thread_start("http-accept", accept_all, server);
	server->started = true;
	return RC_OK;
}

/* Waits until no exchange is under way, up to that moment; true: none is. Called under the lock. */
static bool wait_idle(struct http_server *server, int64_t until)
{
	struct timespec time = { .tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S };

	while (server->exchanges &&
	       pthread_cond_timedwait(&server->idle, &server->lock, &time) == 0)
		;
	return !server->exchanges;
}

/* The library wants nobody suspended when it is stopped: who waits is woken, and cut off. */
static void end_exchanges(struct http_server *server)
{
	bool suspended = true;

	atomic_store(&server->ending, true);
	pthread_mutex_lock(&server->lock);
	while (suspended) {
		suspended = false;
		for (struct exchange *at = server->exchanges; at; at = at->after) {
			if (at->wake == WAKE_SUSPENDED) {
				suspended = true;
				http_exchange_wake(&at->base);
			}
		}
		if (wait_idle(server, clock_realtime_ns() + 20 * NS_PER_MS))
			break;
	}
	pthread_mutex_unlock(&server->lock);
}

void http_server_stop(struct http_server *server, int64_t grace_ns)
{
	uint64_t one = 1;

	if (!server->started)
		return;
	server->started = false;
	while (write(server->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(server->accepter, NULL);
	for (size_t i = 0; i < server->listener_count; i++)
		listen_socket_close(&server->listeners[i]);
	server->listener_count = 0;
	pthread_mutex_lock(&server->lock);
	(void)wait_idle(server, clock_realtime_ns() + grace_ns);
	pthread_mutex_unlock(&server->lock);
	/* What still works is woken when it ends. */
	atomic_store(&server->cancelled, true);
	pool_wait_idle(server->pool);
	end_exchanges(server);
	pool_wait_idle(server->pool);
	MHD_stop_daemon(server->daemon);
	server->daemon = NULL;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	pool_free(server->pool);
	for (size_t i = 0; i < server->listener_count; i++)
		listen_socket_close(&server->listeners[i]);
	fd_cleanup(&server->stop_fd);
	pthread_cond_destroy(&server->idle);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
