/* castor nar import: a NAR, or a closure of them, into the store. */
#include <errno.h>
#include <unistd.h>

#include "base/decompress.h"
#include "base/mem.h"
#include "cli/archive.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "transfer/nar.h"
#include "transfer/nar_closure.h"

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

static struct decompress_stream *open_stream(struct source *source, int argc, char **argv)
{
	return decompress_stream_new(read_source, source,
				     argc > 0 ? view_of_string(argv[0]) : view_of(NULL, 0));
}

struct nar_import_args {
	struct archive_args archive;
	bool closure;
};

static const struct cli_option options[] = {
	{ .name = "closure",
	  .kind = CLI_FLAG,
	  .help = "read what \"nix-store --export\" and \"castor nar export\" write",
	  .offset = offsetof(struct nar_import_args, closure) },
	{ .name = NULL },
};

/* ---- One NAR ---- */

static enum rc import_one(struct cli *cli, const struct archive_args *args, int argc, char **argv,
			  struct err *err)
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

	rc = archive_open(args, argc, argv, suffixes, &source.fd, &name, err);
	if (rc != RC_OK)
		return rc;
	stream = open_stream(&source, argc, argv);
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

/* ---- Many ---- */

struct told {
	struct cli *cli;
	struct buf text;
	struct json json;
};

static enum rc tell(void *context, const struct path_info *info, bool there, struct err *err)
{
	struct told *told = context;

	if (!told->cli->json) {
		show_store_path(&info->path, &told->text);
	} else {
		if (told->json.comma)
			buf_append_byte(&told->text, '\n');
		json_begin_object(&told->json);
		show_path_info_members(&told->json, info);
		json_key(&told->json, "there");
		json_bool(&told->json, there);
		json_end_object(&told->json);
	}
	return cli_write_buf(told->cli, &told->text, err);
}

static enum rc import_closure(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct told told = { .cli = cli, .text = BUF_INIT };
	struct source source = { .cli = cli };
	struct decompress_stream *stream;
	enum rc rc = archive_open_file(argc, argv, &source.fd, err);

	if (rc != RC_OK)
		return rc;
	told.json.out = &told.text;
	if (cli->json)
		json_begin_array(&told.json);
	stream = open_stream(&source, argc, argv);
	rc = cli_open_store(cli, err);
	if (rc == RC_OK)
		rc = nar_closure_import(&cli->services, &cli->op, decompress_stream_read, stream,
					tell, &told, err);
	decompress_stream_free(stream);
	archive_close(source.fd);
	if (rc == RC_OK && cli->json) {
		json_end_array(&told.json);
		buf_append_byte(&told.text, '\n');
		rc = cli_write_buf(cli, &told.text, err);
	}
	buf_release(&told.text);
	return rc;
}

static enum rc run(struct cli *cli, const void *args_, int argc, char **argv, struct err *err)
{
	const struct nar_import_args *args = args_;

	if (!args->closure)
		return import_one(cli, &args->archive, argc, argv, err);
	if (args->archive.name)
		return err_set(err, RC_INVALID,
			       "--name is for one NAR: the paths of a closure have their names");
	return import_closure(cli, argc, argv, err);
}

const struct command command_nar_import = {
	.name = "nar import",
	.arguments = "[FILE|-]",
	.summary = "store what is in a NAR, or in a closure of them, print the store paths",
	.details = "It may be compressed by xz, zstd, bzip2, gzip, lzma, lzip or lz4, or by "
		   "brotli where FILE ends in .br.",
	.shared = CLI_STORE | CLI_JSON | CLI_WRITES,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct nar_import_args),
	.group = archive_options,
	.group_offset = offsetof(struct nar_import_args, archive),
	.run = run,
};
