/* Bytes: struct view borrows them, struct buf owns them. */
#ifndef CASTOR_BASE_BUF_H
#define CASTOR_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct view {
	const uint8_t *ptr; /* may be NULL if len is 0 */
	size_t len;
};

struct view view_of(const void *ptr, size_t len);
struct view view_of_string(const char *string);                      /* without its NUL */
struct view view_slice(struct view view, size_t offset, size_t len); /* asserts that it fits */
bool view_equal(struct view a, struct view b);
bool view_equal_string(struct view view, const char *string);
/* Bytewise, a prefix before what it is a prefix of. <0, 0, >0 */
int view_compare(struct view a, struct view b);

struct buf {
	uint8_t *ptr; /* NULL while cap is 0 */
	size_t len;
	size_t cap;
};
#define BUF_INIT                                                                                   \
	{                                                                                          \
		.ptr = NULL, .len = 0, .cap = 0                                                    \
	}

/* Growth aborts the process when memory is out (see base/mem.h): for what is bounded by castor's
 * own limits. What an input sizes goes through buf_try_reserve. */
void buf_release(struct buf *buf); /* leaves BUF_INIT; also right for CLEANUP */
void buf_clear(struct buf *buf);   /* keeps the memory */
void buf_reserve(struct buf *buf, size_t more);
bool buf_try_reserve(struct buf *buf, size_t more) MUST_USE;
void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_append_view(struct buf *buf, struct view view);
void buf_append_string(struct buf *buf, const char *string);
void buf_append_byte(struct buf *buf, uint8_t byte);
void buf_append_zeros(struct buf *buf, size_t len);
void buf_append_u32le(struct buf *buf, uint32_t value);
void buf_append_u64le(struct buf *buf, uint64_t value);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
struct view buf_view(const struct buf *buf);
/* The bytes with a NUL after them (not counted in len); valid until the next change. */
const char *buf_string(struct buf *buf);

#endif
