/* What a filesystem is told to show. */
#ifndef CASTOR_CLI_ROOTS_H
#define CASTOR_CLI_ROOTS_H

#include "cli/cli.h"
#include "fs/fs.h"
#include "fs/roots.h"

struct root_args {
	bool list_root;
	bool show_xattr;
	bool share_files;
	bool inode32;
	struct cli_list nodes;
};
extern const struct cli_option root_options[];

/* What they say beside the roots. */
void cli_fill_fs_options(const struct root_args *args, struct fs_options *options);
/* The nodes of the list; where it is empty, the store paths of the open store. */
enum rc cli_make_roots(struct cli *cli, const struct root_args *args, struct roots **out,
		       struct err *err) MUST_USE;

#endif
