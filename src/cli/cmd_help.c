/* castor help: the commands, or the options of one. */
#include "cli/cli.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	const struct command *command;
	enum rc rc = RC_OK;
	int words;

	(void)options;
	if (argc == 0)
		cli_overview(&text);
	else if (argc > 1 || !cli_group_help(argv[0], &text))
		rc = cli_find_command(argc, argv, &command, &words, err);
	if (rc != RC_OK)
		return rc;
	if (text.len == 0)
		cli_command_help(command, &text);
	return cli_write_buf(cli, &text, err);
}

const struct command command_help = {
	.name = "help",
	.arguments = "[COMMAND]",
	.summary = "print the commands, or what one of them takes",
	.most = 2,
	.run = run,
};
