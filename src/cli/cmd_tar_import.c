/* castor tar import: a tar archive into the store. */
#include "base/mem.h"
#include "cli/archive.h"
#include "cli/cli.h"
#include "transfer/nar.h"
#include "transfer/tar.h"

struct tar_import_args {
	struct archive_args archive;
	unsigned strip_components;
	bool last_wins;
};

static const struct cli_option options[] = {
	{ .name = "strip-components",
	  .kind = CLI_UNSIGNED,
	  .argument = "N",
	  .help = "take N components from the front of each name, as tar does",
	  .offset = offsetof(struct tar_import_args, strip_components) },
	{ .name = "last-wins",
	  .kind = CLI_FLAG,
	  .help = "of several entries of one name take the last (default: they must be equal)",
	  .offset = offsetof(struct tar_import_args, last_wins) },
	{ .name = NULL },
};

static enum rc run(struct cli *cli, const void *args_, int argc, char **argv, struct err *err)
{
	static const char *const suffixes[] = {
		".tar.lzma", ".tar.bz2", ".tar.lz4", ".tar.zst", ".tar.gz", ".tar.lz",
		".tar.xz",   ".tgz",     ".txz",     ".tar",     NULL,
	};
	const struct tar_import_args *args = args_;
	struct tar_import_options how = { .strip_components = args->strip_components,
					  .last_wins = args->last_wins };
	struct node root CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct nar_facts facts;
	char *name AUTO_FREE = NULL;
	enum rc rc;
	int fd;

	rc = archive_open(&args->archive, argc, argv, suffixes, &fd, &name, err);
	if (rc != RC_OK)
		return rc;
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = tar_import(&cli->services, &cli->op, fd, &how, &root, err);
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
	.details = "The archive may be compressed by gzip, bzip2, xz, lzma, lzip, lz4 or zstd.",
	.shared = CLI_STORE | CLI_JSON | CLI_WRITES,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct tar_import_args),
	.group = archive_options,
	.group_offset = offsetof(struct tar_import_args, archive),
	.run = run,
};
