/* Records, frames of raw blocks, and payloads: to bytes and back, and what is refused. */
#include "store_fixture.h"

#include <zstd.h>

static void test_header(void **state)
{
	struct local_record_header in = {
		.kind = 2, .crc = 3, .seq = 1ull << 40, .raw = 5, .stored = 6
	};
	struct local_record_header out;
	uint8_t bytes[LOCAL_RECORD_HEADER_SIZE];
	struct err err = ERR_INIT;

	(void)state;
	memset(in.digest.bytes, 9, DIGEST_SIZE);
	local_record_seal(&in, 7, 0x123456789abc, bytes);
	assert_ok(local_record_header_decode(view_of(bytes, sizeof(bytes)), &out, &err), &err);
	assert_memory_equal(&in.digest, &out.digest, DIGEST_SIZE);
	assert_int_equal(in.seq, out.seq);
	assert_int_equal(in.stored, out.stored);
	assert_int_equal(out.mark, 0x789abc);
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_int_equal(local_record_header_decode(view_of(bytes, len), &out, &err),
				 RC_CORRUPT);
	/* Of this salt alone, the bits that the mark has not included; and of no salt not at all. */
	assert_true(local_record_sealed(bytes, 7, 0x123456789abc));
	assert_false(local_record_sealed(bytes, 8, 0x123456789abc));
	assert_false(local_record_sealed(bytes, 7, 0x123457789abc));
	assert_false(local_record_sealed(bytes, 7, 0x123456789abd));
	assert_false(local_record_sealed(bytes, 7, 0));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 1;
		assert_false(local_record_sealed(bytes, 7, 0x123456789abc));
		bytes[i] ^= 1;
	}
	in.seq = LOCAL_SEQ_MAX + 1;
	local_record_seal(&in, 7, 1, bytes);
	assert_int_equal(local_record_header_decode(view_of(bytes, sizeof(bytes)), &out, &err),
			 RC_CORRUPT);
}

static void test_kinds(void **state)
{
	(void)state;
	for (int class = 0; class < LOCAL_PACK_CLASSES_; class ++) {
		enum local_pack_class c = (enum local_pack_class) class;
		bool meta = c == LOCAL_PACK_META;

		assert_true(local_kind_belongs(LOCAL_RECORD_PACK, c, 0));
		assert_false(local_kind_belongs(LOCAL_RECORD_PACK, c, 97));
		assert_true(local_kind_belongs(LOCAL_RECORD_CHUNK, c, 97) == !meta);
		for (uint8_t kind = LOCAL_RECORD_CHUNK_LIST; kind < LOCAL_RECORD_COMMIT; kind++)
			assert_true(local_kind_belongs(kind, c, 97) == meta);
		assert_true(local_kind_belongs(LOCAL_RECORD_COMMIT, c, 97));
	}
}

/* zstd itself reads a frame of raw blocks, and so do we. */
static void test_raw_frames(void **state)
{
	static const size_t sizes[] = { 0,     1,      255,    256,    65791,  65792,
					65793, 131072, 131073, 262144, 1000000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t len = sizes[i], size = local_raw_frame_size(len);
		uint8_t *data = make_bytes(len, i), *frame = malloc(size), *back = malloc(len + 1);

		local_raw_frame_encode(view_of(data, len), frame);
		assert_int_equal(ZSTD_getFrameContentSize(frame, size), len);
		assert_int_equal(ZSTD_findFrameCompressedSize(frame, size), size);
		assert_int_equal(ZSTD_decompress(back, len, frame, size), len);
		assert_memory_equal(back, data, len);
		memset(back, 0, len);
		assert_true(local_raw_frame_decode(view_of(frame, size), len, back));
		assert_memory_equal(back, data, len);
		frame[4] ^= 1;
		assert_false(local_raw_frame_decode(view_of(frame, size), len, back));
		frame[4] ^= 1;
		assert_false(local_raw_frame_decode(view_of(frame, size - 1), len, back));
		free(data);
		free(frame);
		free(back);
	}
}

static void test_segments(void **state)
{
	struct local_segment in = { .blob_size = 30, .segments = 1, .chunks = 2, .count = 2 }, out;
	struct buf bytes = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	local_segment_begin(&in, &bytes);
	local_segment_append(&bytes, &digest_empty, 10);
	local_segment_append(&bytes, &digest_empty, 20);
	assert_ok(local_segment_decode(buf_view(&bytes), &out, &err), &err);
	assert_int_equal(out.count, 2);
	for (size_t i = 0; i < bytes.len; i++) {
		struct local_segment bad;

		/* Whatever byte changes: no crash, and the sizes still add up or it is refused. */
		bytes.ptr[i] ^= 0x41;
		if (local_segment_decode(buf_view(&bytes), &bad, &err) == RC_OK) {
			struct digest digest;
			uint32_t a, b;

			local_segment_entry(&bad, 0, &digest, &a);
			local_segment_entry(&bad, 1, &digest, &b);
			assert_int_equal(a + b, bad.blob_size);
		}
		bytes.ptr[i] ^= 0x41;
		assert_int_equal(local_segment_decode(view_of(bytes.ptr, i), &bad, &err),
				 RC_CORRUPT);
	}
	buf_release(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_raw_frames),
		cmocka_unit_test(test_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
