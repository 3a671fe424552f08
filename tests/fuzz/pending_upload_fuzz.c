/* The record of an upload that waits for its narinfo. What decodes is written as the same bytes. */
#include "fuzz/fuzz.h"

#include "transfer/pending_upload.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct pending_upload pending;
	struct buf record = BUF_INIT;
	struct err err = ERR_INIT;
	enum rc rc = pending_upload_decode(view_of(bytes, len), &pending, &err);

	if (rc != RC_OK) {
		FUZZ_CHECK(rc == RC_CORRUPT && err.message[0]);
		FUZZ_CHECK(!pending.root.target.ptr && pending.facts.nar_size == 0);
		return 0;
	}
	FUZZ_CHECK(pending.root.name.len == 0);
	pending_upload_encode(&pending, &record);
	FUZZ_CHECK(view_equal(buf_view(&record), view_of(bytes, len)));
	buf_release(&record);
	pending_upload_release(&pending);
	return 0;
}
