/* nixbase32: the bytes are one little-endian number, written most significant digit first. */
#include "nix/nixbase32.h"

#include <string.h>

static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";

void nixbase32_encode(const void *bytes, size_t len, char *out)
{
	const uint8_t *in = bytes;
	size_t chars = NIXBASE32_LEN(len);

	for (size_t i = 0; i < chars; i++) {
		size_t bit = 5 * (chars - 1 - i);
		size_t at = bit / 8;
		unsigned shift = bit % 8;
		unsigned digit = in[at] >> shift;

		if (at + 1 < len)
			digit |= (unsigned)in[at + 1] << (8 - shift);
		out[i] = alphabet[digit & 31];
	}
	out[chars] = '\0';
}

static int digit_value(uint8_t character)
{
	const char *found = character ? strchr(alphabet, character) : NULL;

	return found ? (int)(found - alphabet) : -1;
}

bool nixbase32_decode(struct view text, void *out, size_t len)
{
	uint8_t *bytes = out;
	size_t chars = NIXBASE32_LEN(len);

	memset(out, 0, len);
	if (text.len != chars)
		return false;
	for (size_t i = 0; i < chars; i++) {
		int digit = digit_value(text.ptr[i]);
		size_t bit = 5 * (chars - 1 - i);
		size_t at = bit / 8;
		unsigned shift = bit % 8;
		unsigned value;

		if (digit < 0)
			goto refuse;
		value = (unsigned)digit << shift;
		bytes[at] |= (uint8_t)value;
		if (at + 1 < len)
			bytes[at + 1] |= (uint8_t)(value >> 8);
		else if (value >> 8)
			goto refuse; /* bits past the last byte */
	}
	return true;

refuse:
	memset(out, 0, len);
	return false;
}
