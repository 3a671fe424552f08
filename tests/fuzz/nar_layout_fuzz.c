/* The layout of a NAR as it is kept: what the seal covers (which is put before the input). What
 * decodes is encoded as the same bytes, and each of its frames is found at its ends. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "service/blob/memory.h"
#include "transfer/nar_layout.h"

static void check_frames(const struct nar_layout *layout)
{
	FUZZ_CHECK(layout->count > 0 && layout->frames[0].at == 0 && layout->frames[0].nar_at == 0);
	for (size_t i = 0; i < layout->count; i++) {
		const struct nar_frame *frame = &layout->frames[i];

		FUZZ_CHECK(frame->at < frame[1].at && frame->nar_at < frame[1].nar_at);
		FUZZ_CHECK(nar_layout_find(layout, false, frame->at) == i);
		FUZZ_CHECK(nar_layout_find(layout, false, frame[1].at - 1) == i);
		FUZZ_CHECK(nar_layout_find(layout, true, frame->nar_at) == i);
		FUZZ_CHECK(nar_layout_find(layout, true, frame[1].nar_at - 1) == i);
		if (frame->kind == NAR_FRAME_LITERAL)
			FUZZ_CHECK(frame->source <= layout->literals.len &&
				   frame[1].at - frame->at <= layout->literals.len - frame->source);
		if (frame->kind == NAR_FRAME_SLICE)
			FUZZ_CHECK(frame->source < layout->slice_count);
		if (frame->kind == NAR_FRAME_STORED)
			FUZZ_CHECK(frame->source < layout->chunk_count);
	}
	FUZZ_CHECK(nar_layout_size(layout) == layout->frames[layout->count].at);
	FUZZ_CHECK(nar_layout_nar_size(layout) == layout->frames[layout->count].nar_at);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct services services = { .blobs = blob_memory_new() };
	struct digest seal = digest_of(view_of(bytes, len));
	struct buf kept = BUF_INIT, again = BUF_INIT;
	struct nar_layout *layout;
	struct err err = ERR_INIT;
	enum rc rc;

	buf_append_string(&kept, "castorL1");
	buf_append(&kept, seal.bytes, DIGEST_SIZE);
	buf_append(&kept, bytes, len);
	rc = nar_layout_decode(&services, &op_none, buf_view(&kept), &layout, &err);
	if (rc == RC_OK) {
		check_frames(layout);
		nar_layout_encode(layout, &again);
		FUZZ_CHECK(view_equal(buf_view(&again), buf_view(&kept)));
	} else {
		FUZZ_CHECK(!layout);
	}
	nar_layout_unref(layout);
	buf_release(&kept);
	buf_release(&again);
	services_release(&services);
	return 0;
}
