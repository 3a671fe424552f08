/*
 * Memory for large replies, used again and again: what comes fresh from the kernel costs as much as
 * hashing what is put into it. Thread-safe.
 */
#ifndef CASTOR_SERVER_RPC_BLOCK_H
#define CASTOR_SERVER_RPC_BLOCK_H

enum { RPC_BLOCK_SIZE = (1 << 20) + 64 };

void *rpc_block_take(void); /* NULL: no memory */
void rpc_block_give(void *block);

#endif
