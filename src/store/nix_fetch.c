/*
 * The chain of a download: HTTP body → decompressor → limit of bytes → import of a NAR. The bytes
 * pass through as they come; there is no archive on disk.
 */
#include "store/nix_fetch.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/decompress.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "nix/narinfo.h"
#include "nix/nixbase32.h"
#include "transfer/completeness.h"
#include "transfer/copy.h"
#include "transfer/nar.h"
#include "transfer/nar_publish.h"

enum {
	/* What a compressed stream may have beyond the archive's own length. */
	PACKED_SLACK = 1 << 20,
	NODE_BASE64_MAX = 8192,
	NARINFO_S = 15,
};

#define AUTO_BUF CLEANUP(buf_release) struct buf

/* ---- URLs ---- */

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* "..", also where its dots are encoded. */
static bool is_dot_dot(struct view part)
{
	unsigned dots = 0;

	while (part.len > 0) {
		size_t len = 1;

		if (part.len >= 3 && strncasecmp((const char *)part.ptr, "%2e", 3) == 0)
			len = 3;
		else if (part.ptr[0] != '.')
			return false;
		dots++;
		part = view_slice(part, len, part.len - len);
	}
	return dots == 2;
}

static bool climbs(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/?#");

		if (is_dot_dot(view_of(path, len)))
			return true;
		if (path[len] != '/')
			return false;
		path += len + 1;
	}
}

/* "http://host[:port]" of it. */
static size_t origin_length(const char *url)
{
	const char *host = strstr(url, "://");

	return host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

/* Another host is fine, for what comes from there is checked by hash and signature; but no other scheme, no
 * user, and nothing unencrypted where the cache itself is not. */
static enum rc check_absolute(const char *base, const char *url, struct err *err)
{
	size_t scheme = starts_with(url, "https://") ? 8 : 7, len = origin_length(url);

	if (!starts_with(base, "http"))
		return err_set(err, RC_INVALID, "the URL %s leads out of the directory", url);
	if (starts_with(base, "https://") && scheme == 7)
		return err_set(err, RC_INVALID, "the URL %s leads from https to http", url);
	if (len <= scheme || memchr(url, '@', len))
		return err_set(err, RC_INVALID, "the URL %s names no host, or a user", url);
	return RC_OK;
}

enum rc nix_url_resolve(const char *base, const char *url, struct buf *out, struct err *err)
{
	bool absolute = starts_with(url, "http://") || starts_with(url, "https://");
	bool rooted = url[0] == '/' && starts_with(base, "http");
	size_t len = strlen(base), scheme = strcspn(url, ":/?");
	const char *path = absolute ? url + origin_length(url) : url;
	enum rc rc = RC_OK;

	if (strncmp(url, base, len) == 0 && url[len] == '/') {
		absolute = false;
		path = url += len + 1;
	} else if (absolute) {
		rc = check_absolute(base, url, err);
	} else if ((url[0] == '/' && (!rooted || url[1] == '/')) || url[0] == '\0' ||
		   url[scheme] == ':') {
		rc = err_set(err, RC_INVALID, "the URL %s leads out of the cache", url);
	}
	if (rc != RC_OK)
		return rc;
	/* An encoded slash or a backslash is a slash to some servers. */
	if (climbs(path) || strchr(url, '\\') || strcasestr(url, "%2f") || strcasestr(url, "%5c") ||
	    strchr(url, '#'))
		return err_set(err, RC_INVALID, "the URL %s is not one of a file in a cache", url);
	if (absolute)
		buf_append_string(out, url);
	else if (rooted && path[0] == '/')
		buf_printf(out, "%.*s%s", (int)origin_length(base), base, url);
	else
		buf_printf(out, "%s/%s", base, url);
	return RC_OK;
}

bool nix_url_node(const char *url, struct node *out)
{
	static const char *const prefixes[] = { "nar/snix-castore/", "nar/tvix-castore/", "nar/" };
	AUTO_BUF bytes = BUF_INIT;
	struct node node;
	size_t len;

	*out = (struct node){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (!starts_with(url, prefixes[i]))
			continue;
		url += strlen(prefixes[i]);
		len = strcspn(url, "/?");
		if (i == 2 && url[len] != '/')
			return false;
		if (len == 0 || len > NODE_BASE64_MAX ||
		    !base64_decode(BASE64_URL, view_of(url, len), &bytes) ||
		    node_decode(buf_view(&bytes), &node, NULL) != RC_OK || node.name.len > 0)
			return false;
		node_copy(out, &node);
		return true;
	}
	return false;
}

/* ---- The narinfo ---- */

/* Some other path's info is no answer, nor is one that nobody trusted has signed. */
static enum rc check_narinfo(const struct nix_cache *cache,
			     const uint8_t hash[STORE_PATH_HASH_SIZE],
			     const struct narinfo *narinfo, struct err *err)
{
	const struct path_info *info = &narinfo->info;
	AUTO_BUF covered = BUF_INIT;
	enum rc rc;

	if (memcmp(info->path.hash, hash, STORE_PATH_HASH_SIZE) != 0)
		return err_set(err, RC_CORRUPT, "it is of another store path, %s", info->path.name);
	rc = path_info_check_ca(info, err);
	if (rc != RC_OK)
		return rc == RC_INVALID ? RC_CORRUPT : rc;
	if (cache->key_count == 0)
		return RC_OK;
	/* This address covers all that a signature would; of a path that refers to itself once its content is
	 * here (nar_check_ca). */
	if (info->has_ca && info->ca.kind == CA_NAR_SHA256)
		return RC_OK;
	path_info_fingerprint(info, &covered);
	if (signatures_find(info->signatures, info->signature_count, cache->keys, cache->key_count,
			    buf_view(&covered)))
		return RC_OK;
	if (info->signature_count == 0)
		return err_set(err, RC_NOT_PERMITTED, "it is not signed");
	return err_set(err, RC_NOT_PERMITTED,
		       "none of its %zu signatures is right and of a trusted key (the first is of "
		       "%s)",
		       info->signature_count, info->signatures[0].name);
}

static enum rc get_narinfo(struct nix_cache *cache, const struct op *op,
			   const uint8_t hash[STORE_PATH_HASH_SIZE], struct narinfo *out,
			   struct err *err)
{
	char name[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];
	AUTO_BUF url = BUF_INIT, text = BUF_INIT;
	/* It is short: who takes longer for it is as good as away. */
	int64_t until_ns = clock_monotonic_ns() + NARINFO_S * NS_PER_S;
	struct op soon = *op;
	enum rc rc;

	if (soon.deadline_ns == 0 || soon.deadline_ns > until_ns)
		soon.deadline_ns = until_ns;
	memset(out, 0, sizeof(*out));
	nixbase32_encode(hash, STORE_PATH_HASH_SIZE, name);
	buf_printf(&url, "%s/%s.narinfo", cache->base, name);
	rc = http_get(cache->client, &soon, buf_string(&url), NARINFO_MAX, &text, err);
	if (rc == RC_DEADLINE && op_check(op, NULL) == RC_OK)
		rc = err_set(err, RC_UNAVAILABLE, "%s: no answer in %d seconds", buf_string(&url),
			     NARINFO_S);
	if (rc != RC_OK)
		return rc;
	rc = narinfo_parse(buf_view(&text), out, err);
	if (rc == RC_INVALID)
		rc = RC_CORRUPT;
	if (rc == RC_OK)
		rc = check_narinfo(cache, hash, out, err);
	if (rc != RC_OK)
		narinfo_release(out);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", buf_string(&url));
}

/* ---- Contents that need no NAR ---- */

/* Hashes the NAR of a node that a stranger named: not beyond the length that it has to have. */
struct nar_check {
	EVP_MD_CTX *sha256;
	uint64_t left;
};

static enum rc check_bytes(void *context, struct view bytes, struct err *err)
{
	struct nar_check *check = context;

	if (bytes.len > check->left)
		return err_set(err, RC_CORRUPT, "its NAR is longer than it should be");
	check->left -= bytes.len;
	if (EVP_DigestUpdate(check->sha256, bytes.ptr, bytes.len) != 1)
		return err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	return RC_OK;
}

static enum rc check_node(const struct services *near, const struct op *op, const struct node *node,
			  const struct path_info *info, struct err *err)
{
	struct nar_check check = { .sha256 = EVP_MD_CTX_new(), .left = info->nar_size };
	struct nar_hash hash;
	enum rc rc = RC_OK;

	if (!check.sha256 || EVP_DigestInit_ex(check.sha256, EVP_sha256(), NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "no SHA-256");
	if (rc == RC_OK)
		rc = nar_export(near, op, node, check_bytes, &check, err);
	if (rc == RC_OK && EVP_DigestFinal_ex(check.sha256, hash.bytes, NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	if (rc == RC_OK && (check.left > 0 || memcmp(&hash, &info->nar_sha256, sizeof(hash)) != 0))
		rc = err_set(err, RC_CORRUPT, "its NAR is another one");
	EVP_MD_CTX_free(check.sha256);
	return rc;
}

/* Everything in a directory takes at least so many bytes of a NAR, beside a file's content. */
enum { NAR_ENTRY_LEAST = 100 };

static enum rc count_directory(const struct directory *dir, uint64_t *left, struct err *err)
{
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);
		uint64_t size = node->kind == NODE_FILE ? node->size : 0;

		if (*left < NAR_ENTRY_LEAST || size > *left - NAR_ENTRY_LEAST)
			return err_set(err, RC_CORRUPT,
				       "there is more of it than its NAR could hold");
		*left -= size + NAR_ENTRY_LEAST;
	}
	return RC_OK;
}

/* Nobody signed what the URL names: nothing is copied that could not be in the NAR. */
static enum rc check_fits(const struct services *far, const struct op *op, const struct node *node,
			  uint64_t nar_size, struct err *err)
{
	struct directory_iter *iter;
	uint64_t left = nar_size;
	enum rc rc;

	if (node->kind != NODE_DIRECTORY)
		return node->kind == NODE_FILE && node->size > nar_size
			       ? err_set(err, RC_CORRUPT, "it is larger than its NAR")
			       : RC_OK;
	rc = directory_service_get_recursive(far->directories, op, &node->digest, &iter, err);
	while (rc == RC_OK) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		rc = directory_iter_next(iter, op, &dir, err);
		if (rc != RC_OK || !dir)
			break;
		rc = count_directory(dir, &left, err);
	}
	directory_iter_free(iter);
	return rc;
}

/* The node that the URL names: is it here, or can what is missing of it be had from the cache's own
 * services? */
static enum rc fetch_by_node(struct nix_cache *cache, const struct op *op, const struct node *node,
			     const struct path_info *info, struct err *err)
{
	struct copy_stats stats = { 0 };
	struct nar_facts facts = { .nar_size = info->nar_size, .nar_sha256 = info->nar_sha256 };
	enum rc rc = completeness_check(&cache->near, op, node, err);

	if (rc == RC_FAILED_PRECONDITION && cache->far.blobs) {
		rc = check_fits(&cache->far, op, node, info->nar_size, err);
		if (rc != RC_OK)
			return rc;
		rc = copy_node(&cache->far, &cache->near, op, node, NULL, NULL, &stats, err);
	}
	if (rc == RC_OK)
		rc = check_node(&cache->near, op, node, info, err);
	if (rc == RC_OK && cache->near.nar_facts)
		rc = nar_facts_store_put(cache->near.nar_facts, op, node, &facts, err);
	return rc;
}

/* ---- The NAR ---- */

struct download {
	const struct op *op;
	struct http_body *body;
	struct decompress_stream *stream;
	uint64_t packed_left, left; /* bytes that may still come */
};

static enum rc read_packed(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct download *download = context;
	enum rc rc = http_body_read(download->body, download->op, out, len, got, err);

	if (rc != RC_OK)
		return rc;
	if (*got > download->packed_left) {
		*got = 0;
		return err_set(err, RC_CORRUPT, "the compressed NAR is longer than the NAR");
	}
	download->packed_left -= *got;
	return RC_OK;
}

static enum rc read_nar(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct download *download = context;
	enum rc rc = decompress_stream_read(download->stream, out, len, got, err);

	if (rc != RC_OK)
		return rc;
	if (*got > download->left) {
		*got = 0;
		return err_set(err, RC_CORRUPT, "the NAR is longer than its narinfo says");
	}
	download->left -= *got;
	return RC_OK;
}

static enum rc check_facts(const struct nar_facts *facts, const struct path_info *info,
			   struct err *err)
{
	if (facts->nar_size != info->nar_size)
		return err_set(err, RC_CORRUPT, "the NAR has %llu bytes, its narinfo says %llu",
			       (unsigned long long)facts->nar_size,
			       (unsigned long long)info->nar_size);
	if (memcmp(&facts->nar_sha256, &info->nar_sha256, sizeof(info->nar_sha256)) != 0)
		return err_set(err, RC_CORRUPT, "the NAR has another hash than its narinfo says");
	return RC_OK;
}

static enum rc import_body(struct nix_cache *cache, const struct op *op,
			   const struct narinfo *narinfo, struct http_body *body, struct node *root,
			   struct err *err)
{
	const uint64_t size = narinfo->info.nar_size;
	struct download download = {
		.op = op,
		.body = body,
		.left = size,
		.packed_left = size <= UINT64_MAX - PACKED_SLACK - size / 8
				       ? size + size / 8 + PACKED_SLACK
				       : UINT64_MAX,
	};
	/* Of all formats only Brotli cannot be told by its bytes. */
	const char *name = strcmp(narinfo->compression, "br") == 0 ? ".br" : "";
	struct nar_facts facts;
	enum rc rc;

	download.stream = decompress_stream_new(read_packed, &download, view_of_string(name));
	rc = nar_import(&cache->near, op, read_nar, &download, root, &facts, err);
	decompress_stream_free(download.stream);
	if (rc == RC_OK)
		rc = check_facts(&facts, &narinfo->info, err);
	if (rc != RC_OK)
		node_release(root);
	return rc == RC_INVALID ? RC_CORRUPT : rc;
}

static enum rc take_turn(struct nix_cache *cache, const struct op *op, struct err *err)
{
	enum rc rc = RC_OK;

	pthread_mutex_lock(&cache->lock);
	while (rc == RC_OK && cache->fetching == NIX_FETCHES_MAX)
		rc = cond_wait_op(&cache->cond, &cache->lock, op, err);
	cache->fetching += rc == RC_OK;
	pthread_mutex_unlock(&cache->lock);
	return rc;
}

static void end_turn(struct nix_cache *cache)
{
	pthread_mutex_lock(&cache->lock);
	cache->fetching--;
	pthread_cond_signal(&cache->cond);
	pthread_mutex_unlock(&cache->lock);
}

static enum rc fetch_nar(struct nix_cache *cache, const struct op *op,
			 const struct narinfo *narinfo, struct node *root, struct err *err)
{
	struct http_body *body = NULL;
	AUTO_BUF url = BUF_INIT;
	enum rc rc = nix_url_resolve(cache->base, narinfo->url, &url, err);

	*root = (struct node){ 0 };
	if (rc != RC_OK)
		return RC_CORRUPT;
	rc = take_turn(cache, op, err);
	if (rc != RC_OK)
		return rc;
	rc = http_open(cache->client, op, buf_string(&url), 0, NULL, &body, err);
	/* Of a path that the cache says it has: then it has not, whatever it says. */
	if (rc == RC_OK)
		rc = import_body(cache, op, narinfo, body, root, err);
	http_body_free(body);
	end_turn(cache);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", narinfo->url);
}

/* ---- All of it ---- */

/* RC_OK with the content here: by the node in the URL if that leads anywhere, else by the NAR. */
static enum rc fetch_content(struct nix_cache *cache, const struct op *op,
			     const struct narinfo *narinfo, struct node *root, struct err *err)
{
	struct err why = ERR_INIT;
	enum rc rc = RC_NOT_FOUND;

	if (nix_url_node(narinfo->url, root))
		rc = fetch_by_node(cache, op, root, &narinfo->info, &why);
	if (rc == RC_OK)
		return RC_OK;
	if (why.message[0])
		log_debug("%s: read as a NAR: %s", narinfo->info.path.name, why.message);
	node_release(root);
	if (rc == RC_CANCELLED || rc == RC_DEADLINE || rc == RC_NO_SPACE)
		return err_set(err, rc, "%s", why.message);
	return fetch_nar(cache, op, narinfo, root, err);
}

enum rc nix_fetch(struct nix_cache *cache, const struct op *op,
		  const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out, struct err *err)
{
	AUTO_NARINFO struct narinfo narinfo;
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct node root, named;
	enum rc rc = get_narinfo(cache, op, hash, &narinfo, err);

	memset(out, 0, sizeof(*out));
	if (rc != RC_OK)
		return rc;
	rc = fetch_content(cache, op, &narinfo, &root, err);
	store_path_basename(&narinfo.info.path, basename);
	if (rc != RC_OK)
		return err_context(err, rc, "%s", basename);
	named = root;
	named.name = view_of_string(basename);
	node_copy(&narinfo.info.node, &named);
	node_release(&root);
	rc = path_info_check(&narinfo.info, err);
	if (rc == RC_OK)
		rc = nar_check_ca(&cache->near, op, &narinfo.info, err);
	if (rc != RC_OK)
		return rc == RC_INVALID ? RC_CORRUPT : rc;
	*out = narinfo.info;
	memset(&narinfo.info, 0, sizeof(narinfo.info));
	return RC_OK;
}

enum rc nix_announce(struct nix_cache *cache, const struct op *op,
		     const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		     struct err *err)
{
	AUTO_NARINFO struct narinfo narinfo;
	enum rc rc = get_narinfo(cache, op, hash, &narinfo, err);

	memset(out, 0, sizeof(*out));
	if (rc != RC_OK)
		return rc;
	*out = narinfo.info;
	memset(&narinfo.info, 0, sizeof(narinfo.info));
	return RC_OK;
}
