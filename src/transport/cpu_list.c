/* Lists of processors as the kernel writes them. */
#include "transport/cpu_list.h"

#include <fcntl.h>

#include "base/cursor.h"
#include "base/file.h"
#include "base/text.h"

enum { CPU_LIST_MAX = 64 << 10, CPU_NUMBER_MAX = 1 << 20 };

static bool parse_number(struct view text, uint64_t *out)
{
	return text_parse_u64(text, out) && *out < CPU_NUMBER_MAX;
}

enum rc cpu_list_parse(struct view text, unsigned *count, struct err *err)
{
	*count = 0;
	while (text.len > 0 && text.ptr[text.len - 1] == '\n')
		text.len--;
	uint64_t total = 0;
	struct cursor cursor = cursor_of(text);
	bool more;
	do {
		struct view range, first;
		size_t at = cursor.at;
		more = cursor_until(&cursor, ',', &range);
		if (!more)
			range = view_slice(text, at, text.len - at);
		struct cursor inner = cursor_of(range);
		uint64_t low, high;
		if (!cursor_until(&inner, '-', &first))
			first = range;
		struct view last = view_slice(range, inner.at, range.len - inner.at);
		if (!parse_number(first, &low) || !parse_number(last, &high) || high < low)
			return err_set(err, RC_INVALID, "not a list of processors");
		total += high - low + 1;
	} while (more);
	if (total > CPU_NUMBER_MAX)
		return err_set(err, RC_INVALID, "a list of too many processors");
	*count = (unsigned)total;
	return RC_OK;
}

enum rc cpu_list_read(const char *path, unsigned *count, struct err *err)
{
	*count = 0;
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	enum rc rc = file_read_path(AT_FDCWD, path, CPU_LIST_MAX, &text, err);
	if (rc != RC_OK)
		return rc;
	rc = cpu_list_parse(buf_view(&text), count, err);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "%s", path);
}
