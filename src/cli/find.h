/* What a person names on the command line. */
#ifndef CASTOR_CLI_FIND_H
#define CASTOR_CLI_FIND_H

#include "cli/cli.h"
#include "nix/path_info.h"

/* As lookup(), and a bare digest that no directory has may be a blob's: then *node is a file. */
enum rc find_node_or_blob(struct cli *cli, const char *text, struct node *node,
			  struct path_info *info, struct err *err) MUST_USE;

/* Of what lookup gave: is it a store path itself, and nothing below one? What lies below is never the same as
 * the whole. */
bool find_is_store_path(const struct path_info *info, const struct node *node);

#endif
