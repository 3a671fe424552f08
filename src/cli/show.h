/* Path infos and nodes as people and programs read them. */
#ifndef CASTOR_CLI_SHOW_H
#define CASTOR_CLI_SHOW_H

#include "cli/cli.h"
#include "base/json.h"
#include "nix/path_info.h"

/* One object, with the keys that `nix path-info --json` uses where it has them. */
void show_path_info_json(struct json *json, const struct path_info *info);
/* The members alone, inside an object that the caller began. */
void show_path_info_members(struct json *json, const struct path_info *info);
/* Lines of "label  value". */
void show_path_info(const struct cli *cli, const struct path_info *info, struct buf *out);
/* The members "node" and what it consists of; the lines of the same. */
void show_node_members(struct json *json, const struct node *node);
void show_node(const struct cli *cli, const struct node *node, struct buf *out);
/* "312 B", or "4,096 B (4.0 KiB)". */
void show_size(uint64_t bytes, struct buf *out);
/* 1234567 as "1,234,567". */
void show_count(uint64_t count, struct buf *out);
/* The store path and a newline. */
void show_store_path(const struct store_path *path, struct buf *out);

#endif
