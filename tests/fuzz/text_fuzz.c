/* The small encodings: base64 of both kinds, hex, sizes, what is shown on a terminal. */
#include "fuzz/fuzz.h"

#include "base/mem.h"
#include "base/text.h"

static void check_base64(enum base64_kind kind, struct view input)
{
	CLEANUP(buf_release) struct buf decoded = BUF_INIT;
	CLEANUP(buf_release) struct buf encoded = BUF_INIT;

	if (base64_decode(kind, input, &decoded)) {
		base64_encode(kind, buf_view(&decoded), &encoded);
		FUZZ_CHECK(view_equal(buf_view(&encoded), input));
	} else {
		FUZZ_CHECK(decoded.len == 0);
	}
	buf_clear(&decoded);
	buf_clear(&encoded);
	base64_encode(kind, input, &encoded);
	FUZZ_CHECK(base64_decode(kind, buf_view(&encoded), &decoded));
	FUZZ_CHECK(view_equal(buf_view(&decoded), input));
}

static void check_hex(struct view input)
{
	AUTO_FREE char *digits = mem_alloc(2 * input.len + 1);
	AUTO_FREE uint8_t *bytes = mem_alloc(input.len);
	bool is_hex = hex_decode(input, bytes, input.len / 2);

	(void)is_hex;
	hex_encode(input.ptr, input.len, digits);
	FUZZ_CHECK(hex_decode(view_of_string(digits), bytes, input.len));
	FUZZ_CHECK(view_equal(view_of(bytes, input.len), input));
}

static void check_printable(struct view input)
{
	CLEANUP(buf_release) struct buf shown = BUF_INIT;
	CLEANUP(buf_release) struct buf again = BUF_INIT;

	text_printable(input, &shown);
	for (size_t i = 0; i < shown.len; i++)
		FUZZ_CHECK(shown.ptr[i] >= 0x20 && shown.ptr[i] != 0x7f);
	text_printable(buf_view(&shown), &again);
	FUZZ_CHECK(view_equal(buf_view(&shown), buf_view(&again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view input = view_of(bytes, len);
	AUTO_FREE char *string = mem_strndup(input);
	char shown[TEXT_SIZE_MAX];
	uint64_t number, size;

	check_base64(BASE64_STANDARD, input);
	check_base64(BASE64_URL, input);
	check_hex(input);
	check_printable(input);
	if (text_parse_size(string, &size, NULL) == RC_OK)
		text_size(size, shown);
	if (text_parse_u64(input, &number))
		text_size(number, shown);
	return 0;
}
