#include "unit/testing.h"

#include <zlib.h>

#include "base/clock.h"
#include "base/op.h"
#include "double/http.h"
#include "net/http_client.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

enum { BODY_LEN = 3 << 20 };

/* Impatient, so that tests are fast. */
static struct http_options quick(void)
{
	struct http_options options = http_options_default;

	options.connect_ns = NS_PER_S;
	options.stall_ns = 300 * NS_PER_MS;
	options.backoff_ns = 10 * NS_PER_MS;
	options.down_ns = 200 * NS_PER_MS;
	options.down_most_ns = 400 * NS_PER_MS;
	return options;
}

struct site {
	struct http_double *server;
	struct http_client *client;
	uint8_t *body; /* BODY_LEN */
	char url[64];
	struct err err;
};

static void open_site(struct site *site, http_double_answer *answer)
{
	struct http_options options = quick();
	struct testing_random random = testing_random_of(1);

	site->body = mem_alloc(BODY_LEN);
	testing_fill(&random, site->body, BODY_LEN);
	site->server = http_double_start(answer, site);
	site->client = http_client_new(&options);
	snprintf(site->url, sizeof(site->url), "http://127.0.0.1:%u/thing",
		 http_double_port(site->server));
}

static void close_site(struct site *site)
{
	http_client_free(site->client);
	http_double_stop(site->server);
	free(site->body);
}

static struct view body_of(const struct site *site)
{
	return view_of(site->body, BODY_LEN);
}

static enum rc get(struct site *site, size_t max, struct buf *out)
{
	return http_get(site->client, &op_none, site->url, max, out, &site->err);
}

/* All of a body, by http_open and http_body_read. */
static enum rc read_body(struct site *site, uint64_t from, struct buf *out)
{
	struct http_body *body;
	uint8_t bytes[5000];
	size_t got = 1;
	enum rc rc = http_open(site->client, &op_none, site->url, from, NULL, &body, &site->err);

	while (rc == RC_OK && got > 0) {
		rc = http_body_read(body, &op_none, bytes, sizeof(bytes), &got, &site->err);
		buf_append(out, bytes, got);
	}
	http_body_free(body);
	return rc;
}

/* ---- Plain ---- */

static void answer_plain(void *context, struct http_exchange *x)
{
	struct site *site = context;

	if (strcmp(x->path, "/thing") == 0)
		http_double_reply_range(x, "ETag: \"one\"\r\n", body_of(site));
	else
		http_double_reply(x, atoi(x->path + 1), "", view_of(NULL, 0));
}

static void test_get(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_plain);
	for (int i = 0; i < 3; i++) {
		buf_clear(&out);
		assert_ok(get(&site, BODY_LEN, &out), &site.err);
		assert_view_equal(buf_view(&out), body_of(&site));
	}
	assert_int_equal(http_double_connections(site.server), 1);
	buf_clear(&out);
	assert_rc(RC_TOO_LARGE, get(&site, BODY_LEN - 1, &out), &site.err);
	assert_int_equal(out.len, 0);
	close_site(&site);
}

static void test_head(void **state)
{
	struct http_reply reply;
	struct site site;

	(void)state;
	open_site(&site, answer_plain);
	for (int i = 0; i < 3; i++) {
		assert_ok(http_head(site.client, &op_none, site.url, &reply, &site.err), &site.err);
		assert_int_equal(reply.size, BODY_LEN);
		assert_string_equal(reply.etag, "\"one\"");
	}
	assert_int_equal(http_double_connections(site.server), 1);
	close_site(&site);
}

static void test_body(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_plain);
	assert_ok(read_body(&site, 0, &out), &site.err);
	assert_view_equal(buf_view(&out), body_of(&site));
	buf_clear(&out);
	assert_ok(read_body(&site, 1234567, &out), &site.err);
	assert_view_equal(buf_view(&out), view_slice(body_of(&site), 1234567, BODY_LEN - 1234567));
	assert_int_equal(http_double_connections(site.server), 1);
	close_site(&site);
}

static void test_statuses(void **state)
{
	static const struct {
		int status;
		enum rc rc;
		unsigned attempts;
	} cases[] = {
		{ 404, RC_NOT_FOUND, 1 },   { 403, RC_NOT_FOUND, 1 },   { 410, RC_NOT_FOUND, 1 },
		{ 401, RC_DENIED, 1 },      { 400, RC_UNAVAILABLE, 1 }, { 304, RC_UNAVAILABLE, 1 },
		{ 500, RC_UNAVAILABLE, 4 }, { 503, RC_UNAVAILABLE, 4 }, { 429, RC_UNAVAILABLE, 4 },
	};
	struct site site;

	(void)state;
	open_site(&site, answer_plain);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned before = http_double_requests(site.server);
		AUTO_BUF out = BUF_INIT;

		sprintf(strrchr(site.url, '/') + 1, "%d", cases[i].status);
		assert_rc(cases[i].rc, get(&site, 100, &out), &site.err);
		assert_says(&site.err, site.url);
		assert_int_equal(http_double_requests(site.server) - before, cases[i].attempts);
	}
	close_site(&site);
}

/* ---- Bodies that break off ---- */

/* Every reply ends after a third of what is left, or some 100,000 bytes. */
static void answer_broken(void *context, struct http_exchange *x)
{
	struct site *site = context;
	size_t from = http_double_range(x), left = BODY_LEN - from;

	http_double_print(x,
			  "HTTP/1.1 %d Yes\r\nETag: \"one\"\r\nContent-Length: %zu\r\n"
			  "Content-Range: bytes %zu-%d/%d\r\n\r\n",
			  from ? 206 : 200, left, from, BODY_LEN - 1, BODY_LEN);
	http_double_send(x,
			 view_slice(body_of(site), from, left > 100000 ? left / 3 + 50000 : left));
	x->hang_up = true;
}

static void answer_broken_without_ranges(void *context, struct http_exchange *x)
{
	struct site *site = context;

	http_double_print(x, "HTTP/1.1 200 Yes\r\nContent-Length: %d\r\n\r\n", BODY_LEN);
	http_double_send(x, view_slice(body_of(site), 0, (x->number + 1) * (BODY_LEN / 3)));
	x->hang_up = true;
}

static void test_going_on(void **state)
{
	static http_double_answer *const answers[] = { answer_broken,
						       answer_broken_without_ranges };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct site site;
		AUTO_BUF out = BUF_INIT;

		open_site(&site, answers[i]);
		assert_ok(read_body(&site, 0, &out), &site.err);
		assert_view_equal(buf_view(&out), body_of(&site));
		assert_true(http_double_requests(site.server) >= 3);
		close_site(&site);
	}
}

static void answer_changed(void *context, struct http_exchange *x)
{
	struct site *site = context;

	http_double_print(x, "HTTP/1.1 200 Yes\r\nETag: \"%u\"\r\nContent-Length: %d\r\n\r\n",
			  x->number, BODY_LEN);
	http_double_send(x, view_slice(body_of(site), 0, BODY_LEN / 2));
	x->hang_up = true;
}

static void test_changed_meanwhile(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_changed);
	assert_rc(RC_UNAVAILABLE, read_body(&site, 0, &out), &site.err);
	assert_says(&site.err, "changed");
	assert_int_equal(out.len, BODY_LEN / 2);
	close_site(&site);
}

/* One byte, and gone: for ever, if one lets it. */
static void answer_tarpit(void *context, struct http_exchange *x)
{
	struct site *site = context;
	size_t from = http_double_range(x);

	http_double_print(x,
			  "HTTP/1.1 %d Yes\r\nContent-Length: %zu\r\n"
			  "Content-Range: bytes %zu-%d/%d\r\n\r\n",
			  from ? 206 : 200, BODY_LEN - from, from, BODY_LEN - 1, BODY_LEN);
	http_double_send(x, view_slice(body_of(site), from, 1));
	x->hang_up = true;
}

static void test_breaking_off_after_each_byte(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_tarpit);
	assert_rc(RC_UNAVAILABLE, read_body(&site, 0, &out), &site.err);
	assert_in_range(http_double_requests(site.server), 2, 6);
	close_site(&site);
}

/* ---- Servers that are slow, or dead ---- */

static void answer_silence(void *context, struct http_exchange *x)
{
	(void)context;
	http_double_sleep(x, 60000);
}

static void answer_drip(void *context, struct http_exchange *x)
{
	struct site *site = context;

	http_double_print(x, "HTTP/1.1 200 Yes\r\nContent-Length: %d\r\n\r\n", BODY_LEN);
	for (size_t i = 0; i < 1000 && !x->hang_up; i++) {
		http_double_send(x, view_slice(body_of(site), i, 1));
		http_double_sleep(x, 20);
	}
}

static void test_slow(void **state)
{
	int64_t start = clock_monotonic_ns();
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_silence);
	assert_rc(RC_UNAVAILABLE, get(&site, 100, &out), &site.err);
	assert_says(&site.err, "no reply after 300 ms");
	close_site(&site);
	open_site(&site, answer_drip);
	assert_rc(RC_UNAVAILABLE, read_body(&site, 0, &out), &site.err);
	assert_says(&site.err, "bytes in 300 ms");
	close_site(&site);
	assert_true(clock_monotonic_ns() - start < 10 * NS_PER_S);
}

static void test_deadline(void **state)
{
	int64_t start = clock_monotonic_ns();
	struct op op = { .deadline_ns = start + 150 * NS_PER_MS };
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_silence);
	assert_rc(RC_DEADLINE, http_get(site.client, &op, site.url, 100, &out, &site.err),
		  &site.err);
	assert_true(clock_monotonic_ns() - start < 290 * NS_PER_MS);
	close_site(&site);
}

static void test_dead(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;
	int64_t start;

	(void)state;
	open_site(&site, answer_plain);
	http_double_stop(site.server);
	assert_rc(RC_UNAVAILABLE, get(&site, 100, &out), &site.err);
	start = clock_monotonic_ns();
	assert_rc(RC_UNAVAILABLE, get(&site, 100, &out), &site.err);
	assert_says(&site.err, "not asked");
	assert_true(clock_monotonic_ns() - start < 5 * NS_PER_MS);
	http_client_free(site.client);
	free(site.body);
}

/* Gone for a while, then back. */
static void answer_none_then_plain(void *context, struct http_exchange *x)
{
	if (x->number < 4)
		x->hang_up = true;
	else
		answer_plain(context, x);
}

static void test_back_again(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_none_then_plain);
	assert_rc(RC_UNAVAILABLE, get(&site, BODY_LEN, &out), &site.err);
	assert_rc(RC_UNAVAILABLE, get(&site, BODY_LEN, &out), &site.err);
	assert_int_equal(http_double_requests(site.server), 4);
	clock_sleep_ns(250 * NS_PER_MS);
	assert_ok(get(&site, BODY_LEN, &out), &site.err);
	close_site(&site);
}

/* ---- Nonsense ---- */

static void answer_huge_headers(void *context, struct http_exchange *x)
{
	(void)context;
	http_double_print(x, "HTTP/1.1 200 Yes\r\n");
	for (int i = 0; i < 100000 && !x->hang_up; i++)
		http_double_print(x, "X-%d: 0123456789\r\n", i);
	http_double_print(x, "\r\n");
	x->hang_up = true;
}

static void answer_nonsense(void *context, struct http_exchange *x)
{
	(void)context;
	http_double_print(x, "%c%c%cnot HTTP\r\n\r\n", 1, 2, 3);
	x->hang_up = true;
}

static void answer_redirect(void *context, struct http_exchange *x)
{
	struct site *site = context;

	if (strcmp(x->path, "/there") == 0)
		http_double_reply(x, 200, "", view_of_string("here"));
	else if (strcmp(x->path, "/thing") == 0)
		http_double_reply(x, 302, "Location: /there\r\n", view_of_string("elsewhere"));
	else if (strcmp(x->path, "/file") == 0)
		http_double_reply(x, 302, "Location: file:///etc/passwd\r\n", body_of(site));
	else
		http_double_reply(x, 302, "Location: /loop\r\n", body_of(site));
}

static void test_nonsense(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_huge_headers);
	assert_rc(RC_TOO_LARGE, get(&site, 100, &out), &site.err);
	close_site(&site);
	open_site(&site, answer_nonsense);
	assert_rc(RC_UNAVAILABLE, get(&site, 100, &out), &site.err);
	close_site(&site);
	assert_int_equal(out.len, 0);
}

static void test_redirects(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_redirect);
	assert_ok(get(&site, 100, &out), &site.err);
	assert_string_equal(buf_string(&out), "here");
	strcpy(strrchr(site.url, '/'), "/file");
	assert_rc(RC_UNAVAILABLE, get(&site, 1 << 20, &out), &site.err);
	strcpy(strrchr(site.url, '/'), "/loop");
	assert_rc(RC_UNAVAILABLE, get(&site, 1 << 20, &out), &site.err);
	assert_string_equal(buf_string(&out), "here");
	close_site(&site);
}

/* A bomb in a Content-Encoding: what counts is what comes out. */
static void answer_gzip(void *context, struct http_exchange *x)
{
	static uint8_t zeros[1 << 20];
	uint8_t packed[1 << 14];
	z_stream gzip = { .next_in = zeros, .avail_in = sizeof(zeros) };

	(void)context;
	deflateInit2(&gzip, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
	gzip.next_out = packed;
	gzip.avail_out = sizeof(packed);
	deflate(&gzip, Z_FINISH);
	http_double_reply(x, 200, "Content-Encoding: gzip\r\n", view_of(packed, gzip.total_out));
	deflateEnd(&gzip);
}

static void test_content_encoding(void **state)
{
	struct site site;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	open_site(&site, answer_gzip);
	assert_rc(RC_TOO_LARGE, get(&site, 100000, &out), &site.err);
	assert_ok(get(&site, 1 << 20, &out), &site.err);
	assert_int_equal(out.len, 1 << 20);
	close_site(&site);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_going_on),
		cmocka_unit_test(test_changed_meanwhile),
		cmocka_unit_test(test_breaking_off_after_each_byte),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_back_again),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_redirects),
		cmocka_unit_test(test_content_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
