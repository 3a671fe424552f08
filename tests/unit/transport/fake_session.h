/*
 * A session in the filesystem's place, for tests of the transport alone: it answers by the nodeid
 * of a GETATTR, at once, later, from another thread, or when it is told to. To be included by one
 * test program, which then links nothing of fs/session.c.
 */
#ifndef CASTOR_TESTS_FAKE_SESSION_H
#define CASTOR_TESTS_FAKE_SESSION_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "fs/fuse_wire.h"
#include "fs/session.h"

enum fake_node {
	FAKE_NOW = 1,     /* answered in the call */
	FAKE_ERROR = 2,   /* with ENOENT */
	FAKE_LATER = 3,   /* from another thread */
	FAKE_BLOCKED = 4, /* the call waits until it is interrupted or cancelled */
	FAKE_KEPT = 5,    /* answered when it is interrupted or cancelled */
};
enum { FAKE_MAX_WRITE = 65536, FAKE_HELD = 64 };

struct fs_session {
	const struct fs_transport_ops *ops;
	void *context;
	struct pool *pool;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct fs_session_features features;
	bool cancelled;
	unsigned forgets, blocked;
	struct fs_request *held[FAKE_HELD];
};

static struct fs_session *fake_last; /* the session made last */

struct fs_session *fs_session_new(struct fs *fs, const struct fs_transport_ops *ops, void *context)
{
	(void)fs;
	struct fs_session *session = mem_zalloc(sizeof(*session));
	session->ops = ops;
	session->context = context;
	session->pool = pool_new("fake", 4, 64);
	pthread_mutex_init(&session->lock, NULL);
	pthread_cond_init(&session->changed, NULL);
	return fake_last = session;
}

void fs_session_free(struct fs_session *session)
{
	pool_free(session->pool);
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

void *fs_session_context(const struct fs_session *session)
{
	return session->context;
}

void fs_session_get_features(struct fs_session *session, struct fs_session_features *out)
{
	*out = session->features;
}

static struct fuse_in_header fake_header(const struct fs_request *request)
{
	struct fuse_in_header header;
	memcpy(&header, request->in.ptr, sizeof(header));
	return header;
}

/* The answer tells which request it belongs to. */
static void fake_answer(struct fs_request *request)
{
	struct fuse_attr_out out = { .attr.ino = fake_header(request).unique };
	struct iovec iov[2] = { { &out, 16 }, { (char *)&out + 16, sizeof(out) - 16 } };
	request->session->ops->reply(request, 0, iov, 2);
}

static void fake_answer_later(void *arg)
{
	clock_sleep_ns(NS_PER_MS);
	fake_answer(arg);
}

static void fake_hold(struct fs_session *session, struct fs_request *request, bool block)
{
	int slot = 0;
	pthread_mutex_lock(&session->lock);
	while (session->held[slot])
		slot++;
	session->held[slot] = request;
	session->blocked++;
	pthread_cond_broadcast(&session->changed);
	if (session->cancelled)
		session->held[slot] = NULL;
	while (block && session->held[slot] == request)
		pthread_cond_wait(&session->changed, &session->lock);
	bool answer = session->held[slot] != request;
	session->blocked -= answer;
	pthread_mutex_unlock(&session->lock);
	if (answer)
		session->ops->reply(request, -EINTR, NULL, 0);
}

/* Lets go of held requests: the one of that unique, or all (0). */
static void fake_let_go(struct fs_session *session, uint64_t unique)
{
	struct fs_request *kept[FAKE_HELD];
	size_t count = 0;
	pthread_mutex_lock(&session->lock);
	for (int i = 0; i < FAKE_HELD; i++) {
		struct fs_request *request = session->held[i];
		if (!request || (unique != 0 && fake_header(request).unique != unique))
			continue;
		session->held[i] = NULL;
		if (fake_header(request).nodeid == FAKE_KEPT) {
			session->blocked--;
			kept[count++] = request;
		}
	}
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	for (size_t i = 0; i < count; i++)
		session->ops->reply(kept[i], -EINTR, NULL, 0);
}

void fs_session_cancel_all(struct fs_session *session)
{
	pthread_mutex_lock(&session->lock);
	session->cancelled = true;
	pthread_mutex_unlock(&session->lock);
	fake_let_go(session, 0);
}

static void fake_init(struct fs_session *session, struct fs_request *request)
{
	struct fuse_init_out out = { .major = 7, .minor = 31, .max_write = FAKE_MAX_WRITE };
	struct iovec iov = { &out, sizeof(out) };
	session->features =
		(struct fs_session_features){ .initialised = true, .max_write = FAKE_MAX_WRITE };
	session->ops->reply(request, 0, &iov, 1);
}

static void fake_getattr(struct fs_session *session, struct fs_request *request)
{
	switch (fake_header(request).nodeid) {
	case FAKE_NOW:
		fake_answer(request);
		break;
	case FAKE_LATER:
		pool_submit(session->pool, fake_answer_later, request);
		break;
	case FAKE_BLOCKED:
		fake_hold(session, request, true);
		break;
	case FAKE_KEPT:
		fake_hold(session, request, false);
		break;
	default:
		session->ops->reply(request, -ENOENT, NULL, 0);
	}
}

void fs_session_handle(struct fs_session *session, struct fs_request *request)
{
	struct fuse_interrupt_in interrupt;
	request->session = session;
	switch (fake_header(request).opcode) {
	case FUSE_INIT:
		fake_init(session, request);
		break;
	case FUSE_GETATTR:
		fake_getattr(session, request);
		break;
	case FUSE_INTERRUPT:
		memcpy(&interrupt, request->in.ptr + sizeof(struct fuse_in_header),
		       sizeof(interrupt));
		fake_let_go(session, interrupt.unique);
		session->ops->done(request);
		break;
	case FUSE_FORGET:
		pthread_mutex_lock(&session->lock);
		session->forgets++;
		pthread_cond_broadcast(&session->changed);
		pthread_mutex_unlock(&session->lock);
		session->ops->done(request);
		break;
	default:
		session->ops->reply(request, -ENOSYS, NULL, 0);
	}
}

#endif
