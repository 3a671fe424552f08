/* castor import: trees into the store. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/show.h"
#include "transfer/tree_in.h"

struct import_args {
	const char *name;
	bool no_cache;
	bool references;
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
	json_key(json, "source");
	json_string(json, source);
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

/* Imports one path and prints it, or appends it to json. */
static enum rc import_one(struct cli *cli, const struct import_args *args, const char *path,
			  struct json *json, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	struct buf line CLEANUP(buf_release) = BUF_INIT;
	struct import_progress stats = { .files = 0 };
	struct progress progress;
	struct import_options how = {
		.name = args->name,
		.no_cache = args->no_cache,
		.references = args->references,
		.threads = args->threads,
		.progress = progress_draw,
		.progress_context = &progress,
	};
	enum rc rc;

	progress_start(&progress);
	rc = tree_import(&cli->services, &cli->op, path, &how, &info, &stats, err);
	if (rc != RC_OK) {
		progress_clear(&progress);
		return rc;
	}
	progress_finish(&progress, &stats);
	if (cli->json) {
		append_result(path, &info, &stats, json);
		return RC_OK;
	}
	show_store_path(&info.path, &line);
	rc = cli_write_buf(cli, &line, err);
	/* Whoever reads along may use a path at once. */
	return rc == RC_OK ? cli_flush(cli, err) : rc;
}

/* What ends the command, not just one of its paths. */
static bool ends_all(const struct cli *cli, enum rc rc)
{
	return rc == RC_CANCELLED || rc == RC_NO_SPACE || rc == RC_UNAVAILABLE || cli->stdout_gone;
}

static enum rc run(struct cli *cli, const void *options_, int argc, char **argv, struct err *err)
{
	const struct import_args *args = options_;
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct json json = { .out = &text };
	enum rc rc, result = RC_OK;

	if (args->name && argc > 1)
		return err_set(err, RC_INVALID, "import: --name is for one path, not for %d", argc);
	rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	json_begin_array(&json);
	for (int i = 0; i < argc; i++) {
		struct err one = ERR_INIT;

		rc = import_one(cli, args, argv[i], &json, &one);
		if (rc == RC_OK)
			continue;
		/* The others are imported all the same; the first failure is the outcome. */
		if (result == RC_OK) {
			result = rc;
			*err = one;
		} else {
			cli_report(rc, &one);
		}
		if (ends_all(cli, rc))
			break;
	}
	json_end_array(&json);
	buf_append_byte(&text, '\n');
	if (cli->json) {
		rc = cli_write_buf(cli, &text, result == RC_OK ? err : NULL);
		result = result == RC_OK ? rc : result;
	}
	return result;
}

const struct command command_import = {
	.name = "import",
	.arguments = "PATH…",
	.summary = "store files and directories, print their store paths",
	.details = "Each PATH gets the store path that \"nix-store --add\" gives it. Nothing of a "
		   "PATH is\npublished unless all of it was stored.",
	.shared = CLI_STORE | CLI_JSON,
	.least = 1,
	.most = -1,
	.options = options,
	.options_size = sizeof(struct import_args),
	.run = run,
};
