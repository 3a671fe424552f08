/*
 * What is remembered, and who waits for what. A fetch runs in a thread of the service's own, so that it
 * goes on while anybody waits for it, whoever asked first; when the last one leaves, it is cancelled.
 *
 * Locks: self->lock, and under it that of self->known. A fetch belongs to its thread until it is done,
 * then to whoever lets it go last.
 */
#include "store/nix_http.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/file.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/lru.h"
#include "base/mem.h"
#include "base/pool.h"
#include "net/tls_files.h"
#include "nix/signature.h"
#include "store/nix_documents.h"
#include "store/nix_fetch.h"

enum {
	THREADS = 64, /* of narinfos; far fewer of them import at once */
	WAITING = 65536,
	MISSES_MAX = 65536,
	KNOWN_BYTES = 64 << 20,
	BAD_BYTES = 1 << 20,
	TOKEN_MAX = 64 << 10,
};

const struct nix_http_options nix_http_options_default = {
	.http = { .connect_ns = 5 * NS_PER_S,
		  .stall_ns = 60 * NS_PER_S,
		  .attempts = 4,
		  .backoff_ns = 250 * NS_PER_MS,
		  .down_ns = 2 * NS_PER_S,
		  .down_most_ns = 60 * NS_PER_S },
	.miss_ns = 30 * NS_PER_S,
	.bad_ns = 60 * NS_PER_S,
};

struct nix_http {
	struct path_info_service base;
	struct nix_cache cache;
	int64_t miss_ns, bad_ns;
	struct lru *known; /* hash → struct known */
	struct lru *bad;   /* hash → struct bad */
	struct pool *pool;

	pthread_mutex_t lock;
	pthread_cond_t done; /* some fetch is */
	/* Under lock. */
	struct hashmap fetches; /* hash → struct fetch; those that can be joined */
	/* Misses are in one of two sets; from time to time the older one is emptied, and is the younger
	 * one from then on. */
	struct hashmap misses[2];
	unsigned young;
	int64_t turn_ns;
};

/* ---- What is known ---- */

struct known {
	struct refcount ref;
	struct path_info info;
};

static void *known_ref(void *value)
{
	refcount_ref(&((struct known *)value)->ref);
	return value;
}

static void known_unref(void *value)
{
	struct known *known = value;

	if (!refcount_unref(&known->ref))
		return;
	path_info_release(&known->info);
	free(known);
}

static const struct lru_ops known_ops = { known_ref, known_unref };

static void remember(struct nix_http *self, const struct path_info *info)
{
	struct known *known = mem_zalloc(sizeof(*known));

	refcount_init(&known->ref);
	path_info_copy(&known->info, info);
	lru_put(self->known, info->path.hash, known,
		sizeof(*known) + info->reference_count * sizeof(*info->references) +
			info->signature_count * 2 * sizeof(*info->signatures));
	known_unref(known);
}

static bool recall(struct nix_http *self, const uint8_t *hash, struct path_info *out)
{
	struct known *known = lru_get(self->known, hash);

	if (!known)
		return false;
	path_info_copy(out, &known->info);
	known_unref(known);
	return true;
}

/* What the cache says of a path, and is not so: it would be downloaded in vain at every look. */
struct bad {
	struct refcount ref;
	int64_t until_ns;
	enum rc rc;
	char message[];
};

static void *bad_ref(void *value)
{
	refcount_ref(&((struct bad *)value)->ref);
	return value;
}

static void bad_unref(void *value)
{
	if (refcount_unref(&((struct bad *)value)->ref))
		free(value);
}

static const struct lru_ops bad_ops = { bad_ref, bad_unref };

static void remember_bad(struct nix_http *self, const uint8_t *hash, enum rc rc,
			 const struct err *err)
{
	size_t len = strlen(err->message) + 1;
	struct bad *bad;

	if (self->bad_ns == 0)
		return;
	bad = mem_zalloc(sizeof(*bad) + len);
	refcount_init(&bad->ref);
	bad->until_ns = clock_monotonic_ns() + self->bad_ns;
	bad->rc = rc;
	memcpy(bad->message, err->message, len);
	lru_put(self->bad, hash, bad, sizeof(*bad) + len);
	bad_unref(bad);
}

/* RC_OK: nothing bad is known. */
static enum rc recall_bad(struct nix_http *self, const uint8_t *hash, struct err *err)
{
	struct bad *bad = lru_get(self->bad, hash);
	enum rc rc = RC_OK;

	if (!bad)
		return RC_OK;
	if (clock_monotonic_ns() < bad->until_ns)
		rc = err_set(err, bad->rc, "%s (so it was a moment ago)", bad->message);
	bad_unref(bad);
	return rc;
}

static void empty_misses(struct nix_http *self, unsigned which)
{
	hashmap_release(&self->misses[which]);
	hashmap_init(&self->misses[which], STORE_PATH_HASH_SIZE);
}

/* These three under lock. */
static void turn_misses(struct nix_http *self)
{
	int64_t now = clock_monotonic_ns();
	bool long_ago = now >= self->turn_ns + self->miss_ns;

	if (now < self->turn_ns && self->misses[self->young].count < MISSES_MAX)
		return;
	if (long_ago) /* then the younger ones are old too */
		empty_misses(self, self->young);
	self->young ^= 1;
	empty_misses(self, self->young);
	self->turn_ns = now + self->miss_ns;
}

static bool is_miss(struct nix_http *self, const uint8_t *hash)
{
	turn_misses(self);
	return hashmap_get(&self->misses[0], hash) || hashmap_get(&self->misses[1], hash);
}

static void note_miss(struct nix_http *self, const uint8_t *hash)
{
	turn_misses(self);
	hashmap_put(&self->misses[self->young], hash, self);
}

static void note_outcome(struct nix_http *self, const uint8_t *hash, enum rc rc, struct err *err)
{
	if (rc == RC_CORRUPT || rc == RC_TOO_LARGE)
		remember_bad(self, hash, rc, err);
	if (rc != RC_NOT_FOUND)
		return;
	pthread_mutex_lock(&self->lock);
	note_miss(self, hash);
	pthread_mutex_unlock(&self->lock);
}

/* ---- Fetches ---- */

struct fetch {
	struct nix_http *self;
	uint8_t hash[STORE_PATH_HASH_SIZE];
	atomic_bool cancel;
	/* Under lock. */
	unsigned waiting;
	bool done;
	/* Of the thread, until it is done. */
	enum rc rc;
	struct err err;
	struct path_info info;
};

static void free_fetch(struct fetch *fetch)
{
	path_info_release(&fetch->info);
	free(fetch);
}

/* Under lock. */
static void leave_map(struct fetch *fetch)
{
	struct hashmap *fetches = &fetch->self->fetches;

	if (hashmap_get(fetches, fetch->hash) == fetch)
		hashmap_remove(fetches, fetch->hash);
}

static void run_fetch(void *context)
{
	struct fetch *fetch = context;
	struct nix_http *self = fetch->self;
	const struct op op = { .cancel = &fetch->cancel };
	bool unwanted;

	fetch->rc = op_check(&op, &fetch->err);
	if (fetch->rc == RC_OK)
		fetch->rc = nix_fetch(&self->cache, &op, fetch->hash, &fetch->info, &fetch->err);
	if (fetch->rc == RC_OK)
		remember(self, &fetch->info);
	note_outcome(self, fetch->hash, fetch->rc, &fetch->err);
	pthread_mutex_lock(&self->lock);
	leave_map(fetch);
	fetch->done = true;
	unwanted = fetch->waiting == 0;
	pthread_cond_broadcast(&self->done);
	pthread_mutex_unlock(&self->lock);
	if (unwanted)
		free_fetch(fetch);
}

/* Under lock. The one that is under way, or a new one, which the caller has to submit. */
static struct fetch *join_fetch(struct nix_http *self, const uint8_t *hash, bool *fresh)
{
	struct fetch *fetch = hashmap_get(&self->fetches, hash);

	*fresh = !fetch;
	if (!fetch) {
		fetch = mem_zalloc(sizeof(*fetch));
		fetch->self = self;
		memcpy(fetch->hash, hash, STORE_PATH_HASH_SIZE);
		atomic_init(&fetch->cancel, false);
		hashmap_put(&self->fetches, hash, fetch);
	}
	fetch->waiting++;
	return fetch;
}

static enum rc wait_for(struct fetch *fetch, const struct op *op, struct path_info *out,
			struct err *err)
{
	struct nix_http *self = fetch->self;
	bool last;
	enum rc rc = RC_OK;

	pthread_mutex_lock(&self->lock);
	while (!fetch->done && rc == RC_OK)
		rc = cond_wait_op(&self->done, &self->lock, op, err);
	if (rc == RC_OK) {
		rc = fetch->rc;
		if (rc == RC_OK)
			path_info_copy(out, &fetch->info);
		else
			err_set(err, rc, "%s", fetch->err.message);
	}
	last = --fetch->waiting == 0;
	if (last && !fetch->done) { /* its thread frees it */
		atomic_store(&fetch->cancel, true);
		leave_map(fetch);
		last = false;
	}
	pthread_mutex_unlock(&self->lock);
	if (last)
		free_fetch(fetch);
	return rc;
}

/* ---- The service ---- */

static struct nix_http *nix_http_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct nix_http, base);
}

static enum rc nix_http_get(struct path_info_service *service, const struct op *op,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			    struct err *err)
{
	struct nix_http *self = nix_http_of(service);
	struct fetch *fetch = NULL;
	bool fresh = false;
	enum rc rc = op_check(op, err);

	if (rc != RC_OK || recall(self, hash, out))
		return rc;
	rc = recall_bad(self, hash, err);
	if (rc != RC_OK)
		return rc;
	pthread_mutex_lock(&self->lock);
	if (is_miss(self, hash))
		rc = err_set(err, RC_NOT_FOUND, "%s did not have it a moment ago",
			     self->cache.base);
	else
		fetch = join_fetch(self, hash, &fresh);
	pthread_mutex_unlock(&self->lock);
	if (rc != RC_OK)
		return rc;
	if (fresh)
		pool_submit(self->pool, run_fetch, fetch);
	return wait_for(fetch, op, out, err);
}

static enum rc nix_http_announce(struct path_info_service *service, const struct op *op,
				 const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
				 struct err *err)
{
	struct nix_http *self = nix_http_of(service);
	enum rc rc = op_check(op, err);

	if (rc != RC_OK || recall(self, hash, out))
		return rc;
	rc = recall_bad(self, hash, err);
	if (rc != RC_OK)
		return rc;
	pthread_mutex_lock(&self->lock);
	bool missed = is_miss(self, hash);
	pthread_mutex_unlock(&self->lock);
	if (missed)
		return err_set(err, RC_NOT_FOUND, "%s did not have it a moment ago",
			       self->cache.base);
	rc = nix_announce(&self->cache, op, hash, out, err);
	note_outcome(self, hash, rc, err);
	return rc;
}

static enum rc nix_http_put(struct path_info_service *service, const struct op *op,
			    const struct path_info *info, struct path_info *stored, struct err *err)
{
	(void)op;
	(void)info;
	(void)stored;
	return err_set(err, RC_NOT_PERMITTED, "%s is a binary cache, which is only read",
		       nix_http_of(service)->cache.base);
}

static enum rc nix_http_list(struct path_info_service *service, const struct op *op,
			     const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			     struct err *err)
{
	(void)op;
	(void)after;
	(void)out;
	return err_set(err, RC_NOT_PERMITTED, "%s is a binary cache, which has no list",
		       nix_http_of(service)->cache.base);
}

static void nix_http_free(struct path_info_service *service)
{
	struct nix_http *self = nix_http_of(service);

	pool_free(self->pool); /* the fetches that nobody waits for any more end soon */
	http_client_free(self->cache.client);
	services_release(&self->cache.near);
	services_release(&self->cache.far);
	free(self->cache.base);
	free(self->cache.keys);
	lru_free(self->known);
	lru_free(self->bad);
	hashmap_release(&self->fetches);
	hashmap_release(&self->misses[0]);
	hashmap_release(&self->misses[1]);
	pthread_mutex_destroy(&self->cache.lock);
	pthread_cond_destroy(&self->cache.cond);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->done);
	free(self);
}

static const struct path_info_service_ops nix_http_ops = {
	.name = "nix+http",
	.remote = true,
	.ingests = true,
	.free = nix_http_free,
	.get = nix_http_get,
	.announce = nix_http_announce,
	.put = nix_http_put,
	.list = nix_http_list,
};

/* ---- Making one ---- */

/* "http://host/path", "file:///path": the path encoded again, without slashes at its end. */
static char *base_of(const struct url *url)
{
	struct buf base CLEANUP(buf_release) = BUF_INIT;
	size_t len = strlen(url->path);

	while (len > 0 && url->path[len - 1] == '/')
		len--;
	buf_printf(&base, "%s://%s", url->scheme + strlen("nix+"), url->host);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)url->path[i];

		if (isalnum(c) || strchr("/-._~:@+,=", c))
			buf_append_byte(&base, c);
		else
			buf_printf(&base, "%%%02X", c);
	}
	return mem_strdup(buf_string(&base));
}

static enum rc take_keys(const struct url *url, struct nix_cache *cache, struct err *err)
{
	for (size_t i = 0; i < url->param_count; i++) {
		enum rc rc;

		if (strcmp(url->params[i].name, "trusted-public-keys") != 0)
			continue;
		rc = public_keys_parse(view_of_string(url->params[i].value), &cache->keys,
				       &cache->key_count, err);
		if (rc != RC_OK)
			return err_context(err, rc, "trusted-public-keys");
		if (cache->key_count == 0)
			return err_set(err, RC_INVALID, "trusted-public-keys names no key");
	}
	if (cache->key_count == 0)
		log_warning("%s: no trusted-public-keys were given: whoever answers there is "
			    "trusted, signed or not",
			    cache->base);
	return RC_OK;
}

static void take_services(const struct services *near, const struct services *far,
			  struct nix_cache *cache)
{
	cache->near.blobs = blob_service_ref(near->blobs);
	cache->near.directories = directory_service_ref(near->directories);
	if (near->nar_facts)
		cache->near.nar_facts = nar_facts_store_ref(near->nar_facts);
	if (far && far->blobs && far->directories) {
		cache->far.blobs = blob_service_ref(far->blobs);
		cache->far.directories = directory_service_ref(far->directories);
	}
}

/* Who we are to the cache; *http borrows from *token and *origin. */
static enum rc take_credentials(const struct url *url, const char *base, struct buf *token,
				char **origin, struct http_options *http, struct err *err)
{
	const char *file = url_param(url, "bearer-token-file");
	const char *host = strstr(base, "://");
	enum rc rc = RC_OK;

	if (file)
		rc = file_read_path(AT_FDCWD, file, TOKEN_MAX, token, err);
	while (token->len > 0 && strchr(" \t\r\n", token->ptr[token->len - 1]))
		token->len--;
	if (rc == RC_OK && file && token->len == 0)
		rc = err_set(err, RC_INVALID, "%s holds no token", file);
	*origin = mem_strndup(view_of(base, (size_t)(host + 3 - base) + strcspn(host + 3, "/")));
	http->origin = *origin;
	http->user = url->user;
	http->bearer = file ? buf_string(token) : NULL;
	http->netrc = url_param(url, "netrc");
	return rc;
}

/* libcurl reads it again for each connection, and says little of what is wrong with it. */
static enum rc check_ca(const char *path, struct err *err)
{
	struct tls_files files CLEANUP(tls_files_release) = { .cert = BUF_INIT };

	return tls_files_read(NULL, NULL, path, &files, err);
}

enum rc path_info_nix_http_new(const struct url *url, const struct nix_http_options *options,
			       const struct services *near, const struct services *far,
			       struct path_info_service **out, struct err *err)
{
	struct nix_http *self = mem_zalloc(sizeof(*self));
	struct http_options http = options ? options->http : nix_http_options_default.http;
	struct buf token CLEANUP(buf_release) = BUF_INIT;
	char *origin AUTO_FREE = NULL;
	enum rc rc;

	*out = NULL;
	path_info_service_init(&self->base, &nix_http_ops);
	http.ca_file = url_param(url, "tls-ca");
	rc = check_ca(http.ca_file, err);
	self->cache.base = base_of(url);
	if (rc == RC_OK)
		rc = take_credentials(url, self->cache.base, &token, &origin, &http, err);
	self->cache.client = http_client_new(&http);
	self->miss_ns = options ? options->miss_ns : nix_http_options_default.miss_ns;
	self->bad_ns = options ? options->bad_ns : nix_http_options_default.bad_ns;
	self->turn_ns = clock_monotonic_ns() + self->miss_ns;
	self->known = lru_new(STORE_PATH_HASH_SIZE, KNOWN_BYTES, &known_ops);
	self->bad = lru_new(STORE_PATH_HASH_SIZE, BAD_BYTES, &bad_ops);
	self->pool = pool_new("nix cache", THREADS, WAITING);
	hashmap_init(&self->fetches, STORE_PATH_HASH_SIZE);
	hashmap_init(&self->misses[0], STORE_PATH_HASH_SIZE);
	hashmap_init(&self->misses[1], STORE_PATH_HASH_SIZE);
	pthread_mutex_init(&self->lock, NULL);
	pthread_mutex_init(&self->cache.lock, NULL);
	cond_init(&self->done);
	cond_init(&self->cache.cond);
	take_services(near, far, &self->cache);
	if (rc == RC_OK)
		rc = take_keys(url, &self->cache, err);
	if (rc == RC_OK)
		*out = &self->base;
	else
		nix_http_free(&self->base);
	return rc;
}

struct document_store *path_info_nix_http_documents(struct path_info_service *service)
{
	return nix_documents_new(service, &nix_http_of(service)->cache);
}
