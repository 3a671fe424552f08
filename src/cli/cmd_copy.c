/* castor copy: store paths, with all that they refer to, from one store to another. */
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "transfer/copy.h"

enum { CLOSURE_FILE_MAX = 256 << 20 };

struct options {
	const char *from, *to, *closure;
};

static const struct cli_option option_table[] = {
	{ "from", 0, CLI_STRING, "URL", "the store to copy from", offsetof(struct options, from),
	  NULL },
	{ "to", 0, CLI_STRING, "URL", "the store to copy to", offsetof(struct options, to), NULL },
	{ "closure", 0, CLI_STRING, "FILE",
	  "copy also the paths that this JSON file lists, as `nix path-info --json` and "
	  "exportReferencesGraph write it (-: standard input)",
	  offsetof(struct options, closure), NULL },
	{ NULL },
};

struct copying {
	struct cli *cli;
	struct services from, to;
	struct copy_closure closure;
	struct copy_stats stats;
	struct progress progress;
};

static enum rc add_text(struct copying *copying, const char *text, struct err *err)
{
	struct store_path path;
	enum rc rc = store_path_parse(view_of_string(text), &path, err);

	if (rc != RC_OK)
		return rc;
	rc = copy_closure_add(&copying->closure, &copying->from, &copying->to, &copying->cli->op,
			      &path, err);
	return rc == RC_NOT_FOUND && !err->message[0]
		       ? err_set(err, rc, "%s: not in the store to copy from", text)
		       : rc;
}

/* ---- Closure files ---- */

static enum rc read_json(const char *name, json_t **out, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	json_error_t error;
	enum rc rc = RC_OK;

	if (strcmp(name, "-") == 0) {
		size_t got = 1;

		while (rc == RC_OK && got > 0) {
			if (text.len > CLOSURE_FILE_MAX)
				return err_set(err, RC_TOO_LARGE,
					       "standard input is larger than a closure can be");
			buf_reserve(&text, 1 << 16);
			rc = file_read_full(STDIN_FILENO, text.ptr + text.len, 1 << 16, &got,
					    "standard input", err);
			text.len += got;
		}
	} else {
		rc = file_read_path(AT_FDCWD, name, CLOSURE_FILE_MAX, &text, err);
	}
	if (rc != RC_OK)
		return rc;
	*out = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!*out)
		return err_set(err, RC_INVALID, "%s: line %d: %s", name, error.line, error.text);
	return RC_OK;
}

/* {"closure": [{"path": …}, …]}, such an array itself, or an object keyed by path, as newer nix writes it. */
static enum rc add_listed(struct copying *copying, const char *name, json_t *root, struct err *err)
{
	json_t *closure = json_object_get(root, "closure");
	const char *key;
	json_t *value;
	size_t i;
	enum rc rc = RC_OK;

	if (!closure)
		closure = root;
	if (json_is_object(closure)) {
		json_object_foreach(closure, key, value)
		{
			if (rc == RC_OK)
				rc = add_text(copying, key, err);
		}
		return rc;
	}
	if (!json_is_array(closure))
		return err_set(err, RC_INVALID, "%s: no \"closure\" in it", name);
	json_array_foreach(closure, i, value)
	{
		const char *path = json_string_value(json_object_get(value, "path"));

		if (!path)
			return err_set(err, RC_INVALID,
				       "%s: element %zu of the closure has no path", name, i);
		rc = add_text(copying, path, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc add_file(struct copying *copying, const char *name, struct err *err)
{
	json_t *root;
	enum rc rc = read_json(name, &root, err);

	if (rc != RC_OK)
		return rc;
	rc = add_listed(copying, name, root, err);
	json_decref(root);
	return rc;
}

/* ---- The command ---- */

static enum rc add_everything(struct copying *copying, const struct options *options, int argc,
			      char **argv, struct err *err)
{
	enum rc rc = RC_OK;

	for (int i = 0; rc == RC_OK && i < argc; i++)
		rc = add_text(copying, argv[i], err);
	if (rc == RC_OK && options->closure)
		rc = add_file(copying, options->closure, err);
	return rc;
}

static enum rc copy_all(struct copying *copying, struct err *err)
{
	struct cli *cli = copying->cli;
	enum rc rc = RC_OK;

	progress_start(&copying->progress);
	for (size_t i = 0; rc == RC_OK && i < copying->closure.count; i++) {
		const struct path_info *info = &copying->closure.infos[i];
		char path[STORE_PATH_ABSOLUTE_MAX + 2];

		rc = copy_path(&copying->from, &copying->to, &cli->op, info, progress_draw,
			       &copying->progress, &copying->stats, err);
		store_path_absolute(&info->path, path);
		if (rc != RC_OK)
			return err_context(err, rc, "%s", path);
		progress_clear(&copying->progress);
		strcat(path, "\n");
		rc = cli_write(cli, view_of_string(path), err);
	}
	return rc;
}

static enum rc open_store(const char *address, struct services *out, struct err *err)
{
	return store_open(&(struct store_addresses){ .store = address }, out, err);
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
	return open_store(address, out, err);
}

static enum rc run(struct cli *cli, const void *values, int argc, char **argv, struct err *err)
{
	const struct options *options = values;
	struct copying copying = { .cli = cli };
	enum rc rc;

	if (!options->from || !options->to)
		return err_set(err, RC_INVALID, "both --from and --to are needed");
	if (argc == 0 && !options->closure)
		return err_set(err, RC_INVALID,
			       "which paths? Name them, or a list of them by --closure");
	rc = open_store(options->to, &copying.to, err);
	if (rc == RC_OK)
		rc = open_source(options->from, &copying.to, &copying.from, err);
	if (rc == RC_OK)
		rc = add_everything(&copying, options, argc, argv, err);
	if (rc == RC_OK)
		rc = copy_all(&copying, err);
	copy_closure_release(&copying.closure);
	services_release(&copying.from);
	services_release(&copying.to);
	return rc;
}

const struct command command_copy = {
	.name = "copy",
	.arguments = "[PATH…]",
	.summary = "copy store paths and all that they refer to from one store to another",
	.details = "Copies only what is missing there, and prints each path once it is there "
		   "whole. A copy that was\n"
		   "interrupted goes on where it was.",
	.least = 0,
	.most = -1,
	.options = option_table,
	.options_size = sizeof(struct options),
	.run = run,
};
