/* Hex, base64, and numbers as people write them. */
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(const void *bytes, size_t len, char *out)
{
	const uint8_t *in = bytes;

	for (size_t i = 0; i < len; i++) {
		*out++ = hex_digits[in[i] >> 4];
		*out++ = hex_digits[in[i] & 15];
	}
	*out = '\0';
}

static int hex_value(uint8_t digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

bool hex_decode(struct view text, void *out, size_t len)
{
	uint8_t *bytes = out;

	if (text.len / 2 != len || text.len % 2 != 0)
		goto fail;
	for (size_t i = 0; i < len; i++) {
		int high = hex_value(text.ptr[2 * i]);
		int low = hex_value(text.ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			goto fail;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
fail:
	if (len)
		memset(out, 0, len);
	return false;
}

static const char base64_alphabets[][65] = {
	[BASE64_STANDARD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	[BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

void base64_encode(enum base64_kind kind, struct view bytes, struct buf *out)
{
	const char *alphabet = base64_alphabets[kind];

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = 0;

		for (size_t b = 0; b < n; b++)
			group |= (uint32_t)bytes.ptr[i + b] << (16 - 8 * b);
		for (size_t c = 0; c <= n; c++)
			buf_append_byte(out, (uint8_t)alphabet[group >> (18 - 6 * c) & 63]);
		for (size_t c = n; kind == BASE64_STANDARD && c < 3; c++)
			buf_append_byte(out, '=');
	}
}

static int base64_value(enum base64_kind kind, uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == (uint8_t)base64_alphabets[kind][62])
		return 62;
	if (c == (uint8_t)base64_alphabets[kind][63])
		return 63;
	return -1;
}

bool base64_decode(enum base64_kind kind, struct view text, struct buf *out)
{
	size_t before = out->len;
	uint32_t bits = 0;
	unsigned held = 0;

	if (kind == BASE64_STANDARD) {
		if (text.len % 4 != 0)
			return false;
		for (int i = 0; i < 2 && text.len && text.ptr[text.len - 1] == '='; i++)
			text.len--;
	}
	if (text.len % 4 == 1)
		return false;
	if (!buf_try_reserve(out, text.len / 4 * 3 + 2))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int value = base64_value(kind, text.ptr[i]);

		if (value < 0) {
			out->len = before;
			return false;
		}
		bits = bits << 6 | (uint32_t)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			buf_append_byte(out, (uint8_t)(bits >> held));
		}
	}
	if (bits & ((1U << held) - 1)) {
		out->len = before;
		return false;
	}
	return true;
}

void text_size(uint64_t bytes, char out[TEXT_SIZE_MAX])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, TEXT_SIZE_MAX, "%u B", (unsigned)bytes);
		return;
	}
	/* 1023.95 would be shown as 1024.0. */
	for (value /= 1024; value >= 1023.95 && units[unit + 1]; value /= 1024)
		unit++;
	snprintf(out, TEXT_SIZE_MAX, "%.1f %ciB", value, units[unit]);
}

void text_duration(int64_t nanoseconds, char out[TEXT_DURATION_MAX])
{
	uint64_t ns = nanoseconds < 0 ? 0 : (uint64_t)nanoseconds;
	uint64_t s = ns / 1000000000;
	unsigned ms = (unsigned)(ns / 1000000 % 1000);

	/* The remainders show the compiler, too, that everything fits. */
	if (ns < 1000000)
		snprintf(out, TEXT_DURATION_MAX, "%u us", (unsigned)(ns / 1000) % 1000);
	else if (s == 0)
		snprintf(out, TEXT_DURATION_MAX, "%u ms", ms);
	else if (s < 60)
		snprintf(out, TEXT_DURATION_MAX, "%u.%u s", (unsigned)s % 60, ms / 100);
	else if (s < 3600)
		snprintf(out, TEXT_DURATION_MAX, "%u min %u s", (unsigned)(s / 60) % 60,
			 (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, TEXT_DURATION_MAX, "%u h %u min", (unsigned)(s / 3600) % 24,
			 (unsigned)(s / 60) % 60);
	else
		snprintf(out, TEXT_DURATION_MAX, "%u d %u h", (unsigned)(s / 86400) % 1000000,
			 (unsigned)(s / 3600) % 24);
}

bool text_parse_u64(struct view text, uint64_t *out)
{
	uint64_t value = 0;

	*out = 0;
	if (text.len == 0)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(c - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

/* The shift that a suffix stands for ("", "B", "K", "KiB", …), or -1. */
static int unit_shift(const char *suffix)
{
	static const char units[] = "KMGTPE";
	const char *unit;

	if (*suffix == '\0' || strcmp(suffix, "B") == 0)
		return 0;
	unit = strchr(units, *suffix);
	if (!unit || (suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0))
		return -1;
	return 10 * (int)(unit - units + 1);
}

enum rc text_parse_size(const char *text, uint64_t *out, struct err *err)
{
	size_t whole_len = strspn(text, "0123456789");
	const char *rest = text + whole_len;
	uint64_t whole, part = 0, scale = 1;
	int shift;

	*out = 0;
	if (!text_parse_u64(view_of(text, whole_len), &whole))
		goto fail;
	if (*rest == '.') {
		size_t part_len = strspn(++rest, "0123456789");

		/* Nine digits: part << 60 then still fits in 128 bits, with much to spare. */
		if (part_len == 0 || part_len > 9 ||
		    !text_parse_u64(view_of(rest, part_len), &part))
			goto fail;
		for (size_t i = 0; i < part_len; i++)
			scale *= 10;
		rest += part_len;
	}
	shift = unit_shift(rest);
	if (shift < 0 || (shift == 0 && scale > 1))
		goto fail;
	if (shift > 0 && whole >> (64 - shift))
		return err_set(err, RC_INVALID, "the size '%.64s' is past 16 EiB", text);
	*out = (whole << shift) + (uint64_t)(((__uint128_t)part << shift) / scale);
	return RC_OK;
fail:
	return err_set(err, RC_INVALID,
		       "'%.64s' is not a size: a number, perhaps with K, M, G, T, P or E", text);
}

/* The code point of the well-formed UTF-8 sequence at the start, and its length; 0 where there is
 * none (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). */
static size_t utf8_first(struct view text, uint32_t *point)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t lead = text.ptr[0];
	size_t len = lead < 0x80   ? 1
		     : lead < 0xc0 ? 0
		     : lead < 0xe0 ? 2
		     : lead < 0xf0 ? 3
		     : lead < 0xf8 ? 4
				   : 0;

	if (len == 0 || len > text.len)
		return 0;
	*point = len == 1 ? lead : lead & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((text.ptr[i] & 0xc0) != 0x80)
			return 0;
		*point = *point << 6 | (text.ptr[i] & 0x3f);
	}
	if (*point < least[len] || *point > 0x10ffff || (*point >= 0xd800 && *point < 0xe000))
		return 0;
	return len;
}

/* Control characters, and those that reorder or break the line around them. */
static bool is_unsafe(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x200e ||
	       point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

void text_printable(struct view bytes, struct buf *out)
{
	while (bytes.len) {
		uint32_t point = 0;
		size_t len = utf8_first(bytes, &point);
		bool shown = len && !is_unsafe(point);

		if (len == 0)
			len = 1;
		if (shown)
			buf_append(out, bytes.ptr, len);
		for (size_t i = 0; !shown && i < len; i++)
			buf_printf(out, "\\x%02x", bytes.ptr[i]);
		bytes = view_slice(bytes, len, bytes.len - len);
	}
}
