/* Two path-info services as one: a near one, and behind it a far one. */
#include "service/path_info/cache.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

struct cache {
	struct path_info_service base;
	struct path_info_service_ops ops; /* as far is: remote or not */
	struct path_info_service *near, *far;
	bool keep;
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
	free(cache);
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
	enum rc rc = path_info_service_get(cache->near, op, hash, out, err);

	/* Damage near, or a near store that does not answer, is not a miss. */
	if (rc != RC_NOT_FOUND)
		return rc;
	rc = path_info_service_get(cache->far, op, hash, out, err);
	if (rc == RC_OK && cache->keep)
		keep(cache, op, out);
	return rc;
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
	.put = cache_put,
	.list = cache_list,
	.near = cache_near,
	.generation = cache_generation,
};

struct path_info_service *path_info_cache_new(struct path_info_service *near,
					      struct path_info_service *far, bool keep_far)
{
	struct cache *cache = mem_zalloc(sizeof(*cache));

	cache->ops = cache_ops;
	cache->ops.remote = path_info_service_is_remote(near) || path_info_service_is_remote(far);
	cache->ops.ingests = path_info_service_ingests(near) || path_info_service_ingests(far);
	cache->near = path_info_service_ref(near);
	cache->far = path_info_service_ref(far);
	cache->keep = keep_far;
	path_info_service_init(&cache->base, &cache->ops);
	return &cache->base;
}
