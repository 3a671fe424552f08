/*
 * The HTTP server. A thread of its own accepts, so that connections are dealt out evenly to the threads
 * of libmicrohttpd, and a server may listen in many places; another one watches (http_watch.c).
 *
 * The library wants no request suspended when it is stopped: stopping waits until each is over.
 *
 * Locks: `lock` guards the list of exchanges under way; that of the peers, and the library's own, are taken
 * under it.
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
	cond_init(&server->stopping);
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
		flags, 0, NULL, NULL, http_exchange_access, server, MHD_OPTION_EXTERNAL_LOGGER,
		library_log, NULL, MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, server,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
		http_look_at_target, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL,
		MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(limits->idle_ns / NS_PER_S) + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_THREAD_POOL_SIZE, threads, MHD_OPTION_END);
}

static void end_watcher(struct http_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->stopped = true;
	pthread_cond_signal(&server->stopping);
	pthread_mutex_unlock(&server->lock);
	pthread_join(server->watcher, NULL);
}

static void end_daemon(struct http_server *server)
{
	if (server->daemon)
		MHD_stop_daemon(server->daemon);
	server->daemon = NULL;
}

enum rc http_server_start(struct http_server *server, struct err *err)
{
	server->local = http_work_new("http-work", server->limits.workers);
	server->remote = http_work_new("http-remote", server->limits.remote_workers);
	enum rc rc = http_work_start(server->local, err);
	if (rc == RC_OK)
		rc = http_work_start(server->remote, err);
	if (rc == RC_OK)
		rc = thread_start(&server->watcher, "http-watch", http_watch, server, err);
	bool watched = rc == RC_OK;
	if (rc == RC_OK) {
		server->daemon = start_daemon(server);
		if (!server->daemon)
			rc = err_set(err, RC_IO, "cannot start the HTTP server");
	}
	if (rc == RC_OK)
		rc = thread_start(&server->accepter, "http-accept", accept_all, server, err);
	server->started = rc == RC_OK;
	if (rc == RC_OK)
		return RC_OK;
	if (watched)
		end_watcher(server);
	end_daemon(server);
	http_work_free(server->local);
	http_work_free(server->remote);
	server->local = server->remote = NULL;
	return rc;
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
		for (struct exchange *at = server->exchanges; at; at = at->after)
			http_exchange_end(at);
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
	end_watcher(server);
	end_daemon(server);
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
	pthread_cond_destroy(&server->stopping);
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
