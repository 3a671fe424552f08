/*
 * castor mount: a store as a filesystem, until it is unmounted or a signal comes.
 *
 * With --daemon the process forks before it opens anything (an LMDB environment does not survive a
 * fork); the parent ends when the child says through a pipe that the mount is there, or why not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/roots.h"
#include "fs/fs.h"
#include "fs/roots.h"
#include "transport/mount.h"

struct mount_args {
	bool allow_other;
	bool passthrough;
	bool daemon;
	bool no_exec;
	bool no_io_uring;
	const char *fsname;
	unsigned threads;
	struct root_args roots;
};

static const struct cli_option options[] = {
	{ .name = "allow-other",
	  .kind = CLI_FLAG,
	  .help = "let other users in",
	  .offset = offsetof(struct mount_args, allow_other),
	  .variable = "ALLOW_OTHER" },
	{ .name = "passthrough",
	  .kind = CLI_FLAG,
	  .help = "let the kernel read the store's raw files itself (root)",
	  .offset = offsetof(struct mount_args, passthrough) },
	{ .name = "daemon",
	  .letter = 'd',
	  .kind = CLI_FLAG,
	  .help = "go on in the background once the mount is there",
	  .offset = offsetof(struct mount_args, daemon) },
	{ .name = "fsname",
	  .kind = CLI_STRING,
	  .argument = "NAME",
	  .help = "the source that /proc/mounts shows (default: castor)",
	  .offset = offsetof(struct mount_args, fsname) },
	{ .name = "no-exec",
	  .kind = CLI_FLAG,
	  .help = "let no program be run from it",
	  .offset = offsetof(struct mount_args, no_exec) },
	{ .name = "threads",
	  .letter = 't',
	  .kind = CLI_UNSIGNED,
	  .argument = "N",
	  .help = "as many threads (default: the processors)",
	  .offset = offsetof(struct mount_args, threads),
	  .variable = "THREADS" },
	{ .name = "no-io-uring",
	  .kind = CLI_FLAG,
	  .help = "/dev/fuse alone, even where the kernel offers io_uring",
	  .offset = offsetof(struct mount_args, no_io_uring) },
	{ .name = NULL },
};

/* ---- The background ---- */

struct outcome {
	enum rc rc;
	struct err err;
};

/* The parent: waits for what the child says about its mount. */
static enum rc wait_for_child(struct cli *cli, pid_t child, int pipe_fd, struct err *err)
{
	struct outcome outcome;
	size_t got = 0;

	while (got < sizeof(outcome)) {
		ssize_t n = read(pipe_fd, (char *)&outcome + got, sizeof(outcome) - got);
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR) {
			if (op_check(&cli->op, NULL) == RC_OK)
				continue;
			kill(child, SIGTERM);
			return err_set(err, RC_CANCELLED, "interrupted");
		}
		int status = 0;
		if (waitpid(child, &status, 0) == child && WIFSIGNALED(status))
			return err_set(err, RC_IO, "the background process died of signal %d",
				       WTERMSIG(status));
		return err_set(err, RC_IO, "the background process ended without a word");
	}
	*err = outcome.err;
	return outcome.rc;
}

static void tell_parent(int pipe_fd, enum rc rc, const struct err *err)
{
	struct outcome outcome = { .rc = rc, .err = *err };
	struct err ignored = ERR_INIT;

	/* Once it has been told of the mount it is gone, and what comes later belongs in the log.
	 */
	if (file_write_all(pipe_fd, &outcome, sizeof(outcome), "pipe", &ignored) != RC_OK &&
	    rc != RC_OK)
		log_error("%s", err->message);
}

static void log_to_syslog(void *context, enum log_level level, const char *sentence)
{
	static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

	(void)context;
	syslog(priorities[level], "%s", sentence);
}

/* Lets go of the terminal, and of whatever waits for our standard output to end. A standard error
 * that is a file stays: somebody wants the log there. Else it goes to syslog. */
static void leave_terminal(void)
{
	struct stat status;
	bool log_file = fstat(STDERR_FILENO, &status) == 0 && S_ISREG(status.st_mode);
	AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (!log_file) {
		openlog("castor", LOG_PID, LOG_DAEMON);
		log_set_sink(log_to_syslog, NULL);
		dup2(null, STDERR_FILENO);
	}
}

/* ---- The mount ---- */

static void say_what_would_help(const struct mount *mount, const struct mount_args *args)
{
	struct mount_facts facts;

	mount_get_facts(mount, &facts);
	if (!facts.read_ahead)
		fprintf(stderr, "castor: large files read faster when root mounts: only root may "
				"raise the mount's read-ahead\n");
	if (facts.io_uring_is_off && !args->no_io_uring)
		fprintf(stderr,
			"castor: small files read faster over io_uring, which is off: "
			"echo Y >/sys/module/fuse/parameters/enable_uring (castor-mount(1))\n");
}

static void print_stats(struct fs *fs)
{
	struct fs_stats stats;

	fs_get_stats(fs, &stats);
	fprintf(stderr,
		"castor: requests %" PRIu64 ", inodes %zu (%zu bytes), chunks %zu bytes, "
		"directories %zu bytes, pushed %" PRIu64 " (%" PRIu64 " bytes)\n",
		stats.requests, stats.inodes, stats.inode_bytes, stats.chunk_bytes,
		stats.directory_bytes, stats.pushes, stats.pushed_bytes);
	for (unsigned i = 0; i < FS_OPCODES; i++)
		if (stats.by_opcode[i])
			fprintf(stderr, "castor: %" PRIu64 " %s\n", stats.by_opcode[i],
				fs_opcode_name(i) ? fs_opcode_name(i) : "unknown");
}

/* Until the mount is gone or a signal says that it shall be. */
static enum rc wait_for_end(struct cli *cli, struct fs *fs, const struct mount *mount, int signals,
			    struct err *err)
{
	struct pollfd polled[] = {
		{ .fd = mount_ended_fd(mount), .events = POLLIN },
		{ .fd = cli->signal_fd, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	for (;;) {
		if (poll(polled, ARRAY_LEN(polled), -1) < 0 && errno != EINTR)
			return err_errno(err, errno, "poll");
		if (polled[0].revents || polled[1].revents)
			return RC_OK;
		struct signalfd_siginfo info;
		if (!polled[2].revents || read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		print_stats(fs);
	}
}

/* SIGUSR1: before there is any thread, so that none of them takes it. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* pipe_fd: where a parent waits, or -1. */
static enum rc serve(struct cli *cli, const struct mount_args *args, const char *dir, int pipe_fd,
		     struct err *err)
{
	struct fs_options fs_options = { .passthrough = args->passthrough };
	struct mount_options mount_options = {
		.allow_other = args->allow_other,
		.no_exec = args->no_exec,
		.source = args->fsname,
		.no_io_uring = args->no_io_uring,
		.threads = args->threads,
	};
	AUTO_FD int signals = open_signals();
	struct roots *roots;
	struct fs *fs;
	struct mount *mount;
	enum rc rc = cli_open_store(cli, err);

	if (rc != RC_OK)
		return rc;
	log_limit_repeats(LOG_REPEATS, LOG_REPEATS_NS);
	cli_fill_fs_options(&args->roots, &fs_options);
	rc = cli_make_roots(cli, &args->roots, &roots, err);
	if (rc != RC_OK)
		return rc;
	rc = fs_new(cli->services.blobs, cli->services.directories, roots, &fs_options, &fs, err);
	if (rc != RC_OK)
		return rc;
	rc = mount_start(fs, dir, &mount_options, &mount, err);
	if (rc != RC_OK) {
		fs_free(fs);
		return rc;
	}
	say_what_would_help(mount, args);
	if (pipe_fd >= 0) {
		leave_terminal();
		tell_parent(pipe_fd, RC_OK, err);
	}
	sd_notify(0, "READY=1");
	rc = wait_for_end(cli, fs, mount, signals, err);
	if (rc == RC_OK && mount_lost_io_uring(mount)) {
		log_warning(
			"mounting again, with /dev/fuse alone: open files of the mount are lost");
		mount_stop(mount);
		mount_options.no_io_uring = true;
		rc = mount_start(fs, dir, &mount_options, &mount, err);
		if (rc == RC_OK)
			rc = wait_for_end(cli, fs, mount, signals, err);
	}
	sd_notify(0, "STOPPING=1");
	if (mount)
		mount_stop(mount);
	fs_free(fs);
	return rc;
}

static enum rc serve_in_background(struct cli *cli, const struct mount_args *args, const char *dir,
				   struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_errno(err, errno, "cannot make a pipe");
	pid_t child = fork();
	if (child != 0) {
		int errnum = errno;
		close(ends[1]);
		enum rc rc = child < 0 ? err_errno(err, errnum, "cannot fork")
				       : wait_for_child(cli, child, ends[0], err);
		close(ends[0]);
		return rc;
	}
	close(ends[0]);
	setsid();
	enum rc rc = serve(cli, args, dir, ends[1], err);
	if (rc != RC_OK)
		tell_parent(ends[1], rc, err);
	/* The sentence is the parent's to print. */
	services_release(&cli->services);
	_exit(rc_to_exit(rc));
}

static enum rc run(struct cli *cli, const void *options_, int argc, char **argv, struct err *err)
{
	const struct mount_args *args = options_;

	(void)argc;
	cli_hangup_ends();
	return args->daemon ? serve_in_background(cli, args, argv[0], err)
			    : serve(cli, args, argv[0], -1, err);
}

const struct command command_mount = {
	.name = "mount",
	.arguments = "DIR",
	.summary = "show the store as a filesystem at DIR",
	.details =
		"Serves until it is unmounted (\"castor umount DIR\") or gets SIGINT, SIGTERM or\n"
		"SIGHUP.\n"
		"NODE is a digest, or what \"castor info\" prints.",
	.shared = CLI_STORE | CLI_UPSTREAM,
	.least = 1,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct mount_args),
	.group = root_options,
	.group_offset = offsetof(struct mount_args, roots),
	.run = run,
};
