/* What a filesystem shows at its root, as the command line says it. */
#include "cli/roots.h"

#include <string.h>

#include "base/mem.h"
#include "castore/node.h"

const struct cli_option root_options[] = {
	{ .name = "inode32",
	  .kind = CLI_FLAG,
	  .help = "inode numbers of 32 bits, for old 32-bit programs",
	  .offset = offsetof(struct root_args, inode32) },
	{ .name = "list-root",
	  .letter = 'l',
	  .kind = CLI_FLAG,
	  .help = "allow listing of the filesystem's root",
	  .offset = offsetof(struct root_args, list_root) },
	{ .name = "root",
	  .letter = 'r',
	  .kind = CLI_LIST,
	  .argument = "NAME=NODE",
	  .help = "show NODE as NAME, and nothing but what is given like this",
	  .offset = offsetof(struct root_args, nodes) },
	{ .name = "share-files",
	  .kind = CLI_FLAG,
	  .help = "show equal files as hard links, which share pages",
	  .offset = offsetof(struct root_args, share_files) },
	{ .name = "show-xattr",
	  .kind = CLI_FLAG,
	  .help = "show digests as extended attributes",
	  .offset = offsetof(struct root_args, show_xattr) },
	{ .name = NULL },
};

void cli_fill_fs_options(const struct root_args *args, struct fs_options *options)
{
	options->show_xattr = args->show_xattr;
	options->share_files = args->share_files;
	options->inode32 = args->inode32;
}

static enum rc parse_root(const char *text, struct node *out, struct err *err)
{
	const char *equals = strchr(text, '=');

	if (!equals)
		return err_set(err, RC_INVALID, "--root takes NAME=NODE, not \"%s\"", text);
	enum rc rc = node_parse(view_of_string(equals + 1), out, err);
	if (rc != RC_OK)
		return err_context(err, rc, "--root %s", text);
	out->name = view_of(text, (size_t)(equals - text));
	return RC_OK;
}

enum rc cli_make_roots(struct cli *cli, const struct root_args *args, struct roots **out,
		       struct err *err)
{
	const struct cli_list *list = &args->nodes;

	*out = NULL;
	if (list->count == 0) {
		*out = roots_path_info_new(cli->services.path_infos, args->list_root);
		return RC_OK;
	}
	AUTO_FREE struct node *nodes = mem_array(list->count, sizeof(*nodes));
	for (size_t i = 0; i < list->count; i++) {
		enum rc rc = parse_root(list->values[i], &nodes[i], err);
		if (rc != RC_OK)
			return rc;
	}
	return roots_list_new(nodes, list->count, out, err);
}
