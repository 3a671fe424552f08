/* castor export: a tree of the store as files on disk. */
#include "cli/cli.h"
#include "transfer/lookup.h"
#include "transfer/tree_out.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct node node CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	enum rc rc = cli_open_store(cli, err);

	(void)options, (void)argc;
	if (rc == RC_OK)
		rc = lookup(&cli->services, &cli->op, argv[0], &node, NULL, err);
	if (rc != RC_OK)
		return rc;
	rc = tree_export(&cli->services, &cli->op, &node, argv[1], err);
	return cli_name_damage(rc, argv[0], err);
}

const struct command command_export = {
	.name = "export",
	.arguments = "PATH DIR",
	.summary = "make files and directories from a path of the store",
	.details = "DIR must not exist. Modes and times are as Nix has them: 0444 or 0555, one "
		   "second after 1970.",
	.shared = CLI_STORE,
	.least = 2,
	.most = 2,
	.run = run,
};
