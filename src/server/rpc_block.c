/* The lock guards the list. Blocks belong to no server: the library may give one back after its
 * server is gone. */
#include "server/rpc_block.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { KEPT = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[KEPT];
static unsigned count, in_use;

/* Under the lock. */
static void *take(void)
{
	return count > 0 ? kept[--count] : mem_try_alloc(RPC_BLOCK_SIZE);
}

/* Under the lock. What is left is to be freed. */
static void *keep(void *block)
{
	if (count == KEPT)
		return block;
	kept[count++] = block;
	return NULL;
}

void *rpc_block_take(void)
{
	void *block = NULL;

	pthread_mutex_lock(&lock);
	if (in_use < RPC_BLOCKS_MAX)
		block = take();
	in_use += block != NULL;
	pthread_mutex_unlock(&lock);
	return block;
}

void rpc_block_give(void *block)
{
	pthread_mutex_lock(&lock);
	in_use--;
	block = keep(block);
	pthread_mutex_unlock(&lock);
	free(block);
}

bool rpc_blocks_plenty(void)
{
	bool plenty;

	pthread_mutex_lock(&lock);
	plenty = in_use < RPC_BLOCKS_MAX / 2;
	pthread_mutex_unlock(&lock);
	return plenty;
}

void *rpc_scratch_take(void)
{
	void *scratch;

	pthread_mutex_lock(&lock);
	scratch = take();
	pthread_mutex_unlock(&lock);
	return scratch;
}

void rpc_scratch_give(void *scratch)
{
	pthread_mutex_lock(&lock);
	scratch = keep(scratch);
	pthread_mutex_unlock(&lock);
	free(scratch);
}
