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
#include "base/cond.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "net/rpc_channel.h"
#include "server/rpc_call.h"
#include "server/listen_socket.h"

enum {
	DEFAULT_THREADS = 128,
	DEFAULT_MESSAGE_MAX = 16 << 20,
	DEFAULT_CALLS_MAX = 16384,
	METADATA_MAX = 16384,
	STREAMS_PER_CONNECTION = 1024,
	ACCEPTS_WAITING = 16, /* calls that the library may take without asking us again */
	TLS_FILE_MAX = 1 << 20,
};

struct listener {
	struct listener *next;
	int fd;      /* bound by somebody else; accepted here. -1: the library listens itself */
	int lock_fd; /* of a unix socket's lock file; -1: none */
	char *path;  /* of a unix socket that this server made; NULL: none */
	pthread_t thread;
};

struct rpc_server {
	struct rpc_calls calls; /* first: what a call knows of us */
	grpc_server *server;
	grpc_completion_queue *queue;
	grpc_server_credentials *credentials;
	bool tls;
	struct rpc_registration *methods; /* sorted by path once started */
	size_t method_count;
	struct listener *listeners;
	int stop_pipe[2]; /* closed at its writing end to wake the accepting threads */
	struct rpc_tag stop_tag;
	bool started;
	pthread_t thread;
	atomic_bool stopping;
	/* Under lock: */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool drained;
};

static enum rc read_pem(const char *path, struct buf *out, struct err *err)
{
	enum rc rc = file_read_path(AT_FDCWD, path, TLS_FILE_MAX, out, err);

	if (rc == RC_OK && !memmem(out->ptr, out->len, "-----BEGIN", 10))
		rc = err_set(err, RC_INVALID, "%s: not a PEM file", path);
	return rc;
}

static enum rc make_credentials(const struct rpc_server_options *options,
				grpc_server_credentials **out, struct err *err)
{
	struct buf cert CLEANUP(buf_release) = BUF_INIT;
	struct buf key CLEANUP(buf_release) = BUF_INIT;
	struct buf ca CLEANUP(buf_release) = BUF_INIT;
	grpc_ssl_pem_key_cert_pair pair;
	enum rc rc;

	if (!options->tls_cert && !options->tls_key && !options->tls_client_ca) {
		*out = grpc_insecure_server_credentials_create();
		return RC_OK;
	}
	if (!options->tls_cert || !options->tls_key)
		return err_set(err, RC_INVALID, "TLS needs both a certificate and a key");
	rc = read_pem(options->tls_cert, &cert, err);
	if (rc == RC_OK)
		rc = read_pem(options->tls_key, &key, err);
	if (rc == RC_OK && options->tls_client_ca)
		rc = read_pem(options->tls_client_ca, &ca, err);
	if (rc != RC_OK)
		return rc;
	pair = (grpc_ssl_pem_key_cert_pair){ .private_key = buf_string(&key),
					     .cert_chain = buf_string(&cert) };
	*out = grpc_ssl_server_credentials_create_ex(
		options->tls_client_ca ? buf_string(&ca) : NULL, &pair, 1,
		options->tls_client_ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
				       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
		NULL);
	if (!*out)
		return err_set(err, RC_INVALID, "%s and %s are no certificate and key",
			       options->tls_cert, options->tls_key);
	return RC_OK;
}

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

static grpc_server *make_server(const struct rpc_server_options *options,
				grpc_completion_queue *queue)
{
	int message_max = (int)(options->message_max ? options->message_max : DEFAULT_MESSAGE_MAX);
	grpc_arg args[] = {
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		  .value.integer = message_max },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
		  .value.integer = -1 },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_METADATA_SIZE,
		  .value.integer = METADATA_MAX },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_CONCURRENT_STREAMS,
		  .value.integer = STREAMS_PER_CONNECTION },
		/* A second server on our port is an error, not half of the clients. */
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_ALLOW_REUSEPORT,
		  .value.integer = 0 },
	};
	grpc_channel_args list = { .num_args = ARRAY_LEN(args), .args = args };
	grpc_server *server = grpc_server_create(&list, NULL);

	grpc_server_register_completion_queue(server, queue, NULL);
	return server;
}

enum rc rpc_server_new(const struct rpc_server_options *options, struct rpc_server **out,
		       struct err *err)
{
	grpc_server_credentials *credentials = NULL;
	struct rpc_server *server;
	enum rc rc;

	*out = NULL;
	rpc_library_init();
	rc = make_credentials(options, &credentials, err);
	if (rc != RC_OK)
		return rc;
	server = mem_zalloc(sizeof(*server));
	server->credentials = credentials;
	server->tls = options->tls_cert != NULL;
	server->queue = grpc_completion_queue_create_for_next(NULL);
	server->server = make_server(options, server->queue);
	server->calls.limit = options->calls_max ? options->calls_max : DEFAULT_CALLS_MAX;
	server->calls.find = find_method;
	server->calls.pool = pool_new("rpc", options->threads ? options->threads : DEFAULT_THREADS,
				      server->calls.limit);
	server->calls.computing = pool_new("rpc-compute", 2 * machine_cpus(), server->calls.limit);
	server->stop_pipe[0] = server->stop_pipe[1] = -1;
	pthread_mutex_init(&server->lock, NULL);
	cond_init(&server->changed);
	*out = server;
	return RC_OK;
}

void rpc_server_register(struct rpc_server *server, const struct rpc_method *methods, size_t count,
			 void *context, bool quick)
{
	assert(!server->started);
	server->methods = mem_realloc_array(server->methods, server->method_count + count,
					    sizeof(*server->methods));
	for (size_t i = 0; i < count; i++)
		server->methods[server->method_count++] =
			(struct rpc_registration){ .method = &methods[i],
						   .context = context,
						   .quick = quick && methods[i].quick,
						   .computes = quick && methods[i].computes,
						   .quick_bytes =
							   quick ? methods[i].quick_bytes : 0 };
}

static struct listener *add_listener(struct rpc_server *server, int fd)
{
	struct listener *listener = mem_zalloc(sizeof(*listener));

	listener->fd = fd;
	listener->lock_fd = -1;
	listener->next = server->listeners;
	server->listeners = listener;
	return listener;
}

enum rc rpc_server_listen(struct rpc_server *server, const char *address, int *port,
			  struct err *err)
{
	bool is_path = address[0] == '/' || address[0] == '.';
	char *target AUTO_FREE = is_path             ? mem_printf("unix:%s", address)
				 : address[0] == '@' ? mem_printf("unix-abstract:%s", address + 1)
						     : mem_strdup(address);
	struct listener *listener;
	int lock_fd = -1;
	int bound;

	if (is_path) {
		/* The library takes a live socket's path over without a word. */
		enum rc rc = listen_socket_lock(address, &lock_fd, err);

		if (rc != RC_OK)
			return rc;
	}
	bound = grpc_server_add_http2_port(server->server, target, server->credentials);
	if (bound == 0) {
		fd_cleanup(&lock_fd);
		return err_set(err, RC_BUSY,
			       "cannot listen on %s: malformed, in use, or not allowed", address);
	}
	listener = add_listener(server, -1);
	listener->lock_fd = lock_fd;
	listener->path = is_path ? mem_strdup(address) : NULL;
	if (port)
		*port = bound;
	return RC_OK;
}

enum rc rpc_server_listen_fd(struct rpc_server *server, int fd, struct err *err)
{
	if (server->tls) {
		close(fd);
		return err_set(err, RC_UNSUPPORTED,
			       "TLS on a socket from systemd is not supported; listen on an "
			       "address of castor's own");
	}
	if (server->stop_pipe[0] < 0 && pipe2(server->stop_pipe, O_CLOEXEC) != 0) {
		close(fd);
		return err_errno(err, errno, "pipe");
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	add_listener(server, fd);
	return RC_OK;
}

struct accepting {
	struct rpc_server *server;
	int fd;
};

static void *accept_connections(void *arg)
{
	struct accepting accepting = *(struct accepting *)arg;
	struct pollfd waits[] = { { .fd = accepting.fd, .events = POLLIN },
				  { .fd = accepting.server->stop_pipe[0], .events = POLLIN } };

	free(arg);
	while (poll(waits, 2, -1) >= 0 || errno == EINTR) {
		int fd;

		if (waits[1].revents)
			break;
		fd = accept4(accepting.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			grpc_server_add_channel_from_fd(accepting.server->server, fd,
							accepting.server->credentials);
		else if (errno == EMFILE || errno == ENFILE)
			clock_sleep_ns(100 * NS_PER_MS);
	}
	return NULL;
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
		if (!atomic_load(&server->stopping))
			accept_call(server);
		rpc_call_begin(call);
	}
	rpc_call_unref(call);
}

static void on_drained(struct rpc_tag *tag, bool ok)
{
	struct rpc_server *server = CONTAINER_OF(tag, struct rpc_server, stop_tag);

	(void)ok;
	pthread_mutex_lock(&server->lock);
	server->drained = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void *serve(void *arg)
{
	struct rpc_server *server = arg;

	for (;;) {
		grpc_event event = grpc_completion_queue_next(
			server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (event.type == GRPC_OP_COMPLETE) {
			struct rpc_tag *tag = event.tag;

			tag->done(tag, event.success != 0);
		}
	}
}

void rpc_server_start(struct rpc_server *server)
{
	qsort(server->methods, server->method_count, sizeof(*server->methods),
	      compare_registrations);
	server->started = true;
	grpc_server_start(server->server);
	for (int i = 0; i < ACCEPTS_WAITING; i++)
		accept_call(server);
	server->thread = thread_start("rpc-queue", serve, server);
	for (struct listener *at = server->listeners; at; at = at->next) {
		struct accepting *accepting;

		if (at->fd < 0)
			continue;
		accepting = mem_alloc(sizeof(*accepting));
		*accepting = (struct accepting){ .server = server, .fd = at->fd };
		at->thread = thread_start("rpc-accept", accept_connections, accepting);
	}
}

static bool wait_drained(struct rpc_server *server, int64_t until_ns)
{
	bool drained;

	pthread_mutex_lock(&server->lock);
	while (!server->drained && cond_wait_until(&server->changed, &server->lock, until_ns))
		;
	drained = server->drained;
	pthread_mutex_unlock(&server->lock);
	return drained;
}

void rpc_server_stop(struct rpc_server *server, int64_t grace_ns)
{
	if (!server->started)
		return;
	atomic_store(&server->stopping, true);
	if (server->stop_pipe[1] >= 0) {
		close(server->stop_pipe[1]);
		server->stop_pipe[1] = -1;
		for (struct listener *at = server->listeners; at; at = at->next)
			if (at->fd >= 0)
				pthread_join(at->thread, NULL);
	}
	server->stop_tag.done = on_drained;
	grpc_server_shutdown_and_notify(server->server, server->queue, &server->stop_tag);
	if (!wait_drained(server, clock_monotonic_ns() + grace_ns)) {
		log_info("stopping: %u calls were still in flight",
			 atomic_load(&server->calls.count));
		grpc_server_cancel_all_calls(server->server);
		wait_drained(server, INT64_MAX);
	}
	/* Handlers that are still running see their cancel flag; their batches, and those of
	 * suspended calls, need the queue alive. */
	while (atomic_load(&server->calls.count) > 0)
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
	grpc_server_credentials_release(server->credentials);
	grpc_completion_queue_destroy(server->queue);
	while (server->listeners) {
		struct listener *listener = server->listeners;

		server->listeners = listener->next;
		if (listener->path)
			unlink(listener->path);
		fd_cleanup(&listener->fd);
		fd_cleanup(&listener->lock_fd);
		free(listener->path);
		free(listener);
	}
	fd_cleanup(&server->stop_pipe[0]);
	fd_cleanup(&server->stop_pipe[1]);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server->methods);
	free(server);
}
