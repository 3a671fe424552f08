/* A node as people write it. What parses is printed in a form that parses to the same. */
#include "fuzz/fuzz.h"

#include "castore/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct node node, again;

	if (node_parse(view_of(bytes, len), &node, &err) != RC_OK) {
		FUZZ_CHECK(err.message[0]);
		return 0;
	}
	node_print(&node, &text);
	FUZZ_CHECK(node_parse(buf_view(&text), &again, NULL) == RC_OK);
	FUZZ_CHECK(node_equal(&node, &again));
	return 0;
}
