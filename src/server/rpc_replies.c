/*
 * A stream of replies. The handler makes a few messages ahead of the one that is being sent: of a
 * large one, hashing it and handing it to the kernel take about as long, and so go on at once in
 * two threads. The lock of struct rpc_replies is not held while the handler runs or while something
 * is sent.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pool.h"
#include "server/rpc_block.h"
#include "server/rpc_call.h"

enum {
	SCARCE = 32 << 10, /* a message's room where all blocks are in use */
	LARGE = 64 << 10,  /* messages from this size up are sent by another thread */
	WAKE_AT = 2,       /* made messages for which it is worth to wake one */
	AHEAD = 4,         /* messages ahead; up to RPC_REPLIES_AHEAD where blocks are plenty */
};

void rpc_replies_init(struct rpc_replies *replies)
{
	pthread_mutex_init(&replies->lock, NULL);
}

bool rpc_is_block(const struct rpc_call *call, const struct buf *message)
{
	return call->method->block_replies && message->cap == RPC_BLOCK_SIZE;
}

static void drop(struct rpc_call *call, struct buf *message)
{
	if (rpc_is_block(call, message))
		rpc_block_give(message->ptr);
	else
		buf_release(message);
	*message = (struct buf)BUF_INIT;
}

void rpc_replies_release(struct rpc_call *call)
{
	struct rpc_replies *replies = &call->replies;

	for (; replies->count > 0; replies->count--) {
		drop(call, &replies->made[replies->first]);
		replies->first = (replies->first + 1) % RPC_REPLIES_AHEAD;
	}
	pthread_mutex_destroy(&replies->lock);
}

/* Under the lock, which it gives up. Sends what is next, if anything: nothing is being sent now. */
static void send_next(struct rpc_call *call)
{
	struct rpc_replies *replies = &call->replies;
	struct buf message;
	bool last;
	bool over = replies->count == 0 && replies->ended && !replies->hold;

	if (replies->failed && replies->ended) {
		call->status = err_set(&call->err, RC_CANCELLED, "the client went away");
		over = true;
	}
	if (over) {
		replies->sending = true; /* for ever */
		call->stage = RPC_STAGE_STATUS;
		pthread_mutex_unlock(&replies->lock);
		rpc_call_send_status(call);
		return;
	}
	if (replies->count == 0 || replies->failed) {
		pthread_mutex_unlock(&replies->lock);
		return;
	}
	message = replies->made[replies->first];
	replies->first = (replies->first + 1) % RPC_REPLIES_AHEAD;
	replies->count--;
	replies->sending = true;
	last = replies->count == 0 && replies->last;
	if (last)
		call->stage = RPC_STAGE_STATUS;
	pthread_mutex_unlock(&replies->lock);
	rpc_call_send_message(call, &message, last);
}

static void send_job(void *arg)
{
	struct rpc_call *call = arg;

	pthread_mutex_lock(&call->replies.lock);
	send_next(call);
	rpc_call_unref(call);
}

/* How many messages may wait to be sent. The more, the less often does either thread wait for the
 * other one; a few streams alone may have more of them. */
static unsigned ahead_of(const struct rpc_call *call)
{
	return call->method->block_replies && rpc_blocks_plenty() ? RPC_REPLIES_AHEAD : AHEAD;
}

/* Takes in what the handler made. True: it should make another. */
static bool take(struct rpc_call *call, struct buf *message, enum rpc_next next, enum rc rc)
{
	struct rpc_replies *replies = &call->replies;
	bool large = message->len >= LARGE;
	bool scarce = call->method->block_replies && message->cap != RPC_BLOCK_SIZE;
	unsigned ahead = ahead_of(call);
	bool more, hold = rc == RC_OK && next == RPC_NEXT_HOLD;

	pthread_mutex_lock(&replies->lock);
	/* Whoever drains looks for calls on hold after it said so. */
	if (hold && rpc_call_draining(call)) {
		pthread_mutex_unlock(&replies->lock);
		drop(call, message);
		return true;
	}
	if (rc != RC_OK || (next != RPC_NEXT_MESSAGE && next != RPC_NEXT_LAST) || replies->failed) {
		replies->ended = true;
		replies->hold = hold;
		call->status = rc;
		drop(call, message);
	} else {
		replies->ended = replies->last = next == RPC_NEXT_LAST;
		call->status = RC_OK;
		replies->made[(replies->first + replies->count++) % RPC_REPLIES_AHEAD] = *message;
	}
	/* Where blocks are scarce, nothing is made ahead. */
	more = !replies->ended && replies->count < ahead && !scarce;
	replies->making = more;
	if (replies->sending || (more && large && replies->started && replies->count < WAKE_AT)) {
		pthread_mutex_unlock(&replies->lock);
	} else if (more && large && replies->started) {
		replies->sending = true;
		pthread_mutex_unlock(&replies->lock);
		rpc_call_ref(call);
		pool_submit(call->pool, send_job, call);
	} else {
		replies->started = true;
		send_next(call);
	}
	return more;
}

static enum rc make_room(struct rpc_call *call, struct buf *message)
{
	message->ptr = rpc_block_take();
	if (message->ptr)
		message->cap = RPC_BLOCK_SIZE;
	else if (!buf_try_reserve(message, SCARCE))
		return err_set(&call->err, RC_NO_MEMORY, "no memory for a message");
	return RC_OK;
}

void rpc_replies_make(struct rpc_call *call)
{
	bool more = true;

	while (more) {
		struct buf message = BUF_INIT;
		enum rpc_next next = RPC_NEXT_END;
		enum rc rc = RC_OK;

		if (call->method->block_replies)
			rc = make_room(call, &message);
		if (rc == RC_OK)
			rc = call->method->more(call, &message, &next, &call->err);
		more = take(call, &message, next, rc);
	}
}

static void make_job(void *arg)
{
	struct rpc_call *call = arg;

	rpc_replies_make(call);
	rpc_call_unref(call);
}

void rpc_replies_sent(struct rpc_call *call, bool ok)
{
	struct rpc_replies *replies = &call->replies;
	unsigned ahead = ahead_of(call);
	bool make;

	pthread_mutex_lock(&replies->lock);
	if (call->stage == RPC_STAGE_STATUS) {
		pthread_mutex_unlock(&replies->lock);
		return;
	}
	replies->sending = false;
	replies->failed |= !ok;
	make = !replies->making && !replies->ended && replies->count <= ahead / 2;
	if (replies->failed && !replies->making) {
		replies->ended = true;
		make = false;
	}
	if (make) {
		replies->making = true;
		rpc_call_ref(call);
		pool_submit(call->pool, make_job, call);
	}
	send_next(call);
}

void rpc_replies_resume(struct rpc_call *call)
{
	struct rpc_replies *replies = &call->replies;
	bool resume;

	pthread_mutex_lock(&replies->lock);
	resume = replies->ended && replies->hold && !replies->failed;
	if (resume) {
		replies->ended = replies->hold = false;
		replies->making = true;
		rpc_call_ref(call);
	}
	pthread_mutex_unlock(&replies->lock);
	if (resume)
		pool_submit(call->pool, make_job, call);
}
