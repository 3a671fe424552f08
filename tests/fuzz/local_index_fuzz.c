/*
 * The index: values of its tables, and the structure of the whole file. What the check of a file
 * lets pass, LMDB can be trusted with: that is tested in tests/unit/local/damage_test.c.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "local/index_check.h"
#include "local/index_format.h"

static void check_place(struct view bytes)
{
	struct local_place_value value;
	uint8_t again[LOCAL_PLACE_VALUE_MAX];

	if (local_place_value_decode(bytes, &value, NULL) != RC_OK)
		return;
	size_t len = local_place_value_encode(&value, again);
	FUZZ_CHECK(view_equal(view_of(again, len), bytes));
}

static void check_blob(struct view bytes)
{
	struct local_blob_value value;
	struct buf again = BUF_INIT;

	if (local_blob_value_decode(bytes, &value, NULL) != RC_OK)
		return;
	local_blob_value_begin(&value, &again);
	for (uint32_t i = 0; i < value.segments; i++) {
		struct local_blob_segment segment;

		local_blob_segment(&value, i, &segment);
		FUZZ_CHECK(segment.start < value.size && segment.place.pack != 0);
		local_blob_value_append(&again, &segment);
	}
	FUZZ_CHECK(view_equal(buf_view(&again), bytes));
	buf_release(&again);
}

static void check_others(struct view bytes)
{
	struct local_path_value path;
	struct local_facts_value facts;
	struct local_pack_value pack;
	struct local_counters counters;
	uint8_t again[64];

	if (local_path_value_decode(bytes, &path, NULL) == RC_OK) {
		local_path_value_encode(&path, again);
		FUZZ_CHECK(view_equal(view_of(again, LOCAL_PATH_VALUE_SIZE), bytes));
	}
	if (local_facts_value_decode(bytes, &facts, NULL) == RC_OK) {
		local_facts_value_encode(&facts, again);
		FUZZ_CHECK(view_equal(view_of(again, LOCAL_FACTS_VALUE_SIZE), bytes));
	}
	if (local_pack_value_decode(bytes, &pack, NULL) == RC_OK) {
		local_pack_value_encode(&pack, again);
		/* The stamp came later: rows of earlier stores end before it. */
		FUZZ_CHECK(bytes.len <= LOCAL_PACK_VALUE_SIZE &&
			   view_equal(view_of(again, bytes.len), bytes));
	}
	if (local_counters_decode(bytes, &counters, NULL) == RC_OK) {
		local_counters_encode(&counters, again);
		FUZZ_CHECK(view_equal(view_of(again, LOCAL_COUNTERS_SIZE), bytes));
	}
}

static enum rc read_view(void *context, uint64_t offset, void *out, size_t len, struct err *err)
{
	const struct view *file = context;

	if (offset > file->len || len > file->len - offset)
		return err_set(err, RC_CORRUPT, "past the end");
	memcpy(out, file->ptr + offset, len);
	return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view file = view_of(bytes, len);
	struct err err = ERR_INIT;

	check_place(file);
	check_blob(file);
	check_others(file);
	enum rc rc = local_index_check(read_view, &file, len, 0, &err);
	FUZZ_CHECK(rc == RC_OK || (rc == RC_CORRUPT && err.message[0]));
	if (rc == RC_OK) {
		uint64_t pages = 0;
		uint32_t page_size = 1;

		FUZZ_CHECK(local_index_check_start(read_view, &file, &pages, &page_size, &err) ==
			   RC_OK);
		FUZZ_CHECK(pages > 0 && pages <= len / page_size);
	}
	return 0;
}
