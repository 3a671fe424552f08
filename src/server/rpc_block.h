/*
 * Memory for large replies, used again and again: what comes fresh from the kernel costs as much as
 * hashing what is put into it. There are only so many at once: a client that does not read what it
 * asked for holds some. Thread-safe.
 */
#ifndef CASTOR_SERVER_RPC_BLOCK_H
#define CASTOR_SERVER_RPC_BLOCK_H

#include <stdbool.h>

enum { RPC_BLOCK_SIZE = (512 << 10) + 64, RPC_BLOCKS_MAX = 64 };

void *rpc_block_take(void); /* NULL: all are in use, or no memory */
void rpc_block_give(void *block);
bool rpc_blocks_plenty(void); /* fewer than half are in use */
/* The same for the time of a handler, without counting. NULL: no memory. */
void *rpc_scratch_take(void);
void rpc_scratch_give(void *scratch);

#endif
