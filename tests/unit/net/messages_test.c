/* Messages against the bytes of other programs, and bad ones. */
#include "net/messages.h"

#include "../golden_wire.h"

static void requests_are_theirs(void **state)
{
	struct buf golden CLEANUP(buf_release) = BUF_INIT;
	struct buf ours CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;
	uint8_t hash[STORE_PATH_HASH_SIZE];
	struct digest digest;
	bool flag;

	(void)state;
	golden_wire("PathInfoService.Get", -1, &golden);
	assert_ok(message_read_get_path_info(buf_view(&golden), hash, &err), &err);
	message_write_get_path_info(hash, &ours);
	assert_view_equal(buf_view(&ours), buf_view(&golden));

	buf_clear(&golden), buf_clear(&ours);
	golden_wire("DirectoryService.Get recursive", -1, &golden);
	assert_ok(message_read_get_directory(buf_view(&golden), &digest, &flag, &err), &err);
	assert_true(flag);
	message_write_get_directory(&digest, flag, &ours);
	assert_view_equal(buf_view(&ours), buf_view(&golden));

	buf_clear(&golden), buf_clear(&ours);
	golden_wire("BlobService.Stat of big, send_chunks", -1, &golden);
	assert_ok(message_read_stat_request(buf_view(&golden), &digest, &flag, &err), &err);
	assert_true(flag);
	message_write_stat_request(&digest, flag, &ours);
	assert_view_equal(buf_view(&ours), buf_view(&golden));
}

static void chunk_lists_are_theirs(void **state)
{
	struct buf golden CLEANUP(buf_release) = BUF_INIT;
	struct buf ours CLEANUP(buf_release) = BUF_INIT;
	struct blob_chunk_list list;
	struct err err = ERR_INIT;

	(void)state;
	golden_wire("BlobService.Stat of big, send_chunks", 0, &golden);
	assert_ok(message_read_stat_response(buf_view(&golden), &list, &err), &err);
	assert_int_equal(list.count, 10);
	assert_int_equal(list.chunks[0].size, 462774);
	assert_int_equal(list.chunks[9].offset + list.chunks[9].size, 3145728);
	message_write_stat_response(&list, &ours);
	assert_view_equal(buf_view(&ours), buf_view(&golden));
	blob_chunk_list_release(&list);
}

static void nar_facts_are_theirs(void **state)
{
	struct buf golden CLEANUP(buf_release) = BUF_INIT;
	struct buf ours CLEANUP(buf_release) = BUF_INIT;
	struct nar_hash hash;
	uint64_t size;
	struct err err = ERR_INIT;

	(void)state;
	golden_wire("CalculateNAR of the root, name empty", 0, &golden);
	assert_ok(message_read_calculate_nar_response(buf_view(&golden), &size, &hash, &err), &err);
	assert_int_equal(size, 3148504);
	message_write_calculate_nar_response(size, &hash, &ours);
	assert_view_equal(buf_view(&ours), buf_view(&golden));
}

static void a_list_past_the_limit_is_left_out(void **state)
{
	struct blob_chunk_list list = { .count = 120000 };
	struct buf message CLEANUP(buf_release) = BUF_INIT;

	(void)state;
	list.chunks = mem_array(list.count, sizeof(*list.chunks));
	for (size_t i = 0; i < list.count; i++)
		list.chunks[i].size = 1;
	message_write_stat_response(&list, &message);
	assert_int_equal(message.len, 0);
	blob_chunk_list_release(&list);
}

static void blob_chunks(void **state)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct view data;
	struct err err = ERR_INIT;

	(void)state;
	message_begin_blob_chunk(5, &message);
	buf_append_string(&message, "hello");
	assert_ok(message_read_blob_chunk(buf_view(&message), &data, &err), &err);
	assert_true(view_equal_string(data, "hello"));
	for (size_t len = 1; len < message.len; len++)
		assert_rc(RC_INVALID,
			  message_read_blob_chunk(view_of(message.ptr, len), &data, &err), &err);
	buf_clear(&message);
	message_begin_blob_chunk(0, &message);
	assert_ok(message_read_blob_chunk(buf_view(&message), &data, &err), &err);
	assert_int_equal(data.len, 0);
}

static void digests_of_wrong_length(void **state)
{
	static const size_t lengths[] = { 0, 1, 20, 31, 33, 64 };
	uint8_t bytes[64] = { 0 };
	struct digest digest;
	bool flag;
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct buf message CLEANUP(buf_release) = BUF_INIT;

		buf_append_byte(&message, 0x0a);
		buf_append_byte(&message, (uint8_t)lengths[i]);
		buf_append(&message, bytes, lengths[i]);
		assert_rc(RC_INVALID, message_read_digest(buf_view(&message), &digest, &err), &err);
		assert_says(&err, "digest");
		assert_rc(RC_INVALID,
			  message_read_stat_request(buf_view(&message), &digest, &flag, &err),
			  &err);
		assert_rc(RC_INVALID,
			  message_read_get_directory(buf_view(&message), &digest, &flag, &err),
			  &err);
	}
	/* No by_what at all. */
	assert_rc(RC_INVALID, message_read_get_directory((struct view){ 0 }, &digest, &flag, &err),
		  &err);
	assert_rc(RC_INVALID, message_read_get_path_info((struct view){ 0 }, bytes, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_theirs),
		cmocka_unit_test(chunk_lists_are_theirs),
		cmocka_unit_test(nar_facts_are_theirs),
		cmocka_unit_test(a_list_past_the_limit_is_left_out),
		cmocka_unit_test(blob_chunks),
		cmocka_unit_test(digests_of_wrong_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
