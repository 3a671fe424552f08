/* castor tar dump: a tar archive of something in the store. */
#include <poll.h>
#include <unistd.h>

#include "cli/cli.h"
#include "transfer/lookup.h"
#include "transfer/tar.h"

struct tar_dump_args {
	const char *top;
};

static const struct cli_option options[] = {
	{ .name = "top",
	  .kind = CLI_STRING,
	  .argument = "NAME",
	  .help = "put everything under this name (default: PATH's store path name)",
	  .offset = offsetof(struct tar_dump_args, top) },
	{ .name = NULL },
};

/* libarchive writes to the descriptor itself, and does not tell a closed pipe from other errors. */
static bool reader_has_gone(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

static enum rc run(struct cli *cli, const void *args_, int argc, char **argv, struct err *err)
{
	const struct tar_dump_args *args = args_;
	struct node node CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	char basename[STORE_PATH_BASENAME_MAX + 1] = "";
	const char *top = basename;
	enum rc rc;

	(void)argc;
	if (cli->on_terminal)
		return err_set(err, RC_NOT_PERMITTED, "a tar archive is not printed to a terminal");
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = lookup(&cli->services, &cli->op, argv[0], &node, &info, err);
	if (rc != RC_OK)
		return rc;
	if (args->top)
		top = args->top;
	else if (info.path.name[0] != '\0')
		store_path_basename(&info.path, basename);
	rc = tar_export(&cli->services, &cli->op, &node, top, STDOUT_FILENO, err);
	if (rc == RC_IO && reader_has_gone())
		cli->stdout_gone = true;
	return cli_name_damage(rc, argv[0], err);
}

const struct command command_tar_dump = {
	.name = "tar dump",
	.arguments = "PATH",
	.summary = "print a tar archive of a path",
	.details = "A pax archive, its entries in a fixed order, owned by root, of the time 1.",
	.shared = CLI_STORE,
	.least = 1,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct tar_dump_args),
	.run = run,
};
