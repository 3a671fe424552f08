/* Requests of a reflection client. Whatever is a request has an answer that is a message. */
#include "fuzz/fuzz.h"

#include "base/wire.h"
#include "server/reflection.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf answer = BUF_INIT;
	struct cursor cursor;
	struct wire_field field;
	struct err err = ERR_INIT;

	if (reflection_answer(view_of(bytes, len), &answer, &err) != RC_OK) {
		FUZZ_CHECK(err.message[0] && answer.len == 0);
		return 0;
	}
	cursor = cursor_of(buf_view(&answer));
	while (wire_next(&cursor, &field))
		;
	FUZZ_CHECK(!cursor.failed && answer.len > 0);
	return 0;
}
