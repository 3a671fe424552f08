/* A binary cache on loopback for the tests of nix_http: one path, its narinfo and its NAR, and what is wrong
 * with them. */
#ifndef CASTOR_TESTS_NIX_HTTP_SITE_H
#define CASTOR_TESTS_NIX_HTTP_SITE_H

#include "unit/testing.h"

#include <openssl/sha.h>

#include "base/clock.h"
#include "base/op.h"
#include "base/url.h"
#include "double/http.h"
#include "nix/modulo_hash.h"
#include "nix/nar_writer.h"
#include "nix/narinfo.h"
#include "nix/nixbase32.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"
#include "store/nix_http.h"
#include "transfer/nar.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

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
	const char *user; /* who we say we are; NULL: nobody */
	atomic_bool told; /* that was said */
};

static inline void answer(void *context, struct http_exchange *x)
{
	struct site *site = context;

	if (strstr(x->head, "Authorization: Basic bWU6c2VjcmV0"))
		atomic_store(&site->told, true);
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
static inline void make_nar(struct buf *out)
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

static inline void sign(struct site *site)
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
static inline void publish(struct site *site)
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

static inline void set_url(struct site *site, const char *url)
{
	free(site->narinfo.url);
	site->narinfo.url = mem_strdup(url);
}

static bool remember_bad;

static inline struct nix_http_options quick(void)
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

static inline void connect_to(struct site *site, const struct services *far)
{
	struct nix_http_options options = quick();
	struct url url CLEANUP(url_release) = { 0 };
	AUTO_BUF key = BUF_INIT, address = BUF_INIT;
	struct public_key public;

	secret_key_public(&site->secret, &public);
	public_key_print(&public, &key);
	buf_printf(&address, "nix+http://%s%s127.0.0.1:%u/?trusted-public-keys=",
		   site->user ? site->user : "", site->user ? "@" : "",
		   http_double_port(site->server));
	for (size_t i = 0; i < key.len; i++)
		buf_printf(&address, "%%%02x", key.ptr[i]);
	assert_ok(url_parse(buf_string(&address), &url, &site->err), &site->err);
	path_info_service_unref(site->cache);
	assert_ok(
		path_info_nix_http_new(&url, &options, &site->near, far, &site->cache, &site->err),
		&site->err);
}

static inline void open_site(struct site *site)
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

static inline void close_site(struct site *site)
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

static inline enum rc get(struct site *site, struct path_info *out)
{
	enum rc rc = path_info_service_get(site->cache, &op_none, site->narinfo.info.path.hash, out,
					   &site->err);

	if (site->server)
		http_double_settle(site->server);
	return rc;
}

static inline void expect_failure(struct site *site, enum rc rc, const char *says)
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	assert_rc(rc, get(site, &info), &site->err);
	assert_says(&site->err, says);
	assert_null(info.node.name.ptr);
}

static inline enum rc compare(void *context, struct view bytes, struct err *err)
{
	struct view *left = context;

	(void)err;
	assert_true(bytes.len <= left->len);
	assert_memory_equal(bytes.ptr, left->ptr, bytes.len);
	*left = view_slice(*left, bytes.len, left->len - bytes.len);
	return RC_OK;
}

/* It answers, and the content is near. */
static inline void expect_content(struct site *site)
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

#endif
