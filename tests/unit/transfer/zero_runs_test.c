/* Where a file holds nothing but zeros: by its content, beside a plain search. */
#include "transfer/zero_runs.h"

#include "sample.h"

enum { MB = 1 << 20, SIZE = 12 * MB };

/* Bytes that are not zero: so many from there on. */
struct case_data {
	size_t size;
	struct {
		size_t at, len;
	} data[4];
	size_t count; /* of extents */
	struct data_extent extents[4];
};

static void expect(const struct case_data *one, uint8_t *bytes)
{
	struct data_extents found AUTO_DATA_EXTENTS = { 0 };
	struct err err = ERR_INIT;
	struct sample sample;
	struct node file;

	memset(bytes, 0, SIZE);
	for (size_t i = 0; i < ARRAY_LEN(one->data); i++) {
		for (size_t j = 0; j < one->data[i].len; j++)
			bytes[one->data[i].at + j] = (uint8_t)(1 + (j * j >> 7) % 255);
	}
	sample_init(&sample);
	file = sample_file(&sample, "", view_of(bytes, one->size), false);
	sample_commit(&sample, false);
	assert_ok(data_extents_find(sample.services.blobs, &op_none, &file, &found, &err), &err);
	assert_int_equal(found.count, one->count);
	for (size_t i = 0; i < found.count; i++) {
		assert_int_equal(found.extents[i].offset, one->extents[i].offset);
		assert_int_equal(found.extents[i].len, one->extents[i].len);
	}
	sample_release(&sample);
}

static void long_runs_are_found(void **state)
{
	static const struct case_data cases[] = {
		{ 0, { { 0, 0 } }, 0, { { 0, 0 } } },
		{ 100, { { 0, 0 } }, 1, { { 0, 100 } } },
		{ 2 * MB - 1, { { 0, 0 } }, 1, { { 0, 2 * MB - 1 } } },
		{ 2 * MB, { { 0, 0 } }, 0, { { 0, 0 } } },
		{ SIZE - 77, { { 0, 0 } }, 0, { { 0, 0 } } },
		/* In the middle of a block, at its ends, and at the file's. */
		{ SIZE, { { 5 * MB + 100, 1 } }, 1, { { 5 * MB, 4096 } } },
		{ SIZE, { { 5 * MB - 1, 2 } }, 1, { { 5 * MB - 4096, 8192 } } },
		{ SIZE, { { 0, 1 }, { SIZE - 1, 1 } }, 2, { { 0, 4096 }, { SIZE - 4096, 4096 } } },
		{ SIZE - 5, { { SIZE - 6, 1 } }, 1, { { SIZE - 4096, 4091 } } },
		/* Just long enough, and not. */
		{ SIZE,
		  { { 0, 3 * MB }, { 5 * MB, 7 * MB } },
		  2,
		  { { 0, 3 * MB }, { 5 * MB, 7 * MB } } },
		{ SIZE, { { 0, 3 * MB }, { 5 * MB - 1, 7 * MB + 1 } }, 1, { { 0, SIZE } } },
		{ SIZE, { { 0, 3 * MB + 1 }, { 5 * MB, 7 * MB } }, 1, { { 0, SIZE } } },
		{ SIZE, { { 0, SIZE } }, 1, { { 0, SIZE } } },
	};
	uint8_t *bytes AUTO_FREE = mem_alloc(SIZE);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		print_message("case %zu\n", i);
		expect(&cases[i], bytes);
	}
}

static void a_missing_blob_is_told(void **state)
{
	struct node file = { .kind = NODE_FILE, .size = SIZE };
	struct data_extents found;
	struct err err = ERR_INIT;
	struct sample sample;

	(void)state;
	sample_init(&sample);
	assert_rc(RC_NOT_FOUND,
		  data_extents_find(sample.services.blobs, &op_none, &file, &found, &err), &err);
	assert_null(found.extents);
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_runs_are_found),
		cmocka_unit_test(a_missing_blob_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
