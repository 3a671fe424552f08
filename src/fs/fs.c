/*
 * The filesystem: its caches, the pool for what must wait, and the janitor that gives memory back.
 */
#include "fs/fs.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/internal.h"

enum {
	DEFAULT_CHUNK_CACHE = 64 << 20,
	DEFAULT_DIRECTORY_CACHE = 16 << 20,
	DEFAULT_POOL_THREADS = 128,
	DEFAULT_DEADLINE_S = 30,
	LOG_AGAIN_S = 60,
	IDLE_S = 10, /* what was not used for so long is given back */
	JANITOR_S = 5,
	AHEAD_THREADS = 2, /* that decode ahead, and as many that push */
	AHEAD_QUEUE = 32,
};

static void *directory_value_ref(void *value)
{
	return directory_ref(value);
}

static void directory_value_unref(void *value)
{
	directory_unref(value);
}

static const struct lru_ops directory_lru_ops = {
	.ref = directory_value_ref,
	.unref = directory_value_unref,
};

static uint64_t progress(struct fs *fs)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < FS_OPCODES; i++)
		sum += atomic_load_explicit(&fs->requests[i], memory_order_relaxed);
	return sum;
}

void fs_trim(struct fs *fs)
{
	int64_t now = clock_monotonic_ns();

	chunk_cache_shrink(fs->chunks, now);
	reader_cache_shrink(fs->readers, now);
	lru_clear(fs->directory_cache);
	malloc_trim(0);
}

/* Chunks go when they have not been used for a while, for the kernel has their bytes in its page
 * cache; directories when no request came at all. */
static void *janitor_run(void *arg)
{
	struct fs *fs = arg;
	uint64_t seen = 0;
	int idle_rounds = 0;

	pthread_mutex_lock(&fs->lock);
	while (!fs->closing) {
		int64_t now = clock_monotonic_ns();
		uint64_t requests;

		(void)cond_wait_until(&fs->janitor_wake, &fs->lock, now + JANITOR_S * NS_PER_S);
		if (fs->closing)
			break;
		pthread_mutex_unlock(&fs->lock);
		requests = progress(fs);
		idle_rounds = requests == seen ? idle_rounds + 1 : 0;
		seen = requests;
		now = clock_monotonic_ns();
		chunk_cache_shrink(fs->chunks, now - IDLE_S * NS_PER_S);
		reader_cache_shrink(fs->readers, now - IDLE_S * NS_PER_S);
		if (idle_rounds == IDLE_S / JANITOR_S)
			fs_trim(fs);
		pthread_mutex_lock(&fs->lock);
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

static void fill_options(struct fs_options *options, const struct fs_options *given)
{
	if (given)
		*options = *given;
	if (!options->chunk_cache)
		options->chunk_cache = DEFAULT_CHUNK_CACHE;
	if (!options->directory_cache)
		options->directory_cache = DEFAULT_DIRECTORY_CACHE;
	if (!options->pool_threads)
		options->pool_threads = DEFAULT_POOL_THREADS;
	if (!options->deadline_ns)
		options->deadline_ns = DEFAULT_DEADLINE_S * NS_PER_S;
	if (!options->inodes_max)
		options->inodes_max = FS_INODES_MAX;
}

enum rc fs_new(struct blob_service *blobs, struct directory_service *directories,
	       struct roots *roots, const struct fs_options *options, struct fs **out,
	       struct err *err)
{
	struct fs *fs = mem_zalloc(sizeof(*fs));

	*out = NULL;
	fill_options(&fs->options, options);
	fs->blobs = blob_service_ref(blobs);
	fs->directories = directory_service_ref(directories);
	fs->roots = roots;
	fs->blobs_remote = blob_service_latency(blobs) == BLOB_LATENCY_REMOTE;
	fs->directories_remote = directory_service_is_remote(directories);
	fs->chunks = chunk_cache_new(fs->options.chunk_cache);
	fs->readers = reader_cache_new(blobs, FS_READERS);
	fs->directory_cache =
		lru_new(sizeof(struct digest), fs->options.directory_cache, &directory_lru_ops);
	fs->pool = pool_new("castor-fs", fs->options.pool_threads, fs->options.pool_threads);
	fs->ahead = pool_new("castor-ahead", AHEAD_THREADS, AHEAD_QUEUE);
	fs->pushers = pool_new("castor-push", AHEAD_THREADS, AHEAD_QUEUE);
	pthread_mutex_init(&fs->lock, NULL);
	cond_init(&fs->janitor_wake);
	cond_init(&fs->root_changed);
	enum rc rc = fs_root_watch_start(fs, err);
	if (rc == RC_OK)
		rc = thread_start(&fs->janitor, "castor-janitor", janitor_run, fs, err);
	fs->janitor_started = rc == RC_OK;
	if (rc != RC_OK) {
		fs_free(fs);
		return rc;
	}
	*out = fs;
	return RC_OK;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	pthread_mutex_lock(&fs->lock);
	fs->closing = true;
	pthread_cond_signal(&fs->janitor_wake);
	pthread_cond_broadcast(&fs->root_changed);
	pthread_mutex_unlock(&fs->lock);
	if (fs->janitor_started)
		pthread_join(fs->janitor, NULL);
	fs_root_watch_join(fs);
	pool_free(fs->pool);
	pool_free(fs->ahead);
	pool_free(fs->pushers);
	lru_free(fs->directory_cache);
	reader_cache_free(fs->readers);
	chunk_cache_free(fs->chunks);
	fs->roots->ops->free(fs->roots);
	directory_service_unref(fs->directories);
	blob_service_unref(fs->blobs);
	pthread_cond_destroy(&fs->root_changed);
	pthread_cond_destroy(&fs->janitor_wake);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

void fs_get_stats(struct fs *fs, struct fs_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->requests = progress(fs);
	for (size_t i = 0; i < FS_OPCODES; i++)
		out->by_opcode[i] = atomic_load_explicit(&fs->requests[i], memory_order_relaxed);
	out->pushes = atomic_load(&fs->pushes);
	out->pushed_bytes = atomic_load(&fs->pushed_bytes);
	out->chunk_bytes = chunk_cache_bytes(fs->chunks);
	out->directory_bytes = lru_cost(fs->directory_cache);
	pthread_mutex_lock(&fs->lock);
	for (struct fs_session *session = fs->sessions; session; session = session->next) {
		out->inodes += inode_table_count(session->inodes);
		out->inode_bytes += inode_table_bytes(session->inodes);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* ---- Services, as handlers see them ---- */

int fs_errno(enum rc rc)
{
	switch (rc) {
	case RC_OK:
		return 0;
	case RC_CANCELLED:
		return -EINTR;
	case RC_DEADLINE:
		return -ETIMEDOUT;
	case RC_NO_MEMORY:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static bool may_log(struct fs *fs, const struct digest *digest)
{
	struct logged *logged = &fs->logged[digest->bytes[0] % FS_LOG_SLOTS];
	int64_t now = clock_monotonic_ns();
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = !logged->at_ns || !digest_equal(&logged->digest, digest) ||
	      now - logged->at_ns > LOG_AGAIN_S * NS_PER_S;
	if (yes)
		*logged = (struct logged){ .digest = *digest, .at_ns = now };
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

void fs_log_object(struct fs *fs, const char *what, const struct digest *digest, enum rc rc,
		   const struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	if (rc == RC_CANCELLED || !may_log(fs, digest))
		return;
	digest_hex(digest, hex);
	if (rc == RC_NOT_FOUND)
		log_error("%s %s is missing from the store", what, hex);
	else
		log_error("%s %s cannot be read: %s", what, hex,
			  err->message[0] ? err->message : rc_name(rc));
}

int fs_directory(struct fs_request *request, const struct digest *digest, struct directory **out)
{
	struct fs *fs = request->session->fs;
	struct err err = ERR_INIT;
	enum rc rc;

	*out = lru_get(fs->directory_cache, digest);
	if (*out)
		return 0;
	if (fs->directories_remote && !request->may_wait)
		return FS_DEFER;
	rc = directory_service_get(fs->directories, &request->op, digest, out, &err);
	if (rc != RC_OK) {
		fs_log_object(fs, "directory", digest, rc, &err);
		return fs_errno(rc);
	}
	lru_put(fs->directory_cache, digest, *out, directory_cost(*out));
	return 0;
}
