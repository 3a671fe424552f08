/* The directory service's wrappers. What turns `get` into a whole closure is in recursive.c. */
#include "service/directory/directory_service.h"

#include <assert.h>
#include <string.h>

#include "service/directory/recursive.h"

void directory_service_init(struct directory_service *service,
			    const struct directory_service_ops *ops)
{
	assert(ops->name && ops->free && ops->get && ops->has_many && ops->open_put);
	*service = (struct directory_service){ .ops = ops };
	refcount_init(&service->ref);
}

struct directory_service *directory_service_ref(struct directory_service *service)
{
	refcount_ref(&service->ref);
	return service;
}

void directory_service_unref(struct directory_service *service)
{
	if (service && refcount_unref(&service->ref))
		service->ops->free(service);
}

bool directory_service_is_remote(const struct directory_service *service)
{
	return service->ops->remote;
}

static enum rc called(struct directory_service *service, const struct op *op, const char *call,
		      const struct digest *digest, enum rc rc)
{
	struct view key = digest ? view_of(digest->bytes, DIGEST_SIZE) : (struct view){ 0 };

	return service_called(&service->counts, op, service->ops->name, call, key, rc);
}

enum rc directory_service_get(struct directory_service *service, const struct op *op,
			      const struct digest *digest, struct directory **out, struct err *err)
{
	char wanted_hex[DIGEST_HEX_MAX], found_hex[DIGEST_HEX_MAX];
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK) {
		if (digest_equal(digest, &digest_empty))
			rc = directory_from_nodes(NULL, 0, out, err);
		else
			rc = service->ops->get(service, op, digest, out, err);
	}
	if (rc == RC_OK && !digest_equal(directory_digest(*out), digest)) {
		digest_hex(digest, wanted_hex);
		digest_hex(directory_digest(*out), found_hex);
		rc = err_set(err, RC_CORRUPT, "directory %s is damaged: its message has digest %s",
			     wanted_hex, found_hex);
	}
	if (rc != RC_OK)
		directory_cleanup(out);
	return called(service, op, "directory get", digest, rc);
}

enum rc directory_service_has_many(struct directory_service *service, const struct op *op,
				   const struct digest *digests, size_t count, bool *out,
				   struct err *err)
{
	enum rc rc;

	if (count == 0)
		return RC_OK;
	memset(out, 0, count * sizeof(*out));
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->has_many(service, op, digests, count, out, err);
	if (rc != RC_OK)
		memset(out, 0, count * sizeof(*out));
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (digest_equal(&digests[i], &digest_empty))
			out[i] = true;
	return called(service, op, "directory has", &digests[0], rc);
}

/* ---- Closures out ---- */

enum rc directory_service_get_recursive(struct directory_service *service, const struct op *op,
					const struct digest *root, struct directory_iter **out,
					struct err *err)
{
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK) {
		if (service->ops->get_recursive && !digest_equal(root, &digest_empty))
			rc = service->ops->get_recursive(service, op, root, out, err);
		else
			*out = directory_recursive_new(service, root);
	}
	if (rc == RC_OK && !(*out)->service) {
		(*out)->service = directory_service_ref(service);
		(*out)->check = closure_download_new(root);
		(*out)->root = *root;
	}
	return called(service, op, "directory get recursive", root, rc);
}

/* The end of the stream: was it all? */
static enum rc closure_ended(struct directory_iter *iter, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	iter->ended = true;
	if (iter->began)
		return closure_download_finish(iter->check, err);
	digest_hex(&iter->root, hex);
	return err_set(err, RC_NOT_FOUND, "directory %s is not there", hex);
}

enum rc directory_iter_next(struct directory_iter *iter, const struct op *op,
			    struct directory **out, struct err *err)
{
	enum rc rc;

	*out = NULL;
	if (iter->failed)
		return err_set(err, RC_FAILED_PRECONDITION, "this closure failed before");
	if (iter->ended)
		return RC_OK;
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = iter->ops->next(iter, op, out, err);
	if (rc == RC_OK && *out)
		rc = closure_download_add(iter->check, *out, err);
	else if (rc == RC_OK)
		rc = closure_ended(iter, err);
	if (rc == RC_OK)
		iter->began = true;
	else
		directory_cleanup(out);
	iter->failed = rc != RC_OK;
	return called(iter->service, op, "directory next", *out ? directory_digest(*out) : NULL,
		      rc);
}

void directory_iter_free(struct directory_iter *iter)
{
	struct directory_service *service;

	if (!iter)
		return;
	service = iter->service;
	closure_download_free(iter->check);
	iter->ops->free(iter);
	directory_service_unref(service);
}

/* ---- Closures in ---- */

enum rc directory_service_open_put(struct directory_service *service, const struct op *op,
				   struct directory_put **out, struct err *err)
{
	enum rc rc;

	*out = NULL;
	rc = op_check(op, err);
	if (rc == RC_OK)
		rc = service->ops->open_put(service, op, out, err);
	if (rc == RC_OK && !(*out)->service) {
		(*out)->service = directory_service_ref(service);
		(*out)->check = closure_upload_new();
	}
	return called(service, op, "directory put open", NULL, rc);
}

static enum rc check_usable(const struct directory_put *put, const struct op *op, struct err *err)
{
	if (put->failed)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "this put of directories was closed, or failed before");
	return op_check(op, err);
}

enum rc directory_put_add(struct directory_put *put, const struct op *op, struct directory *dir,
			  struct err *err)
{
	bool fresh = false;
	enum rc rc = check_usable(put, op, err);

	if (rc == RC_OK)
		rc = closure_upload_add(put->check, dir, &fresh, err);
	if (rc == RC_OK && fresh)
		rc = put->ops->add(put, op, dir, err);
	if (rc != RC_OK)
		put->failed = true;
	return called(put->service, op, "directory put", directory_digest(dir), rc);
}

enum rc directory_put_close(struct directory_put *put, const struct op *op, struct digest *root,
			    struct err *err)
{
	enum rc rc;

	*root = (struct digest){ 0 };
	rc = check_usable(put, op, err);
	if (rc == RC_OK)
		rc = closure_upload_finish(put->check, root, err);
	if (rc == RC_OK)
		rc = put->ops->close(put, op, root, err);
	put->failed = true;
	if (rc != RC_OK)
		*root = (struct digest){ 0 };
	return called(put->service, op, "directory put close", rc == RC_OK ? root : NULL, rc);
}

void directory_put_free(struct directory_put *put)
{
	struct directory_service *service;

	if (!put)
		return;
	service = put->service;
	closure_upload_free(put->check);
	put->ops->free(put);
	directory_service_unref(service);
}
