/* castor tar import: a tar archive into the store. */
#include "base/mem.h"
#include "cli/archive.h"
#include "cli/cli.h"
#include "transfer/nar.h"
#include "transfer/tar.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	static const char *const suffixes[] = {
		".tar.bz2", ".tar.zst", ".tar.lzma", ".tar.gz", ".tar.xz", ".tgz", ".tar", NULL,
	};
	struct node root CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct nar_facts facts;
	char *name AUTO_FREE = NULL;
	enum rc rc;
	int fd;

	rc = archive_open(options, argc, argv, suffixes, &fd, &name, err);
	if (rc != RC_OK)
		return rc;
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = tar_import(&cli->services, &cli->op, fd, &root, err);
	archive_close(fd);
	if (rc == RC_OK)
		rc = nar_facts_of(&cli->services, &cli->op, &root, &facts, err);
	if (rc != RC_OK)
		return rc;
	return archive_publish(cli, &root, &facts, name, err);
}

const struct command command_tar_import = {
	.name = "tar import",
	.arguments = "[FILE|-]",
	.summary = "store what is in a tar archive, print its store path",
	.details = "The archive may be compressed by gzip, bzip2, xz, lzma or zstd.",
	.shared = CLI_STORE | CLI_JSON,
	.most = 1,
	.options = archive_options,
	.options_size = sizeof(struct archive_args),
	.run = run,
};
