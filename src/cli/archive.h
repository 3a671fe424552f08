/* What the commands that read archives share. */
#ifndef CASTOR_CLI_ARCHIVE_H
#define CASTOR_CLI_ARCHIVE_H

#include "cli/cli.h"
#include "nix/path_info.h"

struct archive_args {
	const char *name;
};
extern const struct cli_option archive_options[];

/* The descriptor of FILE or of standard input. A directory is RC_INVALID, and the sentence says what takes
 * directories. *fd is to be closed by archive_close. */
enum rc archive_open_file(int argc, char **argv, int *fd, struct err *err) MUST_USE;
/* The same, and the name that the store path gets: --name, or
 * the file's without any of the suffixes (a NULL-terminated list, longest first). *name is owned. */
enum rc archive_open(const struct archive_args *args, int argc, char **argv,
		     const char *const *suffixes, int *fd, char **name, struct err *err) MUST_USE;
void archive_close(int fd);
/* Publishes the node under that name, and prints its store path. */
enum rc archive_publish(struct cli *cli, const struct node *root, const struct nar_facts *facts,
			const char *name, struct err *err) MUST_USE;

#endif
