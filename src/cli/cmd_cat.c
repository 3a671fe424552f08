/* castor cat: the contents of files in the store. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/find.h"

enum { CAT_BUFFER = 1 << 20 };

static enum rc copy_out(struct cli *cli, struct blob_reader *reader, struct err *err)
{
	void *bytes AUTO_FREE = mem_alloc(CAT_BUFFER);
	uint64_t offset = 0;

	for (;;) {
		size_t got;
		enum rc rc;

		blob_reader_will_need(reader, offset + CAT_BUFFER, CAT_BUFFER);
		rc = blob_reader_pread(reader, &cli->op, bytes, CAT_BUFFER, offset, &got, err);
		if (rc != RC_OK)
			return rc;
		if (got == 0)
			return RC_OK;
		rc = cli_write(cli, view_of(bytes, got), err);
		if (rc != RC_OK)
			return rc;
		offset += got;
	}
}

static enum rc cat(struct cli *cli, const char *text, struct err *err)
{
	struct node node CLEANUP(node_release) = { .kind = NODE_FILE };
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	enum rc rc = find_node_or_blob(cli, text, &node, NULL, err);

	if (rc != RC_OK)
		return rc;
	if (node.kind == NODE_DIRECTORY)
		return err_set(err, RC_INVALID, "it is a directory: %s", text);
	if (node.kind == NODE_SYMLINK)
		return err_set(err, RC_INVALID, "it is a symlink to \"%.*s\": %s",
			       (int)node.target.len, (const char *)node.target.ptr, text);
	rc = blob_service_open_read(cli->services.blobs, &cli->op, &node.digest, node.size, &reader,
				    err);
	if (rc == RC_OK)
		rc = copy_out(cli, reader, err);
	return cli_name_damage(rc, text, err);
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	enum rc rc = cli_open_store(cli, err);

	(void)options;
	for (int i = 0; rc == RC_OK && i < argc; i++)
		rc = cat(cli, argv[i], err);
	return rc;
}

const struct command command_cat = {
	.name = "cat",
	.arguments = "PATH…",
	.summary = "print files of the store",
	.details = "PATH is a store path or a node as \"castor info\" prints it, with or without a "
		   "path below it,\nor the digest of a blob.",
	.shared = CLI_STORE,
	.least = 1,
	.most = -1,
	.run = run,
};
