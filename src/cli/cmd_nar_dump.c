/* castor nar dump: a NAR of something in the store. */
#include "cli/cli.h"
#include "transfer/lookup.h"
#include "transfer/nar.h"

static enum rc sink(void *context, struct view bytes, struct err *err)
{
	return cli_write(context, bytes, err);
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct node node CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	enum rc rc;

	(void)options, (void)argc;
	if (cli->on_terminal)
		return err_set(err, RC_NOT_PERMITTED, "a NAR is not printed to a terminal");
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = lookup(&cli->services, &cli->op, argv[0], &node, NULL, err);
	if (rc != RC_OK)
		return rc;
	rc = nar_export(&cli->services, &cli->op, &node, sink, cli, err);
	return cli_name_damage(rc, argv[0], err);
}

const struct command command_nar_dump = {
	.name = "nar dump",
	.arguments = "PATH",
	.summary = "print the NAR of a path",
	.details = "The bytes are those of \"nix-store --dump\".",
	.shared = CLI_STORE,
	.least = 1,
	.most = 1,
	.run = run,
};
