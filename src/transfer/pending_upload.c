/*
 * A record: u8 version (2), u8 1 if published, i64 expiry, the client's digest, u64 size and SHA-256 of the NAR, u64 size
 * and SHA-256 of the file, then the encoded node to the end; little-endian.
 */
#include "transfer/pending_upload.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/mem.h"

enum { RECORD_VERSION = 2, EXPIRED_MAX = 256 };

void pending_upload_release(struct pending_upload *pending)
{
	node_release(&pending->root);
	memset(pending, 0, sizeof(*pending));
}

void pending_upload_encode(const struct pending_upload *pending, struct buf *out)
{
	buf_append_byte(out, RECORD_VERSION);
	buf_append_byte(out, pending->published);
	buf_append_u64le(out, (uint64_t)pending->expires_ns);
	buf_append(out, pending->client.bytes, DIGEST_SIZE);
	buf_append_u64le(out, pending->facts.nar_size);
	buf_append(out, &pending->facts.nar_sha256, sizeof(pending->facts.nar_sha256));
	buf_append_u64le(out, pending->file_size);
	buf_append(out, &pending->file_sha256, sizeof(pending->file_sha256));
	node_encode(&pending->root, false, out);
}

enum rc pending_upload_decode(struct view bytes, struct pending_upload *out, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);
	struct node node;
	struct view rest;
	uint64_t expires;
	uint8_t version, published;

	memset(out, 0, sizeof(*out));
	cursor_u8(&cursor, &version);
	cursor_u8(&cursor, &published);
	cursor_u64le(&cursor, &expires);
	cursor_copy(&cursor, out->client.bytes, DIGEST_SIZE);
	cursor_u64le(&cursor, &out->facts.nar_size);
	cursor_copy(&cursor, &out->facts.nar_sha256, sizeof(out->facts.nar_sha256));
	cursor_u64le(&cursor, &out->file_size);
	cursor_copy(&cursor, &out->file_sha256, sizeof(out->file_sha256));
	if (!cursor_view(&cursor, cursor_left(&cursor), &rest) || version != RECORD_VERSION ||
	    published > 1 || node_decode(rest, &node, err) != RC_OK || node.name.len > 0) {
		memset(out, 0, sizeof(*out));
		return err_set(err, RC_CORRUPT, "the record of a pending upload is damaged");
	}
	out->expires_ns = (int64_t)expires;
	out->published = published != 0;
	node_copy(&out->root, &node);
	return RC_OK;
}

static enum rc put(struct scratch_store *scratch, const struct op *op, const struct digest *key,
		   const struct pending_upload *pending, struct err *err)
{
	struct buf record CLEANUP(buf_release) = BUF_INIT;

	pending_upload_encode(pending, &record);
	return scratch_store_put(scratch, op, SCRATCH_PENDING_UPLOADS, key, buf_view(&record), err);
}

enum rc pending_upload_put(struct scratch_store *scratch, const struct op *op, struct view url,
			   const struct pending_upload *pending, struct err *err)
{
	struct digest key = digest_of(url);

	return put(scratch, op, &key, pending, err);
}

enum rc pending_upload_renew(struct scratch_store *scratch, const struct op *op,
			     const struct digest *key, struct pending_upload *pending,
			     bool published, int64_t keep_ns, struct err *err)
{
	int64_t now = clock_realtime_ns();
	bool news = published && !pending->published;

	if (!news && pending->expires_ns > now + keep_ns / 2)
		return RC_OK;
	pending->published |= published;
	pending->expires_ns = now + keep_ns;
	return put(scratch, op, key, pending, err);
}

enum rc pending_upload_get(struct scratch_store *scratch, const struct op *op, struct view url,
			   struct pending_upload *out, struct err *err)
{
	struct buf record CLEANUP(buf_release) = BUF_INIT;
	struct digest key = digest_of(url);
	enum rc rc = scratch_store_get(scratch, op, SCRATCH_PENDING_UPLOADS, &key, &record, err);

	memset(out, 0, sizeof(*out));
	if (rc == RC_OK)
		rc = pending_upload_decode(buf_view(&record), out, err);
	if (rc == RC_OK && out->expires_ns <= clock_realtime_ns()) {
		pending_upload_release(out);
		rc = err_set(err, RC_NOT_FOUND, "that upload has expired");
	}
	return rc;
}

struct find {
	const struct nar_hash *wanted;
	struct pending_upload *out;
	struct digest *key;
	int64_t now;
	bool found;
};

static bool find_one(void *context, const struct digest *key, struct view value)
{
	struct find *find = context;
	struct pending_upload pending;

	if (pending_upload_decode(value, &pending, NULL) != RC_OK)
		return true;
	find->found = pending.expires_ns > find->now &&
		      memcmp(&pending.facts.nar_sha256, find->wanted, sizeof(*find->wanted)) == 0;
	if (!find->found) {
		pending_upload_release(&pending);
		return true;
	}
	*find->out = pending;
	*find->key = *key;
	return false;
}

enum rc pending_upload_find(struct scratch_store *scratch, const struct op *op,
			    const struct nar_hash *nar_sha256, struct pending_upload *out,
			    struct digest *key, struct err *err)
{
	struct find find = { nar_sha256, out, key, clock_realtime_ns(), false };
	enum rc rc;

	memset(out, 0, sizeof(*out));
	rc = scratch_store_scan(scratch, op, SCRATCH_PENDING_UPLOADS, find_one, &find, err);
	if (rc == RC_OK && !find.found)
		rc = err_set(err, RC_NOT_FOUND, "no such NAR was uploaded");
	return rc;
}

struct sum {
	const struct digest *client;
	int64_t now, count_ns;
	uint64_t own, all;
	struct digest expired[EXPIRED_MAX];
	size_t expired_count;
};

static bool sum_one(void *context, const struct digest *key, struct view value)
{
	struct sum *sum = context;
	struct pending_upload pending;
	bool damaged = pending_upload_decode(value, &pending, NULL) != RC_OK;

	if (damaged || pending.expires_ns <= sum->now - (pending.published ? 0 : sum->count_ns)) {
		if (sum->expired_count < EXPIRED_MAX)
			sum->expired[sum->expired_count++] = *key;
	} else if (!pending.published) {
		sum->all += pending.facts.nar_size;
		if (digest_equal(&pending.client, sum->client))
			sum->own += pending.facts.nar_size;
	}
	if (!damaged)
		pending_upload_release(&pending);
	return true;
}

enum rc pending_upload_sum(struct scratch_store *scratch, const struct op *op,
			   const struct digest *client, int64_t count_ns, uint64_t *own,
			   uint64_t *all, struct err *err)
{
	struct sum *sum AUTO_FREE = mem_zalloc(sizeof(*sum));
	enum rc rc;

	*own = *all = 0;
	sum->count_ns = count_ns;
	sum->client = client;
	sum->now = clock_realtime_ns();
	rc = scratch_store_scan(scratch, op, SCRATCH_PENDING_UPLOADS, sum_one, sum, err);
	for (size_t i = 0; rc == RC_OK && i < sum->expired_count; i++)
		rc = scratch_store_remove(scratch, op, SCRATCH_PENDING_UPLOADS, &sum->expired[i],
					  err);
	if (rc == RC_OK) {
		*own = sum->own;
		*all = sum->all;
	}
	return rc;
}
