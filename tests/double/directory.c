/* A directory service before another, which does what a plan says. Closures are made of `get`. */
#include "double/double.h"

#include <stdlib.h>

#include "base/mem.h"

struct double_directory {
	struct directory_service base;
	struct directory_service *inner;
	struct double_plan *plan;
};

struct double_put {
	struct directory_put base;
	struct directory_put *inner;
	struct double_plan *plan;
};

static struct double_directory *double_of(struct directory_service *service)
{
	return CONTAINER_OF(service, struct double_directory, base);
}

static void double_free(struct directory_service *service)
{
	struct double_directory *directories = double_of(service);

	directory_service_unref(directories->inner);
	free(directories);
}

static enum rc double_get(struct directory_service *service, const struct op *op,
			  const struct digest *digest, struct directory **out, struct err *err)
{
	struct double_directory *directories = double_of(service);
	bool corrupt;
	enum rc rc = double_plan_meet(directories->plan, DOUBLE_READ, op, &corrupt, err);

	if (rc == RC_OK) /* damaged: the directory that comes is another one */
		rc = directory_service_get(directories->inner, op, corrupt ? &digest_empty : digest,
					   out, err);
	return rc;
}

static enum rc double_has_many(struct directory_service *service, const struct op *op,
			       const struct digest *digests, size_t count, bool *out,
			       struct err *err)
{
	struct double_directory *directories = double_of(service);
	enum rc rc = double_plan_meet(directories->plan, DOUBLE_ASK, op, NULL, err);

	if (rc == RC_OK)
		rc = directory_service_has_many(directories->inner, op, digests, count, out, err);
	return rc;
}

static void double_put_free(struct directory_put *base)
{
	struct double_put *put = CONTAINER_OF(base, struct double_put, base);

	directory_put_free(put->inner);
	free(put);
}

static enum rc double_put_add(struct directory_put *base, const struct op *op,
			      struct directory *dir, struct err *err)
{
	struct double_put *put = CONTAINER_OF(base, struct double_put, base);
	enum rc rc = double_plan_meet(put->plan, DOUBLE_WRITE, op, NULL, err);

	return rc == RC_OK ? directory_put_add(put->inner, op, dir, err) : rc;
}

static enum rc double_put_close(struct directory_put *base, const struct op *op,
				const struct digest *root, struct err *err)
{
	struct double_put *put = CONTAINER_OF(base, struct double_put, base);
	struct digest same;
	enum rc rc = double_plan_meet(put->plan, DOUBLE_COMMIT, op, NULL, err);

	(void)root;
	return rc == RC_OK ? directory_put_close(put->inner, op, &same, err) : rc;
}

static const struct directory_put_ops put_ops = {
	.free = double_put_free,
	.add = double_put_add,
	.close = double_put_close,
};

static enum rc double_open_put(struct directory_service *service, const struct op *op,
			       struct directory_put **out, struct err *err)
{
	struct double_directory *directories = double_of(service);
	struct directory_put *inner;
	struct double_put *put;
	enum rc rc = double_plan_meet(directories->plan, DOUBLE_OPEN, op, NULL, err);

	if (rc == RC_OK)
		rc = directory_service_open_put(directories->inner, op, &inner, err);
	if (rc != RC_OK)
		return rc;
	put = mem_zalloc(sizeof(*put));
	put->base.ops = &put_ops;
	put->inner = inner;
	put->plan = directories->plan;
	*out = &put->base;
	return RC_OK;
}

static const struct directory_service_ops service_ops = {
	.name = "double",
	.remote = true,
	.free = double_free,
	.get = double_get,
	.has_many = double_has_many,
	.open_put = double_open_put,
};

struct directory_service *double_directory_new(struct directory_service *inner,
					       struct double_plan *plan)
{
	struct double_directory *directories = mem_zalloc(sizeof(*directories));

	directory_service_init(&directories->base, &service_ops);
	directories->inner = directory_service_ref(inner);
	directories->plan = plan;
	return &directories->base;
}
