/*
 * Allocation. The mem_ functions abort with a message when memory is out: they are for objects
 * whose size castor itself bounds, where no caller could do anything better. What an input sizes
 * (a message, a chunk, a listing) uses mem_try_alloc after its limit was checked, and returns
 * RC_NO_MEMORY. docs/decisions/0001-memory.md
 */
#ifndef CASTOR_BASE_MEM_H
#define CASTOR_BASE_MEM_H

#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

void *mem_alloc(size_t size) MUST_USE;               /* not cleared */
void *mem_zalloc(size_t size) MUST_USE;              /* cleared */
void *mem_array(size_t count, size_t size) MUST_USE; /* cleared; overflow aborts */
void *mem_realloc_array(void *old, size_t count, size_t size) MUST_USE;
/* The array with room for one more than its `count` items of `size` bytes: where it is full, *room
 * becomes `first` (> 0), or doubles. */
void *mem_grow(void *array, size_t count, size_t *room, size_t first, size_t size) MUST_USE;
void *mem_try_alloc(size_t size) MUST_USE; /* NULL when memory is out */
void *mem_dup(const void *bytes, size_t len) MUST_USE;
char *mem_strdup(const char *string) MUST_USE;
/* A NUL-terminated copy of a view (which may hold NULs: the caller has checked). */
char *mem_strndup(struct view view) MUST_USE;
char *mem_printf(const char *format, ...) PRINTF_LIKE(1, 2) MUST_USE;

/* For CLEANUP: free(*(void **)pointer), and the like. */
void mem_cleanup(void *pointer);
void fd_cleanup(int *fd); /* closes where >= 0 */
#define AUTO_FREE CLEANUP(mem_cleanup)
#define AUTO_FD   CLEANUP(fd_cleanup)

/* A page-aligned buffer of at least `size` bytes straight from the system, given back to it by
 * mem_pages_free: for chunk caches, whose memory has to fall again. NULL when memory is out. */
void *mem_pages_alloc(size_t size) MUST_USE;
void mem_pages_free(void *pages, size_t size);

#endif
