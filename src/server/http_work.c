#include "server/http_work.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"

struct worker {
	struct http_work *work;
	pthread_t thread;
	bool running;             /* for `client` */
	struct client_key client; /* under the lock of all */
};

struct http_work {
	char name[16];
	unsigned most, share;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock: */
	struct http_job *first, **last;
	struct worker *workers;
	unsigned queued, started, waiting;
	bool ends;
};

struct http_work *http_work_new(const char *name, unsigned threads)
{
	struct http_work *work = mem_zalloc(sizeof(*work));

	strncpy(work->name, name, sizeof(work->name) - 1);
	work->most = threads > 0 ? threads : 1;
	/* A quarter is always left for others. */
	work->share = work->most - work->most / 4;
	work->workers = mem_zalloc(work->most * sizeof(*work->workers));
	work->last = &work->first;
	pthread_mutex_init(&work->lock, NULL);
	pthread_cond_init(&work->changed, NULL);
	return work;
}

static bool has_share(const struct http_work *work, const struct client_key *client)
{
	unsigned own = 0;

	for (unsigned i = 0; i < work->started; i++)
		own += work->workers[i].running &&
		       memcmp(&work->workers[i].client, client, sizeof(*client)) == 0;
	return own < work->share;
}

/* The first whose client has a share left; NULL: there is none. */
static struct http_job *take(struct http_work *work)
{
	for (struct http_job **at = &work->first; *at; at = &(*at)->next) {
		struct http_job *job = *at;

		if (!has_share(work, &job->client))
			continue;
		*at = job->next;
		if (work->last == &job->next)
			work->last = at;
		work->queued--;
		return job;
	}
	return NULL;
}

static void *run_worker(void *arg)
{
	struct worker *self = arg;
	struct http_work *work = self->work;

	pthread_mutex_lock(&work->lock);
	for (;;) {
		struct http_job *job = take(work);

		if (!job && work->ends && !work->first)
			break;
		if (!job) {
			work->waiting++;
			pthread_cond_wait(&work->changed, &work->lock);
			work->waiting--;
			continue;
		}
		self->running = true;
		self->client = job->client;
		pthread_mutex_unlock(&work->lock);
		job->run(job);
		pthread_mutex_lock(&work->lock);
		self->running = false;
		/* What waits may have waited for this client's share. */
		if (work->first || work->ends)
			pthread_cond_broadcast(&work->changed);
	}
	pthread_mutex_unlock(&work->lock);
	return NULL;
}

/* Under the lock. */
static enum rc start_worker(struct http_work *work, struct err *err)
{
	struct worker *worker = &work->workers[work->started];

	worker->work = work;
	enum rc rc = thread_start(&worker->thread, work->name, run_worker, worker, err);
	work->started += rc == RC_OK;
	return rc;
}

enum rc http_work_start(struct http_work *work, struct err *err)
{
	pthread_mutex_lock(&work->lock);
	enum rc rc = start_worker(work, err);
	pthread_mutex_unlock(&work->lock);
	return rc;
}

void http_work_submit(struct http_work *work, struct http_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&work->lock);
	*work->last = job;
	work->last = &job->next;
	/* Who waits may have been woken for an earlier one already. */
	if (++work->queued > work->waiting && work->started < work->most)
		(void)start_worker(work, NULL); /* one more; those that are there do it all */
	pthread_cond_signal(&work->changed);
	pthread_mutex_unlock(&work->lock);
}

void http_work_free(struct http_work *work)
{
	if (!work)
		return;
	pthread_mutex_lock(&work->lock);
	work->ends = true;
	pthread_cond_broadcast(&work->changed);
	pthread_mutex_unlock(&work->lock);
	for (unsigned i = 0; i < work->started; i++)
		pthread_join(work->workers[i].thread, NULL);
	pthread_cond_destroy(&work->changed);
	pthread_mutex_destroy(&work->lock);
	free(work->workers);
	free(work);
}
