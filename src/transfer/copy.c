/*
 * Copying: the directories of a path are read from the source, the blobs that they name are asked for at
 * the target, and those that are missing go through the pipeline of an import, bare of a NAR.
 */
#include "transfer/copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "transfer/tree_collect.h"
#include "transfer/tree_fill.h"

enum {
	ASKED_AT_ONCE = 4096,
	GROUP_BLOBS = 64, /* small ones, fetched at once */
	GROUP_BYTES = 4 << 20,
	REFERENCES_MAX = 1 << 20,
};

struct wanted {
	struct digest digest;
	uint64_t size;
};

struct copy {
	const struct services *from, *to;
	const struct op *op;
	struct copy_stats *stats;
	struct hashmap directories; /* digest → struct directory *, a reference */
	struct hashmap seen;        /* blobs */
	struct wanted *
		wanted; /* blobs that are not at the target, in the order in which the tree names them */
	size_t count, room;
	size_t collected;
	bool wrong; /* something else was stored than was wanted: a bug, or memory gone bad */
};

static void copy_release(struct copy *copy)
{
	size_t at = 0;
	void *dir;

	while (hashmap_next(&copy->directories, &at, NULL, &dir))
		directory_unref(dir);
	hashmap_release(&copy->directories);
	hashmap_release(&copy->seen);
	free(copy->wanted);
}

/* ---- What is there, and what is wanted ---- */

static void want(struct copy *copy, const struct node *node)
{
	if (node->kind != NODE_FILE || hashmap_put(&copy->seen, node->digest.bytes, copy))
		return;
	copy->wanted = mem_grow(copy->wanted, copy->count, &copy->room, 256, sizeof(*copy->wanted));
	copy->wanted[copy->count++] = (struct wanted){ node->digest, node->size };
}

static enum rc read_directories(struct copy *copy, const struct digest *root, struct err *err)
{
	struct directory_iter *iter;
	enum rc rc = directory_service_get_recursive(copy->from->directories, copy->op, root, &iter,
						     err);

	while (rc == RC_OK) {
		struct directory *dir;

		rc = directory_iter_next(iter, copy->op, &dir, err);
		if (rc != RC_OK || !dir)
			break;
		directory_unref(hashmap_put(&copy->directories, directory_digest(dir)->bytes, dir));
		for (size_t i = 0; i < directory_count(dir); i++)
			want(copy, directory_at(dir, i));
	}
	directory_iter_free(iter);
	if (rc != RC_NOT_FOUND)
		return rc;
	char hex[DIGEST_HEX_MAX];

	digest_hex(root, hex);
	return err_set(err, RC_CORRUPT, "the source lacks directory %s", hex);
}

/* Leaves in copy->wanted what the target lacks. */
static enum rc drop_known(struct copy *copy, struct err *err)
{
	struct digest *digests AUTO_FREE = mem_array(ASKED_AT_ONCE, sizeof(*digests));
	bool there[ASKED_AT_ONCE];
	size_t kept = 0;

	for (size_t at = 0; at < copy->count; at += ASKED_AT_ONCE) {
		size_t count = copy->count - at < ASKED_AT_ONCE ? copy->count - at : ASKED_AT_ONCE;
		enum rc rc;

		for (size_t i = 0; i < count; i++)
			digests[i] = copy->wanted[at + i].digest;
		rc = blob_service_has_many(copy->to->blobs, copy->op, digests, count, there, err);
		if (rc != RC_OK)
			return rc;
		for (size_t i = 0; i < count; i++)
			if (!there[i])
				copy->wanted[kept++] = copy->wanted[at + i];
	}
	copy->stats->blobs_there += copy->count - kept;
	copy->count = kept;
	return RC_OK;
}

/* ---- Blobs ---- */

struct group {
	struct buf contents[GROUP_BLOBS];
	struct digest digests[GROUP_BLOBS];
	enum rc rcs[GROUP_BLOBS];
};

static void take_content(void *context, size_t i, enum rc rc, struct view bytes)
{
	struct group *group = context;

	group->rcs[i] = rc;
	if (rc == RC_OK)
		buf_append_view(&group->contents[i], bytes);
}

static enum rc missing(const struct wanted *wanted, enum rc rc, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(&wanted->digest, hex);
	if (rc == RC_NOT_FOUND)
		return err_set(err, RC_CORRUPT, "the source lacks blob %s", hex);
	return err_set(err, rc, "blob %s of the source: %s", hex, rc_name(rc));
}

static enum rc fill_content(struct tree_fill *fill, const struct wanted *wanted,
			    struct view content, bool *stopped, struct err *err)
{
	struct tree_fill_file file = { .size = wanted->size };
	struct tree_entry *entry;

	if (content.len != wanted->size)
		return missing(wanted, RC_CORRUPT, err);
	*stopped = !tree_fill_small(fill, &file, &entry);
	if (!*stopped && content.len > 0)
		memcpy(fill->block->bytes + entry->at, content.ptr, content.len);
	return RC_OK;
}

/* The small blobs from *at on, up to a large one. */
static enum rc fill_group(struct copy *copy, struct tree_fill *fill, struct group *group,
			  size_t *at, bool *stopped, struct err *err)
{
	const struct wanted *first = &copy->wanted[*at];
	uint64_t bytes = 0;
	size_t count = 0;
	enum rc rc;

	while (count < GROUP_BLOBS && *at + count < copy->count &&
	       first[count].size <= TREE_FILE_SMALL && bytes < GROUP_BYTES) {
		group->digests[count] = first[count].digest;
		buf_clear(&group->contents[count]);
		bytes += first[count++].size;
	}
	rc = blob_service_get_many(copy->from->blobs, copy->op, group->digests, count, take_content,
				   group, err);
	for (size_t i = 0; rc == RC_OK && !*stopped && i < count; i++) {
		rc = group->rcs[i] == RC_OK
			     ? fill_content(fill, &first[i], buf_view(&group->contents[i]), stopped,
					    err)
			     : missing(&first[i], group->rcs[i], err);
	}
	*at += count;
	return rc;
}

struct large {
	struct copy *copy;
	struct blob_reader *reader;
	uint64_t offset;
};

static enum rc read_large(void *context, void *out, size_t len, struct err *err)
{
	struct large *large = context;
	size_t got;
	enum rc rc = blob_reader_pread(large->reader, large->copy->op, out, len, large->offset,
				       &got, err);

	if (rc == RC_OK && got != len)
		rc = err_set(err, RC_CORRUPT, "a blob of the source ends early");
	large->offset += len;
	return rc;
}

static enum rc fill_large(struct copy *copy, struct tree_fill *fill, const struct wanted *wanted,
			  bool *stopped, struct err *err)
{
	struct tree_fill_file file = { .size = wanted->size };
	struct large large = { .copy = copy };
	enum rc rc;

	rc = blob_service_open_read(copy->from->blobs, copy->op, &wanted->digest, wanted->size,
				    &large.reader, err);
	if (rc != RC_OK)
		return missing(wanted, rc, err);
	if (blob_reader_size(large.reader) != wanted->size)
		rc = missing(wanted, RC_CORRUPT, err);
	else
		rc = tree_fill_large(fill, &file, read_large, &large, stopped, err);
	blob_reader_free(large.reader);
	return rc;
}

static void fill_blobs(struct tree_pipe *pipe, void *context)
{
	struct copy *copy = context;
	struct group *group = mem_zalloc(sizeof(*group));
	struct err err = ERR_INIT;
	struct tree_fill fill;
	bool stopped = false;
	enum rc rc = RC_OK;

	tree_fill_init(&fill, pipe, true);
	for (size_t at = 0; rc == RC_OK && !stopped && at < copy->count;) {
		if (copy->wanted[at].size > TREE_FILE_SMALL)
			rc = fill_large(copy, &fill, &copy->wanted[at++], &stopped, &err);
		else
			rc = fill_group(copy, &fill, group, &at, &stopped, &err);
	}
	tree_fill_finish(&fill, rc, &err);
	for (size_t i = 0; i < GROUP_BLOBS; i++)
		buf_release(&group->contents[i]);
	free(group);
}

static void took_file(void *context, const struct node *node)
{
	struct copy *copy = context;

	if (!digest_equal(&node->digest, &copy->wanted[copy->collected++].digest))
		copy->wrong = true;
	copy->stats->blobs++;
	copy->stats->bytes += node->size;
}

static enum rc copy_blobs(struct copy *copy, import_progress_fn *progress, void *progress_context,
			  struct err *err)
{
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	struct tree_source source = { .fill = fill_blobs, .context = copy, .bare = true };
	struct tree_taker taker = { .file = took_file, .context = copy };
	struct tree_report report = { .progress = progress, .context = progress_context };
	struct import_progress stats = { 0 };
	struct tree_pipe pipe;
	enum rc rc;

	if (copy->count == 0)
		return RC_OK;
	rc = blob_service_open_batch(copy->to->blobs, copy->op, &batch, err);
	if (rc != RC_OK)
		return rc;
	tree_pipe_init(&pipe, copy->op, batch, source, 0, 0);
	tree_pipe_start(&pipe);
	rc = tree_collect(&pipe, &taker, &report, &stats, err);
	tree_pipe_release(&pipe);
	if (rc == RC_OK && (copy->wrong || copy->collected != copy->count))
		rc = err_set(err, RC_CORRUPT,
			     "the source gave other blobs than the directories name");
	return rc == RC_OK ? blob_batch_commit(batch, copy->op, err) : rc;
}

/* ---- Directories: leaves first ---- */

struct level {
	struct directory *dir; /* borrowed from the map */
	size_t at;
};

/* Adds the directory below root that comes next; without recursion. */
static enum rc put_closure(struct copy *copy, struct directory_put *put, const struct digest *root,
			   struct err *err)
{
	struct level *levels AUTO_FREE = mem_array(NODE_DEPTH_MAX, sizeof(*levels));
	struct hashmap added;
	size_t depth = 1;
	enum rc rc = RC_OK;

	hashmap_init(&added, DIGEST_SIZE);
	levels[0].dir = hashmap_get(&copy->directories, root->bytes);
	while (rc == RC_OK && depth > 0) {
		struct level *level = &levels[depth - 1];
		const struct node *node;

		if (level->at == directory_count(level->dir)) {
			hashmap_put(&added, directory_digest(level->dir)->bytes, level->dir);
			rc = directory_put_add(put, copy->op, level->dir, err);
			depth--;
			continue;
		}
		node = directory_at(level->dir, level->at++);
		if (node->kind != NODE_DIRECTORY || hashmap_get(&added, node->digest.bytes))
			continue;
		if (depth == NODE_DEPTH_MAX) {
			rc = err_set(err, RC_TOO_LARGE, "the tree is deeper than %d levels",
				     NODE_DEPTH_MAX);
			break;
		}
		/* The empty one exists everywhere without having come. */
		levels[depth++] = (struct level){ .dir = hashmap_get(&copy->directories,
								     node->digest.bytes) };
	}
	hashmap_release(&added);
	return rc;
}

static enum rc copy_directories(struct copy *copy, const struct digest *root, struct err *err)
{
	struct directory_put *put;
	struct digest stored;
	enum rc rc = directory_service_open_put(copy->to->directories, copy->op, &put, err);

	if (rc != RC_OK)
		return rc;
	rc = put_closure(copy, put, root, err);
	if (rc == RC_OK)
		rc = directory_put_close(put, copy->op, &stored, err);
	directory_put_free(put);
	return rc;
}

/* ---- A path ---- */

static enum rc copy_contents(struct copy *copy, const struct node *node,
			     import_progress_fn *progress, void *progress_context, struct err *err)
{
	bool directory = node->kind == NODE_DIRECTORY;
	enum rc rc = RC_OK;

	hashmap_init(&copy->directories, DIGEST_SIZE);
	hashmap_init(&copy->seen, DIGEST_SIZE);
	if (directory)
		rc = read_directories(copy, &node->digest, err);
	else
		want(copy, node);
	if (rc == RC_OK)
		rc = drop_known(copy, err);
	if (rc == RC_OK)
		rc = copy_blobs(copy, progress, progress_context, err);
	if (rc == RC_OK && directory)
		rc = copy_directories(copy, &node->digest, err);
	copy_release(copy);
	return rc;
}

enum rc copy_node(const struct services *from, const struct services *to, const struct op *op,
		  const struct node *node, import_progress_fn *progress, void *progress_context,
		  struct copy_stats *stats, struct err *err)
{
	struct services kept = services_kept(to);
	struct copy copy = { .from = from, .to = &kept, .op = op, .stats = stats };

	return copy_contents(&copy, node, progress, progress_context, err);
}

/* A daemon that has the path may read it from another: that it puts it makes it keep it. */
static enum rc is_there(const struct services *to, const struct op *op,
			const struct path_info *info, bool *there, struct err *err)
{
	struct path_info found AUTO_PATH_INFO = { .nar_size = 0 };
	enum rc rc = path_info_service_get(to->path_infos, op, info->path.hash, &found, err);

	*there = rc == RC_OK && node_equal(&found.node, &info->node);
	if (*there && path_info_service_is_remote(to->path_infos)) {
		rc = path_info_service_put(to->path_infos, op, &found, NULL, err);
		*there = rc == RC_OK;
		/* It is not whole there. */
		if (rc == RC_FAILED_PRECONDITION)
			return RC_OK;
	}
	return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc bring(struct copy *copy, const struct path_info *info, import_progress_fn *progress,
		     void *progress_context, struct err *err)
{
	struct shared_commit *own AUTO_SHARED_COMMIT = NULL;
	struct op op = *copy->op;
	enum rc rc;

	if (!op.commit)
		own = op.commit = services_shared_commit(copy->to);
	copy->op = &op;
	rc = copy_contents(copy, &info->node, progress, progress_context, err);
	if (rc == RC_OK)
		rc = path_info_service_put(copy->to->path_infos, &op, info, NULL, err);
	return rc == RC_OK ? shared_commit_wait(own, &op, err) : rc;
}

enum rc copy_path(const struct services *from, const struct services *to, const struct op *op,
		  const struct path_info *info, import_progress_fn *progress,
		  void *progress_context, struct copy_stats *stats, bool *there, struct err *err)
{
	struct services kept = services_kept(to);
	struct copy copy = { .from = from, .to = &kept, .op = op, .stats = stats };
	char path[STORE_PATH_ABSOLUTE_MAX + 1];
	enum rc rc = is_there(&kept, op, info, there, err);

	if (rc == RC_OK && !*there)
		rc = bring(&copy, info, progress, progress_context, err);
	if (rc == RC_OK)
		return RC_OK;
	store_path_absolute(&info->path, path);
	return err_context(err, rc, "%s", path);
}

/* ---- Closures ---- */

/* In known: paths without a path info in the closure. */
static char target_has_it, it_failed;

void copy_closure_release(struct copy_closure *closure)
{
	for (size_t i = 0; i < closure->count; i++)
		path_info_release(&closure->infos[i]);
	free(closure->infos);
	if (closure->known.key_size > 0)
		hashmap_release(&closure->known);
	*closure = (struct copy_closure){ 0 };
}

static void know(struct copy_closure *closure, const struct store_path *path, void *what)
{
	if (closure->known.key_size == 0)
		hashmap_init(&closure->known, STORE_PATH_HASH_SIZE);
	hashmap_put(&closure->known, path->hash, what);
}

static void *known(const struct copy_closure *closure, const struct store_path *path)
{
	return hashmap_get(&closure->known, path->hash);
}

void copy_closure_fail(struct copy_closure *closure, const struct store_path *path)
{
	know(closure, path, &it_failed);
}

const struct store_path *copy_closure_blocked(const struct copy_closure *closure,
					      const struct path_info *info)
{
	for (size_t i = 0; i < info->reference_count; i++) {
		if (known(closure, &info->references[i]) == &it_failed)
			return &info->references[i];
	}
	return NULL;
}

/* A reference that the source lacks is fine where the target has it. from NULL: it was named. */
static enum rc source_lacks(struct copy_closure *closure, const struct services *to,
			    const struct op *op, const struct store_path *from,
			    const struct store_path *path, struct err *err)
{
	char name[STORE_PATH_BASENAME_MAX + 1], referrer[STORE_PATH_BASENAME_MAX + 1];
	struct services kept = services_kept(to);
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	enum rc rc;

	if (!from)
		return err_set(err, RC_NOT_FOUND, "not in the store to copy from");
	rc = path_info_service_get(kept.path_infos, op, path->hash, &info, err);
	if (rc == RC_OK)
		know(closure, path, &target_has_it);
	if (rc != RC_NOT_FOUND)
		return rc;
	store_path_basename(path, name);
	store_path_basename(from, referrer);
	return err_set(err, RC_NOT_FOUND, "%s refers to %s, which neither store has", referrer,
		       name);
}

/* Reads one path info, to which `from` refers. */
static enum rc add_one(struct copy_closure *closure, const struct services *from_services,
		       const struct services *to, const struct op *op,
		       const struct store_path *from, const struct store_path *path,
		       struct err *err)
{
	char name[STORE_PATH_ABSOLUTE_MAX + 1];
	struct path_info info = { .nar_size = 0 };
	enum rc rc = path_info_service_get(from_services->path_infos, op, path->hash, &info, err);

	if (rc == RC_OK && closure->count == REFERENCES_MAX) {
		path_info_release(&info);
		return err_set(err, RC_TOO_LARGE, "the closure has more than %d paths",
			       REFERENCES_MAX);
	}
	if (rc == RC_OK) {
		closure->infos =
			mem_grow(closure->infos, closure->count, &closure->room, 64, sizeof(info));
		closure->infos[closure->count++] = info;
		know(closure, path, (void *)(uintptr_t)closure->count);
		return RC_OK;
	}
	if (rc == RC_NOT_FOUND)
		rc = source_lacks(closure, to, op, from, path, err);
	if (rc == RC_OK)
		return RC_OK;
	store_path_absolute(path, name);
	err_context(err, rc, "%s", name);
	know(closure, path, &it_failed);
	return closure->failed ? closure->failed(closure->context, path, rc, err) : rc;
}

enum rc copy_closure_add(struct copy_closure *closure, const struct services *from,
			 const struct services *to, const struct op *op,
			 const struct store_path *path, struct err *err)
{
	size_t at = closure->count;
	enum rc rc = RC_OK;

	if (!known(closure, path))
		rc = add_one(closure, from, to, op, NULL, path, err);
	for (; rc == RC_OK && at < closure->count; at++) {
		for (size_t i = 0; rc == RC_OK && i < closure->infos[at].reference_count; i++) {
			/* Adding moves infos. */
			struct store_path referrer = closure->infos[at].path;
			struct store_path reference = closure->infos[at].references[i];

			if (!known(closure, &reference))
				rc = add_one(closure, from, to, op, &referrer, &reference, err);
		}
	}
	return rc;
}

struct ordering {
	size_t *stack; /* paths whose references are being followed */
	size_t *next;  /* of each in infos: the next of its references; SIZE_MAX: not begun */
	size_t *order;
	size_t depth, ordered;
};

/* Follows one reference of the path on top of the stack. */
static void follow(const struct copy_closure *closure, struct ordering *ordering)
{
	size_t i = ordering->stack[ordering->depth - 1];
	const struct path_info *info = &closure->infos[i];
	uintptr_t place;

	if (ordering->next[i] == info->reference_count) {
		ordering->order[ordering->ordered++] = i;
		ordering->depth--;
		return;
	}
	place = (uintptr_t)known(closure, &info->references[ordering->next[i]++]);
	/* Else it is no path info of the closure, or it was seen: in a circle, what came first waits. */
	if (place > 0 && place <= closure->count && ordering->next[place - 1] == SIZE_MAX) {
		ordering->next[place - 1] = 0;
		ordering->stack[ordering->depth++] = place - 1;
	}
}

void copy_closure_order(struct copy_closure *closure)
{
	size_t count = closure->count;
	size_t *numbers AUTO_FREE = mem_array(3 * count + 1, sizeof(*numbers));
	struct path_info *sorted = mem_array(count + 1, sizeof(*sorted));
	struct ordering ordering = { .stack = numbers,
				     .next = numbers + count,
				     .order = numbers + 2 * count };

	for (size_t i = 0; i < count; i++)
		ordering.next[i] = SIZE_MAX;
	for (size_t i = 0; i < count; i++) {
		if (ordering.next[i] != SIZE_MAX)
			continue;
		ordering.next[i] = 0;
		ordering.stack[ordering.depth++] = i;
		while (ordering.depth > 0)
			follow(closure, &ordering);
	}
	for (size_t i = 0; i < count; i++)
		sorted[i] = closure->infos[ordering.order[i]];
	for (size_t i = 0; i < count; i++)
		know(closure, &sorted[i].path, (void *)(uintptr_t)(i + 1));
	free(closure->infos);
	closure->infos = sorted;
	closure->room = count + 1;
}
