/* What the suites of blob services share: putting content, and checking what comes back. */
#ifndef CASTOR_TESTS_BLOB_CHECKS_H
#define CASTOR_TESTS_BLOB_CHECKS_H

#include "conformance/conformance.h"

#include "base/mem.h"
#include "castore/chunker.h"

static inline bool has_blobs(const struct services *services)
{
	return services->blobs != NULL;
}

enum { BIG = 5 << 20 };

/* Around the limits of chunks, and larger. */
static const size_t sizes[] = {
	1,
	4096,
	CHUNK_MIN - 1,
	CHUNK_MIN,
	CHUNK_MIN + 1,
	CHUNK_AVERAGE,
	CHUNK_MAX - 1,
	CHUNK_MAX,
	CHUNK_MAX + 1,
	(1 << 20) - 1,
	1 << 20,
	(1 << 20) + 1,
	BIG,
};

static inline struct digest put(struct blob_service *blobs, const uint8_t *bytes, size_t len)
{
	struct digest digest, wanted = digest_of(view_of(bytes, len));

	must(blob_service_put(blobs, &op_none, view_of(bytes, len), &digest, &last_err));
	assert_true(digest_equal(&digest, &wanted));
	return digest;
}

static inline struct digest put_test_content(struct blob_service *blobs, uint64_t number,
					     size_t len)
{
	uint8_t *bytes AUTO_FREE = test_content(number, len);

	return put(blobs, bytes, len);
}

/* Reads a part, compares it. */
static inline void check_pread(struct blob_reader *reader, const uint8_t *bytes, size_t size,
			       size_t offset, size_t len)
{
	uint8_t *out AUTO_FREE = mem_alloc(len);
	size_t wanted = offset >= size ? 0 : len < size - offset ? len : size - offset;
	size_t got;

	must(blob_reader_pread(reader, &op_none, out, len, offset, &got, &last_err));
	assert_int_equal(got, wanted);
	if (wanted > 0)
		assert_memory_equal(out, bytes + offset, wanted);
}

/* What a stat said; a backend may leave open what it would have to read the blob for. */
static inline void check_size(struct blob_service *blobs, uint64_t said, uint64_t size)
{
	if (said != BLOB_SIZE_UNKNOWN || blob_service_latency(blobs) != BLOB_LATENCY_REMOTE)
		assert_int_equal(said, size);
}

static inline void check_blob(struct blob_service *blobs, const uint8_t *bytes, size_t size)
{
	struct digest digest = digest_of(view_of(bytes, size));
	struct blob_reader *reader AUTO_BLOB_READER = NULL;

	must(blob_service_open_read(blobs, &op_none, &digest, BLOB_SIZE_UNKNOWN, &reader,
				    &last_err));
	assert_int_equal(blob_reader_size(reader), size);
	check_pread(reader, bytes, size, 0, size + 1);
}

#endif
