/* The lock guards the list. Blocks belong to no server: the library may give one back after its
 * server is gone. */
#include "server/rpc_block.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { KEPT = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[KEPT];
static unsigned count;

void *rpc_block_take(void)
{
	void *block = NULL;

	pthread_mutex_lock(&lock);
	if (count > 0)
		block = kept[--count];
	pthread_mutex_unlock(&lock);
	return block ? block : mem_try_alloc(RPC_BLOCK_SIZE);
}

void rpc_block_give(void *block)
{
	pthread_mutex_lock(&lock);
	if (count < KEPT) {
		kept[count++] = block;
		block = NULL;
	}
	pthread_mutex_unlock(&lock);
	free(block);
}
