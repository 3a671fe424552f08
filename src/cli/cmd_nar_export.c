/* castor nar export: a closure in one file. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/find.h"
#include "transfer/copy.h"
#include "transfer/ingest.h"
#include "transfer/lookup.h"
#include "transfer/nar_closure.h"

static enum rc sink(void *context, struct view bytes, struct err *err)
{
	return cli_write(context, bytes, err);
}

static enum rc add_path(struct cli *cli, const char *text, struct copy_closure *closure,
			struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	struct node node CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	enum rc rc = lookup(&cli->services, &cli->op, text, &node, &info, err);

	if (rc != RC_OK)
		return rc;
	if (!find_is_store_path(&info, &node))
		return err_set(err, RC_INVALID, "%s is no store path by itself", text);
	return copy_closure_add(closure, &cli->services, &cli->services, &cli->op, &info.path, err);
}

static int compare_infos(const void *a_, const void *b_)
{
	const struct path_info *a = a_, *b = b_;

	return store_path_compare(&a->path, &b->path);
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct copy_closure closure = { .count = 0 };
	enum rc rc;

	(void)options;
	if (cli->on_terminal)
		return err_set(err, RC_NOT_PERMITTED, "a closure is not printed to a terminal");
	rc = cli_open_store(cli, err);
	for (int i = 0; rc == RC_OK && i < argc; i++)
		rc = add_path(cli, argv[i], &closure, err);
	/* So the order is that of nix, too. */
	if (rc == RC_OK && closure.count > 0)
		qsort(closure.infos, closure.count, sizeof(*closure.infos), compare_infos);
	if (rc == RC_OK)
		rc = ingest_order(&cli->services, &cli->op, closure.infos, closure.count, err);
	if (rc == RC_OK)
		rc = nar_closure_export(&cli->services, &cli->op, closure.infos, closure.count,
					sink, cli, err);
	copy_closure_release(&closure);
	return rc;
}

const struct command command_nar_export = {
	.name = "nar export",
	.arguments = "PATH…",
	.summary = "print store paths and all that they refer to, as one file",
	.details = "What \"nix-store --import\" and \"castor nar import --closure\" read.",
	.shared = CLI_STORE,
	.least = 1,
	.most = -1,
	.run = run,
};
