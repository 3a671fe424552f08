/* A Directory message. What decodes is canonical: its nodes make the same bytes again. */
#include "fuzz/fuzz.h"

#include "base/mem.h"
#include "castore/directory.h"

static void check_entries(const struct directory *dir, struct node *nodes)
{
	size_t count = directory_count(dir);
	uint64_t size = 2 * (uint64_t)count;

	for (size_t i = 0; i < count; i++) {
		const struct node *node = directory_at(dir, i);

		FUZZ_CHECK(node_check_name(node->name, NULL) == RC_OK);
		FUZZ_CHECK(i == 0 || view_compare(directory_at(dir, i - 1)->name, node->name) < 0);
		FUZZ_CHECK(directory_find(dir, node->name) == node);
		if (node->kind == NODE_DIRECTORY)
			size += node->size;
		nodes[count - 1 - i] = *node;
	}
	FUZZ_CHECK(directory_size(dir) == size);
	FUZZ_CHECK(directory_size_matches(dir, size));
	FUZZ_CHECK(directory_size_matches(dir, size - count));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	AUTO_DIRECTORY struct directory *dir = NULL;
	AUTO_DIRECTORY struct directory *made = NULL;
	AUTO_FREE struct node *nodes = NULL;
	struct view message = view_of(bytes, len);
	struct err err = ERR_INIT;
	enum rc rc = directory_decode(message, &dir, &err);

	if (rc != RC_OK) {
		FUZZ_CHECK(!dir && err.message[0]);
		FUZZ_CHECK(rc == RC_INVALID || rc == RC_TOO_LARGE);
		return 0;
	}
	nodes = mem_array(directory_count(dir), sizeof(*nodes));
	check_entries(dir, nodes);
	FUZZ_CHECK(view_equal(directory_encoded(dir), message));
	FUZZ_CHECK(directory_from_nodes(nodes, directory_count(dir), &made, NULL) == RC_OK);
	FUZZ_CHECK(view_equal(directory_encoded(made), message));
	return 0;
}
