/* Reading a pack from front to back. See the header. */
#include "local/pack_scan.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32c.h"
#include "base/file.h"

enum { WINDOW = 4 << 20 };

/* A record's first bytes: the magic, and the length that every header has. */
static const uint8_t start[8] = { 0x5C, 0x2A, 0x4D, 0x18, LOCAL_RECORD_HEADER_SIZE - 8, 0, 0, 0 };

enum rc local_scan_init(struct local_scan *scan, int fd, const char *name, struct err *err)
{
	struct stat st;

	*scan = (struct local_scan){ .fd = fd, .name = name, .window = BUF_INIT };
	if (fstat(fd, &st) != 0)
		return err_errno(err, errno, "pack %s", name);
	scan->size = (uint64_t)st.st_size;
	return RC_OK;
}

void local_scan_release(struct local_scan *scan)
{
	buf_release(&scan->window);
}

/* Makes the window hold [offset, offset+len), as far as the file goes. */
static enum rc see(struct local_scan *scan, uint64_t offset, size_t len, struct view *out,
		   struct err *err)
{
	struct buf *window = &scan->window;
	size_t got;

	*out = view_of(NULL, 0);
	if (offset >= scan->size)
		return RC_OK;
	if (len > scan->size - offset)
		len = (size_t)(scan->size - offset);
	if (offset < scan->window_at || offset + len > scan->window_at + window->len) {
		size_t want = len > WINDOW ? len : WINDOW;

		buf_clear(window);
		if (!buf_try_reserve(window, want))
			return err_set(err, RC_NO_MEMORY, "no memory to read pack %s", scan->name);
		enum rc rc =
			file_pread_full(scan->fd, window->ptr, want, offset, &got, scan->name, err);
		if (rc != RC_OK)
			return rc;
		window->len = got;
		scan->window_at = offset;
		if (len > got)
			len = got;
	}
	*out = view_of(window->ptr + (offset - scan->window_at), len);
	return RC_OK;
}

/* Is there a whole record at that offset? */
static enum rc try_record(struct local_scan *scan, uint64_t offset, struct local_scanned *out,
			  bool *whole, struct err *err)
{
	struct view head, all;

	*whole = false;
	enum rc rc = see(scan, offset, LOCAL_RECORD_HEADER_SIZE, &head, err);
	if (rc != RC_OK || local_record_header_decode(head, &out->header, NULL) != RC_OK)
		return rc;
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + out->header.stored;
	rc = see(scan, offset, len, &all, err);
	if (rc != RC_OK || all.len < len)
		return rc;
	out->offset = offset;
	out->frame = view_slice(all, LOCAL_RECORD_HEADER_SIZE, out->header.stored);
	uint32_t crc = crc32c(0, out->frame.ptr, out->frame.len);
	*whole = local_record_crc(crc, all.ptr) == out->header.crc;
	return RC_OK;
}

/* The next offset at or after `from` where a record might begin. */
static enum rc find_start(struct local_scan *scan, uint64_t from, uint64_t *out, bool *found,
			  struct err *err)
{
	*found = false;
	for (uint64_t at = from; at + LOCAL_RECORD_HEADER_SIZE <= scan->size;) {
		struct view bytes;
		enum rc rc = see(scan, at, WINDOW, &bytes, err);

		if (rc != RC_OK || bytes.len < sizeof(start))
			return rc;
		const uint8_t *hit = memmem(bytes.ptr, bytes.len, start, sizeof(start));
		if (hit) {
			*out = at + (uint64_t)(hit - bytes.ptr);
			*found = true;
			return RC_OK;
		}
		at += bytes.len - sizeof(start) + 1;
	}
	return RC_OK;
}

enum rc local_scan_next(struct local_scan *scan, struct local_scanned *out, bool *end,
			struct err *err)
{
	uint64_t at = scan->at;
	bool found = true, whole = false;
	enum rc rc = RC_OK;

	memset(out, 0, sizeof(*out));
	*end = false;
	if (at >= scan->size) {
		*end = true;
		return RC_OK;
	}
	for (;;) {
		rc = try_record(scan, at, out, &whole, err);
		if (rc != RC_OK || whole)
			break;
		rc = find_start(scan, at + 1, &at, &found, err);
		if (rc != RC_OK || !found)
			break;
	}
	if (rc != RC_OK)
		return rc;
	if (!whole || at != scan->at)
		scan->damaged++;
	*end = !whole;
	scan->at = whole ? at + LOCAL_RECORD_HEADER_SIZE + out->header.stored : scan->size;
	return RC_OK;
}
