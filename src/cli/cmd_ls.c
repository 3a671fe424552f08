/* castor ls: the entries of a directory in the store. */
#include <inttypes.h>

#include "base/mem.h"
#include "base/text.h"
#include "castore/directory.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "transfer/lookup.h"
#include "transfer/tree_directories.h"

struct ls_args {
	bool details;
	bool recursive;
	bool null;
};

static const struct cli_option options[] = {
	{ .name = "long",
	  .letter = 'l',
	  .kind = CLI_FLAG,
	  .help = "with mode, size in bytes and symlink target",
	  .offset = offsetof(struct ls_args, details) },
	{ .name = "recursive",
	  .letter = 'R',
	  .kind = CLI_FLAG,
	  .help = "and everything below, by paths relative to PATH",
	  .offset = offsetof(struct ls_args, recursive) },
	{ .name = "null",
	  .letter = '0',
	  .kind = CLI_FLAG,
	  .help = "end each name with a NUL, never escaped, instead of a newline",
	  .offset = offsetof(struct ls_args, null) },
	{ .name = NULL },
};

/* The directories on the way down; depth is bounded by the store's own limit. */
struct walk {
	struct cli *cli;
	const struct ls_args *args;
	struct tree_directories *tree; /* NULL: just one directory is listed */
	struct frame {
		struct directory *dir;
		size_t next;
		size_t prefix; /* length of the path before this directory's names */
	} frames[NODE_DEPTH_MAX];
	size_t depth;
	struct buf path; /* relative, of the entry at hand */
	struct buf line;
	struct json json; /* into line */
};

static void append_name(const struct walk *walk, struct view name, struct buf *out)
{
	if (walk->args->null)
		buf_append_view(out, name);
	else
		cli_append_name(walk->cli, name, out);
}

static void append_object(struct walk *walk, const struct node *node)
{
	if (walk->json.comma)
		buf_append_byte(&walk->line, '\n');
	json_begin_object(&walk->json);
	json_bytes(&walk->json, "name", buf_view(&walk->path));
	show_node_members(&walk->json, node);
	json_end_object(&walk->json);
}

static enum rc print_entry(struct walk *walk, const struct node *node, struct err *err)
{
	struct buf *line = &walk->line;
	static const char *const modes[] = {
		[NODE_DIRECTORY] = "dr-xr-xr-x",
		[NODE_FILE] = "-r--r--r--",
		[NODE_SYMLINK] = "lrwxrwxrwx",
	};

	if (walk->cli->json) {
		append_object(walk, node);
		return cli_write_buf(walk->cli, line, err);
	}
	if (walk->args->details) {
		const char *mode = node->executable ? "-r-xr-xr-x" : modes[node->kind];
		uint64_t size = node->kind == NODE_FILE      ? node->size
				: node->kind == NODE_SYMLINK ? node->target.len
							     : 0;

		buf_printf(line, "%s %12" PRIu64 " ", mode, size);
	}
	append_name(walk, buf_view(&walk->path), line);
	if (walk->args->details && node->kind == NODE_SYMLINK) {
		buf_append_string(line, " -> ");
		append_name(walk, node->target, line);
	}
	buf_append_byte(line, walk->args->null ? '\0' : '\n');
	return cli_write_buf(walk->cli, line, err);
}

static enum rc enter(struct walk *walk, const struct node *node, struct err *err)
{
	struct frame *frame;
	enum rc rc;

	if (walk->depth == NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "the tree is deeper than %d", NODE_DEPTH_MAX);
	frame = &walk->frames[walk->depth];
	frame->dir = NULL;
	frame->next = 0;
	frame->prefix = walk->path.len;
	rc = walk->tree ? tree_directories_get(walk->tree, &walk->cli->op, &node->digest,
					       &frame->dir, err)
			: directory_service_get(walk->cli->services.directories, &walk->cli->op,
						&node->digest, &frame->dir, err);
	if (rc == RC_NOT_FOUND && walk->depth > 0)
		rc = RC_CORRUPT; /* a parent names it, so it has to be there */
	if (rc == RC_OK)
		walk->depth++;
	return rc;
}

static enum rc step(struct walk *walk, struct err *err)
{
	struct frame *top = &walk->frames[walk->depth - 1];
	const struct node *node;
	enum rc rc;

	if (top->next == directory_count(top->dir)) {
		directory_unref(top->dir);
		walk->depth--;
		return RC_OK;
	}
	node = directory_at(top->dir, top->next++);
	walk->path.len = top->prefix;
	buf_append_view(&walk->path, node->name);
	rc = print_entry(walk, node, err);
	if (rc != RC_OK || !walk->args->recursive || node->kind != NODE_DIRECTORY)
		return rc;
	buf_append_byte(&walk->path, '/');
	rc = enter(walk, node, err);
	if (rc != RC_OK) {
		struct buf shown CLEANUP(buf_release) = BUF_INIT;

		text_printable(buf_view(&walk->path), &shown);
		err_context(err, rc, "%s", buf_string(&shown));
	}
	return rc;
}

static enum rc list_node(struct walk *walk, const struct node *root, struct view name,
			 struct err *err)
{
	enum rc rc;

	if (root->kind != NODE_DIRECTORY) {
		buf_append_view(&walk->path, name);
		return print_entry(walk, root, err);
	}
	if (walk->args->recursive)
		walk->tree = tree_directories_new(walk->cli->services.directories, &root->digest);
	rc = enter(walk, root, err);
	while (rc == RC_OK && walk->depth > 0) {
		rc = op_check(&walk->cli->op, err);
		if (rc == RC_OK)
			rc = step(walk, err);
	}
	while (walk->depth > 0)
		directory_unref(walk->frames[--walk->depth].dir);
	tree_directories_free(walk->tree);
	return rc;
}

static enum rc list_json(struct walk *walk, const struct node *root, struct view name,
			 struct err *err)
{
	enum rc rc;

	walk->json.out = &walk->line;
	json_begin_array(&walk->json);
	rc = list_node(walk, root, name, err);
	if (rc != RC_OK)
		return rc;
	json_end_array(&walk->json);
	buf_append_byte(&walk->line, '\n');
	return cli_write_buf(walk->cli, &walk->line, err);
}

static enum rc run(struct cli *cli, const void *args_, int argc, char **argv, struct err *err)
{
	const struct ls_args *args = args_;
	struct node node = { .kind = NODE_DIRECTORY };
	struct walk *walk;
	enum rc rc;

	(void)argc;
	if (cli->json && args->null)
		return err_set(err, RC_INVALID, "--null and --json exclude each other");
	rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	rc = lookup(&cli->services, &cli->op, argv[0], &node, NULL, err);
	if (rc != RC_OK)
		return rc;
	walk = mem_zalloc(sizeof(*walk));
	walk->cli = cli;
	walk->args = args;
	rc = cli->json ? list_json(walk, &node, view_of_string(argv[0]), err)
		       : list_node(walk, &node, view_of_string(argv[0]), err);
	cli_name_damage(rc, argv[0], err);
	buf_release(&walk->path);
	buf_release(&walk->line);
	mem_cleanup(&walk);
	node_release(&node);
	return rc;
}

const struct command command_ls = {
	.name = "ls",
	.arguments = "PATH",
	.summary = "list a directory of the store",
	.details =
		"PATH is a store path, or a node as \"castor info\" prints it, with or without a "
		"path below it.",
	.shared = CLI_STORE | CLI_JSON,
	.least = 1,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct ls_args),
	.run = run,
};
