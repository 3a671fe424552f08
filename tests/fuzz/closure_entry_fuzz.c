/* What stands behind a NAR in a closure. What parses is written such that it parses to the same. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "nix/closure_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	CLEANUP(buf_release) struct buf text_again = BUF_INIT;
	struct view rest = view_of(bytes, len), whole = rest, cut;
	struct path_info info, again;
	struct err err = ERR_INIT;
	bool more;
	enum rc rc = closure_entry_parse(&rest, &info, &more, &err);

	FUZZ_CHECK(rc == RC_OK || (rc == RC_INVALID && err.message[0] && !more));
	if (rc != RC_OK || more) {
		FUZZ_CHECK(!info.references && rest.len == len);
		return 0;
	}
	FUZZ_CHECK(len - rest.len <= CLOSURE_ENTRY_MAX);
	for (size_t i = 1; i < info.reference_count; i++)
		FUZZ_CHECK(store_path_compare(&info.references[i - 1], &info.references[i]) < 0);
	closure_entry_print(&info, &text);
	cut = buf_view(&text);
	FUZZ_CHECK(closure_entry_parse(&cut, &again, &more, &err) == RC_OK && !more &&
		   cut.len == 0);
	closure_entry_print(&again, &text_again);
	FUZZ_CHECK(view_equal(buf_view(&text), buf_view(&text_again)));
	path_info_release(&again);
	/* Every cut asks for more. */
	cut = view_slice(whole, 0, (len - rest.len) / 2);
	FUZZ_CHECK(closure_entry_parse(&cut, &again, &more, &err) == RC_OK && more);
	path_info_release(&info);
	return 0;
}
