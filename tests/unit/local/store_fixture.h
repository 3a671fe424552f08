/* A store, and ways to fill it. */
#ifndef CASTOR_TESTS_UNIT_LOCAL_STORE_FIXTURE_H
#define CASTOR_TESTS_UNIT_LOCAL_STORE_FIXTURE_H

#include "unit/testing.h"

#include "base/log.h"
#include "base/mem.h"
#include "castore/chunker.h"
#include "local/local_internal.h"
#include "local/local_store.h"
#include "service/blob/local.h"
#include "service/directory/local.h"
#include "service/path_info/local.h"

/* Half random, half text that shrinks. */
static inline uint8_t *make_bytes(size_t len, uint64_t seed)
{
	uint8_t *out = malloc(len + 1);

	testing_fill_seeded(seed, out, len);
	for (size_t i = 0; i < len; i++) {
		if ((i / 512) % 2)
			out[i] = (uint8_t)("store"[i % 5] + (int)((i / 977 + seed) % 3));
	}
	return out;
}

static inline struct local_store *fixture_open(const char *dir)
{
	struct local_store *store;
	struct err err = ERR_INIT;

	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err), &err);
	return store;
}

/* Puts a blob of any size into a batch, cut as everywhere. */
static inline enum rc fixture_add(struct blob_batch *batch, struct view bytes,
				  struct digest *digest, struct err *err)
{
	struct blob_writer *writer;
	uint64_t size;
	enum rc rc = blob_writer_open(batch, &writer, err);

	if (rc == RC_OK)
		rc = blob_writer_write(writer, &op_none, bytes, err);
	if (rc == RC_OK)
		rc = blob_writer_close(writer, &op_none, digest, &size, err);
	blob_writer_free(writer);
	return rc;
}

static inline struct digest fixture_put(struct blob_service *blobs, struct view bytes)
{
	struct blob_batch *batch;
	struct err err = ERR_INIT;
	struct digest digest;

	assert_ok(blob_service_open_batch(blobs, &op_none, &batch, &err), &err);
	assert_ok(fixture_add(batch, bytes, &digest, &err), &err);
	assert_ok(blob_batch_commit(batch, &op_none, &err), &err);
	blob_batch_free(batch);
	return digest;
}

/* Reads a whole blob and compares it. */
static inline void fixture_check(struct blob_service *blobs, const struct digest *digest,
				 struct view bytes)
{
	struct buf got = BUF_INIT;
	struct err err = ERR_INIT;

	assert_ok(blob_service_get(blobs, &op_none, digest, SIZE_MAX, &got, &err), &err);
	assert_int_equal(got.len, bytes.len);
	if (bytes.len > 0)
		assert_memory_equal(got.ptr, bytes.ptr, bytes.len);
	buf_release(&got);
}

/* A path info of a file with that digest; the seed makes its hash. */
static inline void fixture_info(struct path_info *out, const struct digest *blob, uint64_t size,
				uint64_t seed)
{
	memset(out, 0, sizeof(*out));
	testing_fill_seeded(seed, out->path.hash, STORE_PATH_HASH_SIZE);
	snprintf(out->path.name, sizeof(out->path.name), "thing-%u", (unsigned)seed);
	char base[STORE_PATH_BASENAME_MAX + 1];
	store_path_basename(&out->path, base);
	struct node node = {
		.kind = NODE_FILE,
		.size = size,
		.digest = *blob,
		.name = view_of_string(base),
	};
	node_copy(&out->node, &node);
	out->nar_size = size + 112;
}

#endif
