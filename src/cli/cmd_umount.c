/* castor umount: takes castor's mounts away, whichever process serves them. */
#include "cli/cli.h"
#include "transport/mount.h"

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	enum rc result = RC_OK;

	(void)cli;
	(void)options;
	for (int i = 0; i < argc; i++) {
		struct err one = ERR_INIT;
		enum rc rc = mount_umount(argv[i], &one);

		if (rc == RC_OK)
			continue;
		/* The others go all the same; the first failure is the outcome. */
		if (result == RC_OK) {
			result = rc;
			*err = one;
		} else {
			cli_report(rc, &one);
		}
	}
	return result;
}

const struct command command_umount = {
	.name = "umount",
	.arguments = "DIR…",
	.summary = "take a mount away",
	.details =
		"Whoever still uses the mount keeps it until they are done; DIR is free at once.\n"
		"Only castor's own mounts are taken away.",
	.least = 1,
	.most = -1,
	.run = run,
};
