/*
 * What a client can hold of a gRPC server, and for how long: handlers that do nothing, limits that are
 * small, and clients of every bad kind. After each, another client is served.
 */
#include "server/rpc_server.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../testing.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/url.h"
#include "net/rpc_channel.h"
#include "raw_client.h"
#include "server/health.h"
#include "server/rpc_call.h"

enum { PIECE = 1 << 20 };

static const char echo[] = "/snix.t.T/Echo", sink[] = "/snix.t.T/Sink", idle[] = "/snix.t.T/Idle";

/* ---- Handlers ---- */

static enum rc take_message(struct rpc_call *call, struct view message, struct err *err)
{
	(void)call, (void)message, (void)err;
	return RC_OK;
}

static enum rc reply_once(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			  struct err *err)
{
	(void)call, (void)err;
	buf_append_byte(out, 'x');
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static enum rc reply_forever(struct rpc_call *call, struct buf *out, enum rpc_next *next,
			     struct err *err)
{
	(void)call, (void)err;
	buf_append_zeros(out, PIECE);
	*next = RPC_NEXT_MESSAGE;
	return RC_OK;
}

static const struct rpc_method methods[] = {
	{ .path = echo, .cost.quick = true, .message = take_message, .more = reply_once },
	{ .path = sink, .client_streams = true, .message = take_message, .more = reply_once },
	{ .path = idle,
	  .client_streams = true,
	  .may_idle = true,
	  .message = take_message,
	  .more = reply_once },
	{ .path = "/snix.t.T/Source",
	  .server_streams = true,
	  .message = take_message,
	  .more = reply_forever },
};

/* ---- A server, and a client of castor's own on a local socket and by TCP ---- */

struct fixture {
	char *dir;
	struct rpc_server *server;
	int port;
	struct rpc_channel *local, *tcp;
	struct err err;
};

static struct rpc_channel *channel(struct fixture *fixture, char *address)
{
	struct url url CLEANUP(url_release) = { 0 };
	struct rpc_channel *channel;

	assert_ok(url_parse(address, &url, &fixture->err), &fixture->err);
	assert_ok(rpc_channel_open(&url, &channel, &fixture->err), &fixture->err);
	free(address);
	return channel;
}

static void start(struct fixture *fixture, const struct rpc_limits *limits)
{
	struct rpc_server_options options = { .threads = 4, .limits = *limits };
	struct err *err = &fixture->err;

	*fixture = (struct fixture){ .dir = testing_dir() };
	char *socket AUTO_FREE = mem_printf("%s/socket", fixture->dir);
	assert_ok(rpc_server_new(&options, &fixture->server, err), err);
	rpc_server_register(fixture->server, methods, ARRAY_LEN(methods), NULL, true);
	health_register(fixture->server);
	assert_ok(rpc_server_listen(fixture->server, socket, NULL, err), err);
	assert_ok(rpc_server_listen(fixture->server, "127.0.0.1:0", &fixture->port, err), err);
	assert_ok(rpc_server_start(fixture->server, err), err);
	fixture->local = channel(fixture, mem_printf("grpc+unix://%s?package=snix", socket));
	fixture->tcp = channel(fixture,
			       mem_printf("grpc+http://127.0.0.1:%d?package=snix", fixture->port));
}

static void stop(struct fixture *fixture)
{
	rpc_channel_unref(fixture->local);
	rpc_channel_unref(fixture->tcp);
	rpc_server_stop(fixture->server, 0);
	rpc_server_free(fixture->server);
	testing_dir_cleanup(&fixture->dir);
}

static enum rc ask(struct fixture *fixture, struct rpc_channel *channel, const char *method)
{
	struct op op = { .deadline_ns = clock_monotonic_ns() + 10 * NS_PER_S };
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	return rpc_unary(channel, &op, method, view_of("", 0), false, &reply, &fixture->err);
}

static void is_served(struct fixture *fixture, struct rpc_channel *channel)
{
	assert_ok(ask(fixture, channel, "t.T/Echo"), &fixture->err);
}

/* Until it is, or ten seconds. */
static void becomes_served(struct fixture *fixture, struct rpc_channel *channel)
{
	int64_t until = clock_monotonic_ns() + 10 * NS_PER_S;
	enum rc rc;

	while ((rc = ask(fixture, channel, "t.T/Echo")) != RC_OK && clock_monotonic_ns() < until)
		clock_sleep_ns(50 * NS_PER_MS);
	assert_ok(rc, &fixture->err);
}

/* Until five calls in a row are refused, or ten seconds. */
static void becomes_refused(struct fixture *fixture, struct rpc_channel *channel)
{
	int64_t until = clock_monotonic_ns() + 10 * NS_PER_S;

	for (int refused = 0; refused < 5 && clock_monotonic_ns() < until;) {
		refused = ask(fixture, channel, "t.T/Echo") == RC_OK ? 0 : refused + 1;
		clock_sleep_ns(10 * NS_PER_MS);
	}
	assert_rc(RC_TOO_LARGE, ask(fixture, channel, "t.T/Echo"), &fixture->err);
}

static struct rpc_stream *stream(struct fixture *fixture, const char *method, size_t message)
{
	struct rpc_stream *stream = rpc_stream_open(fixture->local, &op_none, method);
	struct buf bytes = BUF_INIT;

	buf_append_zeros(&bytes, message);
	assert_ok(rpc_stream_write(stream, &op_none, &bytes, &fixture->err), &fixture->err);
	buf_release(&bytes);
	return stream;
}

/* How the call ended. */
static enum rc outcome(struct fixture *fixture, struct rpc_stream *stream)
{
	struct op op = { .deadline_ns = clock_monotonic_ns() + 20 * NS_PER_S };
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	bool end = false;
	enum rc rc = RC_OK;

	while (rc == RC_OK && !end)
		rc = rpc_stream_read(stream, &op, &message, &end, &fixture->err);
	return rc;
}

/* ---- Shares ---- */

static void one_client_has_a_share_of_the_calls(void **state)
{
	struct fixture fixture;
	struct raw_client other, same;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .calls = 8, .client_calls = 4 });
	other = raw_connect("127.0.0.2", fixture.port, true);
	for (int i = 0; i < 6; i++)
		raw_open(&other, sink);
	is_served(&fixture, fixture.tcp);
	same = raw_connect("127.0.0.1", fixture.port, true);
	/* A call that is over may not be given back yet, so that a stream is refused in its place: more are
	 * opened until a call finds all of them taken. */
	for (int refused = 0, tries = 0; refused < 5; tries++) {
		assert_true(tries < 2000);
		raw_open(&same, sink);
		refused = ask(&fixture, fixture.tcp, "t.T/Echo") == RC_OK ? 0 : refused + 1;
		clock_sleep_ns(5 * NS_PER_MS);
	}
	assert_rc(RC_TOO_LARGE, ask(&fixture, fixture.tcp, "t.T/Echo"), &fixture.err);
	raw_close(&other);
	raw_close(&same);
	becomes_served(&fixture, fixture.tcp);
	stop(&fixture);
}

/* All calls are taken: a health check is answered. */
static void health_is_always_answered(void **state)
{
	struct fixture fixture;
	struct rpc_stream *streams[4];

	(void)state;
	start(&fixture, &(struct rpc_limits){ .calls = 4 });
	for (int i = 0; i < 4; i++)
		streams[i] = stream(&fixture, "t.T/Sink", 1);
	becomes_refused(&fixture, fixture.local);
	/* The name of the method has no family. */
	struct raw_client raw = raw_connect("127.0.0.1", fixture.port, true);
	uint32_t id = raw_open(&raw, "/grpc.health.v1.Health/Check");
	(void)raw_frame(&raw, RAW_DATA, RAW_END_STREAM, id, "\0\0\0\0\0", 5);
	assert_true(raw_receives(&raw, "\x08\x01", 2, 10 * NS_PER_S));
	raw_close(&raw);
	for (int i = 0; i < 4; i++)
		rpc_stream_free(streams[i]);
	stop(&fixture);
}

static void one_client_has_a_share_of_the_connections(void **state)
{
	struct fixture fixture;
	struct raw_client clients[6], refused;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .connections = 6, .client_connections = 3 });
	for (int i = 0; i < 3; i++)
		clients[i] = raw_connect("127.0.0.2", fixture.port, true);
	refused = raw_connect("127.0.0.2", fixture.port, true);
	assert_true(raw_closed(&refused, 10 * NS_PER_S));
	raw_close(&refused);
	is_served(&fixture, fixture.tcp);
	/* All of them are taken: there is still room for local ones. */
	for (int i = 3; i < 5; i++)
		clients[i] = raw_connect("127.0.0.3", fixture.port, true);
	refused = raw_connect("127.0.0.3", fixture.port, true);
	assert_true(raw_closed(&refused, 10 * NS_PER_S));
	raw_close(&refused);
	is_served(&fixture, fixture.local);
	/* What is given back can be had again. */
	for (int i = 0; i < 5; i++)
		raw_close(&clients[i]);
	clients[0] = raw_connect("127.0.0.3", fixture.port, true);
	for (int tries = 0; raw_closed(&clients[0], 200 * NS_PER_MS); tries++) {
		assert_true(tries < 50);
		raw_close(&clients[0]);
		clients[0] = raw_connect("127.0.0.3", fixture.port, true);
	}
	raw_close(&clients[0]);
	stop(&fixture);
}

/* SETTINGS says how many streams a connection may have. */
static void streams_of_a_connection(void **state)
{
	static const char setting[] = "\x00\x03\x00\x00\x00\x80";
	struct fixture fixture;

	(void)state;
	start(&fixture, &(struct rpc_limits){ 0 });
	struct raw_client client = raw_connect("127.0.0.1", fixture.port, true);
	assert_true(raw_receives(&client, setting, 6, 10 * NS_PER_S));
	raw_close(&client);
	stop(&fixture);
}

/* ---- Patience ---- */

static void silent_streams_end(void **state)
{
	enum { CONNECTIONS = 16, STREAMS = 100 };
	struct fixture fixture;
	struct raw_client clients[CONNECTIONS];

	(void)state;
	start(&fixture, &(struct rpc_limits){ .calls = CONNECTIONS * STREAMS,
					      .client_calls = CONNECTIONS * STREAMS,
					      .first_message_s = 2 });
	for (int i = 0; i < CONNECTIONS; i++) {
		clients[i] = raw_connect("127.0.0.2", fixture.port, true);
		for (int j = 0; j < STREAMS; j++)
			raw_open(&clients[i], sink);
	}
	becomes_refused(&fixture, fixture.tcp);
	becomes_served(&fixture, fixture.tcp);
	for (int i = 0; i < CONNECTIONS; i++)
		raw_close(&clients[i]);
	stop(&fixture);
}

static void silent_connections_end(void **state)
{
	struct fixture fixture;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .first_message_s = 1, .connection_idle_s = 1 });
	struct raw_client silent = raw_connect("127.0.0.1", fixture.port, false);
	struct raw_client polite = raw_connect("127.0.0.1", fixture.port, true);
	assert_true(raw_closed(&silent, 10 * NS_PER_S));
	assert_true(raw_closed(&polite, 10 * NS_PER_S));
	raw_close(&silent);
	raw_close(&polite);
	stop(&fixture);
}

/* A byte now and then does not keep a call open; silence does where the method allows it. */
static void a_trickle_ends(void **state)
{
	struct fixture fixture;
	struct rpc_stream *trickle, *quiet;
	struct buf byte = BUF_INIT;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .idle_s = 1 });
	quiet = stream(&fixture, "t.T/Idle", 1);
	trickle = stream(&fixture, "t.T/Sink", 1);
	for (int i = 0; i < 15; i++) {
		clock_sleep_ns(200 * NS_PER_MS);
		buf_append_byte(&byte, 'x');
		if (rpc_stream_write(trickle, &op_none, &byte, &fixture.err) != RC_OK)
			break;
	}
	buf_release(&byte);
	assert_rc(RC_DEADLINE, outcome(&fixture, trickle), &fixture.err);
	assert_ok(rpc_stream_close_send(quiet, &op_none, &fixture.err), &fixture.err);
	assert_ok(outcome(&fixture, quiet), &fixture.err);
	rpc_stream_free(trickle);
	rpc_stream_free(quiet);
	stop(&fixture);
}

/* Who sends enough may take as long as it takes. */
static void a_slow_upload_goes_on(void **state)
{
	struct fixture fixture;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .idle_s = 1 });
	struct rpc_stream *upload = stream(&fixture, "t.T/Sink", 1);
	for (int i = 0; i < 12; i++) {
		struct buf bytes = BUF_INIT;

		clock_sleep_ns(200 * NS_PER_MS);
		buf_append_zeros(&bytes, 4096);
		assert_ok(rpc_stream_write(upload, &op_none, &bytes, &fixture.err), &fixture.err);
		buf_release(&bytes);
	}
	assert_ok(rpc_stream_close_send(upload, &op_none, &fixture.err), &fixture.err);
	assert_ok(outcome(&fixture, upload), &fixture.err);
	rpc_stream_free(upload);
	stop(&fixture);
}

static void a_reader_that_stalls_ends(void **state)
{
	struct fixture fixture;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .calls = 1, .idle_s = 1 });
	struct raw_client client = raw_connect("127.0.0.1", fixture.port, true);
	uint32_t id = raw_open(&client, "/snix.t.T/Source");
	(void)raw_frame(&client, RAW_DATA, RAW_END_STREAM, id, "\0\0\0\0\0", 5);
	becomes_refused(&fixture, fixture.local);
	becomes_served(&fixture, fixture.local);
	raw_close(&client);
	stop(&fixture);
}

/* A client whose machine is gone answers no ping. */
static void a_dead_client_is_noticed(void **state)
{
	struct fixture fixture;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .keepalive_s = 1 });
	struct raw_client client = raw_connect("127.0.0.1", fixture.port, true);
	raw_open(&client, idle);
	assert_true(raw_closed(&client, 10 * NS_PER_S));
	raw_close(&client);
	stop(&fixture);
}

/* ---- Memory ---- */

static size_t memory(void)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	const char *line;
	struct err err = ERR_INIT;

	assert_ok(file_read_path(AT_FDCWD, "/proc/self/status", 1 << 16, &text, &err), &err);
	line = strstr(buf_string(&text), "RssAnon:");
	assert_non_null(line);
	return strtoul(line + 8, NULL, 10) << 10;
}

/* The library refuses a message that is too large when it has all of it: the quota ends it before. */
static void a_huge_message_is_not_kept(void **state)
{
	enum { HUGE = 300 << 20, FRAME = 16384 };
	static const uint8_t frame[FRAME];
	uint8_t head[5] = { 0, HUGE >> 24, (HUGE >> 16) & 0xff, (HUGE >> 8) & 0xff, HUGE & 0xff };
	struct fixture fixture;
	size_t before, most = 0;

	(void)state;
	start(&fixture, &(struct rpc_limits){ .memory = 48 << 20 });
	is_served(&fixture, fixture.tcp);
	before = memory();
	struct raw_client client = raw_connect("127.0.0.2", fixture.port, true);
	uint32_t id = raw_open(&client, sink);
	bool open = raw_frame(&client, RAW_DATA, 0, id, head, sizeof(head));
	for (int sent = 0; open && sent < HUGE; sent += FRAME) {
		open = raw_has_room(&client, id, FRAME, 2 * NS_PER_S) &&
		       raw_frame(&client, RAW_DATA, 0, id, frame, FRAME);
		client.window -= FRAME;
		client.stream_window -= FRAME;
		if (sent % (1 << 20) == 0 && memory() > most)
			most = memory();
	}
	/* The library may close idle connections first, which a client opens again. */
	becomes_served(&fixture, fixture.tcp);
	becomes_served(&fixture, fixture.local);
	raw_close(&client);
	printf("%zu MiB more at most\n", most > before ? (most - before) >> 20 : 0);
	assert_true(most < before + (150 << 20));
	stop(&fixture);
}

/* ---- Stopping ---- */

static void watchers_are_told(void **state)
{
	static const char serving[] = "\x00\x00\x00\x00\x02\x08\x01";
	static const char not_serving[] = "\x00\x00\x00\x00\x02\x08\x02";
	struct fixture fixture;
	int64_t begun;

	(void)state;
	start(&fixture, &(struct rpc_limits){ 0 });
	struct raw_client client = raw_connect("127.0.0.1", fixture.port, true);
	uint32_t id = raw_open(&client, "/grpc.health.v1.Health/Watch");
	(void)raw_frame(&client, RAW_DATA, RAW_END_STREAM, id, "\0\0\0\0\0", 5);
	assert_true(raw_receives(&client, serving, 7, 10 * NS_PER_S));
	begun = clock_monotonic_ns();
	rpc_server_drain(fixture.server);
	assert_true(raw_receives(&client, not_serving, 7, 10 * NS_PER_S));
	rpc_server_stop(fixture.server, begun + 60 * NS_PER_S);
	assert_true(clock_monotonic_ns() < begun + 20 * NS_PER_S);
	raw_close(&client);
	stop(&fixture);
}

/* Calls under way go on, new ones are refused, and what is left at the end of the grace is cancelled. */
static void stopping_in_the_middle(void **state)
{
	struct fixture fixture;
	int64_t begun = clock_monotonic_ns();

	(void)state;
	start(&fixture, &(struct rpc_limits){ 0 });
	struct rpc_stream *finishes = stream(&fixture, "t.T/Sink", 1);
	struct rpc_stream *hangs = stream(&fixture, "t.T/Idle", 1);
	is_served(&fixture, fixture.local); /* both streams were seen before it */
	rpc_server_drain(fixture.server);
	assert_int_not_equal(ask(&fixture, fixture.tcp, "t.T/Echo"), RC_OK);
	assert_ok(rpc_stream_close_send(finishes, &op_none, &fixture.err), &fixture.err);
	assert_ok(outcome(&fixture, finishes), &fixture.err);
	rpc_server_stop(fixture.server, clock_monotonic_ns() + NS_PER_S / 2);
	assert_int_not_equal(outcome(&fixture, hangs), RC_OK);
	assert_true(clock_monotonic_ns() < begun + 30 * NS_PER_S);
	rpc_stream_free(finishes);
	rpc_stream_free(hangs);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_client_has_a_share_of_the_calls),
		cmocka_unit_test(health_is_always_answered),
		cmocka_unit_test(one_client_has_a_share_of_the_connections),
		cmocka_unit_test(streams_of_a_connection),
		cmocka_unit_test(silent_streams_end),
		cmocka_unit_test(silent_connections_end),
		cmocka_unit_test(a_trickle_ends),
		cmocka_unit_test(a_slow_upload_goes_on),
		cmocka_unit_test(a_reader_that_stalls_ends),
		cmocka_unit_test(a_dead_client_is_noticed),
		cmocka_unit_test(a_huge_message_is_not_kept),
		cmocka_unit_test(watchers_are_told),
		cmocka_unit_test(stopping_in_the_middle),
	};

	cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
