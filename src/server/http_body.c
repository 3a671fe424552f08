/*
 * Bodies that are made while they are sent, a block at a time. What may wait for another machine is read
 * by a worker, and the connection is suspended meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/http_exchange.h"

enum {
	BLOCK_MIN = 32 << 10,
	BLOCKS_MEMORY = 64 << 20,
};

struct sending {
	struct exchange *exchange;
	struct http_server *server;
	struct http_body body;
	size_t block, counted; /* counted: in the server's blocks_memory */
	uint8_t *ahead;        /* read, and not sent yet; NULL: nothing is */
	size_t ahead_at, ahead_len;
	bool failed;
};

/* What one body takes leaves as much for each of seven more. */
static size_t block_size(struct http_server *server, uint64_t len)
{
	size_t used = atomic_load(&server->blocks_memory);
	size_t block = used < BLOCKS_MEMORY ? (BLOCKS_MEMORY - used) / 8 : 0;

	if (block < BLOCK_MIN)
		block = BLOCK_MIN;
	if (block > HTTP_BLOCK_MAX)
		block = HTTP_BLOCK_MAX;
	return len < block ? (size_t)len : block;
}

static void free_sending(void *arg)
{
	struct sending *sending = arg;

	atomic_fetch_sub(&sending->server->blocks_memory, sending->counted);
	sending->body.free(sending->body.context);
	free(sending->ahead);
	free(sending);
}

static enum rc read_ahead(struct sending *sending, size_t len, struct err *err)
{
	const struct http_body *body = &sending->body;
	enum rc rc = RC_OK;
	size_t got = 1;

	sending->ahead_at = sending->ahead_len = 0;
	if (!sending->ahead && !(sending->ahead = mem_try_alloc(len)))
		return err_set(err, RC_NO_MEMORY, "no memory for a body");
	while (rc == RC_OK && got > 0 && sending->ahead_len < len) {
		rc = body->read(body->context, &sending->exchange->op,
				sending->ahead + sending->ahead_len, len - sending->ahead_len, &got,
				err);
		sending->ahead_len += rc == RC_OK ? got : 0;
	}
	/* What there is comes first. */
	return sending->ahead_len > 0 ? RC_OK : rc;
}

static ssize_t broken(struct sending *sending, const struct err *err)
{
	sending->failed = true;
	/* Who went does not hear of it. */
	if (atomic_load(&sending->exchange->cancelled))
		log_debug("%s breaks off: %s", sending->exchange->base.path, err->message);
	else
		log_error("%s breaks off: %s", sending->exchange->base.path, err->message);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static void fetch(struct exchange *exchange, void *arg)
{
	struct sending *sending = arg;
	struct err err = ERR_INIT;

	(void)exchange;
	if (read_ahead(sending, sending->block, &err) != RC_OK)
		(void)broken(sending, &err);
	else
		sending->failed = sending->ahead_len == 0;
}

static ssize_t take_ahead(struct sending *sending, char *out, size_t len)
{
	size_t left = sending->ahead_len - sending->ahead_at, got = left < len ? left : len;

	memcpy(out, sending->ahead + sending->ahead_at, got);
	sending->ahead_at += got;
	if (sending->ahead_at == sending->ahead_len && !sending->body.remote) {
		free(sending->ahead);
		sending->ahead = NULL;
		sending->ahead_at = sending->ahead_len = 0;
	}
	return (ssize_t)got;
}

static ssize_t next_bytes(void *arg, uint64_t at, char *out, size_t len)
{
	struct sending *sending = arg;
	struct exchange *exchange = sending->exchange;
	struct err err = ERR_INIT;
	size_t got;

	atomic_store(&exchange->moved, at);
	if (sending->failed)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (sending->ahead_at < sending->ahead_len)
		return take_ahead(sending, out, len);
	if (sending->body.remote) {
		http_exchange_run(exchange, sending->server->remote, fetch, sending);
		return 0;
	}
	if (sending->body.read(sending->body.context, &exchange->op, out, len, &got, &err) != RC_OK)
		return broken(sending, &err);
	return got > 0 ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

/* NULL: no memory. */
static struct MHD_Response *response_of(struct sending *sending, bool get)
{
	uint64_t len = sending->body.len;

	if (get && sending->ahead_len == len)
		return MHD_create_response_from_buffer_with_free_callback_cls(
			(size_t)len, sending->ahead, free_sending, sending);
	return MHD_create_response_from_callback(len, sending->block + 1, next_bytes, sending,
						 free_sending);
}

enum rc http_body_response(struct http_exchange *base, const struct http_body *body,
			   struct MHD_Response **out, struct err *err)
{
	struct exchange *exchange = http_exchange_of(base);
	struct sending *sending = mem_zalloc(sizeof(*sending));
	bool get = base->method == HTTP_GET;
	enum rc rc = RC_OK;

	*out = NULL;
	sending->exchange = exchange;
	sending->server = exchange->server;
	sending->body = *body;
	sending->block = block_size(exchange->server, body->len);
	/* The library's block, and the one that is ahead. */
	sending->counted = body->len == sending->block ? sending->block : 2 * sending->block;
	atomic_fetch_add(&exchange->server->blocks_memory, sending->counted);
	if (get && body->len > 0)
		rc = read_ahead(sending, sending->block, err);
	if (rc == RC_OK && !(*out = response_of(sending, get)))
		rc = err_set(err, RC_NO_MEMORY, "no memory for a body");
	if (rc != RC_OK)
		free_sending(sending);
	return rc;
}
