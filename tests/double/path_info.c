/* A path-info service before another, which does what a plan says; and a bundle of doubles. */
#include "double/double.h"

#include <stdlib.h>

#include "base/mem.h"

struct double_path_info {
	struct path_info_service base;
	struct path_info_service *inner;
	struct double_plan *plan;
};

struct double_iter {
	struct path_info_iter base;
	struct path_info_iter *inner;
	struct double_plan *plan;
};

static struct double_path_info *double_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct double_path_info, base);
}

static void double_free(struct path_info_service *service)
{
	struct double_path_info *infos = double_of(service);

	path_info_service_unref(infos->inner);
	free(infos);
}

static enum rc double_get(struct path_info_service *service, const struct op *op,
			  const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			  struct err *err)
{
	struct double_path_info *infos = double_of(service);
	bool corrupt;
	enum rc rc = double_plan_meet(infos->plan, DOUBLE_READ, op, &corrupt, err);

	if (rc == RC_OK)
		rc = path_info_service_get(infos->inner, op, hash, out, err);
	if (rc == RC_OK && corrupt)
		out->path.hash[0] ^= 1;
	return rc;
}

static enum rc double_put(struct path_info_service *service, const struct op *op,
			  const struct path_info *info, struct path_info *stored, struct err *err)
{
	struct double_path_info *infos = double_of(service);
	enum rc rc = double_plan_meet(infos->plan, DOUBLE_COMMIT, op, NULL, err);

	return rc == RC_OK ? path_info_service_put(infos->inner, op, info, stored, err) : rc;
}

static void double_iter_free(struct path_info_iter *base)
{
	struct double_iter *iter = CONTAINER_OF(base, struct double_iter, base);

	path_info_iter_free(iter->inner);
	free(iter);
}

static enum rc double_iter_next(struct path_info_iter *base, const struct op *op,
				struct path_info *out, bool *end, struct err *err)
{
	struct double_iter *iter = CONTAINER_OF(base, struct double_iter, base);
	enum rc rc = double_plan_meet(iter->plan, DOUBLE_READ, op, NULL, err);

	if (rc == RC_OK)
		rc = path_info_iter_next(iter->inner, op, out, end, err);
	base->goes_on = rc != RC_OK && path_info_iter_goes_on(iter->inner);
	return rc;
}

static const struct path_info_iter_ops iter_ops = {
	.free = double_iter_free,
	.next = double_iter_next,
};

static enum rc double_list(struct path_info_service *service, const struct op *op,
			   const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			   struct err *err)
{
	struct double_path_info *infos = double_of(service);
	struct path_info_iter *inner;
	struct double_iter *iter;
	enum rc rc = double_plan_meet(infos->plan, DOUBLE_OPEN, op, NULL, err);

	if (rc == RC_OK)
		rc = path_info_service_list(infos->inner, op, after, &inner, err);
	if (rc != RC_OK)
		return rc;
	iter = mem_zalloc(sizeof(*iter));
	iter->base.ops = &iter_ops;
	iter->inner = inner;
	iter->plan = infos->plan;
	*out = &iter->base;
	return RC_OK;
}

static enum rc double_generation(struct path_info_service *service, const struct op *op,
				 uint64_t *out, struct err *err)
{
	struct double_path_info *infos = double_of(service);
	enum rc rc = double_plan_meet(infos->plan, DOUBLE_ASK, op, NULL, err);

	return rc == RC_OK ? path_info_service_generation(infos->inner, op, out, err) : rc;
}

static const struct path_info_service_ops service_ops = {
	.name = "double",
	.remote = true,
	.free = double_free,
	.get = double_get,
	.put = double_put,
	.list = double_list,
	.generation = double_generation,
};

struct path_info_service *double_path_info_new(struct path_info_service *inner,
					       struct double_plan *plan)
{
	struct double_path_info *infos = mem_zalloc(sizeof(*infos));

	path_info_service_init(&infos->base, &service_ops);
	infos->inner = path_info_service_ref(inner);
	infos->plan = plan;
	return &infos->base;
}

void double_services(const struct services *inner, struct double_plan *plan, struct services *out)
{
	*out = (struct services){
		.blobs = double_blob_new(inner->blobs, plan),
		.directories = double_directory_new(inner->directories, plan),
		.path_infos = double_path_info_new(inner->path_infos, plan),
	};
	if (inner->nar_facts)
		out->nar_facts = nar_facts_store_ref(inner->nar_facts);
}
