#include "double/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "threads.h"

enum { CONNECTIONS_MAX = 1024, HEAD_MAX = 16384 };

struct connection {
	struct http_double *server;
	int fd;
	pthread_t thread;
};

struct http_double {
	http_double_answer *answer;
	void *context;
	int listener;
	unsigned port;
	pthread_t thread;
	atomic_uint requests, answered;
	atomic_uint connected;
	atomic_bool stopping;
	struct connection connections[CONNECTIONS_MAX];
};

/* ---- Replies ---- */

void http_double_send(struct http_exchange *exchange, struct view bytes)
{
	while (bytes.len > 0) {
		ssize_t sent = send(exchange->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (sent <= 0) {
			exchange->hang_up = true;
			return;
		}
		bytes = view_slice(bytes, (size_t)sent, bytes.len - (size_t)sent);
	}
}

void http_double_print(struct http_exchange *exchange, const char *format, ...)
{
	char *text AUTO_FREE = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	http_double_send(exchange, view_of_string(text));
}

void http_double_reply(struct http_exchange *exchange, int status, const char *headers,
		       struct view body)
{
	http_double_print(exchange, "HTTP/1.1 %d Said So\r\nContent-Length: %zu\r\n%s\r\n", status,
			  body.len, headers);
	if (strcmp(exchange->method, "HEAD") != 0)
		http_double_send(exchange, body);
}

size_t http_double_range(const struct http_exchange *exchange)
{
	static const char name[] = "Range: bytes=";
	const char *found = strstr(exchange->head, name);

	return found ? strtoul(found + sizeof(name) - 1, NULL, 10) : 0;
}

void http_double_reply_range(struct http_exchange *exchange, const char *headers, struct view body)
{
	size_t from = http_double_range(exchange);
	char *more AUTO_FREE = NULL;

	if (from == 0 || from >= body.len) {
		http_double_reply(exchange, 200, headers, body);
		return;
	}
	more = mem_printf("Content-Range: bytes %zu-%zu/%zu\r\n%s", from, body.len - 1, body.len,
			  headers);
	http_double_reply(exchange, 206, more, view_slice(body, from, body.len - from));
}

void http_double_sleep(struct http_exchange *exchange, unsigned ms)
{
	int64_t end = clock_monotonic_ns() + ms * NS_PER_MS;

	while (!atomic_load(&exchange->server->stopping) && clock_monotonic_ns() < end)
		clock_sleep_ns(5 * NS_PER_MS);
}

/* ---- Connections ---- */

/* A request's head, NUL-terminated; false: the client is gone. */
static bool read_head(int fd, char head[HEAD_MAX])
{
	size_t len = 0;

	while (len < HEAD_MAX - 1) {
		ssize_t got = recv(fd, head + len, 1, 0);

		if (got <= 0)
			return false;
		len++;
		head[len] = '\0';
		if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

static void answer_one(struct connection *connection, const char *head, bool *hang_up)
{
	struct http_double *server = connection->server;
	char *line AUTO_FREE = mem_strdup(head);
	char *rest = NULL;
	struct http_exchange exchange = {
		.server = server,
		.head = head,
		.fd = connection->fd,
		.number = atomic_fetch_add(&server->requests, 1),
	};

	exchange.method = strtok_r(line, " ", &rest);
	exchange.path = strtok_r(NULL, " ", &rest);
	if (exchange.method && exchange.path)
		server->answer(server->context, &exchange);
	*hang_up = exchange.hang_up;
	atomic_fetch_add(&server->answered, 1);
}

static void *serve_connection(void *context)
{
	struct connection *connection = context;
	char *head AUTO_FREE = mem_alloc(HEAD_MAX);
	bool hang_up = false;

	while (!hang_up && read_head(connection->fd, head))
		answer_one(connection, head, &hang_up);
	shutdown(connection->fd, SHUT_RDWR);
	return NULL;
}

static void *accept_all(void *context)
{
	struct http_double *server = context;

	for (;;) {
		unsigned at = atomic_load(&server->connected);
		int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 || at == CONNECTIONS_MAX)
			return NULL;
		/* A head and its body are two sends: they would wait for an acknowledgement. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		server->connections[at] = (struct connection){ .server = server, .fd = fd };
		atomic_store(&server->connected, at + 1);
		server->connections[at].thread =
			testing_thread("http double", serve_connection, &server->connections[at]);
	}
}

struct http_double *http_double_start(http_double_answer *answer, void *context)
{
	struct http_double *server = mem_zalloc(sizeof(*server));
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	server->answer = answer;
	server->context = context;
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->listener < 0 ||
	    bind(server->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(server->listener, 128) < 0 ||
	    getsockname(server->listener, (struct sockaddr *)&address, &len) < 0)
		abort();
	server->port = ntohs(address.sin_port);
	server->thread = testing_thread("http double", accept_all, server);
	return server;
}

void http_double_stop(struct http_double *server)
{
	atomic_store(&server->stopping, true);
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	for (unsigned i = 0; i < atomic_load(&server->connected); i++)
		shutdown(server->connections[i].fd, SHUT_RDWR);
	for (unsigned i = 0; i < atomic_load(&server->connected); i++) {
		pthread_join(server->connections[i].thread, NULL);
		close(server->connections[i].fd);
	}
	close(server->listener);
	free(server);
}

unsigned http_double_port(const struct http_double *server)
{
	return server->port;
}

unsigned http_double_requests(const struct http_double *server)
{
	return atomic_load(&server->requests);
}

void http_double_settle(struct http_double *server)
{
	int64_t end = clock_monotonic_ns() + 200 * NS_PER_MS;

	while (atomic_load(&server->answered) != atomic_load(&server->requests) &&
	       clock_monotonic_ns() < end)
		clock_sleep_ns(100000);
}

unsigned http_double_connections(const struct http_double *server)
{
	return atomic_load(&server->connected);
}
