/*
 * castor as the helper that mount(8) runs for a type of filesystem that it does not know: under the
 * name mount.fuse.castor (or mount.castor) it takes what a helper is given,
 *
 *	mount.fuse.castor SOURCE DIR [-o OPTION,…] [-sfnv] [-t TYPE] [-N NAMESPACE]
 *
 * and makes of it what castor mount takes. So /etc/fstab and .mount units work.
 */
#ifndef CASTOR_CLI_MOUNT_HELPER_H
#define CASTOR_CLI_MOUNT_HELPER_H

#include "cli/cli.h"

struct mount_helper {
	char **argv; /* of castor mount; owned, as each of its strings is */
	int argc;
	bool fake; /* -f: all but the mount itself */
};

/* Is that the name of the helper? */
bool mount_helper_is(const char *argv0);
/* RC_INVALID for an option that neither mount(8) nor castor mount has. */
enum rc mount_helper_init(struct mount_helper *helper, int argc, char **argv,
			  struct err *err) MUST_USE;
void mount_helper_release(struct mount_helper *helper);
/* The exit statuses of mount(8) are others than castor's. */
int mount_helper_status(enum rc rc);

#endif
