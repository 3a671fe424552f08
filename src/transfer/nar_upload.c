/*
 * Each upload has a thread, which imports: it pulls from a small ring of bytes that the server pushes
 * into. Lock order: an upload's lock, or that of all; never both.
 */
#include "transfer/nar_upload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/decompress.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "transfer/nar.h"
#include "transfer/pending_upload.h"

enum {
	RING = 256 << 10,
	LOOK_EVERY = 64 << 20, /* bytes of a NAR */
};

const struct nar_upload_limits nar_upload_limits_default = {
	.nar_bytes = UINT64_C(1) << 40,
	.client_bytes = UINT64_C(64) << 30,
	.all_bytes = UINT64_C(256) << 30,
	.keep_ns = 24 * 3600 * NS_PER_S,
	.count_ns = 24 * 3600 * NS_PER_S,
	.upload_ns = 6 * 3600 * NS_PER_S,
	.parallel = 8,
	.open = 128,
	.client_open = 32,
};

/* What one client has on its way, as long as that is anything. */
struct nar_client {
	struct digest id;
	unsigned open;
	uint64_t bytes;
};

struct nar_uploads {
	struct services services; /* borrowed */
	struct nar_upload_limits limits;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	/* Under lock: */
	unsigned open, running;
	uint64_t bytes;         /* of all clients */
	struct hashmap clients; /* id → struct nar_client */
};

struct nar_upload {
	/* Constant. */
	struct nar_uploads *uploads;
	struct buf url;
	struct nar_client *client;
	uint64_t expected;
	nar_upload_wake *wake;
	void *context;
	pthread_t thread;
	struct op op;

	/* The thread's own. */
	EVP_MD_CTX *sha256; /* of the file */
	bool plain;         /* the file is the NAR, which is hashed anyway */
	uint64_t file_size, nar_size;
	uint64_t own_waiting, all_waiting; /* bytes that waited when it looked last */
	uint64_t looked_at;                /* its size then */
	uint64_t reserved;                 /* counted in its client's bytes, and in those of all */
	bool turn;                         /* it is one of those that are running */
	struct decompress_stream *stream;

	atomic_bool cancel;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t filled;
	uint8_t *ring;
	size_t from, len;
	bool ended; /* no more bytes will come */
	bool waits; /* the server wants to be woken */
	bool done;
	enum rc rc;
	struct err err;
};

struct nar_uploads *nar_uploads_new(const struct services *services,
				    const struct nar_upload_limits *limits)
{
	struct nar_uploads *uploads = mem_zalloc(sizeof(*uploads));

	uploads->services = *services;
	uploads->limits = *limits;
	pthread_mutex_init(&uploads->lock, NULL);
	pthread_cond_init(&uploads->turn, NULL);
	hashmap_init(&uploads->clients, DIGEST_SIZE);
	return uploads;
}

void nar_uploads_free(struct nar_uploads *uploads)
{
	if (!uploads)
		return;
	pthread_cond_destroy(&uploads->turn);
	hashmap_release(&uploads->clients);
	pthread_mutex_destroy(&uploads->lock);
	free(uploads);
}

/* ---- The importing thread ---- */

static void wake_if_waited(struct nar_upload *upload, bool *waits)
{
	bool wake = *waits;

	*waits = false;
	pthread_mutex_unlock(&upload->lock);
	if (wake)
		upload->wake(upload->context);
	pthread_mutex_lock(&upload->lock);
}

/* By what the stream goes by, too; of fewer bytes that is not known yet. */
static bool is_plain(const struct nar_upload *upload, struct view first)
{
	return first.len >= COMPRESSION_MAGIC_LEN &&
	       compression_detect(first, buf_view(&upload->url)) == COMPRESSION_NONE;
}

/* Those that are running bound what imports take of the processors. Whoever waits for bytes is none of
 * them. False: it was given up. */
static bool take_turn(struct nar_upload *upload)
{
	struct nar_uploads *uploads = upload->uploads;

	pthread_mutex_lock(&uploads->lock);
	while (!upload->turn && uploads->running >= uploads->limits.parallel &&
	       !atomic_load(&upload->cancel))
		pthread_cond_wait(&uploads->turn, &uploads->lock);
	if (!upload->turn && !atomic_load(&upload->cancel)) {
		upload->turn = true;
		uploads->running++;
	}
	pthread_mutex_unlock(&uploads->lock);
	return upload->turn;
}

static void end_turn(struct nar_upload *upload)
{
	struct nar_uploads *uploads = upload->uploads;

	if (!upload->turn)
		return;
	upload->turn = false;
	pthread_mutex_lock(&uploads->lock);
	uploads->running--;
	pthread_cond_broadcast(&uploads->turn);
	pthread_mutex_unlock(&uploads->lock);
}

static bool has_bytes(const struct nar_upload *upload)
{
	return upload->len > 0 || upload->ended || atomic_load(&upload->cancel);
}

/* Also after the last of them. False: it was given up. */
static bool wait_for_bytes(struct nar_upload *upload)
{
	bool there;

	pthread_mutex_lock(&upload->lock);
	there = has_bytes(upload);
	pthread_mutex_unlock(&upload->lock);
	if (!there)
		end_turn(upload);
	pthread_mutex_lock(&upload->lock);
	while (!has_bytes(upload))
		pthread_cond_wait(&upload->filled, &upload->lock);
	pthread_mutex_unlock(&upload->lock);
	return take_turn(upload);
}

/* The bytes as they were sent. */
static enum rc read_sent(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct nar_upload *upload = context;
	enum rc rc = RC_OK;

	*got = 0;
	if (!wait_for_bytes(upload))
		return err_set(err, RC_CANCELLED, "the upload was given up");
	pthread_mutex_lock(&upload->lock);
	if (upload->len > 0) {
		size_t end = RING - upload->from;

		*got = len < upload->len ? len : upload->len;
		if (*got > end)
			*got = end;
		memcpy(out, upload->ring + upload->from, *got);
		upload->from = (upload->from + *got) % RING;
		upload->len -= *got;
		/* Not for a few bytes. */
		if (upload->len <= RING / 2)
			wake_if_waited(upload, &upload->waits);
	}
	pthread_mutex_unlock(&upload->lock);
	if (upload->file_size == 0)
		upload->plain = is_plain(upload, view_of(out, *got));
	if (*got > 0 && !upload->plain && EVP_DigestUpdate(upload->sha256, out, *got) != 1)
		rc = err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	upload->file_size += *got;
	return rc;
}

/* ---- What a client may have ---- */

/* Counts the upload as one of so many bytes, where its client and all of them may have those. */
static enum rc reserve(struct nar_upload *upload, uint64_t size, struct err *err)
{
	struct nar_uploads *uploads = upload->uploads;
	const struct nar_upload_limits *limits = &uploads->limits;
	struct nar_client *client = upload->client;
	enum rc rc = RC_OK;
	uint64_t more;

	if (size > limits->nar_bytes)
		return err_set(err, RC_TOO_LARGE, "a NAR of more than %ju bytes",
			       (uintmax_t)limits->nar_bytes);
	more = size > upload->reserved ? size - upload->reserved : 0;
	pthread_mutex_lock(&uploads->lock);
	if (upload->own_waiting + client->bytes + more > limits->client_bytes)
		rc = err_set(err, RC_TOO_LARGE,
			     "the NAR, with others of this client that wait for their narinfo, has "
			     "more than %ju bytes",
			     (uintmax_t)limits->client_bytes);
	else if (upload->all_waiting + uploads->bytes + more > limits->all_bytes)
		rc = err_set(err, RC_TOO_LARGE,
			     "NARs of more than %ju bytes wait for their narinfos",
			     (uintmax_t)limits->all_bytes);
	if (rc == RC_OK) {
		client->bytes += more;
		uploads->bytes += more;
		upload->reserved += more;
	}
	pthread_mutex_unlock(&uploads->lock);
	return rc;
}

/* Others of this client may be done meanwhile, and wait. */
static enum rc look_what_waits(struct nar_upload *upload, struct err *err)
{
	struct nar_uploads *uploads = upload->uploads;

	upload->looked_at = upload->nar_size;
	return pending_upload_sum(uploads->services.scratch, &upload->op, &upload->client->id,
				  uploads->limits.count_ns, &upload->own_waiting,
				  &upload->all_waiting, err);
}

static enum rc read_nar(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct nar_upload *upload = context;
	enum rc rc = decompress_stream_read(upload->stream, out, len, got, err);

	upload->nar_size += *got;
	if (rc == RC_OK && (*got == 0 || upload->nar_size - upload->looked_at > LOOK_EVERY))
		rc = look_what_waits(upload, err);
	if (rc == RC_OK)
		rc = reserve(upload, upload->nar_size, err);
	if (rc != RC_OK)
		*got = 0;
	return rc;
}

/* Before a byte is stored. */
static enum rc reserve_expected(struct nar_upload *upload, struct err *err)
{
	enum rc rc = look_what_waits(upload, err);

	return rc == RC_OK ? reserve(upload, upload->expected, err) : rc;
}

static enum rc import(struct nar_upload *upload, struct err *err)
{
	const struct services *services = &upload->uploads->services;
	struct pending_upload pending AUTO_PENDING_UPLOAD = { .client = upload->client->id };
	enum rc rc = reserve_expected(upload, err);

	if (rc == RC_OK)
		rc = nar_import(services, &upload->op, read_nar, upload, &pending.root,
				&pending.facts, err);
	if (rc != RC_OK)
		return rc;
	if (upload->plain)
		pending.file_sha256 = pending.facts.nar_sha256;
	else if (EVP_DigestFinal_ex(upload->sha256, pending.file_sha256.bytes, NULL) != 1)
		return err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	pending.file_size = upload->file_size;
	pending.expires_ns = clock_realtime_ns() + upload->uploads->limits.keep_ns;
	return pending_upload_put(services->scratch, &upload->op, buf_view(&upload->url), &pending,
				  err);
}

static void *upload_run(void *arg)
{
	struct nar_upload *upload = arg;
	struct err err = ERR_INIT;
	enum rc rc = import(upload, &err);

	end_turn(upload);
	if (rc != RC_OK)
		log_debug("upload of %s: %s", buf_string(&upload->url), err.message);
	pthread_mutex_lock(&upload->lock);
	upload->done = true;
	upload->rc = rc;
	upload->err = err;
	wake_if_waited(upload, &upload->waits);
	pthread_mutex_unlock(&upload->lock);
	return NULL;
}

/* ---- The server's side ---- */

static enum rc count_open(struct nar_uploads *uploads, const struct digest *id,
			  struct nar_client **out, struct err *err)
{
	const struct nar_upload_limits *limits = &uploads->limits;
	struct nar_client *client;
	enum rc rc = RC_OK;

	pthread_mutex_lock(&uploads->lock);
	client = hashmap_get(&uploads->clients, id);
	if (uploads->open >= limits->open)
		rc = err_set(err, RC_BUSY, "%u uploads are under way already", limits->open);
	else if (client && client->open >= limits->client_open)
		rc = err_set(err, RC_BUSY, "%u uploads of this client are under way already",
			     limits->client_open);
	if (rc == RC_OK && !client) {
		client = mem_zalloc(sizeof(*client));
		client->id = *id;
		hashmap_put(&uploads->clients, id, client);
	}
	if (rc == RC_OK) {
		client->open++;
		uploads->open++;
		*out = client;
	}
	pthread_mutex_unlock(&uploads->lock);
	return rc;
}

/* What waits now is in the scratch store. */
static void count_closed(struct nar_upload *upload)
{
	struct nar_uploads *uploads = upload->uploads;
	struct nar_client *client = upload->client;

	pthread_mutex_lock(&uploads->lock);
	client->bytes -= upload->reserved;
	uploads->bytes -= upload->reserved;
	uploads->open--;
	if (--client->open == 0) {
		hashmap_remove(&uploads->clients, &client->id);
		free(client);
	}
	pthread_mutex_unlock(&uploads->lock);
}

/* Its thread has ended, or never began. */
static void upload_free(struct nar_upload *upload)
{
	count_closed(upload);
	decompress_stream_free(upload->stream);
	EVP_MD_CTX_free(upload->sha256);
	pthread_cond_destroy(&upload->filled);
	pthread_mutex_destroy(&upload->lock);
	buf_release(&upload->url);
	free(upload->ring);
	free(upload);
}

enum rc nar_upload_open(struct nar_uploads *uploads, struct view url, struct view client,
			uint64_t expected, nar_upload_wake *wake, void *context,
			struct nar_upload **out, struct err *err)
{
	struct digest id = digest_of(client);
	struct nar_client *counted = NULL;
	struct nar_upload *upload;
	enum rc rc;

	*out = NULL;
	if (url.len == 0 || url.len > PENDING_URL_MAX)
		return err_set(err, RC_INVALID, "a URL of %zu bytes is not that of a NAR", url.len);
	EVP_MD_CTX *sha256 = EVP_MD_CTX_new();
	rc = sha256 && EVP_DigestInit_ex(sha256, EVP_sha256(), NULL) == 1
		     ? count_open(uploads, &id, &counted, err)
		     : err_set(err, RC_NO_MEMORY, "libcrypto cannot compute SHA-256");
	if (rc != RC_OK) {
		EVP_MD_CTX_free(sha256);
		return rc;
	}
	upload = mem_zalloc(sizeof(*upload));
	upload->uploads = uploads;
	upload->client = counted;
	upload->expected = expected;
	buf_append_view(&upload->url, url);
	upload->wake = wake;
	upload->context = context;
	upload->op.cancel = &upload->cancel;
	upload->op.deadline_ns = clock_monotonic_ns() + uploads->limits.upload_ns;
	upload->ring = mem_alloc(RING);
	pthread_mutex_init(&upload->lock, NULL);
	pthread_cond_init(&upload->filled, NULL);
	upload->stream = decompress_stream_new(read_sent, upload, url);
	upload->sha256 = sha256;
	rc = thread_start(&upload->thread, "castor-upload", upload_run, upload, err);
	if (rc == RC_OK)
		*out = upload;
	else
		upload_free(upload);
	return rc;
}

enum rc nar_upload_write(struct nar_upload *upload, struct view bytes, size_t *taken,
			 struct err *err)
{
	enum rc rc = RC_OK;

	*taken = 0;
	pthread_mutex_lock(&upload->lock);
	if (upload->done) {
		/* Bytes are left, and it ended: well it cannot have. */
		rc = upload->rc;
		*err = upload->err;
	}
	while (!upload->done && *taken < bytes.len && upload->len < RING) {
		size_t at = (upload->from + upload->len) % RING;
		size_t room = at < upload->from ? upload->from - at : RING - at;
		size_t len = bytes.len - *taken < room ? bytes.len - *taken : room;

		memcpy(upload->ring + at, bytes.ptr + *taken, len);
		upload->len += len;
		*taken += len;
	}
	upload->waits = rc == RC_OK && *taken < bytes.len;
	pthread_cond_signal(&upload->filled);
	pthread_mutex_unlock(&upload->lock);
	return rc;
}

enum rc nar_upload_finish(struct nar_upload *upload, bool *done, struct err *err)
{
	enum rc rc = RC_OK;

	pthread_mutex_lock(&upload->lock);
	upload->ended = true;
	*done = upload->done;
	upload->waits = !upload->done;
	if (upload->done) {
		rc = upload->rc;
		*err = upload->err;
	}
	pthread_cond_signal(&upload->filled);
	pthread_mutex_unlock(&upload->lock);
	return rc;
}

void nar_upload_free(struct nar_upload *upload)
{
	struct nar_uploads *uploads;

	if (!upload)
		return;
	uploads = upload->uploads;
	atomic_store(&upload->cancel, true);
	pthread_mutex_lock(&upload->lock);
	upload->waits = false;
	pthread_cond_signal(&upload->filled);
	pthread_mutex_unlock(&upload->lock);
	pthread_mutex_lock(&uploads->lock);
	pthread_cond_broadcast(&uploads->turn);
	pthread_mutex_unlock(&uploads->lock);
	pthread_join(upload->thread, NULL);
	upload_free(upload);
}
