/* Directories in this process's memory. They are immutable, and never taken out. */
#include "service/directory/memory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hashmap.h"
#include "base/mem.h"

struct memory {
	struct directory_service base;
	pthread_mutex_t lock;
	struct hashmap directories; /* under the lock: digest → struct directory, one reference */
};

struct memory_put {
	struct directory_put base;
	struct memory *memory;
};

static struct memory *memory_of(struct directory_service *service)
{
	return CONTAINER_OF(service, struct memory, base);
}

static void memory_free(struct directory_service *service)
{
	struct memory *memory = memory_of(service);
	void *dir;

	for (size_t at = 0; hashmap_next(&memory->directories, &at, NULL, &dir);)
		directory_unref(dir);
	hashmap_release(&memory->directories);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static enum rc memory_get(struct directory_service *service, const struct op *op,
			  const struct digest *digest, struct directory **out, struct err *err)
{
	struct memory *memory = memory_of(service);
	char hex[DIGEST_HEX_MAX];
	struct directory *dir;

	(void)op;
	pthread_mutex_lock(&memory->lock);
	dir = hashmap_get(&memory->directories, digest->bytes);
	if (dir)
		*out = directory_ref(dir);
	pthread_mutex_unlock(&memory->lock);
	if (dir)
		return RC_OK;
	digest_hex(digest, hex);
	return err_set(err, RC_NOT_FOUND, "directory %s is not there", hex);
}

static enum rc memory_has_many(struct directory_service *service, const struct op *op,
			       const struct digest *digests, size_t count, bool *out,
			       struct err *err)
{
	struct memory *memory = memory_of(service);

	(void)op;
	(void)err;
	pthread_mutex_lock(&memory->lock);
	for (size_t i = 0; i < count; i++)
		out[i] = hashmap_get(&memory->directories, digests[i].bytes) != NULL;
	pthread_mutex_unlock(&memory->lock);
	return RC_OK;
}

static void memory_put_free(struct directory_put *base)
{
	free(base);
}

/* Kept at once: leaves come first, so what is there is whole at every moment. */
static enum rc memory_put_add(struct directory_put *base, const struct op *op,
			      struct directory *dir, struct err *err)
{
	struct memory *memory = CONTAINER_OF(base, struct memory_put, base)->memory;

	(void)op;
	(void)err;
	pthread_mutex_lock(&memory->lock);
	directory_unref(hashmap_put(&memory->directories, directory_digest(dir)->bytes,
				    directory_ref(dir)));
	pthread_mutex_unlock(&memory->lock);
	return RC_OK;
}

static enum rc memory_put_close(struct directory_put *base, const struct op *op,
				const struct digest *root, struct err *err)
{
	(void)base;
	(void)op;
	(void)root;
	(void)err;
	return RC_OK;
}

static const struct directory_put_ops put_ops = {
	.free = memory_put_free,
	.add = memory_put_add,
	.close = memory_put_close,
};

static enum rc memory_open_put(struct directory_service *service, const struct op *op,
			       struct directory_put **out, struct err *err)
{
	struct memory_put *put = mem_zalloc(sizeof(*put));

	(void)op;
	(void)err;
	put->base.ops = &put_ops;
	put->memory = memory_of(service);
	*out = &put->base;
	return RC_OK;
}

static const struct directory_service_ops service_ops = {
	.name = "memory",
	.free = memory_free,
	.get = memory_get,
	.has_many = memory_has_many,
	.open_put = memory_open_put,
};

struct directory_service *directory_memory_new(void)
{
	struct memory *memory = mem_zalloc(sizeof(*memory));

	directory_service_init(&memory->base, &service_ops);
	pthread_mutex_init(&memory->lock, NULL);
	hashmap_init(&memory->directories, DIGEST_SIZE);
	return &memory->base;
}
