/* Writing JSON (RFC 8259). */
#include "base/json.h"

#include <inttypes.h>

#include "base/text.h"

static void separate(struct json *json)
{
	if (json->comma)
		buf_append_byte(json->out, ',');
	json->comma = true;
}

static void begin(struct json *json, uint8_t bracket)
{
	separate(json);
	buf_append_byte(json->out, bracket);
	json->comma = false;
}

static void end(struct json *json, uint8_t bracket)
{
	buf_append_byte(json->out, bracket);
	json->comma = true;
}

void json_begin_object(struct json *json)
{
	begin(json, '{');
}

void json_end_object(struct json *json)
{
	end(json, '}');
}

void json_begin_array(struct json *json)
{
	begin(json, '[');
}

void json_end_array(struct json *json)
{
	end(json, ']');
}

/* Bytes of the UTF-8 character at the front (RFC 3629: shortest form, no surrogates); 0: none. */
static size_t utf8_length(struct view at)
{
	uint8_t first = at.ptr[0], low = 0x80, high = 0xbf;
	size_t len;

	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		len = 2;
	else if (first >= 0xe0 && first <= 0xef)
		len = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		len = 4;
	else
		return 0;
	if (len > at.len)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (at.ptr[1] < low || at.ptr[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((at.ptr[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

static void append_quoted(struct buf *out, struct view bytes)
{
	buf_append_byte(out, '"');
	for (size_t i = 0; i < bytes.len;) {
		uint8_t byte = bytes.ptr[i];
		size_t len = utf8_length(view_slice(bytes, i, bytes.len - i));

		if (byte == '"' || byte == '\\')
			buf_printf(out, "\\%c", byte);
		else if (byte == '\n')
			buf_append_string(out, "\\n");
		else if (byte < 0x20 || byte == 0x7f)
			buf_printf(out, "\\u%04x", byte);
		else if (len == 0)
			buf_append_string(out, "\xef\xbf\xbd");
		else
			buf_append(out, bytes.ptr + i, len);
		i += len > 0 ? len : 1;
	}
	buf_append_byte(out, '"');
}

void json_view(struct json *json, struct view bytes)
{
	separate(json);
	append_quoted(json->out, bytes);
}

void json_text(struct json *json, const char *string)
{
	json_view(json, view_of_string(string));
}

void json_key_view(struct json *json, struct view name)
{
	json_view(json, name);
	buf_append_byte(json->out, ':');
	json->comma = false;
}

void json_key(struct json *json, const char *name)
{
	json_key_view(json, view_of_string(name));
}

static bool is_utf8(struct view bytes)
{
	for (size_t i = 0, len; i < bytes.len; i += len) {
		len = utf8_length(view_slice(bytes, i, bytes.len - i));
		if (len == 0)
			return false;
	}
	return true;
}

void json_bytes(struct json *json, const char *key, struct view bytes)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;

	json_key(json, key);
	json_view(json, bytes);
	if (is_utf8(bytes))
		return;
	buf_printf(&text, "%s_base64", key);
	json_key_view(json, buf_view(&text));
	buf_clear(&text);
	base64_encode(BASE64_STANDARD, bytes, &text);
	json_view(json, buf_view(&text));
}

void json_u64(struct json *json, uint64_t value)
{
	separate(json);
	buf_printf(json->out, "%" PRIu64, value);
}

void json_bool(struct json *json, bool value)
{
	separate(json);
	buf_append_string(json->out, value ? "true" : "false");
}
