#include "unit/testing.h"

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/decompress.h"
#include "unit/base/brotli_sample.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

/* ---- Samples ---- */

static void sample_text(struct buf *out)
{
	for (int i = 0; i < 500; i++)
		buf_printf(out, "castor %d\n", i * i);
}

static void compress_gzip(struct view in, struct buf *out)
{
	z_stream gzip = { .next_in = (Bytef *)(uintptr_t)in.ptr, .avail_in = (uInt)in.len };

	assert_int_equal(deflateInit2(&gzip, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	gzip.next_out = out->ptr;
	gzip.avail_out = (uInt)out->cap;
	assert_int_equal(deflate(&gzip, Z_FINISH), Z_STREAM_END);
	out->len = gzip.total_out;
	deflateEnd(&gzip);
}

static void compress_lzma(struct view in, struct buf *out)
{
	lzma_stream lzma = LZMA_STREAM_INIT;
	lzma_options_lzma options;

	assert_false(lzma_lzma_preset(&options, 6));
	assert_int_equal(lzma_alone_encoder(&lzma, &options), LZMA_OK);
	lzma.next_in = in.ptr;
	lzma.avail_in = in.len;
	lzma.next_out = out->ptr;
	lzma.avail_out = out->cap;
	assert_int_equal(lzma_code(&lzma, LZMA_FINISH), LZMA_STREAM_END);
	out->len = (size_t)lzma.total_out;
	lzma_end(&lzma);
}

static void append_le(struct buf *out, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		buf_append_byte(out, (uint8_t)(value >> 8 * i));
}

/* The same stream between a header and a trailer of its own. */
static void compress_lzip(struct view in, struct buf *out)
{
	enum { LZMA_HEADER = 13, LZIP_HEADER = 6, LZIP_TRAILER = 20 };
	AUTO_BUF lzma = BUF_INIT;

	buf_reserve(&lzma, in.len + 1024);
	compress_lzma(in, &lzma);
	buf_append(out, "LZIP\x01\x17", LZIP_HEADER); /* a dictionary of 8 MiB */
	buf_append(out, lzma.ptr + LZMA_HEADER, lzma.len - LZMA_HEADER);
	append_le(out, lzma_crc32(in.ptr, in.len, 0), 4);
	append_le(out, in.len, 8);
	append_le(out, LZIP_HEADER + lzma.len - LZMA_HEADER + LZIP_TRAILER, 8);
}

/* Appends nothing: fills an empty buffer. */
static void compress_as(enum compression how, struct view in, struct buf *out)
{
	unsigned len;

	buf_reserve(out, in.len + 1024);
	switch (how) {
	case COMPRESSION_NONE:
		buf_append_view(out, in);
		break;
	case COMPRESSION_XZ:
		assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, in.ptr, in.len,
							 out->ptr, &out->len, out->cap),
				 LZMA_OK);
		break;
	case COMPRESSION_ZSTD:
		out->len = ZSTD_compress(out->ptr, out->cap, in.ptr, in.len, 3);
		assert_false(ZSTD_isError(out->len));
		break;
	case COMPRESSION_BZIP2:
		len = (unsigned)out->cap;
		assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out->ptr, &len,
							  (char *)(uintptr_t)in.ptr,
							  (unsigned)in.len, 9, 0, 0),
				 BZ_OK);
		out->len = len;
		break;
	case COMPRESSION_GZIP:
		compress_gzip(in, out);
		break;
	case COMPRESSION_BROTLI: /* of the sample text only */
		testing_unhex(brotli_sample, out);
		break;
	case COMPRESSION_LZMA:
		compress_lzma(in, out);
		break;
	case COMPRESSION_LZIP:
		compress_lzip(in, out);
		break;
	case COMPRESSION_LZ4:
		out->len = LZ4F_compressFrame(out->ptr, out->cap, in.ptr, in.len, NULL);
		assert_false(LZ4F_isError(out->len));
		break;
	case COMPRESSION_COUNT_:
		break;
	}
}

/* ---- Reading ---- */

static struct view drop(struct view view, size_t len)
{
	return view_slice(view, len, view.len - len);
}

/* In pieces of `in` bytes, into rooms of `room` bytes. */
static enum rc read_all(enum compression how, struct view input, size_t in, size_t room,
			struct buf *out, struct err *err)
{
	struct decompressor *d;
	uint8_t *bytes AUTO_FREE = mem_alloc(room);
	enum rc rc = decompressor_new(how, &d, err);

	while (rc == RC_OK) {
		struct view piece = view_slice(input, 0, in < input.len ? in : input.len);
		size_t len = piece.len, got;
		bool last = piece.len == input.len;

		rc = decompressor_read(d, &piece, last, bytes, room, &got, err);
		if (rc != RC_OK)
			assert_int_equal(got, 0);
		buf_append(out, bytes, got);
		input = drop(input, len - piece.len);
		if (got == 0 && last)
			break;
	}
	if (rc != RC_OK) { /* and again */
		struct err again = ERR_INIT;
		struct view none = { NULL, 0 };
		size_t got;

		assert_int_equal(decompressor_read(d, &none, true, bytes, room, &got, &again), rc);
		assert_string_equal(again.message, err->message);
	}
	decompressor_free(d);
	return rc;
}

static void test_every_format(void **state)
{
	static const size_t pieces[] = { 1, 7, 4096, SIZE_MAX };
	AUTO_BUF text = BUF_INIT;

	(void)state;
	sample_text(&text);
	for (unsigned how = 0; how < COMPRESSION_COUNT_; how++) {
		AUTO_BUF packed = BUF_INIT;

		compress_as((enum compression)how, buf_view(&text), &packed);
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			for (size_t j = 0; j < ARRAY_LEN(pieces); j++) {
				size_t room = pieces[j] == SIZE_MAX ? 65536 : pieces[j];
				struct err err = ERR_INIT;
				AUTO_BUF out = BUF_INIT;

				assert_rc(RC_OK,
					  read_all((enum compression)how, buf_view(&packed),
						   pieces[i], room, &out, &err),
					  &err);
				assert_view_equal(buf_view(&out), buf_view(&text));
			}
		}
	}
}

static void test_cut_at_every_byte(void **state)
{
	AUTO_BUF text = BUF_INIT;

	(void)state;
	sample_text(&text);
	for (unsigned how = 0; how < COMPRESSION_COUNT_; how++) {
		AUTO_BUF packed = BUF_INIT;

		if (how == COMPRESSION_NONE)
			continue;
		compress_as((enum compression)how, buf_view(&text), &packed);
		for (size_t len = 0; len < packed.len; len++) {
			struct err err = ERR_INIT;
			AUTO_BUF out = BUF_INIT;

			assert_rc(RC_INVALID,
				  read_all((enum compression)how, view_of(packed.ptr, len), 512,
					   4096, &out, &err),
				  &err);
			assert_says(&err, "ends early");
			assert_true(out.len <= text.len);
		}
	}
}

static void test_streams_one_after_the_other(void **state)
{
	AUTO_BUF text = BUF_INIT, twice = BUF_INIT;

	(void)state;
	sample_text(&text);
	buf_append_view(&twice, buf_view(&text));
	buf_append_view(&twice, buf_view(&text));
	for (unsigned how = COMPRESSION_XZ; how < COMPRESSION_COUNT_; how++) {
		AUTO_BUF packed = BUF_INIT, out = BUF_INIT, small = BUF_INIT;
		struct err err = ERR_INIT;

		if (how == COMPRESSION_BROTLI || how == COMPRESSION_LZMA)
			continue;

		compress_as((enum compression)how, buf_view(&text), &packed);
		buf_append(&small, packed.ptr, packed.len);
		buf_append_view(&packed, buf_view(&small));
		assert_rc(RC_OK,
			  read_all((enum compression)how, buf_view(&packed), 100, 1000, &out, &err),
			  &err);
		assert_view_equal(buf_view(&out), buf_view(&twice));
	}
}

static void test_something_behind_the_end(void **state)
{
	AUTO_BUF text = BUF_INIT;

	(void)state;
	sample_text(&text);
	for (unsigned how = COMPRESSION_XZ; how < COMPRESSION_COUNT_; how++) {
		AUTO_BUF packed = BUF_INIT, out = BUF_INIT;
		struct err err = ERR_INIT;

		compress_as((enum compression)how, buf_view(&text), &packed);
		buf_append_string(&packed, "something else");
		assert_rc(RC_INVALID,
			  read_all((enum compression)how, buf_view(&packed), 100, 1000, &out, &err),
			  &err);
		assert_says(&err, "follow");
	}
}

static void test_damage(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_BUF text = BUF_INIT;

	(void)state;
	sample_text(&text);
	for (unsigned how = COMPRESSION_XZ; how < COMPRESSION_COUNT_; how++) {
		AUTO_BUF packed = BUF_INIT;

		compress_as((enum compression)how, buf_view(&text), &packed);
		for (int i = 0; i < 300; i++) {
			AUTO_BUF out = BUF_INIT;
			struct err err = ERR_INIT;
			size_t at = testing_below(&random, packed.len);
			enum rc rc;

			packed.ptr[at] ^= 0x10;
			rc = read_all((enum compression)how, buf_view(&packed), 999, 4096, &out,
				      &err);
			assert_true(rc == RC_OK || rc == RC_INVALID || rc == RC_TOO_LARGE);
			packed.ptr[at] ^= 0x10;
		}
	}
}

/* ---- Memory ---- */

/* A header that asks for a window of 2^28 and 2^31 bytes. */
static void test_zstd_window(void **state)
{
	static const uint8_t header[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0, 0
	};
	uint8_t larger[sizeof(header)];
	struct err err = ERR_INIT;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	assert_rc(RC_TOO_LARGE,
		  read_all(COMPRESSION_ZSTD, view_of(header, sizeof(header)), 100, 100, &out, &err),
		  &err);
	assert_says(&err, "128 MiB");
	memcpy(larger, header, sizeof(header));
	larger[5] = (31 - 10) << 3;
	assert_rc(RC_TOO_LARGE,
		  read_all(COMPRESSION_ZSTD, view_of(larger, sizeof(larger)), 100, 100, &out, &err),
		  &err);
}

static void test_xz_dictionary(void **state)
{
	lzma_options_lzma options;
	lzma_filter filters[2] = { { LZMA_FILTER_LZMA2, &options }, { LZMA_VLI_UNKNOWN, NULL } };
	uint8_t packed[512];
	struct err err = ERR_INIT;
	AUTO_BUF out = BUF_INIT;
	size_t len = 0;

	(void)state;
	assert_false(lzma_lzma_preset(&options, 0));
	options.dict_size = 256 << 20;
	assert_int_equal(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL,
						   (const uint8_t *)"x", 1, packed, &len,
						   sizeof(packed)),
			 LZMA_OK);
	assert_rc(RC_TOO_LARGE,
		  read_all(COMPRESSION_XZ, view_of(packed, len), 100, 100, &out, &err), &err);
	assert_says(&err, "128 MiB");
	/* 2^28 bytes, as lzma and lzip say it. */
	assert_rc(RC_TOO_LARGE,
		  read_all(COMPRESSION_LZMA,
			   view_of("\x5d\0\0\0\x10\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0", 18),
			   100, 100, &out, &err),
		  &err);
	assert_rc(RC_TOO_LARGE,
		  read_all(COMPRESSION_LZIP, view_of("LZIP\x01\x1c\0\0\0\0\0", 11), 100, 100, &out,
			   &err),
		  &err);
}

/* What came before zstd 0.8 had other marks, and other code. */
static void test_zstd_of_old(void **state)
{
	static const uint8_t v07[] = { 0x27, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x00, 0x00 };
	struct err err = ERR_INIT;
	AUTO_BUF out = BUF_INIT;

	(void)state;
	assert_rc(RC_INVALID,
		  read_all(COMPRESSION_ZSTD, view_of(v07, sizeof(v07)), 100, 100, &out, &err),
		  &err);
	assert_says(&err, "no frame");
}

/* A gigabyte of zeros in some kilobytes: comes out in the caller's pieces, so that it can stop. */
static void test_bomb(void **state)
{
	enum { ROOM = 65536 };
	static uint8_t zeros[1 << 20], out[ROOM];
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	AUTO_BUF packed = BUF_INIT;
	struct decompressor *d;
	struct err err = ERR_INIT;
	ZSTD_outBuffer to;
	struct view input;
	uint64_t total = 0;

	(void)state;
	buf_reserve(&packed, 1 << 20);
	to = (ZSTD_outBuffer){ packed.ptr, packed.cap, 0 };
	for (int i = 0; i < 1024; i++) {
		ZSTD_inBuffer in = { zeros, sizeof(zeros), 0 };

		assert_false(ZSTD_isError(ZSTD_compressStream2(cctx, &to, &in, ZSTD_e_continue)));
	}
	ZSTD_inBuffer end = { NULL, 0, 0 };
	assert_int_equal(ZSTD_compressStream2(cctx, &to, &end, ZSTD_e_end), 0);
	ZSTD_freeCCtx(cctx);
	assert_true(to.pos < 200000);

	input = view_of(packed.ptr, to.pos);
	assert_rc(RC_OK, decompressor_new(COMPRESSION_ZSTD, &d, &err), &err);
	while (total < (16 << 20)) {
		size_t got;

		assert_rc(RC_OK, decompressor_read(d, &input, true, out, ROOM, &got, &err), &err);
		assert_true(got > 0 && got <= ROOM);
		total += got;
	}
	assert_true(input.len > to.pos / 2);
	decompressor_free(d);
}

/* ---- Marks ---- */

static void test_detection(void **state)
{
	struct view nothing = { NULL, 0 }, br = view_of_string("nar/x.nar.br");
	AUTO_BUF text = BUF_INIT;
	enum compression how;

	(void)state;
	sample_text(&text);
	for (unsigned i = 0; i < COMPRESSION_COUNT_; i++) {
		AUTO_BUF packed = BUF_INIT;
		bool brotli = i == COMPRESSION_BROTLI;

		compress_as((enum compression)i, buf_view(&text), &packed);
		how = compression_detect(view_of(packed.ptr, COMPRESSION_MAGIC_LEN),
					 brotli ? br : nothing);
		assert_int_equal(how, i);
	}
	assert_int_equal(compression_detect(view_of("\x50\x2a\x4d\x18\0\0", 6), br),
			 COMPRESSION_ZSTD);
	assert_int_equal(compression_detect(nothing, nothing), COMPRESSION_NONE);
	/* As NARs begin. */
	assert_int_equal(compression_detect(view_of("\x0d\0\0\0\0\0", 6), nothing),
			 COMPRESSION_NONE);
}

/* ---- Pulled ---- */

struct pieces {
	struct view left;
	size_t piece;
	enum rc fail; /* instead of the end */
};

static enum rc pull_piece(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct pieces *pieces = context;
	size_t take = len < pieces->piece ? len : pieces->piece;

	*got = 0;
	if (pieces->left.len == 0 && pieces->fail != RC_OK)
		return err_set(err, pieces->fail, "the source failed");
	*got = take < pieces->left.len ? take : pieces->left.len;
	if (*got)
		memcpy(out, pieces->left.ptr, *got);
	pieces->left = drop(pieces->left, *got);
	return RC_OK;
}

static enum rc read_stream(struct pieces *pieces, const char *name, struct buf *out,
			   struct err *err)
{
	struct decompress_stream *stream =
		decompress_stream_new(pull_piece, pieces, view_of_string(name));
	uint8_t room[1000];
	size_t got;
	enum rc rc;

	do {
		rc = decompress_stream_read(stream, room, sizeof(room), &got, err);
		buf_append(out, room, got);
	} while (rc == RC_OK && got > 0);
	decompress_stream_free(stream);
	return rc;
}

static void test_pulled(void **state)
{
	AUTO_BUF text = BUF_INIT;

	(void)state;
	sample_text(&text);
	for (unsigned i = 0; i < COMPRESSION_COUNT_; i++) {
		const char *name = i == COMPRESSION_BROTLI ? "x.nar.br" : "x.nar";
		AUTO_BUF packed = BUF_INIT, out = BUF_INIT, some = BUF_INIT;
		struct pieces pieces = { .piece = 1 };
		struct err err = ERR_INIT;

		compress_as((enum compression)i, buf_view(&text), &packed);
		pieces.left = buf_view(&packed);
		assert_rc(RC_OK, read_stream(&pieces, name, &out, &err), &err);
		assert_view_equal(buf_view(&out), buf_view(&text));

		pieces = (struct pieces){ buf_view(&packed), 300, RC_UNAVAILABLE };
		pieces.left.len /= 2;
		assert_rc(RC_UNAVAILABLE, read_stream(&pieces, name, &some, &err), &err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_format),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_streams_one_after_the_other),
		cmocka_unit_test(test_something_behind_the_end),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_zstd_window),
		cmocka_unit_test(test_xz_dictionary),
		cmocka_unit_test(test_zstd_of_old),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_detection),
		cmocka_unit_test(test_pulled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
