/* A compressed stream. The first byte says of which format (or to find out by its mark), the second
 * how it is cut: the same must come out of it in one piece and in pieces. */
#include "fuzz/fuzz.h"

#include "base/decompress.h"
#include "base/mem.h"

enum { OUT_MAX = 256 << 10 };

static enum rc read_all(enum compression how, struct view input, size_t piece_len, size_t room,
			struct buf *out)
{
	AUTO_FREE uint8_t *bytes = mem_alloc(room);
	struct err err = ERR_INIT;
	struct decompressor *d;
	enum rc rc = decompressor_new(how, &d, &err);

	FUZZ_CHECK(rc == RC_OK);
	while (rc == RC_OK && out->len < OUT_MAX) {
		struct view piece =
			view_of(input.ptr, input.len < piece_len ? input.len : piece_len);
		size_t len = piece.len, got = 0;
		bool last = len == input.len;

		rc = decompressor_read(d, &piece, last, bytes, room, &got, &err);
		FUZZ_CHECK(got <= room && (rc == RC_OK || (got == 0 && err.message[0])));
		FUZZ_CHECK(rc != RC_OK || got > 0 || piece.len == 0);
		buf_append(out, bytes, got);
		input = view_slice(input, len - piece.len, input.len - (len - piece.len));
		if (got == 0 && last)
			break;
	}
	decompressor_free(d);
	FUZZ_CHECK(rc == RC_OK || rc == RC_INVALID || rc == RC_TOO_LARGE || rc == RC_NO_MEMORY);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf whole = BUF_INIT;
	CLEANUP(buf_release) struct buf cut = BUF_INIT;
	struct view input;
	enum compression how;
	size_t shorter;
	enum rc rc;

	if (len < 2)
		return 0;
	input = view_of(bytes + 2, len - 2);
	how = (enum compression)(bytes[0] % COMPRESSION_COUNT_);
	if (bytes[0] >= 128)
		how = compression_detect(input, view_of(NULL, 0));
	rc = read_all(how, input, SIZE_MAX, 16384, &whole);
	if (read_all(how, input, 1 + bytes[1] % 64u, 1 + bytes[1] / 4u * 16, &cut) == RC_OK)
		FUZZ_CHECK(rc == RC_OK || whole.len >= OUT_MAX || cut.len >= OUT_MAX);
	shorter = whole.len < cut.len ? whole.len : cut.len;
	FUZZ_CHECK(view_equal(view_of(whole.ptr, shorter), view_of(cut.ptr, shorter)));
	return 0;
}
