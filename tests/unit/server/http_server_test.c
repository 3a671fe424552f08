/*
 * The HTTP server over handlers that do what the path of a request says: how long clients are waited for,
 * whom they hold up, what a head must not be, and that it stops at whatever moment.
 *
 *	/quick          a reply from `begin`
 *	/work, /remote  from `work`, which waits at the gate
 *	/wait           from `end`, once another thread woke it
 *	/body, /far     4 MiB from here, or from another machine, at the gate after the first block
 *	PUT /put        takes its body; PUT /slow: a little at a time, woken in between
 */
#include "http_test_util.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/op.h"
#include "threads.h"

enum { BODY = 4 << 20, WAITERS = 64 };

struct fake {
	struct http_server *server;
	int port;
	atomic_bool gate;          /* is open */
	atomic_uint in_work;       /* that wait at it */
	atomic_uint cancelled;     /* whose op ended there */
	atomic_uint begun, closed; /* exchanges */
	atomic_ulong taken;        /* bytes of bodies */

	atomic_bool stop_waking;
	pthread_t waker;
	pthread_mutex_t lock;
	struct http_exchange *waiting[WAITERS];
};

struct fake_state {
	bool woken;
	size_t sent;
	struct fake *fake;
};

/* Until the gate is open, or the op ends. */
static enum rc pass_gate(struct fake *fake, const struct op *op, struct err *err)
{
	enum rc rc;

	atomic_fetch_add(&fake->in_work, 1);
	while ((rc = op_check(op, err)) == RC_OK && !atomic_load(&fake->gate))
		clock_sleep_ns(NS_PER_MS);
	atomic_fetch_sub(&fake->in_work, 1);
	if (rc != RC_OK)
		atomic_fetch_add(&fake->cancelled, 1);
	return rc;
}

static enum rc read_body(void *context, const struct op *op, void *out, size_t len, size_t *got,
			 struct err *err)
{
	struct fake_state *state = context;
	size_t left = BODY - state->sent;
	enum rc rc = state->sent > 0 ? pass_gate(state->fake, op, err) : RC_OK;

	*got = 0;
	if (rc != RC_OK)
		return rc;
	*got = left < len ? left : len;
	memset(out, 'x', *got);
	state->sent += *got;
	return RC_OK;
}

static void free_nothing(void *context)
{
	(void)context;
}

static void reply_body(struct http_exchange *exchange, bool remote)
{
	const struct http_body body = { .len = BODY,
					.remote = remote,
					.context = exchange->state,
					.read = read_body,
					.free = free_nothing };
	struct MHD_Response *response;
	struct err err = ERR_INIT;

	if (http_body_response(exchange, &body, &response, &err) == RC_OK)
		http_reply(exchange, 200, response);
}

static void wait_for_waker(struct fake *fake, struct http_exchange *exchange)
{
	pthread_mutex_lock(&fake->lock);
	for (int i = 0; i < WAITERS; i++) {
		if (!fake->waiting[i] || fake->waiting[i] == exchange) {
			fake->waiting[i] = exchange;
			break;
		}
	}
	pthread_mutex_unlock(&fake->lock);
}

static void *wake_all(void *arg)
{
	struct fake *fake = arg;

	while (!atomic_load(&fake->stop_waking)) {
		pthread_mutex_lock(&fake->lock);
		for (int i = 0; i < WAITERS && atomic_load(&fake->gate); i++) {
			struct http_exchange *exchange = fake->waiting[i];

			fake->waiting[i] = NULL;
			if (exchange)
				http_exchange_wake(exchange);
		}
		pthread_mutex_unlock(&fake->lock);
		clock_sleep_ns(NS_PER_MS / 4);
	}
	return NULL;
}

static enum http_next begin(void *context, struct http_exchange *exchange)
{
	struct fake *fake = context;
	struct fake_state *state = exchange->state = mem_zalloc(sizeof(*state));
	const char *path = exchange->path;

	state->fake = fake;
	atomic_fetch_add(&fake->begun, 1);
	if (exchange->method == HTTP_PUT)
		return HTTP_BODY;
	if (strcmp(path, "/work") == 0 || strcmp(path, "/wait") == 0)
		return HTTP_WORK;
	if (strcmp(path, "/remote") == 0 || strcmp(path, "/far") == 0)
		return HTTP_WORK_REMOTE;
	if (strcmp(path, "/body") == 0)
		reply_body(exchange, false);
	else
		http_reply_text(exchange, strcmp(path, "/quick") == 0 ? 200 : 404, path);
	return HTTP_REPLIED;
}

static void work(void *context, struct http_exchange *exchange, const struct op *op)
{
	if (strcmp(exchange->path, "/far") == 0)
		reply_body(exchange, true);
	else if (strcmp(exchange->path, "/wait") != 0)
		(void)pass_gate(context, op, NULL);
}

static enum http_next end(void *context, struct http_exchange *exchange)
{
	struct fake_state *state = exchange->state;

	if (strcmp(exchange->path, "/wait") == 0 && !state->woken) {
		state->woken = true;
		wait_for_waker(context, exchange);
		return HTTP_WAIT;
	}
	http_reply_text(exchange, 200, exchange->path);
	return HTTP_REPLIED;
}

static void body(void *context, struct http_exchange *exchange, struct view bytes, size_t *taken)
{
	struct fake *fake = context;

	*taken = bytes.len;
	if (strcmp(exchange->path, "/slow") == 0 && bytes.len > 1000) {
		*taken = 1000;
		wait_for_waker(fake, exchange);
	}
	atomic_fetch_add(&fake->taken, *taken);
}

static void close_exchange(void *context, struct http_exchange *exchange)
{
	struct fake *fake = context;

	pthread_mutex_lock(&fake->lock);
	for (int i = 0; i < WAITERS; i++) {
		if (fake->waiting[i] == exchange)
			fake->waiting[i] = NULL;
	}
	pthread_mutex_unlock(&fake->lock);
	if (exchange->state)
		atomic_fetch_add(&fake->closed, 1);
	free(exchange->state);
}

static bool is_health(void *context, const struct http_exchange *exchange)
{
	(void)context;
	return strcmp(exchange->path, "/quick") == 0;
}

static void fake_start(struct fake *fake, const struct http_limits *limits, const char *proxy)
{
	const struct http_handlers handlers = { .context = fake,
						.begin = begin,
						.body = body,
						.end = end,
						.work = work,
						.close = close_exchange,
						.is_health = is_health };
	struct err err = ERR_INIT;

	*fake = (struct fake){ .gate = false };
	pthread_mutex_init(&fake->lock, NULL);
	assert_ok(http_server_new(limits, &handlers, &fake->server, &err), &err);
	if (proxy)
		assert_ok(http_server_trust_proxy(fake->server, proxy, &err), &err);
	assert_ok(http_server_listen(fake->server, "127.0.0.1:0", &fake->port, &err), &err);
	assert_ok(http_server_start(fake->server, &err), &err);
	fake->waker = testing_thread("waker", wake_all, fake);
}

static void fake_stop(struct fake *fake, int64_t grace_ns)
{
	http_server_drain(fake->server);
	http_server_stop(fake->server, clock_monotonic_ns() + grace_ns);
	atomic_store(&fake->stop_waking, true);
	pthread_join(fake->waker, NULL);
	http_server_free(fake->server);
	assert_int_equal(fake->begun, fake->closed);
}

/* Waits for it, long on a busy machine. */
#define assert_soon(condition)                                                                     \
	do {                                                                                       \
		int64_t until_ns = clock_monotonic_ns() + HTTP_TEST_PATIENCE_MS * NS_PER_MS;       \
		while (!(condition) && clock_monotonic_ns() < until_ns)                            \
			clock_sleep_ns(NS_PER_MS);                                                 \
		assert_true(condition);                                                            \
	} while (0)

static struct http_limits short_limits(void)
{
	struct http_limits limits = http_limits_default;

	limits.head_ns = 300 * NS_PER_MS;
	limits.rate_ns = 300 * NS_PER_MS;
	return limits;
}

/* ---- What comes back ---- */

static void replies(void **state)
{
	static const char *const heads[] = { "GET /quick HTTP/1.1", "GET /work HTTP/1.1",
					     "GET /remote HTTP/1.1", "GET /wait HTTP/1.1" };
	struct fake fake;

	(void)state;
	fake_start(&fake, NULL, NULL);
	atomic_store(&fake.gate, true);
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		assert_int_equal(http_status_from(1, fake.port, heads[i]), 200);
	for (int far = 0; far < 2; far++) {
		struct http_answer answer = http_ask_from(
			1, fake.port, far ? "GET /far HTTP/1.1" : "GET /body HTTP/1.1");

		assert_int_equal(answer.status, 200);
		assert_int_equal(answer.body.len, BODY);
		for (size_t at = 0; at < BODY; at += 4096)
			assert_int_equal(answer.body.ptr[at], 'x');
		http_answer_release(&answer);
		answer = http_ask_from(1, fake.port,
				       far ? "HEAD /far HTTP/1.1" : "HEAD /body HTTP/1.1");
		assert_int_equal(answer.status, 200);
		http_answer_release(&answer);
	}
	fake_stop(&fake, NS_PER_S);
}

static void bodies_that_come(void **state)
{
	AUTO_FREE char *bytes = mem_zalloc(100000);
	struct fake fake;

	(void)state;
	fake_start(&fake, NULL, NULL);
	atomic_store(&fake.gate, true);
	for (int slow = 0; slow < 2; slow++) {
		int fd = http_connect_from(1, fake.port);
		struct http_answer answer;

		assert_true(http_send_text(fd, slow ? "PUT /slow" : "PUT /put"));
		assert_true(http_send_text(
			fd, " HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"));
		assert_true(http_send(fd, bytes, 100000));
		answer = http_read_answer(fd, false);
		assert_int_equal(answer.status, 200);
		http_answer_release(&answer);
		close(fd);
	}
	assert_int_equal(fake.taken, 200000);
	fake_stop(&fake, NS_PER_S);
}

/* A target may be absolute. */
static void targets(void **state)
{
	struct fake fake;

	(void)state;
	fake_start(&fake, NULL, NULL);
	assert_int_equal(http_status_from(1, fake.port, "GET http://x/quick HTTP/1.1"), 200);
	assert_int_equal(http_status_from(1, fake.port, "GET HTTPS://x:1/quick?a=b HTTP/1.1"), 200);
	assert_int_equal(http_status_from(1, fake.port, "GET http://x HTTP/1.1"), 404);
	assert_int_equal(http_status_from(1, fake.port, "GET ftp://x/quick HTTP/1.1"), 404);
	fake_stop(&fake, NS_PER_S);
}

/* ---- Heads that mean two things ---- */

static void expect_refused(struct fake *fake, const char *head, size_t len, bool good)
{
	int fd = http_connect_from(1, fake->port);
	struct http_answer answer;

	assert_true(http_send(fd, head, len));
	answer = http_read_answer(fd, false);
	if (answer.status != (good ? 200 : 400))
		print_error("%.*s: %d\n", (int)len, head, answer.status);
	assert_int_equal(answer.status, good ? 200 : 400);
	/* What follows would be read as something else by somebody else. */
	while (!good && !http_is_closed(fd))
		;
	http_answer_release(&answer);
	close(fd);
}

static void ambiguous_heads(void **state)
{
#define HEAD(text) "PUT /put HTTP/1.1\r\nHost: x\r\n" text "\r\n\r\n"
#define ROW(text, body, good)                                                                      \
	{                                                                                          \
		HEAD(text) body, sizeof(HEAD(text) body) - 1, good                                 \
	}
	static const struct {
		const char *head;
		size_t len;
		bool good;
	} rows[] = {
		ROW("Content-Length: 3", "abc", true),
		ROW("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n", true),
		ROW("Content-Length: 3\r\nX: a\tb  ", "abc", true),
		ROW("Content-Length: 3\r\nContent-Length: 3", "abc", false),
		ROW("Content-Length: 3\r\nContent-Length: 1", "abc", false),
		ROW("Content-Length: 3\r\nContent-length: 1", "abc", false),
		ROW("Content-Length : 3", "abc", false),
		ROW("X : 1\r\nContent-Length: 3", "abc", false),
		ROW("Content-Length: 3\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n",
		    false),
		ROW("Transfer-Encoding: chunked\r\nContent-Length: 3", "3\r\nabc\r\n0\r\n\r\n",
		    false),
		ROW("Content-Length: +3", "abc", false),
		ROW("Content-Length: 3, 3", "abc", false),
		ROW("Content-Length: 0x3", "abc", false),
		ROW("Host: y\r\nContent-Length: 3", "abc", false),
		ROW("X: a\0b\r\nContent-Length: 3", "abc", false),
		ROW("Content-Length: 3\r\nX: a\0b", "abc", false),
		ROW("Content-Length: 3\r\nX: a\r\n b", "abc", false),
		ROW("Content-Length: 3\0"
		    "0",
		    "abc", false),
	};
	struct fake fake;

	(void)state;
	fake_start(&fake, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect_refused(&fake, rows[i].head, rows[i].len, rows[i].good);
	static const char hidden[] = "GET /quick\0x HTTP/1.1\r\nHost: x\r\n\r\n";

	expect_refused(&fake, hidden, sizeof(hidden) - 1, false);
	fake_stop(&fake, NS_PER_S);
}

/* ---- Who is waited for ---- */

static void slow_heads(void **state)
{
	struct http_limits limits = short_limits();
	struct fake fake;
	int fd, kept;
	bool open = true;
	struct http_answer answer;

	(void)state;
	fake_start(&fake, &limits, NULL);
	/* Now and then a byte. */
	fd = http_connect_from(1, fake.port);
	assert_true(http_send_text(fd, "GET /quick HTTP/1.1\r\nHost: x\r\nX: "));
	for (int i = 0; i < 200 && open; i++) {
		open = http_send_text(fd, "y");
		clock_sleep_ns(20 * NS_PER_MS);
	}
	assert_false(open);
	close(fd);
	/* A connection that had a request may wait longer for the next one. */
	kept = http_connect_from(1, fake.port);
	for (int i = 0; i < 2; i++) {
		assert_true(http_send_text(kept, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"));
		answer = http_read_answer(kept, false);
		assert_int_equal(answer.status, 200);
		http_answer_release(&answer);
		clock_sleep_ns(limits.head_ns * 3);
	}
	close(kept);
	fake_stop(&fake, NS_PER_S);
}

/* An upload that does not come, and a reply that nobody reads. */
static void bodies_have_to_go_on(void **state)
{
	struct http_limits limits = short_limits();
	struct fake fake;
	int up, down, small = 4096;

	(void)state;
	fake_start(&fake, &limits, NULL);
	atomic_store(&fake.gate, true);
	up = http_connect_from(1, fake.port);
	assert_true(
		http_send_text(up, "PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"));
	assert_true(http_is_closed(up));
	close(up);
	down = http_connect_from(1, fake.port);
	assert_int_equal(setsockopt(down, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_true(http_send_text(down, "GET /body HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_soon(fake.begun == 2 && fake.closed == 2);
	close(down);
	fake_stop(&fake, NS_PER_S);
}

/* What waits for us is not slow: work, and uploads that are not taken. */
static void our_own_waiting_is_no_fault(void **state)
{
	AUTO_FREE char *bytes = mem_zalloc(100000);
	struct http_limits limits = short_limits();
	struct fake fake;
	struct http_answer answer;
	int up, far, work_fd;

	(void)state;
	fake_start(&fake, &limits, NULL);
	up = http_connect_from(1, fake.port);
	far = http_connect_from(1, fake.port);
	work_fd = http_connect_from(1, fake.port);
	assert_true(http_send_text(
		up, "PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"));
	assert_true(http_send(up, bytes, 9000));
	assert_true(http_send_text(far, "GET /far HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_true(http_send_text(work_fd, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n"));
	clock_sleep_ns(limits.rate_ns * 4);
	assert_int_equal(fake.closed, 0);
	atomic_store(&fake.gate, true);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? up : i == 1 ? far : work_fd;

		answer = http_read_answer(fd, false);
		assert_int_equal(answer.status, 200);
		assert_false(answer.closed);
		http_answer_release(&answer);
		close(fd);
	}
	fake_stop(&fake, NS_PER_S);
}

/* Whose client goes is not worked for any more: before its reply, and in the middle of it. */
static void clients_that_go(void **state)
{
	static const char *const paths[] = { "/work", "/remote", "/far" };
	struct fake fake;

	(void)state;
	fake_start(&fake, NULL, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		char *text AUTO_FREE = mem_printf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
		int fd = http_connect_from(1, fake.port);
		char bytes[4096];

		assert_true(http_send_text(fd, text));
		while (i == 2 && fake.in_work == 0) {
			if (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
				clock_sleep_ns(NS_PER_MS);
		}
		assert_soon(fake.in_work == 1);
		close(fd);
		assert_soon(fake.cancelled == i + 1);
		assert_soon(fake.closed == i + 1);
	}
	fake_stop(&fake, NS_PER_S);
}

static void waiting_for_others_has_an_end(void **state)
{
	struct http_limits limits = http_limits_default;
	struct fake fake;

	(void)state;
	limits.wait_ns = 100 * NS_PER_MS;
	fake_start(&fake, &limits, NULL);
	assert_int_equal(http_status_from(1, fake.port, "GET /remote HTTP/1.1"), 200);
	assert_int_equal(fake.cancelled, 1);
	fake_stop(&fake, NS_PER_S);
}

/* ---- Who is held up ---- */

static void ask(int fd, const char *path)
{
	char *text AUTO_FREE = mem_printf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);

	assert_true(http_send_text(fd, text));
}

/* What waits for other machines holds up nobody who does not, and of one client not all others either. */
static void local_beside_remote(void **state)
{
	struct http_limits limits = http_limits_default;
	struct fake fake;
	int fds[32], other;

	(void)state;
	limits.remote_workers = 4;
	fake_start(&fake, &limits, NULL);
	for (int i = 0; i < 32; i++) {
		fds[i] = http_connect_from(1, fake.port);
		ask(fds[i], "/remote");
	}
	assert_soon(fake.in_work == 3);
	assert_int_equal(http_status_from(1, fake.port, "GET /quick HTTP/1.1"), 200);
	other = http_connect_from(2, fake.port);
	ask(other, "/remote");
	assert_soon(fake.in_work == 4);
	for (int i = 0; i < 32; i++)
		close(fds[i]);
	close(other);
	fake_stop(&fake, NS_PER_S);
}

static void silent_connections_give_way(void **state)
{
	struct http_limits limits = http_limits_default;
	struct fake fake;
	int fds[40];

	(void)state;
	limits.connections = 16;
	limits.client_connections = 8;
	fake_start(&fake, &limits, NULL);
	for (int i = 0; i < 40; i++) {
		fds[i] = http_connect_from(1 + i % 4, fake.port);
		assert_true(http_send_text(fds[i], "GET /quick HTTP/1.1\r\nHo"));
	}
	for (int i = 0; i < 10; i++) {
		assert_int_equal(http_status_from(1, fake.port, "GET /work2 HTTP/1.1"), 404);
		assert_int_equal(http_status_from(9, fake.port, "GET /work2 HTTP/1.1"), 404);
	}
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	fake_stop(&fake, NS_PER_S);
}

static void health_of_a_full_server(void **state)
{
	struct http_limits limits = http_limits_default;
	struct fake fake;
	int fds[4];

	(void)state;
	limits.connections = 4;
	limits.client_connections = 4;
	fake_start(&fake, &limits, NULL);
	for (int i = 0; i < 4; i++) {
		fds[i] = http_connect_from(1, fake.port);
		ask(fds[i], "/work");
	}
	assert_soon(fake.in_work == 4);
	assert_int_equal(http_status_from(2, fake.port, "GET /quick HTTP/1.1"), 200);
	assert_int_equal(http_status_from(2, fake.port, "GET /body HTTP/1.1"), 503);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	fake_stop(&fake, NS_PER_S);
}

/* Behind a proxy those count whom it names; and nobody else can name somebody. */
static void clients_of_a_proxy(void **state)
{
	static const char named[] = "GET /work HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.1";
	struct http_limits limits = http_limits_default;
	struct fake fake;
	int fds[2];

	(void)state;
	limits.client_connections = 2;
	fake_start(&fake, &limits, "127.0.0.7");
	for (int i = 0; i < 2; i++) {
		fds[i] = http_connect_from(7, fake.port);
		assert_true(http_send_text(fds[i], named));
		assert_true(http_send_text(fds[i], "\r\nHost: x\r\n\r\n"));
	}
	assert_soon(fake.in_work == 2);
	assert_int_equal(http_status_from(7, fake.port, named), 503);
	assert_int_equal(
		http_status_from(7, fake.port, "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.2"), 404);
	assert_int_equal(
		http_status_from(8, fake.port, "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1"), 404);
	/* Whom the proxy saw itself counts, not whom that one names. */
	assert_int_equal(http_status_from(7, fake.port,
					  "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2"),
			 404);
	assert_int_equal(http_status_from(7, fake.port,
					  "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.2, 10.0.0.1"),
			 503);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	fake_stop(&fake, NS_PER_S);
}

/* ---- Stopping ---- */

static void grace(void **state)
{
	struct fake fake;
	struct http_answer answer;
	int idle, busy;

	(void)state;
	fake_start(&fake, NULL, NULL);
	idle = http_connect_from(1, fake.port);
	ask(idle, "/quick");
	answer = http_read_answer(idle, false);
	http_answer_release(&answer);
	busy = http_connect_from(1, fake.port);
	ask(busy, "/work");
	assert_soon(fake.in_work == 1);
	http_server_drain(fake.server);
	/* Idle connections end, what is under way does not. */
	assert_true(http_is_closed(idle));
	atomic_store(&fake.gate, true);
	answer = http_read_answer(busy, false);
	assert_int_equal(answer.status, 200);
	http_answer_release(&answer);
	assert_true(http_is_closed(busy));
	close(idle);
	close(busy);
	fake_stop(&fake, 10 * NS_PER_S);
}

static void no_request_after_drain(void **state)
{
	struct fake fake;
	int fd;

	(void)state;
	fake_start(&fake, NULL, NULL);
	fd = http_connect_from(1, fake.port);
	assert_true(http_send_text(fd, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n"
				       "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_soon(fake.in_work == 1);
	http_server_drain(fake.server);
	atomic_store(&fake.gate, true);
	assert_soon(fake.closed == 1);
	fake_stop(&fake, 10 * NS_PER_S);
	assert_int_equal(fake.begun, 1);
	close(fd);
}

/* Requests at every stage, and it stops after some of them: never an abort, never a hang, nothing left. */
static void stop_at_every_stage(void **state)
{
	static const char *const heads[] = {
		"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /work HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /remote HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /far HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /body HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n",
		"GET /qui",
		"",
	};
	struct testing_random random = testing_random_from_env();
	AUTO_FREE char *bytes = mem_zalloc(10000);

	(void)state;
	for (int round = 0; round < 120; round++) {
		struct fake fake;
		int fds[12];

		fake_start(&fake, NULL, NULL);
		atomic_store(&fake.gate, testing_below(&random, 2) == 0);
		for (int i = 0; i < 12; i++) {
			size_t which = testing_below(&random, ARRAY_LEN(heads));

			fds[i] = http_connect_from(1, fake.port);
			(void)http_send_text(fds[i], heads[which]);
			if (which == 7)
				(void)http_send(fds[i], bytes, 10000);
			if (testing_below(&random, 8) == 0)
				shutdown(fds[i], SHUT_RDWR);
		}
		clock_sleep_ns((int64_t)testing_below(&random, 6 * NS_PER_MS));
		if (testing_below(&random, 4) == 0)
			atomic_store(&fake.gate, true);
		fake_stop(&fake, (int64_t)testing_below(&random, 4 * NS_PER_MS));
		for (int i = 0; i < 12; i++)
			close(fds[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		http_watched(replies),
		http_watched(bodies_that_come),
		http_watched(targets),
		http_watched(ambiguous_heads),
		http_watched(slow_heads),
		http_watched(bodies_have_to_go_on),
		http_watched(our_own_waiting_is_no_fault),
		http_watched(clients_that_go),
		http_watched(waiting_for_others_has_an_end),
		http_watched(local_beside_remote),
		http_watched(silent_connections_give_way),
		http_watched(health_of_a_full_server),
		http_watched(clients_of_a_proxy),
		http_watched(grace),
		http_watched(no_request_after_drain),
		http_watched(stop_at_every_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
