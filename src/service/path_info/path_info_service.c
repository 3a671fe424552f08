/* The path-info service's wrappers. */
#include "service/path_info/path_info_service.h"

#include <pthread.h>
#include <assert.h>
#include <string.h>

#include "nix/nixbase32.h"

void path_info_service_init(struct path_info_service *service,
			    const struct path_info_service_ops *ops)
{
	assert(ops->name && ops->free && ops->get && ops->put && ops->list);
	*service = (struct path_info_service){ .ops = ops };
	refcount_init(&service->ref);
}

struct path_info_service *path_info_service_ref(struct path_info_service *service)
{
	refcount_ref(&service->ref);
	return service;
}

void path_info_service_unref(struct path_info_service *service)
{
	if (service && refcount_unref(&service->ref))
		service->ops->free(service);
}

bool path_info_service_is_remote(const struct path_info_service *service)
{
	return service->ops->remote;
}

bool path_info_service_ingests(const struct path_info_service *service)
{
	return service->ops->ingests;
}

struct path_info_service *path_info_service_near(struct path_info_service *service)
{
	while (service && (service->ops->remote || service->ops->ingests))
		service = service->ops->near ? service->ops->near(service) : NULL;
	return service;
}

static enum rc called(struct path_info_service *service, const struct op *op, const char *call,
		      const uint8_t *hash, enum rc rc)
{
	struct view key = hash ? view_of(hash, STORE_PATH_HASH_SIZE) : (struct view){ 0 };

	return service_called(&service->counts, op, service->ops->name, call, key, rc);
}

static void clear(struct path_info *info)
{
	path_info_release(info);
	*info = (struct path_info){ 0 };
}

/* The answer has to be about the path that was asked for. */
static enum rc check_hash(const struct path_info *info, const uint8_t hash[STORE_PATH_HASH_SIZE],
			  struct err *err)
{
	char text[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];

	if (memcmp(info->path.hash, hash, STORE_PATH_HASH_SIZE) == 0)
		return RC_OK;
	nixbase32_encode(hash, STORE_PATH_HASH_SIZE, text);
	return err_set(err, RC_CORRUPT, "the path info kept for %s is that of another path", text);
}

enum rc path_info_service_get(struct path_info_service *service, const struct op *op,
			      const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			      struct err *err)
{
	enum rc rc;

	*out = (struct path_info){ 0 };
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->get(service, op, hash, out, err);
	if (rc == RC_OK)
		rc = check_hash(out, hash, err);
	if (rc != RC_OK)
		clear(out);
	return called(service, op, "path info get", hash, rc);
}

enum rc path_info_service_announce(struct path_info_service *service, const struct op *op,
				   const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
				   struct err *err)
{
	enum rc rc;

	if (!service->ops->announce)
		return path_info_service_get(service, op, hash, out, err);
	*out = (struct path_info){ 0 };
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->announce(service, op, hash, out, err);
	if (rc == RC_OK)
		rc = check_hash(out, hash, err);
	if (rc != RC_OK)
		clear(out);
	return called(service, op, "path info announce", hash, rc);
}

enum rc path_info_service_put(struct path_info_service *service, const struct op *op,
			      const struct path_info *info, struct path_info *stored,
			      struct err *err)
{
	enum rc rc;

	if (stored)
		*stored = (struct path_info){ 0 };
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = path_info_check(info, err);
	if (rc == RC_OK)
		rc = service->ops->put(service, op, info, stored, err);
	if (rc == RC_OK && stored)
		rc = check_hash(stored, info->path.hash, err);
	if (rc != RC_OK && stored)
		clear(stored);
	return called(service, op, "path info put", info->path.hash, rc);
}

/* By the first byte of the hash: what is found out of a path has to hold until it is put. */
enum { ADDING = 64 };
static pthread_mutex_t adding[ADDING] = { [0 ... ADDING - 1] = PTHREAD_MUTEX_INITIALIZER };

static enum rc add(struct path_info_service *service, const struct op *op,
		   const struct path_info *info, struct path_info *stored, struct err *err)
{
	struct path_info known AUTO_PATH_INFO = { 0 };
	bool changed = false;
	enum rc rc = path_info_service_get(service, op, info->path.hash, &known, err);

	if (rc == RC_NOT_FOUND)
		return path_info_service_put(service, op, info, stored, err);
	if (rc == RC_OK)
		rc = path_info_merge(&known, info, &changed, err);
	if (rc == RC_OK && changed)
		return path_info_service_put(service, op, &known, stored, err);
	if (rc == RC_OK && stored)
		path_info_copy(stored, &known);
	return rc;
}

enum rc path_info_service_add(struct path_info_service *service, const struct op *op,
			      const struct path_info *info, struct path_info *stored,
			      struct err *err)
{
	pthread_mutex_t *lock = &adding[info->path.hash[0] % ADDING];

	if (stored)
		*stored = (struct path_info){ 0 };
	pthread_mutex_lock(lock);
	enum rc rc = add(service, op, info, stored, err);
	pthread_mutex_unlock(lock);
	return rc;
}

enum rc path_info_service_list(struct path_info_service *service, const struct op *op,
			       const uint8_t after[STORE_PATH_HASH_SIZE],
			       struct path_info_iter **out, struct err *err)
{
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->list(service, op, after, out, err);
	if (rc == RC_OK && !(*out)->service)
		(*out)->service = path_info_service_ref(service);
	return called(service, op, "path info list", after, rc);
}

enum rc path_info_service_generation(struct path_info_service *service, const struct op *op,
				     uint64_t *out, struct err *err)
{
	enum rc rc;

	*out = 0;
	if (!service->ops->generation)
		return err_set(err, RC_UNSUPPORTED, "%s cannot tell when its path infos change",
			       service->ops->name);
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->generation(service, op, out, err);
	if (rc != RC_OK)
		*out = 0;
	return called(service, op, "path info generation", NULL, rc);
}

enum rc path_info_iter_next(struct path_info_iter *iter, const struct op *op, struct path_info *out,
			    bool *end, struct err *err)
{
	enum rc rc;

	*out = (struct path_info){ 0 };
	*end = false;
	if (iter->failed)
		return err_set(err, RC_FAILED_PRECONDITION, "this listing failed before");
	if (iter->ended) {
		*end = true;
		return RC_OK;
	}
	iter->goes_on = false;
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = iter->ops->next(iter, op, out, end, err);
	if (rc != RC_OK) {
		iter->failed = !iter->goes_on;
		*end = false;
		clear(out);
	} else {
		iter->ended = *end;
	}
	return called(iter->service, op, "path info next", NULL, rc);
}

bool path_info_iter_goes_on(const struct path_info_iter *iter)
{
	return iter->goes_on;
}

void path_info_iter_free(struct path_info_iter *iter)
{
	struct path_info_service *service;

	if (!iter)
		return;
	service = iter->service;
	iter->ops->free(iter);
	path_info_service_unref(service);
}
