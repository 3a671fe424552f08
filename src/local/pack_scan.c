/* Reading a pack from front to back. See the header. */
#include "local/pack_scan.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"

enum { WINDOW = 4 << 20 };

/* A record's first bytes: the magic, and the length that every header has. */
static const uint8_t start[8] = { 0x5C, 0x2A, 0x4D, 0x18, LOCAL_RECORD_HEADER_SIZE - 8, 0, 0, 0 };

/* ---- What a pack says of itself ---- */

/* The data of a record of raw blocks at that offset, if it is one of `size` bytes; else false. The CRC is
 * left to the caller, who may need the data to check it. */
static bool read_small(int fd, uint64_t offset, uint8_t kind, size_t size, uint8_t *bytes,
		       uint8_t *data)
{
	size_t stored = local_raw_frame_size(size), len = LOCAL_RECORD_HEADER_SIZE + stored, got;
	struct local_record_header header;

	return file_pread_full(fd, bytes, len, offset, &got, "pack", NULL) == RC_OK && got == len &&
	       local_record_header_decode(view_of(bytes, len), &header, NULL) == RC_OK &&
	       header.kind == kind && header.raw == size && header.stored == stored &&
	       local_raw_frame_decode(view_of(bytes + LOCAL_RECORD_HEADER_SIZE, stored), size,
				      data);
}

enum { SMALL_MAX = LOCAL_RECORD_HEADER_SIZE + 64 };

static bool sealed(const uint8_t *bytes, size_t size, uint64_t salt)
{
	return local_record_sealed(
		bytes, crc32c(0, bytes + LOCAL_RECORD_HEADER_SIZE, local_raw_frame_size(size)),
		salt);
}

static enum rc head_by_commit(int fd, uint64_t size, struct local_pack_head *out, struct err *err)
{
	size_t len = LOCAL_RECORD_HEADER_SIZE + local_raw_frame_size(LOCAL_COMMIT_SIZE);
	uint8_t bytes[SMALL_MAX], data[LOCAL_COMMIT_SIZE];
	struct local_commit commit;

	if (size < len ||
	    !read_small(fd, size - len, LOCAL_RECORD_COMMIT, sizeof(data), bytes, data) ||
	    local_commit_decode(view_of(data, sizeof(data)), &commit, NULL) != RC_OK ||
	    commit.end != size - len || commit.salt == 0 || commit.id == 0 ||
	    commit.class >= LOCAL_PACK_CLASSES_ || !sealed(bytes, sizeof(data), commit.salt))
		return err_set(err, RC_CORRUPT, "it does not begin as a pack does");
	*out = (struct local_pack_head){ LOCAL_PACK_VERSION, commit.id,
					 (enum local_pack_class)commit.class, commit.salt };
	return RC_OK;
}

enum rc local_pack_head_read(int fd, uint64_t size, struct local_pack_head *out, struct err *err)
{
	static const size_t sizes[] = { LOCAL_PACK_HEAD_SIZE, LOCAL_PACK_HEAD_SIZE_1 };
	uint8_t bytes[SMALL_MAX], data[LOCAL_PACK_HEAD_SIZE];

	*out = (struct local_pack_head){ .id = 0 };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		if (read_small(fd, 0, LOCAL_RECORD_PACK, sizes[i], bytes, data) &&
		    sealed(bytes, sizes[i], 0))
			return local_pack_head_decode(view_of(data, sizes[i]), out, err);
	}
	return head_by_commit(fd, size, out, err);
}

/* ---- Its records ---- */

enum rc local_scan_init(struct local_scan *scan, int fd, const char *name, uint64_t at,
			struct err *err)
{
	struct stat st;

	*scan = (struct local_scan){ .fd = fd, .name = name, .at = at, .window = BUF_INIT };
	if (fstat(fd, &st) != 0)
		return err_errno(err, errno, "pack %s", name);
	scan->size = (uint64_t)st.st_size;
	enum rc rc = local_pack_head_read(fd, scan->size, &scan->head, err);
	return rc == RC_CORRUPT ? RC_OK : rc;
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
	/* Before a frame is read for nothing: stored bytes may look like headers, and claim much. */
	uint64_t salt = offset == 0 ? 0 : scan->head.salt;
	if (out->header.mark != local_record_mark(salt) ||
	    !local_kind_belongs(out->header.kind, scan->head.class, offset))
		return RC_OK;
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + out->header.stored;
	rc = see(scan, offset, len, &all, err);
	if (rc != RC_OK || all.len < len)
		return rc;
	out->offset = offset;
	out->frame = view_slice(all, LOCAL_RECORD_HEADER_SIZE, out->header.stored);
	uint32_t crc = crc32c(0, out->frame.ptr, out->frame.len);
	*whole = local_record_sealed(all.ptr, crc, salt);
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
	if (at >= scan->size || scan->head.id == 0) {
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
