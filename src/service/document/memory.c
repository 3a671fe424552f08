/* Documents in memory, by the digest of their names. */
#include <pthread.h>
#include <stdlib.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "castore/digest.h"
#include "service/document/document_store.h"

struct memory {
	struct document_store base;
	pthread_mutex_t lock;
	struct hashmap documents; /* digest → struct buf; under lock */
};

static struct memory *memory_of(struct document_store *store)
{
	return CONTAINER_OF(store, struct memory, base);
}

static void free_document(struct buf *document)
{
	if (!document)
		return;
	buf_release(document);
	free(document);
}

static void memory_free(struct document_store *store)
{
	struct memory *memory = memory_of(store);
	void *value;

	for (size_t at = 0; hashmap_next(&memory->documents, &at, NULL, &value);)
		free_document(value);
	hashmap_release(&memory->documents);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static enum rc memory_get(struct document_store *store, const struct op *op, struct view name,
			  struct buf *out, struct err *err)
{
	struct memory *memory = memory_of(store);
	struct digest key = digest_of(name);

	(void)op;
	pthread_mutex_lock(&memory->lock);
	struct buf *document = hashmap_get(&memory->documents, &key);
	if (document)
		buf_append_view(out, buf_view(document));
	pthread_mutex_unlock(&memory->lock);
	return document ? RC_OK : err_set(err, RC_NOT_FOUND, "no document of that name");
}

static enum rc memory_put(struct document_store *store, const struct op *op, struct view name,
			  struct view content, struct err *err)
{
	struct memory *memory = memory_of(store);
	struct digest key = digest_of(name);
	struct buf *document = mem_zalloc(sizeof(*document));

	(void)op, (void)err;
	buf_append_view(document, content);
	pthread_mutex_lock(&memory->lock);
	free_document(hashmap_put(&memory->documents, &key, document));
	pthread_mutex_unlock(&memory->lock);
	return RC_OK;
}

static const struct document_store_ops memory_ops = {
	.name = "memory", .free = memory_free, .get = memory_get, .put = memory_put
};

struct document_store *document_memory_new(void)
{
	struct memory *memory = mem_zalloc(sizeof(*memory));

	document_store_init(&memory->base, &memory_ops);
	pthread_mutex_init(&memory->lock, NULL);
	hashmap_init(&memory->documents, sizeof(struct digest));
	return &memory->base;
}
