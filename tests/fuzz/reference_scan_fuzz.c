/* Bytes that may hold references: in pieces the same are found as in one. The first byte is the length of
 * the pieces. */
#include "fuzz/fuzz.h"

#include "nix/reference_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct reference_scan *whole, *cut;
	const uint8_t *hash;
	size_t at = 0;

	if (len < 1)
		return 0;
	whole = reference_scan_new();
	cut = reference_scan_new();
	reference_scan_feed(whole, view_of(bytes + 1, len - 1));
	for (size_t i = 1; i < len;) {
		size_t piece = 1 + bytes[0] % 80u;

		piece = piece < len - i ? piece : len - i;
		reference_scan_feed(cut, view_of(bytes + i, piece));
		i += piece;
	}
	FUZZ_CHECK(reference_scan_count(cut) == reference_scan_count(whole));
	while ((hash = reference_scan_next(whole, &at)))
		FUZZ_CHECK(reference_scan_has(cut, hash));
	reference_scan_free(whole);
	reference_scan_free(cut);
	return 0;
}
