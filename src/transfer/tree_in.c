/*
 * Import of a tree. Two ways through it:
 *
 *  - nothing changed: the stat cache knows every file, the store has every blob, and the NAR's hash
 *    is remembered by the root node. Then the walk is all, and no file is read.
 *  - else every file is read, because the NAR's hash needs every byte: the pipeline of tree_pipe.h.
 *    What the store has already is neither compressed nor written again.
 *
 * Published in this order: blobs, directories, NAR facts, path info.
 */
#include "transfer/tree_in.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "nix/store_path.h"
#include "transfer/nar_publish.h"
#include "transfer/publish.h"
#include "transfer/references.h"
#include "transfer/stat_cache.h"
#include "transfer/tree_build.h"
#include "transfer/tree_collect.h"
#include "transfer/tree_pipe.h"
#include "transfer/tree_scan.h"
#include "transfer/tree_walk.h"

/* Blobs that the store is asked for at once. */
enum { ASK_COUNT = 4096 };
/* Before a tree that changed is read again. */
#define RETRY_NS (200 * NS_PER_MS)

struct import {
	const struct services *services;
	const struct op *op;
	const char *path;
	const struct import_options *options;
	struct tree_report report;
	struct import_progress stats;
	struct tree_stat root; /* mount 0: not for the cache */
	struct nar_facts facts;
	struct reference_scan *references; /* NULL: they are not looked for */
	const struct path_info *as;        /* NULL: the path info is made here */
};

/* ---- The name ---- */

/* The last component of a path; where that is none, of what it stands for. Owned. */
static char *default_name(const char *path)
{
	size_t end = strlen(path), start;
	char *real AUTO_FREE = NULL;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	if (end == start || strncmp(path + start, ".", end - start) == 0 ||
	    (end - start == 2 && strncmp(path + start, "..", 2) == 0)) {
		const char *slash;

		real = realpath(path, NULL);
		slash = real ? strrchr(real, '/') : NULL;
		return mem_strdup(slash ? slash + 1 : "");
	}
	return mem_strndup(view_of(path + start, end - start));
}

static enum rc check_name(const struct import *import, const char *name, struct err *err)
{
	struct buf shown CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = store_path_check_name(view_of_string(name), err);

	if (rc == RC_OK)
		return RC_OK;
	text_printable(view_of_string(import->path), &shown);
	if (import->options->name)
		return err_context(err, rc, "cannot import %s under that name", buf_string(&shown));
	return err_context(err, rc, "cannot import %s under its own name (--name gives another)",
			   buf_string(&shown));
}

static enum rc open_walk(const struct import *import, bool silent, struct tree_walk **out,
			 struct err *err)
{
	const struct tree_walk_options options = {
		.exclude = import->options->exclude,
		.one_filesystem = import->options->one_filesystem,
		.skip_special = import->options->skip_special,
		.silent = silent,
	};

	return tree_walk_new(import->path, &options, out, err);
}

/* ---- Nothing changed ---- */

/* Walks the tree beside what the cache remembers of it. */
struct unchanged {
	struct import *import;
	struct stat_cache_reader *cache;
	struct tree_build *build;
	struct digest *asked; /* of these the store was not asked yet */
	bool *there;
	size_t count;
};

/* *hit: still all there. */
static enum rc ask(struct unchanged *unchanged, bool *hit, struct err *err)
{
	struct services kept = services_kept(unchanged->import->services);
	enum rc rc = RC_OK;

	if (unchanged->count > 0)
		rc = blob_service_has_many(kept.blobs, unchanged->import->op, unchanged->asked,
					   unchanged->count, unchanged->there, err);
	for (size_t i = 0; rc == RC_OK && i < unchanged->count; i++)
		*hit = *hit && unchanged->there[i];
	unchanged->count = 0;
	return rc;
}

static enum rc see_file(struct unchanged *unchanged, const struct tree_walk_event *event, bool *hit,
			struct err *err)
{
	struct node node = { .kind = NODE_FILE,
			     .executable = event->executable,
			     .size = event->stat.size,
			     .name = event->name };

	*hit = stat_cache_next(unchanged->cache, &event->stat, &node.digest);
	if (!*hit)
		return RC_OK;
	unchanged->import->stats.files++;
	unchanged->import->stats.bytes += node.size;
	tree_build_add(unchanged->build, &node);
	unchanged->asked[unchanged->count++] = node.digest;
	return unchanged->count == ASK_COUNT ? ask(unchanged, hit, err) : RC_OK;
}

static enum rc see(struct unchanged *unchanged, const struct tree_walk_event *event, bool *hit,
		   struct err *err)
{
	const struct op *op = unchanged->import->op;

	switch (event->kind) {
	case TREE_WALK_DIRECTORY:
		unchanged->import->stats.directories++;
		tree_report(&unchanged->import->report, &unchanged->import->stats);
		return tree_build_begin(unchanged->build, op, event->name, err);
	case TREE_WALK_DIRECTORY_END:
		return tree_build_end(unchanged->build, op, err);
	case TREE_WALK_SYMLINK:
		unchanged->import->stats.symlinks++;
		tree_build_add(unchanged->build, &(struct node){ .kind = NODE_SYMLINK,
								 .name = event->name,
								 .target = event->target });
		return RC_OK;
	case TREE_WALK_FILE:
		return see_file(unchanged, event, hit, err);
	case TREE_WALK_END:
		break;
	}
	*hit = stat_cache_finish(unchanged->cache);
	return *hit ? ask(unchanged, hit, err) : RC_OK;
}

static enum rc compare(struct unchanged *unchanged, struct tree_walk *walk,
		       struct tree_walk_event *event, bool *hit, struct err *err)
{
	const struct import *import = unchanged->import;
	enum rc rc;

	for (;;) {
		rc = see(unchanged, event, hit, err);
		if (rc != RC_OK || !*hit || event->kind == TREE_WALK_END)
			break;
		rc = op_check(import->op, err);
		if (rc == RC_OK)
			rc = tree_walk_next(walk, event, err);
		if (rc != RC_OK)
			break;
	}
	return rc;
}

/* *hit: the build is whole and the facts are known. In any case the root's stat is. */
static enum rc try_unchanged(struct import *import, struct tree_build *build, bool *hit,
			     struct err *err)
{
	struct unchanged unchanged = { .import = import, .build = build };
	struct tree_walk *walk;
	struct tree_walk_event event;
	enum rc rc = open_walk(import, true, &walk, err);

	*hit = false;
	if (rc == RC_OK)
		rc = tree_walk_next(walk, &event, err);
	if (rc == RC_OK) {
		import->root = event.stat;
		if (!import->options->no_cache && !import->options->references &&
		    event.stat.mount != 0)
			unchanged.cache = stat_cache_open(&event.stat);
	}
	if (unchanged.cache) {
		unchanged.asked = mem_array(ASK_COUNT, sizeof(*unchanged.asked));
		unchanged.there = mem_array(ASK_COUNT, sizeof(*unchanged.there));
		*hit = true;
		rc = compare(&unchanged, walk, &event, hit, err);
		/* What is left out is told of by a walk that reads. */
		*hit = *hit && tree_walk_skipped(walk) == 0;
	}
	if (rc == RC_OK && *hit) {
		rc = import->services->nar_facts
			     ? nar_facts_store_get(import->services->nar_facts, import->op,
						   tree_build_root(build), &import->facts, err)
			     : RC_NOT_FOUND;
		*hit = rc == RC_OK;
		if (rc == RC_NOT_FOUND)
			rc = RC_OK;
	}
	free(unchanged.asked);
	free(unchanged.there);
	stat_cache_close(unchanged.cache);
	tree_walk_free(walk);
	return rc;
}

/* ---- Everything is read ---- */

static enum rc run_pipeline(struct import *import, struct tree_build *build,
			    struct stat_cache_writer *cache, struct err *err)
{
	const struct op *op = import->op;
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	struct tree_taker taker = { .build = build };
	struct tree_walk *walk = NULL;
	struct tree_pipe pipe;
	enum rc rc = blob_service_open_batch(import->services->blobs, op, &batch, err);

	if (rc == RC_OK)
		rc = open_walk(import, false, &walk, err);
	if (rc != RC_OK)
		return rc;
	tree_pipe_init(&pipe, op, batch, tree_scan(walk), import->options->threads,
		       import->options->memory);
	pipe.references = import->references;
	pipe.cache = cache;
	tree_pipe_start(&pipe);
	rc = tree_collect(&pipe, &taker, &import->report, &import->stats, err);
	if (rc == RC_OK)
		rc = tree_pipe_finish(&pipe, &import->facts, err);
	tree_pipe_release(&pipe);
	tree_walk_free(walk);
	return rc == RC_OK ? blob_batch_commit(batch, op, err) : rc;
}

/* A store path that is imported again gets another name, by which its content does not know it. */
static enum rc check_self(const struct import *import, struct err *err)
{
	char *name AUTO_FREE = default_name(import->path);
	struct store_path self;

	if (!name || store_path_parse_basename(view_of_string(name), &self, NULL) != RC_OK ||
	    !reference_scan_has(import->references, self.hash))
		return RC_OK;
	return err_set(err, RC_UNSUPPORTED,
		       "%s refers to itself: its content would have to change with its store path",
		       import->path);
}

static enum rc publish_scanned(struct import *import, const struct node *root, const char *name,
			       struct path_info *out, struct err *err)
{
	struct store_path *references AUTO_FREE = NULL;
	size_t count;
	enum rc rc = check_self(import, err);

	if (rc == RC_OK)
		rc = references_find(import->services->path_infos, import->op, import->references,
				     &references, &count, err);
	if (rc == RC_OK)
		rc = publish_with_references(import->services, import->op, root, &import->facts,
					     name, references, count, out, err);
	return rc;
}

/* The path info that another store gave, with the node that the content has here. */
static enum rc publish_as(struct import *import, const struct node *root, struct err *err)
{
	struct path_info info = *import->as; /* borrows everything, so it is not released */
	struct buf said CLEANUP(buf_release) = BUF_INIT;
	struct buf found CLEANUP(buf_release) = BUF_INIT;
	char basename[STORE_PATH_BASENAME_MAX + 1];
	enum rc rc;

	nar_hash_print(&info.nar_sha256, &said);
	nar_hash_print(&import->facts.nar_sha256, &found);
	if (info.nar_size != import->facts.nar_size ||
	    !view_equal(buf_view(&said), buf_view(&found)))
		return err_set(err, RC_CORRUPT,
			       "%s: its NAR has %" PRIu64 " bytes and the hash %s, where %" PRIu64
			       " bytes and %s were to be",
			       import->path, import->facts.nar_size, buf_string(&found),
			       info.nar_size, buf_string(&said));
	store_path_basename(&info.path, basename);
	info.node = *root;
	info.node.name = view_of_string(basename);
	rc = path_info_check(&info, err);
	if (rc == RC_OK)
		rc = path_info_check_ca(&info, err);
	if (rc == RC_OK)
		rc = nar_check_ca(import->services, import->op, &info, err);
	if (rc != RC_OK)
		return err_context(err, rc, "%s", basename);
	return path_info_service_put(import->services->path_infos, import->op, &info, NULL, err);
}

static enum rc publish(struct import *import, struct tree_build *build, const char *name,
		       struct path_info *out, struct err *err)
{
	const struct services *services = import->services;
	const struct node *root = tree_build_root(build);
	enum rc rc = tree_build_commit(build, import->op, err);

	if (rc == RC_OK && services->nar_facts)
		rc = nar_facts_store_put(services->nar_facts, import->op, root, &import->facts,
					 err);
	if (rc == RC_OK && import->as)
		return publish_as(import, root, err);
	if (rc == RC_OK && !import->references)
		return publish_recursive(services, import->op, root, &import->facts, name, out,
					 err);
	return rc == RC_OK ? publish_scanned(import, root, name, out, err) : rc;
}

static enum rc import_read(struct import *import, const char *name, struct path_info *out,
			   struct err *err)
{
	struct tree_build *build = tree_build_new(import->services->directories);
	struct stat_cache_writer *cache = NULL;
	enum rc rc;

	if (!import->options->no_cache)
		cache = stat_cache_create(&import->root);
	rc = run_pipeline(import, build, cache, err);
	if (rc == RC_OK)
		rc = publish(import, build, name, out, err);
	if (rc == RC_OK && cache)
		stat_cache_commit(cache);
	stat_cache_free(cache);
	tree_build_free(build);
	return rc;
}

static enum rc import_tree(struct import *import, const char *name, struct path_info *out,
			   struct err *err)
{
	struct tree_build *build = tree_build_new(import->services->directories);
	bool hit = false;
	enum rc rc = try_unchanged(import, build, &hit, err);

	if (rc == RC_OK && hit)
		rc = publish(import, build, name, out, err);
	tree_build_free(build);
	if (rc == RC_OK && !hit) {
		memset(&import->stats, 0, sizeof(import->stats));
		rc = import_read(import, name, out, err);
	}
	return rc;
}

/* A tree in motion is read again, as a whole: it shall be as it was at some time. */
static enum rc import_retrying(struct import *import, const char *name, struct path_info *out,
			       struct err *err)
{
	unsigned tries = 0;
	enum rc rc;

	for (;;) {
		if (import->options->references) {
			reference_scan_free(import->references);
			import->references = reference_scan_new();
		}
		rc = import_tree(import, name, out, err);
		if (rc != RC_FAILED_PRECONDITION || tries == import->options->retries)
			break;
		tries++;
		log_info("%s; begun again", err->message);
		clock_sleep_ns(RETRY_NS);
		rc = op_check(import->op, err);
		if (rc != RC_OK)
			return rc;
	}
	return rc == RC_FAILED_PRECONDITION && tries > 0
		       ? err_context(err, rc, "begun %u times", tries + 1)
		       : rc;
}

/* All of a tree shares a commit, or the caller's. */
static enum rc import_durably(struct import *import, const char *name, struct path_info *out,
			      struct err *err)
{
	struct shared_commit *own AUTO_SHARED_COMMIT = NULL;
	struct op op = *import->op;
	enum rc rc;

	if (!op.commit)
		own = op.commit = services_shared_commit(import->services);
	import->op = &op;
	rc = import_retrying(import, name, out, err);
	if (rc == RC_OK)
		rc = shared_commit_wait(own, &op, err);
	if (rc != RC_OK && out)
		path_info_release(out);
	return rc;
}

static void import_begin(struct import *import, const struct services *services,
			 const struct op *op, const char *path,
			 const struct import_options *options, struct import_progress *stats)
{
	static const struct import_options defaults;

	*import = (struct import){ .services = services,
				   .op = op,
				   .path = path,
				   .options = options ? options : &defaults };
	import->report.progress = import->options->progress;
	import->report.context = import->options->progress_context;
	if (stats)
		memset(stats, 0, sizeof(*stats));
}

enum rc tree_import(const struct services *services, const struct op *op, const char *path,
		    const struct import_options *options, struct path_info *out,
		    struct import_progress *stats, struct err *err)
{
	struct import import;
	char *name AUTO_FREE = NULL;
	enum rc rc;

	import_begin(&import, services, op, path, options, stats);
	memset(out, 0, sizeof(*out));
	name = import.options->name ? mem_strdup(import.options->name) : default_name(path);
	rc = check_name(&import, name, err);
	if (rc != RC_OK)
		return rc;
	rc = import_durably(&import, name, out, err);
	reference_scan_free(import.references);
	if (rc == RC_OK && stats)
		*stats = import.stats;
	return rc;
}

enum rc tree_import_as(const struct services *services, const struct op *op, const char *path,
		       const struct import_options *options, const struct path_info *as,
		       struct import_progress *stats, struct err *err)
{
	struct import import;
	enum rc rc;

	import_begin(&import, services, op, path, options, stats);
	import.as = as;
	rc = import_durably(&import, NULL, NULL, err);
	if (rc == RC_OK && stats)
		*stats = import.stats;
	return rc;
}
