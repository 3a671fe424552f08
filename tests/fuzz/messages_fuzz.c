/* The messages of the castore and store services: the first byte says which, the rest is the
 * message. What is read is written and read again, to the same values. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "net/messages.h"

static void stat_request(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct digest digest, digest_again;
	bool chunks, chunks_again;

	if (message_read_stat_request(message, &digest, &chunks, NULL) != RC_OK)
		return;
	message_write_stat_request(&digest, chunks, &again);
	FUZZ_CHECK(message_read_stat_request(buf_view(&again), &digest_again, &chunks_again,
					     NULL) == RC_OK);
	FUZZ_CHECK(digest_equal(&digest, &digest_again) && chunks == chunks_again);
}

static void stat_response(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct blob_chunk_list list, list_again;
	uint64_t offset = 0;

	if (message_read_stat_response(message, &list, NULL) != RC_OK)
		return;
	for (size_t i = 0; i < list.count; i++) {
		FUZZ_CHECK(list.chunks[i].offset == offset && list.chunks[i].size > 0);
		FUZZ_CHECK(list.chunks[i].has_digest);
		offset += list.chunks[i].size;
	}
	message_write_stat_response(&list, &again);
	FUZZ_CHECK(message_read_stat_response(buf_view(&again), &list_again, NULL) == RC_OK);
	FUZZ_CHECK(list_again.count == list.count || list_again.count == 0);
	blob_chunk_list_release(&list_again);
	blob_chunk_list_release(&list);
}

static void one_digest(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct digest digest, digest_again;

	if (message_read_digest(message, &digest, NULL) != RC_OK)
		return;
	message_write_digest(&digest, &again);
	FUZZ_CHECK(message_read_digest(buf_view(&again), &digest_again, NULL) == RC_OK);
	FUZZ_CHECK(digest_equal(&digest, &digest_again));
}

/* Whole, and in two pieces at each place: what is taken by pieces is what the whole holds. */
static void blob_chunk(struct view message)
{
	struct view data, part;

	if (message_read_blob_chunk(message, &data, NULL) != RC_OK)
		data = (struct view){ 0 };
	else
		FUZZ_CHECK(data.len == 0 || (data.ptr >= message.ptr &&
					     data.ptr + data.len <= message.ptr + message.len));
	for (size_t at = 0; at <= message.len; at++) {
		struct view first = view_slice(message, 0, at);

		if (!message_split_blob_chunk(first, message.len - at, &part))
			continue;
		FUZZ_CHECK(part.len + (message.len - at) == data.len);
		FUZZ_CHECK(part.ptr == data.ptr || data.len == 0);
	}
}

static void get_directory(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct digest digest, digest_again;
	bool recursive, recursive_again;

	if (message_read_get_directory(message, &digest, &recursive, NULL) != RC_OK)
		return;
	message_write_get_directory(&digest, recursive, &again);
	FUZZ_CHECK(message_read_get_directory(buf_view(&again), &digest_again, &recursive_again,
					      NULL) == RC_OK);
	FUZZ_CHECK(digest_equal(&digest, &digest_again) && recursive == recursive_again);
}

static void get_path_info(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	uint8_t hash[STORE_PATH_HASH_SIZE], hash_again[STORE_PATH_HASH_SIZE];

	if (message_read_get_path_info(message, hash, NULL) != RC_OK)
		return;
	message_write_get_path_info(hash, &again);
	FUZZ_CHECK(message_read_get_path_info(buf_view(&again), hash_again, NULL) == RC_OK);
	FUZZ_CHECK(memcmp(hash, hash_again, sizeof(hash)) == 0);
}

static void calculate_nar(struct view message)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	struct nar_hash hash, hash_again;
	uint64_t size, size_again;

	if (message_read_calculate_nar_response(message, &size, &hash, NULL) != RC_OK)
		return;
	message_write_calculate_nar_response(size, &hash, &again);
	FUZZ_CHECK(message_read_calculate_nar_response(buf_view(&again), &size_again, &hash_again,
						       NULL) == RC_OK);
	FUZZ_CHECK(size == size_again && memcmp(&hash, &hash_again, sizeof(hash)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static void (*const readers[])(struct view message) = {
		stat_request,  stat_response, one_digest,    blob_chunk,
		get_directory, get_path_info, calculate_nar,
	};

	if (len > 0)
		readers[bytes[0] % (sizeof(readers) / sizeof(readers[0]))](
			view_of(bytes + 1, len - 1));
	return 0;
}
