/*
 * Reads a blob from a daemon, in one of three ways:
 *  - whole: one Read into memory, for blobs of up to 1 MiB;
 *  - by chunks: the list that Stat gave, each chunk read by its own digest, the next few asked for
 *    ahead of a reader that goes in order, so that a seek in a large blob never downloads the
 * whole;
 *  - spooled: a larger blob of which the server keeps no list is read once into an unlinked file
 *    and checked there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "net/messages.h"
#include "service/blob/grpc.h"

enum {
	WHOLE_MAX = 1 << 20,
	STRETCH = 512 << 10, /* of a spooled blob, handed out at once */
	AHEAD = 4,           /* chunks asked for before they are needed */
	SLOTS = AHEAD + 1,
};

static const char read_method[] = "castore.v1.BlobService/Read";

/* A chunk on its way, or here. */
struct slot {
	bool used, arrived;
	size_t index;
	struct buf bytes;
	size_t limit;
	struct rpc_done done;
};

struct blob_grpc_reader {
	struct blob_reader reader;
	struct rpc_channel *channel;
	struct buf whole;            /* way one */
	struct blob_chunk_list list; /* way two */
	struct rpc_calls *calls;
	struct slot slots[SLOTS];
	size_t next_index; /* where a reader that goes in order reads next */
	int spool;         /* way three; else -1 */
};

static struct blob_grpc_reader *grpc_of(struct blob_reader *reader)
{
	return CONTAINER_OF(reader, struct blob_grpc_reader, reader);
}

static void drop_slots(struct blob_grpc_reader *grpc)
{
	rpc_calls_free(grpc->calls);
	grpc->calls = NULL;
	for (size_t i = 0; i < SLOTS; i++) {
		buf_release(&grpc->slots[i].bytes);
		grpc->slots[i] = (struct slot){ 0 };
	}
}

static void reader_free(struct blob_reader *reader)
{
	struct blob_grpc_reader *grpc = grpc_of(reader);

	drop_slots(grpc);
	buf_release(&grpc->whole);
	blob_chunk_list_release(&grpc->list);
	fd_cleanup(&grpc->spool);
	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static size_t chunk_index(const struct blob_chunk_list *list, uint64_t offset)
{
	size_t low = 0;
	size_t high = list->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (list->chunks[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static enum rc reader_locate(struct blob_reader *reader, const struct op *op, uint64_t offset,
			     struct blob_chunk *out, struct err *err)
{
	struct blob_grpc_reader *grpc = grpc_of(reader);
	uint64_t start = offset - offset % STRETCH;
	uint64_t left = reader->size - start;

	(void)op;
	(void)err;
	if (grpc->list.count > 0)
		*out = grpc->list.chunks[chunk_index(&grpc->list, offset)];
	else if (grpc->spool >= 0)
		*out = (struct blob_chunk){ .offset = start,
					    .size = (uint32_t)(left < STRETCH ? left : STRETCH) };
	else
		*out = (struct blob_chunk){ .digest = reader->digest,
					    .size = (uint32_t)reader->size,
					    .has_digest = true };
	return RC_OK;
}

static enum rc slot_reply(void *context, struct view message, struct err *err)
{
	struct slot *slot = context;
	struct view data;
	enum rc rc = message_read_blob_chunk(message, &data, err);

	if (rc != RC_OK)
		return rc;
	if (data.len > slot->limit - slot->bytes.len)
		return err_set(err, RC_CORRUPT, "a chunk is longer than its list says");
	buf_append_view(&slot->bytes, data);
	return RC_OK;
}

static struct slot *find_slot(struct blob_grpc_reader *grpc, size_t index)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (grpc->slots[i].used && grpc->slots[i].index == index)
			return &grpc->slots[i];
	return NULL;
}

static void ask_for(struct blob_grpc_reader *grpc, const struct op *op, size_t index)
{
	struct buf message = BUF_INIT;

	if (index >= grpc->list.count || find_slot(grpc, index))
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &grpc->slots[i];

		if (slot->used)
			continue;
		*slot = (struct slot){ .used = true,
				       .index = index,
				       .limit = grpc->list.chunks[index].size };
		message_write_digest(&grpc->list.chunks[index].digest, &message);
		/* What is asked for ahead outlives this op: its deadline must not end it. */
		rpc_calls_start(grpc->calls, &(struct op){ .trace = op->trace }, read_method,
				&message, slot_reply, slot);
		return;
	}
}

static enum rc wait_for(struct blob_grpc_reader *grpc, const struct op *op, struct slot *slot,
			struct err *err)
{
	while (!slot->arrived) {
		struct rpc_done done = { 0 };
		struct slot *came;
		bool any;
		enum rc rc = rpc_calls_next(grpc->calls, op, true, &done, &any, err);

		if (rc != RC_OK)
			return rc;
		if (!any)
			return err_set(err, RC_IO, "a call was lost");
		came = done.context;
		came->arrived = true;
		came->done = done;
	}
	if (slot->done.rc != RC_OK)
		return err_set(err, slot->done.rc, "%s", slot->done.err.message);
	if (slot->bytes.len != slot->limit)
		return err_set(err, RC_CORRUPT, "a chunk has %zu bytes where its list says %zu",
			       slot->bytes.len, slot->limit);
	return RC_OK;
}

static enum rc read_by_chunk(struct blob_grpc_reader *grpc, const struct op *op, size_t index,
			     void *out, struct err *err)
{
	bool in_order = index == grpc->next_index;
	struct slot *slot = find_slot(grpc, index);
	enum rc rc;

	if (!slot && grpc->calls)
		drop_slots(grpc);
	if (!grpc->calls)
		grpc->calls = rpc_calls_new(grpc->channel);
	for (size_t i = index; i <= index + (in_order ? AHEAD : 0); i++)
		ask_for(grpc, op, i);
	slot = find_slot(grpc, index);
	rc = wait_for(grpc, op, slot, err);
	if (rc != RC_OK) {
		drop_slots(grpc);
		return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
	}
	memcpy(out, slot->bytes.ptr, slot->bytes.len);
	buf_release(&slot->bytes);
	*slot = (struct slot){ 0 };
	grpc->next_index = index + 1;
	return RC_OK;
}

static enum rc reader_read_chunk(struct blob_reader *reader, const struct op *op,
				 const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct blob_grpc_reader *grpc = grpc_of(reader);
	size_t got;
	enum rc rc;

	if (grpc->list.count > 0)
		return read_by_chunk(grpc, op, chunk_index(&grpc->list, chunk->offset), out, err);
	if (grpc->spool < 0) {
		memcpy(out, grpc->whole.ptr, grpc->whole.len);
		return RC_OK;
	}
	rc = file_pread_full(grpc->spool, out, chunk->size, chunk->offset, &got, "spooled blob",
			     err);
	if (rc == RC_OK && got != chunk->size)
		rc = err_set(err, RC_IO, "a spooled blob became shorter");
	return rc;
}

static const struct blob_reader_ops reader_ops = {
	.free = reader_free,
	.locate = reader_locate,
	.read_chunk = reader_read_chunk,
};

/* ---- Reading whole, into memory as long as it is small, then into a file ---- */

struct download {
	struct buf bytes;
	int spool;
	uint64_t size;
	uint64_t limit;
	struct hasher hasher;
};

static enum rc open_spool(struct download *download, struct err *err)
{
	const char *dir = getenv("TMPDIR");

	download->spool = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (download->spool < 0)
		return err_errno(err, errno, "cannot make a temporary file in %s",
				 dir ? dir : "/tmp");
	return file_write_all(download->spool, download->bytes.ptr, download->bytes.len,
			      "temporary file", err);
}

static enum rc download_reply(void *context, struct view message, struct err *err)
{
	struct download *download = context;
	struct view data;
	enum rc rc = message_read_blob_chunk(message, &data, err);

	if (rc != RC_OK)
		return rc;
	if (data.len > download->limit - download->size)
		return err_set(err, RC_CORRUPT,
			       "the blob is longer than the %llu bytes it should have",
			       (unsigned long long)download->limit);
	hasher_update(&download->hasher, data.ptr, data.len);
	download->size += data.len;
	if (download->spool < 0 && download->size <= WHOLE_MAX) {
		buf_append_view(&download->bytes, data);
		return RC_OK;
	}
	if (download->spool < 0) {
		rc = open_spool(download, err);
		buf_release(&download->bytes);
		if (rc != RC_OK)
			return rc;
	}
	return file_write_all(download->spool, data.ptr, data.len, "temporary file", err);
}

static enum rc download_once(struct rpc_channel *channel, const struct op *op,
			     const struct digest *digest, struct download *download,
			     struct err *err)
{
	struct rpc_calls *calls = rpc_calls_new(channel);
	struct buf message = BUF_INIT;
	struct rpc_done done = { 0 };
	bool any;
	enum rc rc;

	message_write_digest(digest, &message);
	rpc_calls_start(calls, op, read_method, &message, download_reply, download);
	rc = rpc_calls_next(calls, op, true, &done, &any, err);
	rpc_calls_free(calls);
	return rc == RC_OK && done.rc != RC_OK ? err_set(err, done.rc, "%s", done.err.message) : rc;
}

static enum rc read_whole(struct blob_grpc_reader *grpc, const struct op *op,
			  const struct digest *digest, uint64_t size, struct err *err)
{
	struct download download = { .spool = -1, .limit = size };
	struct digest got;
	enum rc rc;

	hasher_init(&download.hasher);
	rc = download_once(grpc->channel, op, digest, &download, err);
	if (rc == RC_UNAVAILABLE && download.size == 0)
		rc = download_once(grpc->channel, op, digest, &download, err);
	grpc->whole = download.bytes;
	grpc->spool = download.spool;
	grpc->reader.size = download.size;
	if (rc != RC_OK)
		return rc;
	got = hasher_final(&download.hasher);
	if (!digest_equal(&got, digest) || (size != BLOB_SIZE_UNKNOWN && download.size != size)) {
		char hex[DIGEST_HEX_MAX];

		digest_hex(digest, hex);
		return err_set(err, RC_CORRUPT, "blob %s: %s sent %llu bytes that are not it", hex,
			       rpc_channel_address(grpc->channel),
			       (unsigned long long)download.size);
	}
	return RC_OK;
}

enum rc blob_grpc_reader_open(struct rpc_channel *channel, const struct op *op,
			      const struct digest *digest, uint64_t size, struct blob_reader **out,
			      struct err *err)
{
	struct blob_grpc_reader *grpc = mem_zalloc(sizeof(*grpc));
	enum rc rc = RC_OK;

	blob_reader_init(&grpc->reader, &reader_ops, digest, size);
	grpc->channel = rpc_channel_ref(channel);
	grpc->spool = -1;
	if (size > WHOLE_MAX)
		rc = blob_grpc_stat(channel, op, digest, &grpc->list, err);
	if (rc == RC_OK && grpc->list.count > 0) {
		const struct blob_chunk *last = &grpc->list.chunks[grpc->list.count - 1];

		grpc->reader.size = last->offset + last->size;
		if (size != BLOB_SIZE_UNKNOWN && size != grpc->reader.size)
			rc = err_set(err, RC_CORRUPT,
				     "%s: a chunk list of %llu bytes for a blob of %llu",
				     rpc_channel_address(channel),
				     (unsigned long long)grpc->reader.size,
				     (unsigned long long)size);
	} else if (rc == RC_OK) {
		rc = read_whole(grpc, op, digest, size, err);
	}
	if (rc != RC_OK) {
		blob_reader_free(&grpc->reader);
		return rc;
	}
	*out = &grpc->reader;
	return RC_OK;
}
