/*
 * Reading packs and raw files. See the header.
 *
 * Locks: `open_lock`, then that of a cache. `scratch_lock` is taken alone.
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
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/lru.h"
#include "base/mem.h"
#include "base/refcount.h"
#include "local/pack_file.h"

enum {
	OPEN_PACKS_MIN = 16,
	OPEN_PACKS_MAX = 256,
	WINDOW = 256 << 10,
	WINDOWS_BUDGET = 4 << 20,
	SCRATCH_MAX = 16,       /* buffers kept for the next reader */
	SCRATCH_KEEP = 2 << 20, /* none larger than this */
	NEIGHBOURS_MAX = 128,   /* records read by one call */
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
	struct lru *files;         /* u32 id → struct pack_file */
	struct lru *windows;       /* {u32 id, u32 number} → struct window */
	pthread_mutex_t open_lock; /* held while a pack is opened: one descriptor a pack */

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

/* A quarter of the descriptors that the process may have, in bounds. */
static size_t open_packs_budget(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 >= OPEN_PACKS_MAX)
		return OPEN_PACKS_MAX;
	return limit.rlim_cur / 4 > OPEN_PACKS_MIN ? (size_t)limit.rlim_cur / 4 : OPEN_PACKS_MIN;
}

struct local_packs *local_packs_new(int packs_fd, int raw_fd, struct local_codec *codec)
{
	struct local_packs *packs = mem_zalloc(sizeof(*packs));

	packs->packs_fd = packs_fd;
	packs->raw_fd = raw_fd;
	packs->codec = codec;
	packs->files = lru_new(sizeof(uint32_t), open_packs_budget(), &file_lru);
	packs->windows = lru_new(2 * sizeof(uint32_t), WINDOWS_BUDGET, &window_lru);
	pthread_mutex_init(&packs->open_lock, NULL);
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
	pthread_mutex_destroy(&packs->open_lock);
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

static enum rc open_pack(struct local_packs *packs, uint32_t id, struct pack_file **out,
			 struct err *err)
{
	char name[LOCAL_PACK_NAME_MAX];

	local_pack_name(id, name);
	int fd = openat(packs->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		lru_clear(packs->files);
		fd = openat(packs->packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd < 0)
		return err_errno(err, errno, "pack %s", name);
	*out = pack_file_new(id, fd);
	return RC_OK;
}

/* A new reference on a pack: it can be read as long as it is held, even after it was removed. Held
 * for one read, no longer: so no more packs are open than the cache keeps, and one a reader. */
static enum rc get_pack(struct local_packs *packs, uint32_t id, struct pack_file **out,
			struct err *err)
{
	enum rc rc = RC_OK;

	*out = lru_get(packs->files, &id);
	if (*out)
		return RC_OK;
	pthread_mutex_lock(&packs->open_lock);
	*out = lru_get(packs->files, &id);
	if (!*out)
		rc = open_pack(packs, id, out, err);
	if (*out)
		lru_put(packs->files, &id, *out, 1);
	pthread_mutex_unlock(&packs->open_lock);
	return rc;
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

/* ---- Records ---- */

/* A record to read: what the index says of it, and where its frame goes. */
struct record {
	enum local_record_kind kind;
	const struct local_place *place;
	const struct digest *digest;
	uint8_t *frame; /* place->stored bytes */
	bool summed;    /* compare the checksum of a chunk, too */
};

static const char *const kind_names[] = {
	[LOCAL_RECORD_CHUNK] = "chunk",
	[LOCAL_RECORD_CHUNK_LIST] = "chunk list of blob",
	[LOCAL_RECORD_DIRECTORY] = "directory",
	[LOCAL_RECORD_PATH_INFO] = "path info",
	[LOCAL_RECORD_NAR_FACTS] = "NAR facts of",
};

/* Is that the record which the index says is there? */
static enum rc check_header(const uint8_t *head, const struct record *record,
			    struct local_record_header *header, struct err *err)
{
	const struct local_place *place = record->place;
	enum rc rc =
		local_record_header_decode(view_of(head, LOCAL_RECORD_HEADER_SIZE), header, err);

	if (rc != RC_OK)
		return rc;
	if (header->kind != record->kind || header->raw != place->raw ||
	    header->stored != place->stored || !digest_equal(&header->digest, record->digest))
		return err_set(err, RC_CORRUPT,
			       "another record lies there; if the pack is whole, `castor index "
			       "rebuild` helps");
	return RC_OK;
}

static enum rc check_sum(const uint8_t *head, const struct record *record, uint64_t salt,
			 struct err *err)
{
	uint32_t crc = crc32c(0, record->frame, record->place->stored);

	if (!local_record_sealed(head, crc, salt))
		return err_set(err, RC_CORRUPT, "its checksum is wrong");
	return RC_OK;
}

/* Chunks are known by their digests, which whoever uses them checks: they need no checksum. */
static enum rc check_record(const struct pack_file *file, const uint8_t *head,
			    const struct record *record, struct err *err)
{
	struct local_record_header header;
	enum rc rc = check_header(head, record, &header, err);

	if (rc == RC_OK && (record->kind != LOCAL_RECORD_CHUNK || record->summed))
		rc = check_sum(head, record, file->salt, err);
	return rc;
}

static enum rc pread_all(int fd, struct iovec *iov, int n, uint64_t offset, uint64_t len,
			 struct err *err)
{
	size_t got;
	enum rc rc = file_preadv_full(fd, iov, n, offset, &got, "reading", err);

	if (rc == RC_OK && got < len)
		return err_set(err, RC_CORRUPT, "the file ends before it");
	return rc;
}

/* May `next` be read by the call that reads from `first` to `before`? Places come from a disk: those
 * that overlap are read one by one. */
static bool joins(const struct local_place *first, const struct local_place *before,
		  const struct local_place *next)
{
	return next->pack == first->pack && next->offset >= record_end(before) &&
	       next->offset - record_end(before) <= GAP_MAX &&
	       record_end(next) - first->offset <= RUN_MAX;
}

/* Reads records that join, by one call, and checks that they are what they should be. Each frame has
 * room of its own: whatever their places say, nothing is written or looked at outside. */
static enum rc read_records(struct pack_file *file, const struct record *records, size_t count,
			    struct err *err)
{
	uint8_t heads[NEIGHBOURS_MAX][LOCAL_RECORD_HEADER_SIZE], gap[GAP_MAX];
	struct iovec iov[3 * NEIGHBOURS_MAX];
	uint64_t start = records[0].place->offset, end = start;
	size_t i = 0;
	int n = 0;

	assert(count <= NEIGHBOURS_MAX);
	for (size_t k = 0; k < count; k++) {
		const struct local_place *place = records[k].place;

		assert(place->offset >= end && place->offset - end <= sizeof(gap));
		if (place->offset > end)
			iov[n++] = (struct iovec){ gap, place->offset - end };
		iov[n++] = (struct iovec){ heads[k], LOCAL_RECORD_HEADER_SIZE };
		iov[n++] = (struct iovec){ records[k].frame, place->stored };
		end = record_end(place);
	}
	pack_file_read_ahead(file, start, end - start);
	enum rc rc = pread_all(file->fd, iov, n, start, end - start, err);
	while (rc == RC_OK && i < count) {
		rc = check_record(file, heads[i], &records[i], err);
		i += rc == RC_OK;
	}
	if (rc == RC_OK)
		return rc;
	return place_context(err, rc, kind_names[records[i].kind], records[i].digest,
			     records[i].place);
}

/* ---- Chunks ---- */

/* Reads a record of raw blocks with its data straight into out: header, frame header and block
 * headers go elsewhere, and are checked. */
static enum rc read_raw_blocks(struct pack_file *file, const struct record *record, uint8_t *out,
			       struct err *err)
{
	enum { BLOCKS = 256 };
	const struct local_place *place = record->place;
	uint8_t head[LOCAL_RECORD_HEADER_SIZE];
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
		enum rc rc = pread_all(file->fd, iov, n, offset, total, err);
		if (rc != RC_OK)
			return rc;
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
	return check_record(file, head, record, err);
}

static enum rc read_frame(struct local_packs *packs, struct pack_file *file, struct record *record,
			  void *out, struct err *err)
{
	const struct local_place *place = record->place;
	struct buf scratch;

	if (!scratch_take(packs, place->stored, &scratch))
		return err_set(err, RC_NO_MEMORY, "no memory to read %u bytes", place->stored);
	record->frame = scratch.ptr;
	enum rc rc = read_records(file, record, 1, err);
	if (rc == RC_OK) {
		rc = local_frame_decode(packs->codec, view_of(record->frame, place->stored),
					place->raw, out, err);
		if (rc != RC_OK)
			place_context(err, rc, kind_names[record->kind], record->digest, place);
	}
	scratch_give(packs, &scratch);
	return rc;
}

static enum rc read_stretch(struct local_packs *packs, const struct local_place_value *value,
			    const struct digest *digest, void *out, struct err *err)
{
	AUTO_FD int fd = -1;
	enum rc rc = local_packs_raw_file(packs, &value->raw_of, &fd, err);

	if (rc == RC_OK)
		rc = pread_all(fd, &(struct iovec){ out, value->place.raw }, 1, value->place.offset,
			       value->place.raw, err);
	return rc == RC_OK || rc == RC_NOT_FOUND ? rc : raw_context(err, rc, digest, value);
}

enum rc local_packs_chunk(struct local_packs *packs, const struct local_place_value *value,
			  const struct digest *digest, void *out, struct err *err)
{
	const struct local_place *place = &value->place;
	struct record record = { .kind = LOCAL_RECORD_CHUNK, .place = place, .digest = digest };
	AUTO_PACK_FILE struct pack_file *file = NULL;

	if (place->pack == 0)
		return read_stretch(packs, value, digest, out, err);
	enum rc rc = get_pack(packs, place->pack, &file, err);
	if (rc != RC_OK)
		return rc;
	if (place->stored <= place->raw)
		return read_frame(packs, file, &record, out, err);
	pack_file_read_ahead(file, place->offset, record_end(place) - place->offset);
	rc = read_raw_blocks(file, &record, out, err);
	return rc == RC_OK ? rc : place_context(err, rc, "chunk", digest, place);
}

enum rc local_packs_frames(struct local_packs *packs, const struct local_place *places,
			   const struct digest *digests, size_t count, uint8_t *out,
			   struct err *err)
{
	struct record records[NEIGHBOURS_MAX];

	for (size_t at = 0, n; at < count; at += n) {
		AUTO_PACK_FILE struct pack_file *file = NULL;

		if (places[at].pack == 0)
			return err_set(err, RC_UNSUPPORTED, "a raw file holds no frames");
		n = 0;
		do {
			const struct local_place *place = &places[at + n];

			records[n] = (struct record){ LOCAL_RECORD_CHUNK, place, &digests[at + n],
						      out, false };
			n++;
			out += place->stored;
		} while (n < NEIGHBOURS_MAX && at + n < count &&
			 joins(&places[at], &places[at + n - 1], &places[at + n]));
		enum rc rc = get_pack(packs, places[at].pack, &file, err);
		if (rc == RC_OK)
			rc = read_records(file, records, n, err);
		if (rc != RC_OK)
			return rc;
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

/* The frame of a record of a meta pack: from the windows, where they have it whole. */
static enum rc read_meta(struct local_packs *packs, struct pack_file *file, struct record *record,
			 uint8_t *scratch, struct err *err)
{
	size_t len = (size_t)LOCAL_RECORD_HEADER_SIZE + record->place->stored;

	record->frame = scratch + LOCAL_RECORD_HEADER_SIZE;
	if (len <= WINDOW) {
		bool whole;
		enum rc rc =
			read_windows(packs, file, record->place->offset, scratch, len, &whole, err);

		if (rc != RC_OK)
			return place_context(err, rc, kind_names[record->kind], record->digest,
					     record->place);
		if (whole && check_record(file, scratch, record, NULL) == RC_OK)
			return RC_OK;
		/* The windows may be from before the record was written. */
		forget_windows(packs, file->id, record->place->offset, len);
	}
	return read_records(file, record, 1, err);
}

enum rc local_packs_meta(struct local_packs *packs, const struct local_place *place,
			 enum local_record_kind kind, const struct digest *digest, struct buf *out,
			 struct err *err)
{
	struct record record = { .kind = kind, .place = place, .digest = digest };
	AUTO_PACK_FILE struct pack_file *file = NULL;
	struct buf scratch;

	enum rc rc = get_pack(packs, place->pack, &file, err);
	if (rc != RC_OK)
		return rc;
	if (!scratch_take(packs, (size_t)LOCAL_RECORD_HEADER_SIZE + place->stored, &scratch))
		return err_set(err, RC_NO_MEMORY, "no memory to read a record");
	if (!buf_try_reserve(out, place->raw))
		rc = err_set(err, RC_NO_MEMORY, "no memory for a record of %u bytes", place->raw);
	if (rc == RC_OK)
		rc = read_meta(packs, file, &record, scratch.ptr, err);
	if (rc == RC_OK) {
		rc = local_frame_decode(packs->codec, view_of(record.frame, place->stored),
					place->raw, out->ptr + out->len, err);
		if (rc != RC_OK)
			place_context(err, rc, kind_names[kind], digest, place);
	}
	scratch_give(packs, &scratch);
	if (rc == RC_OK)
		out->len += place->raw;
	return rc;
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

static void hand_over(struct local_packs *packs, const struct local_many *item,
		      const uint8_t *frame, struct buf *data, local_many_done *done, void *context)
{
	const struct local_place *place = &item->value.place;
	struct err err = ERR_INIT;
	enum rc rc;

	buf_clear(data);
	if (!buf_try_reserve(data, place->raw ? place->raw : 1))
		rc = err_set(&err, RC_NO_MEMORY, "no memory for %u bytes", place->raw);
	else
		rc = local_frame_decode(packs->codec, view_of(frame, place->stored), place->raw,
					data->ptr, &err);
	if (rc != RC_OK)
		place_context(&err, rc, "chunk", item->digest, place);
	done(context, item->i, rc, rc == RC_OK ? view_of(data->ptr, place->raw) : view_of(NULL, 0),
	     &err);
}

static void read_run(struct local_packs *packs, const struct local_many *items, size_t count,
		     struct buf *data, local_many_done *done, void *context)
{
	struct record records[NEIGHBOURS_MAX];
	AUTO_PACK_FILE struct pack_file *file = NULL;
	struct buf frames = BUF_INIT;
	struct err err = ERR_INIT;
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += items[i].value.place.stored;
	enum rc rc = get_pack(packs, items[0].value.place.pack, &file, &err);
	if (rc == RC_OK && !scratch_take(packs, len, &frames))
		rc = err_set(&err, RC_NO_MEMORY, "no memory to read %zu bytes", len);
	if (rc == RC_OK) {
		uint8_t *frame = frames.ptr;

		for (size_t i = 0; i < count; i++) {
			records[i] = (struct record){ LOCAL_RECORD_CHUNK, &items[i].value.place,
						      items[i].digest, frame, false };
			frame += items[i].value.place.stored;
		}
		rc = read_records(file, records, count, &err);
	}
	for (size_t i = 0; i < count; i++) {
		if (rc == RC_OK)
			hand_over(packs, &items[i], records[i].frame, data, done, context);
		else if (rc != RC_NOT_FOUND && count > 1)
			/* One that is damaged must not take its neighbours along. */
			read_run(packs, &items[i], 1, data, done, context);
		else
			done(context, items[i].i, rc, view_of(NULL, 0), &err);
	}
	scratch_give(packs, &frames);
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
		size_t n = 1;

		while (n < NEIGHBOURS_MAX && at + n < count &&
		       joins(&items[at].value.place, &items[at + n - 1].value.place,
			     &items[at + n].value.place))
			n++;
		read_run(packs, items + at, n, &data, done, context);
		at += n;
	}
	buf_release(&data);
}

void local_packs_will_need(struct local_packs *packs, const struct local_place_value *value)
{
	const struct local_place *place = &value->place;
	AUTO_PACK_FILE struct pack_file *file = NULL;

	if (place->pack != 0 && get_pack(packs, place->pack, &file, NULL) == RC_OK)
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
