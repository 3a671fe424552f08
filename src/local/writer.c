/*
 * Appends records to the packs that this process owns: one of each class. Everything here runs
 * under write_lock (see local_internal.h).
 *
 * A pack is owned through an open-file-description lock on its file. The index holds how much of it
 * is committed; bytes past that belong to nobody, and whoever owns the pack next cuts them off, unless
 * there is a commit among them (tails.h).
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"
#include "local/local_internal.h"
#include "local/pack_scan.h"
#include "local/sound.h"
#include "local/tails.h"

/* A pack that has reached this gets no further group. */
#define PACK_FULL (UINT64_C(4) << 30)

enum {
	BUFFER = 1 << 20,
	DIRECT = 64 << 10, /* records from this size up are written without being copied */
	CANDIDATES = 64,
};

void local_pack_out_unref(struct local_pack_out *out)
{
	if (!out || --out->refs > 0)
		return;
	close(out->fd);
	free(out);
}

/* ---- Numbers ---- */

void local_numbers_take(struct local_counters *counters, struct local_numbers *out)
{
	out->next_seq = counters->next_seq;
	out->seq_end = counters->next_seq += LOCAL_SEQ_STOCK;
	out->next_id = counters->next_pack;
	out->id_end = counters->next_pack += LOCAL_ID_STOCK;
}

bool local_numbers_low(const struct local_numbers *numbers)
{
	return numbers->seq_end - numbers->next_seq < LOCAL_SEQ_STOCK / 2 ||
	       numbers->id_end - numbers->next_id < LOCAL_ID_STOCK / 2;
}

static enum rc reserve_change(struct local_write *write, void *context, struct err *err)
{
	struct view key = view_of_string("counters"), value;
	struct local_counters counters;
	uint8_t bytes[LOCAL_COUNTERS_SIZE];

	enum rc rc = local_write_get(write, LOCAL_TABLE_COUNTERS, key, &value, err);
	if (rc == RC_OK)
		rc = local_counters_decode(value, &counters, err);
	if (rc != RC_OK)
		return rc;
	local_numbers_take(&counters, context);
	local_counters_encode(&counters, bytes);
	return local_write_put(write, LOCAL_TABLE_COUNTERS, key, view_of(bytes, sizeof(bytes)),
			       err);
}

/* A commit refills them long before they run out. */
static bool numbers_suffice(const struct local_numbers *numbers)
{
	return numbers->next_seq + 1 < numbers->seq_end &&
	       numbers->next_id + LOCAL_PACK_CLASSES_ <= numbers->id_end;
}

enum rc local_reserve(struct local_store *store, const struct op *op, struct err *err)
{
	struct local_writer *w = &store->writer;
	enum rc rc = RC_OK;

	while (rc == RC_OK && !numbers_suffice(&w->numbers)) {
		struct local_numbers fresh;

		if (w->reserving) {
			rc = cond_wait_op(&w->group_done, &w->lock, op, err);
			continue;
		}
		w->reserving = true;
		pthread_mutex_unlock(&w->lock);
		rc = local_index_write(store->index, op, reserve_change, &fresh, err);
		pthread_mutex_lock(&w->lock);
		w->reserving = false;
		/* A commit may have brought later ones. */
		if (rc == RC_OK && !numbers_suffice(&w->numbers))
			w->numbers = fresh;
		pthread_cond_broadcast(&w->group_done);
	}
	return rc;
}

/* ---- Finding a pack to write to ---- */

static bool lock_pack(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

struct candidates {
	enum local_pack_class class;
	uint32_t ids[CANDIDATES];
	size_t count;
};

static bool note_candidate(void *context, struct view key, struct view bytes)
{
	struct candidates *found = context;
	struct local_pack_value value;

	if (key.len != LOCAL_PACK_KEY_SIZE || local_pack_value_decode(bytes, &value, NULL) != RC_OK)
		return true;
	if (value.class != found->class || value.end >= PACK_FULL)
		return true;
	found->ids[found->count++ % CANDIDATES] = local_pack_key_decode(key.ptr);
	return true;
}

/* What is committed of a pack; RC_NOT_FOUND where the index does not know it. */
static enum rc committed_end(struct local_store *store, uint32_t id, struct local_pack_value *out,
			     struct err *err)
{
	uint8_t key[LOCAL_PACK_KEY_SIZE];
	struct local_read *read;
	struct view value;

	local_pack_key_encode(id, key);
	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)), &value, err);
	if (rc == RC_OK)
		rc = local_pack_value_decode(value, out, err);
	local_read_end(read);
	return rc;
}

static void use_pack(struct local_appender *a, const struct local_pack_head *head, int fd,
		     uint64_t end, bool trusted)
{
	a->out = mem_zalloc(sizeof(*a->out));
	a->out->refs = 1;
	a->out->fd = fd;
	a->out->head = *head;
	a->out->trusted = trusted;
	a->end = a->written = a->kicked = a->sealed = a->committed = end;
	a->fresh = end == 0;
	a->buffered = 0;
	if (!a->buffer)
		a->buffer = mem_alloc(BUFFER);
}

static void new_head(struct local_pack_head *head, uint32_t id, enum local_pack_class class)
{
	*head = (struct local_pack_head){ LOCAL_PACK_VERSION, id, class, 0 };
	/* The hash is keyed with random bytes of the process: nobody can tell what comes out. */
	do {
		const uint64_t seed[2] = { (uint64_t)clock_realtime_ns(), id };

		head->salt = hashmap_hash(seed, sizeof(seed));
	} while (local_record_mark(head->salt) == 0);
}

/* Takes over an existing pack if nobody owns it. False: not this one. */
static bool try_pack(struct local_store *store, enum local_pack_class class, uint32_t id,
		     bool orphan)
{
	char name[LOCAL_PACK_NAME_MAX];
	struct local_pack_value value;
	struct local_pack_head head;
	struct stat st;

	local_pack_name(id, name);
	int fd = openat(store->layout.packs_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	if (!lock_pack(fd) || fstat(fd, &st) != 0)
		goto no;
	/* Only what the index says now counts: the last owner may just have committed. */
	enum rc rc = committed_end(store, id, &value, NULL);
	if (rc == RC_NOT_FOUND && orphan)
		value = (struct local_pack_value){ .class = (uint8_t) class };
	else if (rc != RC_OK || value.class != class || value.end >= PACK_FULL)
		goto no;
	/* Commits that the index does not know are cut off by nobody: a rebuild takes them in. */
	if (st.st_size < 0 || (uint64_t)st.st_size < value.end ||
	    local_tail_commits(fd, value.end) > 0)
		goto no;
	/* Where there is nothing to cut its times stay. */
	uint64_t stamp = local_stamp(fd);
	if ((uint64_t)st.st_size > value.end && ftruncate(fd, (off_t)value.end) != 0)
		goto no;
	bool trusted = value.end == 0 || (value.stamp != 0 && value.stamp == stamp);
	if (value.end == 0)
		new_head(&head, id, class);
	else if (local_pack_head_read(fd, value.end, &head, NULL) != RC_OK || head.id != id ||
		 head.class != class || head.version != LOCAL_PACK_VERSION)
		goto no;
	use_pack(&store->writer.appenders[class], &head, fd, value.end, trusted);
	return true;
no:
	close(fd);
	return false;
}

/* A pack whose first commit never came is in the directory, but not in the index. */
static bool adopt_orphan(struct local_store *store, enum local_pack_class class)
{
	int fd = openat(store->layout.packs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool found = false;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && (entry = readdir(dir))) {
		char name[LOCAL_PACK_NAME_MAX];
		struct local_pack_value value;
		unsigned id;

		if (sscanf(entry->d_name, "%8x", &id) != 1 || id == 0)
			continue;
		local_pack_name(id, name);
		if (strcmp(name, entry->d_name) == 0 &&
		    committed_end(store, id, &value, NULL) == RC_NOT_FOUND)
			found = try_pack(store, class, id, true);
	}
	closedir(dir);
	return found;
}

static enum rc create_pack(struct local_store *store, const struct op *op,
			   enum local_pack_class class, struct err *err)
{
	struct local_numbers *numbers = &store->writer.numbers;
	char name[LOCAL_PACK_NAME_MAX];

	for (;;) {
		struct local_numbers fresh;
		enum rc rc = RC_OK;

		/* Here and now: the numbers that were reserved are those of packs that are there. */
		if (numbers->next_id == numbers->id_end) {
			rc = local_index_write(store->index, op, reserve_change, &fresh, err);
			if (rc != RC_OK)
				return rc;
			*numbers = fresh;
		}
		uint32_t id = numbers->next_id++;

		local_pack_name(id, name);
		int fd = openat(store->layout.packs_fd, name,
				O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				store->layout.file_mode);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return err_errno(err, errno, "cannot make pack %s", name);
		if (fchmod(fd, store->layout.file_mode) != 0) {
			rc = err_errno(err, errno, "cannot make pack %s", name);
			close(fd);
			return rc;
		}
		/* Somebody who looks for orphans may have been quicker. */
		if (lock_pack(fd)) {
			struct local_pack_head head;

			new_head(&head, id, class);
			use_pack(&store->writer.appenders[class], &head, fd, 0, true);
			return RC_OK;
		}
		close(fd);
	}
}

static enum rc append_record(struct local_store *store, struct local_appender *a,
			     struct local_record *record, struct local_place *place,
			     struct err *err);

static enum rc open_appender(struct local_store *store, const struct op *op,
			     enum local_pack_class class, struct err *err)
{
	struct local_appender *a = &store->writer.appenders[class];
	struct candidates found = { .class = class };
	struct local_read *read;

	enum rc rc = local_index_read(store->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_scan(read, LOCAL_TABLE_PACKS, view_of(NULL, 0), note_candidate, &found,
			     err);
	local_read_end(read);
	if (rc != RC_OK)
		return rc;
	size_t count = found.count < CANDIDATES ? found.count : CANDIDATES;
	for (size_t i = 0; i < count && !a->out; i++)
		(void)try_pack(store, class, found.ids[i], false);
	if (!a->out)
		(void)adopt_orphan(store, class);
	if (!a->out)
		rc = create_pack(store, op, class, err);
	if (rc == RC_OK && a->end == 0) {
		uint8_t bytes[LOCAL_PACK_HEAD_SIZE];
		struct local_record record;
		struct local_place place;
		struct digest zero = { .bytes = { 0 } };

		local_pack_head_encode(&a->out->head, bytes);
		local_record_make_raw(LOCAL_RECORD_PACK, &zero, view_of(bytes, sizeof(bytes)),
				      &record);
		rc = append_record(store, a, &record, &place, err);
		local_record_release(&record);
	}
	return rc;
}

/* ---- Writing ---- */

static enum rc write_failed(enum rc rc, const struct local_appender *a, struct err *err)
{
	char name[LOCAL_PACK_NAME_MAX];

	local_pack_name(a->out->head.id, name);
	return err_context(err, rc, "pack %s", name);
}

static enum rc flush(struct local_appender *a, const void *more, size_t len, struct err *err)
{
	struct iovec iov[2] = { { a->buffer, a->buffered }, { (void *)(uintptr_t)more, len } };
	size_t total = a->buffered + len;

	if (total == 0)
		return RC_OK;
	enum rc rc = file_pwritev_all(a->out->fd, iov, 2, a->written, "writing", err);
	if (rc != RC_OK)
		return write_failed(rc, a, err);
	a->written += total;
	a->buffered = 0;
	return RC_OK;
}

static enum rc append_record(struct local_store *store, struct local_appender *a,
			     struct local_record *record, struct local_place *place,
			     struct err *err)
{
	/* The first record says which salt that of the others is. */
	uint64_t salt = a->end == 0 ? 0 : a->out->head.salt;
	struct local_record_header header = {
		.kind = record->kind,
		.seq = store->writer.open->seq,
		.raw = record->raw,
		.stored = record->stored,
		.digest = record->digest,
	};
	size_t size = local_record_size(record);
	enum rc rc = RC_OK;

	local_record_seal(&header, record->frame_crc, salt, record->bytes);
	*place = (struct local_place){
		.pack = a->out->head.id,
		.offset = a->end,
		.stored = record->stored,
		.raw = record->raw,
	};
	if (size >= DIRECT) {
		rc = flush(a, record->bytes, size, err);
	} else {
		if (a->buffered + size > BUFFER)
			rc = flush(a, NULL, 0, err);
		if (rc == RC_OK) {
			memcpy(a->buffer + a->buffered, record->bytes, size);
			a->buffered += size;
		}
	}
	if (rc == RC_OK)
		a->end += size;
	return rc;
}

enum rc local_append(struct local_store *store, const struct op *op, enum local_pack_class class,
		     struct local_record *record, struct local_place *place, struct err *err)
{
	struct local_appender *a = &store->writer.appenders[class];
	enum rc rc = a->out ? RC_OK : open_appender(store, op, class, err);

	memset(place, 0, sizeof(*place));
	if (rc == RC_OK)
		rc = append_record(store, a, record, place, err);
	local_record_release(record);
	return rc;
}

static enum rc append_commit(struct local_store *store, struct local_appender *a, struct err *err)
{
	struct local_commit commit = {
		.end = a->end,
		.time_ns = (uint64_t)clock_realtime_ns(),
		.salt = a->out->head.salt,
		.id = a->out->head.id,
		.class = (uint32_t)a->out->head.class,
	};
	struct digest zero = { .bytes = { 0 } };
	uint8_t bytes[LOCAL_COMMIT_SIZE];
	struct local_record record;
	struct local_place place;

	local_commit_encode(&commit, bytes);
	local_record_make_raw(LOCAL_RECORD_COMMIT, &zero, view_of(bytes, sizeof(bytes)), &record);
	enum rc rc = append_record(store, a, &record, &place, err);
	local_record_release(&record);
	return rc == RC_OK ? flush(a, NULL, 0, err) : rc;
}

static void drop(struct local_appender *a)
{
	local_pack_out_unref(a->out);
	a->out = NULL;
	a->buffered = 0;
}

enum rc local_append_seal(struct local_store *store, struct local_group *group, struct err *err)
{
	struct local_appender *all = store->writer.appenders;

	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		if (!all[i].out || all[i].end == all[i].sealed)
			continue;
		enum rc rc = append_commit(store, &all[i], err);
		if (rc != RC_OK)
			return rc;
	}
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		struct local_appender *a = &all[i];

		if (!a->out || a->end == a->sealed)
			continue;
		a->out->refs++;
		group->packs[i] = (struct local_group_pack){
			.out = a->out,
			.end = a->end,
			.fresh = a->fresh,
		};
		a->sealed = a->end;
		a->fresh = false;
		if (a->end >= PACK_FULL)
			drop(a);
	}
	return RC_OK;
}

void local_append_reset(struct local_store *store, bool committed)
{
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		struct local_appender *a = &store->writer.appenders[i];

		if (!a->out)
			continue;
		uint64_t end = committed ? a->committed : a->sealed;
		/* Where that fails, the next owner does it. */
		bool cut = ftruncate(a->out->fd, (off_t)end) == 0;
		if (committed || !cut || end == 0) {
			drop(a);
			continue;
		}
		a->end = a->written = end;
		a->kicked = a->kicked < end ? a->kicked : end;
		a->buffered = 0;
	}
}

void local_append_close(struct local_store *store)
{
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		drop(&store->writer.appenders[i]);
		free(store->writer.appenders[i].buffer);
		store->writer.appenders[i].buffer = NULL;
	}
}
