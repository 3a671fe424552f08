/*
 * Is an LMDB file what it should be? LMDB follows the offsets and page numbers of a file without
 * looking whether they can be: damage ends in SIGSEGV, SIGBUS or an abort. So the whole structure
 * is checked first: where LMDB begins, then every page of every tree, and that no page is used twice
 * or free at the same time. Values are not looked at, keys only for their order.
 *
 * Source of the format: lmdb.h and mdb.c of LMDB 0.9 (data version 1), 64-bit little-endian.
 */
#ifndef CASTOR_LOCAL_INDEX_CHECK_H
#define CASTOR_LOCAL_INDEX_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Reads len bytes at offset, all of them; RC_CORRUPT past the end. */
typedef enum rc local_index_reader(void *context, uint64_t offset, void *out, size_t len,
				   struct err *err);

/* Checks what LMDB reads when it opens the file, and must be asked before that. *pages: how many
 * there are by the newest state, which the file may not have. */
enum rc local_index_check_start(local_index_reader *reader, void *context, uint64_t *pages,
				uint32_t *page_size, struct err *err) MUST_USE;
/* Checks the state that the transaction `txnid` left; 0: the newest. RC_NOT_FOUND: no meta page has
 * that number (any more). RC_CORRUPT says what is wrong. file_size is its length in bytes. */
enum rc local_index_check(local_index_reader *reader, void *context, uint64_t file_size,
			  uint64_t txnid, struct err *err) MUST_USE;

#endif
