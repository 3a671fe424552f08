/* Looking at mount points, and changing them, in children that may be left behind. */
#include "transport/mount_point.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { REAP_MS = 200, FDINFO_MAX = 4096 };

struct question {
	const char *path, *source, *type, *data;
	unsigned long flags;
	int fd;
};

struct answer {
	int errnum; /* 0: the rest holds */
	bool directory;
	unsigned major, minor;
	uint64_t mount_id;
	char path[PATH_MAX];
};

/* What the child does: returns an errno or 0. Calls nothing but system calls. */
typedef int call_fn(const struct question *question, struct answer *answer);

/* ---- The child ---- */

/* All descriptors but a and b; -1: none. */
static void close_others(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;

	if (low > 0)
		close_range(0, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)(low + 1), (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, UINT_MAX, 0);
}

static _Noreturn void child_run(call_fn *call, const struct question *question, int answers)
{
	static struct answer answer; /* a page and more, which a thread's stack may lack */

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_others(answers, question->fd);
	answer.errnum = call(question, &answer);
	ssize_t wrote = write(answers, &answer, sizeof(answer));
	_exit(wrote == (ssize_t)sizeof(answer) ? 0 : 1);
}

/* ---- The parent ---- */

/* An errno, or 0. ETIMEDOUT: no answer so far. */
static int receive(int answers, struct answer *out, int wait_ms)
{
	int64_t deadline = clock_monotonic_ns() + wait_ms * NS_PER_MS;
	size_t got = 0;

	while (got < sizeof(*out)) {
		struct pollfd poller = { .fd = answers, .events = POLLIN };
		int64_t left = (deadline - clock_monotonic_ns() + NS_PER_MS - 1) / NS_PER_MS;

		if (left <= 0)
			return ETIMEDOUT;
		if (poll(&poller, 1, (int)left) <= 0)
			continue;
		ssize_t n = read(answers, (char *)out + got, sizeof(*out) - got);
		if (n == 0)
			return EIO;
		if (n > 0)
			got += (size_t)n;
		else if (errno != EINTR)
			return errno;
	}
	return out->errnum;
}

/* Waits for it a little: one that hangs in a server goes when the server does. */
static void reap(pid_t child)
{
	for (int i = 0; i < REAP_MS; i++) {
		pid_t ended = waitpid(child, NULL, WNOHANG);
		if (ended == child || (ended < 0 && errno != EINTR))
			return;
		usleep(1000);
	}
}

/* Calls in a child. An errno, or 0; ETIMEDOUT where it takes longer than that. */
static int call_within(int wait_ms, call_fn *call, const struct question *question,
		       struct answer *answer)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	/* Not fork: what libraries do at a fork is for children that go on. */
	pid_t child = _Fork();
	if (child == 0)
		child_run(call, question, ends[1]);
	int errnum = child < 0 ? errno : 0;
	close(ends[1]);
	if (child > 0) {
		errnum = receive(ends[0], answer, wait_ms);
		kill(child, SIGKILL);
		reap(child);
	}
	close(ends[0]);
	return errnum;
}

static enum rc no_answer(int errnum, const char *path, struct err *err)
{
	if (errnum == ETIMEDOUT)
		return err_set(err, RC_DEADLINE,
			       "'%s': a filesystem on the way to it does not answer", path);
	return err_errno(err, errnum, "'%s'", path);
}

/* ---- Looking ---- */

static int look(const struct question *question, struct answer *answer)
{
	char link[32];
	struct statx status;
	/* O_PATH asks the server of a mount's root for nothing, and asks for no permission on it. */
	int fd = open(question->path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno;
	/* An empty mask: the kernel's own part is always told, also of a mount that is not for us. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &status) < 0)
		return errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, answer->path, sizeof(answer->path) - 1);
	if (len < 0)
		return errno;
	answer->path[len] = '\0';
	if (answer->path[0] != '/')
		return ENOENT; /* it is in no tree that we see */
	answer->directory = S_ISDIR(status.stx_mode);
	answer->major = status.stx_dev_major;
	answer->minor = status.stx_dev_minor;
	answer->mount_id = status.stx_mnt_id;
	return 0;
}

enum rc mount_point_look(const char *dir, struct mount_point *out, struct err *err)
{
	const struct question question = { .path = dir, .fd = -1 };
	AUTO_FREE struct answer *answer = mem_zalloc(sizeof(*answer));
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	CLEANUP(mountinfo_release) struct mountinfo mount = { .point = NULL };

	*out = (struct mount_point){ .path = NULL };
	int errnum = call_within(MOUNT_POINT_WAIT_MS, look, &question, answer);
	if (errnum != 0)
		return no_answer(errnum, dir, err);
	enum rc rc = mountinfo_read(&text, err);
	if (rc == RC_OK)
		rc = mountinfo_find_id(buf_view(&text), answer->mount_id, &mount, err);
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	*out = (struct mount_point){
		.path = mem_strdup(answer->path),
		.directory = answer->directory,
		.major = answer->major,
		.minor = answer->minor,
	};
	/* Else it is a place within that mount. */
	if (rc == RC_OK && strcmp(mount.point, out->path) == 0) {
		out->mount = mount;
		mount = (struct mountinfo){ .point = NULL };
	}
	return RC_OK;
}

void mount_point_release(struct mount_point *point)
{
	free(point->path);
	mountinfo_release(&point->mount);
	*point = (struct mount_point){ .path = NULL };
}

/* Asks the server, for the kernel may have cached the answer of one that is dead. */
static int ask_server(const struct question *question, struct answer *answer)
{
	struct statx status;

	(void)answer;
	return statx(AT_FDCWD, question->path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE,
		     &status) < 0
		       ? errno
		       : 0;
}

bool mount_point_is_dead(const char *path)
{
	const struct question question = { .path = path, .fd = -1 };
	AUTO_FREE struct answer *answer = mem_zalloc(sizeof(*answer));
	int errnum = call_within(MOUNT_POINT_LIFE_MS, ask_server, &question, answer);

	return errnum == ENOTCONN || errnum == ECONNABORTED;
}

/* Does the descriptor of a process, both as /proc names them, serve that connection? */
static bool descriptor_serves(int dir, const char *fd, unsigned minor)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct err ignored = ERR_INIT;
	char path[300], target[16], line[48];

	snprintf(path, sizeof(path), "fd/%s", fd);
	ssize_t len = readlinkat(dir, path, target, sizeof(target));
	if (len != 9 || memcmp(target, "/dev/fuse", 9) != 0)
		return false;
	snprintf(path, sizeof(path), "fdinfo/%s", fd);
	if (file_read_path(dir, path, FDINFO_MAX, &text, &ignored) != RC_OK)
		return false;
	snprintf(line, sizeof(line), "\nfuse_connection:\t%u\n", minor);
	return strstr(buf_string(&text), line) != NULL;
}

static bool process_serves(int proc, const char *pid, unsigned minor)
{
	AUTO_FD int dir = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int list = dir < 0 ? -1 : openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *fds = list < 0 ? NULL : fdopendir(list);
	const struct dirent *entry;
	bool serves = false;

	while (fds && !serves && (entry = readdir(fds)))
		serves = entry->d_name[0] != '.' && descriptor_serves(dir, entry->d_name, minor);
	if (fds)
		closedir(fds);
	return serves;
}

bool mount_point_is_served(unsigned minor)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	bool served = false;

	while (proc && !served && (entry = readdir(proc)))
		served = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
			 process_serves(dirfd(proc), entry->d_name, minor);
	if (proc)
		closedir(proc);
	return served;
}

/* ---- Changing ---- */

static int do_mount(const struct question *question, struct answer *answer)
{
	(void)answer;
	return mount(question->source, question->path, question->type, question->flags,
		     question->data) < 0
		       ? errno
		       : 0;
}

enum rc mount_point_mount(const char *path, const char *source, const char *type,
			  unsigned long flags, const char *data, int fd, struct err *err)
{
	const struct question question = { path, source, type, data, flags, fd };
	AUTO_FREE struct answer *answer = mem_zalloc(sizeof(*answer));
	int errnum = call_within(MOUNT_POINT_WAIT_MS, do_mount, &question, answer);

	if (errnum == 0)
		return RC_OK;
	enum rc rc = no_answer(errnum, path, err);
	return err_context(err, rc, "cannot mount");
}

static int do_umount(const struct question *question, struct answer *answer)
{
	(void)answer;
	if (umount2(question->path, UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno == EBUSY && umount2(question->path, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
		return 0;
	return errno;
}

enum rc mount_point_umount(const char *path, struct err *err)
{
	const struct question question = { .path = path, .fd = -1 };
	AUTO_FREE struct answer *answer = mem_zalloc(sizeof(*answer));
	int errnum = call_within(MOUNT_POINT_WAIT_MS, do_umount, &question, answer);

	if (errnum == 0)
		return RC_OK;
	enum rc rc = no_answer(errnum, path, err);
	return err_context(err, rc, "cannot unmount");
}
