/* BLAKE3-256. */
#include "castore/digest.h"

#include "base/text.h"

/* af1349b9…: what every implementation gives for no bytes. */
const struct digest digest_empty = {
	.bytes = { 0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d,
		   0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1,
		   0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62 },
};

void hasher_init(struct hasher *hasher)
{
	blake3_hasher_init(&hasher->state);
}

void hasher_update(struct hasher *hasher, const void *bytes, size_t len)
{
	if (len)
		blake3_hasher_update(&hasher->state, bytes, len);
}

struct digest hasher_final(const struct hasher *hasher)
{
	struct digest digest;

	blake3_hasher_finalize(&hasher->state, digest.bytes, sizeof(digest.bytes));
	return digest;
}

struct digest digest_of(struct view bytes)
{
	struct hasher hasher;

	hasher_init(&hasher);
	hasher_update(&hasher, bytes.ptr, bytes.len);
	return hasher_final(&hasher);
}

void digest_hex(const struct digest *digest, char out[DIGEST_HEX_MAX])
{
	hex_encode(digest->bytes, DIGEST_SIZE, out);
}

bool digest_parse_hex(struct view text, struct digest *out)
{
	return hex_decode(text, out->bytes, DIGEST_SIZE);
}
