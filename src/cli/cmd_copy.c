/* castor copy: store paths, with all that they refer to, from one store to another, or from the disk on
 * which nix keeps them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/closure_file.h"
#include "base/json.h"
#include "cli/progress.h"
#include "transfer/copy.h"
#include "transfer/ingest.h"

struct options {
	const char *from, *to, *closure, *root;
};

static const struct cli_option option_table[] = {
	{ "from", 0, CLI_STRING, "URL", "the store to copy from (without it: the disk)",
	  offsetof(struct options, from), NULL },
	{ "to", 0, CLI_STRING, "URL",
	  "the store to copy to (default: --store and what stands for it)",
	  offsetof(struct options, to), NULL },
	{ "closure", 0, CLI_STRING, "FILE",
	  "copy the paths that this JSON file lists, as `nix path-info --json` and "
	  "exportReferencesGraph write it (-: standard input)",
	  offsetof(struct options, closure), NULL },
	{ "root", 0, CLI_STRING, "DIR", "on the disk, the paths lie below DIR/nix/store",
	  offsetof(struct options, root), NULL },
	{ NULL },
};

struct copying {
	struct cli *cli;
	struct services from;
	const struct services *to; /* the command's */
	struct copy_closure closure;
	struct copy_stats stats;
	struct progress progress;
	struct json json;
	struct buf text;
};

/* ---- What is printed ---- */

/* A path is there: its line, or its part of the JSON. */
static enum rc print_path(struct copying *copying, const struct path_info *info, bool there,
			  struct err *err)
{
	char path[STORE_PATH_ABSOLUTE_MAX + 2];
	enum rc rc;

	store_path_absolute(&info->path, path);
	progress_clear(&copying->progress);
	if (!copying->cli->json) {
		strcat(path, "\n");
		rc = cli_write(copying->cli, view_of_string(path), err);
		/* Whoever reads along may use a path at once. */
		return rc == RC_OK ? cli_flush(copying->cli, err) : rc;
	}
	json_begin_object(&copying->json);
	json_key(&copying->json, "path");
	json_string(&copying->json, path);
	json_key(&copying->json, "narSize");
	json_u64(&copying->json, info->nar_size);
	json_key(&copying->json, "copied");
	json_bool(&copying->json, !there);
	json_end_object(&copying->json);
	return RC_OK;
}

/* ---- From another store ---- */

static enum rc add_path(struct copying *copying, const struct store_path *path, struct err *err)
{
	char text[STORE_PATH_ABSOLUTE_MAX + 1];
	enum rc rc = copy_closure_add(&copying->closure, &copying->from, copying->to,
				      &copying->cli->op, path, err);

	store_path_absolute(path, text);
	return rc == RC_NOT_FOUND && !err->message[0]
		       ? err_set(err, rc, "%s: not in the store to copy from", text)
		       : rc;
}

static enum rc add_everything(struct copying *copying, const struct options *options, int argc,
			      char **argv, struct err *err)
{
	struct closure_file file CLEANUP(closure_file_release) = { 0 };
	enum rc rc = RC_OK;

	for (int i = 0; rc == RC_OK && i < argc; i++) {
		struct store_path path;

		rc = store_path_parse(view_of_string(argv[i]), &path, err);
		if (rc == RC_OK)
			rc = add_path(copying, &path, err);
	}
	if (rc == RC_OK && options->closure)
		rc = closure_file_read(options->closure, false, &file, err);
	for (size_t i = 0; rc == RC_OK && i < file.count; i++)
		rc = add_path(copying, &file.infos[i].path, err);
	return rc;
}

static enum rc copy_all(struct copying *copying, struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < copying->closure.count; i++) {
		const struct path_info *info = &copying->closure.infos[i];
		uint64_t there = copying->stats.paths_there;
		char path[STORE_PATH_ABSOLUTE_MAX + 1];

		rc = copy_path(&copying->from, copying->to, &copying->cli->op, info, progress_draw,
			       &copying->progress, &copying->stats, err);
		store_path_absolute(&info->path, path);
		if (rc != RC_OK)
			return err_context(err, rc, "%s", path);
		rc = print_path(copying, info, copying->stats.paths_there > there, err);
	}
	return rc;
}

/* A binary cache keeps no blobs and directories: what is asked of it comes to `to` by that. */
static enum rc open_source(const char *address, const struct services *to, struct services *out,
			   struct err *err)
{
	static const char *const caches[] = { "nix+http:", "nix+https:", "http:", "https:" };

	for (size_t i = 0; i < ARRAY_LEN(caches); i++) {
		if (strncmp(address, caches[i], strlen(caches[i])) == 0) {
			*out = services_ref(to);
			return store_add_upstream(address, out, err);
		}
	}
	return store_open(&(struct store_addresses){ .store = address }, out, err);
}

static enum rc copy_from_store(struct copying *copying, const struct options *options, int argc,
			       char **argv, struct err *err)
{
	enum rc rc;

	if (argc == 0 && !options->closure)
		return err_set(err, RC_INVALID,
			       "which paths? Name them, or a list of them by --closure");
	if (options->root)
		return err_set(err, RC_INVALID,
			       "--root is for copying from the disk, without --from");
	rc = open_source(options->from, copying->to, &copying->from, err);
	if (rc == RC_OK)
		rc = add_everything(copying, options, argc, argv, err);
	return rc == RC_OK ? copy_all(copying, err) : rc;
}

/* ---- From the disk ---- */

/* The file that lists the paths: said, or the one that a derivation's builder finds its attributes in. */
static enum rc list_name(const struct options *options, int argc, char **argv, const char **out,
			 struct err *err)
{
	*out = options->closure;
	if (argc > 1 || (argc == 1 && options->closure))
		return err_set(err, RC_INVALID,
			       "from the disk, one file lists all paths (--from URL copies from a "
			       "store)");
	if (argc == 1)
		*out = argv[0];
	if (!*out)
		*out = getenv("NIX_ATTRS_JSON_FILE");
	return *out && **out ? RC_OK
			     : err_set(err, RC_INVALID,
				       "which paths? Name a file that lists them, or a store by "
				       "--from");
}

/* there[i]: the store had that path before. */
static enum rc tell(struct copying *copying, struct shared_commit *commit,
		    const struct path_info *infos, const bool *there, size_t count, struct err *err)
{
	/* What is stored is told of after an interrupt, too. */
	enum rc rc = shared_commit_wait(commit, &op_none, err);

	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = print_path(copying, &infos[i], there[i], err);
	return rc;
}

static enum rc ingest_all(struct copying *copying, const struct options *options,
			  const struct closure_file *file, struct err *err)
{
	struct shared_commit *commit AUTO_SHARED_COMMIT = services_shared_commit(copying->to);
	struct import_options how = { .progress = progress_draw,
				      .progress_context = &copying->progress };
	bool *there AUTO_FREE = mem_array(file->count + 1, sizeof(*there));
	const char *root = options->root ? options->root : "";
	struct op op = copying->cli->op;
	struct import_progress stats;
	size_t stored = 0, told = 0;
	enum rc rc = RC_OK;

	op.commit = commit;
	while (rc == RC_OK && stored < file->count) {
		rc = ingest_path(copying->to, &op, root, &file->infos[stored], &how, &there[stored],
				 &stats, err);
		if (rc != RC_OK)
			break;
		stored++;
		if (stored < file->count && !shared_commit_due(commit))
			continue;
		rc = tell(copying, commit, file->infos + told, there + told, stored - told, err);
		told = stored;
	}
	/* The failure is that of a path; those before it are there. */
	if (told < stored)
		(void)tell(copying, commit, file->infos + told, there + told, stored - told, NULL);
	return rc;
}

static enum rc copy_from_disk(struct copying *copying, const struct options *options, int argc,
			      char **argv, struct err *err)
{
	struct closure_file file CLEANUP(closure_file_release) = { 0 };
	const char *name;
	enum rc rc = list_name(options, argc, argv, &name, err);

	if (rc == RC_OK)
		rc = closure_file_read(name, true, &file, err);
	if (rc == RC_OK)
		rc = ingest_order(copying->to, &copying->cli->op, file.infos, file.count, err);
	return rc == RC_OK ? ingest_all(copying, options, &file, err) : rc;
}

/* ---- */

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct copying copying = { .cli = cli };
	enum rc rc;

	copying.json.out = &copying.text;
	if (options->to)
		rc = store_open(&(struct store_addresses){ .store = options->to }, &cli->services,
				err);
	else
		rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	copying.to = &cli->services;
	progress_start(&copying.progress);
	json_begin_array(&copying.json);
	rc = options->from ? copy_from_store(&copying, options, argc, argv, err)
			   : copy_from_disk(&copying, options, argc, argv, err);
	json_end_array(&copying.json);
	buf_append_byte(&copying.text, '\n');
	progress_clear(&copying.progress);
	if (cli->json) {
		enum rc written = cli_write_buf(cli, &copying.text, rc == RC_OK ? err : NULL);

		rc = rc == RC_OK ? written : rc;
	}
	copy_closure_release(&copying.closure);
	services_release(&copying.from);
	buf_release(&copying.text);
	return rc;
}

const struct command command_copy = {
	.name = "copy",
	.arguments = "[PATH… | FILE]",
	.summary = "copy store paths and all that they refer to from one store to another",
	.details = "With --from, each PATH is copied from that store. Without, the paths that FILE "
		   "(or\n"
		   "NIX_ATTRS_JSON_FILE) lists are taken from the disk, and checked against what "
		   "it says\n"
		   "of them. Copies only what is missing, and prints each path once it is there "
		   "whole. A\n"
		   "copy that was interrupted goes on where it was.",
	.shared = CLI_STORE | CLI_JSON,
	.least = 0,
	.most = -1,
	.options = option_table,
	.options_size = sizeof(struct options),
	.run = run,
};
