/* Allocation that succeeds or ends the process, and the exceptions to that. */
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void out_of_memory(void) __attribute__((noreturn, cold));

static void out_of_memory(void)
{
	static const char message[] = "castor: error: out of memory\n";
	ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);

	(void)written;
	abort();
}

static void *check(void *pointer)
{
	if (!pointer)
		out_of_memory();
	return pointer;
}

void *mem_alloc(size_t size)
{
	return check(malloc(size ? size : 1));
}

void *mem_zalloc(size_t size)
{
	return check(calloc(1, size ? size : 1));
}

void *mem_array(size_t count, size_t size)
{
	if (count == 0 || size == 0)
		return mem_zalloc(1);
	return check(calloc(count, size));
}

void *mem_realloc_array(void *old, size_t count, size_t size)
{
	if (count == 0 || size == 0)
		return check(realloc(old, 1));
	return check(reallocarray(old, count, size));
}

void *mem_grow(void *array, size_t count, size_t *room, size_t first, size_t size)
{
	if (count < *room)
		return array;
	*room = *room ? 2 * *room : first;
	return mem_realloc_array(array, *room, size);
}

void *mem_try_alloc(size_t size)
{
	return malloc(size ? size : 1);
}

void *mem_dup(const void *bytes, size_t len)
{
	void *copy = mem_alloc(len);

	if (len)
		memcpy(copy, bytes, len);
	return copy;
}

char *mem_strdup(const char *string)
{
	return mem_dup(string, strlen(string) + 1);
}

char *mem_strndup(struct view view)
{
	char *copy = mem_alloc(view.len + 1);

	if (view.len)
		memcpy(copy, view.ptr, view.len);
	copy[view.len] = '\0';
	return copy;
}

char *mem_printf(const char *format, ...)
{
	char *out;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&out, format, args);
	va_end(args);
	if (len < 0)
		out_of_memory();
	return out;
}

void mem_cleanup(void *pointer)
{
	int saved = errno;
	void *memory;

	memcpy(&memory, pointer, sizeof(memory));
	free(memory);
	errno = saved;
}

void fd_cleanup(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void *mem_pages_alloc(size_t size)
{
	void *pages = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

void mem_pages_free(void *pages, size_t size)
{
	if (pages)
		munmap(pages, size ? size : 1);
}
