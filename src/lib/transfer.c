/* Trees, NARs and tar archives in, trees and NARs out. */
#include "lib/lib.h"

#include "transfer/lookup.h"
#include "transfer/nar.h"
#include "transfer/publish.h"
#include "transfer/tar.h"
#include "transfer/tree_in.h"
#include "transfer/tree_out.h"

static struct castor_import_progress public_progress(const struct import_progress *progress)
{
	return (struct castor_import_progress){
		.files = progress->files,
		.directories = progress->directories,
		.symlinks = progress->symlinks,
		.bytes = progress->bytes,
		.bytes_read = progress->bytes_read,
		.bytes_stored = progress->bytes_stored,
	};
}

static void hand_on_progress(void *context, const struct import_progress *progress)
{
	const struct castor_import_options *options = context;
	struct castor_import_progress shown = public_progress(progress);

	options->progress(options->progress_context, &shown);
}

enum castor_rc castor_import(struct castor_store *store, const struct castor_op *op,
			     const char *path, const struct castor_import_options *options,
			     struct castor_path_info **out, struct castor_import_progress *stats,
			     struct castor_error *error)
{
	struct castor_import_options copy = { 0 };
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct import_progress seen = { 0 };
	struct import_options inner = { 0 };
	struct op inner_op = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc;

	if (out)
		*out = NULL;
	if (options)
		copy = *options;
	inner.name = copy.name;
	inner.no_cache = copy.no_cache != 0;
	inner.references = copy.references != 0;
	inner.threads = copy.threads;
	inner.memory = copy.memory;
	inner.progress = copy.progress ? hand_on_progress : NULL;
	inner.progress_context = &copy;
	rc = tree_import(&store->services, &inner_op, path, &inner, &info, &seen, &err);
	if (stats)
		*stats = public_progress(&seen);
	if (rc == RC_OK && out)
		*out = lib_path_info_new(&info);
	return lib_result(rc, &err, error);
}

/* ---- Archives ---- */

struct public_source {
	castor_source_fn *source;
	void *context;
};

static enum rc take_bytes(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	const struct public_source *source = context;
	enum rc rc;

	*got = 0;
	rc = lib_rc_from(source->source(source->context, out, len, got));
	if (rc == RC_OK && *got > len)
		rc = RC_INVALID;
	if (rc == RC_OK)
		return RC_OK;
	*got = 0;
	return err_set(err, rc, "the source of the NAR ended it");
}

/* The root is given up. */
static enum castor_rc publish_archive(struct castor_store *store, const struct op *op, enum rc rc,
				      struct node *root, const struct nar_facts *facts,
				      const char *name, struct castor_path_info **out,
				      struct err *err, struct castor_error *error)
{
	struct path_info info AUTO_PATH_INFO = { 0 };

	if (rc == RC_OK)
		rc = publish_recursive(&store->services, op, root, facts, name, &info, err);
	node_release(root);
	if (rc == RC_OK && out)
		*out = lib_path_info_new(&info);
	return lib_result(rc, err, error);
}

enum castor_rc castor_nar_import(struct castor_store *store, const struct castor_op *op,
				 castor_source_fn *source, void *context, const char *name,
				 struct castor_path_info **out, struct castor_error *error)
{
	struct public_source public_source = { source, context };
	struct nar_facts facts = { 0 };
	struct node root = { 0 };
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc = store_path_check_name(view_of_string(name), &err);

	if (out)
		*out = NULL;
	if (rc == RC_OK)
		rc = nar_import(&store->services, &inner, take_bytes, &public_source, &root, &facts,
				&err);
	return publish_archive(store, &inner, rc, &root, &facts, name, out, &err, error);
}

enum castor_rc castor_tar_import(struct castor_store *store, const struct castor_op *op, int fd,
				 const char *name, struct castor_path_info **out,
				 struct castor_error *error)
{
	struct nar_facts facts = { 0 };
	struct node root = { 0 };
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc = store_path_check_name(view_of_string(name), &err);

	if (out)
		*out = NULL;
	if (rc == RC_OK)
		rc = tar_import(&store->services, &inner, fd, NULL, &root, &err);
	if (rc == RC_OK)
		rc = nar_facts_of(&store->services, &inner, &root, &facts, &err);
	return publish_archive(store, &inner, rc, &root, &facts, name, out, &err, error);
}

/* ---- Out ---- */

enum castor_rc castor_export(struct castor_store *store, const struct castor_op *op,
			     const char *path, const char *destination, struct castor_error *error)
{
	struct node node CLEANUP(node_release) = { 0 };
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc = lookup(&store->services, &inner, path, &node, NULL, &err);

	if (rc == RC_OK)
		rc = tree_export(&store->services, &inner, &node, destination, &err);
	return lib_result(rc, &err, error);
}

struct public_sink {
	castor_sink_fn *sink;
	void *context;
};

static enum rc hand_on_bytes(void *context, struct view bytes, struct err *err)
{
	const struct public_sink *sink = context;
	enum rc rc = lib_rc_from(sink->sink(sink->context, bytes.ptr, bytes.len));

	return rc == RC_OK ? rc : err_set(err, rc, "the receiver of the NAR ended it");
}

enum castor_rc castor_nar_dump(struct castor_store *store, const struct castor_op *op,
			       const char *path, castor_sink_fn *sink, void *context,
			       struct castor_error *error)
{
	struct node node CLEANUP(node_release) = { 0 };
	struct public_sink public_sink = { sink, context };
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc = lookup(&store->services, &inner, path, &node, NULL, &err);

	if (rc == RC_OK)
		rc = nar_export(&store->services, &inner, &node, hand_on_bytes, &public_sink, &err);
	return lib_result(rc, &err, error);
}
