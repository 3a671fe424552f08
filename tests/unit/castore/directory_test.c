#include "unit/testing.h"

#include "castore/directory.h"
#include "unit/castore/vectors.h"

static void vectors_decode(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTOR_DIRECTORIES; i++) {
		CLEANUP(buf_release) struct buf message = BUF_INIT;
		AUTO_DIRECTORY struct directory *dir = NULL;
		AUTO_DIRECTORY struct directory *made = NULL;
		AUTO_FREE struct node *nodes = NULL;
		struct err err = ERR_INIT;
		char hex[DIGEST_HEX_MAX];

		testing_unhex(vector_messages[i], &message);
		assert_ok(directory_decode(buf_view(&message), &dir, &err), &err);
		digest_hex(directory_digest(dir), hex);
		assert_string_equal(hex, vector_digests[i]);
		assert_int_equal(directory_size(dir), vector_sizes[i]);
		assert_view_equal(directory_encoded(dir), buf_view(&message));

		/* And made again from its nodes, last first. */
		nodes = mem_array(directory_count(dir), sizeof(*nodes));
		for (size_t n = 0; n < directory_count(dir); n++)
			nodes[n] = *directory_at(dir, directory_count(dir) - 1 - n);
		assert_ok(directory_from_nodes(nodes, directory_count(dir), &made, &err), &err);
		assert_view_equal(directory_encoded(made), buf_view(&message));
		assert_true(digest_equal(directory_digest(made), directory_digest(dir)));
		for (size_t n = 0; n < directory_count(dir); n++) {
			const struct node *node = directory_at(dir, n);

			assert_true(node_equal(node, directory_at(made, n)));
			assert_ptr_equal(directory_find(dir, node->name), node);
			if (n > 0)
				assert_true(view_compare(directory_at(dir, n - 1)->name,
							 node->name) < 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
