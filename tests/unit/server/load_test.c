/*
 * Many and bad clients of a server: what they hold of its memory is bounded, and the next client is
 * served. Server and clients are one process; what is measured is both.
 */
#include "server/store_rpc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../testing.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "double/daemon.h"
#include "net/messages.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"

enum { LARGE = 24 << 20 };

struct fixture {
	char *dir;
	struct daemon daemon;
	struct rpc_channel *channel;
	struct digest large;
	struct err err;
};

static const char put_method[] = "castore.v1.BlobService/Put";
static const char read_method[] = "castore.v1.BlobService/Read";
static const char stat_method[] = "castore.v1.BlobService/Stat";

static void start(struct fixture *fixture)
{
	struct services services = { .blobs = blob_memory_new(),
				     .directories = directory_memory_new(),
				     .path_infos = path_info_memory_new(),
				     .nar_facts = nar_facts_memory_new() };
	struct rpc_server_options options = { .threads = 4, .limits = { .streams = 1024 } };
	uint8_t *bytes = mem_alloc(LARGE);

	*fixture = (struct fixture){ .dir = testing_dir() };
	for (size_t i = 0; i < LARGE; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	assert_ok(blob_service_put(services.blobs, &op_none, view_of(bytes, LARGE), &fixture->large,
				   &fixture->err),
		  &fixture->err);
	free(bytes);
	assert_ok(daemon_start(&fixture->daemon, fixture->dir, &services, &options, &fixture->err),
		  &fixture->err);
	assert_ok(
		daemon_connect(&fixture->daemon, "?package=snix", &fixture->channel, &fixture->err),
		&fixture->err);
}

static void stop(struct fixture *fixture)
{
	rpc_channel_unref(fixture->channel);
	daemon_stop(&fixture->daemon);
	testing_dir_cleanup(&fixture->dir);
}

/* A client that comes after the bad ones, within ten seconds. */
static void next_is_served(struct fixture *fixture)
{
	struct op op = { .deadline_ns = clock_monotonic_ns() + 10 * NS_PER_S };
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	message_write_stat_request(&fixture->large, true, &request);
	assert_ok(rpc_unary(fixture->channel, &op, stat_method, buf_view(&request), true, &reply,
			    &fixture->err),
		  &fixture->err);
	assert_true(reply.len > 0);
}

/* Bytes of anonymous memory. */
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

/* Sanitizers keep what was freed: there only the behaviour counts. */
static void assert_grown_less(size_t before, size_t most)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)before;
	(void)most;
#else
	size_t now = memory();

	if (now > before + most)
		fail_msg("%zu MiB more, where %zu are too many", (now - before) >> 20, most >> 20);
#endif
}

static int connect_raw(const struct fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, fixture->daemon.socket);
	/* The kernel queues only so many that are not accepted yet. */
	for (int i = 0; connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0; i++) {
		assert_true(i < 1000);
		clock_sleep_ns(5 * NS_PER_MS);
	}
	return fd;
}

static void send_bytes(int fd, const void *bytes, size_t len)
{
	/* The server may have hung up already. */
	if (send(fd, bytes, len, MSG_NOSIGNAL) < 0)
		return;
}

/* The preface of HTTP/2 and an empty SETTINGS frame. */
static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void thousand_connections(void **state)
{
	enum { CONNECTIONS = 1000 };
	struct fixture fixture;
	struct rlimit limit;
	int *fds = mem_array(CONNECTIONS, sizeof(int));
	size_t before;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 2 * CONNECTIONS + 100)
		skip();
	start(&fixture);
	next_is_served(&fixture);
	before = memory();
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = connect_raw(&fixture);
		/* Silent ones, polite ones, and such as speak something else. */
		if (i % 3 == 1)
			send_bytes(fds[i], hello, sizeof(hello) - 1);
		else if (i % 3 == 2)
			send_bytes(fds[i], "GET / HTTP/1.0\r\n\r\n", 18);
	}
	next_is_served(&fixture);
	assert_grown_less(before, 100 << 20);
	for (int i = 0; i < CONNECTIONS; i++)
		close(fds[i]);
	next_is_served(&fixture);
	free(fds);
	stop(&fixture);
}

/* Streams that are begun and cancelled at once, again and again. */
static void rapid_resets(void **state)
{
	enum { ROUNDS = 15, AT_ONCE = 200 };
	struct fixture fixture;
	struct rpc_stream *streams[AT_ONCE];
	size_t before = 0;

	(void)state;
	start(&fixture);
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < AT_ONCE; i++) {
			struct buf message = BUF_INIT;

			streams[i] = rpc_stream_open(fixture.channel, &op_none,
						     i % 2 ? put_method : read_method);
			message_write_digest(&fixture.large, &message);
			assert_ok(rpc_stream_write(streams[i], &op_none, &message, &fixture.err),
				  &fixture.err);
			buf_release(&message);
		}
		for (size_t i = 0; i < AT_ONCE; i++)
			rpc_stream_free(streams[i]);
		if (round == 5)
			before = memory();
	}
	next_is_served(&fixture);
	assert_grown_less(before, 96 << 20);
	stop(&fixture);
}

/* Clients that ask for a large blob and do not read it. */
static void stalled_readers(void **state)
{
	enum { READERS = 250 };
	struct fixture fixture;
	struct rpc_stream *streams[READERS];
	struct buf message = BUF_INIT;
	size_t before;
	bool end;

	(void)state;
	start(&fixture);
	next_is_served(&fixture);
	before = memory();
	for (size_t i = 0; i < READERS; i++) {
		streams[i] = rpc_stream_open(fixture.channel, &op_none, read_method);
		message_write_digest(&fixture.large, &message);
		assert_ok(rpc_stream_write(streams[i], &op_none, &message, &fixture.err),
			  &fixture.err);
		assert_ok(rpc_stream_close_send(streams[i], &op_none, &fixture.err), &fixture.err);
	}
	clock_sleep_ns(500 * NS_PER_MS);
	next_is_served(&fixture);
	/* Blocks, and a little for each, and the windows of the client; unbounded it would be 1.2 GiB. */
	assert_grown_less(before, 400 << 20);
	for (size_t i = 0; i < READERS - 1; i++)
		rpc_stream_free(streams[i]);
	/* One of them goes on after all, and gets all of it. */
	uint64_t got = 0;

	for (end = false; !end;) {
		struct view data;

		assert_ok(rpc_stream_read(streams[READERS - 1], &op_none, &message, &end,
					  &fixture.err),
			  &fixture.err);
		if (!end)
			assert_ok(message_read_blob_chunk(buf_view(&message), &data, &fixture.err),
				  &fixture.err);
		got += end ? 0 : data.len;
	}
	assert_int_equal(got, LARGE);
	rpc_stream_free(streams[READERS - 1]);
	buf_release(&message);
	stop(&fixture);
}

/* Uploads of large blobs that stop in the middle: past a number of them, refused in words. */
static void stalled_uploads(void **state)
{
	enum { UPLOADS = 600, PIECE = 100 << 10 };
	struct fixture fixture;
	struct rpc_stream *streams[UPLOADS];
	size_t before, refused = 0;

	(void)state;
	start(&fixture);
	next_is_served(&fixture);
	before = memory();
	for (size_t i = 0; i < UPLOADS; i++) {
		struct buf message = BUF_INIT;

		streams[i] = rpc_stream_open(fixture.channel, &op_none, put_method);
		message_begin_blob_chunk(PIECE, &message);
		buf_append_zeros(&message, PIECE);
		(void)!rpc_stream_write(streams[i], &op_none, &message, &fixture.err);
		buf_release(&message);
	}
	clock_sleep_ns(300 * NS_PER_MS);
	next_is_served(&fixture);
	assert_grown_less(before, (size_t)400 << 20);
	for (size_t i = 0; i < UPLOADS; i++) {
		struct op soon = { .deadline_ns = clock_monotonic_ns() + NS_PER_MS };
		struct buf reply CLEANUP(buf_release) = BUF_INIT;
		bool end;

		if (rpc_stream_read(streams[i], &soon, &reply, &end, &fixture.err) ==
		    RC_TOO_LARGE) {
			assert_says(&fixture.err, "as many large blobs already");
			refused++;
		}
		rpc_stream_free(streams[i]);
	}
	assert_int_equal(refused, UPLOADS - 512);
	next_is_served(&fixture);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thousand_connections),
		cmocka_unit_test(rapid_resets),
		cmocka_unit_test(stalled_readers),
		cmocka_unit_test(stalled_uploads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
