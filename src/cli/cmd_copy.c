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
	bool all, keep_going;
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
	{ "all", 'a', CLI_FLAG, NULL, "copy every path of the store to copy from",
	  offsetof(struct options, all), NULL },
	{ "keep-going", 'k', CLI_FLAG, NULL,
	  "where a path cannot be copied, go on with those that do not refer to it",
	  offsetof(struct options, keep_going), NULL },
	{ NULL },
};

enum outcome { COPIED, THERE, FAILED };

struct copying {
	struct cli *cli;
	const struct options *options;
	struct services from;
	const struct services *to; /* the command's */
	struct copy_closure closure;
	enum outcome *outcomes; /* of the closure's paths, as far as it is */
	size_t told;            /* so many of them */
	struct copy_stats stats;
	struct progress progress;
	struct json json;
	struct buf text;
	enum rc rc; /* of what failed first */
	struct err first;
};

/* ---- What is printed ---- */

/* A path is there: its line, or its part of the JSON. */
static enum rc print_path(struct copying *copying, const struct path_info *info, bool there,
			  struct err *err)
{
	char path[STORE_PATH_ABSOLUTE_MAX + 2];

	store_path_absolute(&info->path, path);
	progress_clear(&copying->progress);
	if (!copying->cli->json) {
		strcat(path, "\n");
		return cli_write(copying->cli, view_of_string(path), err);
	}
	json_begin_object(&copying->json);
	json_key(&copying->json, "path");
	json_text(&copying->json, path);
	json_key(&copying->json, "narSize");
	json_u64(&copying->json, info->nar_size);
	json_key(&copying->json, "copied");
	json_bool(&copying->json, !there);
	json_end_object(&copying->json);
	return RC_OK;
}

/* What ends the command, not just one of its paths. */
static bool ends_all(const struct cli *cli, enum rc rc)
{
	return rc == RC_CANCELLED || rc == RC_NO_SPACE || rc == RC_UNAVAILABLE ||
	       rc == RC_CERTIFICATE || cli->stdout_gone;
}

/* RC_OK: the others go on. The first failure is the command's. failed NULL: the sentence alone says which it
 * is. */
static enum rc note_failure(void *context, const struct store_path *failed, enum rc rc,
			    struct err *err)
{
	struct copying *copying = context;
	char path[STORE_PATH_ABSOLUTE_MAX + 1];

	if (!copying->options->keep_going || ends_all(copying->cli, rc))
		return rc;
	if (copying->cli->json) {
		json_begin_object(&copying->json);
		if (failed) {
			store_path_absolute(failed, path);
			json_key(&copying->json, "path");
			json_text(&copying->json, path);
		}
		json_key(&copying->json, "error");
		json_text(&copying->json, err->message);
		json_end_object(&copying->json);
	}
	progress_clear(&copying->progress);
	if (copying->rc == RC_OK) {
		copying->rc = rc;
		copying->first = *err;
	} else {
		cli_report(rc, err);
	}
	return RC_OK;
}

/* Waits until what was stored is durable, and tells of it. */
static enum rc tell(struct copying *copying, struct shared_commit *commit, size_t count,
		    struct err *err)
{
	/* What is stored is told of after an interrupt, too. */
	enum rc rc = shared_commit_wait(commit, &op_none, err);

	for (; rc == RC_OK && copying->told < count; copying->told++) {
		enum outcome outcome = copying->outcomes[copying->told];

		if (outcome != FAILED)
			rc = print_path(copying, &copying->closure.infos[copying->told],
					outcome == THERE, err);
	}
	/* Whoever reads along may use a path at once. */
	return rc == RC_OK ? cli_flush(copying->cli, err) : rc;
}

/* ---- All paths of the closure, in its order ---- */

static enum rc copy_one(struct copying *copying, const struct op *op, const struct path_info *info,
			bool *there, struct err *err)
{
	const struct options *options = copying->options;
	const struct store_path *blocked = copy_closure_blocked(&copying->closure, info);
	struct import_options how = { .progress = progress_draw,
				      .progress_context = &copying->progress };
	char path[STORE_PATH_ABSOLUTE_MAX + 1], reference[STORE_PATH_ABSOLUTE_MAX + 1];
	struct import_progress stats;

	if (blocked) {
		store_path_absolute(&info->path, path);
		store_path_absolute(blocked, reference);
		return err_set(err, RC_FAILED_PRECONDITION,
			       "%s: not copied, for it refers to %s, which could not be copied",
			       path, reference);
	}
	if (options->from)
		return copy_path(&copying->from, copying->to, op, info, how.progress,
				 how.progress_context, &copying->stats, there, err);
	return ingest_path(copying->to, op, options->root ? options->root : "", info, &how, there,
			   &stats, err);
}

static enum rc copy_all(struct copying *copying, struct err *err)
{
	struct shared_commit *commit AUTO_SHARED_COMMIT = services_shared_commit(copying->to);
	struct op op = copying->cli->op;
	struct copy_closure *closure = &copying->closure;
	size_t done = 0;
	enum rc rc = RC_OK;

	op.commit = commit;
	copying->outcomes = mem_array(closure->count + 1, sizeof(*copying->outcomes));
	while (rc == RC_OK && done < closure->count) {
		const struct path_info *info = &closure->infos[done];
		bool there = false;

		rc = copy_one(copying, &op, info, &there, err);
		copying->outcomes[done] = rc != RC_OK ? FAILED : there ? THERE : COPIED;
		if (rc != RC_OK) {
			copy_closure_fail(closure, &info->path);
			rc = note_failure(copying, &info->path, rc, err);
		}
		if (rc != RC_OK)
			break;
		done++;
		if (done == closure->count || shared_commit_due(commit))
			rc = tell(copying, commit, done, err);
	}
	/* The failure is that of a path; those before it are there. */
	if (copying->told < done)
		(void)tell(copying, commit, done, NULL);
	return rc;
}

/* ---- From another store ---- */

static enum rc add_path(struct copying *copying, const struct store_path *path, struct err *err)
{
	return copy_closure_add(&copying->closure, &copying->from, copying->to, &copying->cli->op,
				path, err);
}

/* Each that the source lists; what is damaged there is told of, and the rest goes on. */
static enum rc add_all(struct copying *copying, struct err *err)
{
	struct path_info_iter *iter;
	bool end = false;
	enum rc rc = path_info_service_list(copying->from.path_infos, &copying->cli->op, NULL,
					    &iter, err);

	while (rc == RC_OK && !end) {
		struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };

		rc = path_info_iter_next(iter, &copying->cli->op, &info, &end, err);
		if (rc == RC_OK && !end)
			rc = add_path(copying, &info.path, err);
		else if (rc != RC_OK && path_info_iter_goes_on(iter))
			rc = note_failure(copying, NULL, rc, err);
	}
	path_info_iter_free(iter);
	return rc;
}

static enum rc add_everything(struct copying *copying, int argc, char **argv, struct err *err)
{
	struct closure_file file CLEANUP(closure_file_release) = { 0 };
	const struct options *options = copying->options;
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
	return rc == RC_OK && options->all ? add_all(copying, err) : rc;
}

/* A binary cache keeps no blobs and directories: what is asked of it comes to `to` by that. */
static enum rc open_source(const char *address, const struct services *to, struct services *out,
			   struct err *err)
{
	static const char *const caches[] = { "nix+http:", "nix+https:", "http:", "https:" };

	for (size_t i = 0; i < ARRAY_LEN(caches); i++) {
		if (strncmp(address, caches[i], strlen(caches[i])) == 0) {
			*out = services_ref(to);
			return store_add_upstream(address, true, out, err);
		}
	}
	return store_open(&(struct store_addresses){ .store = address }, STORE_READ, out, err);
}

static enum rc copy_from_store(struct copying *copying, int argc, char **argv, struct err *err)
{
	const struct options *options = copying->options;
	bool named = argc > 0 || options->closure;
	enum rc rc;

	if (named == options->all)
		return err_set(err, RC_INVALID,
			       "which paths? Name them, or a list of them by --closure, or say "
			       "--all");
	if (options->root)
		return err_set(err, RC_INVALID,
			       "--root is for copying from the disk, without --from");
	rc = open_source(options->from, copying->to, &copying->from, err);
	if (rc == RC_OK)
		rc = add_everything(copying, argc, argv, err);
	if (rc != RC_OK)
		return rc;
	copy_closure_order(&copying->closure);
	return copy_all(copying, err);
}

/* ---- From the disk ---- */

/* The file that lists the paths: said, or the one that a derivation's builder finds its attributes in. */
static enum rc list_name(const struct options *options, int argc, char **argv, const char **out,
			 struct err *err)
{
	*out = options->closure;
	if (options->all)
		return err_set(err, RC_INVALID, "--all is for copying from a store, with --from");
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

static enum rc copy_from_disk(struct copying *copying, int argc, char **argv, struct err *err)
{
	struct closure_file file CLEANUP(closure_file_release) = { 0 };
	const char *name;
	enum rc rc = list_name(copying->options, argc, argv, &name, err);

	if (rc == RC_OK)
		rc = closure_file_read(name, true, &file, err);
	if (rc == RC_OK)
		rc = ingest_order(copying->to, &copying->cli->op, file.infos, file.count, err);
	if (rc != RC_OK)
		return rc;
	copying->closure.infos = file.infos;
	copying->closure.count = file.count;
	copying->closure.room = file.room;
	file = (struct closure_file){ 0 };
	return copy_all(copying, err);
}

/* ---- */

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct copying copying = { .cli = cli, .options = options };
	enum rc rc;

	copying.json.out = &copying.text;
	if (options->to)
		rc = store_open(&(struct store_addresses){ .store = options->to }, STORE_WRITE,
				&cli->services, err);
	else
		rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	copying.to = &cli->services;
	progress_start(&copying.progress);
	json_begin_array(&copying.json);
	copying.closure.failed = note_failure;
	copying.closure.context = &copying;
	rc = options->from ? copy_from_store(&copying, argc, argv, err)
			   : copy_from_disk(&copying, argc, argv, err);
	if (copying.rc != RC_OK) {
		/* What ended it is told of, too. */
		if (rc != RC_OK)
			cli_report(rc, err);
		rc = copying.rc;
		*err = copying.first;
	}
	json_end_array(&copying.json);
	buf_append_byte(&copying.text, '\n');
	progress_clear(&copying.progress);
	if (cli->json) {
		enum rc written = cli_write_buf(cli, &copying.text, rc == RC_OK ? err : NULL);

		rc = rc == RC_OK ? written : rc;
	}
	copy_closure_release(&copying.closure);
	free(copying.outcomes);
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
	.shared = CLI_STORE | CLI_JSON | CLI_WRITES,
	.least = 0,
	.most = -1,
	.options = option_table,
	.options_size = sizeof(struct options),
	.run = run,
};
