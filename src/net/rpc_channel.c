/*
 * Channels: addresses, credentials, the family of the server, idle completion queues. Lock order:
 * registry_lock before a channel's lock.
 */
#include "net/rpc_channel.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/refcount.h"
#include "net/messages.h"
#include "net/rpc_queue.h"
#include "net/tls_files.h"

enum {
	CONNECT_WAIT_S = 10,
	IDLE_QUEUES = 64,
	BACKOFF_MAX_MS = 5000,
	BACKOFF_MIN_MS = 100,
	/* For one attempt, TLS and the server's first frame included: it may be far away, or only
	 * be starting. */
	CONNECT_MAX_MS = 10000,
	SLICE_MS = 100, /* how often a wait looks at its cancel flag */
};

struct rpc_channel {
	struct rpc_channel *next; /* of all that are open; under registry_lock */
	struct refcount ref;
	char *address; /* scheme, host, path and parameters: equal ones share a channel */
	grpc_channel *channel;
	_Atomic enum rpc_family family;
	pthread_mutex_t lock;
	/* Under lock: */
	struct rpc_queue *idle;
	size_t idle_count;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rpc_channel *registry; /* borrowed: a channel leaves it with its last reference */

void rpc_library_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, grpc_init);
}

const char *rpc_channel_address(const struct rpc_channel *channel)
{
	return channel->address;
}

enum rpc_family rpc_channel_family(const struct rpc_channel *channel)
{
	return atomic_load(&channel->family);
}

void rpc_channel_set_family(struct rpc_channel *channel, enum rpc_family family)
{
	atomic_store(&channel->family, family);
}

static enum rc parse_family(const struct url *url, enum rpc_family *out, struct err *err)
{
	const char *package = url_param(url, "package");

	*out = RPC_FAMILY_UNKNOWN;
	if (!package || strcmp(package, "auto") == 0)
		return RC_OK;
	if (strcmp(package, "snix") == 0)
		*out = RPC_FAMILY_SNIX;
	else if (strcmp(package, "tvix") == 0)
		*out = RPC_FAMILY_TVIX;
	else
		return err_set(err, RC_INVALID, "package=%s: neither tvix, snix nor auto", package);
	return RC_OK;
}

/* What the library connects to. */
static enum rc parse_target(const struct url *url, char **out, struct err *err)
{
	if (strcmp(url->scheme, "grpc+unix") == 0) {
		if (url->host[0])
			return err_set(err, RC_INVALID,
				       "grpc+unix takes a path, and no host: grpc+unix:///%s",
				       url->host);
		if (!url->path[0])
			return err_set(err, RC_INVALID, "grpc+unix needs the path of a socket");
		*out = mem_printf("unix:%s", url->path);
		return RC_OK;
	}
	if (!url->host[0])
		return err_set(err, RC_INVALID, "%s needs a host", url->scheme);
	if (url->path[0] && strcmp(url->path, "/") != 0)
		return err_set(err, RC_INVALID, "%s takes no path", url->scheme);
	*out = mem_printf("dns:///%s", url->host);
	return RC_OK;
}

static enum rc make_credentials(const struct url *url, grpc_channel_credentials **out,
				struct err *err)
{
	struct tls_files files CLEANUP(tls_files_release) = { .cert = BUF_INIT };
	grpc_ssl_pem_key_cert_pair pair;
	enum rc rc;

	if (strcmp(url->scheme, "grpc+https") != 0) {
		*out = grpc_insecure_credentials_create();
		return RC_OK;
	}
	rc = tls_files_read(url_param(url, "tls-cert"), url_param(url, "tls-key"),
			    url_param(url, "tls-ca"), &files, err);
	if (rc != RC_OK)
		return rc;
	pair = (grpc_ssl_pem_key_cert_pair){ .private_key = buf_string(&files.key),
					     .cert_chain = buf_string(&files.cert) };
	*out = grpc_ssl_credentials_create(files.ca.len > 0 ? buf_string(&files.ca) : NULL,
					   files.cert.len > 0 ? &pair : NULL, NULL, NULL);
	return *out ? RC_OK : err_set(err, RC_CERTIFICATE, "the TLS files cannot be used");
}

static grpc_channel *make_channel(const char *target, grpc_channel_credentials *credentials)
{
	grpc_arg args[] = {
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		  .value.integer = MESSAGE_RECEIVE_MAX },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
		  .value.integer = -1 },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
		  .value.integer = BACKOFF_MIN_MS },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, /* in fact a time limit */
		  .value.integer = CONNECT_MAX_MS },
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
		  .value.integer = BACKOFF_MAX_MS },
		/* What is safe to try again is ours to know. */
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_ENABLE_RETRIES,
		  .value.integer = 0 },
	};
	grpc_channel_args list = { .num_args = ARRAY_LEN(args), .args = args };

	return grpc_channel_create(target, credentials, &list);
}

static void channel_free(struct rpc_channel *channel)
{
	while (channel->idle) {
		struct rpc_queue *queue = channel->idle;

		channel->idle = queue->next;
		grpc_completion_queue_shutdown(queue->queue);
		grpc_completion_queue_destroy(queue->queue);
		free(queue);
	}
	if (channel->channel)
		grpc_channel_destroy(channel->channel);
	pthread_mutex_destroy(&channel->lock);
	free(channel->address);
	free(channel);
}

static enum rc channel_new(const struct url *url, char *address, struct rpc_channel **out,
			   struct err *err)
{
	grpc_channel_credentials *credentials = NULL;
	struct rpc_channel *channel = mem_zalloc(sizeof(*channel));
	char *target AUTO_FREE = NULL;
	enum rpc_family family;
	enum rc rc;

	rpc_library_init();
	refcount_init(&channel->ref);
	pthread_mutex_init(&channel->lock, NULL);
	channel->address = address;
	rc = parse_family(url, &family, err);
	if (rc == RC_OK)
		rc = parse_target(url, &target, err);
	if (rc == RC_OK)
		rc = make_credentials(url, &credentials, err);
	if (rc != RC_OK) {
		channel_free(channel);
		return rc;
	}
	atomic_init(&channel->family, family);
	channel->channel = make_channel(target, credentials);
	grpc_channel_credentials_release(credentials);
	*out = channel;
	return RC_OK;
}

/* Waits until the channel is connected, for wait-connect=1. */
static enum rc wait_connected(struct rpc_channel *channel, struct err *err)
{
	int64_t until = clock_monotonic_ns() + CONNECT_WAIT_S * NS_PER_S;
	struct rpc_queue *queue = rpc_queue_take(channel);
	grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel->channel, 1);

	while (state != GRPC_CHANNEL_READY && clock_monotonic_ns() < until) {
		grpc_channel_watch_connectivity_state(
			channel->channel, state,
			gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
				     gpr_time_from_millis(SLICE_MS, GPR_TIMESPAN)),
			queue->queue, NULL);
		grpc_completion_queue_next(queue->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
		state = grpc_channel_check_connectivity_state(channel->channel, 1);
	}
	rpc_queue_give(channel, queue);
	if (state != GRPC_CHANNEL_READY)
		return err_set(err, RC_UNAVAILABLE, "%s: nobody answers", channel->address);
	return RC_OK;
}

static char *canonical_address(const struct url *url)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	buf_printf(&text, "%s://%s%s", url->scheme, url->host, url->path);
	for (size_t i = 0; i < url->param_count; i++)
		if (strcmp(url->params[i].name, "wait-connect") != 0)
			buf_printf(&text, "%c%s=%s", strchr(buf_string(&text), '?') ? '&' : '?',
				   url->params[i].name, url->params[i].value);
	return mem_strdup(buf_string(&text));
}

enum rc rpc_channel_open(const struct url *url, struct rpc_channel **out, struct err *err)
{
	static const char *const known[] = { "wait-connect", "package", "tls-ca",
					     "tls-cert",     "tls-key", NULL };
	const char *wait = url_param(url, "wait-connect");
	struct rpc_channel *channel;
	char *address;
	enum rc rc;

	*out = NULL;
	rc = url_check_params(url, known, err);
	if (rc != RC_OK)
		return rc;
	address = canonical_address(url);
	pthread_mutex_lock(&registry_lock);
	for (channel = registry; channel && strcmp(channel->address, address) != 0;
	     channel = channel->next)
		;
	if (channel) {
		free(address);
		rpc_channel_ref(channel);
	} else {
		rc = channel_new(url, address, &channel, err);
		if (rc == RC_OK) {
			channel->next = registry;
			registry = channel;
		}
	}
	pthread_mutex_unlock(&registry_lock);
	if (rc == RC_OK && wait && strcmp(wait, "0") != 0) {
		rc = wait_connected(channel, err);
		if (rc != RC_OK)
			rpc_channel_unref(channel);
	}
	if (rc == RC_OK)
		*out = channel;
	return rc;
}

struct rpc_channel *rpc_channel_ref(struct rpc_channel *channel)
{
	refcount_ref(&channel->ref);
	return channel;
}

void rpc_channel_unref(struct rpc_channel *channel)
{
	bool last;

	if (!channel)
		return;
	/* The registry hands out references under its lock, so the last one goes under it too. */
	pthread_mutex_lock(&registry_lock);
	last = refcount_unref(&channel->ref);
	if (last) {
		struct rpc_channel **at = &registry;

		while (*at && *at != channel)
			at = &(*at)->next;
		if (*at)
			*at = channel->next;
	}
	pthread_mutex_unlock(&registry_lock);
	if (last)
		channel_free(channel);
}

struct rpc_queue *rpc_queue_take(struct rpc_channel *channel)
{
	struct rpc_queue *queue;

	pthread_mutex_lock(&channel->lock);
	queue = channel->idle;
	if (queue) {
		channel->idle = queue->next;
		channel->idle_count--;
	}
	pthread_mutex_unlock(&channel->lock);
	if (!queue) {
		queue = mem_zalloc(sizeof(*queue));
		queue->queue = grpc_completion_queue_create_for_next(NULL);
	}
	return queue;
}

void rpc_queue_give(struct rpc_channel *channel, struct rpc_queue *queue)
{
	bool keep;

	pthread_mutex_lock(&channel->lock);
	keep = channel->idle_count < IDLE_QUEUES;
	if (keep) {
		queue->next = channel->idle;
		channel->idle = queue;
		channel->idle_count++;
	}
	pthread_mutex_unlock(&channel->lock);
	if (keep)
		return;
	grpc_completion_queue_shutdown(queue->queue);
	grpc_completion_queue_destroy(queue->queue);
	free(queue);
}

grpc_call *rpc_channel_call(struct rpc_channel *channel, struct rpc_queue *queue,
			    const struct op *op, enum rpc_family family, const char *method)
{
	char path[256];
	grpc_slice slice;
	gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
	grpc_call *call;
	int len = snprintf(path, sizeof(path), "/%s.%s",
			   family == RPC_FAMILY_TVIX ? "tvix" : "snix", method);

	assert(len > 0 && (size_t)len < sizeof(path));
	(void)len;
	if (op->deadline_ns != 0)
		deadline = gpr_time_add(
			gpr_now(GPR_CLOCK_MONOTONIC),
			gpr_time_from_nanos(op->deadline_ns - clock_monotonic_ns(), GPR_TIMESPAN));
	slice = grpc_slice_from_copied_string(path);
	call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					queue->queue, slice, NULL, deadline, NULL);
	grpc_slice_unref(slice);
	return call;
}

enum rc rpc_queue_next(struct rpc_queue *queue, const struct op *op, bool wait, grpc_event *event,
		       struct err *err)
{
	for (;;) {
		enum rc rc = op_check(op, err);

		if (rc != RC_OK)
			return rc;
		/* "Now" would be rounded up to a millisecond. */
		*event = grpc_completion_queue_next(
			queue->queue,
			wait ? gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
					    gpr_time_from_millis(SLICE_MS, GPR_TIMESPAN))
			     : gpr_inf_past(GPR_CLOCK_MONOTONIC),
			NULL);
		if (event->type == GRPC_OP_COMPLETE || !wait)
			return RC_OK;
	}
}

grpc_byte_buffer *rpc_bytes_of(struct buf *message)
{
	grpc_slice slice = message->len > 0
				   ? grpc_slice_new_with_user_data(message->ptr, message->len, free,
								   message->ptr)
				   : grpc_empty_slice();
	grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	if (message->len > 0)
		*message = (struct buf)BUF_INIT;
	return bytes;
}

enum rc rpc_bytes_read(grpc_byte_buffer *bytes, struct buf *out, struct err *err)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;

	if (!grpc_byte_buffer_reader_init(&reader, bytes))
		return err_set(err, RC_INVALID, "a message cannot be decompressed");
	buf_reserve(out, grpc_byte_buffer_length(bytes));
	while (grpc_byte_buffer_reader_next(&reader, &slice)) {
		buf_append(out, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
		grpc_slice_unref(slice);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	return RC_OK;
}

enum rc rpc_status(struct rpc_channel *channel, grpc_status_code status, grpc_slice details,
		   struct err *err)
{
	enum rc rc = rc_from_grpc((int)status);

	if (rc == RC_OK)
		return RC_OK;
	return err_set(err, rc, "%s: %.*s (gRPC status %d)", channel->address,
		       (int)GRPC_SLICE_LENGTH(details), (const char *)GRPC_SLICE_START_PTR(details),
		       (int)status);
}
