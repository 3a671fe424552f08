/* The blob wrappers against a backend that says whatever a test wants it to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "castore/chunker.h"
#include "double/double.h"
#include "service/blob/blob_service.h"
#include "service/blob/memory.h"

static struct err err;

/* ---- A backend of one blob, of one chunk, all of whose answers can be bent ---- */

struct bent {
	struct blob_service base;
	const char *content;
	struct blob_chunk located; /* what locate says, where bend_locate */
	bool bend_locate;
	struct blob_chunk listed[2]; /* what stat says */
	size_t list_count;
	uint64_t size;
	unsigned reads, opened, freed;
};

struct bent_reader {
	struct blob_reader base;
	struct bent *bent;
};

static struct bent *bent_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct bent, base);
}

static void bent_free(struct blob_service *service)
{
	bent_of(service)->freed++;
}

static enum rc bent_has_many(struct blob_service *service, const struct op *op,
			     const struct digest *digests, size_t count, bool *out,
			     struct err *error)
{
	(void)service, (void)op, (void)digests, (void)count;
	out[0] = true; /* before it fails */
	return err_set(error, RC_UNAVAILABLE, "not now");
}

static enum rc bent_stat(struct blob_service *service, const struct op *op,
			 const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			 struct err *error)
{
	struct bent *bent = bent_of(service);

	(void)op, (void)digest, (void)error;
	*size = bent->size;
	if (list) {
		list->chunks = mem_dup(bent->listed, sizeof(bent->listed));
		list->count = bent->list_count;
	}
	return RC_OK;
}

static void bent_reader_free(struct blob_reader *base)
{
	free(CONTAINER_OF(base, struct bent_reader, base));
}

static enum rc bent_locate(struct blob_reader *base, const struct op *op, uint64_t offset,
			   struct blob_chunk *out, struct err *error)
{
	struct bent *bent = CONTAINER_OF(base, struct bent_reader, base)->bent;

	(void)op, (void)offset, (void)error;
	*out = (struct blob_chunk){ base->digest, 0, (uint32_t)base->size, true };
	if (bent->bend_locate)
		*out = bent->located;
	return RC_OK;
}

static enum rc bent_read_chunk(struct blob_reader *base, const struct op *op,
			       const struct blob_chunk *chunk, void *out, struct err *error)
{
	struct bent *bent = CONTAINER_OF(base, struct bent_reader, base)->bent;

	(void)op, (void)error;
	bent->reads++;
	memcpy(out, bent->content + chunk->offset, chunk->size);
	return RC_OK;
}

static const struct blob_reader_ops bent_reader_ops = {
	.free = bent_reader_free,
	.locate = bent_locate,
	.read_chunk = bent_read_chunk,
};

static enum rc bent_open_read(struct blob_service *service, const struct op *op,
			      const struct digest *digest, uint64_t size, struct blob_reader **out,
			      struct err *error)
{
	struct bent_reader *reader = mem_zalloc(sizeof(*reader));

	(void)op, (void)size, (void)error;
	blob_reader_init(&reader->base, &bent_reader_ops, digest, bent_of(service)->size);
	reader->bent = bent_of(service);
	reader->bent->opened++;
	*out = &reader->base;
	return RC_OK;
}

static enum rc bent_open_batch(struct blob_service *service, const struct op *op,
			       struct blob_batch **out, struct err *error)
{
	(void)service, (void)op, (void)out;
	return err_set(error, RC_UNSUPPORTED, "this backend takes nothing");
}

static enum rc bent_get_many(struct blob_service *service, const struct op *op,
			     const struct digest *digests, size_t count, blob_done *done,
			     void *context, struct err *error)
{
	(void)op, (void)digests, (void)error;
	for (size_t i = count; i-- > 0;)
		done(context, i, RC_OK, view_of_string(bent_of(service)->content));
	return RC_OK;
}

static const struct blob_service_ops bent_ops = {
	.name = "bent",
	.latency = BLOB_LATENCY_DISK,
	.free = bent_free,
	.has_many = bent_has_many,
	.stat = bent_stat,
	.open_read = bent_open_read,
	.open_batch = bent_open_batch,
	.get_many = bent_get_many,
};

static void bent_init(struct bent *bent, const char *content)
{
	*bent = (struct bent){ .content = content, .size = strlen(content) };
	blob_service_init(&bent->base, &bent_ops);
}

static struct digest digest_of_string(const char *string)
{
	return digest_of(view_of_string(string));
}

/* ---- Questions ---- */

static void outputs_are_cleared(void **state)
{
	struct bent bent;
	struct digest digest = digest_of_string("x");
	struct blob_batch *batch = (struct blob_batch *)&bent;
	bool has[2] = { true, true };

	(void)state;
	bent_init(&bent, "content");
	assert_int_equal(blob_service_has_many(&bent.base, &op_none, &digest, 1, has, &err),
			 RC_UNAVAILABLE);
	assert_false(has[0]);
	assert_int_equal(blob_service_open_batch(&bent.base, &op_none, &batch, &err),
			 RC_UNSUPPORTED);
	assert_null(batch);
	assert_int_equal(blob_service_latency(&bent.base), BLOB_LATENCY_DISK);
}

static void calls_are_counted(void **state)
{
	struct bent bent;
	struct digest digest = digest_of_string("x");
	bool has;
	uint64_t size;

	(void)state;
	bent_init(&bent, "content");
	assert_int_equal(blob_service_stat(&bent.base, &op_none, &digest, &size, NULL, &err),
			 RC_OK);
	assert_int_equal(blob_service_has_many(&bent.base, &op_none, &digest, 1, &has, &err),
			 RC_UNAVAILABLE);
	assert_int_equal(bent.base.counts.calls, 2);
	assert_int_equal(bent.base.counts.failures, 1);
}

static void broken_lists_are_corrupt(void **state)
{
	struct digest digest = digest_of_string("whole");
	struct blob_chunk good = { digest, 0, 3, true };
	const struct blob_chunk seconds[] = {
		{ digest, 4, 4, true },          /* a gap */
		{ digest, 2, 4, true },          /* an overlap */
		{ digest, 3, 0, true },          /* nothing */
		{ digest, 3, 5, true },          /* past the end */
		{ digest, 3, 3, true },          /* before the end */
		{ digest, 3, UINT32_MAX, true }, /* far past it */
	};
	struct blob_chunk_list list;
	struct bent bent;
	uint64_t size;

	(void)state;
	bent_init(&bent, "content");
	bent.list_count = 2;
	bent.listed[0] = good;
	for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
		bent.listed[1] = seconds[i];
		assert_int_equal(
			blob_service_stat(&bent.base, &op_none, &digest, &size, &list, &err),
			RC_CORRUPT);
		assert_int_equal(size, 0);
		assert_null(list.chunks);
	}
	bent.listed[1] = (struct blob_chunk){ digest, 3, 4, true };
	assert_int_equal(blob_service_stat(&bent.base, &op_none, &digest, &size, &list, &err),
			 RC_OK);
	assert_int_equal(list.count, 2);
	blob_chunk_list_release(&list);
}

/* ---- Reading ---- */

static void chunks_that_do_not_cover(void **state)
{
	struct digest digest = digest_of_string("content");
	const struct blob_chunk wrong[] = {
		{ digest, 4, 3, true },                   /* after the offset */
		{ digest, 0, 3, true },                   /* before it */
		{ digest, 0, 0, true },                   /* empty */
		{ digest, 0, 8, true },                   /* past the end */
		{ digest, 3, UINT32_MAX, true },          /* far past it */
		{ digest, UINT64_MAX - 1, 7, true },      /* wraps */
		{ digest, 0, CHUNK_MAX_EVER + 1, false }, /* too large */
	};
	struct blob_reader *reader;
	struct blob_chunk chunk;
	struct bent bent;
	char byte;
	size_t got;

	(void)state;
	bent_init(&bent, "content");
	bent.bend_locate = true;
	assert_int_equal(blob_service_open_read(&bent.base, &op_none, &digest, 7, &reader, &err),
			 RC_OK);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		bent.located = wrong[i];
		assert_int_equal(blob_reader_locate(reader, &op_none, 3, &chunk, &err), RC_CORRUPT);
		assert_int_equal(chunk.size, 0);
		assert_int_equal(blob_reader_pread(reader, &op_none, &byte, 1, 3, &got, &err),
				 RC_CORRUPT);
		assert_int_equal(got, 0);
	}
	assert_int_equal(bent.reads, 0);
	blob_reader_free(reader);
	blob_service_unref(&bent.base);
	assert_int_equal(bent.freed, 1);
}

static void wrong_bytes_are_corrupt(void **state)
{
	struct digest digest = digest_of_string("another");
	char wanted_hex[DIGEST_HEX_MAX], found_hex[DIGEST_HEX_MAX];
	struct digest found = digest_of_string("content");
	struct blob_reader *reader;
	struct bent bent;
	char bytes[7];
	size_t got;

	(void)state;
	bent_init(&bent, "content");
	assert_int_equal(blob_service_open_read(&bent.base, &op_none, &digest, 7, &reader, &err),
			 RC_OK);
	digest_hex(&digest, wanted_hex);
	digest_hex(&found, found_hex);
	for (size_t len = 1; len <= sizeof(bytes); len++) { /* by way of the kept chunk, and not */
		assert_int_equal(blob_reader_pread(reader, &op_none, bytes, len, 0, &got, &err),
				 RC_CORRUPT);
		assert_int_equal(got, 0);
		assert_non_null(strstr(err.message, wanted_hex));
		assert_non_null(strstr(err.message, found_hex));
	}
	blob_reader_free(reader);
	blob_service_unref(&bent.base);
}

/* Small reads of one chunk decode it once; a stretch without digest is not read whole. */
static void reads_are_few(void **state)
{
	struct digest digest = digest_of_string("content");
	struct blob_reader *reader;
	struct bent bent;
	char byte;
	size_t got;

	(void)state;
	bent_init(&bent, "content");
	assert_int_equal(blob_service_open_read(&bent.base, &op_none, &digest, 7, &reader, &err),
			 RC_OK);
	for (uint64_t at = 0; at < 7; at++) {
		assert_int_equal(blob_reader_pread(reader, &op_none, &byte, 1, at, &got, &err),
				 RC_OK);
		assert_int_equal(byte, "content"[at]);
	}
	assert_int_equal(bent.reads, 1);
	blob_reader_free(reader);

	bent.bend_locate = true;
	bent.located = (struct blob_chunk){ .size = 7 };
	assert_int_equal(blob_service_open_read(&bent.base, &op_none, &digest, 7, &reader, &err),
			 RC_OK);
	assert_int_equal(blob_reader_pread(reader, &op_none, &byte, 1, 5, &got, &err), RC_OK);
	assert_int_equal(byte, 'n');
	assert_null(reader->last_bytes);
	assert_int_equal(blob_reader_fd(reader), -1);
	blob_reader_will_need(reader, 0, 7);
	blob_reader_free(reader);
	blob_service_unref(&bent.base);
	assert_int_equal(bent.freed, 1);
}

static unsigned done_calls;

static void check_done(void *context, size_t i, enum rc rc, struct view bytes)
{
	const enum rc *wanted = context;

	assert_int_equal(rc, wanted[i]);
	if (rc != RC_OK)
		assert_int_equal(bytes.len, 0);
	done_calls++;
}

/* get_many of a backend that brings the same bytes for all. */
static void get_many_is_checked(void **state)
{
	struct digest digests[] = { digest_of_string("content"), digest_of_string("other"),
				    digest_empty };
	enum rc wanted[] = { RC_OK, RC_CORRUPT, RC_OK };
	struct bent bent;

	(void)state;
	bent_init(&bent, "content");
	done_calls = 0;
	assert_int_equal(
		blob_service_get_many(&bent.base, &op_none, digests, 3, check_done, wanted, &err),
		RC_OK);
	assert_int_equal(done_calls, 3);
}

/* ---- The writer ---- */

/* However bytes come, they are cut as the chunker cuts the whole. */
static void writer_cuts_as_the_chunker(void **state)
{
	enum { SIZE = 3000000 };
	static const size_t steps[] = { 4096, 100000, 131072, 524288, 524289, SIZE };
	uint8_t *bytes = mem_alloc(SIZE);
	struct blob_chunk_list list;
	uint64_t random = 42, size;
	struct digest digest;

	(void)state;
	for (size_t i = 0; i < SIZE; i++) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		bytes[i] = (uint8_t)(random >> 56);
	}
	for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
		struct blob_service *blobs = blob_memory_new();
		struct blob_batch *batch;
		struct blob_writer *writer;
		struct chunker chunker;

		assert_int_equal(blob_service_open_batch(blobs, &op_none, &batch, &err), RC_OK);
		assert_int_equal(blob_writer_open(batch, &writer, &err), RC_OK);
		for (size_t at = 0; at < SIZE; at += steps[s]) {
			size_t len = SIZE - at < steps[s] ? SIZE - at : steps[s];

			assert_int_equal(
				blob_writer_write(writer, &op_none, view_of(bytes + at, len), &err),
				RC_OK);
		}
		assert_int_equal(blob_writer_close(writer, &op_none, &digest, &size, &err), RC_OK);
		blob_writer_free(writer);
		assert_int_equal(blob_batch_commit(batch, &op_none, &err), RC_OK);
		blob_batch_free(batch);
		assert_int_equal(blob_service_stat(blobs, &op_none, &digest, &size, &list, &err),
				 RC_OK);
		chunker_init(&chunker);
		for (size_t i = 0; i < list.count; i++) {
			uint64_t at = chunker.offset;

			assert_int_equal(list.chunks[i].offset, at);
			assert_int_equal(chunker_cut(&chunker, view_of(bytes + at, SIZE - at)),
					 list.chunks[i].size);
		}
		assert_int_equal(chunker.offset, SIZE);
		blob_chunk_list_release(&list);
		blob_service_unref(blobs);
	}
	free(bytes);
}

/* ---- Doubles ---- */

struct doubled {
	struct double_plan plan;
	struct blob_service *inner, *blobs;
	struct digest digest;
};

static int set_up_double(void **state)
{
	struct doubled *doubled = mem_zalloc(sizeof(*doubled));

	doubled->inner = blob_memory_new();
	doubled->blobs = double_blob_new(doubled->inner, &doubled->plan);
	*state = doubled;
	return blob_service_put(doubled->blobs, &op_none, view_of_string("content"),
				&doubled->digest, &err) == RC_OK
		       ? 0
		       : -1;
}

static int tear_down_double(void **state)
{
	struct doubled *doubled = *state;

	blob_service_unref(doubled->blobs);
	blob_service_unref(doubled->inner);
	free(doubled);
	return 0;
}

static enum rc get(struct doubled *doubled, const struct op *op)
{
	struct buf out CLEANUP(buf_release) = BUF_INIT;

	return blob_service_get(doubled->blobs, op, &doubled->digest, 100, &out, &err);
}

/* Every failure comes through as it is: none is taken for another. */
static void double_fails_as_told(void **state)
{
	struct doubled *doubled = *state;
	struct digest digest;

	for (int rc = RC_NOT_FOUND; rc < RC_COUNT_; rc++) {
		doubled->plan.rc = rc;
		assert_int_equal(get(doubled, &op_none), rc);
		assert_int_equal(blob_service_put(doubled->blobs, &op_none, view_of_string("new"),
						  &digest, &err),
				 rc);
	}
	doubled->plan.rc = RC_OK;
	assert_int_equal(get(doubled, &op_none), RC_OK);
}

static void double_fails_at_each_step_of_a_put(void **state)
{
	static const unsigned steps[] = { DOUBLE_OPEN, DOUBLE_WRITE, DOUBLE_COMMIT };
	struct doubled *doubled = *state;
	struct digest digest;

	doubled->plan.rc = RC_NO_SPACE;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		doubled->plan.where = steps[i];
		for (unsigned skip = 0; skip < (steps[i] == DOUBLE_WRITE ? 3 : 1); skip++) {
			doubled->plan.skip = skip;
			assert_int_equal(blob_service_put(doubled->blobs, &op_none,
							  view_of_string("new"), &digest, &err),
					 RC_NO_SPACE);
		}
	}
}

static void double_damages(void **state)
{
	struct doubled *doubled = *state;

	doubled->plan.corrupt = true;
	assert_int_equal(get(doubled, &op_none), RC_CORRUPT);
	doubled->plan.corrupt = false;
	assert_int_equal(get(doubled, &op_none), RC_OK);
}

static void *set_cancel(void *arg)
{
	struct doubled *doubled = ((void **)arg)[0];
	atomic_bool *cancel = ((void **)arg)[1];

	*cancel = double_plan_wait_hanging(&doubled->plan, 1);
	return NULL;
}

static void hanging_calls_end(void **state)
{
	struct doubled *doubled = *state;
	struct op late = { .deadline_ns = clock_monotonic_ns() + 20 * NS_PER_MS };
	atomic_bool cancel = false;
	struct op cancelled = { .cancel = &cancel };
	void *arg[] = { doubled, &cancel };
	pthread_t thread;

	doubled->plan.hang = true;
	assert_int_equal(get(doubled, &late), RC_DEADLINE);
	assert_int_equal(pthread_create(&thread, NULL, set_cancel, arg), 0);
	assert_int_equal(get(doubled, &cancelled), RC_CANCELLED);
	pthread_join(thread, NULL);
	doubled->plan.hang = false;
	doubled->plan.delay_ns = 10 * NS_PER_MS;
	late.deadline_ns = clock_monotonic_ns() + 5 * NS_PER_MS;
	assert_int_equal(get(doubled, &late), RC_DEADLINE);
	assert_int_equal(get(doubled, &op_none), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outputs_are_cleared),
		cmocka_unit_test(calls_are_counted),
		cmocka_unit_test(broken_lists_are_corrupt),
		cmocka_unit_test(chunks_that_do_not_cover),
		cmocka_unit_test(wrong_bytes_are_corrupt),
		cmocka_unit_test(reads_are_few),
		cmocka_unit_test(get_many_is_checked),
		cmocka_unit_test(writer_cuts_as_the_chunker),
		cmocka_unit_test_setup_teardown(double_fails_as_told, set_up_double,
						tear_down_double),
		cmocka_unit_test_setup_teardown(double_fails_at_each_step_of_a_put, set_up_double,
						tear_down_double),
		cmocka_unit_test_setup_teardown(double_damages, set_up_double, tear_down_double),
		cmocka_unit_test_setup_teardown(hanging_calls_end, set_up_double, tear_down_double),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
