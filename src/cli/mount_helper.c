/* From the arguments of a helper of mount(8) to those of castor mount. */
#include "cli/mount_helper.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { LISTS_MAX = 16 };

extern const struct command command_mount;

/* What mount(8) and systemd read themselves, and what a read-only filesystem without devices and
 * set-user-ID programs does anyway. */
static const char *const ignored[] = {
	"async",      "atime",      "auto",        "defaults",    "dev",
	"diratime",   "dirsync",    "exec",        "group",       "iversion",
	"lazytime",   "loud",       "mand",        "noatime",     "noauto",
	"nodev",      "nodiratime", "nofail",      "nogroup",     "noiversion",
	"nolazytime", "nomand",     "noowner",     "norelatime",  "nostrictatime",
	"nosuid",     "nouser",     "nousers",     "owner",       "relatime",
	"ro",         "rw",         "silent",      "strictatime", "suid",
	"sync",       "user",       "users",       "_netdev",     "comment",
	"helper",     "uhelper",    "nosymfollow",
};

bool mount_helper_is(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return strncmp(slash ? slash + 1 : argv0, "mount.", 6) == 0;
}

static void add(struct mount_helper *helper, char *argument)
{
	helper->argv =
		mem_realloc_array(helper->argv, (size_t)helper->argc + 2, sizeof(*helper->argv));
	helper->argv[helper->argc++] = argument;
	helper->argv[helper->argc] = NULL;
}

static bool is_ignored(const char *option, size_t name_len)
{
	if (strncmp(option, "x-", 2) == 0 || strncmp(option, "X-", 2) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		if (strlen(ignored[i]) == name_len && memcmp(option, ignored[i], name_len) == 0)
			return true;
	}
	return false;
}

/* One of -o: NAME or NAME=VALUE, with the words of castor mount's options; '_' may stand for '-'. */
static enum rc add_option(struct mount_helper *helper, const char *option, bool sloppy,
			  struct err *err)
{
	size_t name_len = strcspn(option, "=");
	AUTO_FREE char *name = mem_strndup(view_of(option, name_len));

	if (name_len == 0 || is_ignored(option, name_len))
		return RC_OK;
	for (char *at = name; *at; at++)
		*at = *at == '_' ? '-' : *at;
	if (strcmp(name, "noexec") == 0) {
		add(helper, mem_strdup("--no-exec"));
		return RC_OK;
	}
	/* The helper goes to the background, whatever is said. */
	if (strcmp(name, "daemon") == 0 || strcmp(name, "help") == 0 ||
	    !cli_has_option(&command_mount, name)) {
		if (sloppy)
			return RC_OK;
		return err_set(err, RC_INVALID,
			       "castor mount has no option \"%s\" (castor-mount(1))", name);
	}
	add(helper, mem_printf("--%s%s", name, option + name_len));
	return RC_OK;
}

/* The list of -o. A comma in a value is written "\,". */
static enum rc add_options(struct mount_helper *helper, const char *list, bool sloppy,
			   struct err *err)
{
	AUTO_FREE char *option = mem_alloc(strlen(list) + 1);
	enum rc rc = RC_OK;

	while (rc == RC_OK && *list) {
		size_t len = 0;

		for (; *list && *list != ','; list++) {
			if (*list == '\\' && (list[1] == ',' || list[1] == '\\'))
				list++;
			option[len++] = *list;
		}
		if (*list == ',')
			list++;
		option[len] = '\0';
		rc = add_option(helper, option, sloppy, err);
	}
	return rc;
}

/* The first field of a line of fstab(5). */
static enum rc add_source(struct mount_helper *helper, const char *source, struct err *err)
{
	add(helper, mem_printf("--fsname=%s", source));
	if (strcmp(source, "castor") == 0 || strcmp(source, "none") == 0)
		return RC_OK;
	if (source[0] != '/' && !strstr(source, "://"))
		return err_set(err, RC_INVALID,
			       "\"%s\" is no store: it is a URL (castor(1)), an absolute path, or "
			       "\"castor\" for the default store",
			       source);
	add(helper, mem_printf("--store=%s%s", source[0] == '/' ? "local://" : "", source));
	return RC_OK;
}

static enum rc parse(struct mount_helper *helper, int argc, char **argv, struct err *err)
{
	bool sloppy = false;
	int value;
	enum rc rc = RC_OK;
	const char *lists[LISTS_MAX];
	size_t count = 0;

	opterr = 0;
	optind = 0; /* starts anew */
	while ((value = getopt(argc, argv, "fnN:o:rst:vw")) != -1) {
		if (value == '?')
			return err_set(err, RC_INVALID, "mount(8) passes no option -%c", optopt);
		helper->fake = helper->fake || value == 'f';
		sloppy = sloppy || value == 's';
		if (value == 'o' && count == LISTS_MAX)
			return err_set(err, RC_INVALID, "-o is given too often");
		if (value == 'o')
			lists[count++] = optarg;
	}
	if (argc - optind != 2)
		return err_set(err, RC_INVALID, "usage: %s SOURCE DIR [-o OPTION,…]", argv[0]);
	rc = add_source(helper, argv[optind], err);
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = add_options(helper, lists[i], sloppy, err);
	add(helper, mem_strdup("--"));
	add(helper, mem_strdup(argv[optind + 1]));
	return rc;
}

enum rc mount_helper_init(struct mount_helper *helper, int argc, char **argv, struct err *err)
{
	*helper = (struct mount_helper){ .argv = NULL };
	add(helper, mem_strdup("castor"));
	add(helper, mem_strdup("mount"));
	add(helper, mem_strdup("--daemon"));
	return parse(helper, argc, argv, err);
}

void mount_helper_release(struct mount_helper *helper)
{
	for (int i = 0; i < helper->argc; i++)
		free(helper->argv[i]);
	free(helper->argv);
	*helper = (struct mount_helper){ .argv = NULL };
}

int mount_helper_status(enum rc rc)
{
	switch (rc) {
	case RC_OK:
		return 0;
	case RC_INVALID:
		return 1; /* wrong use */
	case RC_CANCELLED:
		return 8; /* interrupted by the user */
	default:
		return 32; /* the mount failed */
	}
}
