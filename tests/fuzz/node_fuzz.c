/* A Node message. What decodes is canonical. */
#include "fuzz/fuzz.h"

#include "castore/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf again = BUF_INIT;
	CLEANUP(buf_release) struct buf nameless = BUF_INIT;
	struct view message = view_of(bytes, len);
	struct err err = ERR_INIT;
	struct node node, copy;

	if (node_decode(message, &node, &err) != RC_OK) {
		FUZZ_CHECK(err.message[0] && node.name.len == 0 && node.target.len == 0);
		return 0;
	}
	node_encode(&node, true, &again);
	FUZZ_CHECK(view_equal(buf_view(&again), message));
	node_copy(&copy, &node);
	FUZZ_CHECK(node_equal(&copy, &node));
	node_release(&copy);
	node_encode(&node, false, &nameless);
	FUZZ_CHECK(node_decode(buf_view(&nameless), &node, NULL) == RC_OK && node.name.len == 0);
	return 0;
}
