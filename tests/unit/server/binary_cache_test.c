/*
 * A binary cache over its server: who may do what on which path, what replies say, NARs of very many
 * pieces, and that what is here is answered whatever happens to what is elsewhere.
 */
#include "http_test_util.h"

#include <stdatomic.h>

#include "base/op.h"
#include "local/local_store.h"
#include "nix/narinfo.h"
#include "nix/nixbase32.h"
#include "nix/nar_writer.h"
#include "server/cache_server.h"
#include "service/blob/local.h"
#include "service/path_info/cache.h"
#include "service/scratch/scratch_store.h"
#include "transfer/nar.h"
#include "unit/transfer/sample.h"

#define HASH  "164lxbkvgz5nivqmh4ad037xnj38wvbm"
#define OTHER "264lxbkvgz5nivqmh4ad037xnj38wvbm"

/* ---- Another machine, which does not answer ---- */

struct far {
	struct path_info_service base;
	atomic_uint asked, ended;
};

static enum rc far_get(struct path_info_service *service, const struct op *op,
		       const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		       struct err *err)
{
	struct far *far = CONTAINER_OF(service, struct far, base);
	enum rc rc;

	(void)hash, (void)out;
	atomic_fetch_add(&far->asked, 1);
	while ((rc = op_check(op, err)) == RC_OK)
		clock_sleep_ns(NS_PER_MS);
	atomic_fetch_add(&far->ended, 1);
	return rc;
}

static enum rc far_put(struct path_info_service *service, const struct op *op,
		       const struct path_info *info, struct path_info *stored, struct err *err)
{
	(void)service, (void)op, (void)info, (void)stored;
	return err_set(err, RC_UNSUPPORTED, "nothing is put there");
}

static enum rc far_list(struct path_info_service *service, const struct op *op,
			const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			struct err *err)
{
	(void)service, (void)op, (void)after, (void)out;
	return err_set(err, RC_UNSUPPORTED, "nothing is listed there");
}

static void far_free(struct path_info_service *service)
{
	(void)service; /* of the test's stack */
}

static const struct path_info_service_ops far_ops = {
	.name = "far",
	.remote = true,
	.free = far_free,
	.get = far_get,
	.put = far_put,
	.list = far_list,
};

/* ---- A cache of one path ---- */

struct fixture {
	struct services services;
	struct cache_server server;
	struct path_info info;
	struct buf nar;
	char *url;
	int port;
};

static void start(struct fixture *fixture, const struct binary_cache_options *options)
{
	struct binary_cache_options all = *options;
	struct err err = ERR_INIT;

	all.services = &fixture->services;
	all.upload_limits = nar_upload_limits_default;
	assert_ok(cache_server_open(&all, NULL, &fixture->server, &err), &err);
	assert_ok(http_server_listen(fixture->server.http, "127.0.0.1:0", &fixture->port, &err),
		  &err);
	assert_ok(http_server_start(fixture->server.http, &err), &err);
}

static void add_path(struct fixture *fixture)
{
	struct sample sample = { .services = fixture->services };
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct err err = ERR_INIT;
	struct nar_facts facts;
	struct node node;

	assert_ok(blob_service_open_batch(sample.services.blobs, &op_none, &sample.batch, &err),
		  &err);
	node = sample_file(&sample, "", view_of_string("hello"), false);
	sample_commit(&sample, false);
	blob_batch_free(sample.batch);
	nar_begin(&fixture->nar);
	nar_file_begin(&fixture->nar, false, 5);
	buf_append_string(&fixture->nar, "hello");
	nar_file_end(&fixture->nar, 5);
	assert_ok(nar_facts_of(&fixture->services, &op_none, &node, &facts, &err), &err);
	assert_ok(
		store_path_parse_basename(view_of_string(HASH "-hello"), &fixture->info.path, &err),
		&err);
	store_path_basename(&fixture->info.path, basename);
	node.name = view_of_string(basename);
	node_copy(&fixture->info.node, &node);
	fixture->info.nar_size = facts.nar_size;
	fixture->info.nar_sha256 = facts.nar_sha256;
	assert_ok(path_info_service_put(fixture->services.path_infos, &op_none, &fixture->info,
					NULL, &err),
		  &err);
}

static void fixture_init(struct fixture *fixture)
{
	*fixture = (struct fixture){
		.services = { .blobs = blob_memory_new(),
			      .directories = directory_memory_new(),
			      .path_infos = path_info_memory_new(),
			      .nar_facts = nar_facts_memory_new(),
			      .scratch = scratch_memory_new() },
	};
	add_path(fixture);
}

static void stop(struct fixture *fixture, int64_t grace_ns)
{
	const struct server server = cache_server_as_server(&fixture->server);

	servers_stop(&server, 1, grace_ns);
	cache_server_close(&fixture->server);
}

static void fixture_release(struct fixture *fixture)
{
	services_release(&fixture->services);
	path_info_release(&fixture->info);
	buf_release(&fixture->nar);
	free(fixture->url);
}

static struct http_answer ask(struct fixture *fixture, const char *method, const char *path,
			      const char *headers)
{
	char *head AUTO_FREE = mem_printf("%s %s HTTP/1.1%s", method, path, headers);

	return http_ask_from(1, fixture->port, head);
}

static int status_of(struct fixture *fixture, const char *method, const char *path,
		     const char *headers)
{
	struct http_answer answer = ask(fixture, method, path, headers);

	http_answer_release(&answer);
	return answer.status;
}

static void expect_header(struct http_answer *answer, const char *name, const char *value)
{
	char *is AUTO_FREE = http_answer_header(answer, name);

	if (!value)
		assert_null(is);
	else
		assert_string_equal(is ? is : "", value);
}

/* "/nar/…" of the path's narinfo. */
static void find_url(struct fixture *fixture)
{
	struct http_answer answer = ask(fixture, "GET", "/" HASH ".narinfo", "");
	const char *at;

	assert_int_equal(answer.status, 200);
	at = strstr(buf_string(&answer.body), "URL: ");
	assert_non_null(at);
	fixture->url = mem_printf("/%.*s", (int)strcspn(at + 5, "\n"), at + 5);
	http_answer_release(&answer);
}

/* ---- Who may ---- */

#define NO_BODY "\r\nContent-Length: 0"

static void who_may_upload(void **state)
{
	static const char *const paths[] = {
		"/" HASH ".narinfo", "/nar/x.nar",          "/nar/" HASH ".nar",
		"/" HASH ".ls",      "/nix-cache-info",     "/log/x.drv",
		"/healthz",          "/nar/snix-castore/x", "/nowhere",
	};
	static const struct {
		const char *header;
		bool good;
	} credentials[] = {
		{ "", false },
		{ "\r\nAuthorization: Bearer s3cret", true },
		{ "\r\nAuthorization: bearer s3cret", true },
		{ "\r\nAuthorization: Bearer s3cre", false },
		{ "\r\nAuthorization: Bearer s3cret2", false },
		{ "\r\nAuthorization: Bearer", false },
		{ "\r\nAuthorization: s3cret", false },
		{ "\r\nAuthorization: Basic OnMzY3JldA==", true },     /* :s3cret */
		{ "\r\nAuthorization: Basic YW55OnMzY3JldA==", true }, /* any:s3cret */
		{ "\r\nAuthorization: Basic czNjcmV0", false },        /* s3cret */
		{ "\r\nAuthorization: Basic czNjcmV0Og==", false },    /* s3cret: */
		{ "\r\nAuthorization: Basic !!!", false },
		{ "\r\nCookie: s3cret", false },
	};
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture);
	start(&fixture,
	      &(struct binary_cache_options){ .uploads = true, .upload_token = "s3cret" });
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		for (size_t n = 0; n < ARRAY_LEN(credentials); n++) {
			char *headers AUTO_FREE = mem_printf("%s" NO_BODY, credentials[n].header);
			int put = status_of(&fixture, "PUT", paths[i], headers);

			if ((put == 401) == credentials[n].good) {
				print_error("PUT %s with '%s': %d\n", paths[i],
					    credentials[n].header, put);
				fail();
			}
			assert_true(put >= 400);
			/* Reading asks for none, and nothing else is anybody's. */
			if (n > 1)
				continue;
			assert_int_not_equal(
				status_of(&fixture, "GET", paths[i], credentials[n].header), 401);
			assert_int_equal(status_of(&fixture, "POST", paths[i], headers), 405);
			assert_int_equal(status_of(&fixture, "DELETE", paths[i], headers), 405);
		}
	}
	stop(&fixture, NS_PER_S);
	/* Without uploads there are none, token or not. */
	start(&fixture, &(struct binary_cache_options){ .upload_token = "s3cret" });
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		for (size_t n = 0; n < 2; n++) {
			char *headers AUTO_FREE = mem_printf("%s" NO_BODY, credentials[n].header);

			assert_int_equal(status_of(&fixture, "PUT", paths[i], headers), 405);
		}
	stop(&fixture, NS_PER_S);
	fixture_release(&fixture);
}

static void expect_allow(struct fixture *fixture, const char *path, const char *allow)
{
	struct http_answer answer = ask(fixture, "BREW", path, "");

	assert_int_equal(answer.status, 405);
	expect_header(&answer, "Allow", allow);
	http_answer_release(&answer);
}

static void allowed_methods(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture);
	start(&fixture, &(struct binary_cache_options){ .uploads = true });
	expect_allow(&fixture, "/" HASH ".narinfo", "GET, HEAD, PUT");
	expect_allow(&fixture, "/nar/x.nar.xz", "GET, HEAD, PUT");
	expect_allow(&fixture, "/nix-cache-info", "GET, HEAD");
	stop(&fixture, NS_PER_S);
	start(&fixture, &(struct binary_cache_options){ 0 });
	expect_allow(&fixture, "/" HASH ".narinfo", "GET, HEAD");
	stop(&fixture, NS_PER_S);
	fixture_release(&fixture);
}

/* ---- What replies say ---- */

static void conditions(void **state)
{
	struct fixture fixture;
	const char *path = "/" HASH ".narinfo";

	(void)state;
	fixture_init(&fixture);
	start(&fixture, &(struct binary_cache_options){ 0 });
	find_url(&fixture);
	for (int nar = 0; nar < 2; nar++) {
		struct http_answer answer = ask(&fixture, "GET", nar ? fixture.url : path, "");
		char *etag AUTO_FREE = http_answer_header(&answer, "ETag");
		char *same AUTO_FREE = mem_printf("\r\nIf-None-Match: W/%s", etag);
		char *match AUTO_FREE = mem_printf("\r\nIf-Match: \"x\", %s", etag);

		assert_int_equal(answer.status, 200);
		expect_header(&answer, "Cache-Control",
			      nar ? "max-age=31536000, immutable" : "max-age=3600");
		http_answer_release(&answer);
		answer = ask(&fixture, "GET", nar ? fixture.url : path, same);
		assert_int_equal(answer.status, 304);
		expect_header(&answer, "Content-Length", NULL);
		expect_header(&answer, "ETag", etag);
		http_answer_release(&answer);
		assert_int_equal(status_of(&fixture, "GET", nar ? fixture.url : path, match), 200);
		assert_int_equal(
			status_of(&fixture, "GET", nar ? fixture.url : path, "\r\nIf-Match: \"x\""),
			412);
		assert_int_equal(
			status_of(&fixture, "GET", nar ? fixture.url : path, "\r\nIf-Match: *"),
			200);
	}
	struct http_answer miss = ask(&fixture, "GET", "/" OTHER ".narinfo", "");
	assert_int_equal(miss.status, 404);
	expect_header(&miss, "Cache-Control", "max-age=10");
	http_answer_release(&miss);
	assert_int_equal(status_of(&fixture, "GET", fixture.url, "\r\nRange: Bytes=1-2"), 206);
	stop(&fixture, NS_PER_S);
	fixture_release(&fixture);
}

/* A 304 has no body, whatever its headers are. */
static void nothing_follows_304(void **state)
{
	struct http_answer answer;
	struct fixture fixture;
	int fd;

	(void)state;
	fixture_init(&fixture);
	start(&fixture, &(struct binary_cache_options){ 0 });
	fd = http_connect_from(1, fixture.port);
	assert_true(http_send_text(fd, "GET /" HASH ".narinfo HTTP/1.1\r\nHost: x\r\n"
				       "If-None-Match: *\r\n\r\n"));
	answer = http_read_answer(fd, true);
	assert_int_equal(answer.status, 304);
	expect_header(&answer, "Connection", "close");
	assert_true(http_is_closed(fd));
	http_answer_release(&answer);
	close(fd);
	stop(&fixture, NS_PER_S);
	fixture_release(&fixture);
}

static void priorities(void **state)
{
	static const unsigned numbers[] = { 0, 7 };
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		char *line AUTO_FREE = mem_printf("\nPriority: %u\n", numbers[i]);
		struct http_answer answer;

		start(&fixture, &(struct binary_cache_options){ .priority = numbers[i] });
		answer = ask(&fixture, "GET", "/nix-cache-info", "");
		assert_non_null(strstr(buf_string(&answer.body), line));
		http_answer_release(&answer);
		stop(&fixture, NS_PER_S);
	}
	fixture_release(&fixture);
}

static void urls_of_nix_serve(void **state)
{
	struct fixture fixture;
	char hash[53] = { 0 };

	(void)state;
	fixture_init(&fixture);
	nixbase32_encode(fixture.info.nar_sha256.bytes, 32, hash);
	start(&fixture, &(struct binary_cache_options){ 0 });
	for (int i = 0; i < 4; i++) {
		char *path AUTO_FREE = i == 0   ? mem_strdup("/nar/" HASH ".nar")
				       : i == 1 ? mem_printf("/nar/" HASH "-%s.nar", hash)
				       : i == 2 ? mem_printf("/nar/" OTHER "-%s.nar", hash)
						: mem_printf("/nar/" HASH "-1%s.nar", hash + 1);
		struct http_answer answer = ask(&fixture, "GET", path, "");

		assert_int_equal(answer.status, i < 2 ? 200 : 404);
		if (i < 2)
			assert_view_equal(buf_view(&answer.body), buf_view(&fixture.nar));
		http_answer_release(&answer);
	}
	stop(&fixture, NS_PER_S);
	fixture_release(&fixture);
}

/* ---- Many pieces ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { WIDTH = 9 }; /* they are slow */
#else
enum { WIDTH = 27 };
#endif
enum { LEVELS = 4, FILES = WIDTH * WIDTH * WIDTH * WIDTH, CONTENT = 140000 };

/* 27^4 files of the same content, each a frame of the store with a frame of structure before it. */
static struct node many_files(struct sample *sample)
{
	AUTO_FREE uint8_t *content = mem_zalloc(CONTENT);
	struct node node = sample_file(sample, "x", view_of(content, CONTENT), false);

	for (int level = 0; level < LEVELS; level++) {
		struct node nodes[WIDTH];
		char names[WIDTH][2];

		for (int i = 0; i < WIDTH; i++) {
			snprintf(names[i], sizeof(names[i]), "%c", 'A' + i);
			nodes[i] = node;
			nodes[i].name = view_of_string(names[i]);
		}
		node = sample_directory(sample, "", nodes, WIDTH);
	}
	return node;
}

/* A client that leaves hardly any of the connection's memory, in which bodies do not lie: http_body.c gives
 * them to the library a block at a time, of a block's own memory. */
static char *large_head(const char *range)
{
	AUTO_FREE char *filler = mem_zalloc(13001);

	memset(filler, 'x', 13000);
	return mem_printf("%s\r\nX: %s", range, filler);
}

static void a_million_pieces(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct fixture fixture = { 0 };
	struct sample sample = { 0 };
	AUTO_BUF encoded = BUF_INIT, path = BUF_INIT;
	struct local_store *store;
	struct err err = ERR_INIT;
	struct http_answer whole;
	struct node node;

	(void)state;
	sample_init(&sample);
	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err), &err);
	blob_batch_free(sample.batch);
	blob_service_unref(sample.services.blobs);
	sample.services.blobs = blob_local_new(store);
	local_store_unref(store);
	assert_ok(blob_service_open_batch(sample.services.blobs, &op_none, &sample.batch, &err),
		  &err);
	node = many_files(&sample);
	sample_commit(&sample, true);
	fixture.services = sample.services;
	start(&fixture, &(struct binary_cache_options){ .layouts = SIZE_MAX / 2 });
	node_encode(&node, false, &encoded);
	buf_append_string(&path, "/nar/");
	base64_encode(BASE64_URL, buf_view(&encoded), &path);
	buf_append_string(&path, "/00000000000000000000000000000000.nar.zst");
	whole = ask(&fixture, "GET", buf_string(&path), "");
	assert_int_equal(whole.status, 200);
	assert_false(whole.closed);
	assert_true(whole.body.len > 2 * FILES * 10);
	for (int i = 0; i < 40; i++) {
		size_t from = (size_t)i * (whole.body.len / 41), to = from + 200 + (size_t)i;
		char *range AUTO_FREE =
			mem_printf("\r\nIf-Match: *\r\nRange: bytes=%zu-%zu", from, to - 1);
		char *large AUTO_FREE = large_head(range);
		struct http_answer part =
			ask(&fixture, "GET", buf_string(&path), i % 2 ? range : large);

		assert_int_equal(part.status, 206);
		assert_view_equal(buf_view(&part.body),
				  view_slice(buf_view(&whole.body), from, to - from));
		http_answer_release(&part);
	}
	http_answer_release(&whole);
	stop(&fixture, NS_PER_S);
	sample_release(&sample);
}

/* ---- Here and elsewhere ---- */

enum { WAITING = 100 };

/* However many wait for another machine, what is here is answered; and it stops while they do. */
static void local_answers_do_not_wait(void **state)
{
	struct far far = { 0 };
	struct path_info_service *near;
	struct fixture fixture;
	int fds[WAITING];
	int64_t began_ns;

	(void)state;
	fixture_init(&fixture);
	path_info_service_init(&far.base, &far_ops);
	near = fixture.services.path_infos;
	fixture.services.path_infos =
		path_info_cache_new(near, &far.base, &(struct path_info_cache_options){ 0 });
	path_info_service_unref(near);
	start(&fixture, &(struct binary_cache_options){ 0 });
	for (int i = 0; i < WAITING; i++) {
		fds[i] = http_connect_from(1, fixture.port);
		assert_true(http_send_text(fds[i], i % 2 ? "GET /" OTHER ".narinfo HTTP/1.1\r\n"
							   "Host: x\r\n\r\n"
							 : "GET /" OTHER ".ls HTTP/1.1\r\n"
							   "Host: x\r\n\r\n"));
	}
	while (far.asked < 48)
		clock_sleep_ns(NS_PER_MS);
	assert_int_equal(status_of(&fixture, "GET", "/" HASH ".narinfo", ""), 200);
	assert_int_equal(status_of(&fixture, "GET", "/" HASH ".ls", ""), 200);
	assert_int_equal(status_of(&fixture, "GET", "/nar/" HASH ".nar", ""), 200);
	assert_int_equal(far.ended, 0);
	/* Whoever goes is not asked for any more. */
	close(fds[0]);
	began_ns = clock_monotonic_ns();
	stop(&fixture, 100 * NS_PER_MS);
	assert_true(clock_monotonic_ns() - began_ns < 10 * NS_PER_S);
	assert_int_equal(far.asked, far.ended);
	for (int i = 1; i < WAITING; i++)
		close(fds[i]);
	path_info_service_unref(fixture.services.path_infos);
	fixture.services.path_infos = NULL;
	fixture_release(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		http_watched(who_may_upload),   http_watched(allowed_methods),
		http_watched(conditions),       http_watched(nothing_follows_304),
		http_watched(priorities),       http_watched(urls_of_nix_serve),
		http_watched(a_million_pieces), http_watched(local_answers_do_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
