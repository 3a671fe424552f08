#include "cli/socket_access.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

static enum rc parse_mode(const char *text, mode_t *out, struct err *err)
{
	mode_t mode = 0;

	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '7' || mode > 0777)
			return err_set(err, RC_INVALID,
				       "--socket-mode takes an octal number, not \"%s\"", text);
		mode = mode * 8 + (mode_t)(*at - '0');
	}
	if (*text == '\0' || mode > 0777)
		return err_set(err, RC_INVALID, "--socket-mode is at most 0777, not \"%s\"", text);
	*out = mode;
	return RC_OK;
}

static enum rc parse_group(const char *text, gid_t *out, struct err *err)
{
	const struct group *group = getgrnam(text);
	uint64_t number;

	if (group)
		*out = group->gr_gid;
	else if (text_parse_u64(view_of_string(text), &number) && number < UINT32_MAX)
		*out = (gid_t)number;
	else
		return err_set(err, RC_INVALID, "--socket-group: there is no group \"%s\"", text);
	return RC_OK;
}

enum rc socket_access_parse(const struct socket_args *args, struct socket_access *out,
			    struct err *err)
{
	enum rc rc = RC_OK;

	*out = (struct socket_access){ .given = args->mode || args->group,
				       .mode = 0660,
				       .group = (gid_t)-1 };
	if (args->mode)
		rc = parse_mode(args->mode, &out->mode, err);
	if (rc == RC_OK && args->group)
		rc = parse_group(args->group, &out->group, err);
	return rc;
}

mode_t socket_access_begin(const struct socket_access *access)
{
	return access->given ? umask(0177) : 0;
}

void socket_access_end(const struct socket_access *access, mode_t before)
{
	if (access->given)
		umask(before);
}

enum rc socket_access_give(const struct socket_access *access, const char *path, struct err *err)
{
	if (!access->given)
		return RC_OK;
	if (access->group != (gid_t)-1 && lchown(path, (uid_t)-1, access->group) < 0)
		return err_errno(err, errno, "cannot give %s to group %u", path,
				 (unsigned)access->group);
	if (chmod(path, access->mode) < 0)
		return err_errno(err, errno, "cannot set the mode of %s", path);
	return RC_OK;
}
