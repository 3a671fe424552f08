/* Views and growing buffers. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BUF_FIRST = 64 };

struct view view_of(const void *ptr, size_t len)
{
	return (struct view){ .ptr = ptr, .len = len };
}

struct view view_of_string(const char *string)
{
	return view_of(string, strlen(string));
}

struct view view_slice(struct view view, size_t offset, size_t len)
{
	assert(offset <= view.len && len <= view.len - offset);
	return view_of(offset ? view.ptr + offset : view.ptr, len);
}

bool view_equal(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool view_equal_string(struct view view, const char *string)
{
	return view_equal(view, view_of_string(string));
}

int view_compare(struct view a, struct view b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common ? memcmp(a.ptr, b.ptr, common) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

void buf_release(struct buf *buf)
{
	free(buf->ptr);
	*buf = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
}

/* The capacity that holds `more` bytes after what is there; 0 where no size_t can count it. */
static size_t wanted(const struct buf *buf, size_t more)
{
	size_t need, cap;

	if (__builtin_add_overflow(buf->len, more, &need) || need > PTRDIFF_MAX)
		return 0;
	cap = buf->cap > PTRDIFF_MAX / 2 ? need : buf->cap * 2;
	if (cap < BUF_FIRST)
		cap = BUF_FIRST;
	return cap < need ? need : cap;
}

bool buf_try_reserve(struct buf *buf, size_t more)
{
	size_t cap;
	uint8_t *ptr;

	if (more <= buf->cap - buf->len)
		return true;
	cap = wanted(buf, more);
	ptr = cap ? realloc(buf->ptr, cap) : NULL;
	if (!ptr)
		return false;
	buf->ptr = ptr;
	buf->cap = cap;
	return true;
}

void buf_reserve(struct buf *buf, size_t more)
{
	size_t cap;

	if (more <= buf->cap - buf->len)
		return;
	cap = wanted(buf, more);
	/* SIZE_MAX fails inside, and ends the process as every shortage does. */
	buf->ptr = mem_realloc_array(buf->ptr, cap ? cap : SIZE_MAX, 1);
	buf->cap = cap;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
	if (len == 0)
		return;
	buf_reserve(buf, len);
	memcpy(buf->ptr + buf->len, bytes, len);
	buf->len += len;
}

void buf_append_view(struct buf *buf, struct view view)
{
	buf_append(buf, view.ptr, view.len);
}

void buf_append_string(struct buf *buf, const char *string)
{
	buf_append(buf, string, strlen(string));
}

void buf_append_byte(struct buf *buf, uint8_t byte)
{
	buf_reserve(buf, 1);
	buf->ptr[buf->len++] = byte;
}

void buf_append_zeros(struct buf *buf, size_t len)
{
	if (len == 0)
		return;
	buf_reserve(buf, len);
	memset(buf->ptr + buf->len, 0, len);
	buf->len += len;
}

void buf_append_u32le(struct buf *buf, uint32_t value)
{
	uint8_t bytes[4];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	buf_append(buf, bytes, sizeof(bytes));
}

void buf_append_u64le(struct buf *buf, uint64_t value)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	buf_append(buf, bytes, sizeof(bytes));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	int len;

	/* Into what is free, and once more if that was too little. */
	buf_reserve(buf, 1);
	va_start(args, format);
	len = vsnprintf((char *)buf->ptr + buf->len, buf->cap - buf->len, format, args);
	va_end(args);
	assert(len >= 0);
	if ((size_t)len >= buf->cap - buf->len) {
		buf_reserve(buf, (size_t)len + 1);
		va_start(args, format);
		vsnprintf((char *)buf->ptr + buf->len, (size_t)len + 1, format, args);
		va_end(args);
	}
	buf->len += (size_t)len;
}

struct view buf_view(const struct buf *buf)
{
	return view_of(buf->ptr, buf->len);
}

const char *buf_string(struct buf *buf)
{
	buf_reserve(buf, 1);
	buf->ptr[buf->len] = '\0';
	return (const char *)buf->ptr;
}
