/*
 * Root nodes from a path-info service: names are store path basenames.
 *
 * The place in a listing is the first 62 bits of an entry's hash: entries come in the order of
 * their hashes, so a listing goes on where it was, with nothing kept between calls. Two paths that
 * share those 62 bits are listed both, unless a call's last entry comes to stand between them.
 */
#include "fs/roots.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "nix/store_path.h"

enum { TOLD_MAX = 1024 };

struct roots_path_info {
	struct roots base;
	struct roots_ops ops; /* as the service is: remote or not */
	struct path_info_service *service;
	bool list;
	pthread_mutex_t lock;
	struct hashmap told; /* under lock: digests of sentences */
};

static struct roots_path_info *self_of(struct roots *roots)
{
	return CONTAINER_OF(roots, struct roots_path_info, base);
}

static void path_info_free(struct roots *roots)
{
	struct roots_path_info *self = self_of(roots);

	path_info_service_unref(self->service);
	hashmap_release(&self->told);
	pthread_mutex_destroy(&self->lock);
	free(self);
}

static void take_node(struct path_info *info, struct node *out)
{
	*out = info->node;
	memset(&info->node, 0, sizeof(info->node));
}

static enum rc path_info_lookup(struct roots *roots, const struct op *op, struct view name,
				struct node *out, struct err *err)
{
	AUTO_PATH_INFO struct path_info info = { 0 };
	struct store_path path;
	enum rc rc;

	rc = store_path_parse_basename(name, &path, err);
	if (rc != RC_OK)
		return RC_INVALID;
	rc = path_info_service_get(self_of(roots)->service, op, path.hash, &info, err);
	if (rc != RC_OK)
		return rc;
	if (!store_path_equal(&info.path, &path))
		return err_set(err, RC_NOT_FOUND, "the store path has another name");
	take_node(&info, out);
	return RC_OK;
}

static uint64_t cursor_of_hash(const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	uint64_t prefix = 0;

	for (size_t i = 0; i < 8; i++)
		prefix = prefix << 8 | hash[i];
	return (prefix >> 2) + 1;
}

/* The last hash that has this cursor. */
static void hash_of_cursor(uint64_t cursor, uint8_t hash[STORE_PATH_HASH_SIZE])
{
	uint64_t prefix = (cursor - 1) << 2 | 3;

	memset(hash, 0xff, STORE_PATH_HASH_SIZE);
	for (size_t i = 0; i < 8; i++)
		hash[i] = (uint8_t)(prefix >> (56 - 8 * i));
}

/* An entry that cannot be read is left out of every listing, and logged once. */
static void tell_once(struct roots_path_info *self, const struct err *err)
{
	struct digest digest = digest_of(view_of_string(err->message));
	bool told;

	pthread_mutex_lock(&self->lock);
	told = self->told.count == TOLD_MAX || hashmap_put(&self->told, digest.bytes, self) != NULL;
	pthread_mutex_unlock(&self->lock);
	if (!told)
		log_warning("not listed: %s", err->message);
}

static enum rc path_info_list(struct roots *roots, const struct op *op, uint64_t after,
			      struct root_entry *out, size_t count, size_t *got, struct err *err)
{
	struct roots_path_info *self = self_of(roots);
	uint8_t hash[STORE_PATH_HASH_SIZE];
	struct path_info_iter *iter;
	enum rc rc;

	*got = 0;
	if (!self->list)
		return err_set(err, RC_NOT_PERMITTED, "listing is off");
	if (after >= ROOT_CURSOR_MAX)
		return RC_OK;
	if (after)
		hash_of_cursor(after, hash);
	rc = path_info_service_list(self->service, op, after ? hash : NULL, &iter, err);
	if (rc != RC_OK)
		return rc;
	while (*got < count) {
		struct path_info info = { 0 };
		bool end;

		rc = path_info_iter_next(iter, op, &info, &end, err);
		if (rc != RC_OK && path_info_iter_goes_on(iter)) {
			tell_once(self, err);
			rc = RC_OK;
			continue;
		}
		if (rc != RC_OK || end)
			break;
		out[*got].next = cursor_of_hash(info.path.hash);
		take_node(&info, &out[*got].node);
		++*got;
		path_info_release(&info);
	}
	path_info_iter_free(iter);
	/* What was read before an error is still good; the next call meets the error again. */
	return *got ? RC_OK : rc;
}

static enum rc path_info_generation(struct roots *roots, const struct op *op, uint64_t *out,
				    struct err *err)
{
	return path_info_service_generation(self_of(roots)->service, op, out, err);
}

static const struct roots_ops path_info_ops = {
	.fixed = false,
	.free = path_info_free,
	.lookup = path_info_lookup,
	.list = path_info_list,
	.generation = path_info_generation,
};

struct roots *roots_path_info_new(struct path_info_service *service, bool list)
{
	struct roots_path_info *self = mem_zalloc(sizeof(*self));

	self->ops = path_info_ops;
	self->ops.remote = path_info_service_is_remote(service);
	self->ops.ingests = path_info_service_ingests(service);
	self->base.ops = &self->ops;
	self->service = path_info_service_ref(service);
	self->list = list;
	pthread_mutex_init(&self->lock, NULL);
	hashmap_init(&self->told, DIGEST_SIZE);
	return &self->base;
}
