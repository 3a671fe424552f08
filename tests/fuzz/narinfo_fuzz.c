/* A narinfo. What parses is printed such that it parses to the same and prints the same again. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "nix/narinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct narinfo narinfo, again;
	struct buf text = BUF_INIT, text_again = BUF_INIT, covered = BUF_INIT;
	struct err err = ERR_INIT;
	enum rc rc = narinfo_parse(view_of(bytes, len), &narinfo, &err);

	if (rc != RC_OK) {
		FUZZ_CHECK(rc == RC_INVALID && err.message[0]);
		FUZZ_CHECK(!narinfo.url && !narinfo.info.references && !narinfo.info.signatures);
		return 0;
	}
	for (size_t i = 1; i < narinfo.info.reference_count; i++)
		FUZZ_CHECK(store_path_compare(&narinfo.info.references[i - 1],
					      &narinfo.info.references[i]) < 0);
	path_info_fingerprint(&narinfo.info, &covered);
	FUZZ_CHECK(narinfo.info.has_ca || path_info_check_ca(&narinfo.info, NULL) == RC_OK);
	narinfo_print(&narinfo, &text);
	FUZZ_CHECK(narinfo_parse(buf_view(&text), &again, &err) == RC_OK);
	narinfo_print(&again, &text_again);
	FUZZ_CHECK(view_equal(buf_view(&text), buf_view(&text_again)));
	FUZZ_CHECK(again.info.reference_count == narinfo.info.reference_count);
	FUZZ_CHECK(again.info.signature_count == narinfo.info.signature_count);
	FUZZ_CHECK(again.info.has_ca == narinfo.info.has_ca);
	narinfo_release(&narinfo);
	narinfo_release(&again);
	buf_release(&text);
	buf_release(&text_again);
	buf_release(&covered);
	return 0;
}
