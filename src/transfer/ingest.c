#include "transfer/ingest.h"

#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

/* ---- Order ---- */

enum mark { UNSEEN, OPEN, DONE };

struct ordering {
	const struct services *to;
	const struct op *op;
	const struct path_info *infos;
	struct hashmap index; /* hash part → &infos[i] */
	enum mark *marks;
	size_t *stack;     /* paths whose references are being followed */
	size_t *reference; /* the next one of each on the stack */
	size_t depth;
	size_t *order;
	size_t ordered;
};

static enum rc named(const struct path_info *from, const struct store_path *to, enum rc rc,
		     const char *what, struct err *err)
{
	char referrer[STORE_PATH_BASENAME_MAX + 1], name[STORE_PATH_BASENAME_MAX + 1];

	store_path_basename(&from->path, referrer);
	store_path_basename(to, name);
	return err_set(err, rc, "%s refers to %s%s", referrer, name, what);
}

static enum rc index_paths(struct ordering *ordering, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct path_info *info = &ordering->infos[i];
		char name[STORE_PATH_BASENAME_MAX + 1];

		if (!hashmap_put(&ordering->index, info->path.hash, (void *)(uintptr_t)info))
			continue;
		store_path_basename(&info->path, name);
		return err_set(err, RC_INVALID, "%s is listed twice", name);
	}
	return RC_OK;
}

/* A reference that is not in the list. */
static enum rc look_up(struct ordering *ordering, const struct path_info *from,
		       const struct store_path *reference, struct err *err)
{
	struct path_info known AUTO_PATH_INFO = { .nar_size = 0 };
	enum rc rc = path_info_service_get(ordering->to->path_infos, ordering->op, reference->hash,
					   &known, err);

	if (rc == RC_NOT_FOUND)
		return named(from, reference, RC_NOT_FOUND,
			     ", which is neither in the list nor in the store", err);
	return rc;
}

static enum rc follow(struct ordering *ordering, size_t i, struct err *err)
{
	const struct path_info *info = &ordering->infos[i];
	const struct store_path *reference;
	const struct path_info *found;
	size_t next;

	if (ordering->reference[ordering->depth - 1] == info->reference_count) {
		ordering->marks[i] = DONE;
		ordering->order[ordering->ordered++] = i;
		ordering->depth--;
		return RC_OK;
	}
	reference = &info->references[ordering->reference[ordering->depth - 1]++];
	found = hashmap_get(&ordering->index, reference->hash);
	if (!found)
		return look_up(ordering, info, reference, err);
	next = (size_t)(found - ordering->infos);
	if (next == i || ordering->marks[next] == DONE)
		return RC_OK;
	if (ordering->marks[next] == OPEN)
		return named(info, reference, RC_INVALID, ", in a circle", err);
	ordering->marks[next] = OPEN;
	ordering->stack[ordering->depth] = next;
	ordering->reference[ordering->depth++] = 0;
	return RC_OK;
}

static enum rc order_all(struct ordering *ordering, size_t count, struct err *err)
{
	enum rc rc = index_paths(ordering, count, err);

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		if (ordering->marks[i] != UNSEEN)
			continue;
		ordering->marks[i] = OPEN;
		ordering->stack[0] = i;
		ordering->reference[0] = 0;
		ordering->depth = 1;
		while (rc == RC_OK && ordering->depth > 0)
			rc = follow(ordering, ordering->stack[ordering->depth - 1], err);
	}
	return rc;
}

enum rc ingest_order(const struct services *to, const struct op *op, struct path_info *infos,
		     size_t count, struct err *err)
{
	struct path_info *sorted AUTO_FREE = mem_array(count + 1, sizeof(*sorted));
	enum mark *marks AUTO_FREE = mem_array(count + 1, sizeof(*marks));
	size_t *stack AUTO_FREE = mem_array(count + 1, sizeof(*stack));
	size_t *reference AUTO_FREE = mem_array(count + 1, sizeof(*reference));
	size_t *order AUTO_FREE = mem_array(count + 1, sizeof(*order));
	struct ordering ordering = { .to = to,
				     .op = op,
				     .infos = infos,
				     .marks = marks,
				     .stack = stack,
				     .reference = reference,
				     .order = order };
	enum rc rc;

	hashmap_init(&ordering.index, STORE_PATH_HASH_SIZE);
	rc = order_all(&ordering, count, err);
	hashmap_release(&ordering.index);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < count; i++)
		sorted[i] = infos[order[i]];
	if (count > 0)
		memcpy(infos, sorted, count * sizeof(*infos));
	return RC_OK;
}

/* ---- A path ---- */

static enum rc is_there(const struct services *to, const struct op *op,
			const struct path_info *info, bool *there, struct err *err)
{
	struct path_info known AUTO_PATH_INFO = { .nar_size = 0 };
	char name[STORE_PATH_BASENAME_MAX + 1];
	struct services kept = services_kept(to);
	enum rc rc = path_info_service_get(kept.path_infos, op, info->path.hash, &known, err);

	*there = rc == RC_OK;
	if (rc != RC_OK)
		return rc == RC_NOT_FOUND ? RC_OK : rc;
	if (known.nar_size == info->nar_size &&
	    memcmp(&known.nar_sha256, &info->nar_sha256, sizeof(known.nar_sha256)) == 0)
		return RC_OK;
	store_path_basename(&info->path, name);
	return err_set(err, RC_EXISTS, "%s is in the store already, with another content", name);
}

enum rc ingest_path(const struct services *to, const struct op *op, const char *root,
		    const struct path_info *info, const struct import_options *options, bool *there,
		    struct import_progress *stats, struct err *err)
{
	char path[STORE_PATH_ABSOLUTE_MAX + 1];
	char *place AUTO_FREE = NULL;
	enum rc rc;

	memset(stats, 0, sizeof(*stats));
	rc = is_there(to, op, info, there, err);
	if (rc != RC_OK || *there)
		return rc;
	store_path_absolute(&info->path, path);
	place = mem_printf("%s%s", root, path);
	return tree_import_as(to, op, place, options, info, stats, err);
}
