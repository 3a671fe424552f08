/*
 * Each format is a table of three functions over its library's stream object. A `step` is one call of
 * the library; the loop around it, and what it means that a stream ends, are the same for all.
 */
#include "base/decompress.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"

enum {
	ZSTD_WINDOW_LOG_MAX = 27,  /* of DECOMPRESS_WINDOW_MAX */
	XZ_MEMORY_SLACK = 8 << 20, /* what liblzma needs beside the window */
	STREAM_INPUT_BYTES = 64 << 10,
	ZSTD_MAGIC_LEN = 4,
};

struct room {
	uint8_t *ptr;
	size_t len;
};

struct format {
	const char *name;
	enum rc (*open)(struct decompressor *d, struct err *err);
	/* Moves *input and *out by what it took and gave. Sets at_end behind a whole stream, clears
	 * it where another begins. No progress is fine. */
	enum rc (*step)(struct decompressor *d, struct view *input, bool last, struct room *out,
			struct err *err);
	void (*close)(struct decompressor *d);
};

struct decompressor {
	const struct format *format;
	/* A whole stream has been given, and nothing yet of one behind it. */
	bool at_end;
	bool opened;
	uint64_t streams; /* that ended */
	enum rc failure;
	struct err failure_err;
	/* zstd: the mark of the next frame, which is looked at before the library gets it. */
	uint8_t magic[ZSTD_MAGIC_LEN];
	size_t magic_len, magic_used;
	union {
		lzma_stream xz; /* and lzma, lzip */
		ZSTD_DCtx *zstd;
		bz_stream bzip2;
		z_stream gzip;
		BrotliDecoderState *brotli;
		LZ4F_dctx *lz4;
	} state;
};

static struct view drop(struct view view, size_t len)
{
	return view_slice(view, len, view.len - len);
}

static void fill(struct room *out, size_t len)
{
	out->ptr += len;
	out->len -= len;
}

/* The libraries of old count in unsigned int. */
static unsigned capped(size_t len)
{
	return len < INT_MAX ? (unsigned)len : INT_MAX;
}

/* What is broken: the first stream, or what came behind one. */
static enum rc broken(const struct decompressor *d, const char *why, struct err *err)
{
	if (d->streams > 0)
		return err_set(err, RC_INVALID, "what follows the end of the %s stream is %s",
			       d->format->name, why);
	return err_set(err, RC_INVALID, "bad %s stream: %s", d->format->name, why);
}

static enum rc no_memory(const struct decompressor *d, struct err *err)
{
	return err_set(err, RC_NO_MEMORY, "no memory to decompress %s", d->format->name);
}

static enum rc window_too_large(const struct decompressor *d, struct err *err)
{
	return err_set(err, RC_TOO_LARGE, "the %s stream needs more than %d MiB of memory",
		       d->format->name, DECOMPRESS_WINDOW_MAX >> 20);
}

/* ---- none ---- */

static enum rc none_open(struct decompressor *d, struct err *err)
{
	(void)err;
	d->at_end = true; /* wherever it ends is right */
	return RC_OK;
}

static enum rc none_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			 struct err *err)
{
	size_t len = input->len < out->len ? input->len : out->len;

	(void)d;
	(void)last;
	(void)err;
	if (len > 0)
		memcpy(out->ptr, input->ptr, len);
	*input = drop(*input, len);
	fill(out, len);
	return RC_OK;
}

static void none_close(struct decompressor *d)
{
	(void)d;
}

/* ---- xz, lzip, and the lzma that was before them: all of liblzma ---- */

static const lzma_stream xz_initial = LZMA_STREAM_INIT;
static const uint64_t xz_memory = DECOMPRESS_WINDOW_MAX + XZ_MEMORY_SLACK;

static enum rc xz_open(struct decompressor *d, struct err *err)
{
	d->state.xz = xz_initial;
	return lzma_stream_decoder(&d->state.xz, xz_memory, LZMA_CONCATENATED) == LZMA_OK
		       ? RC_OK
		       : no_memory(d, err);
}

static enum rc lzip_open(struct decompressor *d, struct err *err)
{
	d->state.xz = xz_initial;
	return lzma_lzip_decoder(&d->state.xz, xz_memory, LZMA_CONCATENATED) == LZMA_OK
		       ? RC_OK
		       : no_memory(d, err);
}

static enum rc lzma_open(struct decompressor *d, struct err *err)
{
	d->state.xz = xz_initial;
	return lzma_alone_decoder(&d->state.xz, xz_memory) == LZMA_OK ? RC_OK : no_memory(d, err);
}

static enum rc xz_step(struct decompressor *d, struct view *input, bool last, struct room *out,
		       struct err *err)
{
	lzma_stream *xz = &d->state.xz;
	lzma_ret ret;

	if (d->at_end) {
		d->streams++;
		return broken(d, "not its own", err);
	}
	xz->next_in = input->ptr;
	xz->avail_in = input->len;
	xz->next_out = out->ptr;
	xz->avail_out = out->len;
	/* Only `last` tells the library that no other stream follows. */
	ret = lzma_code(xz, last ? LZMA_FINISH : LZMA_RUN);
	*input = drop(*input, input->len - xz->avail_in);
	fill(out, out->len - xz->avail_out);
	switch (ret) {
	case LZMA_STREAM_END:
		d->at_end = true;
		return RC_OK;
	case LZMA_OK:
	case LZMA_BUF_ERROR: /* no progress */
		return RC_OK;
	case LZMA_MEMLIMIT_ERROR:
		return window_too_large(d, err);
	case LZMA_MEM_ERROR:
		return no_memory(d, err);
	case LZMA_FORMAT_ERROR:
		return broken(d, "it does not begin as one", err);
	case LZMA_OPTIONS_ERROR:
		return broken(d, "options that this version does not know", err);
	default:
		return broken(d, "damaged, or followed by something else", err);
	}
}

static void xz_close(struct decompressor *d)
{
	lzma_end(&d->state.xz);
}

/* ---- zstd ---- */

static enum rc zstd_open(struct decompressor *d, struct err *err)
{
	d->state.zstd = ZSTD_createDCtx();
	if (!d->state.zstd)
		return no_memory(d, err);
	if (ZSTD_isError(ZSTD_DCtx_setParameter(d->state.zstd, ZSTD_d_windowLogMax,
						ZSTD_WINDOW_LOG_MAX)))
		return err_set(err, RC_UNSUPPORTED, "zstd takes no limit of its window");
	return RC_OK;
}

static enum rc zstd_give(struct decompressor *d, struct view *input, struct room *out,
			 struct err *err)
{
	ZSTD_inBuffer in = { .src = input->ptr, .size = input->len };
	ZSTD_outBuffer to = { .dst = out->ptr, .size = out->len };
	size_t ret = ZSTD_decompressStream(d->state.zstd, &to, &in);

	*input = drop(*input, in.pos);
	fill(out, to.pos);
	if (!ZSTD_isError(ret)) {
		d->at_end = ret == 0;
		return RC_OK;
	}
	switch (ZSTD_getErrorCode(ret)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		return window_too_large(d, err);
	case ZSTD_error_memory_allocation:
		return no_memory(d, err);
	default:
		return err_set(err, RC_INVALID, "bad zstd stream: %s", ZSTD_getErrorName(ret));
	}
}

/* A frame of today's format, or one to be skipped: the library would also read older ones, by code
 * that nobody tests any more. */
static bool zstd_magic_is_right(const uint8_t magic[ZSTD_MAGIC_LEN])
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd };
	static const uint8_t skippable[] = { 0x2a, 0x4d, 0x18 };

	return memcmp(magic, frame, sizeof(frame)) == 0 ||
	       ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, skippable, sizeof(skippable)) == 0);
}

static enum rc zstd_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			 struct err *err)
{
	struct view magic;
	enum rc rc;

	(void)last;
	if (d->at_end) {
		d->at_end = false;
		d->streams++;
		d->magic_len = d->magic_used = 0;
	}
	while (d->magic_len < ZSTD_MAGIC_LEN && input->len > 0) {
		d->magic[d->magic_len++] = *input->ptr;
		*input = drop(*input, 1);
	}
	if (d->magic_len < ZSTD_MAGIC_LEN)
		return RC_OK;
	if (!zstd_magic_is_right(d->magic))
		return broken(d, "no frame", err);
	if (d->magic_used == ZSTD_MAGIC_LEN)
		return zstd_give(d, input, out, err);
	magic = view_of(d->magic + d->magic_used, ZSTD_MAGIC_LEN - d->magic_used);
	rc = zstd_give(d, &magic, out, err);
	d->magic_used = ZSTD_MAGIC_LEN - magic.len;
	return rc;
}

static void zstd_close(struct decompressor *d)
{
	ZSTD_freeDCtx(d->state.zstd);
}

/* ---- bzip2 ---- */

static enum rc bzip2_open(struct decompressor *d, struct err *err)
{
	memset(&d->state.bzip2, 0, sizeof(d->state.bzip2));
	return BZ2_bzDecompressInit(&d->state.bzip2, 0, 0) == BZ_OK ? RC_OK : no_memory(d, err);
}

static enum rc bzip2_again(struct decompressor *d, struct err *err)
{
	BZ2_bzDecompressEnd(&d->state.bzip2);
	d->opened = false;
	d->at_end = false;
	d->streams++;
	enum rc rc = bzip2_open(d, err);

	d->opened = rc == RC_OK;
	return rc;
}

static enum rc bzip2_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			  struct err *err)
{
	bz_stream *bzip2 = &d->state.bzip2;
	unsigned in, to;
	enum rc rc;
	int ret;

	(void)last;
	if (d->at_end) {
		rc = bzip2_again(d, err);
		if (rc != RC_OK)
			return rc;
	}
	in = capped(input->len);
	to = capped(out->len);
	bzip2->next_in = (char *)(uintptr_t)input->ptr;
	bzip2->avail_in = in;
	bzip2->next_out = (char *)out->ptr;
	bzip2->avail_out = to;
	ret = BZ2_bzDecompress(bzip2);
	*input = drop(*input, in - bzip2->avail_in);
	fill(out, to - bzip2->avail_out);
	d->at_end = ret == BZ_STREAM_END;
	if (ret == BZ_OK || ret == BZ_STREAM_END)
		return RC_OK;
	if (ret == BZ_MEM_ERROR)
		return no_memory(d, err);
	return broken(d, ret == BZ_DATA_ERROR_MAGIC ? "no mark of bzip2" : "damaged", err);
}

static void bzip2_close(struct decompressor *d)
{
	BZ2_bzDecompressEnd(&d->state.bzip2);
}

/* ---- gzip ---- */

static enum rc gzip_open(struct decompressor *d, struct err *err)
{
	enum { WINDOW_BITS = 15, GZIP_HEADER = 16 };

	memset(&d->state.gzip, 0, sizeof(d->state.gzip));
	return inflateInit2(&d->state.gzip, WINDOW_BITS + GZIP_HEADER) == Z_OK ? RC_OK
									       : no_memory(d, err);
}

static enum rc gzip_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			 struct err *err)
{
	z_stream *gzip = &d->state.gzip;
	unsigned in = capped(input->len), to = capped(out->len);
	int ret;

	(void)last;
	if (d->at_end) {
		d->at_end = false;
		d->streams++;
		inflateReset(gzip);
	}
	gzip->next_in = (Bytef *)(uintptr_t)input->ptr;
	gzip->avail_in = in;
	gzip->next_out = out->ptr;
	gzip->avail_out = to;
	ret = inflate(gzip, Z_NO_FLUSH);
	*input = drop(*input, in - gzip->avail_in);
	fill(out, to - gzip->avail_out);
	d->at_end = ret == Z_STREAM_END;
	if (ret == Z_OK || ret == Z_STREAM_END || ret == Z_BUF_ERROR)
		return RC_OK;
	if (ret == Z_MEM_ERROR)
		return no_memory(d, err);
	return broken(d, gzip->msg ? gzip->msg : "damaged", err);
}

static void gzip_close(struct decompressor *d)
{
	inflateEnd(&d->state.gzip);
}

/* ---- Brotli: its window is 16 MiB at most, unless a larger one is asked for ---- */

static enum rc brotli_open(struct decompressor *d, struct err *err)
{
	d->state.brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	return d->state.brotli ? RC_OK : no_memory(d, err);
}

static enum rc brotli_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			   struct err *err)
{
	const uint8_t *next_in = input->ptr;
	size_t in = input->len;
	BrotliDecoderResult result;
	BrotliDecoderErrorCode code;

	(void)last;
	if (d->at_end) {
		d->streams++;
		return broken(d, "not its own", err);
	}
	result = BrotliDecoderDecompressStream(d->state.brotli, &in, &next_in, &out->len, &out->ptr,
					       NULL);
	*input = drop(*input, input->len - in);
	d->at_end = result == BROTLI_DECODER_RESULT_SUCCESS;
	if (result != BROTLI_DECODER_RESULT_ERROR)
		return RC_OK;
	code = BrotliDecoderGetErrorCode(d->state.brotli);
	if (code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
	    code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES)
		return no_memory(d, err);
	return broken(d, BrotliDecoderErrorString(code), err);
}

static void brotli_close(struct decompressor *d)
{
	BrotliDecoderDestroyInstance(d->state.brotli);
}

/* ---- lz4: its blocks have 4 MiB at most, and refer back 64 KiB ---- */

static enum rc lz4_open(struct decompressor *d, struct err *err)
{
	return LZ4F_isError(LZ4F_createDecompressionContext(&d->state.lz4, LZ4F_VERSION))
		       ? no_memory(d, err)
		       : RC_OK;
}

static enum rc lz4_step(struct decompressor *d, struct view *input, bool last, struct room *out,
			struct err *err)
{
	size_t in = input->len, to = out->len, ret;

	(void)last;
	if (d->at_end) {
		d->at_end = false;
		d->streams++;
	}
	ret = LZ4F_decompress(d->state.lz4, out->ptr, &to, input->ptr, &in, NULL);
	*input = drop(*input, in);
	fill(out, to);
	if (LZ4F_isError(ret))
		return broken(d, LZ4F_getErrorName(ret), err);
	d->at_end = ret == 0;
	return RC_OK;
}

static void lz4_close(struct decompressor *d)
{
	LZ4F_freeDecompressionContext(d->state.lz4);
}

/* ---- Any format ---- */

static const struct format formats[COMPRESSION_COUNT_] = {
	[COMPRESSION_NONE] = { "none", none_open, none_step, none_close },
	[COMPRESSION_XZ] = { "xz", xz_open, xz_step, xz_close },
	[COMPRESSION_ZSTD] = { "zstd", zstd_open, zstd_step, zstd_close },
	[COMPRESSION_BZIP2] = { "bzip2", bzip2_open, bzip2_step, bzip2_close },
	[COMPRESSION_GZIP] = { "gzip", gzip_open, gzip_step, gzip_close },
	[COMPRESSION_BROTLI] = { "br", brotli_open, brotli_step, brotli_close },
	[COMPRESSION_LZMA] = { "lzma", lzma_open, xz_step, xz_close },
	[COMPRESSION_LZIP] = { "lzip", lzip_open, xz_step, xz_close },
	[COMPRESSION_LZ4] = { "lz4", lz4_open, lz4_step, lz4_close },
};

enum rc decompressor_new(enum compression compression, struct decompressor **out, struct err *err)
{
	struct decompressor *d = mem_zalloc(sizeof(*d));
	enum rc rc;

	*out = NULL;
	d->format = &formats[compression];
	rc = d->format->open(d, err);
	d->opened = rc == RC_OK;
	if (rc == RC_OK)
		*out = d;
	else
		decompressor_free(d);
	return rc;
}

void decompressor_free(struct decompressor *d)
{
	if (!d)
		return;
	if (d->opened)
		d->format->close(d);
	free(d);
}

static enum rc read_some(struct decompressor *d, struct view *input, bool last, struct room *out,
			 struct err *err)
{
	while (out->len > 0) {
		size_t in = input->len, to = out->len;
		enum rc rc;

		/* Behind a whole stream only more bytes mean that another one begins. */
		if (d->at_end && input->len == 0)
			return RC_OK;
		rc = d->format->step(d, input, last, out, err);
		if (rc != RC_OK)
			return rc;
		if (!d->at_end && input->len == in && out->len == to)
			return RC_OK;
	}
	return RC_OK;
}

enum rc decompressor_read(struct decompressor *d, struct view *input, bool last, void *out,
			  size_t len, size_t *got, struct err *err)
{
	struct room room = { .ptr = out, .len = len };
	enum rc rc;

	*got = 0;
	if (d->failure != RC_OK)
		return err_set(err, d->failure, "%s", d->failure_err.message);
	rc = read_some(d, input, last, &room, &d->failure_err);
	if (rc == RC_OK && room.len == len && input->len > 0)
		rc = err_set(&d->failure_err, RC_INVALID, "bad %s stream: it does not go on",
			     d->format->name);
	if (rc == RC_OK && room.len == len && last && !d->at_end)
		rc = err_set(&d->failure_err, RC_INVALID, "the %s stream ends early",
			     d->format->name);
	d->failure = rc;
	if (rc != RC_OK)
		return err_set(err, rc, "%s", d->failure_err.message);
	*got = len - room.len;
	return RC_OK;
}

/* ---- Which format ---- */

static bool begins(struct view first, const char *mark, size_t len)
{
	return first.len >= len && memcmp(first.ptr, mark, len) == 0;
}

enum compression compression_detect(struct view first, struct view file_name)
{
	static const struct view br = { (const uint8_t *)".br", 3 };
	static const struct {
		const char *mark;
		size_t len;
		enum compression compression;
	} marks[] = {
		{ "\xfd\x37zXZ\0", 6, COMPRESSION_XZ },
		{ "BZh", 3, COMPRESSION_BZIP2 },
		{ "\x1f\x8b", 2, COMPRESSION_GZIP },
		{ "LZIP", 4, COMPRESSION_LZIP },
		{ "\x04\x22\x4d\x18", 4, COMPRESSION_LZ4 },
		/* The usual properties, and a dictionary of a multiple of 64 KiB. */
		{ "\x5d\0\0", 3, COMPRESSION_LZMA },
	};

	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		if (begins(first, marks[i].mark, marks[i].len))
			return marks[i].compression;
	}
	if (first.len >= ZSTD_MAGIC_LEN && zstd_magic_is_right(first.ptr))
		return COMPRESSION_ZSTD;
	if (file_name.len >= br.len &&
	    view_equal(view_slice(file_name, file_name.len - br.len, br.len), br))
		return COMPRESSION_BROTLI;
	return COMPRESSION_NONE;
}

/* ---- Pulled ---- */

struct decompress_stream {
	decompress_source *source;
	void *context;
	char *file_name;
	struct decompressor *decompressor; /* NULL before the first read */
	struct view left;                  /* of bytes */
	bool last;
	uint8_t bytes[STREAM_INPUT_BYTES];
};

struct decompress_stream *decompress_stream_new(decompress_source *source, void *context,
						struct view file_name)
{
	struct decompress_stream *stream = mem_alloc(sizeof(*stream));

	stream->source = source;
	stream->context = context;
	stream->file_name = mem_strndup(file_name);
	stream->decompressor = NULL;
	stream->left = view_of(NULL, 0);
	stream->last = false;
	return stream;
}

void decompress_stream_free(struct decompress_stream *stream)
{
	if (!stream)
		return;
	decompressor_free(stream->decompressor);
	free(stream->file_name);
	free(stream);
}

/* Appends to what is left, which lies at the start of bytes or is empty. */
static enum rc pull(struct decompress_stream *stream, struct err *err)
{
	size_t had = stream->left.len, got;
	enum rc rc = stream->source(stream->context, stream->bytes + had, STREAM_INPUT_BYTES - had,
				    &got, err);

	if (rc != RC_OK)
		return rc;
	stream->last = got == 0;
	stream->left = view_of(stream->bytes, had + got);
	return RC_OK;
}

static enum rc begin(struct decompress_stream *stream, struct err *err)
{
	enum rc rc = RC_OK;

	while (rc == RC_OK && !stream->last && stream->left.len < COMPRESSION_MAGIC_LEN)
		rc = pull(stream, err);
	if (rc != RC_OK)
		return rc;
	return decompressor_new(compression_detect(stream->left, view_of_string(stream->file_name)),
				&stream->decompressor, err);
}

enum rc decompress_stream_read(void *stream_, void *out, size_t len, size_t *got, struct err *err)
{
	struct decompress_stream *stream = stream_;
	enum rc rc = RC_OK;

	*got = 0;
	if (!stream->decompressor)
		rc = begin(stream, err);
	while (rc == RC_OK) {
		rc = decompressor_read(stream->decompressor, &stream->left, stream->last, out, len,
				       got, err);
		if (rc != RC_OK || *got > 0 || stream->last)
			return rc;
		rc = pull(stream, err);
	}
	return rc;
}
