/* Uploads to a binary cache: a NAR comes in pieces and waits; its narinfo makes it a store path. */
#include "sample.h"

#include <pthread.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "base/clock.h"
#include "nix/narinfo.h"
#include "nix/nar_writer.h"
#include "service/scratch/scratch_store.h"
#include "transfer/nar_publish.h"
#include "transfer/nar_upload.h"
#include "transfer/pending_upload.h"

/* ---- A server with one connection ---- */

struct server {
	struct services services;
	struct nar_upload_limits limits;
	struct nar_uploads *uploads;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
};

static void server_init(struct server *server)
{
	*server = (struct server){
		.services = { .blobs = blob_memory_new(),
			      .directories = directory_memory_new(),
			      .path_infos = path_info_memory_new(),
			      .nar_facts = nar_facts_memory_new(),
			      .scratch = scratch_memory_new() },
		.limits = nar_upload_limits_default,
	};
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->cond, NULL);
	server->uploads = nar_uploads_new(&server->services, &server->limits);
}

/* With other limits. */
static void server_restart(struct server *server)
{
	nar_uploads_free(server->uploads);
	server->uploads = nar_uploads_new(&server->services, &server->limits);
}

static void server_release(struct server *server)
{
	nar_uploads_free(server->uploads);
	services_release(&server->services);
	pthread_cond_destroy(&server->cond);
	pthread_mutex_destroy(&server->lock);
}

static void wake(void *context)
{
	struct server *server = context;

	pthread_mutex_lock(&server->lock);
	server->woken = true;
	pthread_cond_signal(&server->cond);
	pthread_mutex_unlock(&server->lock);
}

static void wait_for_wake(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	while (!server->woken)
		pthread_cond_wait(&server->cond, &server->lock);
	server->woken = false;
	pthread_mutex_unlock(&server->lock);
}

static enum rc push(struct server *server, const char *url, struct view body, size_t step,
		    struct err *err)
{
	struct nar_upload *upload;
	bool done = false;
	enum rc rc = nar_upload_open(server->uploads, view_of_string(url), view_of_string("me"), 0,
				     wake, server, &upload, err);

	while (rc == RC_OK && body.len > 0) {
		size_t taken, len = body.len < step ? body.len : step;

		rc = nar_upload_write(upload, view_slice(body, 0, len), &taken, err);
		if (rc == RC_OK && taken < len)
			wait_for_wake(server);
		body = view_slice(body, taken, body.len - taken);
	}
	while (rc == RC_OK && !done) {
		rc = nar_upload_finish(upload, &done, err);
		if (rc == RC_OK && !done)
			wait_for_wake(server);
	}
	nar_upload_free(upload);
	return rc;
}

/* ---- What is uploaded ---- */

static void make_nar(struct view content, struct buf *out)
{
	nar_begin(out);
	nar_file_begin(out, false, content.len);
	buf_append_view(out, content);
	nar_file_end(out, content.len);
}

static struct nar_hash sha256_of(struct view bytes)
{
	struct nar_hash hash;

	assert_int_equal(EVP_Digest(bytes.ptr, bytes.len, hash.bytes, NULL, EVP_sha256(), NULL), 1);
	return hash;
}

/* A narinfo of that NAR, content-addressed; the caller may change it before it is printed. */
static struct narinfo narinfo_of(struct view nar, const char *url)
{
	struct narinfo narinfo = { .url = mem_strdup(url), .compression = mem_strdup("none") };
	struct path_info *info = &narinfo.info;
	struct err err = ERR_INIT;

	info->nar_size = nar.len;
	info->nar_sha256 = sha256_of(nar);
	info->has_ca = true;
	info->ca.kind = CA_NAR_SHA256;
	memcpy(info->ca.digest, info->nar_sha256.bytes, sizeof(info->nar_sha256.bytes));
	assert_ok(store_path_from_ca(&info->ca, view_of_string("thing"), NULL, 0, false,
				     &info->path, &err),
		  &err);
	return narinfo;
}

static enum rc publish(struct server *server, const struct nar_publish_policy *policy,
		       const struct narinfo *narinfo, struct err *err)
{
	static const struct nar_publish_policy none;
	AUTO_BUF text = BUF_INIT;

	narinfo_print(narinfo, &text);
	return nar_publish(&server->services, &op_none, policy ? policy : &none,
			   narinfo->info.path.hash, buf_view(&text), err);
}

static bool is_known(struct server *server, const struct narinfo *narinfo, struct path_info *out)
{
	struct err err = ERR_INIT;

	return path_info_service_get(server->services.path_infos, &op_none, narinfo->info.path.hash,
				     out, &err) == RC_OK;
}

static void fill(struct buf *out, size_t len)
{
	struct testing_random random = testing_random_from_env();

	buf_reserve(out, len);
	out->len = len;
	testing_fill(&random, out->ptr, len);
}

/* ---- Cases ---- */

static void nar_then_narinfo(void **state)
{
	static const size_t steps[] = { 7, 4096, 100000, SIZE_MAX };
	AUTO_BUF content = BUF_INIT, nar = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	fill(&content, 1 << 20);
	make_nar(buf_view(&content), &nar);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		AUTO_NARINFO struct narinfo narinfo = narinfo_of(buf_view(&nar), "nar/x.nar");
		AUTO_PATH_INFO struct path_info info = { 0 };
		struct server server;

		server_init(&server);
		assert_false(is_known(&server, &narinfo, &info));
		assert_rc(RC_FAILED_PRECONDITION, publish(&server, NULL, &narinfo, &err), &err);
		assert_ok(push(&server, "nar/x.nar", buf_view(&nar), steps[i], &err), &err);
		assert_false(is_known(&server, &narinfo, &info));
		assert_ok(publish(&server, NULL, &narinfo, &err), &err);
		assert_true(is_known(&server, &narinfo, &info));
		assert_int_equal(info.nar_size, nar.len);
		/* What is known may be said again. */
		assert_ok(publish(&server, NULL, &narinfo, &err), &err);
		server_release(&server);
	}
}

static void compressed_and_by_hash(void **state)
{
	AUTO_BUF content = BUF_INIT, nar = BUF_INIT, packed = BUF_INIT;
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	AUTO_PATH_INFO struct path_info info = { 0 };
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	fill(&content, 300000);
	make_nar(buf_view(&content), &nar);
	buf_reserve(&packed, ZSTD_compressBound(nar.len));
	packed.len = ZSTD_compress(packed.ptr, ZSTD_compressBound(nar.len), nar.ptr, nar.len, 3);
	server_init(&server);
	narinfo = narinfo_of(buf_view(&nar), "nar/another-name.nar.zst");
	assert_ok(push(&server, "nar/x.nar.zst", buf_view(&packed), 1000, &err), &err);
	/* Not under its URL, so its own file says nothing of this one. */
	narinfo.has_file_size = true;
	narinfo.file_size = 5;
	assert_ok(publish(&server, NULL, &narinfo, &err), &err);
	assert_true(is_known(&server, &narinfo, &info));
	server_release(&server);
}

static void what_does_not_fit(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	make_nar(view_of_string("content"), &nar);
	server_init(&server);
	assert_ok(push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	for (int wrong = 0; wrong < 6; wrong++) {
		AUTO_NARINFO struct narinfo narinfo = narinfo_of(buf_view(&nar), "nar/x.nar");
		AUTO_PATH_INFO struct path_info info = { 0 };
		enum rc expected = RC_INVALID;

		if (wrong == 0) {
			narinfo.info.nar_size++;
		} else if (wrong == 1) {
			narinfo.info.has_ca = false;
			narinfo.info.nar_sha256.bytes[3] ^= 1;
		} else if (wrong == 2) {
			narinfo.has_file_size = true;
			narinfo.file_size = nar.len + 1;
		} else if (wrong == 3) {
			narinfo.has_file_hash = true;
		} else if (wrong == 4) {
			/* A content address that leads elsewhere. */
			narinfo.info.path.hash[0] ^= 1;
		} else {
			free(narinfo.url);
			narinfo.url = mem_strdup("nar/never.nar");
			narinfo.info.has_ca = false;
			narinfo.info.nar_sha256.bytes[0] ^= 1;
			expected = RC_FAILED_PRECONDITION;
		}
		assert_rc(expected, publish(&server, NULL, &narinfo, &err), &err);
		assert_false(is_known(&server, &narinfo, &info));
	}
	server_release(&server);
}

static void another_content_of_a_known_path(void **state)
{
	AUTO_BUF first = BUF_INIT, second = BUF_INIT;
	AUTO_NARINFO struct narinfo a = { 0 }, b = { 0 };
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	make_nar(view_of_string("first"), &first);
	make_nar(view_of_string("second"), &second);
	a = narinfo_of(buf_view(&first), "nar/a.nar");
	b = narinfo_of(buf_view(&second), "nar/b.nar");
	b.info.has_ca = a.info.has_ca = false;
	b.info.path = a.info.path;
	server_init(&server);
	assert_ok(push(&server, "nar/a.nar", buf_view(&first), SIZE_MAX, &err), &err);
	assert_ok(push(&server, "nar/b.nar", buf_view(&second), SIZE_MAX, &err), &err);
	assert_ok(publish(&server, NULL, &a, &err), &err);
	assert_rc(RC_EXISTS, publish(&server, NULL, &b, &err), &err);
	server_release(&server);
}

/* Every narinfo that names a NAR publishes its path, in any order, until the NAR expires. */
static void many_narinfos_of_one_nar(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	const struct nar_publish_policy policy = { .keep_ns = 3600 * NS_PER_S };
	struct pending_upload pending AUTO_PENDING_UPLOAD = { 0 };
	struct view url = view_of_string("nar/x.nar");
	struct err err = ERR_INIT;
	struct server server;
	uint64_t all, sum;

	(void)state;
	make_nar(view_of_string("one"), &nar);
	server_init(&server);
	assert_ok(push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	for (uint8_t i = 0; i < 4; i++) {
		AUTO_NARINFO struct narinfo narinfo =
			narinfo_of(buf_view(&nar), i % 2 ? "nar/x.nar" : "nar/other.nar");
		AUTO_PATH_INFO struct path_info info = { 0 };

		narinfo.info.has_ca = false;
		narinfo.info.path.hash[0] = i;
		assert_ok(publish(&server, &policy, &narinfo, &err), &err);
		assert_true(is_known(&server, &narinfo, &info));
	}
	/* It is kept, and is no burden to who sent it. */
	assert_ok(pending_upload_get(server.services.scratch, &op_none, url, &pending, &err), &err);
	assert_true(pending.published);
	assert_true(pending.expires_ns > clock_realtime_ns() + 3000 * NS_PER_S);
	assert_ok(pending_upload_sum(server.services.scratch, &op_none, &pending.client, 0, &sum,
				     &all, &err),
		  &err);
	assert_int_equal(sum, 0);
	server_release(&server);
}

/* Of a path that is published, a narinfo changes nothing but signatures. */
static void published_narinfos_stay(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	struct store_path reference = { .name = "other" };
	struct secret_key key;
	struct signature signature;
	AUTO_BUF covered = BUF_INIT;
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	make_nar(view_of_string("stays"), &nar);
	server_init(&server);
	narinfo = narinfo_of(buf_view(&nar), "nar/x.nar");
	narinfo.info.has_ca = false;
	narinfo.info.has_deriver = true;
	strcpy(narinfo.info.deriver.name, "builder");
	assert_ok(push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_ok(publish(&server, NULL, &narinfo, &err), &err);
	for (int change = 0; change < 3; change++) {
		AUTO_PATH_INFO struct path_info info = { 0 };
		struct narinfo other = narinfo; /* borrows all */

		if (change == 0) {
			other.info.references = &reference;
			other.info.reference_count = 1;
		} else if (change == 1) {
			strcpy(other.info.deriver.name, "somebody");
		} else {
			assert_ok(secret_key_generate(view_of_string("new-1"), &key, &err), &err);
			path_info_fingerprint(&other.info, &covered);
			assert_ok(signature_make(&key, buf_view(&covered), &signature, &err), &err);
			other.info.signatures = &signature;
			other.info.signature_count = 1;
		}
		/* With its NAR sent again, too. */
		assert_ok(push(&server, "nar/y.nar", buf_view(&nar), SIZE_MAX, &err), &err);
		assert_rc(change == 0 ? RC_EXISTS : RC_OK, publish(&server, NULL, &other, &err),
			  &err);
		assert_true(is_known(&server, &narinfo, &info));
		assert_int_equal(info.reference_count, 0);
		assert_string_equal(info.deriver.name, "builder");
		assert_int_equal(info.signature_count, change == 2);
	}
	signature_release(&signature);
	server_release(&server);
}

static void signatures(void **state)
{
	struct secret_key good, bad, ours[2];
	struct public_key trusted;
	AUTO_BUF nar = BUF_INIT, covered = BUF_INIT;
	AUTO_PATH_INFO struct path_info info = { 0 };
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	assert_ok(secret_key_generate(view_of_string("good-1"), &good, &err), &err);
	assert_ok(secret_key_generate(view_of_string("good-1"), &bad, &err), &err);
	assert_ok(secret_key_generate(view_of_string("ours-1"), &ours[0], &err), &err);
	assert_ok(secret_key_generate(view_of_string("ours-2"), &ours[1], &err), &err);
	secret_key_public(&good, &trusted);
	const struct nar_publish_policy policy = { &trusted, 1, ours, 2, 0 };

	make_nar(view_of_string("signed"), &nar);
	narinfo = narinfo_of(buf_view(&nar), "nar/x.nar");
	narinfo.info.has_ca = false;
	server_init(&server);
	assert_ok(push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_rc(RC_NOT_PERMITTED, publish(&server, &policy, &narinfo, &err), &err);
	narinfo.info.signatures = mem_array(1, sizeof(*narinfo.info.signatures));
	narinfo.info.signature_count = 1;
	path_info_fingerprint(&narinfo.info, &covered);
	assert_ok(signature_make(&bad, buf_view(&covered), narinfo.info.signatures, &err), &err);
	assert_rc(RC_NOT_PERMITTED, publish(&server, &policy, &narinfo, &err), &err);
	assert_false(is_known(&server, &narinfo, &info));
	signature_release(narinfo.info.signatures);
	assert_ok(signature_make(&good, buf_view(&covered), narinfo.info.signatures, &err), &err);
	assert_ok(publish(&server, &policy, &narinfo, &err), &err);
	assert_true(is_known(&server, &narinfo, &info));
	assert_int_equal(info.signature_count, 3);
	assert_string_equal(info.signatures[1].name, "ours-1");
	assert_string_equal(info.signatures[2].name, "ours-2");
	server_release(&server);
}

static void flat_content_addresses(void **state)
{
	struct view content = view_of_string("flat");
	AUTO_BUF nar = BUF_INIT;
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	make_nar(content, &nar);
	server_init(&server);
	for (int right = 0; right < 2; right++) {
		AUTO_NARINFO struct narinfo narinfo = narinfo_of(buf_view(&nar), "nar/x.nar");
		struct path_info *info = &narinfo.info;
		struct nar_hash hash = sha256_of(right ? content : view_of_string("flit"));

		info->ca.kind = CA_FLAT_SHA256;
		memcpy(info->ca.digest, hash.bytes, sizeof(hash.bytes));
		assert_ok(store_path_from_ca(&info->ca, view_of_string("thing"), NULL, 0, false,
					     &info->path, &err),
			  &err);
		assert_ok(push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
		assert_rc(right ? RC_OK : RC_INVALID, publish(&server, NULL, &narinfo, &err), &err);
	}
	server_release(&server);
}

static void broken_bodies(void **state)
{
	AUTO_BUF content = BUF_INIT, nar = BUF_INIT, packed = BUF_INIT;
	struct pending_upload pending;
	struct err err = ERR_INIT;
	struct server server;
	struct view url = view_of_string("nar/x.nar");

	(void)state;
	fill(&content, 5000);
	make_nar(buf_view(&content), &nar);
	buf_reserve(&packed, ZSTD_compressBound(nar.len));
	packed.len = ZSTD_compress(packed.ptr, ZSTD_compressBound(nar.len), nar.ptr, nar.len, 1);
	server_init(&server);
	for (size_t len = 0; len < nar.len; len += 1 + len / 7)
		assert_rc(RC_INVALID,
			  push(&server, "nar/x.nar", view_slice(buf_view(&nar), 0, len), 999, &err),
			  &err);
	for (size_t len = 10; len < packed.len; len += 1 + len / 3)
		assert_rc(RC_INVALID,
			  push(&server, "nar/x.nar", view_slice(buf_view(&packed), 0, len), 999,
			       &err),
			  &err);
	assert_rc(RC_INVALID, push(&server, "nar/x.nar", view_of_string("LZIP\1...."), 3, &err),
		  &err);
	buf_append_string(&nar, "more");
	assert_rc(RC_INVALID, push(&server, "nar/x.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_rc(RC_NOT_FOUND,
		  pending_upload_get(server.services.scratch, &op_none, url, &pending, &err), &err);
	server_release(&server);
}

static void limits(void **state)
{
	AUTO_BUF nar = BUF_INIT, zeros = BUF_INIT, bomb = BUF_INIT;
	struct pending_upload pending;
	struct err err = ERR_INIT;
	struct server server;
	struct view url = view_of_string("nar/a.nar");

	(void)state;
	make_nar(view_of_string("some content that is not long"), &nar);
	server_init(&server);
	/* Two wait, and a third is too much; when they have expired there is room again. */
	server.limits.client_bytes = 2 * nar.len + 1;
	server.limits.keep_ns = 300 * NS_PER_MS;
	server.limits.count_ns = 0;
	server_restart(&server);
	assert_ok(push(&server, "nar/a.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_ok(push(&server, "nar/b.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_rc(RC_TOO_LARGE, push(&server, "nar/c.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	clock_sleep_ns(400 * NS_PER_MS);
	assert_rc(RC_NOT_FOUND,
		  pending_upload_get(server.services.scratch, &op_none, url, &pending, &err), &err);
	assert_ok(push(&server, "nar/c.nar", buf_view(&nar), SIZE_MAX, &err), &err);

	/* Little that becomes much. */
	make_nar((struct view){ 0 }, &zeros);
	buf_clear(&zeros);
	nar_begin(&zeros);
	nar_file_begin(&zeros, false, 64 << 20);
	buf_append_zeros(&zeros, 64 << 20);
	nar_file_end(&zeros, 64 << 20);
	buf_reserve(&bomb, ZSTD_compressBound(zeros.len));
	bomb.len = ZSTD_compress(bomb.ptr, ZSTD_compressBound(zeros.len), zeros.ptr, zeros.len, 3);
	server.limits = nar_upload_limits_default;
	server.limits.nar_bytes = 1 << 20;
	server_restart(&server);
	assert_rc(RC_TOO_LARGE, push(&server, "nar/z.nar", buf_view(&bomb), SIZE_MAX, &err), &err);
	server_release(&server);
}

static enum rc open_as(struct server *server, const char *client, uint64_t expected,
		       struct nar_upload **out, struct err *err)
{
	return nar_upload_open(server->uploads, view_of_string("nar/x.nar"), view_of_string(client),
			       expected, wake, server, out, err);
}

/* Until it is over. */
static enum rc outcome_of(struct server *server, struct nar_upload *upload, struct err *err)
{
	enum rc rc = RC_OK;
	bool done = false;

	while (rc == RC_OK && !done) {
		rc = nar_upload_finish(upload, &done, err);
		if (rc == RC_OK && !done)
			wait_for_wake(server);
	}
	return rc;
}

/* More uploads that wait for bytes than may be stored at once: they are in nobody's way. */
static void stalled(void **state)
{
	AUTO_BUF content = BUF_INIT, nar = BUF_INIT;
	struct nar_upload *uploads[8];
	struct err err = ERR_INIT;
	struct server server;
	size_t taken;

	(void)state;
	fill(&content, 2 << 20);
	make_nar(buf_view(&content), &nar);
	server_init(&server);
	server.limits.parallel = 2;
	server_restart(&server);
	for (size_t i = 0; i < ARRAY_LEN(uploads); i++) {
		assert_ok(open_as(&server, "slow", 0, &uploads[i], &err), &err);
		assert_ok(nar_upload_write(uploads[i],
					   view_slice(buf_view(&nar), 0, i % 2 ? 0 : 100000),
					   &taken, &err),
			  &err);
	}
	assert_ok(push(&server, "nar/y.nar", buf_view(&nar), 4096, &err), &err);
	/* They go on where they were. */
	while (taken < nar.len) {
		size_t got;

		assert_ok(nar_upload_write(uploads[7],
					   view_slice(buf_view(&nar), taken, nar.len - taken), &got,
					   &err),
			  &err);
		taken += got;
		if (taken < nar.len)
			wait_for_wake(&server);
	}
	assert_ok(outcome_of(&server, uploads[7], &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(uploads); i++)
		nar_upload_free(uploads[i]);
	server_release(&server);
}

/* What one client has on its way counts as what waits does; and nothing of it counts when it failed. */
static void reserved(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	int64_t until_ns = clock_monotonic_ns() + 20 * NS_PER_S;
	struct nar_upload *one, *two, *three;
	struct err err = ERR_INIT;
	struct server server;
	size_t taken;
	enum rc rc;

	(void)state;
	make_nar(view_of_string("some content that is not long"), &nar);
	server_init(&server);
	server.limits.client_bytes = 2 * nar.len;
	server.limits.all_bytes = 3 * nar.len;
	server.limits.client_open = 2;
	server_restart(&server);
	/* What it says will come is refused before it does. */
	assert_ok(open_as(&server, "a", 2 * nar.len + 1, &one, &err), &err);
	assert_rc(RC_TOO_LARGE, outcome_of(&server, one, &err), &err);
	nar_upload_free(one);
	assert_ok(open_as(&server, "a", nar.len + 1, &one, &err), &err);
	assert_ok(nar_upload_write(one, view_slice(buf_view(&nar), 0, 8), &taken, &err), &err);
	/* As soon as that one has begun; if the other one did first, there is no room for that one. */
	for (rc = RC_OK; rc != RC_TOO_LARGE; nar_upload_free(two)) {
		if (nar_upload_write(one, view_of("", 0), &taken, &err) != RC_OK) {
			nar_upload_free(one);
			assert_ok(open_as(&server, "a", nar.len + 1, &one, &err), &err);
			assert_ok(nar_upload_write(one, view_slice(buf_view(&nar), 0, 8), &taken,
						   &err),
				  &err);
		}
		assert_ok(open_as(&server, "a", nar.len, &two, &err), &err);
		rc = outcome_of(&server, two, &err);
		assert_true(clock_monotonic_ns() < until_ns);
	}
	/* What fails gives back what it had, also where others of its client go on. */
	for (int i = 0; i < 2; i++) {
		assert_ok(open_as(&server, "a", nar.len - 1, &two, &err), &err);
		assert_rc(RC_INVALID, outcome_of(&server, two, &err), &err);
		nar_upload_free(two);
	}
	assert_ok(open_as(&server, "a", 0, &two, &err), &err);
	/* Two uploads of it are open. */
	assert_rc(RC_BUSY, open_as(&server, "a", 0, &three, &err), &err);
	assert_null(three);
	nar_upload_free(two);
	nar_upload_free(one);
	/* All clients together. */
	assert_ok(push(&server, "nar/a.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_ok(push(&server, "nar/b.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_rc(RC_TOO_LARGE, push(&server, "nar/c.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_ok(open_as(&server, "b", nar.len, &one, &err), &err);
	assert_ok(nar_upload_write(one, buf_view(&nar), &taken, &err), &err);
	assert_ok(outcome_of(&server, one, &err), &err);
	nar_upload_free(one);
	assert_ok(open_as(&server, "c", 1, &one, &err), &err);
	assert_rc(RC_TOO_LARGE, outcome_of(&server, one, &err), &err);
	nar_upload_free(one);
	server_release(&server);
}

/* What nobody published stays in the store, and counts on for a while. */
static void expired_uploads_count(void **state)
{
	AUTO_BUF nar = BUF_INIT;
	struct err err = ERR_INIT;
	struct server server;

	(void)state;
	make_nar(view_of_string("some content that is not long"), &nar);
	server_init(&server);
	server.limits.client_bytes = nar.len;
	server.limits.keep_ns = 1;
	server.limits.count_ns = 3600 * NS_PER_S;
	server_restart(&server);
	assert_ok(push(&server, "nar/a.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	assert_rc(RC_TOO_LARGE, push(&server, "nar/b.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	server.limits.count_ns = 0;
	server_restart(&server);
	assert_ok(push(&server, "nar/b.nar", buf_view(&nar), SIZE_MAX, &err), &err);
	server_release(&server);
}

/* Clients that go away: at the beginning, in the middle, while they wait for their turn. */
static void given_up(void **state)
{
	AUTO_BUF content = BUF_INIT, nar = BUF_INIT;
	struct nar_upload *uploads[12];
	struct err err = ERR_INIT;
	struct server server;
	size_t taken;

	(void)state;
	fill(&content, 2 << 20);
	make_nar(buf_view(&content), &nar);
	server_init(&server);
	for (size_t i = 0; i < ARRAY_LEN(uploads); i++) {
		assert_ok(nar_upload_open(server.uploads, view_of_string("nar/x.nar"),
					  view_of_string("me"), 0, wake, &server, &uploads[i],
					  &err),
			  &err);
		if (i % 3 > 0)
			assert_ok(nar_upload_write(uploads[i],
						   view_slice(buf_view(&nar), 0,
							      i % 3 == 1 ? 50 : nar.len / 2),
						   &taken, &err),
				  &err);
	}
	for (size_t i = 0; i < ARRAY_LEN(uploads); i++)
		nar_upload_free(uploads[i]);
	server.woken = false;
	assert_ok(push(&server, "nar/y.nar", buf_view(&nar), 4096, &err), &err);
	server_release(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nar_then_narinfo),
		cmocka_unit_test(compressed_and_by_hash),
		cmocka_unit_test(what_does_not_fit),
		cmocka_unit_test(another_content_of_a_known_path),
		cmocka_unit_test(many_narinfos_of_one_nar),
		cmocka_unit_test(published_narinfos_stay),
		cmocka_unit_test(signatures),
		cmocka_unit_test(flat_content_addresses),
		cmocka_unit_test(broken_bodies),
		cmocka_unit_test(limits),
		cmocka_unit_test(stalled),
		cmocka_unit_test(reserved),
		cmocka_unit_test(expired_uploads_count),
		cmocka_unit_test(given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
