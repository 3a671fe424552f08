/*
 * The bare gRPC C core library on both sides, for what castor's server and client are measured
 * against, and as a client of either. Addresses are the library's ("127.0.0.1:8000",
 * "unix:/path"). Results are printed as JSON objects.
 *
 *	rpc serve ADDRESS BYTES          a server: echoes unary calls, and answers every method that
 *	                                 ends in "Read" with BYTES in messages of 256 KiB
 *	rpc unary ADDRESS METHOD REQUEST CALLS IN_FLIGHT CONNECTIONS
 *	rpc read ADDRESS METHOD REQUEST  one call with many replies
 *	rpc idle ADDRESS CONNECTIONS     connects, makes a call on each, prints a line, and waits for
 *	                                 the end of its standard input
 *	rpc small URL COUNT              castor's own client: puts so many small blobs and reads them,
 *	                                 one after the other and many at once
 *
 * REQUEST is the message in hex.
 */
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "service/services.h"
#include "store/open.h"

enum { MESSAGE = 256 << 10, BLOCKS = 256 };

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "rpc: %s\n", what);
	exit(1);
}

static grpc_event next_event(grpc_completion_queue *queue)
{
	return grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

/* ---- The server ---- */

enum stage { ACCEPTED, RECEIVED, SENT, ENDED };

struct served {
	enum stage stage; /* what the next completion means */
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
	grpc_byte_buffer *message;
	uint64_t left; /* to stream */
	int cancelled;
};

struct server {
	grpc_server *server;
	grpc_completion_queue *queue;
	/* What is streamed, again and again: more than a processor's cache holds. */
	grpc_byte_buffer *blocks[BLOCKS];
	uint64_t stream_bytes;
};

static void check(grpc_call_error error)
{
	if (error != GRPC_CALL_OK)
		die(grpc_call_error_to_string(error));
}

static void accept_next(struct server *server)
{
	struct served *served = mem_zalloc(sizeof(*served));

	grpc_call_details_init(&served->details);
	grpc_metadata_array_init(&served->metadata);
	check(grpc_server_request_call(server->server, &served->call, &served->details,
				       &served->metadata, server->queue, server->queue, served));
}

static void served_free(struct served *served)
{
	grpc_byte_buffer_destroy(served->message);
	grpc_metadata_array_destroy(&served->metadata);
	grpc_call_details_destroy(&served->details);
	grpc_call_unref(served->call);
	free(served);
}

static void end_call(struct served *served, bool echo)
{
	grpc_op ops[4] = { 0 };
	size_t count = 0;

	if (echo) {
		ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
		ops[count].op = GRPC_OP_SEND_MESSAGE;
		ops[count++].data.send_message.send_message = served->message;
	}
	ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	ops[count++].data.send_status_from_server.status = GRPC_STATUS_OK;
	ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	ops[count++].data.recv_close_on_server.cancelled = &served->cancelled;
	served->stage = ENDED;
	check(grpc_call_start_batch(served->call, ops, count, served, NULL));
}

static void stream_next(struct server *server, struct served *served, bool first)
{
	grpc_op ops[2] = { 0 };
	size_t count = 0;

	/* Sending empties a buffer; a copy shares its memory. */
	size_t next = (size_t)(served->left / MESSAGE) % BLOCKS;
	grpc_byte_buffer *block = grpc_byte_buffer_copy(server->blocks[next]);

	if (first)
		ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[count].op = GRPC_OP_SEND_MESSAGE;
	ops[count++].data.send_message.send_message = block;
	served->left -= served->left < MESSAGE ? served->left : MESSAGE;
	served->stage = SENT;
	check(grpc_call_start_batch(served->call, ops, count, served, NULL));
	grpc_byte_buffer_destroy(block);
}

static void step(struct server *server, struct served *served, bool ok)
{
	grpc_op receive = { .op = GRPC_OP_RECV_MESSAGE };
	size_t len;

	switch (served->stage) {
	case ACCEPTED:
		accept_next(server);
		receive.data.recv_message.recv_message = &served->message;
		served->stage = RECEIVED;
		check(grpc_call_start_batch(served->call, &receive, 1, served, NULL));
		break;
	case RECEIVED:
		len = GRPC_SLICE_LENGTH(served->details.method);
		served->left = server->stream_bytes;
		if (len > 4 &&
		    memcmp(GRPC_SLICE_END_PTR(served->details.method) - 4, "Read", 4) == 0)
			stream_next(server, served, true);
		else
			end_call(served, true);
		break;
	case SENT:
		if (ok && served->left > 0)
			stream_next(server, served, false);
		else
			end_call(served, false);
		break;
	case ENDED:
		served_free(served);
		break;
	}
}

static grpc_byte_buffer *buffer_of(struct view bytes)
{
	grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes.ptr, bytes.len);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return buffer;
}

_Noreturn static void serve(const char *address, uint64_t bytes)
{
	grpc_arg args[] = { { .type = GRPC_ARG_INTEGER,
			      .key = (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH,
			      .value.integer = -1 } };
	grpc_channel_args list = { .num_args = ARRAY_LEN(args), .args = args };
	struct server server = { .server = grpc_server_create(&list, NULL), .stream_bytes = bytes };
	struct buf block = BUF_INIT;

	for (size_t i = 0; i < BLOCKS; i++) {
		buf_clear(&block);
		for (size_t at = 0; at < MESSAGE; at++)
			buf_append_byte(&block, (uint8_t)(at * (i + 1)));
		server.blocks[i] = buffer_of(buf_view(&block));
	}
	server.queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server_register_completion_queue(server.server, server.queue, NULL);
	if (!grpc_server_add_http2_port(server.server, address,
					grpc_insecure_server_credentials_create()))
		die("cannot listen");
	grpc_server_start(server.server);
	for (int i = 0; i < 16; i++)
		accept_next(&server);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		grpc_event event = next_event(server.queue);

		if (event.type == GRPC_OP_COMPLETE)
			step(&server, event.tag, event.success != 0);
	}
}

/* ---- Clients ---- */

static grpc_channel *connect_to(const char *address)
{
	grpc_arg args[] = {
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		  .value.integer = -1 },
		/* Else equal channels share one connection. */
		{ .type = GRPC_ARG_INTEGER,
		  .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
		  .value.integer = 1 },
	};
	grpc_channel_args list = { .num_args = ARRAY_LEN(args), .args = args };

	return grpc_channel_create(address, grpc_insecure_credentials_create(), &list);
}

struct asked {
	grpc_call *call;
	grpc_channel *channel;
	int64_t start_ns;
	grpc_metadata_array headers, trailers;
	grpc_byte_buffer *reply;
	grpc_status_code status;
	grpc_slice details;
};

struct client {
	grpc_completion_queue *queue;
	grpc_slice method;
	grpc_byte_buffer *request;
};

static void client_init(struct client *client, const char *method, const char *hex)
{
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	size_t len = strlen(hex) / 2;

	buf_append_zeros(&request, len);
	if (!hex_decode(view_of_string(hex), request.ptr, len))
		die("REQUEST is not hex");
	client->queue = grpc_completion_queue_create_for_next(NULL);
	client->method = grpc_slice_from_copied_string(method);
	client->request = buffer_of(buf_view(&request));
}

static void ask(struct client *client, struct asked *asked, grpc_channel *channel, bool unary)
{
	grpc_op ops[6] = {
		{ .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
		{ .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
		{ .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT }
	};

	grpc_byte_buffer *request = grpc_byte_buffer_copy(client->request);

	*asked = (struct asked){ .channel = channel, .start_ns = clock_monotonic_ns() };
	asked->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					       client->queue, client->method, NULL,
					       gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	ops[1].data.send_message.send_message = request;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &asked->headers;
	ops[4].data.recv_message.recv_message = &asked->reply;
	ops[5].data.recv_status_on_client.status = &asked->status;
	ops[5].data.recv_status_on_client.status_details = &asked->details;
	ops[5].data.recv_status_on_client.trailing_metadata = &asked->trailers;
	check(grpc_call_start_batch(asked->call, ops, unary ? 6 : 5, asked, NULL));
	grpc_byte_buffer_destroy(request);
}

static size_t finish(struct asked *asked)
{
	size_t len = asked->reply ? grpc_byte_buffer_length(asked->reply) : 0;

	if (asked->status != GRPC_STATUS_OK) {
		fprintf(stderr, "rpc: status %d: %.*s\n", (int)asked->status,
			(int)GRPC_SLICE_LENGTH(asked->details),
			(const char *)GRPC_SLICE_START_PTR(asked->details));
		exit(1);
	}
	grpc_byte_buffer_destroy(asked->reply);
	grpc_metadata_array_destroy(&asked->headers);
	grpc_metadata_array_destroy(&asked->trailers);
	grpc_slice_unref(asked->details);
	grpc_call_unref(asked->call);
	return len;
}

static int compare_times(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static int unary(struct client *client, const char *address, size_t calls, size_t in_flight,
		 size_t connections)
{
	grpc_channel **channels = mem_array(connections, sizeof(*channels));
	struct asked *asked = mem_array(in_flight, sizeof(*asked));
	int64_t *times = mem_array(calls, sizeof(*times));
	int64_t start = 0;
	size_t begun = 0, bytes = 0;

	for (size_t i = 0; i < connections; i++) {
		/* Connected, before the clock runs. */
		channels[i] = connect_to(address);
		ask(client, &asked[0], channels[i], true);
		next_event(client->queue);
		bytes = finish(&asked[0]);
	}
	start = clock_monotonic_ns();
	for (; begun < in_flight && begun < calls; begun++)
		ask(client, &asked[begun], channels[begun % connections], true);
	for (size_t done = 0; done < calls; done++) {
		struct asked *one = next_event(client->queue).tag;

		times[done] = clock_monotonic_ns() - one->start_ns;
		finish(one);
		if (begun < calls) {
			begun++;
			ask(client, one, one->channel, true);
		}
	}
	start = clock_monotonic_ns() - start;
	qsort(times, calls, sizeof(*times), compare_times);
	printf("{\"seconds\": %.6f, \"calls\": %zu, \"rate\": %.0f, \"reply\": %zu, "
	       "\"median_us\": %.1f, \"p99_us\": %.1f}\n",
	       (double)start / NS_PER_S, calls, (double)calls * NS_PER_S / (double)start, bytes,
	       (double)times[calls / 2] / 1e3, (double)times[calls * 99 / 100] / 1e3);
	return 0;
}

static int read_stream(struct client *client, const char *address)
{
	grpc_channel *channel = connect_to(address);
	struct asked asked;
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
	grpc_op status = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };
	uint64_t bytes = 0, messages = 0;
	int64_t start = clock_monotonic_ns();

	ask(client, &asked, channel, false);
	next_event(client->queue);
	while (asked.reply) {
		bytes += grpc_byte_buffer_length(asked.reply);
		messages++;
		grpc_byte_buffer_destroy(asked.reply);
		asked.reply = NULL;
		op.data.recv_message.recv_message = &asked.reply;
		check(grpc_call_start_batch(asked.call, &op, 1, &asked, NULL));
		next_event(client->queue);
	}
	status.data.recv_status_on_client.status = &asked.status;
	status.data.recv_status_on_client.status_details = &asked.details;
	status.data.recv_status_on_client.trailing_metadata = &asked.trailers;
	check(grpc_call_start_batch(asked.call, &status, 1, &asked, NULL));
	next_event(client->queue);
	finish(&asked);
	start = clock_monotonic_ns() - start;
	printf("{\"seconds\": %.6f, \"bytes\": %llu, \"messages\": %llu}\n",
	       (double)start / NS_PER_S, (unsigned long long)bytes, (unsigned long long)messages);
	return 0;
}

static int idle(const char *address, size_t connections)
{
	struct client client;
	char byte;

	/* Check of grpc.health.v1: an empty request. */
	client_init(&client, "/grpc.health.v1.Health/Check", "");
	for (size_t i = 0; i < connections; i++) {
		struct asked asked;

		ask(&client, &asked, connect_to(address), true);
		next_event(client.queue);
		finish(&asked);
	}
	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}

/* ---- castor's client ---- */

enum { SMALL = 1000 };

static void ensure(enum rc rc, const struct err *err)
{
	if (rc != RC_OK)
		die(err->message);
}

static void put_small(struct blob_service *blobs, struct digest *digests, size_t count)
{
	struct blob_batch *batch;
	struct err err = ERR_INIT;

	ensure(blob_service_open_batch(blobs, &op_none, &batch, &err), &err);
	for (size_t i = 0; i < count; i++) {
		uint8_t bytes[SMALL] = { 0 };
		struct blob_encoded *chunk;
		struct blob_chunk list = { .size = SMALL, .has_digest = true };

		memcpy(bytes, &i, sizeof(i));
		ensure(blob_batch_encode(batch, &op_none, view_of(bytes, SMALL), &chunk, &err),
		       &err);
		list.digest = digests[i] = chunk->digest;
		ensure(blob_batch_add_chunk(batch, &op_none, chunk, &err), &err);
		ensure(blob_batch_add_blob(batch, &op_none, &list.digest, SMALL, &list, 1, &err),
		       &err);
	}
	ensure(blob_batch_commit(batch, &op_none, &err), &err);
	blob_batch_free(batch);
}

static void count_blob(void *context, size_t i, enum rc rc, struct view bytes)
{
	(void)i;
	*(size_t *)context += rc == RC_OK && bytes.len == SMALL;
}

static int small(const char *address, size_t count)
{
	struct digest *digests = mem_array(count, sizeof(*digests));
	struct services services;
	struct err err = ERR_INIT;
	struct buf bytes = BUF_INIT;
	int64_t put, each, many;
	size_t got = 0;

	ensure(store_open(&(struct store_addresses){ .store = address }, STORE_WRITE, &services,
			  &err),
	       &err);
	put = clock_monotonic_ns();
	put_small(services.blobs, digests, count);
	put = clock_monotonic_ns() - put;
	each = clock_monotonic_ns();
	for (size_t i = 0; i < count; i++) {
		buf_clear(&bytes);
		ensure(blob_service_get(services.blobs, &op_none, &digests[i], SMALL, &bytes, &err),
		       &err);
	}
	each = clock_monotonic_ns() - each;
	many = clock_monotonic_ns();
	ensure(blob_service_get_many(services.blobs, &op_none, digests, count, count_blob, &got,
				     &err),
	       &err);
	many = clock_monotonic_ns() - many;
	if (got != count)
		die("some blobs did not come back");
	printf("{\"put\": %.0f, \"one_by_one\": %.0f, \"many\": %.0f}\n",
	       (double)count * NS_PER_S / (double)put, (double)count * NS_PER_S / (double)each,
	       (double)count * NS_PER_S / (double)many);
	services_release(&services);
	return 0;
}

int main(int argc, char **argv)
{
	/* What was freed is used again: else the kernel's clearing of pages is measured. */
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);

	struct client client;

	signal(SIGPIPE, SIG_IGN);
	grpc_init();
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		serve(argv[2], strtoull(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "idle") == 0)
		return idle(argv[2], strtoul(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "small") == 0)
		return small(argv[2], strtoul(argv[3], NULL, 10));
	if (argc == 8 && strcmp(argv[1], "unary") == 0) {
		client_init(&client, argv[3], argv[4]);
		return unary(&client, argv[2], strtoul(argv[5], NULL, 10),
			     strtoul(argv[6], NULL, 10), strtoul(argv[7], NULL, 10));
	}
	if (argc == 5 && strcmp(argv[1], "read") == 0) {
		client_init(&client, argv[3], argv[4]);
		return read_stream(&client, argv[2]);
	}
	die("usage: serve ADDRESS BYTES | unary ADDRESS METHOD REQUEST CALLS IN_FLIGHT CONNECTIONS "
	    "| read ADDRESS METHOD REQUEST | idle ADDRESS CONNECTIONS | small URL COUNT");
}
