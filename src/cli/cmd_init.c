/* castor init: makes a store where there is nothing. */
#include "cli/cli.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	(void)options;
	if (argc > 0)
		return store_open(&(struct store_addresses){ .store = argv[0] }, STORE_WRITE,
				  &cli->services, err);
	return cli_open_store(cli, err);
}

const struct command command_init = {
	.name = "init",
	.arguments = "[URL]",
	.summary = "make a store where there is nothing, or an empty directory",
	.details = "Commands that store something do that by themselves. What a store keeps for "
		   "ever is said\n"
		   "in its URL: local:///dir?compression=none&raw-files=1M. A store that is there "
		   "is left as it is.",
	.shared = CLI_STORE | CLI_WRITES,
	.most = 1,
	.run = run,
};
