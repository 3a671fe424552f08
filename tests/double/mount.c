/*
 * double-mount DIR: mounts the store of CASTOR_STORE at DIR with services that can be told to hang.
 * Reads commands from standard input, one a line, and answers each with a line:
 *
 *	hang       every call hangs from here on
 *	waiting N  answers when N calls hang ("no" after ten seconds)
 *	go         no call hangs any more
 *	calls      how many calls there were
 *
 * At the end of its input it unmounts and ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "double/double.h"
#include "fs/fs.h"
#include "store/open.h"
#include "transport/mount.h"

static struct double_plan plan;

static void answer(const char *line)
{
	unsigned count;

	if (strcmp(line, "hang\n") == 0) {
		plan.hang = true;
		puts("ok");
	} else if (strcmp(line, "go\n") == 0) {
		plan.hang = false;
		puts("ok");
	} else if (strcmp(line, "calls\n") == 0) {
		printf("%u\n", plan.calls);
	} else if (sscanf(line, "waiting %u", &count) == 1) {
		puts(double_plan_wait_hanging(&plan, count) ? "ok" : "no");
	} else {
		puts("what?");
	}
	fflush(stdout);
}

static enum rc serve(const struct services *services, const char *dir, struct err *err)
{
	const struct fs_options fs_options = { .deadline_ns = 0 };
	const struct mount_options mount_options = { .no_io_uring = true };
	struct fs *fs;
	struct mount *mount;
	char line[128];
	enum rc rc = fs_new(services->blobs, services->directories,
			    roots_path_info_new(services->path_infos, true), &fs_options, &fs, err);

	if (rc != RC_OK)
		return rc;
	rc = mount_start(fs, dir, &mount_options, &mount, err);
	if (rc == RC_OK) {
		puts("mounted");
		fflush(stdout);
		while (fgets(line, sizeof(line), stdin))
			answer(line);
		mount_stop(mount);
	}
	fs_free(fs);
	return rc;
}

int main(int argc, char **argv)
{
	struct store_addresses addresses = { .store = NULL };
	struct services real = { .blobs = NULL }, doubles;
	struct err err = ERR_INIT;
	char default_store[STORE_ADDRESS_MAX];
	enum rc rc;

	if (argc != 2) {
		fputs("usage: double-mount DIR\n", stderr);
		return 2;
	}
	rc = store_addresses_complete(&addresses, default_store, &err);
	if (rc == RC_OK)
		rc = store_open(&addresses, STORE_WRITE, &real, &err);
	if (rc == RC_OK) {
		double_services(&real, &plan, &doubles);
		rc = serve(&doubles, argv[1], &err);
		services_release(&doubles);
	}
	services_release(&real);
	if (rc != RC_OK)
		fprintf(stderr, "double-mount: %s\n", err.message);
	return rc_to_exit(rc);
}
