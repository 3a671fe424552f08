#include "transfer/completeness.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hashmap.h"
#include "base/mem.h"
#include "transfer/copy.h"

enum {
	BATCH = 4096, /* blobs asked for at once */
	NAMED = 5,    /* missing digests that the error names */
};

struct check {
	const struct services *services;
	const struct op *op;
	struct hashmap seen; /* blobs that were asked for */
	struct digest *batch;
	size_t batched;
	struct buf missing; /* sentence in the making */
	size_t missing_count;
};

static void note_missing(struct check *check, const char *what, const struct digest *digest)
{
	char hex[DIGEST_HEX_MAX];

	if (check->missing_count++ >= NAMED)
		return;
	digest_hex(digest, hex);
	buf_printf(&check->missing, "%s%s %s", check->missing_count > 1 ? ", " : "", what, hex);
}

static enum rc ask(struct check *check, struct err *err)
{
	bool there[BATCH];
	enum rc rc;

	if (check->batched == 0)
		return RC_OK;
	rc = blob_service_has_many(check->services->blobs, check->op, check->batch, check->batched,
				   there, err);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < check->batched; i++)
		if (!there[i])
			note_missing(check, "blob", &check->batch[i]);
	check->batched = 0;
	return RC_OK;
}

static enum rc add_file(struct check *check, const struct node *node, struct err *err)
{
	if (hashmap_put(&check->seen, node->digest.bytes, check))
		return RC_OK;
	check->batch[check->batched++] = node->digest;
	return check->batched == BATCH ? ask(check, err) : RC_OK;
}

static enum rc add_directory(struct check *check, const struct directory *dir, struct err *err)
{
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *node = directory_at(dir, i);
		enum rc rc = node->kind == NODE_FILE ? add_file(check, node, err) : RC_OK;

		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc add_closure(struct check *check, const struct digest *root, struct err *err)
{
	struct directory_iter *iter;
	enum rc rc;

	rc = directory_service_get_recursive(check->services->directories, check->op, root, &iter,
					     err);
	if (rc == RC_NOT_FOUND) {
		note_missing(check, "directory", root);
		return RC_OK;
	}
	while (rc == RC_OK) {
		struct directory *dir AUTO_DIRECTORY = NULL;

		rc = directory_iter_next(iter, check->op, &dir, err);
		if (rc != RC_OK || !dir)
			break;
		rc = add_directory(check, dir, err);
	}
	directory_iter_free(iter);
	if (rc == RC_NOT_FOUND) {
		note_missing(check, "directory", root);
		return RC_OK;
	}
	/* The iterator's sentence names the directory that a parent refers to and nobody put. */
	return rc == RC_CORRUPT ? RC_FAILED_PRECONDITION : rc;
}

enum rc completeness_check(const struct services *services, const struct op *op,
			   const struct node *node, struct err *err)
{
	struct check check = { .services = services, .op = op };
	enum rc rc = RC_OK;

	check.batch = mem_array(BATCH, sizeof(*check.batch));
	hashmap_init(&check.seen, DIGEST_SIZE);
	if (node->kind == NODE_DIRECTORY)
		rc = add_closure(&check, &node->digest, err);
	else if (node->kind == NODE_FILE)
		rc = add_file(&check, node, err);
	if (rc == RC_OK)
		rc = ask(&check, err);
	if (rc == RC_OK && check.missing_count > NAMED)
		rc = err_set(err, RC_FAILED_PRECONDITION, "missing here: %s and %zu more",
			     buf_string(&check.missing), check.missing_count - NAMED);
	else if (rc == RC_OK && check.missing_count > 0)
		rc = err_set(err, RC_FAILED_PRECONDITION, "missing here: %s",
			     buf_string(&check.missing));
	buf_release(&check.missing);
	hashmap_release(&check.seen);
	free(check.batch);
	return rc;
}

enum rc completeness_keep(const struct services *services, const struct op *op,
			  const struct node *node, struct err *err)
{
	struct services kept = services_kept(services);
	struct copy_stats stats = { 0 };
	enum rc rc = completeness_check(&kept, op, node, err);

	if (rc != RC_FAILED_PRECONDITION || !services->kept.blobs)
		return rc;
	rc = completeness_check(services, op, node, err);
	return rc == RC_OK ? copy_node(services, &kept, op, node, NULL, NULL, &stats, err) : rc;
}
