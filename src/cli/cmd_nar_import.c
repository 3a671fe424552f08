/* castor nar import: a NAR into the store. */
#include <errno.h>
#include <unistd.h>

#include "base/decompress.h"
#include "base/mem.h"
#include "cli/archive.h"
#include "cli/cli.h"
#include "transfer/nar.h"

struct source {
	struct cli *cli;
	int fd;
};

static enum rc read_source(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct source *source = context;

	*got = 0;
	for (;;) {
		enum rc rc = op_check(&source->cli->op, err);
		ssize_t n;

		if (rc != RC_OK)
			return rc;
		n = read(source->fd, out, len);
		if (n >= 0) {
			*got = (size_t)n;
			return RC_OK;
		}
		if (errno != EINTR)
			return err_errno(err, errno, "cannot read the NAR");
	}
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	static const char *const suffixes[] = {
		".nar.lzma", ".nar.bz2", ".nar.lz4", ".nar.zst", ".nar.br",
		".nar.gz",   ".nar.lz",  ".nar.xz",  ".nar",     NULL,
	};
	struct node root CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct source source = { .cli = cli };
	struct decompress_stream *stream;
	struct nar_facts facts;
	char *name AUTO_FREE = NULL;
	enum rc rc;

	rc = archive_open(options, argc, argv, suffixes, &source.fd, &name, err);
	if (rc != RC_OK)
		return rc;
	stream = decompress_stream_new(read_source, &source,
				       argc > 0 ? view_of_string(argv[0]) : view_of(NULL, 0));
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = nar_import(&cli->services, &cli->op, decompress_stream_read, stream, &root,
				&facts, err);
	decompress_stream_free(stream);
	archive_close(source.fd);
	if (rc != RC_OK)
		return rc;
	return archive_publish(cli, &root, &facts, name, err);
}

const struct command command_nar_import = {
	.name = "nar import",
	.arguments = "[FILE|-]",
	.summary = "store what is in a NAR, print its store path",
	.details = "The NAR may be compressed by xz, zstd, bzip2, gzip, lzma, lzip or lz4, or by "
		   "brotli where FILE ends in .br.",
	.shared = CLI_STORE | CLI_JSON,
	.most = 1,
	.options = archive_options,
	.options_size = sizeof(struct archive_args),
	.run = run,
};
