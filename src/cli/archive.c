/* What the commands that read archives share. */
#include "cli/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/show.h"
#include "transfer/publish.h"

const struct cli_option archive_options[] = {
	{ .name = "name",
	  .letter = 'n',
	  .kind = CLI_STRING,
	  .argument = "NAME",
	  .help = "name of the store path (default: FILE's, without its suffix)",
	  .offset = offsetof(struct archive_args, name) },
	{ .name = NULL },
};

static char *name_of_file(const char *path, const char *const *suffixes)
{
	const char *slash = strrchr(path, '/');
	struct view name = view_of_string(slash ? slash + 1 : path);

	for (; *suffixes; suffixes++) {
		struct view suffix = view_of_string(*suffixes);

		if (name.len <= suffix.len)
			continue;
		if (!view_equal(view_slice(name, name.len - suffix.len, suffix.len), suffix))
			continue;
		name.len -= suffix.len;
		break;
	}
	return mem_strndup(name);
}

static bool is_standard_input(int argc, char **argv)
{
	return argc == 0 || strcmp(argv[0], "-") == 0;
}

enum rc archive_open_file(int argc, char **argv, int *fd, struct err *err)
{
	const char *path = argc > 0 ? argv[0] : "-";
	struct stat st;

	*fd = STDIN_FILENO;
	if (is_standard_input(argc, argv))
		return RC_OK;
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return err_errno(err, errno, "cannot open %s", path);
	if (fstat(*fd, &st) != 0 || !S_ISDIR(st.st_mode))
		return RC_OK;
	close(*fd);
	*fd = -1;
	return err_set(err, RC_INVALID,
		       "%s is a directory and no archive: \"castor import\" stores directories",
		       path);
}

enum rc archive_open(const struct archive_args *args, int argc, char **argv,
		     const char *const *suffixes, int *fd, char **name, struct err *err)
{
	enum rc rc;

	*fd = -1;
	*name = NULL;
	if (is_standard_input(argc, argv) && !args->name)
		return err_set(err, RC_INVALID,
			       "what comes from standard input needs a name: --name NAME");
	/* A bad name is told before an hour's worth of archive was read. */
	*name = args->name ? mem_strdup(args->name) : name_of_file(argv[0], suffixes);
	rc = store_path_check_name(view_of_string(*name), err);
	if (rc == RC_OK)
		rc = archive_open_file(argc, argv, fd, err);
	if (rc != RC_OK)
		mem_cleanup(name);
	if (rc != RC_OK)
		*name = NULL;
	return rc;
}

void archive_close(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

enum rc archive_publish(struct cli *cli, const struct node *root, const struct nar_facts *facts,
			const char *name, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct json json = { .out = &text };
	enum rc rc;

	rc = publish_recursive(&cli->services, &cli->op, root, facts, name, &info, err);
	if (rc != RC_OK)
		return rc;
	if (cli->json) {
		show_path_info_json(&json, &info);
		buf_append_byte(&text, '\n');
	} else {
		show_store_path(&info.path, &text);
	}
	return cli_write_buf(cli, &text, err);
}
