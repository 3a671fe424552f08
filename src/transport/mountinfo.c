/* Reads /proc/self/mountinfo. */
#include "transport/mountinfo.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { MOUNTINFO_MAX = 64 << 20 };

void mountinfo_release(struct mountinfo *info)
{
	free(info->point);
	free(info->type);
	*info = (struct mountinfo){ .point = NULL };
}

static bool octal_digit(uint8_t byte)
{
	return byte >= '0' && byte <= '7';
}

/* The kernel writes space, tab, newline and backslash as \ooo. */
static char *unescape(struct view text)
{
	char *out = mem_alloc(text.len + 1);
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		const uint8_t *at = text.ptr + i;
		if (*at == '\\' && text.len - i > 3 && octal_digit(at[1]) && octal_digit(at[2]) &&
		    octal_digit(at[3])) {
			out[len++] =
				(char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
			i += 3;
		} else {
			out[len++] = (char)*at;
		}
	}
	out[len] = '\0';
	return out;
}

static bool parse_unsigned(struct view text, unsigned *out)
{
	uint64_t number = 0;
	if (!text_parse_u64(text, &number) || number > UINT_MAX)
		return false;
	*out = (unsigned)number;
	return true;
}

bool mountinfo_parse(struct view line, struct mountinfo *out)
{
	*out = (struct mountinfo){ .point = NULL };
	struct cursor cursor = cursor_of(line);
	struct view id, parent, major, minor, root, point, options, field, type;
	if (!cursor_until(&cursor, ' ', &id) || !cursor_until(&cursor, ' ', &parent) ||
	    !cursor_until(&cursor, ':', &major) || !cursor_until(&cursor, ' ', &minor) ||
	    !cursor_until(&cursor, ' ', &root) || !cursor_until(&cursor, ' ', &point) ||
	    !cursor_until(&cursor, ' ', &options))
		return false;
	do {
		if (!cursor_until(&cursor, ' ', &field)) /* optional fields, then "-" */
			return false;
	} while (!view_equal_string(field, "-"));
	if (!cursor_until(&cursor, ' ', &type) || !text_parse_u64(id, &out->id) ||
	    !parse_unsigned(major, &out->major) || !parse_unsigned(minor, &out->minor))
		return false;
	out->point = unescape(point);
	out->type = unescape(type);
	return true;
}

/* Calls of `wanted` decide; the last line that is wanted wins: a later mount lies on top. */
static bool find_last(struct view text, bool (*wanted)(const struct mountinfo *, const void *),
		      const void *key, struct mountinfo *out)
{
	*out = (struct mountinfo){ .point = NULL };
	bool found = false;
	struct cursor cursor = cursor_of(text);
	struct view line;
	while (cursor_until(&cursor, '\n', &line)) {
		struct mountinfo info;
		if (!mountinfo_parse(line, &info))
			continue;
		if (wanted(&info, key)) {
			mountinfo_release(out);
			*out = info;
			found = true;
		} else {
			mountinfo_release(&info);
		}
	}
	return found;
}

static bool id_is(const struct mountinfo *info, const void *id)
{
	return info->id == *(const uint64_t *)id;
}

static bool device_is(const struct mountinfo *info, const void *device)
{
	const unsigned *numbers = device;
	return info->major == numbers[0] && info->minor == numbers[1];
}

enum rc mountinfo_find_id(struct view text, uint64_t id, struct mountinfo *out, struct err *err)
{
	if (find_last(text, id_is, &id, out))
		return RC_OK;
	return err_set(err, RC_NOT_FOUND, "there is no mount %" PRIu64, id);
}

enum rc mountinfo_find_device(struct view text, unsigned major, unsigned minor,
			      struct mountinfo *out, struct err *err)
{
	const unsigned numbers[2] = { major, minor };
	if (find_last(text, device_is, numbers, out))
		return RC_OK;
	return err_set(err, RC_NOT_FOUND, "device %u:%u is not mounted", major, minor);
}

enum rc mountinfo_read(struct buf *out, struct err *err)
{
	return file_read_path(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, out, err);
}
