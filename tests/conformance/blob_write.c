/* Writing to any blob service: batches, many threads, and what stays there later. */
#include "conformance/blob_checks.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/pool.h"
#include "threads.h"

/* ---- Writing ---- */

static void write_blob(struct blob_batch *batch, const uint8_t *bytes, size_t len, size_t step)
{
	struct blob_writer *writer;
	struct digest digest, wanted = digest_of(view_of(bytes, len));
	uint64_t size;

	must(blob_writer_open(batch, &writer, &last_err));
	for (size_t at = 0; at < len; at += step)
		must(blob_writer_write(writer, &op_none,
				       view_of(bytes + at, len - at < step ? len - at : step),
				       &last_err));
	must(blob_writer_close(writer, &op_none, &digest, &size, &last_err));
	assert_int_equal(size, len);
	assert_true(digest_equal(&digest, &wanted));
	expect(RC_FAILED_PRECONDITION,
	       blob_writer_write(writer, &op_none, view_of(bytes, len), &last_err));
	blob_writer_free(writer);
}

static void duplicates_in_a_batch(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	uint8_t *zeros AUTO_FREE = mem_zalloc(BIG); /* all of its chunks but the last are equal */
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);

	must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
	for (int round = 0; round < 2; round++) {
		for (int twice = 0; twice < 2; twice++) {
			write_blob(batch, zeros, BIG, 1 << 20);
			write_blob(batch, bytes, BIG, 77777);
			write_blob(batch, bytes, 1000, 1);
			write_blob(batch, bytes, 1000, 1000);
			write_blob(batch, bytes, 0, 1);
		}
		must(blob_batch_commit(batch, &op_none, &last_err));
		check_blob(blobs, zeros, BIG);
		check_blob(blobs, bytes, BIG);
		check_blob(blobs, bytes, 1000);
	}
}

static void encode_knows_what_is_there(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	uint8_t *bytes AUTO_FREE = test_content(1, 1000);
	struct digest digest = digest_of(view_of(bytes, 1000));
	struct blob_encoded *encoded;

	must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
	must(blob_batch_encode(batch, &op_none, view_of(bytes, 1000), &encoded, &last_err));
	assert_false(encoded->known);
	assert_int_equal(encoded->size, 1000);
	assert_true(digest_equal(&encoded->digest, &digest));
	blob_batch_free_encoded(batch, encoded);
	put(blobs, bytes, 1000);
	must(blob_batch_encode(batch, &op_none, view_of(bytes, 1000), &encoded, &last_err));
	assert_true(encoded->known);
	blob_batch_free_encoded(batch, encoded);
	blob_batch_free_encoded(batch, NULL);
	expect(RC_INVALID,
	       blob_batch_encode(batch, &op_none, view_of(NULL, 0), &encoded, &last_err));
	assert_null(encoded);
}

/* What is wrong with each, in a batch of its own; afterwards it takes nothing. */
static void broken_batches_are_refused(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, 1000);
	struct digest digest = digest_of(view_of(bytes, 1000));
	struct digest other;
	struct blob_chunk good = { digest, 0, 1000, true };
	struct blob_chunk list[] = { good, { digest, 1000, 1000, true } };
	bool has;

	random_bytes(5, &other, sizeof(other));
	for (int wrong = 0; wrong < 7; wrong++) {
		struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
		struct blob_encoded *encoded;
		struct blob_chunk odd = good;
		enum rc rc;

		must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
		must(blob_batch_encode(batch, &op_none, view_of(bytes, 1000), &encoded, &last_err));
		must(blob_batch_add_chunk(batch, &op_none, encoded, &last_err));
		if (wrong == 0) /* a commit between chunks */
			rc = blob_batch_commit(batch, &op_none, &last_err);
		else if (wrong == 1) /* a chunk that was not added */
			rc = blob_batch_add_blob(batch, &op_none, &other, 2000, list, 2, &last_err);
		else if (wrong == 2) /* another size */
			rc = blob_batch_add_blob(batch, &op_none, &digest, 999, &good, 1,
						 &last_err);
		else if (wrong == 3) /* another digest than its only chunk's */
			rc = blob_batch_add_blob(batch, &op_none, &other, 1000, &good, 1,
						 &last_err);
		else if (wrong == 4) /* no chunks */
			rc = blob_batch_add_blob(batch, &op_none, &digest, 1000, NULL, 0,
						 &last_err);
		else {
			odd.offset = wrong == 5;
			odd.has_digest = wrong != 6;
			rc = blob_batch_add_blob(batch, &op_none, &digest, 1000, &odd, 1,
						 &last_err);
		}
		expect(RC_INVALID, rc);
		expect(RC_FAILED_PRECONDITION, blob_batch_commit(batch, &op_none, &last_err));
		expect(RC_FAILED_PRECONDITION,
		       blob_batch_add_blob(batch, &op_none, &digest, 1000, &good, 1, &last_err));
		must(blob_batch_encode(batch, &op_none, view_of(bytes, 1000), &encoded, &last_err));
		expect(RC_FAILED_PRECONDITION,
		       blob_batch_add_chunk(batch, &op_none, encoded, &last_err));
	}
	must(blob_service_has_many(blobs, &op_none, &other, 1, &has, &last_err));
	assert_false(has);
	put(blobs, bytes, 1000);
	check_blob(blobs, bytes, 1000);
}

/* Given up at each stage; what comes after is not disturbed. */
static void abandoned_batches(struct fixture *fixture)
{
	struct blob_service *blobs = fixture->services.blobs;
	uint8_t *bytes AUTO_FREE = test_content(1, BIG);

	for (int stage = 0; stage < 3; stage++) {
		struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
		struct blob_writer *writer;

		must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
		if (stage == 1) {
			must(blob_writer_open(batch, &writer, &last_err));
			must(blob_writer_write(writer, &op_none, view_of(bytes, 3 << 20),
					       &last_err));
			blob_writer_free(writer);
		}
		if (stage == 2) {
			write_blob(batch, bytes, BIG, 65536);
			write_blob(batch, bytes, 1000, 1000);
		}
	}
	put(blobs, bytes, BIG);
	put(blobs, bytes, 1000);
	check_blob(blobs, bytes, BIG);
	check_blob(blobs, bytes, 1000);
}

/* ---- Threads ---- */

enum { THREADS = 4, PUTS = 24 };

struct worker {
	struct blob_service *blobs;
	unsigned number;
	bool failed;
};

/* Half of what each writes, the others write too. */
static uint8_t *worker_content(unsigned worker, unsigned i, size_t *len)
{
	*len = i % 8 == 0 ? 700000 + i : 100 + i * 37;
	return test_content(i % 2 ? i : i + 1000 * (worker + 1), *len);
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < PUTS && !worker->failed; i++) {
		size_t len;
		uint8_t *bytes AUTO_FREE = worker_content(worker->number, i, &len);
		struct buf out CLEANUP(buf_release) = BUF_INIT;
		struct digest digest;

		worker->failed = blob_service_put(worker->blobs, &op_none, view_of(bytes, len),
						  &digest, NULL) != RC_OK ||
				 blob_service_get(worker->blobs, &op_none, &digest, len, &out,
						  NULL) != RC_OK ||
				 !view_equal(buf_view(&out), view_of(bytes, len));
	}
	return NULL;
}

static void many_threads(struct fixture *fixture)
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ fixture->services.blobs, i, false };
		threads[i] = testing_thread("test", work, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(workers[i].failed);
	}
	for (unsigned worker = 0; worker < THREADS; worker++)
		for (unsigned i = 0; i < PUTS; i++) {
			size_t len;
			uint8_t *bytes AUTO_FREE = worker_content(worker, i, &len);

			check_blob(fixture->services.blobs, bytes, len);
		}
}

struct encoder {
	struct blob_batch *batch;
	const uint8_t *bytes;
	struct blob_encoded *out;
};

static void encode_one(void *arg)
{
	struct encoder *encoder = arg;

	if (blob_batch_encode(encoder->batch, &op_none, view_of(encoder->bytes, CHUNK_MIN),
			      &encoder->out, NULL) != RC_OK)
		encoder->out = NULL;
}

/* As an import does it: chunks are encoded at once, and added in their order. */
static void encode_in_parallel(struct fixture *fixture)
{
	enum { CHUNKS = 16 };
	struct blob_service *blobs = fixture->services.blobs;
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	uint8_t *bytes AUTO_FREE = test_content(1, CHUNKS * CHUNK_MIN);
	struct digest digest = digest_of(view_of(bytes, CHUNKS * CHUNK_MIN));
	struct encoder encoders[CHUNKS] = { 0 };
	struct blob_chunk list[CHUNKS] = { 0 };
	struct pool *pool = pool_new("test", THREADS, CHUNKS);

	must(blob_service_open_batch(blobs, &op_none, &batch, &last_err));
	for (size_t i = 0; i < CHUNKS; i++) {
		encoders[i].batch = batch;
		encoders[i].bytes = bytes + i * CHUNK_MIN;
		pool_submit(pool, encode_one, &encoders[i]);
	}
	pool_free(pool);
	for (size_t i = 0; i < CHUNKS; i++) {
		assert_non_null(encoders[i].out);
		list[i] = (struct blob_chunk){ encoders[i].out->digest, i * CHUNK_MIN, CHUNK_MIN,
					       true };
		must(blob_batch_add_chunk(batch, &op_none, encoders[i].out, &last_err));
	}
	must(blob_batch_add_blob(batch, &op_none, &digest, CHUNKS * CHUNK_MIN, list, CHUNKS,
				 &last_err));
	must(blob_batch_commit(batch, &op_none, &last_err));
	check_blob(blobs, bytes, CHUNKS * CHUNK_MIN);
}

/* ---- Later ---- */

static void reopened(struct fixture *fixture)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		put_test_content(fixture->services.blobs, i, sizes[i]);
	fixture_reopen(fixture);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *bytes AUTO_FREE = test_content(i, sizes[i]);

		check_blob(fixture->services.blobs, bytes, sizes[i]);
		put(fixture->services.blobs, bytes, sizes[i]);
	}
}

/* The disk runs full. What was put before stays, and the service goes on when there is room. */
static void full_disk(struct fixture *fixture)
{
	enum { DISK = 24 << 20, LEN = 1 << 20 };
	uint8_t *bytes = mem_alloc(LEN);
	struct digest digest;
	uint64_t count = 0;
	enum rc rc = RC_OK;

	if (!fixture_small_disk(fixture, DISK)) {
		free(bytes);
		skip();
	}
	while (rc == RC_OK) {
		random_bytes(count, bytes, LEN);
		rc = blob_service_put(fixture->services.blobs, &op_none, view_of(bytes, LEN),
				      &digest, &last_err);
		if (rc == RC_OK)
			assert_true(++count <= DISK / LEN);
	}
	expect(RC_NO_SPACE, rc);
	assert_true(count > 0);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < count; i++) {
			random_bytes(i, bytes, LEN);
			check_blob(fixture->services.blobs, bytes, LEN);
		}
		fixture_reopen(fixture);
	}
	free(bytes);
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "duplicates in a batch", duplicates_in_a_batch },
		{ "encode knows what is there", encode_knows_what_is_there },
		{ "broken batches are refused", broken_batches_are_refused },
		{ "abandoned batches", abandoned_batches },
		{ "many threads", many_threads },
		{ "encode in parallel", encode_in_parallel },
		{ "reopened", reopened },
		{ "a full disk", full_disk },
	};

	return conformance_run("blob_write", cases, ARRAY_LEN(cases), has_blobs);
}
