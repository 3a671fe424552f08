/*
 * The attributes of the root, which alone ever change: its mtime moves when the set of roots does. A
 * kernel may believe them until it is told otherwise, so that a walk into the mount asks nobody; a
 * thread notices that the set has changed, and tells. While no kernel holds them it sleeps.
 */
#include "base/clock.h"
#include "base/cond.h"
#include "fs/internal.h"

enum { LOOK_MS = 50 };

/* Under fs->lock. */
static void move_mtime(struct fs *fs)
{
	int64_t now = clock_realtime_ns();

	fs->root_mtime_ns = now > fs->root_mtime_ns ? now : fs->root_mtime_ns + 1;
}

int fs_root_refresh(struct fs *fs, const struct op *op)
{
	struct err err = ERR_INIT;
	uint64_t generation = 0;
	enum rc rc = RC_UNSUPPORTED;

	if (fs->roots->ops->fixed)
		return 0;
	/* A remote service is not asked: not even what the kernel has cached could be reached while
	 * it hangs. */
	if (!fs->roots->ops->remote)
		rc = fs->roots->ops->generation(fs->roots, op, &generation, &err);
	if (rc == RC_CANCELLED)
		return fs_errno(rc);
	/* A service that cannot tell, or not at the moment: it may have changed. */
	pthread_mutex_lock(&fs->lock);
	if (rc != RC_OK || !fs->generation_known || fs->generation != generation)
		move_mtime(fs);
	fs->generation_known = rc == RC_OK;
	fs->generation = generation;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

int64_t fs_root_show(struct fs_session *session)
{
	struct fs *fs = session->fs;
	int64_t mtime;

	pthread_mutex_lock(&fs->lock);
	mtime = fs->root_mtime_ns;
	if (session->ops->notify && !session->root_shown_ns)
		pthread_cond_broadcast(&fs->root_changed);
	session->root_shown_ns = mtime;
	pthread_mutex_unlock(&fs->lock);
	return mtime;
}

/* ---- The thread; all under fs->lock ---- */

/* A session whose kernel holds attributes of the root; other: than the present ones. */
static struct fs_session *find_holder(const struct fs *fs, bool other)
{
	struct fs_session *session = fs->sessions;

	while (session && !(session->ops->notify && !session->ending && session->root_shown_ns &&
			    (!other || session->root_shown_ns != fs->root_mtime_ns)))
		session = session->next;
	return session;
}

/* What cannot be told now is told at the next look. */
static void tell_sessions(struct fs *fs)
{
	/* A negative offset: the attributes only. */
	struct fuse_notify_inval_inode_out out = { .nodeid = FUSE_ROOT_ID, .offset = -1 };
	struct iovec iov = { .iov_base = &out, .iov_len = sizeof(out) };
	struct fs_session *session;
	int result = 0;

	while (!result && (session = find_holder(fs, true))) {
		int64_t shown = session->root_shown_ns;

		session->root_shown_ns = 0;
		session->telling = true;
		pthread_mutex_unlock(&fs->lock);
		result = session->ops->notify(session, FUSE_NOTIFY_INVAL_INODE, &iov, 1);
		pthread_mutex_lock(&fs->lock);
		session->telling = false;
		if (result && !session->root_shown_ns)
			session->root_shown_ns = shown;
		pthread_cond_broadcast(&fs->root_changed);
	}
}

static void wait_for_look(struct fs *fs)
{
	int64_t until = clock_monotonic_ns() + LOOK_MS * NS_PER_MS;

	while (!fs->closing && cond_wait_until(&fs->root_changed, &fs->lock, until))
		;
}

static void *watch(void *arg)
{
	struct fs *fs = arg;

	pthread_mutex_lock(&fs->lock);
	while (!fs->closing) {
		if (!find_holder(fs, false)) {
			pthread_cond_wait(&fs->root_changed, &fs->lock);
			continue;
		}
		wait_for_look(fs);
		pthread_mutex_unlock(&fs->lock);
		(void)fs_root_refresh(fs, &op_none);
		pthread_mutex_lock(&fs->lock);
		tell_sessions(fs);
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

enum rc fs_root_watch_start(struct fs *fs, struct err *err)
{
	enum rc rc = RC_OK;

	fs->root_mtime_ns = NS_PER_S;
	if (!fs->roots->ops->fixed) {
		rc = thread_start(&fs->root_watch, "castor-roots", watch, fs, err);
		fs->root_watched = rc == RC_OK;
	}
	return rc;
}

void fs_root_watch_join(struct fs *fs)
{
	if (fs->root_watched)
		pthread_join(fs->root_watch, NULL);
}
