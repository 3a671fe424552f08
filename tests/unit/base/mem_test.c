#include "unit/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

static void copies(void **state)
{
	AUTO_FREE char *dup = mem_dup("abc", 4);
	AUTO_FREE char *string = mem_strdup("def");
	AUTO_FREE char *view = mem_strndup(view_of("ghijk", 3));
	AUTO_FREE char *empty = mem_strndup(view_of(NULL, 0));
	AUTO_FREE char *printed = mem_printf("%d-%s", 7, "x");

	(void)state;
	assert_string_equal(dup, "abc");
	assert_string_equal(string, "def");
	assert_string_equal(view, "ghi");
	assert_string_equal(empty, "");
	assert_string_equal(printed, "7-x");
}

static void nothing_is_something(void **state)
{
	AUTO_FREE void *a = mem_alloc(0);
	AUTO_FREE void *b = mem_zalloc(0);
	AUTO_FREE void *c = mem_array(0, 8);
	AUTO_FREE void *d = mem_try_alloc(0);
	AUTO_FREE void *e = mem_dup(NULL, 0);

	(void)state;
	assert_true(a && b && c && d && e);
}

static void arrays_grow(void **state)
{
	uint32_t *array = mem_array(4, sizeof(*array));

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(array[i], 0);
	array[3] = 7;
	array = mem_realloc_array(array, 1000, sizeof(*array));
	assert_int_equal(array[3], 7);
	array[999] = 1;
	free(array);
}

/* A size that no machine has; volatile, so that the compiler does not see it coming. */
static volatile size_t huge = PTRDIFF_MAX - 4096;

static void try_alloc_fails(void **state)
{
	(void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_null(mem_try_alloc(huge));
#endif
	assert_null(mem_pages_alloc(huge));
}

static void pages_are_aligned_and_zero(void **state)
{
	size_t size = 3 * 4096 + 5;
	uint8_t *pages = mem_pages_alloc(size);

	(void)state;
	assert_non_null(pages);
	assert_int_equal((uintptr_t)pages % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(pages[i], 0);
	memset(pages, 1, size);
	mem_pages_free(pages, size);
	mem_pages_free(NULL, size);
}

static void cleanup_keeps_errno(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	errno = 0;
	{
		AUTO_FD int owned = fd;
		AUTO_FD int none = -1;
		AUTO_FREE char *memory = mem_strdup("x");

		assert_true(owned >= 0 && none < 0 && memory);
		errno = ENOTTY;
	}
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void arrays_double_where_full(void **state)
{
	size_t room = 0;
	int *array = NULL;

	(void)state;
	for (int i = 0; i < 13; i++) {
		array = mem_grow(array, (size_t)i, &room, 3, sizeof(*array));
		array[i] = i;
		assert_int_equal(room, i < 3 ? 3 : i < 6 ? 6 : i < 12 ? 12 : 24);
	}
	for (int i = 0; i < 13; i++)
		assert_int_equal(array[i], i);
	free(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(nothing_is_something),
		cmocka_unit_test(arrays_grow),
		cmocka_unit_test(arrays_double_where_full),
		cmocka_unit_test(try_alloc_fails),
		cmocka_unit_test(pages_are_aligned_and_zero),
		cmocka_unit_test(cleanup_keeps_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
