/*
 * Decompression of a stream in the formats that Nix archives come in. The memory that a stream can
 * ask for is bounded (below); how much may come out of it is for the caller to count.
 */
#ifndef CASTOR_BASE_DECOMPRESS_H
#define CASTOR_BASE_DECOMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum compression {
	COMPRESSION_NONE,
	COMPRESSION_XZ,
	COMPRESSION_ZSTD,
	COMPRESSION_BZIP2,
	COMPRESSION_GZIP,
	COMPRESSION_BROTLI,
	COMPRESSION_LZMA, /* .lzma, which xz came after */
	COMPRESSION_LZIP,
	COMPRESSION_LZ4,
	COMPRESSION_COUNT_,
};

enum {
	/* The largest window that is followed back: what `zstd` itself reads, and twice `xz -9`. */
	DECOMPRESS_WINDOW_MAX = 128 << 20,
	/* So many first bytes tell what a stream is. */
	COMPRESSION_MAGIC_LEN = 6,
};

/* By its first bytes: COMPRESSION_MAGIC_LEN of them, or all there are. Brotli has no mark of its own:
 * it is what a file name that ends in ".br" says where the bytes say nothing (file_name may be
 * empty). */
enum compression compression_detect(struct view first, struct view file_name);

/* ---- Bytes are pushed in ---- */

struct decompressor;

/* RC_NO_MEMORY. One thread at a time. */
enum rc decompressor_new(enum compression compression, struct decompressor **out,
			 struct err *err) MUST_USE;
void decompressor_free(struct decompressor *decompressor); /* NULL is fine */
/*
 * Takes from the front of *input, moves it, and gives up to len (at least 1) bytes. *got 0: all of
 * the input was taken, and more is needed; or, where `last` said that no more will come, this was
 * the end. `last` stays true once it was. Streams one after the other are one, as the tools of these
 * formats have it (of brotli and lzma there is only one).
 *
 * RC_INVALID: broken, or ends early, or something else follows its end; RC_TOO_LARGE: asks for more
 * memory than DECOMPRESS_WINDOW_MAX. Every call after a failure fails the same way.
 */
enum rc decompressor_read(struct decompressor *decompressor, struct view *input, bool last,
			  void *out, size_t len, size_t *got, struct err *err) MUST_USE;

/* ---- Or pulled ---- */

/* Fills out with up to len bytes; *got 0: the end. (The same as nar_source.) */
typedef enum rc decompress_source(void *context, void *out, size_t len, size_t *got,
				  struct err *err);

struct decompress_stream;

/* Finds out what the source brings, at the first read, as compression_detect does. file_name is
 * copied. */
struct decompress_stream *decompress_stream_new(decompress_source *source, void *context,
						struct view file_name);
void decompress_stream_free(struct decompress_stream *stream); /* NULL is fine */
/* A decompress_source itself; its context is the stream. Beside the decompressor's outcomes, the
 * source's own. */
enum rc decompress_stream_read(void *stream, void *out, size_t len, size_t *got,
			       struct err *err) MUST_USE;

#endif
