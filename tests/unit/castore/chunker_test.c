#include "unit/testing.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/clock.h"
#include "base/wire.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "castore/gear.h"
#include "unit/castore/vectors.h"

static void gear_is_md5(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		unsigned char block[64], md5[EVP_MAX_MD_SIZE];
		uint64_t entry = 0;

		memset(block, (int)i, sizeof(block));
		assert_int_equal(EVP_Digest(block, sizeof(block), md5, NULL, EVP_md5(), NULL), 1);
		for (size_t b = 0; b < 8; b++)
			entry = entry << 8 | md5[b];
		assert_int_equal(gear[i], entry);
	}
}

/* The file `big` of the golden tree. */
static void make_big(struct buf *out)
{
	for (uint64_t i = 0; i < 98304; i++) {
		CLEANUP(buf_release) struct buf number = BUF_INIT;
		unsigned char sha[SHA256_DIGEST_LENGTH];

		buf_append_u64le(&number, i);
		SHA256(number.ptr, number.len, sha);
		buf_append(out, sha, sizeof(sha));
	}
}

static void big_is_cut_as_elsewhere(void **state)
{
	CLEANUP(buf_release) struct buf big = BUF_INIT;
	CLEANUP(buf_release) struct buf reply = BUF_INIT;
	struct chunker chunker;
	struct digest digest;
	char hex[DIGEST_HEX_MAX];
	size_t chunks = 0;

	(void)state;
	make_big(&big);
	digest = digest_of(buf_view(&big));
	digest_hex(&digest, hex);
	assert_string_equal(hex, vector_big_digest);
	chunker_init(&chunker);
	while (chunker.offset < big.len) {
		CLEANUP(buf_release) struct buf chunk = BUF_INIT;
		size_t at = chunker.offset;
		struct view rest = view_slice(buf_view(&big), at, big.len - at);
		size_t len;

		if (rest.len > chunker_limit(&chunker))
			rest.len = chunker_limit(&chunker);
		len = chunker_cut(&chunker, rest);
		assert_int_equal(chunker.offset, at + len);
		digest = digest_of(view_slice(rest, 0, len));
		wire_append_bytes(&chunk, 1, view_of(digest.bytes, DIGEST_SIZE));
		wire_append_u64(&chunk, 2, len);
		wire_append_element(&reply, 2, buf_view(&chunk));
		chunks++;
	}
	assert_int_equal(chunks, 10);
	assert_int_equal(chunker.chunks, 10);
	{
		CLEANUP(buf_release) struct buf expected = BUF_INIT;

		testing_unhex(vector_big_stat, &expected);
		assert_view_equal(buf_view(&reply), buf_view(&expected));
	}
}

/* protocol.md's words, one byte at a time. */
static size_t slow_cut(struct view data, size_t average, uint64_t small, uint64_t large)
{
	size_t least = average / 2, most = average * 2;
	size_t n = data.len < most ? data.len : most;
	size_t center = average < n ? average : n;
	uint64_t h = 0;

	if (n <= least)
		return n;
	for (size_t a = least; a / 2 < n / 2; a += 2) {
		uint64_t mask = a / 2 < center / 2 ? small : large;

		h = (h << 2) + (gear[data.ptr[a]] << 1);
		if (!(h & (mask << 1)))
			return a;
		h += gear[data.ptr[a + 1]];
		if (!(h & mask))
			return a + 1;
	}
	return n;
}

static void every_length_is_cut_alike(void **state)
{
	struct testing_random random = testing_random_from_env();
	CLEANUP(buf_release) struct buf data = BUF_INIT;

	(void)state;
	buf_append_zeros(&data, CHUNK_MAX + 4096);
	testing_fill(&random, data.ptr, data.len);
	for (int i = 0; i < 600; i++) {
		static const size_t edges[] = { 0, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX };
		size_t offset = testing_below(&random, 2048);
		size_t len = i % 2 ? testing_below(&random, CHUNK_MAX + 2)
				   : edges[testing_below(&random, 4)] + testing_below(&random, 4);
		struct view view = view_slice(buf_view(&data), offset, len);
		struct chunker chunker;

		chunker_init(&chunker);
		assert_int_equal(
			chunker_cut(&chunker, view),
			slow_cut(view, CHUNK_AVERAGE, 0x0000d91707537000, 0x0000d90703537000));
	}
}

/* Zeros have no cut: the longest chunk, again and again. */
static void average_doubles(void **state)
{
	struct chunker chunker;
	uint8_t *zeros = mem_pages_alloc(CHUNK_MAX_EVER);
	size_t most = CHUNK_MAX;

	(void)state;
	assert_non_null(zeros);
	chunker_init(&chunker);
	assert_int_equal(chunker_limit(&chunker), CHUNK_MAX);
	for (unsigned i = 1; i <= 9; i++) {
		uint64_t offset = chunker.offset;

		/* Jump to the last chunk of this average. */
		chunker.chunks = i * UINT64_C(65536) - 1;
		assert_int_equal(chunker_limit(&chunker), most);
		assert_int_equal(chunker_cut(&chunker, view_of(zeros, most)), most);
		assert_int_equal(chunker.offset, offset + most);
		if (most < CHUNK_MAX_EVER)
			most *= 2;
		assert_int_equal(chunker_limit(&chunker), most);
	}
	assert_int_equal(chunker_limit(&chunker), CHUNK_MAX_EVER);
	mem_pages_free(zeros, CHUNK_MAX_EVER);
}

/* For a receiver that cuts chunks itself: nothing depends on the bytes. */
static void pieces(void **state)
{
	enum { SIZE = 1 << 20, REST = 1000 };
	struct view bytes = view_of(mem_pages_alloc(2 * SIZE), 2 * SIZE);
	struct chunker chunker;

	(void)state;
	chunker_init_pieces(&chunker, SIZE);
	assert_int_equal(chunker_limit(&chunker), SIZE);
	assert_int_equal(chunker_cut(&chunker, bytes), SIZE);
	assert_int_equal(chunker_cut(&chunker, view_slice(bytes, 0, SIZE)), SIZE);
	assert_int_equal(chunker_cut(&chunker, view_slice(bytes, 0, REST)), REST);
	assert_int_equal(chunker_cut(&chunker, view_slice(bytes, 0, 0)), 0);
	assert_int_equal(chunker.offset, 2 * SIZE + REST);
	assert_int_equal(chunker.chunks, 3);
	mem_pages_free((void *)(uintptr_t)bytes.ptr, bytes.len);
}

static void speed(void **state)
{
	struct testing_random random = testing_random_of(1);
	CLEANUP(buf_release) struct buf data = BUF_INIT;
	struct chunker chunker;
	int64_t start;

	(void)state;
	if (!getenv("CASTOR_TEST_SPEED"))
		skip();
	buf_append_zeros(&data, 64 << 20);
	testing_fill(&random, data.ptr, data.len);
	for (int round = 0; round < 5; round++) {
		chunker_init(&chunker);
		start = clock_monotonic_ns();
		while (chunker.offset < data.len)
			chunker_cut(&chunker, view_slice(buf_view(&data), chunker.offset,
							 data.len - chunker.offset));
		print_message("%zu chunks, %.2f GB/s\n", (size_t)chunker.chunks,
			      (double)data.len / (double)(clock_monotonic_ns() - start));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gear_is_md5),
		cmocka_unit_test(big_is_cut_as_elsewhere),
		cmocka_unit_test(every_length_is_cut_alike),
		cmocka_unit_test(average_doubles),
		cmocka_unit_test(pieces),
		cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
