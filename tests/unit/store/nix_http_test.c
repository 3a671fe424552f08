/* A binary cache that is honest, careless, slow, dead, or hostile. */
#include "unit/store/nix_http_site.h"

#include <pthread.h>

#include <zstd.h>

#include "store/nix_fetch.h"
#include "threads.h"

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
	site.nar_status = 500;
	expect_failure(&site, RC_UNAVAILABLE, "thing.nar");
	site.nar_status = 200;
	expect_content(&site);
	close_site(&site);
}

/* Who has a narinfo and not its NAR has not the path; that is remembered, too. */
static void test_a_narinfo_without_its_nar(void **state)
{
	static const int statuses[] = { 404, 403, 410 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		struct site site;

		open_site(&site);
		site.nar_status = statuses[i];
		expect_failure(&site, RC_NOT_FOUND, "thing.nar");
		expect_failure(&site, RC_NOT_FOUND, "a moment ago");
		assert_int_equal(atomic_load(&site.infos), 1);
		assert_int_equal(atomic_load(&site.nars), 1);
		close_site(&site);
	}
}

/* What is announced was signed, and nothing of it was brought. */
static void test_announcing_is_not_fetching(void **state)
{
	struct site site;
	const uint8_t *hash = site.narinfo.info.path.hash;

	(void)state;
	open_site(&site);
	for (int i = 0; i < 2; i++) {
		struct path_info info AUTO_PATH_INFO = { 0 };

		assert_ok(path_info_service_announce(site.cache, &op_none, hash, &info, &site.err),
			  &site.err);
		assert_int_equal(info.nar_size, site.nar.len);
		assert_int_equal(info.reference_count, 1);
		assert_int_equal(info.node.name.len, i == 0 ? 0 : 38);
		assert_int_equal(atomic_load(&site.nars), i);
		/* Afterwards it is known with its content. */
		if (i == 0)
			expect_content(&site);
	}
	close_site(&site);

	open_site(&site);
	site.narinfo.info.signatures[0].data[3] ^= 1;
	buf_clear(&site.info_text);
	narinfo_print(&site.narinfo, &site.info_text);
	struct path_info info;
	assert_rc(RC_NOT_PERMITTED,
		  path_info_service_announce(site.cache, &op_none, hash, &info, &site.err),
		  &site.err);
	assert_int_equal(info.nar_size, 0);
	site.info_status = 404;
	assert_rc(RC_NOT_FOUND,
		  path_info_service_announce(site.cache, &op_none, hash, &info, &site.err),
		  &site.err);
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
		{ "-thing\n", "-thing\nSystem:x\n", "blank after the colon" },
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

/* A path that holds its own hash part, by its content address alone; `tail` is what else is in it, and was meant
 * to be `meant`. */
static void make_self_addressed(struct site *site, const char *meant, const char *tail)
{
	struct path_info *info = &site->narinfo.info;
	char text[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];
	struct modulo_hash *modulo = modulo_hash_new(info->path.hash);
	struct nar_hash digest;

	for (int i = 0; i < 2; i++) {
		AUTO_BUF content = BUF_INIT;

		nixbase32_encode(info->path.hash, STORE_PATH_HASH_SIZE, text);
		buf_printf(&content, "I am %s, %s", text, i == 0 ? meant : tail);
		buf_clear(&site->nar);
		nar_begin(&site->nar);
		nar_file_begin(&site->nar, false, content.len);
		buf_append_view(&site->nar, buf_view(&content));
		nar_file_end(&site->nar, content.len);
		if (i == 1)
			break;
		assert_ok(modulo_hash_feed(modulo, buf_view(&site->nar), &site->err), &site->err);
		assert_ok(modulo_hash_final(modulo, &digest, &site->err), &site->err);
		info->has_ca = true;
		info->ca.kind = CA_NAR_SHA256;
		memcpy(info->ca.digest, digest.bytes, sizeof(digest.bytes));
		assert_ok(store_path_from_ca(&info->ca, view_of_string("thing"), NULL, 0, true,
					     &info->path, &site->err),
			  &site->err);
	}
	modulo_hash_free(modulo);
	info->references[0] = info->path;
	nixbase32_encode(info->path.hash, STORE_PATH_HASH_SIZE, text);
	snprintf(site->file, sizeof(site->file), "%s.narinfo", text);
	publish(site);
	edit(site, "Sig: ", "Unsigned: ");
}

static void test_paths_that_refer_to_themselves(void **state)
{
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct site site;

	(void)state;
	open_site(&site);
	make_self_addressed(&site, "truly", "truly");
	assert_ok(get(&site, &info), &site.err);
	assert_int_equal(info.node.kind, NODE_FILE);
	close_site(&site);
	/* Its hash is that of what comes, and its address leads to the path, but not from what comes. */
	open_site(&site);
	make_self_addressed(&site, "truly", "not really");
	expect_failure(&site, RC_CORRUPT, "has not the digest that its content address names");
	assert_int_equal(site.nars, 1);
	close_site(&site);
}

static void test_urls_that_lead_away(void **state)
{
	static const char *const urls[] = {
		"ftp://127.0.0.1/nar/x",
		"http:///nar/x",
		"http://user@127.0.0.1/nar/x",
		"http://127.0.0.1/nar/../x",
		"file:///etc/passwd",
		"//elsewhere/nar/x",
		"/../x",
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

/* URLs are as free as nix takes them. */
static void test_whole_urls(void **state)
{
	static const struct {
		const char *base, *url, *whole; /* NULL: refused */
	} cases[] = {
		{ "http://a/s", "nar/x", "http://a/s/nar/x" },
		{ "http://a/s", "/nar/x", "http://a/nar/x" },
		{ "http://a:8", "/nar/x?y=/z", "http://a:8/nar/x?y=/z" },
		{ "http://a/s", "http://a/s/nar/x", "http://a/s/nar/x" },
		{ "http://a/s", "http://a/t/nar/x", "http://a/t/nar/x" },
		{ "http://a/s", "https://b:9/nar/x", "https://b:9/nar/x" },
		{ "https://a/s", "https://b/nar/x", "https://b/nar/x" },
		{ "https://a/s", "http://a/nar/x", NULL },
		{ "file:///d", "nar/x", "file:///d/nar/x" },
		{ "file:///d", "/nar/x", NULL },
		{ "file:///d", "http://b/nar/x", NULL },
		{ "file:///d", "file:///etc/passwd", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF whole = BUF_INIT;
		struct err err = ERR_INIT;
		enum rc rc = nix_url_resolve(cases[i].base, cases[i].url, &whole, &err);

		print_message("%s %s\n", cases[i].base, cases[i].url);
		assert_rc(cases[i].whole ? RC_OK : RC_INVALID, rc, &err);
		assert_string_equal(buf_string(&whole), cases[i].whole ? cases[i].whole : "");
	}
}

/* The NAR lies on another host, which is not told who we are. */
struct other {
	struct site *site;
	bool told, asked;
};

static void answer_other(void *context, struct http_exchange *x)
{
	struct other *other = context;

	other->asked = true;
	other->told |= strstr(x->head, "Authorization") != NULL;
	http_double_reply_range(x, "", buf_view(&other->site->body));
}

static void test_nars_of_another_host(void **state)
{
	struct site site;
	struct other other = { .site = &site };
	struct http_double *server = http_double_start(answer_other, &other);
	AUTO_BUF url = BUF_INIT;

	(void)state;
	open_site(&site);
	site.user = "me:secret";
	connect_to(&site, NULL);
	buf_printf(&url, "http://127.0.0.1:%u/elsewhere", http_double_port(server));
	set_url(&site, buf_string(&url));
	publish(&site);
	expect_content(&site);
	assert_true(other.asked && !other.told);
	/* The cache itself was: bWU6c2VjcmV0 is me:secret. */
	assert_true(site.told);
	http_double_stop(server); /* before what it sends goes */
	close_site(&site);
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
	asker->thread = testing_thread("asker", ask, asker);
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
	/* The next one begins again, and gets it. */
	expect_content(&site);
	assert_int_equal(site.nars, 2);
	start = clock_monotonic_ns();
	close_site(&site);
	assert_true(clock_monotonic_ns() - start < 2 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_misses),
		cmocka_unit_test(test_failures_are_no_misses),
		cmocka_unit_test(test_a_narinfo_without_its_nar),
		cmocka_unit_test(test_announcing_is_not_fetching),
		cmocka_unit_test(test_only_read),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_what_the_signature_covers),
		cmocka_unit_test(test_bad_narinfos),
		cmocka_unit_test(test_paths_that_refer_to_themselves),
		cmocka_unit_test(test_urls_that_lead_away),
		cmocka_unit_test(test_whole_urls),
		cmocka_unit_test(test_nars_of_another_host),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
