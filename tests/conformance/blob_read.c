/* Reading from any blob service: what is there and what not, whole blobs, parts, many at once. */
#include "conformance/blob_checks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

/* ---- Being there, and not ---- */

static void empty_blob_is_there(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct blob_reader *reader = NULL;
	struct blob_chunk_list list;
	struct digest digest;
	uint64_t size = 1;
	bool has = false;

	for (int round = 0; round < 2; round++) {
		must(blob_service_has_many(blobs, &op_none, &digest_empty, 1, &has, &last_err));
		assert_true(has);
		must(blob_service_stat(blobs, &op_none, &digest_empty, &size, &list, &last_err));
		assert_int_equal(size, 0);
		assert_int_equal(list.count, 0);
		must(blob_service_get(blobs, &op_none, &digest_empty, 0, &out, &last_err));
		assert_int_equal(out.len, 0);
		must(blob_service_open_read(blobs, &op_none, &digest_empty, 0, &reader, &last_err));
		check_pread(reader, NULL, 0, 0, 10);
		check_pread(reader, NULL, 0, 7, 10);
		blob_reader_cleanup(&reader);
		/* Putting it is fine too. */
		must(blob_service_put(blobs, &op_none, view_of(NULL, 0), &digest, &last_err));
		assert_true(digest_equal(&digest, &digest_empty));
	}
	expect(RC_CORRUPT,
	       blob_service_open_read(blobs, &op_none, &digest_empty, 5, &reader, &last_err));
	assert_null(reader);
}

static void missing_blob(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct blob_reader *reader = (struct blob_reader *)&out;
	struct blob_chunk_list list = { (struct blob_chunk *)&out, 7 };
	struct digest digest;
	uint64_t size = 1;
	bool has = true;

	random_bytes(1, &digest, sizeof(digest));
	must(blob_service_has_many(blobs, &op_none, &digest, 1, &has, &last_err));
	assert_false(has);
	expect(RC_NOT_FOUND, blob_service_stat(blobs, &op_none, &digest, &size, &list, &last_err));
	assert_int_equal(size, 0);
	assert_null(list.chunks);
	assert_int_equal(list.count, 0);
	expect(RC_NOT_FOUND, blob_service_open_read(blobs, &op_none, &digest, BLOB_SIZE_UNKNOWN,
						    &reader, &last_err));
	assert_null(reader);
	expect(RC_NOT_FOUND,
	       blob_service_open_read(blobs, &op_none, &digest, 12345, &reader, &last_err));
	expect(RC_NOT_FOUND, blob_service_get(blobs, &op_none, &digest, 1 << 20, &out, &last_err));
	assert_int_equal(out.len, 0);
}

static void sizes_around_limits(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *bytes AUTO_FREE = test_content(i, sizes[i]);
		struct digest digest = put(blobs, bytes, sizes[i]);
		uint64_t size;
		bool has;

		must(blob_service_has_many(blobs, &op_none, &digest, 1, &has, &last_err));
		assert_true(has);
		must(blob_service_stat(blobs, &op_none, &digest, &size, NULL, &last_err));
		check_size(blobs, size, sizes[i]);
		check_blob(blobs, bytes, sizes[i]);
	}
}

static void size_that_contradicts(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct digest digest = put_test_content(blobs, 1, 1000);
	struct blob_reader *reader;

	must(blob_service_open_read(blobs, &op_none, &digest, 1000, &reader, &last_err));
	blob_reader_free(reader);
	expect(RC_CORRUPT,
	       blob_service_open_read(blobs, &op_none, &digest, 1001, &reader, &last_err));
	assert_null(reader);
}

static void get_keeps_the_limit(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct digest digest = put_test_content(blobs, 1, 1000);

	buf_append_string(&out, "before");
	expect(RC_TOO_LARGE, blob_service_get(blobs, &op_none, &digest, 999, &out, &last_err));
	assert_int_equal(out.len, 6);
	must(blob_service_get(blobs, &op_none, &digest, 1000, &out, &last_err));
	assert_int_equal(out.len, 1006);
}

/* ---- Reading ---- */

static void pread_at_odd_offsets(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	struct digest digest = put(blobs, bytes, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;

	must(blob_service_open_read(blobs, &op_none, &digest, BIG, &reader, &last_err));
	for (int i = 0; i < 200; i++)
		check_pread(reader, bytes, BIG, (size_t)random_below(BIG + 10),
			    (size_t)random_below(i % 2 ? 5000 : 700000));
	check_pread(reader, bytes, BIG, BIG - 1, 10);
	check_pread(reader, bytes, BIG, BIG, 10);
	check_pread(reader, bytes, BIG, BIG + 1, 10);
	check_pread(reader, bytes, BIG, 100, 0);
	blob_reader_will_need(reader, 12345, UINT64_MAX);
	blob_reader_will_need(reader, BIG + 1, 1);
	check_pread(reader, bytes, BIG, 12345, BIG);
}

static void locate_covers_the_blob(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	struct digest digest = put(blobs, bytes, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	struct blob_chunk chunk, again;

	must(blob_service_open_read(blobs, &op_none, &digest, BIG, &reader, &last_err));
	for (uint64_t at = 0; at < BIG; at += chunk.size) {
		uint8_t *out AUTO_FREE = NULL;

		must(blob_reader_locate(reader, &op_none, at, &chunk, &last_err));
		assert_int_equal(chunk.offset, at);
		assert_in_range(chunk.size, 1, CHUNK_MAX);
		must(blob_reader_locate(reader, &op_none, at + chunk.size - 1, &again, &last_err));
		assert_int_equal(again.offset, at);
		out = mem_alloc(chunk.size);
		must(blob_reader_read_chunk(reader, &op_none, &chunk, out, &last_err));
		assert_memory_equal(out, bytes + at, chunk.size);
		if (chunk.has_digest)
			continue;
		/* Of a stretch, any part may be read. */
		again = (struct blob_chunk){ .offset = at + 3, .size = 5 };
		must(blob_reader_read_chunk(reader, &op_none, &again, out, &last_err));
		assert_memory_equal(out, bytes + at + 3, 5);
	}
	expect(RC_INVALID, blob_reader_locate(reader, &op_none, BIG, &chunk, &last_err));
	assert_int_equal(chunk.size, 0);
}

/* Other clients ask for each chunk that they were told of. */
static void announced_chunks_are_blobs(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	struct digest digest = put(blobs, bytes, BIG);
	struct blob_chunk_list list, none;
	struct digest *digests AUTO_FREE = NULL;
	bool *has AUTO_FREE = NULL;
	uint64_t size, at = 0;

	must(blob_service_stat(blobs, &op_none, &digest, &size, &list, &last_err));
	check_size(blobs, size, BIG);
	digests = mem_array(list.count, sizeof(*digests));
	has = mem_array(list.count, sizeof(*has));
	for (size_t i = 0; i < list.count; i++) {
		const struct blob_chunk *chunk = &list.chunks[i];

		assert_int_equal(chunk->offset, at);
		digests[i] = chunk->digest;
		must(blob_service_stat(blobs, &op_none, &chunk->digest, &size, &none, &last_err));
		check_size(blobs, size, chunk->size);
		assert_int_equal(none.count, 0);
		check_blob(blobs, bytes + at, chunk->size);
		at += chunk->size;
	}
	if (list.count > 0)
		assert_int_equal(at, BIG);
	must(blob_service_has_many(blobs, &op_none, digests, list.count, has, &last_err));
	for (size_t i = 0; i < list.count; i++)
		assert_true(has[i]);
	blob_chunk_list_release(&list);
}

static void descriptor_has_the_bytes(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	uint8_t *out AUTO_FREE = mem_alloc(BIG);
	struct digest digest = put(blobs, bytes, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	struct stat st;
	int fd;

	must(blob_service_open_read(blobs, &op_none, &digest, BIG, &reader, &last_err));
	fd = blob_reader_fd(reader);
	assert_int_equal(fd >= 0, fixture->backend->descriptors);
	if (fd < 0)
		return;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, BIG);
	assert_int_equal(pread(fd, out, BIG, 0), BIG);
	assert_memory_equal(out, bytes, BIG);
}

/* False where the backend has none. (A skip would leave what cleans itself up.) */
static bool check_frames(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	struct digest digest = put(blobs, bytes, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	struct blob_chunk chunk;

	must(blob_service_open_read(blobs, &op_none, &digest, BIG, &reader, &last_err));
	for (uint64_t at = 0; at < BIG; at += chunk.size) {
		struct buf frame CLEANUP(buf_release) = BUF_INIT;
		uint8_t *out AUTO_FREE = NULL;
		enum rc rc;

		must(blob_reader_locate(reader, &op_none, at, &chunk, &last_err));
		rc = blob_reader_read_frame(reader, &op_none, &chunk, &frame, &last_err);
		if (rc == RC_UNSUPPORTED && frame.len == 0)
			return false;
		must(rc);
		assert_int_equal(ZSTD_findFrameCompressedSize(frame.ptr, frame.len), frame.len);
		assert_int_equal(ZSTD_getFrameContentSize(frame.ptr, frame.len), chunk.size);
		out = mem_alloc(chunk.size);
		assert_int_equal(ZSTD_decompress(out, chunk.size, frame.ptr, frame.len),
				 chunk.size);
		assert_memory_equal(out, bytes + at, chunk.size);
	}
	return true;
}

static void frames_decode_to_chunks(struct fixture *fixture)
{
	if (!check_frames(fixture))
		skip();
}

static void reader_outlives_the_handle(struct fixture *fixture)
{
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);
	struct digest digest = put(fixture->services.blobs, bytes, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;

	must(blob_service_open_read(fixture->services.blobs, &op_none, &digest, BIG, &reader,
				    &last_err));
	services_release(&fixture->services);
	check_pread(reader, bytes, BIG, 0, BIG);
}

/* ---- Many at once ---- */

struct seen {
	const uint8_t **bytes;
	const size_t *lens;
	enum rc *wanted;
	unsigned *calls;
};

static void seen_one(void *context, size_t i, enum rc rc, struct view bytes)
{
	struct seen *seen = context;

	seen->calls[i]++;
	assert_int_equal(rc, seen->wanted[i]);
	assert_int_equal(bytes.len, rc == RC_OK ? seen->lens[i] : 0);
	if (bytes.len > 0)
		assert_memory_equal(bytes.ptr, seen->bytes[i], bytes.len);
}

static void get_many_small_ones(struct fixture *fixture)
{
	enum { COUNT = 120, OTHERS = 5, ALL = COUNT + OTHERS };
	struct blob_service *blobs = fixture->services.blobs;
	struct digest digests[ALL];
	const uint8_t *bytes[ALL] = { NULL };
	size_t lens[ALL] = { 0 };
	enum rc wanted[ALL] = { RC_OK };
	unsigned calls[ALL] = { 0 };
	struct seen seen = { bytes, lens, wanted, calls };

	for (size_t i = 0; i < COUNT; i++) {
		lens[i] = 1 + (size_t)random_below(i % 10 ? 5000 : 300000);
		bytes[i] = test_content(i, lens[i]);
	}
	{
		struct blob_batch *batch AUTO_BLOB_BATCH = NULL;

		must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
		for (size_t i = 0; i < COUNT; i++) {
			struct blob_writer *writer;
			uint64_t size;

			must(blob_writer_open(batch, &writer, &last_err));
			must(blob_writer_write(writer, &op_none, view_of(bytes[i], lens[i]),
					       &last_err));
			must(blob_writer_close(writer, &op_none, &digests[i], &size, &last_err));
			assert_int_equal(size, lens[i]);
			blob_writer_free(writer);
			if (i == COUNT / 2)
				must(blob_batch_commit(batch, &op_none, &last_err));
		}
		must(blob_batch_commit(batch, &op_none, &last_err));
		/* A batch without anything in it may be committed. */
		must(blob_batch_commit(batch, &op_none, &last_err));
	}
	digests[COUNT] = digest_empty;
	random_bytes(9, &digests[COUNT + 1], DIGEST_SIZE);
	wanted[COUNT + 1] = RC_NOT_FOUND;
	digests[COUNT + 2] = digests[3];
	lens[COUNT + 2] = lens[3];
	bytes[COUNT + 2] = bytes[3];
	digests[COUNT + 3] = digests[COUNT + 1];
	wanted[COUNT + 3] = RC_NOT_FOUND;
	digests[COUNT + 4] = put_test_content(blobs, 4711, BLOB_GET_MANY_MAX + 1);
	wanted[COUNT + 4] = RC_TOO_LARGE;

	must(blob_service_get_many(blobs, &op_none, digests, ALL, seen_one, &seen, &last_err));
	for (size_t i = 0; i < ALL; i++)
		assert_int_equal(calls[i], 1);
	must(blob_service_get_many(blobs, &op_none, NULL, 0, seen_one, &seen, &last_err));
	for (size_t i = 0; i < COUNT; i++)
		free((void *)(uintptr_t)bytes[i]);
}

static void has_many_in_order(struct fixture *fixture)
{
	enum { COUNT = 300 };
	struct blob_service *blobs = fixture->services.blobs;
	struct digest digests[COUNT];
	bool has[COUNT];
	struct digest there = put_test_content(blobs, 1, 100);

	for (size_t i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			digests[i] = there;
		else if (i % 3 == 1)
			random_bytes(i, &digests[i], DIGEST_SIZE);
		else
			digests[i] = digest_empty;
	}
	must(blob_service_has_many(blobs, &op_none, digests, COUNT, has, &last_err));
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(has[i], i % 3 != 1);
	must(blob_service_has_many(blobs, &op_none, NULL, 0, NULL, &last_err));
}

/* ---- Failures ---- */

static void deadline_and_cancel(struct fixture *fixture)
{
	static const struct {
		const struct op *op;
		enum rc rc;
	} ended[] = { { &op_late, RC_DEADLINE }, { &op_cancelled, RC_CANCELLED } };
	struct blob_service *blobs = fixture->services.blobs;
	struct digest digest = put_test_content(blobs, 1, BIG);
	struct blob_reader *reader AUTO_BLOB_READER = NULL;

	must(blob_service_open_read(blobs, &op_none, &digest, BIG, &reader, &last_err));
	for (size_t i = 0; i < ARRAY_LEN(ended); i++) {
		const struct op *op = ended[i].op;
		enum rc rc = ended[i].rc;
		struct buf out CLEANUP(buf_release) = BUF_INIT;
		struct blob_reader *none;
		struct blob_batch *batch;
		struct digest put_digest;
		char byte;
		uint64_t size;
		size_t got = 1;
		bool has;

		expect(rc, blob_service_has_many(blobs, op, &digest, 1, &has, &last_err));
		assert_false(has);
		expect(rc, blob_service_stat(blobs, op, &digest, &size, NULL, &last_err));
		expect(rc, blob_service_open_read(blobs, op, &digest, BIG, &none, &last_err));
		expect(rc, blob_service_get(blobs, op, &digest, BIG, &out, &last_err));
		expect(rc, blob_service_open_batch(blobs, op, &batch, &last_err));
		assert_null(batch);
		expect(rc, blob_service_put(blobs, op, view_of("x", 1), &put_digest, &last_err));
		expect(rc, blob_reader_pread(reader, op, &byte, 1, 0, &got, &last_err));
		assert_int_equal(got, 0);
	}
}

/* Damage is never taken for absence, and disturbs nothing else. */
static void damage_is_corrupt(struct fixture *fixture)
{
	uint8_t bytes[10000], other[10000];
	struct digest digest;
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	bool has;

	random_bytes(1, bytes, sizeof(bytes));
	random_bytes(2, other, sizeof(other));
	digest = put(fixture->services.blobs, bytes, sizeof(bytes));
	put(fixture->services.blobs, other, sizeof(other));
	fixture_damage(fixture, view_of(bytes + 5000, 64));
	expect(RC_CORRUPT, blob_service_get(fixture->services.blobs, &op_none, &digest,
					    sizeof(bytes), &out, &last_err));
	assert_int_equal(out.len, 0);
	check_blob(fixture->services.blobs, other, sizeof(other));
	must(blob_service_has_many(fixture->services.blobs, &op_none, &digest, 1, &has, &last_err));
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "the empty blob is there", empty_blob_is_there },
		{ "a missing blob", missing_blob },
		{ "sizes around the limits of chunks", sizes_around_limits },
		{ "a size that contradicts", size_that_contradicts },
		{ "get keeps the limit", get_keeps_the_limit },
		{ "pread at odd offsets", pread_at_odd_offsets },
		{ "locate covers the blob", locate_covers_the_blob },
		{ "announced chunks are blobs", announced_chunks_are_blobs },
		{ "a descriptor has the bytes", descriptor_has_the_bytes },
		{ "frames decode to chunks", frames_decode_to_chunks },
		{ "a reader outlives the handle", reader_outlives_the_handle },
		{ "get_many small ones", get_many_small_ones },
		{ "has_many in order", has_many_in_order },
		{ "deadline and cancel", deadline_and_cancel },
		{ "damage is corrupt", damage_is_corrupt },
	};

	return conformance_run("blob_read", cases, ARRAY_LEN(cases), has_blobs);
}
