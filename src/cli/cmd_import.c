/* castor import: trees into the store. */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/show.h"
#include "transfer/tree_in.h"

struct import_args {
	const char *name;
	bool no_cache;
	bool references;
	struct cli_list exclude;
	bool one_filesystem, skip_special;
	unsigned retries;
	unsigned threads;
};

static const struct cli_option options[] = {
	{ .name = "name",
	  .letter = 'n',
	  .kind = CLI_STRING,
	  .argument = "NAME",
	  .help = "name of the store path, instead of the path's last part",
	  .offset = offsetof(struct import_args, name) },
	{ .name = "no-cache",
	  .kind = CLI_FLAG,
	  .help = "read every file, even those known from an earlier import",
	  .offset = offsetof(struct import_args, no_cache) },
	{ .name = "references",
	  .kind = CLI_FLAG,
	  .help = "find the store paths that it refers to, as nix does",
	  .offset = offsetof(struct import_args, references) },
	{ .name = "exclude",
	  .letter = 'x',
	  .kind = CLI_LIST,
	  .argument = "PATTERN",
	  .help = "leave out what matches, as in a .gitignore, of the path below PATH",
	  .offset = offsetof(struct import_args, exclude) },
	{ .name = "one-file-system",
	  .kind = CLI_FLAG,
	  .help = "take what is mounted below PATH for an empty directory",
	  .offset = offsetof(struct import_args, one_filesystem) },
	{ .name = "skip-special",
	  .kind = CLI_FLAG,
	  .help = "leave out sockets, fifos and devices, with a warning",
	  .offset = offsetof(struct import_args, skip_special) },
	{ .name = "retry",
	  .kind = CLI_UNSIGNED,
	  .argument = "N",
	  .help = "where a file changes or vanishes meanwhile, begin again up to N times",
	  .offset = offsetof(struct import_args, retries) },
	{ .name = "threads",
	  .letter = 't',
	  .kind = CLI_UNSIGNED,
	  .argument = "N",
	  .help = "as many threads (default: by the processors)",
	  .offset = offsetof(struct import_args, threads) },
	{ .name = NULL },
};

static void append_result(const char *source, const struct path_info *info,
			  const struct import_progress *stats, struct json *json)
{
	json_begin_object(json);
	show_path_info_members(json, info);
	json_bytes(json, "source", view_of_string(source));
	json_key(json, "import");
	json_begin_object(json);
	json_key(json, "files");
	json_u64(json, stats->files);
	json_key(json, "directories");
	json_u64(json, stats->directories);
	json_key(json, "symlinks");
	json_u64(json, stats->symlinks);
	json_key(json, "bytes");
	json_u64(json, stats->bytes);
	json_key(json, "bytesRead");
	json_u64(json, stats->bytes_read);
	json_key(json, "bytesStored");
	json_u64(json, stats->bytes_stored);
	json_end_object(json);
	json_end_object(json);
}

/* What is stored, but not yet told of. */
struct stored {
	const char *source;
	struct path_info info;
	struct import_progress stats;
};

struct importing {
	struct cli *cli;
	const struct import_args *args;
	struct tree_exclude *exclude; /* NULL: nothing is left out */
	struct shared_commit *commit; /* NULL: each path by itself */
	struct stored *stored;
	size_t count, room;
	struct json json;
	enum rc rc; /* of what failed first */
	struct err *err;
};

/* The others are imported all the same; the first failure is the outcome. */
static void note_failure(struct importing *importing, enum rc rc, const struct err *err)
{
	if (importing->rc == RC_OK) {
		importing->rc = rc;
		*importing->err = *err;
	} else {
		cli_report(rc, err);
	}
}

static enum rc import_one(struct importing *importing, const char *path, struct err *err)
{
	const struct import_args *args = importing->args;
	struct cli *cli = importing->cli;
	struct stored stored = { .source = path };
	struct progress progress;
	struct import_options how = {
		.name = args->name,
		.no_cache = args->no_cache,
		.references = args->references,
		.exclude = importing->exclude,
		.one_filesystem = args->one_filesystem,
		.skip_special = args->skip_special,
		.retries = args->retries,
		.threads = args->threads,
		.progress = progress_draw,
		.progress_context = &progress,
	};
	struct op op = cli->op;
	enum rc rc;

	op.commit = importing->commit;
	progress_start(&progress);
	rc = tree_import(&cli->services, &op, path, &how, &stored.info, &stored.stats, err);
	if (rc != RC_OK) {
		progress_clear(&progress);
		return rc;
	}
	progress_finish(&progress, &stored.stats);
	importing->stored =
		mem_grow(importing->stored, importing->count, &importing->room, 16, sizeof(stored));
	importing->stored[importing->count++] = stored;
	return RC_OK;
}

static enum rc print_one(struct importing *importing, const struct stored *stored, struct err *err)
{
	struct buf line CLEANUP(buf_release) = BUF_INIT;

	if (importing->cli->json) {
		append_result(stored->source, &stored->info, &stored->stats, &importing->json);
		return RC_OK;
	}
	show_store_path(&stored->info.path, &line);
	return cli_write_buf(importing->cli, &line, err);
}

/* Waits until all that was stored is durable, and prints it. */
static enum rc tell(struct importing *importing)
{
	struct err err = ERR_INIT;
	/* What is stored is told of after an interrupt, too. */
	enum rc rc = shared_commit_wait(importing->commit, &op_none, &err);

	if (rc != RC_OK) {
		shared_commit_free(importing->commit);
		importing->commit = services_shared_commit(&importing->cli->services);
	}
	for (size_t i = 0; i < importing->count; i++) {
		if (rc == RC_OK)
			rc = print_one(importing, &importing->stored[i], &err);
		path_info_release(&importing->stored[i].info);
	}
	importing->count = 0;
	/* Whoever reads along may use a path at once. */
	if (rc == RC_OK)
		rc = cli_flush(importing->cli, &err);
	if (rc != RC_OK)
		note_failure(importing, rc, &err);
	return rc;
}

/* What ends the command, not just one of its paths. */
static bool ends_all(const struct cli *cli, enum rc rc)
{
	return rc == RC_CANCELLED || rc == RC_NO_SPACE || rc == RC_UNAVAILABLE ||
	       rc == RC_CERTIFICATE || cli->stdout_gone;
}

static void import_all(struct importing *importing, int argc, char **argv)
{
	bool end = false;

	for (int i = 0; i < argc && !end; i++) {
		struct err err = ERR_INIT;
		enum rc rc = import_one(importing, argv[i], &err);

		if (rc != RC_OK)
			note_failure(importing, rc, &err);
		end = i == argc - 1 || ends_all(importing->cli, rc);
		if (end || shared_commit_due(importing->commit))
			end |= ends_all(importing->cli, tell(importing));
	}
}

static enum rc run(struct cli *cli, const void *options_, int argc, char **argv, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct importing importing = {
		.cli = cli, .args = options_, .json = { .out = &text }, .err = err
	};
	enum rc rc;

	if (importing.args->name && argc > 1)
		return err_set(err, RC_INVALID, "import: --name is for one path, not for %d", argc);
	if (importing.args->exclude.count > 0) {
		rc = tree_exclude_new(importing.args->exclude.values, importing.args->exclude.count,
				      &importing.exclude, err);
		if (rc != RC_OK)
			return err_context(err, rc, "--exclude");
	}
	rc = cli_open_store(cli, err);
	if (rc != RC_OK) {
		tree_exclude_free(importing.exclude);
		return rc;
	}
	/* A path may refer to one before it, which is looked up then. */
	if (!importing.args->references)
		importing.commit = services_shared_commit(&cli->services);
	json_begin_array(&importing.json);
	import_all(&importing, argc, argv);
	json_end_array(&importing.json);
	buf_append_byte(&text, '\n');
	shared_commit_free(importing.commit);
	free(importing.stored);
	tree_exclude_free(importing.exclude);
	if (cli->json) {
		rc = cli_write_buf(cli, &text, importing.rc == RC_OK ? err : NULL);
		importing.rc = importing.rc == RC_OK ? rc : importing.rc;
	}
	return importing.rc;
}

const struct command command_import = {
	.name = "import",
	.arguments = "PATH…",
	.summary = "store files and directories, print their store paths",
	.details = "Each PATH gets the store path that \"nix-store --add\" gives it. Nothing of a "
		   "PATH is\npublished unless all of it was stored.",
	.shared = CLI_STORE | CLI_JSON | CLI_WRITES,
	.least = 1,
	.most = -1,
	.options = options,
	.options_size = sizeof(struct import_args),
	.run = run,
};
