/*
 * castor's main: finds the command, gives it its options, and turns its outcome into an exit
 * status. Signals are handled here and nowhere else.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#ifdef CASTOR_WITH_FUSE
#include "cli/mount_helper.h"
#endif

#define COMMAND(name) extern const struct command command_##name;
#include "cli/commands.def"
#undef COMMAND

const struct command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "cli/commands.def"
#undef COMMAND
};
const size_t command_count = ARRAY_LEN(commands);

static atomic_bool interrupted;
static int interrupted_fd = -1;

/* The first signal asks the command to end; a command that does not is ended by the second. */
static void on_signal(int signum)
{
	int saved = errno;
	uint64_t one = 1;

	if (atomic_exchange(&interrupted, true)) {
		signal(signum, SIG_DFL);
		raise(signum); /* arrives when this handler returns */
	} else if (write(interrupted_fd, &one, sizeof(one)) < 0) {
		/* An eventfd that is full is as readable as one that is not. */
	}
	errno = saved;
}

/* What nohup or a shell's background job had ignored stays ignored. */
static void end_at(int signum)
{
	const struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: waits end */
	struct sigaction before;

	if (sigaction(signum, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
		return;
	sigaction(signum, &action, NULL);
}

static void handle_signals(void)
{
	end_at(SIGINT);
	end_at(SIGTERM);
	/* A closed pipe or socket is an error where it is written to, not a death. */
	signal(SIGPIPE, SIG_IGN);
}

void cli_hangup_ends(void)
{
	end_at(SIGHUP);
}

static int hangup_fd = -1;

static void on_hangup(int signum)
{
	int saved = errno;
	uint64_t one = 1;

	(void)signum;
	if (write(hangup_fd, &one, sizeof(one)) < 0) {
		/* Full: it is readable already. */
	}
	errno = saved;
}

int cli_hangup_fd(void)
{
	struct sigaction action = { .sa_handler = on_hangup, .sa_flags = SA_RESTART };

	if (hangup_fd < 0)
		hangup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigaction(SIGHUP, &action, NULL);
	return hangup_fd;
}

/* A store's file must never get the number of a standard descriptor that was closed: what is
 * printed would go into it. The stand-ins fail when they are used. */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			abort();
	}
}

static enum rc write_overview(struct cli *cli, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	cli_overview(&text);
	return cli_write_buf(cli, &text, err);
}

static enum rc run_command(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	void *options = NULL;
	int words, first;
	bool help;
	enum rc rc;

	rc = cli_find_command(argc - 1, argv + 1, &cli->command, &words, err);
	if (rc != RC_OK)
		return rc;
	argc -= words;
	argv += words;
	cli->writes = cli->command->shared & CLI_WRITES;
	rc = cli_parse_options(cli, argc, argv, &options, &first, &help, err);
	if (rc == RC_OK && help) {
		cli_command_help(cli->command, &text);
		rc = cli_write_buf(cli, &text, err);
	} else if (rc == RC_OK) {
		rc = cli->command->run(cli, options, argc - first, argv + first, err);
	}
	cli_free_options(cli->command, options);
	return rc;
}

static enum rc run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static char version[] = "version";

	if (argc < 2) {
		struct buf text CLEANUP(buf_release) = BUF_INIT;

		cli_overview(&text);
		fputs(buf_string(&text), stderr);
		return err_set(err, RC_INVALID, "which command?");
	}
	cli_hoist_command(argc, argv);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return write_overview(cli, err);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		argv[1] = version;
	return run_command(cli, argc, argv, err);
}

#ifdef CASTOR_WITH_FUSE

/* As the helper of mount(8). */
static enum rc run_as_mount_helper(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct mount_helper helper;
	enum rc rc = mount_helper_init(&helper, argc, argv, err);

	if (rc == RC_OK && !helper.fake)
		rc = run(cli, helper.argc, helper.argv, err);
	mount_helper_release(&helper);
	return rc;
}

#else

static bool mount_helper_is(const char *argv0)
{
	(void)argv0;
	return false;
}

static enum rc run_as_mount_helper(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli, (void)argc, (void)argv;
	return err_set(err, RC_UNSUPPORTED, "this castor was built without fuse");
}

static int mount_helper_status(enum rc rc)
{
	return rc_to_exit(rc);
}

#endif

/* Each arena of malloc takes 64 MiB of address space, where that is scarce. */
static void save_address_space(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		mallopt(M_ARENA_MAX, 1);
}

int main(int argc, char **argv)
{
	struct cli cli = { .op = { .cancel = &interrupted } };
	struct err err = ERR_INIT, flush_err = ERR_INIT;
	enum rc rc, flushed;

	save_address_space();
	fill_standard_descriptors();
	cli.on_terminal = isatty(STDOUT_FILENO) == 1;
	cli.signal_fd = interrupted_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	handle_signals();

	bool helper = argc > 0 && mount_helper_is(argv[0]);
	rc = helper ? run_as_mount_helper(&cli, argc, argv, &err) : run(&cli, argc, argv, &err);
	services_release(&cli.services);
	free(cli.upstreams.values);

	flushed = cli_flush(&cli, &flush_err);
	if (rc == RC_OK && flushed != RC_OK) {
		rc = flushed;
		err = flush_err;
	}
	if (rc == RC_OK)
		return 0;
	if (cli.stdout_gone && (rc == RC_IO || rc == flushed)) {
		/* `castor list | head`: ends as every program does whose reader has gone. */
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	cli_report(rc, &err);
	return helper ? mount_helper_status(rc) : rc_to_exit(rc);
}
