/* --root NAME=NODE and --list-root: what a filesystem shows at its root. */
#ifndef CASTOR_CLI_ROOTS_H
#define CASTOR_CLI_ROOTS_H

#include "cli/cli.h"
#include "fs/roots.h"

/* The nodes of the list; where it is empty, the store paths of the open store. */
enum rc cli_make_roots(struct cli *cli, const struct cli_list *nodes, bool list_root,
		       struct roots **out, struct err *err) MUST_USE;

#endif
