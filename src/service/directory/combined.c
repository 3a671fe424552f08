/*
 * Two directory services as one. Far is asked for what near says that it does not have, and for nothing
 * else. Closures are put whole, so the service that has a root has what is below it.
 */
#include "service/directory/combined.h"

#include <stdlib.h>

#include "base/mem.h"

struct combined {
	struct directory_service base;
	struct directory_service_ops ops; /* remote where one of the two is */
	struct directory_service *near, *far;
};

static struct combined *combined_of(struct directory_service *service)
{
	return CONTAINER_OF(service, struct combined, base);
}

static void combined_free(struct directory_service *service)
{
	struct combined *combined = combined_of(service);

	directory_service_unref(combined->near);
	directory_service_unref(combined->far);
	free(combined);
}

static enum rc combined_get(struct directory_service *service, const struct op *op,
			    const struct digest *digest, struct directory **out, struct err *err)
{
	struct combined *combined = combined_of(service);
	enum rc rc = directory_service_get(combined->near, op, digest, out, err);

	return rc == RC_NOT_FOUND ? directory_service_get(combined->far, op, digest, out, err) : rc;
}

static enum rc combined_has_many(struct directory_service *service, const struct op *op,
				 const struct digest *digests, size_t count, bool *out,
				 struct err *err)
{
	struct combined *combined = combined_of(service);
	AUTO_FREE bool *far = mem_array(count, sizeof(*far));
	bool all = true;
	enum rc rc = directory_service_has_many(combined->near, op, digests, count, out, err);

	for (size_t i = 0; i < count; i++)
		all = all && out[i];
	if (rc != RC_OK || all)
		return rc;
	rc = directory_service_has_many(combined->far, op, digests, count, far, err);
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		out[i] = out[i] || far[i];
	return rc;
}

static enum rc combined_get_recursive(struct directory_service *service, const struct op *op,
				      const struct digest *root, struct directory_iter **out,
				      struct err *err)
{
	struct combined *combined = combined_of(service);
	bool there;
	enum rc rc = directory_service_has_many(combined->near, op, root, 1, &there, err);

	if (rc != RC_OK)
		return rc;
	return directory_service_get_recursive(there ? combined->near : combined->far, op, root,
					       out, err);
}

static enum rc combined_open_put(struct directory_service *service, const struct op *op,
				 struct directory_put **out, struct err *err)
{
	return directory_service_open_put(combined_of(service)->near, op, out, err);
}

static const struct directory_service_ops combined_ops = {
	.name = "combined",
	.free = combined_free,
	.get = combined_get,
	.has_many = combined_has_many,
	.get_recursive = combined_get_recursive,
	.open_put = combined_open_put,
};

struct directory_service *directory_combined_new(struct directory_service *near,
						 struct directory_service *far)
{
	struct combined *combined = mem_zalloc(sizeof(*combined));

	combined->ops = combined_ops;
	combined->ops.remote =
		directory_service_is_remote(near) || directory_service_is_remote(far);
	combined->near = directory_service_ref(near);
	combined->far = directory_service_ref(far);
	directory_service_init(&combined->base, &combined->ops);
	return &combined->base;
}
