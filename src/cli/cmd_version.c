/* castor version */
#include "cli/cli.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	(void)options, (void)argc, (void)argv;
	return cli_write(cli, view_of_string("castor " CASTOR_VERSION "\n"), err);
}

const struct command command_version = {
	.name = "version",
	.summary = "print the version",
	.run = run,
};
