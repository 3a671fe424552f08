/*
 * Attempts, waits, and going on with a body that broke off; the connections that are kept.
 *
 * Locks: client->lock alone.
 */
#include "net/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"
#include "net/http_transfer.h"

enum {
	IDLE_MAX = 16, /* connections that are kept */
	WAIT_STEP_NS = 50000000,
	SKIP_BYTES = 64 << 10,
};

const struct http_options http_options_default = {
	.connect_ns = 5 * NS_PER_S,
	.stall_ns = 60 * NS_PER_S,
	.attempts = 4,
	.backoff_ns = 250 * NS_PER_MS,
	.down_ns = 2 * NS_PER_S,
	.down_most_ns = 60 * NS_PER_S,
};

struct http_client {
	struct http_options options;
	char *ca_file, *origin, *user, *bearer, *netrc;
	struct http_reach reach;

	pthread_mutex_t lock;
	/* Under lock. */
	struct http_transfer *idle[IDLE_MAX]; /* the last one used last */
	size_t idle_count;
	int64_t down_until_ns;
	unsigned down_count; /* times in a row that it was found unreachable */
	struct err down_err;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_ALL);
}

static char *copy(const char *text)
{
	return text ? mem_strdup(text) : NULL;
}

static void forget(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}

struct http_client *http_client_new(const struct http_options *options)
{
	struct http_client *client = mem_zalloc(sizeof(*client));

	pthread_once(&curl_once, init_curl);
	client->options = *options;
	client->options.ca_file = client->ca_file = copy(options->ca_file);
	client->options.origin = client->origin = copy(options->origin);
	client->options.user = client->user = copy(options->user);
	client->options.bearer = client->bearer = copy(options->bearer);
	client->options.netrc = client->netrc = copy(options->netrc);
	pthread_mutex_init(&client->lock, NULL);
	return client;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	for (size_t i = 0; i < client->idle_count; i++)
		http_transfer_free(client->idle[i]);
	pthread_mutex_destroy(&client->lock);
	free(client->ca_file);
	free(client->origin);
	free(client->netrc);
	forget(client->user);
	forget(client->bearer);
	free(client);
}

/* ---- Connections ---- */

static enum rc take_transfer(struct http_client *client, struct http_transfer **out,
			     struct err *err)
{
	*out = NULL;
	pthread_mutex_lock(&client->lock);
	if (client->idle_count > 0)
		*out = client->idle[--client->idle_count];
	pthread_mutex_unlock(&client->lock);
	if (!*out)
		*out = http_transfer_new(&client->options, &client->reach);
	return *out ? RC_OK : err_set(err, RC_NO_MEMORY, "no memory for an HTTP request");
}

static void give_back(struct http_client *client, struct http_transfer *transfer)
{
	if (!transfer)
		return;
	http_transfer_stop(transfer);
	pthread_mutex_lock(&client->lock);
	if (client->idle_count < IDLE_MAX) {
		client->idle[client->idle_count++] = transfer;
		transfer = NULL;
	}
	pthread_mutex_unlock(&client->lock);
	http_transfer_free(transfer);
}

/* ---- A server that cannot be reached ---- */

static enum rc check_down(struct http_client *client, struct err *err)
{
	enum rc rc = RC_OK;

	pthread_mutex_lock(&client->lock);
	if (client->down_until_ns > clock_monotonic_ns())
		rc = err_set(err, RC_UNAVAILABLE, "not asked, since a moment ago: %s",
			     client->down_err.message);
	pthread_mutex_unlock(&client->lock);
	return rc;
}

static void note_down(struct http_client *client, const struct err *err)
{
	int64_t wait;

	pthread_mutex_lock(&client->lock);
	wait = client->options.down_ns;
	for (unsigned i = 0; i < client->down_count && wait < client->options.down_most_ns; i++)
		wait *= 2;
	if (wait > client->options.down_most_ns)
		wait = client->options.down_most_ns;
	client->down_count++;
	client->down_until_ns = clock_monotonic_ns() + wait;
	if (err)
		client->down_err = *err;
	pthread_mutex_unlock(&client->lock);
}

static void note_up(struct http_client *client)
{
	pthread_mutex_lock(&client->lock);
	client->down_count = 0;
	client->down_until_ns = 0;
	pthread_mutex_unlock(&client->lock);
}

/* ---- Attempts ---- */

/* Between half and all of the wait, so that many clients do not come back at once. */
static enum rc wait_before(const struct http_client *client, const struct op *op, unsigned attempt,
			   struct err *err)
{
	int64_t wait = client->options.backoff_ns << (attempt < 10 ? attempt : 10);
	int64_t now = clock_monotonic_ns(), end = now + wait / 2;

	if (wait > 1)
		end += now % (wait / 2);
	while (now < end) {
		enum rc rc = op_check(op, err);

		if (rc != RC_OK)
			return rc;
		clock_sleep_ns(end - now < WAIT_STEP_NS ? end - now : WAIT_STEP_NS);
		now = clock_monotonic_ns();
	}
	return RC_OK;
}

static enum rc outcome_of_status(long status, bool *again, struct err *err)
{
	if (status == 200 || status == 206)
		return RC_OK;
	if (status == 404 || status == 403 || status == 410)
		return err_set(err, RC_NOT_FOUND, "the server answered with status %ld", status);
	if (status == 401 || status == 407)
		return err_set(err, RC_DENIED, "the server asks for a password (status %ld)",
			       status);
	*again = status == 408 || status == 429 || status >= 500;
	return err_set(err, RC_UNAVAILABLE, "the server answered with status %ld", status);
}

/* One attempt; on success the reply's headers are there, and its body may be read. */
static enum rc ask_once(struct http_client *client, const struct op *op,
			const struct http_question *question, struct http_transfer *transfer,
			bool *again, bool *reached, struct err *err)
{
	enum rc rc = http_transfer_start(transfer, op, question, again, err);

	*reached = transfer->status != 0;
	if (*reached)
		note_up(client);
	if (rc == RC_OK)
		rc = outcome_of_status(transfer->status, again, err);
	return rc;
}

/* As many attempts as are left of *tried, which it counts. */
static enum rc ask(struct http_client *client, const struct op *op,
		   const struct http_question *question, unsigned *tried,
		   struct http_transfer *transfer, struct err *err)
{
	bool again = true, reached = true;
	enum rc rc = check_down(client, err);

	if (rc != RC_OK)
		return rc;
	do {
		if (*tried > 0)
			rc = wait_before(client, op, *tried - 1, err);
		if (rc != RC_OK)
			return rc;
		rc = ask_once(client, op, question, transfer, &again, &reached, err);
		++*tried;
	} while (rc == RC_UNAVAILABLE && again && *tried < client->options.attempts);
	if (rc == RC_UNAVAILABLE && !reached)
		note_down(client, err);
	return rc;
}

/* ---- Files: a cache may be a directory ---- */

static bool is_file(const char *url)
{
	return strncmp(url, "file://", 7) == 0;
}

static enum rc open_file(const char *url, int *fd, struct err *err)
{
	struct url parsed CLEANUP(url_release) = { 0 };
	struct stat stat;
	enum rc rc = url_parse(url, &parsed, err);

	*fd = -1;
	if (rc != RC_OK)
		return rc;
	*fd = open(parsed.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return err_errno(err, errno, "%s", parsed.path);
	if (fstat(*fd, &stat) == 0 && S_ISREG(stat.st_mode))
		return RC_OK;
	fd_cleanup(fd);
	*fd = -1;
	return err_set(err, RC_NOT_FOUND, "%s is no file", parsed.path);
}

static enum rc read_file(int fd, void *out, size_t len, uint64_t at, size_t *got, struct err *err)
{
	return file_pread_full(fd, out, len, at, got, "reading", err);
}

static enum rc get_file(const char *url, size_t max, struct buf *out, struct err *err)
{
	AUTO_FD int fd = -1;
	size_t start = out->len, got = 1;
	uint8_t bytes[16384];
	enum rc rc = open_file(url, &fd, err);

	while (rc == RC_OK && got > 0) {
		rc = read_file(fd, bytes, sizeof(bytes), out->len - start, &got, err);
		if (rc == RC_OK && got > max - (out->len - start))
			rc = err_set(err, RC_TOO_LARGE, "%s has more than %zu bytes", url, max);
		if (rc == RC_OK)
			buf_append(out, bytes, got);
	}
	if (rc != RC_OK)
		out->len = start;
	return rc;
}

/* ---- Whole replies ---- */

static enum rc read_whole(struct http_transfer *transfer, const struct op *op, size_t max,
			  struct buf *out, bool *again, struct err *err)
{
	uint8_t bytes[16384];
	size_t start = out->len, got;
	enum rc rc;

	do {
		rc = http_transfer_read(transfer, op, bytes, sizeof(bytes), &got, again, err);
		if (rc != RC_OK)
			break;
		if (got > max - (out->len - start)) {
			rc = err_set(err, RC_TOO_LARGE, "the reply has more than %zu bytes", max);
			break;
		}
		buf_append(out, bytes, got);
	} while (got > 0);
	if (rc != RC_OK)
		out->len = start;
	return rc;
}

enum rc http_get(struct http_client *client, const struct op *op, const char *url, size_t max,
		 struct buf *out, struct err *err)
{
	struct http_question question = { .url = url, .decode = true };
	struct http_transfer *transfer;
	unsigned tried = 0;
	bool again;
	enum rc rc;

	if (is_file(url))
		return get_file(url, max, out, err);
	rc = take_transfer(client, &transfer, err);
	if (rc != RC_OK)
		return rc;
	do {
		again = false;
		rc = ask(client, op, &question, &tried, transfer, err);
		if (rc == RC_OK)
			rc = read_whole(transfer, op, max, out, &again, err);
	} while (rc == RC_UNAVAILABLE && again && tried < client->options.attempts);
	give_back(client, transfer);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", url);
}

enum rc http_head(struct http_client *client, const struct op *op, const char *url,
		  struct http_reply *out, struct err *err)
{
	struct http_question question = { .url = url, .head = true };
	struct http_transfer *transfer;
	unsigned tried = 0;
	enum rc rc = take_transfer(client, &transfer, err);

	*out = (struct http_reply){ .size = 0 };
	if (rc == RC_OK && is_file(url))
		rc = err_set(err, RC_UNSUPPORTED, "a file is not asked for its head");
	if (rc != RC_OK) {
		give_back(client, transfer);
		return rc;
	}
	rc = ask(client, op, &question, &tried, transfer, err);
	if (rc == RC_OK)
		*out = transfer->reply;
	give_back(client, transfer);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", url);
}

/* ---- Bodies ---- */

struct http_body {
	struct http_client *client;
	struct http_transfer *transfer; /* NULL: it is a file */
	int fd;                         /* of the file; -1: it is none */
	char *url;
	struct http_reply first; /* what the first reply said */
	uint64_t at;             /* of the whole body: the next byte */
	unsigned tried;          /* since it last got on well */
	uint64_t tried_at;       /* where it was then */
	bool ended;
	enum rc failure;
	struct err failure_err;
};

/* A server that knows no ranges sends all of it. */
static enum rc skip_to(struct http_body *body, const struct op *op, uint64_t to, bool *again,
		       struct err *err)
{
	AUTO_FREE uint8_t *bytes = mem_alloc(SKIP_BYTES);

	for (uint64_t at = 0; at < to;) {
		size_t want = to - at < SKIP_BYTES ? (size_t)(to - at) : SKIP_BYTES, got;
		enum rc rc = http_transfer_read(body->transfer, op, bytes, want, &got, again, err);

		if (rc == RC_OK && got == 0)
			rc = err_set(err, RC_UNAVAILABLE, "the reply ends before byte %llu",
				     (unsigned long long)to);
		if (rc != RC_OK)
			return rc;
		at += got;
	}
	return RC_OK;
}

/* Asks for what follows body->at, and sees to it that it is that. */
static enum rc ask_from(struct http_body *body, const struct op *op, bool *again, struct err *err)
{
	struct http_question question = { .url = body->url,
					  .from = body->at,
					  .etag = body->first.etag };
	struct http_transfer *t = body->transfer;
	enum rc rc = ask(body->client, op, &question, &body->tried, t, err);

	if (rc != RC_OK || body->at == 0)
		return rc;
	if (body->first.etag[0] && strcmp(body->first.etag, t->reply.etag) != 0)
		return err_set(err, RC_UNAVAILABLE, "it changed while it was read");
	if (t->status == 206 && t->range_from == body->at)
		return RC_OK;
	if (t->status == 206)
		return err_set(err, RC_UNAVAILABLE, "the server answered with another range");
	return skip_to(body, op, body->at, again, err);
}

enum rc http_open(struct http_client *client, const struct op *op, const char *url, uint64_t from,
		  struct http_reply *reply, struct http_body **out, struct err *err)
{
	struct http_body *body = mem_zalloc(sizeof(*body));
	bool again = false;
	enum rc rc;

	*out = NULL;
	if (reply)
		*reply = (struct http_reply){ .size = 0 };
	body->client = client;
	body->url = mem_strdup(url);
	body->at = body->tried_at = from;
	body->fd = -1;
	body->first.size = HTTP_SIZE_UNKNOWN;
	if (is_file(url))
		rc = open_file(url, &body->fd, err);
	else
		rc = take_transfer(client, &body->transfer, err);
	if (rc == RC_OK && body->transfer)
		rc = ask_from(body, op, &again, err);
	if (rc != RC_OK) {
		http_body_free(body);
		return err_context(err, rc, "%s", url);
	}
	if (body->transfer)
		body->first = body->transfer->reply;
	if (from > 0 && body->transfer && body->transfer->status == 200 &&
	    body->first.size != HTTP_SIZE_UNKNOWN)
		body->first.size -= from;
	if (reply)
		*reply = body->first;
	*out = body;
	return RC_OK;
}

void http_body_free(struct http_body *body)
{
	if (!body)
		return;
	give_back(body->client, body->transfer);
	fd_cleanup(&body->fd);
	free(body->url);
	free(body);
}

/* The outcome that the reader gets after all attempts. */
static enum rc give_up(struct http_body *body, enum rc rc, const struct err *why, struct err *err)
{
	if (why)
		body->failure_err = *why;
	body->failure = err_context(&body->failure_err, rc, "%s, at byte %llu", body->url,
				    (unsigned long long)body->at);
	return err_set(err, rc, "%s", body->failure_err.message);
}

enum rc http_body_read(struct http_body *body, const struct op *op, void *out, size_t len,
		       size_t *got, struct err *err)
{
	struct err why = ERR_INIT;
	bool again;
	enum rc rc;

	*got = 0;
	if (body->failure != RC_OK)
		return err_set(err, body->failure, "%s", body->failure_err.message);
	if (body->ended)
		return RC_OK;
	if (body->fd >= 0) {
		rc = op_check(op, err);
		if (rc == RC_OK)
			rc = read_file(body->fd, out, len, body->at, got, err);
		body->at += *got;
		return rc;
	}
	rc = http_transfer_read(body->transfer, op, out, len, got, &again, &why);
	while (rc == RC_UNAVAILABLE && again && body->tried < body->client->options.attempts) {
		again = false;
		rc = ask_from(body, op, &again, &why);
		if (rc == RC_OK)
			rc = http_transfer_read(body->transfer, op, out, len, got, &again, &why);
	}
	if (rc == RC_DEADLINE || rc == RC_CANCELLED) /* not the body's failure: it may go on */
		return err_set(err, rc, "%s", why.message);
	if (rc != RC_OK)
		return give_up(body, rc, &why, err);
	body->ended = *got == 0;
	body->at += *got;
	/* A server that breaks off after each byte does not get on. */
	if (body->at - body->tried_at >= HTTP_STALL_LEAST) {
		body->tried = 0;
		body->tried_at = body->at;
	}
	return RC_OK;
}
