/* Store paths and content addresses as text: what parses prints as it was written, or, of a content
 * address with a digest in hex, the same value again. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "nix/nixbase32.h"
#include "nix/store_path.h"

static void check_path(struct view text)
{
	struct store_path path, again;
	struct err err = ERR_INIT;
	char printed[STORE_PATH_ABSOLUTE_MAX + 1];
	enum rc rc = store_path_parse(text, &path, &err);

	if (rc != RC_OK) {
		FUZZ_CHECK(rc == RC_INVALID && err.message[0]);
		return;
	}
	if (text.ptr[0] == '/')
		store_path_absolute(&path, printed);
	else
		store_path_basename(&path, printed);
	FUZZ_CHECK(view_equal_string(text, printed));
	FUZZ_CHECK(store_path_parse(view_of_string(printed), &again, NULL) == RC_OK);
	FUZZ_CHECK(store_path_equal(&path, &again) && store_path_compare(&path, &again) == 0);
}

static void check_ca(struct view text)
{
	struct ca ca, again;
	struct buf printed = BUF_INIT;
	struct store_path path;
	enum rc rc = ca_parse(text, &ca, NULL);

	if (rc != RC_OK) {
		FUZZ_CHECK(rc == RC_INVALID || rc == RC_UNSUPPORTED);
		return;
	}
	ca_print(&ca, &printed);
	FUZZ_CHECK(ca_parse(buf_view(&printed), &again, NULL) == RC_OK);
	FUZZ_CHECK(memcmp(&ca, &again, sizeof(ca)) == 0);
	FUZZ_CHECK(store_path_from_ca(&ca, view_of_string("x"), NULL, 0, false, &path, NULL) ==
		   RC_OK);
	buf_release(&printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view text = view_of(bytes, len);
	uint8_t decoded[64];
	char encoded[NIXBASE32_LEN(64) + 1];

	check_path(text);
	check_ca(text);
	for (size_t size = 0; size <= sizeof(decoded); size++) {
		if (!nixbase32_decode(text, decoded, size))
			continue;
		nixbase32_encode(decoded, size, encoded);
		FUZZ_CHECK(view_equal_string(text, encoded));
	}
	return 0;
}
