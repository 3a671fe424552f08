/*
 * The gRPC server: addresses, credentials, the thread of the completion queue, start and stop.
 * Calls are in rpc_call.c.
 */
#include "server/rpc_server.h"

#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/machine.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "net/rpc_channel.h"
#include "base/text.h"
#include "server/rpc_accept.h"
#include "server/rpc_call.h"
#include "server/rpc_tls.h"
#include "net/listen_socket.h"

enum {
	DEFAULT_THREADS = 128,
	METADATA_MAX = 16384,
	ACCEPTS_WAITING = 16, /* calls that the library may take without asking us again */
	TICK_MS = 500,
	CLOSE_MS = 1000, /* for clients to close a connection without calls */
	KEEPALIVE_ANSWER_S = 20,
	CONNECTIONS_RESERVE = 64, /* for local clients */
};

static const struct rpc_limits default_limits = {
	.calls = 16384,
	.connections = 4096,
	.streams = 128,
	.message = 16 << 20,
	.memory = 256 << 20,
	.first_message_s = 30,
	.idle_s = 300,
	.connection_idle_s = 900,
	.keepalive_s = 60,
};

/* A socket that this server made in the filesystem, or locked a place for. */
struct listener {
	struct listener *next;
	struct listen_socket socket;
};

struct rpc_server {
	struct rpc_calls calls; /* first: what a call knows of us */
	struct rpc_limits limits;
	grpc_server *server;
	grpc_completion_queue *queue;
	grpc_resource_quota *quota;
	struct rpc_tls *tls;               /* NULL: none */
	grpc_server_credentials *insecure; /* of connections that are accepted here */
	struct rpc_registration *methods;  /* sorted by path once started */
	size_t method_count;
	struct rpc_accept *accept; /* with TLS the library accepts, and nothing is added here */
	struct listener *listeners;
	struct rpc_tag stop_tag;
	bool started;
	pthread_t thread;
	atomic_bool drained; /* every connection is closed */
};

static int compare_registrations(const void *a, const void *b)
{
	const struct rpc_registration *left = a;
	const struct rpc_registration *right = b;

	return strcmp(left->method->path, right->method->path);
}

static const struct rpc_registration *find_method(struct rpc_calls *calls, struct view path)
{
	struct rpc_server *server = CONTAINER_OF(calls, struct rpc_server, calls);
	size_t low = 0;
	size_t high = server->method_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order =
			view_compare(path, view_of_string(server->methods[middle].method->path));

		if (order == 0)
			return &server->methods[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static unsigned or_default(unsigned value, unsigned otherwise)
{
	return value ? value : otherwise;
}

static struct rpc_limits limits_of(const struct rpc_limits *wish)
{
	const struct rpc_limits *d = &default_limits;
	struct rpc_limits limits = {
		.calls = or_default(wish->calls, d->calls),
		.connections = or_default(wish->connections, d->connections),
		.streams = or_default(wish->streams, d->streams),
		.message = wish->message ? wish->message : d->message,
		.memory = wish->memory ? wish->memory : d->memory,
		.first_message_s = or_default(wish->first_message_s, d->first_message_s),
		.idle_s = or_default(wish->idle_s, d->idle_s),
		.connection_idle_s = or_default(wish->connection_idle_s, d->connection_idle_s),
		.keepalive_s = or_default(wish->keepalive_s, d->keepalive_s),
	};

	limits.client_calls = or_default(wish->client_calls, (limits.calls + 3) / 4);
	limits.client_connections =
		or_default(wish->client_connections, (limits.connections + 3) / 4);
	return limits;
}

static grpc_arg number(const char *key, int value)
{
	return (grpc_arg){ .type = GRPC_ARG_INTEGER,
			   .key = (char *)(uintptr_t)key,
			   .value.integer = value };
}

static grpc_server *make_server(const struct rpc_limits *limits, grpc_resource_quota *quota,
				grpc_completion_queue *queue)
{
	int keepalive_s = (int)limits->keepalive_s;
	int answer_s = keepalive_s < KEEPALIVE_ANSWER_S ? keepalive_s : KEEPALIVE_ANSWER_S;
	grpc_arg args[] = {
		number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)limits->message),
		number(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
		number(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
		number(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)limits->streams),
		number(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_s * 1000),
		number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, answer_s * 1000),
		number(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
		number(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
		number(GRPC_ARG_MAX_CONNECTION_IDLE_MS, (int)limits->connection_idle_s * 1000),
		/* A second server on our port is an error, not half of the clients. */
		number(GRPC_ARG_ALLOW_REUSEPORT, 0),
		{ .type = GRPC_ARG_POINTER,
		  .key = (char *)GRPC_ARG_RESOURCE_QUOTA,
		  .value.pointer = { quota, grpc_resource_quota_arg_vtable() } },
	};
	grpc_channel_args list = { .num_args = ARRAY_LEN(args), .args = args };
	grpc_server *server = grpc_server_create(&list, NULL);

	grpc_server_register_completion_queue(server, queue, NULL);
	return server;
}

static void take_connection(void *context, int fd)
{
	struct rpc_server *server = context;

	grpc_server_add_channel_from_fd(server->server, fd, server->insecure);
}

static enum rc make_accept(struct rpc_server *server, struct err *err)
{
	const struct rpc_limits *limits = &server->limits;
	struct rpc_accept_options options = {
		.connections = limits->connections,
		.each = limits->client_connections,
		.reserve = CONNECTIONS_RESERVE,
		.first_byte_ns = limits->first_message_s * NS_PER_S,
		.take = take_connection,
		.context = server,
	};

	return rpc_accept_new(&options, &server->accept, err);
}

/* "fd:7", as the library calls what it was given, or with TLS "ipv4:192.0.2.1:80", "ipv6:%5B::1%5D:80". */
static void client_of(struct rpc_calls *calls, const char *peer, struct client_key *out)
{
	struct rpc_server *server = CONTAINER_OF(calls, struct rpc_server, calls);
	struct view text = view_of_string(peer);
	uint64_t fd;

	*out = (struct client_key){ { 0 } };
	if (strncmp(peer, "fd:", 3) == 0) {
		if (text_parse_u64(view_of(text.ptr + 3, text.len - 3), &fd) && fd <= INT_MAX)
			(void)rpc_accept_client(server->accept, (int)fd, out);
		return;
	}
	const char *first = strchr(peer, ':'), *last = strrchr(peer, ':');
	if (strncmp(peer, "ip", 2) != 0 || !first || last <= first)
		return;
	first++;
	if (strncmp(first, "%5B", 3) == 0 && last - first > 6) {
		first += 3;
		last -= 3;
	}
	(void)client_key_parse(view_of(first, (size_t)(last - first)), out);
}

static void calls_init(struct rpc_calls *calls, const struct rpc_limits *limits, unsigned threads)
{
	calls->shares = client_shares_new(limits->calls, limits->client_calls);
	calls->first_message_ns = limits->first_message_s * NS_PER_S;
	calls->idle_ns = limits->idle_s * NS_PER_S;
	calls->find = find_method;
	calls->client = client_of;
	calls->pool = pool_new("rpc", threads ? threads : DEFAULT_THREADS, limits->calls);
	calls->computing = pool_new("rpc-compute", 2 * machine_cpus(), limits->calls);
	pthread_mutex_init(&calls->lock, NULL);
}

enum rc rpc_server_new(const struct rpc_server_options *options, struct rpc_server **out,
		       struct err *err)
{
	struct rpc_tls *tls = NULL;
	struct rpc_server *server;
	enum rc rc;

	*out = NULL;
	rpc_library_init();
	rc = options->tls_cert || options->tls_key || options->tls_client_ca
		     ? rpc_tls_new(options->tls_cert, options->tls_key, options->tls_client_ca,
				   &tls, err)
		     : RC_OK;
	if (rc != RC_OK)
		return rc;
	server = mem_zalloc(sizeof(*server));
	server->limits = limits_of(&options->limits);
	server->tls = tls;
	server->insecure = grpc_insecure_server_credentials_create();
	server->queue = grpc_completion_queue_create_for_next(NULL);
	server->quota = grpc_resource_quota_create("castor");
	grpc_resource_quota_resize(server->quota, server->limits.memory);
	server->server = make_server(&server->limits, server->quota, server->queue);
	calls_init(&server->calls, &server->limits, options->threads);
	rc = make_accept(server, err);
	if (rc != RC_OK) {
		rpc_server_free(server);
		return rc;
	}
	*out = server;
	return RC_OK;
}

void rpc_server_register(struct rpc_server *server, const struct rpc_method *methods, size_t count,
			 void *context, bool local)
{
	assert(!server->started);
	server->methods = mem_realloc_array(server->methods, server->method_count + count,
					    sizeof(*server->methods));
	for (size_t i = 0; i < count; i++)
		server->methods[server->method_count++] = (struct rpc_registration){
			.method = &methods[i],
			.context = context,
			.cost = local ? methods[i].cost : (struct rpc_cost){ 0 },
		};
}

static void add_listener(struct rpc_server *server, const struct listen_socket *socket)
{
	struct listener *listener = mem_zalloc(sizeof(*listener));

	listener->socket = *socket;
	listener->next = server->listeners;
	server->listeners = listener;
}

/* The library accepts, since it does TLS only where it does. */
static enum rc listen_tls(struct rpc_server *server, const char *address, int *port,
			  struct err *err)
{
	struct listen_socket socket = { .fd = -1, .lock_fd = -1 };
	bool is_path = address[0] == '/' || address[0] == '.';
	char *target AUTO_FREE = is_path             ? mem_printf("unix:%s", address)
				 : address[0] == '@' ? mem_printf("unix-abstract:%s", address + 1)
						     : mem_strdup(address);

	if (is_path) {
		/* The library takes a live socket's path over without a word. */
		enum rc rc = listen_socket_lock(address, &socket.lock_fd, err);

		if (rc != RC_OK)
			return rc;
	}
	grpc_server_credentials *credentials = rpc_tls_credentials(server->tls);

	*port = grpc_server_add_http2_port(server->server, target, credentials);
	grpc_server_credentials_release(credentials);
	if (*port == 0) {
		fd_cleanup(&socket.lock_fd);
		return err_set(err, RC_BUSY,
			       "cannot listen on %s: malformed, in use, or not allowed", address);
	}
	socket.path = is_path ? mem_strdup(address) : NULL;
	add_listener(server, &socket);
	return RC_OK;
}

enum rc rpc_server_listen(struct rpc_server *server, const char *address, int *port,
			  struct err *err)
{
	struct listen_socket socket;
	int ignored;
	enum rc rc;

	port = port ? port : &ignored;
	if (server->tls)
		return listen_tls(server, address, port, err);
	rc = listen_socket_open(address, &socket, err);
	if (rc != RC_OK)
		return rc;
	*port = listen_socket_port(&socket);
	rc = rpc_accept_add(server->accept, socket.fd, err);
	socket.fd = -1;
	add_listener(server, &socket);
	return rc;
}

enum rc rpc_server_reload(struct rpc_server *server, struct err *err)
{
	return server->tls ? rpc_tls_reload(server->tls, err) : RC_OK;
}

enum rc rpc_server_listen_fd(struct rpc_server *server, int fd, struct err *err)
{
	if (server->tls) {
		close(fd);
		return err_set(err, RC_UNSUPPORTED,
			       "TLS on a socket from systemd is not supported; listen on an "
			       "address of castor's own");
	}
	return rpc_accept_add(server->accept, fd, err);
}

static void on_accepted(struct rpc_tag *tag, bool ok);

static void accept_call(struct rpc_server *server)
{
	struct rpc_call *call = rpc_call_new(&server->calls, on_accepted);

	if (grpc_server_request_call(server->server, &call->call, &call->details, &call->metadata,
				     server->queue, server->queue,
				     &call->accept_tag) != GRPC_CALL_OK)
		rpc_call_unref(call);
}

static void on_accepted(struct rpc_tag *tag, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(tag, struct rpc_call, accept_tag);
	struct rpc_server *server = CONTAINER_OF(call->calls, struct rpc_server, calls);

	if (ok) {
		if (!rpc_call_draining(call))
			accept_call(server);
		rpc_call_begin(call);
	}
	rpc_call_unref(call);
}

static void on_drained(struct rpc_tag *tag, bool ok)
{
	struct rpc_server *server = CONTAINER_OF(tag, struct rpc_server, stop_tag);

	(void)ok;
	atomic_store(&server->drained, true);
}

static void *serve(void *arg)
{
	struct rpc_server *server = arg;
	int64_t tick = 0;

	for (;;) {
		grpc_event event = grpc_completion_queue_next(
			server->queue,
			gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
				     gpr_time_from_millis(TICK_MS, GPR_TIMESPAN)),
			NULL);
		int64_t now = clock_monotonic_ns();

		if (now >= tick) {
			rpc_patience_check(&server->calls, now);
			tick = now + TICK_MS * NS_PER_MS;
		}
		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (event.type == GRPC_OP_COMPLETE) {
			struct rpc_tag *tag = event.tag;

			tag->done(tag, event.success != 0);
		}
	}
}

enum rc rpc_server_start(struct rpc_server *server, struct err *err)
{
	qsort(server->methods, server->method_count, sizeof(*server->methods),
	      compare_registrations);
	enum rc rc = pool_start(server->calls.pool, err);
	if (rc == RC_OK)
		rc = pool_start(server->calls.computing, err);
	if (rc == RC_OK)
		rc = thread_start(&server->thread, "rpc-queue", serve, server, err);
	if (rc != RC_OK)
		return rc;
	grpc_server_start(server->server);
	for (int i = 0; i < ACCEPTS_WAITING; i++)
		accept_call(server);
	server->started = true;
	return rpc_accept_start(server->accept, err);
}

void rpc_server_drain(struct rpc_server *server)
{
	struct rpc_calls *calls = &server->calls;

	rpc_accept_stop(server->accept);
	if (!server->started || atomic_exchange(&calls->draining, true))
		return;
	pthread_mutex_lock(&calls->lock);
	for (struct rpc_call *at = calls->open; at; at = at->next)
		if (at->method->server_streams)
			rpc_replies_resume(at);
	pthread_mutex_unlock(&calls->lock);
	server->stop_tag.done = on_drained;
	grpc_server_shutdown_and_notify(server->server, server->queue, &server->stop_tag);
}

static unsigned open_calls(struct rpc_server *server)
{
	pthread_mutex_lock(&server->calls.lock);
	unsigned count = server->calls.open_count;
	pthread_mutex_unlock(&server->calls.lock);
	return count;
}

static bool is_drained(struct rpc_server *server)
{
	return atomic_load(&server->drained);
}

/* Until every connection is closed. Polite clients close theirs once their calls are over; others hold
 * nobody up for longer than a moment. */
static void wait_drained(struct rpc_server *server, int64_t until_ns)
{
	int64_t begun = clock_monotonic_ns(), calls_ns = begun;

	for (int64_t now = begun; !is_drained(server) && now < until_ns;
	     now = clock_monotonic_ns()) {
		if (open_calls(server) > 0)
			calls_ns = now;
		else if (now >= calls_ns + CLOSE_MS * NS_PER_MS)
			return;
		clock_sleep_ns(NS_PER_MS);
	}
}

void rpc_server_stop(struct rpc_server *server, int64_t until_ns)
{
	if (!server->started)
		return;
	rpc_server_drain(server);
	wait_drained(server, until_ns);
	if (open_calls(server) > 0)
		log_info("stopping: %u calls were still in flight", open_calls(server));
	grpc_server_cancel_all_calls(server->server);
	/* Handlers that are still running see their cancel flag; their batches, and those of
	 * suspended calls, need the queue alive. */
	while (open_calls(server) > 0 || !is_drained(server))
		clock_sleep_ns(NS_PER_MS);
	pool_wait_idle(server->calls.pool);
	pool_wait_idle(server->calls.computing);
	grpc_completion_queue_shutdown(server->queue);
	pthread_join(server->thread, NULL);
	server->started = false;
}

void rpc_server_free(struct rpc_server *server)
{
	if (!server)
		return;
	assert(!server->started);
	pool_free(server->calls.pool);
	pool_free(server->calls.computing);
	grpc_server_destroy(server->server);
	grpc_server_credentials_release(server->insecure);
	grpc_completion_queue_destroy(server->queue);
	rpc_tls_free(server->tls);
	grpc_resource_quota_unref(server->quota);
	rpc_accept_free(server->accept);
	while (server->listeners) {
		struct listener *listener = server->listeners;

		server->listeners = listener->next;
		listen_socket_close(&listener->socket);
		free(listener);
	}
	client_shares_free(server->calls.shares);
	pthread_mutex_destroy(&server->calls.lock);
	free(server->methods);
	free(server);
}

static enum rc start(void *self, struct err *err)
{
	return rpc_server_start(self, err);
}

static void drain(void *self)
{
	rpc_server_drain(self);
}

static void stop(void *self, int64_t until_ns)
{
	rpc_server_stop(self, until_ns);
}

const struct server_ops rpc_server_ops = { .start = start, .drain = drain, .stop = stop };
