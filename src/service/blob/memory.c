/*
 * Blobs in this process's memory: the plainest backend there is, and the one to read first.
 *
 * Two maps: chunks by digest, and the lists of blobs that have more than one chunk. A blob of one
 * chunk needs no list: its chunk's digest is its own. Nothing is ever taken out, so what was found
 * under the lock stays good, without it, as long as the service lives (and readers and batches hold
 * a reference on that).
 */
#include "service/blob/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

struct memory_chunk {
	uint32_t size;
	uint8_t bytes[];
};

struct memory_blob {
	uint64_t size;
	size_t count; /* at least two */
	struct blob_chunk chunks[];
};

struct memory {
	struct blob_service base;
	pthread_mutex_t lock;
	/* Under the lock: */
	struct hashmap chunks; /* digest → struct memory_chunk */
	struct hashmap blobs;  /* digest → struct memory_blob */
};

static struct memory *memory_of(struct blob_service *service)
{
	return CONTAINER_OF(service, struct memory, base);
}

static void memory_free(struct blob_service *service)
{
	struct memory *memory = memory_of(service);
	void *value;

	for (size_t at = 0; hashmap_next(&memory->chunks, &at, NULL, &value);)
		free(value);
	for (size_t at = 0; hashmap_next(&memory->blobs, &at, NULL, &value);)
		free(value);
	hashmap_release(&memory->chunks);
	hashmap_release(&memory->blobs);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

/* Looks for a digest as a chunk (or blob of one chunk), and as a blob of several. At most one of
 * the two is set; the chunk goes first. False: neither. */
static bool find(struct memory *memory, const struct digest *digest,
		 const struct memory_chunk **chunk, const struct memory_blob **blob)
{
	pthread_mutex_lock(&memory->lock);
	*chunk = hashmap_get(&memory->chunks, digest->bytes);
	*blob = *chunk ? NULL : hashmap_get(&memory->blobs, digest->bytes);
	pthread_mutex_unlock(&memory->lock);
	return *chunk || *blob;
}

static enum rc not_found(const struct digest *digest, struct err *err)
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(digest, hex);
	return err_set(err, RC_NOT_FOUND, "blob %s is not there", hex);
}

static enum rc memory_has_many(struct blob_service *service, const struct op *op,
			       const struct digest *digests, size_t count, bool *out,
			       struct err *err)
{
	const struct memory_chunk *chunk;
	const struct memory_blob *blob;

	(void)op;
	(void)err;
	for (size_t i = 0; i < count; i++)
		out[i] = find(memory_of(service), &digests[i], &chunk, &blob);
	return RC_OK;
}

static enum rc memory_stat(struct blob_service *service, const struct op *op,
			   const struct digest *digest, uint64_t *size,
			   struct blob_chunk_list *list, struct err *err)
{
	const struct memory_chunk *chunk;
	const struct memory_blob *blob;

	(void)op;
	if (!find(memory_of(service), digest, &chunk, &blob))
		return not_found(digest, err);
	*size = chunk ? chunk->size : blob->size;
	if (list && blob) {
		list->chunks = mem_dup(blob->chunks, blob->count * sizeof(blob->chunks[0]));
		list->count = blob->count;
	}
	return RC_OK;
}

/* ---- Reading ---- */

struct memory_reader {
	struct blob_reader base;
	struct memory *memory;
	const struct memory_chunk *chunk; /* the whole blob, where it has one chunk; else */
	const struct memory_blob *blob;
};

static void memory_reader_free(struct blob_reader *base)
{
	free(base);
}

static enum rc memory_locate(struct blob_reader *base, const struct op *op, uint64_t offset,
			     struct blob_chunk *out, struct err *err)
{
	const struct memory_blob *blob = CONTAINER_OF(base, struct memory_reader, base)->blob;
	size_t low = 0, high;

	(void)op;
	(void)err;
	if (!blob) {
		*out = (struct blob_chunk){
			.digest = base->digest,
			.size = (uint32_t)base->size,
			.has_digest = true,
		};
		return RC_OK;
	}
	/* The last chunk that starts at or before the offset. */
	high = blob->count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (blob->chunks[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	*out = blob->chunks[low];
	return RC_OK;
}

static enum rc memory_read_chunk(struct blob_reader *base, const struct op *op,
				 const struct blob_chunk *chunk, void *out, struct err *err)
{
	struct memory_reader *reader = CONTAINER_OF(base, struct memory_reader, base);
	const struct memory_chunk *found = reader->chunk;
	const struct memory_blob *blob;

	(void)op;
	if (!found && (!find(reader->memory, &chunk->digest, &found, &blob) || !found))
		return not_found(&chunk->digest, err);
	memcpy(out, found->bytes, found->size);
	return RC_OK;
}

static const struct blob_reader_ops reader_ops = {
	.free = memory_reader_free,
	.locate = memory_locate,
	.read_chunk = memory_read_chunk,
};

static enum rc memory_open_read(struct blob_service *service, const struct op *op,
				const struct digest *digest, uint64_t size,
				struct blob_reader **out, struct err *err)
{
	struct memory *memory = memory_of(service);
	const struct memory_chunk *chunk;
	const struct memory_blob *blob;
	struct memory_reader *reader;

	(void)op;
	(void)size;
	if (!find(memory, digest, &chunk, &blob))
		return not_found(digest, err);
	reader = mem_zalloc(sizeof(*reader));
	blob_reader_init(&reader->base, &reader_ops, digest, chunk ? chunk->size : blob->size);
	reader->memory = memory;
	reader->chunk = chunk;
	reader->blob = blob;
	*out = &reader->base;
	return RC_OK;
}

/* ---- Writing ---- */

struct memory_batch {
	struct blob_batch base;
	struct memory *memory;
};

struct memory_encoded {
	struct blob_encoded base;
	struct memory_chunk *chunk; /* NULL where it is known */
};

static void memory_batch_free(struct blob_batch *base)
{
	free(base);
}

static void memory_free_encoded(struct blob_encoded *base)
{
	struct memory_encoded *encoded = CONTAINER_OF(base, struct memory_encoded, base);

	free(encoded->chunk);
	free(encoded);
}

static enum rc memory_encode(struct blob_batch *base, const struct op *op, struct view bytes,
			     struct blob_encoded **out, struct err *err)
{
	struct memory *memory = CONTAINER_OF(base, struct memory_batch, base)->memory;
	struct digest digest = digest_of(bytes);
	const struct memory_chunk *found;
	struct memory_chunk *chunk = NULL;
	const struct memory_blob *blob;
	struct memory_encoded *encoded;

	(void)op;
	find(memory, &digest, &found, &blob);
	if (!found) {
		chunk = mem_try_alloc(sizeof(*chunk) + bytes.len);
		if (!chunk)
			return err_set(err, RC_NO_MEMORY, "no memory for a chunk of %zu bytes",
				       bytes.len);
		chunk->size = (uint32_t)bytes.len;
		memcpy(chunk->bytes, bytes.ptr, bytes.len);
	}
	encoded = mem_zalloc(sizeof(*encoded));
	encoded->base = (struct blob_encoded){
		.digest = digest,
		.size = (uint32_t)bytes.len,
		.cost = sizeof(*encoded) + (chunk ? bytes.len : 0),
		.known = found != NULL,
	};
	encoded->chunk = chunk;
	*out = &encoded->base;
	return RC_OK;
}

static enum rc memory_add_chunk(struct blob_batch *base, const struct op *op,
				struct blob_encoded *base_encoded, struct err *err)
{
	struct memory *memory = CONTAINER_OF(base, struct memory_batch, base)->memory;
	struct memory_encoded *encoded = CONTAINER_OF(base_encoded, struct memory_encoded, base);

	(void)op;
	(void)err;
	pthread_mutex_lock(&memory->lock);
	/* Another thread may have brought the same chunk since it was encoded. */
	if (encoded->chunk && !hashmap_get(&memory->chunks, encoded->base.digest.bytes)) {
		hashmap_put(&memory->chunks, encoded->base.digest.bytes, encoded->chunk);
		encoded->chunk = NULL;
	}
	pthread_mutex_unlock(&memory->lock);
	memory_free_encoded(base_encoded);
	return RC_OK;
}

static enum rc memory_add_blob(struct blob_batch *base, const struct op *op,
			       const struct digest *digest, uint64_t size,
			       const struct blob_chunk *chunks, size_t count, struct err *err)
{
	struct memory *memory = CONTAINER_OF(base, struct memory_batch, base)->memory;
	struct memory_blob *blob;

	(void)op;
	(void)err;
	if (count < 2)
		return RC_OK;
	blob = mem_alloc(sizeof(*blob) + count * sizeof(*chunks));
	blob->size = size;
	blob->count = count;
	memcpy(blob->chunks, chunks, count * sizeof(*chunks));
	pthread_mutex_lock(&memory->lock);
	if (!hashmap_get(&memory->blobs, digest->bytes)) {
		hashmap_put(&memory->blobs, digest->bytes, blob);
		blob = NULL;
	}
	pthread_mutex_unlock(&memory->lock);
	free(blob);
	return RC_OK;
}

static enum rc memory_commit(struct blob_batch *base, const struct op *op, struct err *err)
{
	(void)base;
	(void)op;
	(void)err;
	return RC_OK;
}

static const struct blob_batch_ops batch_ops = {
	.free = memory_batch_free,
	.encode = memory_encode,
	.add_chunk = memory_add_chunk,
	.add_blob = memory_add_blob,
	.commit = memory_commit,
	.free_encoded = memory_free_encoded,
};

static enum rc memory_open_batch(struct blob_service *service, const struct op *op,
				 struct blob_batch **out, struct err *err)
{
	struct memory_batch *batch = mem_zalloc(sizeof(*batch));

	(void)op;
	(void)err;
	blob_batch_init(&batch->base, &batch_ops);
	batch->memory = memory_of(service);
	*out = &batch->base;
	return RC_OK;
}

static const struct blob_service_ops service_ops = {
	.name = "memory",
	.latency = BLOB_LATENCY_MEMORY,
	.free = memory_free,
	.has_many = memory_has_many,
	.stat = memory_stat,
	.open_read = memory_open_read,
	.open_batch = memory_open_batch,
};

struct blob_service *blob_memory_new(void)
{
	struct memory *memory = mem_zalloc(sizeof(*memory));

	blob_service_init(&memory->base, &service_ops);
	pthread_mutex_init(&memory->lock, NULL);
	hashmap_init(&memory->chunks, DIGEST_SIZE);
	hashmap_init(&memory->blobs, DIGEST_SIZE);
	return &memory->base;
}
