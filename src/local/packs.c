/*
 * Reading packs and raw files. See the header.
 *
 * Locks: `scratch_lock` is taken alone; the caches have locks of their own, taken alone as well.
 */
#include "local/packs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/lru.h"
#include "base/mem.h"
#include "base/refcount.h"

enum {
	OPEN_PACKS_MAX = 256,
	WINDOW = 256 << 10,
	WINDOWS_BUDGET = 4 << 20,
	SCRATCH_MAX = 16,       /* buffers kept for the next reader */
	SCRATCH_KEEP = 2 << 20, /* none larger than this */
	NEIGHBOURS_MAX = 128,   /* frames read by one call */
	RUN_MAX = 1 << 20,      /* of neighbouring records read at once */
	GAP_MAX = 32 << 10,     /* bytes between two of them that are read for nothing */
};

struct window {
	struct refcount ref;
	size_t len;
	uint8_t bytes[];
};

struct local_packs {
	int packs_fd;
	int raw_fd;
	struct local_codec *codec;
	struct lru *files;   /* u32 id → struct pack_file */
	struct lru *windows; /* {u32 id, u32 number} → struct window */

	pthread_mutex_t scratch_lock;
	struct buf scratch[SCRATCH_MAX];
	size_t scratch_count;
};

static void *file_ref(void *value)
{
	return pack_file_ref(value);
}

static void file_unref(void *value)
{
	pack_file_unref(value);
}

static void *window_ref(void *value)
{
	refcount_ref(&((struct window *)value)->ref);
	return value;
}

static void window_unref(void *value)
{
	if (refcount_unref(&((struct window *)value)->ref))
		free(value);
}

static uint64_t record_end(const struct local_place *place)
{
	return place->offset + LOCAL_RECORD_HEADER_SIZE + place->stored;
}

static const struct lru_ops file_lru = { .ref = file_ref, .unref = file_unref };
static const struct lru_ops window_lru = { .ref = window_ref, .unref = window_unref };

void local_pack_name(uint32_t id, char out[LOCAL_PACK_NAME_MAX])
{
	snprintf(out, LOCAL_PACK_NAME_MAX, "%08x.pack", id);
}

void local_raw_name(const struct digest *blob, char out[LOCAL_RAW_NAME_MAX])
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(blob, hex);
	snprintf(out, LOCAL_RAW_NAME_MAX, "%.2s/%s", hex, hex);
}

struct local_packs *local_packs_new(int packs_fd, int raw_fd, struct local_codec *codec)
{
	struct local_packs *packs = mem_zalloc(sizeof(*packs));

	packs->packs_fd = packs_fd;
	packs->raw_fd = raw_fd;
	packs->codec = codec;
	packs->files = lru_new(sizeof(uint32_t), OPEN_PACKS_MAX, &file_lru);
	packs->windows = lru_new(2 * sizeof(uint32_t), WINDOWS_BUDGET, &window_lru);
	pthread_mutex_init(&packs->scratch_lock, NULL);
	return packs;
}

void local_packs_free(struct local_packs *packs)
{
	if (!packs)
		return;
	lru_free(packs->files);
	lru_free(packs->windows);
	for (size_t i = 0; i < packs->scratch_count; i++)
		buf_release(&packs->scratch[i]);
	pthread_mutex_destroy(&packs->scratch_lock);
	free(packs);
}

/* ---- Scratch memory ---- */

static bool scratch_take(struct local_packs *packs, size_t size, struct buf *out)
{
	*out = (struct buf)BUF_INIT;
	pthread_mutex_lock(&packs->scratch_lock);
	if (packs->scratch_count > 0)
		*out = packs->scratch[--packs->scratch_count];
	pthread_mutex_unlock(&packs->scratch_lock);
	buf_clear(out);
	if (buf_try_reserve(out, size))
		return true;
	buf_release(out);
	return false;
}

static void scratch_give(struct local_packs *packs, struct buf *buf)
{
	if (buf->cap <= SCRATCH_KEEP) {
		pthread_mutex_lock(&packs->scratch_lock);
		if (packs->scratch_count < SCRATCH_MAX) {
			packs->scratch[packs->scratch_count++] = *buf;
			*buf = (struct buf)BUF_INIT;
		}
		pthread_mutex_unlock(&packs->scratch_lock);
	}
	buf_release(buf);
}

/* ---- Files ---- */

enum rc local_packs_file(struct local_packs *packs, uint32_t id, struct pack_file **out,
			 struct err *err)
{
	char name[LOCAL_PACK_NAME_MAX];

	*out = lru_get(packs->files, &id);
	if (*out)
		return RC_OK;
	local_pack_name(id, name);
	int fd = openat(packs->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, errno, "pack %s", name);
	*out = pack_file_new(id, fd);
	lru_put(packs->files, &id, *out, 1);
	return RC_OK;
}

/* "chunk <digest> at <offset> of pack <name>", for errors. */
static enum rc place_context(struct err *err, enum rc rc, const char *what,
			     const struct digest *digest, const struct local_place *place)
{
	char hex[DIGEST_HEX_MAX], name[LOCAL_PACK_NAME_MAX];

	digest_hex(digest, hex);
	local_pack_name(place->pack, name);
	return err_context(err, rc, "%s %s at offset %ju of pack %s", what, hex,
			   (uintmax_t)place->offset, name);
}

static enum rc raw_context(struct err *err, enum rc rc, const struct digest *digest,
			   const struct local_place_value *value)
{
	char hex[DIGEST_HEX_MAX], file[DIGEST_HEX_MAX];

	digest_hex(digest, hex);
	digest_hex(&value->raw_of, file);
	return err_context(err, rc, "chunk %s at offset %ju of raw file %s", hex,
			   (uintmax_t)value->place.offset, file);
}

static enum rc pread_exact(int fd, void *out, size_t len, uint64_t offset, struct err *err)
{
	size_t got;
	enum rc rc = file_pread_full(fd, out, len, offset, &got, "reading", err);

	if (rc == RC_OK && got < len)
		return err_set(err, RC_CORRUPT, "the file ends before it");
	return rc;
}

static enum rc check_header(const uint8_t *bytes, enum local_record_kind kind,
			    const struct local_place *place, const struct digest *digest,
			    struct local_record_header *header, struct err *err)
{
	enum rc rc =
		local_record_header_decode(view_of(bytes, LOCAL_RECORD_HEADER_SIZE), header, err);

	if (rc != RC_OK)
		return rc;
	if (header->kind != kind || header->raw != place->raw || header->stored != place->stored ||
	    !digest_equal(&header->digest, digest))
		return err_set(err, RC_CORRUPT,
			       "another record lies there; if the pack is whole, `castor index "
			       "rebuild` helps");
	return RC_OK;
}

/* ---- Chunks ---- */

/* Reads a record of raw blocks with its data straight into out: header, frame header and block
 * headers go elsewhere, and are checked. */
static enum rc read_raw_blocks(int fd, const struct local_place *place, uint8_t *head, uint8_t *out,
			       struct err *err)
{
	enum { BLOCKS = 256 };
	uint8_t want[LOCAL_FRAME_HEADER_MAX], got[LOCAL_FRAME_HEADER_MAX];
	uint8_t blocks[BLOCKS][LOCAL_BLOCK_HEADER];
	struct iovec iov[2 + 2 * BLOCKS];
	size_t frame_header = local_raw_frame_header(place->raw, want);
	uint64_t offset = place->offset;
	size_t at = 0;

	do {
		size_t start = at, total = 0;
		int n = 0, blocks_here = 0;

		if (at == 0) {
			iov[n++] = (struct iovec){ head, LOCAL_RECORD_HEADER_SIZE };
			iov[n++] = (struct iovec){ got, frame_header };
			total = LOCAL_RECORD_HEADER_SIZE + frame_header;
		}
		do {
			size_t len = place->raw - at < LOCAL_FRAME_BLOCK ? place->raw - at
									 : LOCAL_FRAME_BLOCK;
			iov[n++] = (struct iovec){ blocks[blocks_here++], LOCAL_BLOCK_HEADER };
			iov[n++] = (struct iovec){ out + at, len };
			total += LOCAL_BLOCK_HEADER + len;
			at += len;
		} while (at < place->raw && blocks_here < BLOCKS);
		ssize_t done;
		do
			done = preadv(fd, iov, n, (off_t)offset);
		while (done < 0 && errno == EINTR);
		if (done < 0)
			return err_errno(err, errno, "reading");
		if ((size_t)done != total)
			return err_set(err, RC_CORRUPT, "the file ends before it");
		offset += total;
		for (int i = 0; i < blocks_here; i++) {
			uint8_t block[LOCAL_BLOCK_HEADER];

			local_raw_block_header(place->raw, start + (size_t)i * LOCAL_FRAME_BLOCK,
					       block);
			if (memcmp(block, blocks[i], sizeof(block)) != 0)
				return err_set(err, RC_CORRUPT, "a block header is damaged");
		}
	} while (at < place->raw);
	if (memcmp(got, want, frame_header) != 0)
		return err_set(err, RC_CORRUPT, "its frame header is damaged");
	return RC_OK;
}

static enum rc read_compressed(struct local_packs *packs, int fd, const struct local_place *place,
			       const struct digest *digest, void *out, struct err *err)
{
	struct local_record_header header;
	struct buf scratch;
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + place->stored;

	if (!scratch_take(packs, len, &scratch))
		return err_set(err, RC_NO_MEMORY, "no memory to read %zu bytes", len);
	enum rc rc = pread_exact(fd, scratch.ptr, len, place->offset, err);
	if (rc == RC_OK)
		rc = check_header(scratch.ptr, LOCAL_RECORD_CHUNK, place, digest, &header, err);
	if (rc == RC_OK)
		rc = local_frame_decode(
			packs->codec,
			view_of(scratch.ptr + LOCAL_RECORD_HEADER_SIZE, place->stored), place->raw,
			out, err);
	scratch_give(packs, &scratch);
	return rc;
}

static enum rc read_stretch(struct local_packs *packs, const struct local_place_value *value,
			    const struct digest *digest, void *out, struct err *err)
{
	AUTO_FD int fd = -1;
	enum rc rc = local_packs_raw_file(packs, &value->raw_of, &fd, err);

	if (rc == RC_OK)
		rc = pread_exact(fd, out, value->place.raw, value->place.offset, err);
	return rc == RC_OK || rc == RC_NOT_FOUND ? rc : raw_context(err, rc, digest, value);
}

enum rc local_packs_chunk(struct local_packs *packs, const struct local_place_value *value,
			  const struct digest *digest, void *out, struct err *err)
{
	const struct local_place *place = &value->place;
	AUTO_PACK_FILE struct pack_file *file = NULL;

	if (place->pack == 0)
		return read_stretch(packs, value, digest, out, err);
	enum rc rc = local_packs_file(packs, place->pack, &file, err);
	if (rc != RC_OK)
		return rc;
	pack_file_read_ahead(file, place->offset,
			     LOCAL_RECORD_HEADER_SIZE + (uint64_t)place->stored);
	if (place->stored > place->raw) {
		struct local_record_header header;
		uint8_t head[LOCAL_RECORD_HEADER_SIZE];

		rc = read_raw_blocks(file->fd, place, head, out, err);
		if (rc == RC_OK)
			rc = check_header(head, LOCAL_RECORD_CHUNK, place, digest, &header, err);
	} else {
		rc = read_compressed(packs, file->fd, place, digest, out, err);
	}
	return rc == RC_OK ? rc : place_context(err, rc, "chunk", digest, place);
}

enum rc local_packs_frame(struct local_packs *packs, const struct local_place_value *value,
			  const struct digest *digest, struct buf *out, struct err *err)
{
	const struct local_place *place = &value->place;
	AUTO_PACK_FILE struct pack_file *file = NULL;
	struct local_record_header header;
	uint8_t head[LOCAL_RECORD_HEADER_SIZE];

	if (place->pack == 0)
		return err_set(err, RC_UNSUPPORTED, "a raw file holds no frames");
	enum rc rc = local_packs_file(packs, place->pack, &file, err);
	if (rc != RC_OK)
		return rc;
	if (!buf_try_reserve(out, place->stored))
		return err_set(err, RC_NO_MEMORY, "no memory for a frame of %u bytes",
			       place->stored);
	struct iovec iov[2] = { { head, sizeof(head) }, { out->ptr + out->len, place->stored } };
	ssize_t got;
	do
		got = preadv(file->fd, iov, 2, (off_t)place->offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		rc = err_errno(err, errno, "reading");
	else if ((size_t)got != sizeof(head) + place->stored)
		rc = err_set(err, RC_CORRUPT, "the file ends before it");
	else
		rc = check_header(head, LOCAL_RECORD_CHUNK, place, digest, &header, err);
	if (rc != RC_OK)
		return place_context(err, rc, "chunk", digest, place);
	out->len += place->stored;
	return RC_OK;
}

/* Frames that lie one behind the other, with a header before each. */
static enum rc read_neighbours(struct pack_file *file, const struct local_place *places,
			       const struct digest *digests, size_t count, uint8_t *out,
			       struct err *err)
{
	uint8_t heads[NEIGHBOURS_MAX][LOCAL_RECORD_HEADER_SIZE];
	struct iovec iov[2 * NEIGHBOURS_MAX];
	struct local_record_header header;
	enum rc rc = RC_OK;
	size_t total = 0;
	ssize_t got;

	for (size_t i = 0; i < count; i++) {
		iov[2 * i] = (struct iovec){ heads[i], LOCAL_RECORD_HEADER_SIZE };
		iov[2 * i + 1] = (struct iovec){ out, places[i].stored };
		out += places[i].stored;
		total += LOCAL_RECORD_HEADER_SIZE + (size_t)places[i].stored;
	}
	pack_file_read_ahead(file, places[0].offset, total);
	do
		got = preadv(file->fd, iov, (int)(2 * count), (off_t)places[0].offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		rc = err_errno(err, errno, "reading");
	else if ((size_t)got != total)
		rc = err_set(err, RC_CORRUPT, "the file ends before it");
	if (rc != RC_OK)
		return place_context(err, rc, "chunk", &digests[0], &places[0]);
	for (size_t i = 0; i < count; i++) {
		rc = check_header(heads[i], LOCAL_RECORD_CHUNK, &places[i], &digests[i], &header,
				  err);
		if (rc != RC_OK)
			return place_context(err, rc, "chunk", &digests[i], &places[i]);
	}
	return RC_OK;
}

enum rc local_packs_frames(struct pack_file *file, const struct local_place *places,
			   const struct digest *digests, size_t count, uint8_t *out,
			   struct err *err)
{
	for (size_t at = 0; at < count;) {
		size_t len = places[at].stored, n = 1;

		while (at + n < count && n < NEIGHBOURS_MAX &&
		       places[at + n].offset == record_end(&places[at + n - 1]))
			len += places[at + n++].stored;
		enum rc rc = read_neighbours(file, places + at, digests + at, n, out, err);
		if (rc != RC_OK)
			return rc;
		out += len;
		at += n;
	}
	return RC_OK;
}

/* ---- Meta records ---- */

static enum rc window_get(struct local_packs *packs, struct pack_file *file, uint64_t number,
			  struct window **out, struct err *err)
{
	uint32_t key[2] = { file->id, (uint32_t)number };

	*out = lru_get(packs->windows, key);
	if (*out)
		return RC_OK;
	struct window *window = mem_try_alloc(sizeof(*window) + WINDOW);
	if (!window)
		return err_set(err, RC_NO_MEMORY, "no memory to read a pack");
	refcount_init(&window->ref);
	/* A walk goes from a directory to its children, which lie before it, and then up again. */
	uint64_t from = number > 4 ? (number - 4) * WINDOW : 0;
	pack_file_advise(file, from, (number + 2) * WINDOW);
	enum rc rc = file_pread_full(file->fd, window->bytes, WINDOW, number * WINDOW, &window->len,
				     "reading", err);
	if (rc != RC_OK) {
		free(window);
		return rc;
	}
	lru_put(packs->windows, key, window, WINDOW);
	*out = window;
	return RC_OK;
}

/* Copies the record out of windows; false if they do not hold it all (it may be newer). */
static enum rc read_windows(struct local_packs *packs, struct pack_file *file, uint64_t offset,
			    uint8_t *out, size_t len, bool *whole, struct err *err)
{
	*whole = true;
	while (len > 0 && *whole) {
		struct window *window;
		size_t at = (size_t)(offset % WINDOW);
		size_t here = WINDOW - at < len ? WINDOW - at : len;
		enum rc rc = window_get(packs, file, offset / WINDOW, &window, err);

		if (rc != RC_OK)
			return rc;
		if (window->len >= at + here)
			memcpy(out, window->bytes + at, here);
		else
			*whole = false;
		window_unref(window);
		offset += here;
		out += here;
		len -= here;
	}
	return RC_OK;
}

static void forget_windows(struct local_packs *packs, uint32_t id, uint64_t offset, size_t len)
{
	for (uint64_t number = offset / WINDOW; number <= (offset + len) / WINDOW; number++) {
		uint32_t key[2] = { id, (uint32_t)number };

		lru_remove(packs->windows, key);
	}
}

static enum rc check_meta(const uint8_t *bytes, enum local_record_kind kind,
			  const struct local_place *place, const struct digest *digest,
			  struct err *err)
{
	struct local_record_header header;
	enum rc rc = check_header(bytes, kind, place, digest, &header, err);

	if (rc != RC_OK)
		return rc;
	uint32_t crc = crc32c(0, bytes + LOCAL_RECORD_HEADER_SIZE, place->stored);
	if (local_record_crc(crc, bytes) != header.crc)
		return err_set(err, RC_CORRUPT, "its checksum is wrong");
	return RC_OK;
}

static enum rc read_meta(struct local_packs *packs, struct pack_file *file,
			 const struct local_place *place, enum local_record_kind kind,
			 const struct digest *digest, uint8_t *bytes, struct err *err)
{
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + place->stored;

	if (len <= WINDOW) {
		bool whole;
		enum rc rc = read_windows(packs, file, place->offset, bytes, len, &whole, err);

		if (rc != RC_OK)
			return rc;
		if (whole && check_meta(bytes, kind, place, digest, NULL) == RC_OK)
			return RC_OK;
		/* The windows may be from before the record was written. */
		forget_windows(packs, file->id, place->offset, len);
	}
	enum rc rc = pread_exact(file->fd, bytes, len, place->offset, err);
	return rc == RC_OK ? check_meta(bytes, kind, place, digest, err) : rc;
}

static const char *const kind_names[] = {
	[LOCAL_RECORD_CHUNK] = "chunk",
	[LOCAL_RECORD_CHUNK_LIST] = "chunk list of blob",
	[LOCAL_RECORD_DIRECTORY] = "directory",
	[LOCAL_RECORD_PATH_INFO] = "path info",
	[LOCAL_RECORD_NAR_FACTS] = "NAR facts of",
};

enum rc local_packs_meta(struct local_packs *packs, const struct local_place *place,
			 enum local_record_kind kind, const struct digest *digest, struct buf *out,
			 struct err *err)
{
	AUTO_PACK_FILE struct pack_file *file = NULL;
	struct buf scratch;

	enum rc rc = local_packs_file(packs, place->pack, &file, err);
	if (rc != RC_OK)
		return rc;
	if (!scratch_take(packs, (size_t)LOCAL_RECORD_HEADER_SIZE + place->stored, &scratch))
		return err_set(err, RC_NO_MEMORY, "no memory to read a record");
	if (!buf_try_reserve(out, place->raw))
		rc = err_set(err, RC_NO_MEMORY, "no memory for a record of %u bytes", place->raw);
	if (rc == RC_OK)
		rc = read_meta(packs, file, place, kind, digest, scratch.ptr, err);
	if (rc == RC_OK)
		rc = local_frame_decode(
			packs->codec,
			view_of(scratch.ptr + LOCAL_RECORD_HEADER_SIZE, place->stored), place->raw,
			out->ptr + out->len, err);
	scratch_give(packs, &scratch);
	if (rc != RC_OK)
		return place_context(err, rc, kind_names[kind], digest, place);
	out->len += place->raw;
	return RC_OK;
}

/* ---- Many at once ---- */

static int compare_many(const void *a, const void *b)
{
	const struct local_place *x = &((const struct local_many *)a)->value.place;
	const struct local_place *y = &((const struct local_many *)b)->value.place;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* How many items from the first lie close enough to be read at once. */
static size_t run_length(const struct local_many *items, size_t count)
{
	const struct local_place *first = &items[0].value.place;
	size_t n = 1;

	while (n < count) {
		const struct local_place *before = &items[n - 1].value.place;
		const struct local_place *next = &items[n].value.place;

		if (next->pack != first->pack || next->offset > record_end(before) + GAP_MAX ||
		    record_end(next) > first->offset + RUN_MAX)
			break;
		n++;
	}
	return n;
}

static void hand_over(struct local_packs *packs, const struct local_many *item,
		      const uint8_t *record, struct buf *data, local_many_done *done, void *context)
{
	const struct local_place *place = &item->value.place;
	struct local_record_header header;
	struct err err = ERR_INIT;
	enum rc rc;

	buf_clear(data);
	if (!buf_try_reserve(data, place->raw ? place->raw : 1))
		rc = err_set(&err, RC_NO_MEMORY, "no memory for %u bytes", place->raw);
	else
		rc = check_header(record, LOCAL_RECORD_CHUNK, place, item->digest, &header, &err);
	if (rc == RC_OK)
		rc = local_frame_decode(packs->codec,
					view_of(record + LOCAL_RECORD_HEADER_SIZE, place->stored),
					place->raw, data->ptr, &err);
	if (rc != RC_OK)
		place_context(&err, rc, "chunk", item->digest, place);
	done(context, item->i, rc, rc == RC_OK ? view_of(data->ptr, place->raw) : view_of(NULL, 0),
	     &err);
}

static void read_run(struct local_packs *packs, const struct local_many *items, size_t count,
		     struct buf *data, local_many_done *done, void *context)
{
	const struct local_place *first = &items[0].value.place;
	size_t len = (size_t)(record_end(&items[count - 1].value.place) - first->offset);
	AUTO_PACK_FILE struct pack_file *file = NULL;
	struct buf run = BUF_INIT;
	struct err err = ERR_INIT;

	enum rc rc = local_packs_file(packs, first->pack, &file, &err);
	if (rc == RC_OK && !scratch_take(packs, len, &run))
		rc = err_set(&err, RC_NO_MEMORY, "no memory to read %zu bytes", len);
	if (rc == RC_OK) {
		pack_file_read_ahead(file, first->offset, len);
		rc = pread_exact(file->fd, run.ptr, len, first->offset, &err);
		/* One that is cut off must not take its neighbours along. */
		if (rc != RC_OK && count > 1) {
			for (size_t i = 0; i < count; i++)
				read_run(packs, &items[i], 1, data, done, context);
			scratch_give(packs, &run);
			return;
		}
	}
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		place_context(&err, rc, "chunk", items[0].digest, first);
	for (size_t i = 0; i < count; i++) {
		if (rc == RC_OK)
			hand_over(packs, &items[i],
				  run.ptr + (items[i].value.place.offset - first->offset), data,
				  done, context);
		else
			done(context, items[i].i, rc, view_of(NULL, 0), &err);
	}
	scratch_give(packs, &run);
}

void local_packs_many(struct local_packs *packs, struct local_many *items, size_t count,
		      local_many_done *done, void *context)
{
	struct buf data = BUF_INIT;
	size_t largest = 1;

	/* Page-aligned, as the largest needs it: the kernel copies faster from that. */
	for (size_t i = 0; i < count; i++)
		largest = items[i].value.place.raw > largest ? items[i].value.place.raw : largest;
	largest = (largest + 4095) & ~(size_t)4095;
	data.ptr = aligned_alloc(4096, largest);
	data.cap = data.ptr ? largest : 0;
	qsort(items, count, sizeof(*items), compare_many);
	for (size_t at = 0; at < count;) {
		size_t n = run_length(items + at, count - at);

		read_run(packs, items + at, n, &data, done, context);
		at += n;
	}
	buf_release(&data);
}

void local_packs_will_need(struct local_packs *packs, const struct local_place_value *value)
{
	const struct local_place *place = &value->place;
	AUTO_PACK_FILE struct pack_file *file = NULL;

	if (place->pack != 0 && local_packs_file(packs, place->pack, &file, NULL) == RC_OK)
		pack_file_advise(file, place->offset, record_end(place));
}

enum rc local_packs_raw_file(struct local_packs *packs, const struct digest *blob, int *fd,
			     struct err *err)
{
	char name[LOCAL_RAW_NAME_MAX];

	local_raw_name(blob, name);
	*fd = openat(packs->raw_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return err_errno(err, errno, "raw file %s", name);
	return RC_OK;
}
