/* castor info: what is known of a path or a digest. */
#include "cli/cli.h"
#include "cli/find.h"
#include "cli/show.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	struct node node CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct json json = { .out = &text };
	bool has_info;
	enum rc rc;

	(void)options, (void)argc;
	rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	rc = find_node_or_blob(cli, argv[0], &node, &info, err);
	if (rc != RC_OK)
		return rc;
	/* Of something below a store path, what is known is its node. */
	has_info = find_is_store_path(&info, &node);
	if (!cli->json) {
		if (has_info)
			show_path_info(cli, &info, &text);
		else
			show_node(cli, &node, &text);
		return cli_write_buf(cli, &text, err);
	}
	json_begin_object(&json);
	if (has_info)
		show_path_info_members(&json, &info);
	else
		show_node_members(&json, &node);
	json_end_object(&json);
	buf_append_byte(&text, '\n');
	return cli_write_buf(cli, &text, err);
}

const struct command command_info = {
	.name = "info",
	.arguments = "PATH|DIGEST",
	.summary = "print what is known of a path, a node or a digest",
	.details = "The node that it prints is what \"castor mount --root NAME=NODE\" takes.",
	.shared = CLI_STORE | CLI_JSON,
	.least = 1,
	.most = 1,
	.run = run,
};
