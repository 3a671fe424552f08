#include "transfer/zero_runs.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "castore/chunker.h"

enum { STEP = CHUNK_MAX };

void data_extents_release(struct data_extents *extents)
{
	free(extents->extents);
	*extents = (struct data_extents){ 0 };
}

/* ---- May there be any? ---- */

/* A run of ZERO_RUN_MIN holds at least one whole chunk, unless chunks are larger than CHUNK_MAX. */
static enum rc may_have_zeros(struct blob_reader *reader, const struct op *op, uint64_t size,
			      const uint8_t *zeros, bool *out, struct err *err)
{
	struct digest of_zeros = digest_empty;
	struct blob_chunk chunk;
	uint32_t hashed = 0;

	*out = true;
	for (uint64_t at = 0; at < size; at = chunk.offset + chunk.size) {
		enum rc rc = blob_reader_locate(reader, op, at, &chunk, err);

		if (rc != RC_OK)
			return rc;
		if (!chunk.has_digest || chunk.size > CHUNK_MAX)
			return RC_OK;
		if (chunk.size != hashed)
			of_zeros = digest_of(view_of(zeros, chunk.size));
		hashed = chunk.size;
		if (digest_equal(&chunk.digest, &of_zeros))
			return RC_OK;
	}
	*out = false;
	return RC_OK;
}

/* ---- Where are they? ---- */

struct scan {
	struct data_extents *out;
	size_t room;
	uint64_t data; /* where the data that is not yet in `out` begin */
	uint64_t run;  /* where the zeros begin that reach up to here; RUN_NONE: there are none */
};
static const uint64_t RUN_NONE = UINT64_MAX;

static void add_data(struct scan *scan, uint64_t end)
{
	if (end == scan->data)
		return;
	scan->out->extents = mem_grow(scan->out->extents, scan->out->count, &scan->room, 16,
				      sizeof(*scan->out->extents));
	scan->out->extents[scan->out->count++] =
		(struct data_extent){ .offset = scan->data, .len = end - scan->data };
}

/* The zeros up to here, if any, have ended. */
static void end_run(struct scan *scan, uint64_t at)
{
	if (scan->run != RUN_NONE && at - scan->run >= ZERO_RUN_MIN) {
		add_data(scan, scan->run);
		scan->data = at;
	}
	scan->run = RUN_NONE;
}

static void scan_bytes(struct scan *scan, uint64_t at, const uint8_t *bytes, size_t len,
		       const uint8_t *zeros)
{
	for (size_t i = 0; i < len; i += ZERO_RUN_ALIGN) {
		size_t block = len - i < ZERO_RUN_ALIGN ? len - i : ZERO_RUN_ALIGN;

		if (memcmp(bytes + i, zeros, block) != 0)
			end_run(scan, at + i);
		else if (scan->run == RUN_NONE)
			scan->run = at + i;
	}
}

enum rc data_extents_find(struct blob_service *blobs, const struct op *op, const struct node *file,
			  struct data_extents *out, struct err *err)
{
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	struct scan scan = { .out = out, .run = RUN_NONE };
	uint8_t *zeros AUTO_FREE = NULL, *bytes AUTO_FREE = NULL;
	size_t got = 1;
	bool look = file->size >= ZERO_RUN_MIN;
	enum rc rc = RC_OK;

	*out = (struct data_extents){ 0 };
	if (look) {
		zeros = mem_zalloc(CHUNK_MAX);
		rc = blob_service_open_read(blobs, op, &file->digest, file->size, &reader, err);
	}
	if (look && rc == RC_OK)
		rc = may_have_zeros(reader, op, file->size, zeros, &look, err);
	if (look && rc == RC_OK)
		bytes = mem_alloc(STEP);
	for (uint64_t at = 0; look && rc == RC_OK && got > 0 && at < file->size; at += got) {
		rc = blob_reader_pread(reader, op, bytes, STEP, at, &got, err);
		if (rc == RC_OK)
			scan_bytes(&scan, at, bytes, got, zeros);
	}
	if (rc != RC_OK) {
		data_extents_release(out);
		return rc;
	}
	end_run(&scan, file->size);
	add_data(&scan, file->size);
	return RC_OK;
}
