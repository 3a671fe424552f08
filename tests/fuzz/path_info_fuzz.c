/* A PathInfo message. What decodes passes the checks, and survives encoding. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "nix/path_info.h"

static void check_equal(const struct path_info *a, const struct path_info *b)
{
	FUZZ_CHECK(node_equal(&a->node, &b->node));
	FUZZ_CHECK(store_path_equal(&a->path, &b->path));
	FUZZ_CHECK(a->nar_size == b->nar_size);
	FUZZ_CHECK(memcmp(&a->nar_sha256, &b->nar_sha256, sizeof(a->nar_sha256)) == 0);
	FUZZ_CHECK(a->reference_count == b->reference_count);
	for (size_t i = 0; i < a->reference_count; i++)
		FUZZ_CHECK(store_path_equal(&a->references[i], &b->references[i]));
	FUZZ_CHECK(a->signature_count == b->signature_count);
	for (size_t i = 0; i < a->signature_count; i++)
		FUZZ_CHECK(strcmp(a->signatures[i].name, b->signatures[i].name) == 0);
	FUZZ_CHECK(a->has_deriver == b->has_deriver && a->has_ca == b->has_ca);
	FUZZ_CHECK(memcmp(&a->ca, &b->ca, sizeof(a->ca)) == 0);
	FUZZ_CHECK(!a->other_ca == !b->other_ca && !(a->has_ca && a->other_ca));
	FUZZ_CHECK(!a->other_ca || strcmp(a->other_ca, b->other_ca) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct path_info info, again;
	struct buf wire = BUF_INIT, wire_again = BUF_INIT;
	struct err err = ERR_INIT;
	size_t deriver_len;
	enum rc rc = path_info_decode(view_of(bytes, len), &info, &err);

	if (rc != RC_OK) {
		FUZZ_CHECK(rc == RC_INVALID && err.message[0]);
		FUZZ_CHECK(!info.references && !info.signatures && !info.node.name.ptr);
		return 0;
	}
	FUZZ_CHECK(path_info_check(&info, NULL) == RC_OK);
	path_info_encode(&info, &wire);
	FUZZ_CHECK(path_info_decode(buf_view(&wire), &again, NULL) == RC_OK);
	check_equal(&info, &again);
	/* A deriver loses one ".drv" each time it is read. */
	deriver_len = strlen(info.deriver.name);
	if (deriver_len < 4 || strcmp(info.deriver.name + deriver_len - 4, ".drv") != 0) {
		path_info_encode(&again, &wire_again);
		FUZZ_CHECK(view_equal(buf_view(&wire), buf_view(&wire_again)));
	}
	path_info_release(&info);
	path_info_release(&again);
	buf_release(&wire);
	buf_release(&wire_again);
	return 0;
}
