/* Two path-info services as one: a near one, and behind it a far one. */
#include "service/path_info/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
	AWAY_S = 5,
	AWAY_MOST = 12, /* times as long as at first */
};

struct cache {
	struct path_info_service base;
	struct path_info_service_ops ops; /* as far is: remote or not */
	struct path_info_service *near, *far;
	bool keep, required;
	int64_t away_ns;
	char *name;
	pthread_mutex_t lock;
	/* Under lock: */
	int64_t away_until_ns;
	unsigned away_count; /* times in a row */
};

static struct cache *cache_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct cache, base);
}

static void cache_free(struct path_info_service *service)
{
	struct cache *cache = cache_of(service);

	path_info_service_unref(cache->near);
	path_info_service_unref(cache->far);
	pthread_mutex_destroy(&cache->lock);
	free(cache->name);
	free(cache);
}

/* ---- A far one that cannot be asked ---- */

static bool is_away(struct cache *cache)
{
	pthread_mutex_lock(&cache->lock);
	bool away = clock_monotonic_ns() < cache->away_until_ns;
	pthread_mutex_unlock(&cache->lock);
	return away;
}

static void note_away(struct cache *cache, const struct err *err)
{
	int64_t wait = cache->away_ns, most = AWAY_MOST * cache->away_ns;

	pthread_mutex_lock(&cache->lock);
	for (unsigned i = 0; i < cache->away_count && wait < most; i++)
		wait *= 2;
	if (wait > most)
		wait = most;
	bool first = cache->away_count++ == 0;
	cache->away_until_ns = clock_monotonic_ns() + wait;
	pthread_mutex_unlock(&cache->lock);
	if (first)
		log_warning("%s cannot be asked, and is left out until it answers: %s", cache->name,
			    err->message);
}

static void note_back(struct cache *cache)
{
	pthread_mutex_lock(&cache->lock);
	bool back = cache->away_count > 0;
	cache->away_count = 0;
	cache->away_until_ns = 0;
	pthread_mutex_unlock(&cache->lock);
	if (back)
		log_info("%s answers again", cache->name);
}

typedef enum rc ask_far(struct path_info_service *service, const struct op *op,
			const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			struct err *err);

static bool is_announced(struct cache *cache, const struct op *op,
			 const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	return path_info_service_announce(cache->far, op, hash, &info, NULL) == RC_OK;
}

static enum rc far_get(struct cache *cache, ask_far *ask, const struct op *op,
		       const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		       struct err *err)
{
	struct err why = ERR_INIT;

	if (cache->required)
		return ask(cache->far, op, hash, out, err);
	if (is_away(cache))
		return err_set(err, RC_NOT_FOUND, "not asked: %s, which does not answer",
			       cache->name);
	enum rc rc = ask(cache->far, op, hash, out, &why);
	/* Where only the content of this path cannot be had, that says nothing of others. */
	if (rc == RC_UNAVAILABLE && path_info_service_ingests(cache->far) &&
	    ask == path_info_service_get && is_announced(cache, op, hash))
		return err_set(err, rc, "%s", why.message);
	if (rc == RC_UNAVAILABLE || rc == RC_DENIED || rc == RC_CERTIFICATE) {
		note_away(cache, &why);
		return err_set(err, RC_NOT_FOUND, "%s does not answer", cache->name);
	}
	if (rc != RC_DEADLINE && rc != RC_CANCELLED)
		note_back(cache);
	return rc == RC_OK ? RC_OK : err_set(err, rc, "%s", why.message);
}

/* What near says, and if that is that it has none, far. */
static enum rc get_by(struct cache *cache, ask_far *ask, const struct op *op,
		      const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out, bool *far,
		      struct err *err)
{
	struct err why = ERR_INIT;
	enum rc rc = ask(cache->near, op, hash, out, &why), rc_far;

	*far = false;
	/* Damage near, or a near store that does not answer, is not a miss. */
	if (rc != RC_NOT_FOUND && rc != RC_NOT_PERMITTED)
		return rc == RC_OK ? RC_OK : err_set(err, rc, "%s", why.message);
	rc_far = far_get(cache, ask, op, hash, out, err);
	*far = rc_far == RC_OK;
	return rc_far == RC_NOT_FOUND && rc == RC_NOT_PERMITTED
		       ? err_set(err, rc, "%s", why.message)
		       : rc_far;
}

/* A near store that cannot keep it is no reason not to answer. */
static void keep(struct cache *cache, const struct op *op, struct path_info *info)
{
	struct path_info stored = { 0 };
	struct err err = ERR_INIT;
	enum rc rc = path_info_service_put(cache->near, op, info, &stored, &err);

	if (rc == RC_OK) {
		path_info_release(info);
		*info = stored;
		return;
	}
	path_info_release(&stored);
	log_warning("%s was fetched, but is not kept: %s", info->path.name,
		    err.message[0] ? err.message : rc_name(rc));
}

static enum rc cache_get(struct path_info_service *service, const struct op *op,
			 const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			 struct err *err)
{
	struct cache *cache = cache_of(service);
	bool far;
	enum rc rc = get_by(cache, path_info_service_get, op, hash, out, &far, err);

	if (far && cache->keep)
		keep(cache, op, out);
	return rc;
}

static enum rc cache_announce(struct path_info_service *service, const struct op *op,
			      const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			      struct err *err)
{
	bool far;

	return get_by(cache_of(service), path_info_service_announce, op, hash, out, &far, err);
}

static enum rc cache_put(struct path_info_service *service, const struct op *op,
			 const struct path_info *info, struct path_info *stored, struct err *err)
{
	return path_info_service_put(cache_of(service)->near, op, info, stored, err);
}

static enum rc cache_list(struct path_info_service *service, const struct op *op,
			  const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			  struct err *err)
{
	return path_info_service_list(cache_of(service)->near, op, after, out, err);
}

static struct path_info_service *cache_near(struct path_info_service *service)
{
	return cache_of(service)->near;
}

static enum rc cache_generation(struct path_info_service *service, const struct op *op,
				uint64_t *out, struct err *err)
{
	return path_info_service_generation(cache_of(service)->near, op, out, err);
}

static const struct path_info_service_ops cache_ops = {
	.name = "cache",
	.free = cache_free,
	.get = cache_get,
	.announce = cache_announce,
	.put = cache_put,
	.list = cache_list,
	.near = cache_near,
	.generation = cache_generation,
};

struct path_info_service *path_info_cache_new(struct path_info_service *near,
					      struct path_info_service *far,
					      const struct path_info_cache_options *options)
{
	struct cache *cache = mem_zalloc(sizeof(*cache));

	cache->ops = cache_ops;
	cache->ops.remote = path_info_service_is_remote(near) || path_info_service_is_remote(far);
	cache->ops.ingests = path_info_service_ingests(near) || path_info_service_ingests(far);
	cache->near = path_info_service_ref(near);
	cache->far = path_info_service_ref(far);
	cache->keep = options->keep;
	cache->required = options->required;
	cache->away_ns = options->away_ns ? options->away_ns : AWAY_S * NS_PER_S;
	cache->name = mem_strdup(options->name ? options->name : "the far store");
	pthread_mutex_init(&cache->lock, NULL);
	path_info_service_init(&cache->base, &cache->ops);
	return &cache->base;
}
