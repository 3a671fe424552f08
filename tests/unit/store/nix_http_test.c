/* A binary cache on loopback that is honest, careless, slow, dead, or hostile. */
#include "unit/testing.h"

#include <pthread.h>

#include <openssl/sha.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/op.h"
#include "base/pool.h"
#include "base/url.h"
#include "double/http.h"
#include "nix/nar_writer.h"
#include "nix/narinfo.h"
#include "nix/nixbase32.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"
#include "store/nix_fetch.h"
#include "store/nix_http.h"
#include "transfer/nar.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

/* ---- The site ---- */

struct site {
	struct http_double *server;
	struct services near;
	struct path_info_service *cache;
	struct secret_key secret;
	struct err err;

	/* What it serves. */
	struct narinfo narinfo; /* as it should be */
	struct buf nar;
	struct buf info_text; /* what is sent as the narinfo */
	struct buf body;      /* what is sent as the NAR */
	char file[STORE_PATH_HASH_CHARS + 10];
	/* How. */
	int info_status, nar_status;
	unsigned nar_delay_ms;
	size_t nar_break; /* hangs up after so many bytes of the first reply; 0: does not */
	atomic_uint infos, nars;
};

static void answer(void *context, struct http_exchange *x)
{
	struct site *site = context;

	if (strcmp(x->path + 1, site->file) == 0) {
		atomic_fetch_add(&site->infos, 1);
		http_double_reply(x, site->info_status, "", buf_view(&site->info_text));
	} else if (strncmp(x->path, "/nar/", 5) == 0) {
		unsigned number = atomic_fetch_add(&site->nars, 1);

		http_double_sleep(x, site->nar_delay_ms);
		if (site->nar_break && number == 0) {
			http_double_print(x, "HTTP/1.1 200 Yes\r\nContent-Length: %zu\r\n\r\n",
					  site->body.len);
			http_double_send(x, view_of(site->body.ptr, site->nar_break));
			x->hang_up = true;
		} else if (site->nar_status == 200) {
			http_double_reply_range(x, "", buf_view(&site->body));
		} else {
			http_double_reply(x, site->nar_status, "", view_of(NULL, 0));
		}
	} else {
		http_double_reply(x, 404, "", view_of(NULL, 0));
	}
}

/* /nix/store/…-thing: a directory with a file and a link. */
static void make_nar(struct buf *out)
{
	static const char text[] = "some text, seven times. ";

	nar_begin(out);
	nar_directory_begin(out);
	nar_entry_begin(out, view_of_string("file"));
	nar_file_begin(out, true, 7 * strlen(text));
	for (int i = 0; i < 7; i++)
		buf_append_string(out, text);
	nar_file_end(out, 7 * strlen(text));
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("link"));
	nar_symlink(out, view_of_string("file"));
	nar_entry_end(out);
	nar_directory_end(out);
}

static void sign(struct site *site)
{
	struct path_info *info = &site->narinfo.info;
	AUTO_BUF covered = BUF_INIT;

	for (size_t i = 0; i < info->signature_count; i++)
		signature_release(&info->signatures[i]);
	free(info->signatures);
	info->signatures = mem_array(1, sizeof(*info->signatures));
	info->signature_count = 1;
	path_info_fingerprint(info, &covered);
	assert_ok(signature_make(&site->secret, buf_view(&covered), info->signatures, NULL), NULL);
}

/* What is sent is what is there, signed. */
static void publish(struct site *site)
{
	struct path_info *info = &site->narinfo.info;

	info->nar_size = site->nar.len;
	SHA256(site->nar.ptr, site->nar.len, info->nar_sha256.bytes);
	sign(site);
	buf_clear(&site->info_text);
	narinfo_print(&site->narinfo, &site->info_text);
	buf_clear(&site->body);
	buf_append_view(&site->body, buf_view(&site->nar));
}

static void set_url(struct site *site, const char *url)
{
	free(site->narinfo.url);
	site->narinfo.url = mem_strdup(url);
}

static bool remember_bad;

static struct nix_http_options quick(void)
{
	struct nix_http_options options = nix_http_options_default;

	options.http.connect_ns = NS_PER_S;
	options.http.stall_ns = 500 * NS_PER_MS;
	options.http.backoff_ns = 10 * NS_PER_MS;
	options.http.attempts = 2;
	options.http.down_ns = 300 * NS_PER_MS;
	options.miss_ns = 200 * NS_PER_MS;
	/* Most tests change what there is under one name. */
	options.bad_ns = remember_bad ? 300 * NS_PER_MS : 0;
	return options;
}

static void connect_to(struct site *site, const struct services *far)
{
	struct nix_http_options options = quick();
	struct url url CLEANUP(url_release) = { 0 };
	AUTO_BUF key = BUF_INIT, address = BUF_INIT;
	struct public_key public;

	secret_key_public(&site->secret, &public);
	public_key_print(&public, &key);
	buf_printf(&address,
		   "nix+http://127.0.0.1:%u/?trusted-public-keys=", http_double_port(site->server));
	for (size_t i = 0; i < key.len; i++)
		buf_printf(&address, "%%%02x", key.ptr[i]);
	assert_ok(url_parse(buf_string(&address), &url, &site->err), &site->err);
	path_info_service_unref(site->cache);
	assert_ok(
		path_info_nix_http_new(&url, &options, &site->near, far, &site->cache, &site->err),
		&site->err);
}

static void open_site(struct site *site)
{
	struct path_info *info = &site->narinfo.info;

	*site = (struct site){ .info_status = 200, .nar_status = 200 };
	assert_ok(secret_key_generate(view_of_string("test-1"), &site->secret, &site->err),
		  &site->err);
	assert_ok(
		store_path_parse_basename(view_of_string("9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-thing"),
					  &info->path, &site->err),
		&site->err);
	info->references = mem_array(1, sizeof(*info->references));
	info->reference_count = 1;
	assert_ok(
		store_path_parse_basename(view_of_string("gwina1sjk7g95wq6fxc6b7s1hza53h74-hello"),
					  info->references, &site->err),
		&site->err);
	set_url(site, "nar/thing.nar");
	site->narinfo.compression = mem_strdup("none");
	strcpy(site->file, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9.narinfo");
	make_nar(&site->nar);
	publish(site);
	site->near.blobs = blob_memory_new();
	site->near.directories = directory_memory_new();
	site->near.nar_facts = nar_facts_memory_new();
	site->server = http_double_start(answer, site);
	connect_to(site, NULL);
}

static void close_site(struct site *site)
{
	path_info_service_unref(site->cache);
	if (site->server)
		http_double_stop(site->server);
	services_release(&site->near);
	narinfo_release(&site->narinfo);
	buf_release(&site->nar);
	buf_release(&site->info_text);
	buf_release(&site->body);
}

static enum rc get(struct site *site, struct path_info *out)
{
	enum rc rc = path_info_service_get(site->cache, &op_none, site->narinfo.info.path.hash, out,
					   &site->err);

	if (site->server)
		http_double_settle(site->server);
	return rc;
}

static void expect_failure(struct site *site, enum rc rc, const char *says)
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	assert_rc(rc, get(site, &info), &site->err);
	assert_says(&site->err, says);
	assert_null(info.node.name.ptr);
}

static enum rc compare(void *context, struct view bytes, struct err *err)
{
	struct view *left = context;

	(void)err;
	assert_true(bytes.len <= left->len);
	assert_memory_equal(bytes.ptr, left->ptr, bytes.len);
	*left = view_slice(*left, bytes.len, left->len - bytes.len);
	return RC_OK;
}

/* It answers, and the content is near. */
static void expect_content(struct site *site)
{
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct view left = buf_view(&site->nar);

	assert_ok(get(site, &info), &site->err);
	assert_true(store_path_equal(&info.path, &site->narinfo.info.path));
	assert_int_equal(info.reference_count, site->narinfo.info.reference_count);
	assert_int_equal(info.signature_count, 1);
	assert_ok(nar_export(&site->near, &op_none, &info.node, compare, &left, &site->err),
		  &site->err);
	assert_int_equal(left.len, 0);
}

/* ---- What is good ---- */

static void test_fetch(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	expect_content(&site);
	expect_content(&site);
	assert_int_equal(site.infos, 1);
	assert_int_equal(site.nars, 1);
	close_site(&site);
}

static void test_misses(void **state)
{
	struct site site;

	(void)state;
	for (int status = 403; status <= 404; status++) {
		open_site(&site);
		site.info_status = status;
		expect_failure(&site, RC_NOT_FOUND, "status 40");
		expect_failure(&site, RC_NOT_FOUND, "a moment ago");
		assert_int_equal(site.infos, 1);
		clock_sleep_ns(450 * NS_PER_MS);
		site.info_status = 200;
		expect_content(&site);
		assert_int_equal(site.infos, 2);
		close_site(&site);
	}
}

static void test_failures_are_no_misses(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	site.info_status = 500;
	expect_failure(&site, RC_UNAVAILABLE, "status 500");
	site.info_status = 401;
	expect_failure(&site, RC_DENIED, "password");
	site.info_status = 200;
	site.nar_status = 404;
	expect_failure(&site, RC_UNAVAILABLE, "thing.nar");
	site.nar_status = 200;
	expect_content(&site);
	close_site(&site);
}

static void test_only_read(void **state)
{
	struct path_info_iter *iter;
	struct site site;

	(void)state;
	open_site(&site);
	assert_rc(RC_NOT_PERMITTED,
		  path_info_service_list(site.cache, &op_none, NULL, &iter, &site.err), &site.err);
	assert_true(path_info_service_is_remote(site.cache));
	assert_true(path_info_service_ingests(site.cache));
	close_site(&site);
}

/* ---- Narinfos that lie ---- */

/* The first `from` in what is sent becomes `to`. */
static void edit(struct site *site, const char *from, const char *to)
{
	char *text AUTO_FREE = mem_strdup(buf_string(&site->info_text));
	char *found = strstr(text, from);

	assert_non_null(found);
	buf_clear(&site->info_text);
	buf_append(&site->info_text, text, (size_t)(found - text));
	buf_append_string(&site->info_text, to);
	buf_append_string(&site->info_text, found + strlen(from));
}

static void test_signatures(void **state)
{
	struct secret_key other;
	struct site site;

	(void)state;
	open_site(&site);
	/* Another key of the same name. */
	other = site.secret;
	assert_ok(secret_key_generate(view_of_string("test-1"), &site.secret, &site.err),
		  &site.err);
	publish(&site);
	expect_failure(&site, RC_NOT_PERMITTED, "none of its 1 signatures");
	site.secret = other;
	publish(&site);
	edit(&site, "Sig: test-1", "Sig: test-2");
	expect_failure(&site, RC_NOT_PERMITTED, "test-2");
	publish(&site);
	edit(&site, "Sig: ", "Other: ");
	expect_failure(&site, RC_NOT_PERMITTED, "not signed");
	/* Nothing was downloaded for any of these. */
	assert_int_equal(site.nars, 0);
	publish(&site);
	expect_content(&site);
	close_site(&site);
}

static void test_what_the_signature_covers(void **state)
{
	static const char *const edits[][2] = {
		{ "References: gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", /* swapped */
		  "References: az9l0xsrkblh1qsaa40xrnvq34x4n45q-note" },
		{ "References: gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", "References: " },
		{ "NarSize: ", "NarSize: 1" },
		{ "NarHash: sha256:0", "NarHash: sha256:1" },
		{ "NarHash: sha256:1", "NarHash: sha256:0" },
		{ "-thing\n", "-other\n" },
	};
	unsigned applied = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
		struct site site;

		open_site(&site);
		if (strstr(buf_string(&site.info_text), edits[i][0])) {
			edit(&site, edits[i][0], edits[i][1]);
			expect_failure(&site, RC_NOT_PERMITTED, "none of its 1 signatures");
			assert_int_equal(site.nars, 0);
			applied++;
		}
		close_site(&site);
	}
	assert_in_range(applied, 5, ARRAY_LEN(edits) - 1);
}

static void test_bad_narinfos(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{ "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9", "gwina1sjk7g95wq6fxc6b7s1hza53h74",
		  "another store path" },
		{ "URL: ", "URL: nar/a\nURL: ", "URL comes twice" },
		{ "NarSize: ", "NarSize: 7\nNarSize: ", "NarSize comes twice" },
		{ "StorePath: ",
		  "StorePath: /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\n"
		  "StorePath: ",
		  "StorePath comes twice" },
		{ "\n", "\r\n", "bad narinfo" },
		{ "-thing\n", "-thing\nnonsense\n", "Key: value" },
		{ "NarHash: ", "NoHash: ", "NarHash is missing" },
		{ "StorePath: /nix/store", "StorePath: /gnu/store", "not in /nix/store" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct site site;

		open_site(&site);
		edit(&site, cases[i].from, cases[i].to);
		expect_failure(&site, RC_CORRUPT, cases[i].says);
		assert_int_equal(site.nars, 0);
		close_site(&site);
	}
}

static void test_urls_that_lead_away(void **state)
{
	static const char *const urls[] = {
		"http://127.0.0.1:1/nar/x",
		"https://elsewhere/nar/x",
		"file:///etc/passwd",
		"//elsewhere/nar/x",
		"/nar/x",
		"../nar/x",
		"nar/../../x",
		"nar/%2e%2E/x",
		"nar/.%2e/x",
		"nar/..",
		"nar/%2fx",
		"nar\\..\\x",
		"nar/x#y",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct site site;

		open_site(&site);
		set_url(&site, urls[i]);
		publish(&site);
		expect_failure(&site, RC_CORRUPT, "the URL ");
		assert_int_equal(http_double_requests(site.server), 1);
		close_site(&site);
	}
}

static void test_urls_that_do_not(void **state)
{
	struct site site;
	AUTO_BUF url = BUF_INIT;

	(void)state;
	open_site(&site);
	buf_printf(&url, "http://127.0.0.1:%u/nar/..x/y..?a=../b", http_double_port(site.server));
	set_url(&site, buf_string(&url));
	publish(&site);
	expect_content(&site);
	close_site(&site);
}

/* ---- NARs that lie ---- */

static void test_wrong_sizes(void **state)
{
	struct site site;

	(void)state;
	for (int more = -8; more <= 8; more += 16) {
		open_site(&site);
		site.narinfo.info.nar_size = site.nar.len + (size_t)more;
		sign(&site);
		buf_clear(&site.info_text);
		narinfo_print(&site.narinfo, &site.info_text);
		expect_failure(&site, RC_CORRUPT,
			       more < 0 ? "longer than its narinfo says" : "its narinfo says");
		publish(&site);
		expect_content(&site);
		close_site(&site);
	}
}

static void test_another_nar(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	*strchr((char *)memmem(site.body.ptr, site.body.len, "some", 4), 't') = 'T';
	expect_failure(&site, RC_CORRUPT, "another hash");
	close_site(&site);
}

/* It is downloaded once; later it may be better. */
static void test_bad_is_remembered(void **state)
{
	struct site site;
	uint8_t *at;

	(void)state;
	remember_bad = true;
	open_site(&site);
	remember_bad = false;
	at = memmem(site.body.ptr, site.body.len, "some", 4);
	*at ^= 1;
	expect_failure(&site, RC_CORRUPT, "another hash");
	*at ^= 1;
	expect_failure(&site, RC_CORRUPT, "another hash");
	expect_failure(&site, RC_CORRUPT, "a moment ago");
	assert_int_equal(site.nars, 1);
	assert_int_equal(site.infos, 1);
	clock_sleep_ns(350 * NS_PER_MS);
	expect_content(&site);
	assert_int_equal(site.nars, 2);
	close_site(&site);
}

static void test_cut_at_every_byte(void **state)
{
	struct site site;
	size_t whole;

	(void)state;
	open_site(&site);
	whole = site.body.len;
	for (size_t len = 0; len < whole; len++) {
		site.body.len = len;
		expect_failure(&site, RC_CORRUPT, "bad NAR");
	}
	site.body.len = whole;
	expect_content(&site);
	close_site(&site);
}

static void test_damage_at_every_byte(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	for (size_t at = 0; at < site.body.len; at++) {
		struct path_info info AUTO_PATH_INFO = { 0 };

		site.body.ptr[at] ^= 1;
		assert_rc(RC_CORRUPT, get(&site, &info), &site.err);
		site.body.ptr[at] ^= 1;
	}
	expect_content(&site);
	close_site(&site);
}

/* A file of 2^40 bytes, of which a gigabyte comes, in a body of some kilobytes. */
static void test_bomb(void **state)
{
	static uint8_t zeros[1 << 20];
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	AUTO_BUF head = BUF_INIT;
	int64_t start = clock_monotonic_ns();
	struct site site;
	ZSTD_inBuffer in;
	ZSTD_outBuffer to;

	(void)state;
	open_site(&site);
	nar_begin(&head);
	nar_file_begin(&head, false, UINT64_C(1) << 40);
	buf_clear(&site.body);
	buf_reserve(&site.body, 1 << 20);
	to = (ZSTD_outBuffer){ site.body.ptr, site.body.cap, 0 };
	in = (ZSTD_inBuffer){ head.ptr, head.len, 0 };
	assert_false(ZSTD_isError(ZSTD_compressStream2(cctx, &to, &in, ZSTD_e_continue)));
	for (int i = 0; i < 1024; i++) {
		in = (ZSTD_inBuffer){ zeros, sizeof(zeros), 0 };
		assert_false(ZSTD_isError(ZSTD_compressStream2(cctx, &to, &in, ZSTD_e_continue)));
	}
	in = (ZSTD_inBuffer){ NULL, 0, 0 };
	assert_int_equal(ZSTD_compressStream2(cctx, &to, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(cctx);
	site.body.len = to.pos;
	start = clock_monotonic_ns();
	expect_failure(&site, RC_CORRUPT, "longer than its narinfo says");
	assert_true(clock_monotonic_ns() - start < 2 * NS_PER_S);
	close_site(&site);
}

/* Frames to be skipped, without an end, out of which nothing comes. */
static void test_nothing_for_ever(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	buf_clear(&site.body);
	for (int i = 0; i < 300000; i++)
		buf_append(&site.body, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	expect_failure(&site, RC_CORRUPT, "longer than the NAR");
	close_site(&site);
}

static void test_html(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	buf_clear(&site.body);
	buf_append_string(&site.body, "<html>not for robots</html>");
	expect_failure(&site, RC_CORRUPT, "bad NAR");
	buf_clear(&site.info_text);
	buf_append_string(&site.info_text, "<html>not for robots</html>");
	expect_failure(&site, RC_CORRUPT, "bad narinfo");
	close_site(&site);
}

/* ---- Servers that are slow, break off, or are gone ---- */

static void test_going_on(void **state)
{
	struct site site;

	(void)state;
	open_site(&site);
	site.nar_break = site.body.len / 2;
	expect_content(&site);
	assert_int_equal(site.nars, 2);
	close_site(&site);
}

static void test_slow(void **state)
{
	int64_t start = clock_monotonic_ns();
	struct site site;

	(void)state;
	open_site(&site);
	site.nar_delay_ms = 60000;
	expect_failure(&site, RC_UNAVAILABLE, "no reply after 500 ms");
	assert_true(clock_monotonic_ns() - start < 3 * NS_PER_S);
	close_site(&site);
}

static void test_dead(void **state)
{
	int64_t start;
	struct site site;

	(void)state;
	open_site(&site);
	http_double_stop(site.server);
	site.server = NULL;
	expect_failure(&site, RC_UNAVAILABLE, "connect");
	start = clock_monotonic_ns();
	expect_failure(&site, RC_UNAVAILABLE, "not asked");
	assert_true(clock_monotonic_ns() - start < 50 * NS_PER_MS);
	close_site(&site);
}

/* ---- Many at once ---- */

struct asker {
	struct site *site;
	atomic_bool cancel;
	enum rc rc;
	pthread_t thread;
};

static void *ask(void *context)
{
	struct asker *asker = context;
	struct op op = { .cancel = &asker->cancel };
	struct path_info info AUTO_PATH_INFO = { 0 };

	asker->rc = path_info_service_get(asker->site->cache, &op,
					  asker->site->narinfo.info.path.hash, &info, NULL);
	return NULL;
}

static void start_asker(struct asker *asker, struct site *site)
{
	asker->site = site;
	atomic_init(&asker->cancel, false);
	asker->thread = thread_start("asker", ask, asker);
}

static void test_one_download_for_many(void **state)
{
	enum { ASKERS = 32 };
	struct asker askers[ASKERS];
	struct site site;

	(void)state;
	open_site(&site);
	site.nar_delay_ms = 200;
	for (int i = 0; i < ASKERS; i++)
		start_asker(&askers[i], &site);
	/* Whoever came first may leave. */
	clock_sleep_ns(50 * NS_PER_MS);
	atomic_store(&askers[0].cancel, true);
	for (int i = 0; i < ASKERS; i++)
		pthread_join(askers[i].thread, NULL);
	assert_int_equal(askers[0].rc, RC_CANCELLED);
	for (int i = 1; i < ASKERS; i++)
		assert_int_equal(askers[i].rc, RC_OK);
	assert_int_equal(site.infos, 1);
	assert_int_equal(site.nars, 1);
	close_site(&site);
}

static void test_nobody_waits_any_more(void **state)
{
	struct asker asker;
	struct site site;
	int64_t start;

	(void)state;
	open_site(&site);
	site.nar_delay_ms = 400;
	start_asker(&asker, &site);
	while (site.nars == 0)
		clock_sleep_ns(NS_PER_MS);
	atomic_store(&asker.cancel, true);
	pthread_join(asker.thread, NULL);
	assert_int_equal(asker.rc, RC_CANCELLED);
	/* The next one begins anew, and gets it. */
	expect_content(&site);
	assert_int_equal(site.nars, 2);
	start = clock_monotonic_ns();
	close_site(&site);
	assert_true(clock_monotonic_ns() - start < 2 * NS_PER_S);
}

/* ---- URLs that name a node ---- */

static enum rc take_view(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct view *left = context;

	(void)err;
	*got = len < left->len ? len : left->len;
	memcpy(out, left->ptr, *got);
	*left = view_slice(*left, *got, left->len - *got);
	return RC_OK;
}

/* Stores a NAR there; the URL for its root node in *out. */
static void store_nar(struct site *site, const struct services *there, const struct buf *nar,
		      const char *format, char **out)
{
	struct view left = buf_view(nar);
	AUTO_BUF bytes = BUF_INIT, text = BUF_INIT;
	struct nar_facts facts;
	struct node root;
	struct view node;
	const char *mark = strchr(format, '@');

	assert_ok(nar_import(there, &op_none, take_view, &left, &root, &facts, &site->err),
		  &site->err);
	node_encode(&root, false, &bytes);
	base64_encode(BASE64_URL, buf_view(&bytes), &text);
	node = buf_view(&text);
	*out = mem_printf("%.*s%.*s%s", (int)(mark - format), format, (int)node.len,
			  (const char *)node.ptr, mark + 1);
	node_release(&root);
}

static const char *const node_urls[] = {
	"nar/@/00112233445566778899aabbccddeeff.nar.zst",
	"nar/snix-castore/@?narsize=568",
	"nar/tvix-castore/@?narsize=568",
};

static struct services memory_services(void)
{
	return (struct services){ .blobs = blob_memory_new(),
				  .directories = directory_memory_new() };
}

/* All of it is here already: nothing is downloaded. */
static void test_nodes_that_are_here(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(node_urls); i++) {
		char *url AUTO_FREE = NULL;
		struct site site;

		open_site(&site);
		store_nar(&site, &site.near, &site.nar, node_urls[i], &url);
		set_url(&site, url);
		publish(&site);
		expect_content(&site);
		assert_int_equal(site.nars, 0);
		close_site(&site);
	}
}

/* It is where the cache keeps it: what is missing comes from there. */
static void test_nodes_that_are_far(void **state)
{
	struct services far = memory_services();
	char *url AUTO_FREE = NULL;
	struct site site;

	(void)state;
	open_site(&site);
	store_nar(&site, &far, &site.nar, node_urls[0], &url);
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 0);
	close_site(&site);
	services_release(&far);
}

/* Nowhere, or it is another one: then the NAR is read, and nobody hears of it. */
static void test_nodes_that_do_not_help(void **state)
{
	AUTO_BUF other = BUF_INIT;

	(void)state;
	nar_begin(&other);
	nar_file_begin(&other, false, 0);
	nar_file_end(&other, 0);
	for (int here = 0; here < 3; here++) {
		struct services elsewhere = memory_services();
		char *url AUTO_FREE = NULL;
		struct site site;

		open_site(&site);
		store_nar(&site, here == 1 ? &site.near : &elsewhere, here ? &other : &site.nar,
			  node_urls[1], &url);
		set_url(&site, url);
		publish(&site);
		if (here == 2)
			connect_to(&site, &elsewhere);
		expect_content(&site);
		assert_int_equal(site.nars, 1);
		close_site(&site);
		services_release(&elsewhere);
	}
}

/* The cache's own services have megabytes under that name: it is left there. */
static void test_node_that_is_too_large(void **state)
{
	enum { SIZE = 4 << 20 };
	struct services far = memory_services();
	char *url AUTO_FREE = NULL;
	AUTO_BUF large = BUF_INIT;
	struct site site;
	struct digest blob;
	bool there;

	(void)state;
	open_site(&site);
	nar_begin(&large);
	nar_directory_begin(&large);
	nar_entry_begin(&large, view_of_string("large"));
	nar_file_begin(&large, false, SIZE);
	buf_append_zeros(&large, SIZE);
	blob = digest_of(view_of(large.ptr + large.len - SIZE, SIZE));
	nar_file_end(&large, SIZE);
	nar_entry_end(&large);
	nar_directory_end(&large);
	store_nar(&site, &far, &large, node_urls[1], &url);
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 1);
	assert_ok(blob_service_has_many(site.near.blobs, &op_none, &blob, 1, &there, &site.err),
		  &site.err);
	assert_false(there);
	close_site(&site);
	services_release(&far);
}

/* 40 directories, each with the next one twice: a NAR of 2^40 entries. */
static void test_node_without_end(void **state)
{
	struct node below = { .kind = NODE_FILE, .digest = digest_of(view_of(NULL, 0)) };
	AUTO_BUF bytes = BUF_INIT, text = BUF_INIT;
	struct services far = memory_services();
	int64_t start = clock_monotonic_ns();
	struct directory_put *put;
	struct digest root;
	struct site site;
	char *url AUTO_FREE = NULL;

	(void)state;
	open_site(&site);
	assert_ok(directory_service_open_put(far.directories, &op_none, &put, &site.err),
		  &site.err);
	for (int i = 0; i < 40; i++) {
		struct directory *dir AUTO_DIRECTORY = NULL;
		struct node two[2] = { below, below };

		two[0].name = view_of_string("a");
		two[1].name = view_of_string("b");
		assert_ok(directory_from_nodes(two, 2, &dir, &site.err), &site.err);
		assert_ok(directory_put_add(put, &op_none, dir, &site.err), &site.err);
		below = (struct node){ .kind = NODE_DIRECTORY,
				       .digest = *directory_digest(dir),
				       .size = directory_size(dir) };
	}
	assert_ok(directory_put_close(put, &op_none, &root, &site.err), &site.err);
	directory_put_free(put);
	node_encode(&below, false, &bytes);
	base64_encode(BASE64_URL, buf_view(&bytes), &text);
	url = mem_printf("nar/snix-castore/%s?narsize=568", buf_string(&text));
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 1);
	assert_true(clock_monotonic_ns() - start < 5 * NS_PER_S);
	close_site(&site);
	services_release(&far);
}

static void test_urls_without_a_node(void **state)
{
	static const char *const urls[] = {
		"nar/1awh0qwwpm1x2vyl2963d46sad3fwvc4wgbhbz7vn3w4hzvr4i4i.nar.xz",
		"nar/CgA/x.nar",
		"nar/snix-castore/",
		"nar/snix-castore/CgA",
		"nar/snix-castore/!!!",
		"elsewhere/x",
		"",
	};
	struct node node;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++)
		assert_false(nix_url_node(urls[i], &node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_misses),
		cmocka_unit_test(test_failures_are_no_misses),
		cmocka_unit_test(test_only_read),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_what_the_signature_covers),
		cmocka_unit_test(test_bad_narinfos),
		cmocka_unit_test(test_urls_that_lead_away),
		cmocka_unit_test(test_urls_that_do_not),
		cmocka_unit_test(test_wrong_sizes),
		cmocka_unit_test(test_another_nar),
		cmocka_unit_test(test_bad_is_remembered),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_damage_at_every_byte),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_nothing_for_ever),
		cmocka_unit_test(test_html),
		cmocka_unit_test(test_going_on),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_one_download_for_many),
		cmocka_unit_test(test_nobody_waits_any_more),
		cmocka_unit_test(test_nodes_that_are_here),
		cmocka_unit_test(test_nodes_that_are_far),
		cmocka_unit_test(test_nodes_that_do_not_help),
		cmocka_unit_test(test_node_that_is_too_large),
		cmocka_unit_test(test_node_without_end),
		cmocka_unit_test(test_urls_without_a_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
