/* Grouped commits. One lock guards all of it; it is not held while batches are committed. */
#include "server/put_group.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/mem.h"
#include "base/pool.h"

enum {
	ENOUGH = 512,    /* uploads in one commit, where there are so many */
	PATIENCE_MS = 25 /* how long the first one waits for others */
};

struct put_group {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the thread */
	/* Under lock: */
	struct put_commit *first, **last;
	size_t count;
	size_t under_way; /* uploads that entered and are not whole yet */
	int64_t since_ns; /* when the first one came */
	bool ending;
};

static bool ready(const struct put_group *group)
{
	return group->count >= ENOUGH || group->under_way == 0 || group->ending;
}

/* Under the lock. What is to be committed now; NULL: the end. */
static struct put_commit *take(struct put_group *group)
{
	struct put_commit *taken;

	while (!group->first && !group->ending)
		pthread_cond_wait(&group->changed, &group->lock);
	while (group->first && !ready(group)) {
		if (!cond_wait_until(&group->changed, &group->lock,
				     group->since_ns + PATIENCE_MS * NS_PER_MS))
			break;
	}
	taken = group->first;
	group->first = NULL;
	group->last = &group->first;
	group->count = 0;
	return taken;
}

static void *commit_all(void *arg)
{
	struct put_group *group = arg;
	struct put_commit *taken;

	pthread_mutex_lock(&group->lock);
	while ((taken = take(group))) {
		pthread_mutex_unlock(&group->lock);
		/* On a store on disk the first one waits for the sync, and brings the others along.
		 */
		for (struct put_commit *at = taken; at; at = at->next)
			at->rc = blob_batch_commit(at->batch, at->op, &at->err);
		while (taken) {
			struct put_commit *done = taken;

			taken = done->next;
			done->done(done);
		}
		pthread_mutex_lock(&group->lock);
	}
	pthread_mutex_unlock(&group->lock);
	return NULL;
}

static void group_free(struct put_group *group)
{
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->lock);
	free(group);
}

struct put_group *put_group_new(void)
{
	struct put_group *group = mem_zalloc(sizeof(*group));

	group->last = &group->first;
	pthread_mutex_init(&group->lock, NULL);
	cond_init(&group->changed);
	if (thread_start(&group->thread, "rpc-commit", commit_all, group, NULL) == RC_OK)
		return group;
	group_free(group);
	return NULL;
}

void put_group_free(struct put_group *group)
{
	if (!group)
		return;
	pthread_mutex_lock(&group->lock);
	assert(group->under_way == 0 && !group->first);
	group->ending = true;
	pthread_cond_signal(&group->changed);
	pthread_mutex_unlock(&group->lock);
	pthread_join(group->thread, NULL);
	group_free(group);
}

void put_group_enter(struct put_group *group)
{
	pthread_mutex_lock(&group->lock);
	group->under_way++;
	pthread_mutex_unlock(&group->lock);
}

/* Under the lock. */
static void one_less(struct put_group *group)
{
	assert(group->under_way > 0);
	group->under_way--;
	/* The thread sleeps without a first one, and looks again when it may have waited enough. */
	if (group->count == 1 || (group->first && ready(group)))
		pthread_cond_signal(&group->changed);
}

void put_group_leave(struct put_group *group)
{
	pthread_mutex_lock(&group->lock);
	one_less(group);
	pthread_mutex_unlock(&group->lock);
}

void put_group_commit(struct put_group *group, struct put_commit *commit)
{
	commit->next = NULL;
	pthread_mutex_lock(&group->lock);
	if (!group->first)
		group->since_ns = clock_monotonic_ns();
	*group->last = commit;
	group->last = &commit->next;
	group->count++;
	one_less(group);
	pthread_mutex_unlock(&group->lock);
}
