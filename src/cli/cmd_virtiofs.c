/*
 * castor virtiofs: a store as a virtio filesystem device, for a virtual machine monitor that
 * connects to a socket (vhost-user). One at a time; when it hangs up, the next one may come.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/roots.h"
#include "cli/socket_access.h"
#include "fs/fs.h"
#include "net/listen_socket.h"
#include "transport/guest_fault.h"
#include "transport/vhost_user.h"

#define DEFAULT_CACHE_SIZE ((size_t)512 << 20)

struct virtiofs_args {
	/* The host's page cache holds no decoded bytes, and a guest that forgot something asks again:
	 * it has more than a mount. */
	const char *cache_size;
	unsigned threads;
	const char *fd;
	const char *tag;
	struct socket_args socket;
	struct root_args roots;
};

static const struct cli_option options[] = {
	{ .name = "cache-size",
	  .kind = CLI_STRING,
	  .argument = "SIZE",
	  .help = "how many decoded bytes to keep in memory (default: 512M); what is not used for "
		  "some seconds is given back",
	  .offset = offsetof(struct virtiofs_args, cache_size) },
	{ .name = "fd",
	  .kind = CLI_STRING,
	  .argument = "N",
	  .help = "a socket that is open already, listening or connected, instead of SOCKET",
	  .offset = offsetof(struct virtiofs_args, fd) },
	SOCKET_OPTIONS(struct virtiofs_args, socket),
	{ .name = "tag",
	  .kind = CLI_STRING,
	  .argument = "TAG",
	  .help = "the device's tag, for monitors that ask for it (crosvm)",
	  .offset = offsetof(struct virtiofs_args, tag) },
	{ .name = "threads",
	  .letter = 't',
	  .kind = CLI_UNSIGNED,
	  .argument = "N",
	  .help = "as many threads for reads, beside one a queue (default: the processors)",
	  .offset = offsetof(struct virtiofs_args, threads),
	  .variable = "THREADS" },
	{ .name = NULL },
};

/* *listening: false where it is connected already. */
static enum rc open_given(const char *number, int *fd, bool *listening, struct err *err)
{
	uint64_t value;
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (!text_parse_u64(view_of_string(number), &value) || value > INT_MAX)
		return err_set(err, RC_INVALID, "--fd takes a number, not \"%s\"", number);
	if (getsockopt((int)value, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return err_errno(err, errno, "--fd %s", number);
	*fd = (int)value;
	*listening = listens != 0;
	(void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return RC_OK;
}

/* RC_CANCELLED: a signal came. */
static enum rc accept_one(struct cli *cli, int listener, int *fd, struct err *err)
{
	struct pollfd polled[] = {
		{ .fd = listener, .events = POLLIN },
		{ .fd = cli->signal_fd, .events = POLLIN },
	};

	for (;;) {
		if (poll(polled, ARRAY_LEN(polled), -1) < 0 && errno != EINTR)
			return err_errno(err, errno, "poll");
		if (polled[1].revents)
			return RC_CANCELLED;
		if (!polled[0].revents)
			continue;
		*fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (*fd >= 0)
			return RC_OK;
		if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
			return err_errno(err, errno, "accept");
	}
}

static enum rc serve_all(struct cli *cli, struct vhost_user *vhost, int listener, struct err *err)
{
	for (;;) {
		int fd = -1;
		enum rc rc = accept_one(cli, listener, &fd, err);

		if (rc != RC_OK)
			return rc;
		rc = vhost_user_serve(vhost, fd, cli->signal_fd, err);
		if (rc == RC_CANCELLED)
			return rc;
		if (rc == RC_OK)
			log_info("the front-end hung up: waiting for the next one");
		else
			log_error("%s: waiting for the next front-end", err->message);
	}
}

static enum rc serve(struct cli *cli, const struct virtiofs_args *args, int fd, bool listening,
		     struct err *err)
{
	struct fs_options fs_options = { .deadline_ns = 0 };
	const struct vhost_user_options options_ = { .threads = args->threads, .tag = args->tag };
	struct vhost_user *vhost;
	struct roots *roots;
	struct fs *fs;
	enum rc rc = cli_size("cache-size", args->cache_size, DEFAULT_CACHE_SIZE, 1,
			      &fs_options.chunk_cache, err);

	log_limit_repeats(LOG_REPEATS, LOG_REPEATS_NS);
	cli_fill_fs_options(&args->roots, &fs_options);
	if (rc == RC_OK)
		rc = cli_make_roots(cli, &args->roots, &roots, err);
	if (rc != RC_OK)
		return rc;
	rc = fs_new(cli->services.blobs, cli->services.directories, roots, &fs_options, &fs, err);
	if (rc != RC_OK)
		return rc;
	rc = vhost_user_new(fs, &options_, &vhost, err);
	if (rc == RC_OK) {
		sd_notify(0, "READY=1");
		rc = listening ? serve_all(cli, vhost, fd, err)
			       : vhost_user_serve(vhost, dup(fd), cli->signal_fd, err);
		sd_notify(0, "STOPPING=1");
		vhost_user_free(vhost);
	}
	fs_free(fs);
	/* A signal is how it ends well. */
	return rc == RC_CANCELLED ? RC_OK : rc;
}

static enum rc listen_at_path(const struct virtiofs_args *args, const char *path,
			      struct listen_socket *out, struct err *err)
{
	struct socket_access access;
	enum rc rc = socket_access_parse(&args->socket, &access, err);
	if (rc != RC_OK)
		return rc;
	mode_t before = socket_access_begin(&access);
	rc = listen_socket_open_path(path, out, err);
	socket_access_end(&access, before);
	if (rc != RC_OK)
		return rc;
	rc = socket_access_give(&access, path, err);
	if (rc != RC_OK)
		listen_socket_close(out);
	return rc;
}

static enum rc run(struct cli *cli, const void *options_, int argc, char **argv, struct err *err)
{
	const struct virtiofs_args *args = options_;
	const char *path = argc > 0 ? argv[0] : NULL;
	bool listening = true;
	enum rc rc = RC_OK;
	struct listen_socket socket = { .fd = -1, .lock_fd = -1 };
	int fd = -1;

	if ((path != NULL) == (args->fd != NULL))
		return err_set(err, RC_INVALID, "it takes either SOCKET or --fd");
	cli_hangup_ends();
	if (args->fd)
		rc = open_given(args->fd, &fd, &listening, err);
	if (rc == RC_OK)
		rc = cli_open_store(cli, err);
	if (rc == RC_OK && path)
		rc = listen_at_path(args, path, &socket, err);
	if (rc != RC_OK)
		return rc;
	/* A front-end that takes its memory back shall not end what the next one needs. */
	guest_fault_install();
	rc = serve(cli, args, path ? socket.fd : fd, listening, err);
	listen_socket_close(&socket);
	fd_cleanup(&fd);
	return rc;
}

const struct command command_virtiofs = {
	.name = "virtiofs",
	.arguments = "[SOCKET]",
	.summary = "show the store as a filesystem in a virtual machine",
	.details = "A virtual machine monitor connects to SOCKET (vhost-user-fs), the guest mounts "
		   "the tag that\nthe monitor gives it: mount -t virtiofs -o ro TAG DIR. Serves "
		   "until it gets SIGINT, SIGTERM or SIGHUP.",
	.shared = CLI_STORE | CLI_UPSTREAM,
	.least = 0,
	.most = 1,
	.options = options,
	.options_size = sizeof(struct virtiofs_args),
	.group = root_options,
	.group_offset = offsetof(struct virtiofs_args, roots),
	.run = run,
};
