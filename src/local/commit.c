/*
 * Groups, and the thread that makes them durable. See local_internal.h for the picture.
 *
 * Locks: write_lock guards struct local_writer; inserts_lock is taken inside it. The sync thread
 * holds neither while it syncs packs and while the index commits.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "local/local_internal.h"
#include "local/sound.h"
#include "nix/store_path.h"

enum {
	GROUP_BYTES = 256 << 20,
	GROUP_INSERTS = 128 << 10,
	GROUP_RAW_FILES = 256, /* each holds a descriptor */
	GROUP_AGE_S = 10,
	TOUCH_AGE_S = 60,
	STOP_GRACE_MS = 300, /* for a commit that nobody waits for */
	/* Early write-back, so that little is left for the sync at the end. */
	KICK_BYTES = 8 << 20,
};

/* ---- The change of the index ---- */

struct commit_job {
	struct local_store *store;
	struct local_group *group;
	struct local_insert **sorted;
	size_t count;
	struct hashmap touched;
	bool renumber; /* take fresh numbers */
	bool renumbered;
	struct local_numbers numbers;
};

static size_t key_size(enum local_table table)
{
	return table == LOCAL_TABLE_PATHS ? STORE_PATH_HASH_SIZE : DIGEST_SIZE;
}

static int compare_inserts(const void *a, const void *b)
{
	const struct local_insert *x = *(struct local_insert *const *)a;
	const struct local_insert *y = *(struct local_insert *const *)b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	int by_key = memcmp(x->key, y->key, sizeof(x->key));
	if (by_key != 0)
		return by_key;
	/* Path infos of one path: the later record is put last. All lie in one pack. */
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return (x->place.offset > y->place.offset) - (x->place.offset < y->place.offset);
}

static enum rc put_path(struct local_write *write, struct local_insert *insert, struct view key,
			uint16_t day, bool *changed, struct err *err)
{
	struct local_path_value old, value = { insert->place, day, insert->seq };
	uint8_t bytes[LOCAL_PATH_VALUE_SIZE];
	struct view view;

	enum rc rc = local_write_get(write, LOCAL_TABLE_PATHS, key, &view, err);
	if (rc == RC_OK)
		rc = local_path_value_decode(view, &old, err);
	insert->superseded = rc == RC_OK && old.seq > insert->seq;
	if (insert->superseded || (rc != RC_OK && rc != RC_NOT_FOUND))
		return rc;
	*changed = true;
	local_path_value_encode(&value, bytes);
	return local_write_put(write, LOCAL_TABLE_PATHS, key, view_of(bytes, sizeof(bytes)), err);
}

static enum rc put_facts(struct local_write *write, const struct local_insert *insert,
			 struct view key, struct err *err)
{
	struct local_facts_value old, value;
	uint8_t bytes[LOCAL_FACTS_VALUE_SIZE];
	struct view view;

	enum rc rc = local_write_get(write, LOCAL_TABLE_FACTS, key, &view, err);
	if (rc == RC_OK)
		rc = local_facts_value_decode(view, &old, err);
	if (rc == RC_OK && old.seq > insert->seq)
		return RC_OK;
	if (rc == RC_OK || rc == RC_NOT_FOUND)
		rc = local_facts_value_decode(buf_view(&insert->value), &value, err);
	if (rc != RC_OK)
		return rc;
	value.seq = insert->seq;
	local_facts_value_encode(&value, bytes);
	return local_write_put(write, LOCAL_TABLE_FACTS, key, view_of(bytes, sizeof(bytes)), err);
}

static enum rc put_insert(struct local_write *write, struct local_insert *insert, uint16_t day,
			  bool *paths_changed, struct err *err)
{
	struct view key = view_of(insert->key, key_size(insert->table));
	uint8_t bytes[LOCAL_PLACE_VALUE_MAX];
	bool added;

	if (insert->table == LOCAL_TABLE_PATHS)
		return put_path(write, insert, key, day, paths_changed, err);
	if (insert->table == LOCAL_TABLE_FACTS)
		return put_facts(write, insert, key, err);
	if (insert->table == LOCAL_TABLE_BLOBS && insert->heals)
		return local_write_put(write, insert->table, key, buf_view(&insert->value), err);
	if (insert->table == LOCAL_TABLE_BLOBS)
		return local_write_add(write, insert->table, key, buf_view(&insert->value), &added,
				       err);
	struct local_place_value value = { insert->place, day, insert->raw_of };
	size_t len = local_place_value_encode(&value, bytes);
	if (insert->heals)
		return local_write_put(write, insert->table, key, view_of(bytes, len), err);
	return local_write_add(write, insert->table, key, view_of(bytes, len), &added, err);
}

static enum rc put_packs(struct local_write *write, const struct local_group *group,
			 struct err *err)
{
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		const struct local_group_pack *pack = &group->packs[i];
		struct local_pack_value value = {
			.class = (uint8_t)i,
			.end = pack->end,
			.stamp = pack->stamp,
		};
		uint8_t key[LOCAL_PACK_KEY_SIZE], bytes[LOCAL_PACK_VALUE_SIZE];

		if (!pack->out)
			continue;
		local_pack_key_encode(pack->out->head.id, key);
		local_pack_value_encode(&value, bytes);
		enum rc rc = local_write_put(write, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)),
					     view_of(bytes, sizeof(bytes)), err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc change_index(struct local_write *write, void *context, struct err *err)
{
	struct commit_job *job = context;
	struct view key = view_of_string("counters"), view;
	struct local_counters counters;
	uint8_t bytes[LOCAL_COUNTERS_SIZE];
	uint16_t day = (uint16_t)clock_day();
	bool paths_changed = false, superseded = false;

	job->renumbered = false;
	enum rc rc = local_write_get(write, LOCAL_TABLE_COUNTERS, key, &view, err);
	if (rc == RC_OK)
		rc = local_counters_decode(view, &counters, err);
	for (size_t i = 0; rc == RC_OK && i < job->count; i++) {
		rc = put_insert(write, job->sorted[i], day, &paths_changed, err);
		superseded |= job->sorted[i]->superseded;
	}
	if (rc == RC_OK)
		rc = put_packs(write, job->group, err);
	if (rc == RC_OK)
		rc = local_touched_write(write, &job->touched, err);
	if (rc != RC_OK)
		return rc;
	if (paths_changed)
		counters.generation++;
	if (job->renumber || superseded) {
		local_numbers_take(&counters, &job->numbers);
		job->renumbered = true;
	}
	local_counters_encode(&counters, bytes);
	return local_write_put(write, LOCAL_TABLE_COUNTERS, key, view_of(bytes, sizeof(bytes)),
			       err);
}

/* ---- Making a group durable (the sync thread, without locks) ---- */

static enum rc sync_packs(struct local_store *store, struct local_group *group, struct err *err)
{
	bool fresh = false;

	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		if (group->packs[i].out)
			(void)sync_file_range(group->packs[i].out->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		struct local_group_pack *pack = &group->packs[i];
		char name[LOCAL_PACK_NAME_MAX];

		if (!pack->out)
			continue;
		local_pack_name(pack->out->head.id, name);
		if (fdatasync(pack->out->fd) != 0)
			return err_errno(err, errno, "cannot sync pack %s", name);
		/* What changed under our lock was changed by us; others had not changed it before. */
		pack->stamp = pack->out->trusted ? local_stamp(pack->out->fd) : 0;
		fresh |= pack->fresh;
	}
	return fresh ? file_sync_dir(store->layout.packs_fd, "the directory of packs", err) : RC_OK;
}

static void sort_inserts(struct commit_job *job)
{
	size_t i = 0;

	job->count = job->group->count;
	job->sorted = mem_array(job->count + 1, sizeof(struct local_insert *));
	for (struct local_insert *f = job->group->inserts; f; f = f->next)
		job->sorted[i++] = f;
	assert(i == job->count);
	qsort(job->sorted, i, sizeof(struct local_insert *), compare_inserts);
}

static enum rc commit_job_run(struct commit_job *job, struct err *err)
{
	struct local_store *store = job->store;
	enum rc rc = sync_packs(store, job->group, err);

	for (struct local_raw_out *raw = job->group->raw_files; rc == RC_OK && raw; raw = raw->next)
		rc = local_raw_name_it(store, raw, err);
	if (rc != RC_OK)
		return rc;
	sort_inserts(job);
	hashmap_init(&job->touched, LOCAL_INSERT_KEY);
	local_touched_take(store, &job->touched);
	rc = local_index_write(store->index, &(struct op){ .cancel = &store->writer.give_up },
			       change_index, job, err);
	hashmap_release(&job->touched);
	free(job->sorted);
	return rc;
}

/* ---- Groups (under write_lock) ---- */

static void group_free(struct local_store *store, struct local_group *group)
{
	if (!group)
		return;
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++)
		local_pack_out_unref(group->packs[i].out);
	while (group->raw_files) {
		struct local_raw_out *raw = group->raw_files;

		group->raw_files = raw->next;
		local_raw_drop(store, raw);
	}
	free(group);
}

static enum rc open_group(struct local_store *store, const struct op *op, struct err *err)
{
	struct local_writer *w = &store->writer;
	enum rc rc = local_reserve(store, op, err);

	/* Another thread may have opened it meanwhile. */
	if (rc != RC_OK || w->open)
		return rc;
	w->open = mem_zalloc(sizeof(*w->open));
	w->open->number = ++w->last;
	w->open->seq = w->numbers.next_seq++;
	w->open->opened_ns = clock_monotonic_ns();
	return RC_OK;
}

static void note_failed(struct local_writer *w, uint64_t number)
{
	if (w->failed_count == LOCAL_FAILED_MAX) {
		if (w->forgotten < w->failed[0])
			w->forgotten = w->failed[0];
		w->failed_count--;
		memmove(w->failed, w->failed + 1, w->failed_count * sizeof(w->failed[0]));
	}
	w->failed[w->failed_count++] = number;
}

/* The open group fails, and with it the one that was being synced, if that is why. */
static void fail_groups(struct local_store *store, struct local_group *synced, enum rc rc,
			const struct err *err)
{
	struct local_writer *w = &store->writer;
	struct local_group *both[2] = { synced, w->open };

	w->open = NULL;
	w->failed_rc = rc;
	w->failed_err = *err;
	for (int i = 0; i < 2; i++) {
		if (!both[i])
			continue;
		note_failed(w, both[i]->number);
		local_inserts_finish(&store->inserts, both[i]->inserts, LOCAL_INSERT_FAILED);
		group_free(store, both[i]);
	}
	local_append_reset(store, synced != NULL);
	pthread_cond_broadcast(&w->group_done);
}

static void job_done(struct local_store *store, struct commit_job *job)
{
	struct local_writer *w = &store->writer;
	struct local_group *group = job->group;

	w->done = group->number;
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		struct local_appender *a = &w->appenders[i];

		if (group->packs[i].out && a->out == group->packs[i].out)
			a->committed = group->packs[i].end;
	}
	if (job->renumbered) {
		w->numbers = job->numbers;
		/* So that what is appended from now on supersedes whatever was there. */
		if (w->open)
			w->open->seq = w->numbers.next_seq++;
	}
	local_inserts_finish(&store->inserts, group->inserts, LOCAL_INSERT_STORED);
	group_free(store, group);
	pthread_cond_broadcast(&w->group_done);
}

static void seal_and_land(struct local_store *store)
{
	struct local_writer *w = &store->writer;
	struct commit_job job = { .store = store, .group = w->open };
	struct err err = ERR_INIT;

	if (w->open->count == 0 && !w->open->raw_files) {
		/* Everything that somebody wanted to add was stored already. */
		w->done = w->open->number;
		group_free(store, w->open);
		w->open = NULL;
		pthread_cond_broadcast(&w->group_done);
		return;
	}
	enum rc rc = local_append_seal(store, w->open, &err);
	if (rc != RC_OK) {
		fail_groups(store, NULL, rc, &err);
		return;
	}
	w->open = NULL;
	w->syncing = true;
	job.renumber = local_numbers_low(&w->numbers);
	pthread_mutex_unlock(&w->lock);
	rc = commit_job_run(&job, &err);
	pthread_mutex_lock(&w->lock);
	w->syncing = false;
	if (rc == RC_OK)
		job_done(store, &job);
	else
		fail_groups(store, job.group, rc, &err);
}

/* ---- The sync thread ---- */

static bool group_full(const struct local_group *group)
{
	return group->bytes >= GROUP_BYTES || group->count >= GROUP_INSERTS ||
	       group->raw_count >= GROUP_RAW_FILES;
}

static bool group_ready(const struct local_writer *w, int64_t now)
{
	const struct local_group *group = w->open;

	return group && (w->stopping || w->wanted >= group->number || group_full(group) ||
			 now - group->opened_ns >= GROUP_AGE_S * NS_PER_S);
}

/* Asks the kernel to write back what lies in its cache; true if there was something to ask. */
static bool kick(struct local_store *store)
{
	struct local_writer *w = &store->writer;

	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		struct local_appender *a = &w->appenders[i];

		if (!a->out || a->written < a->kicked + KICK_BYTES)
			continue;
		struct local_pack_out *out = a->out;
		uint64_t from = a->kicked, len = a->written - a->kicked;

		out->refs++;
		a->kicked = a->written;
		pthread_mutex_unlock(&w->lock);
		(void)sync_file_range(out->fd, (off_t)from, (off_t)len, SYNC_FILE_RANGE_WRITE);
		pthread_mutex_lock(&w->lock);
		local_pack_out_unref(out);
		return true;
	}
	return false;
}

static enum rc touch_change(struct local_write *write, void *context, struct err *err)
{
	return local_touched_write(write, context, err);
}

static void write_touched(struct local_store *store)
{
	const struct op op = { .cancel = &store->writer.give_up };
	struct hashmap touched;
	struct err err = ERR_INIT;

	hashmap_init(&touched, LOCAL_INSERT_KEY);
	local_touched_take(store, &touched);
	enum rc rc = touched.count > 0
			     ? local_index_write(store->index, &op, touch_change, &touched, &err)
			     : RC_OK;
	if (rc != RC_OK && rc != RC_CANCELLED)
		log_warning("cannot note what was asked for today: %s", err.message);
	hashmap_release(&touched);
}

static void wait_for_work(struct local_writer *w, int64_t touched_ns)
{
	int64_t until = INT64_MAX;

	if (w->open)
		until = w->open->opened_ns + GROUP_AGE_S * NS_PER_S;
	if (touched_ns && touched_ns + TOUCH_AGE_S * NS_PER_S < until)
		until = touched_ns + TOUCH_AGE_S * NS_PER_S;
	(void)cond_wait_until(&w->work, &w->lock, until);
}

static void *sync_thread(void *arg)
{
	struct local_store *store = arg;
	struct local_writer *w = &store->writer;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		int64_t now = clock_monotonic_ns();
		int64_t touched_ns = local_touched_since(store);

		if (group_ready(w, now)) {
			seal_and_land(store);
		} else if (kick(store)) {
			continue;
		} else if (touched_ns &&
			   (w->stopping || now - touched_ns >= TOUCH_AGE_S * NS_PER_S)) {
			pthread_mutex_unlock(&w->lock);
			write_touched(store);
			pthread_mutex_lock(&w->lock);
		} else if (w->stopping) {
			break;
		} else {
			wait_for_work(w, touched_ns);
		}
	}
	w->ended = true;
	pthread_cond_broadcast(&w->group_done);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Without the thread, what is in the open group fails. */
static enum rc wake(struct local_store *store, struct err *err)
{
	struct local_writer *w = &store->writer;
	struct err own = ERR_INIT;
	enum rc rc = RC_OK;

	if (!w->started) {
		if (!err)
			err = &own;
		rc = thread_start(&w->thread, "castor-sync", sync_thread, store, err);
		w->started = rc == RC_OK;
		if (rc != RC_OK)
			fail_groups(store, NULL, rc, err);
	}
	pthread_cond_signal(&w->work);
	return rc;
}

void local_writer_wake(struct local_store *store)
{
	pthread_mutex_lock(&store->writer.lock);
	(void)wake(store, NULL);
	pthread_mutex_unlock(&store->writer.lock);
}

void local_writer_init(struct local_writer *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->work);
	cond_init(&w->group_done);
}

void local_writer_stop(struct local_store *store)
{
	struct local_writer *w = &store->writer;

	if (w->started) {
		pthread_mutex_lock(&w->lock);
		w->stopping = true;
		pthread_cond_signal(&w->work);
		int64_t until = clock_monotonic_ns() + STOP_GRACE_MS * NS_PER_MS;
		while (!w->ended && cond_wait_until(&w->group_done, &w->lock, until))
			;
		atomic_store(&w->give_up, true);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	/* Without the thread it is empty: what was to be added could not be. */
	assert(!w->open || !w->started);
	group_free(store, w->open);
	w->open = NULL;
	local_append_close(store);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->group_done);
	pthread_mutex_destroy(&w->lock);
}

/* ---- Adding ---- */

static void hold_group(struct local_hold *hold, uint64_t number)
{
	if (hold->from == 0 || number < hold->from)
		hold->from = number;
	if (number > hold->to)
		hold->to = number;
}

/* Another call was storing it, and failed. */
static enum rc not_stored(const struct local_writer *w, struct err *err)
{
	if (w->failed_count > 0)
		return err_set(err, w->failed_rc, "%s", w->failed_err.message);
	return err_set(err, RC_IO, "what another call was storing could not be stored");
}

static bool hold_failed(const struct local_writer *w, const struct local_hold *hold)
{
	if (hold->to == 0)
		return false;
	if (hold->from <= w->forgotten)
		return true;
	for (size_t i = 0; i < w->failed_count; i++) {
		if (w->failed[i] >= hold->from && w->failed[i] <= hold->to)
			return true;
	}
	return false;
}

/* Under write_lock. *append: the insert is the caller's to append to the open group. */
static enum rc add_begin(struct local_store *store, const struct op *op, struct local_hold *hold,
			 struct local_insert *insert, bool *append, struct err *err)
{
	struct local_writer *w = &store->writer;

	/* A disk slower than the compressors must not make the group grow without bound. */
	enum rc rc = RC_OK;
	while (rc == RC_OK && w->syncing && w->open && group_full(w->open))
		rc = cond_wait_op(&w->group_done, &w->lock, op, err);
	*append = false;
	if (rc == RC_OK)
		rc = open_group(store, op, err);
	if (rc != RC_OK)
		return rc;
	/* What this hangs on may just have failed: then it must not be committed without it. (What fails
	 * later takes the open group along.) */
	if (hold_failed(w, hold))
		return not_stored(w, err);
	switch (local_insert_take(&store->inserts, insert, append)) {
	case LOCAL_INSERT_ADDED:
		if (*append) {
			insert->group = w->open->number;
			insert->seq = w->open->seq;
		}
		hold_group(hold, insert->group);
		return RC_OK;
	case LOCAL_INSERT_STORED:
		return RC_OK;
	default:
		return not_stored(w, err);
	}
}

/* The insert is in the group from here on, whether its records could be appended or not. */
static enum rc add_end(struct local_store *store, struct local_insert *insert, uint64_t bytes,
		       enum rc rc, struct err *err)
{
	struct local_writer *w = &store->writer;
	struct local_group *group = w->open;

	insert->next = group->inserts;
	group->inserts = insert;
	group->count++;
	group->bytes += bytes;
	if (rc != RC_OK) {
		struct err none = ERR_INIT;

		fail_groups(store, NULL, rc, err ? err : &none);
		return rc;
	}
	return !w->started || group_full(group) ? wake(store, err) : RC_OK;
}

static void kick_if_due(struct local_store *store, enum local_pack_class class)
{
	const struct local_appender *a = &store->writer.appenders[class];

	if (a->out && a->written >= a->kicked + KICK_BYTES)
		(void)wake(store, NULL);
}

enum rc local_add(struct local_store *store, const struct op *op, struct local_hold *hold,
		  enum local_pack_class class, struct local_insert *insert, struct err *err)
{
	struct local_writer *w = &store->writer;
	struct err own = ERR_INIT;
	bool append, stored;

	if (!err)
		err = &own;
	enum rc rc = local_insert_await(&store->inserts, op, insert, &stored, err);
	if (rc != RC_OK || stored)
		return rc;
	pthread_mutex_lock(&w->lock);
	rc = add_begin(store, op, hold, insert, &append, err);
	if (rc == RC_OK && append) {
		uint64_t bytes = 0;

		if (insert->record.bytes) {
			bytes = local_record_size(&insert->record);
			rc = local_append(store, op, class, &insert->record, &insert->place, err);
		}
		rc = add_end(store, insert, bytes, rc, err);
		kick_if_due(store, class);
	}
	pthread_mutex_unlock(&w->lock);
	return rc;
}

enum rc local_add_list(struct local_store *store, const struct op *op, struct local_hold *hold,
		       struct local_insert *insert, const struct local_blob_value *value,
		       struct local_list_segment *segments, size_t count, struct err *err)
{
	struct local_writer *w = &store->writer;
	struct err own = ERR_INIT;
	uint64_t bytes = 0;
	bool append, stored;

	if (!err)
		err = &own;
	enum rc rc = local_insert_await(&store->inserts, op, insert, &stored, err);
	if (rc != RC_OK || stored)
		return rc;
	pthread_mutex_lock(&w->lock);
	rc = add_begin(store, op, hold, insert, &append, err);
	if (rc == RC_OK && append) {
		local_blob_value_begin(value, &insert->value);
		for (size_t i = 0; rc == RC_OK && i < count; i++) {
			struct local_blob_segment segment = { .start = segments[i].start };

			bytes += local_record_size(&segments[i].record);
			rc = local_append(store, op, LOCAL_PACK_META, &segments[i].record,
					  &segment.place, err);
			local_blob_value_append(&insert->value, &segment);
		}
		rc = add_end(store, insert, bytes, rc, err);
	}
	pthread_mutex_unlock(&w->lock);
	return rc;
}

enum rc local_add_raw_file(struct local_store *store, const struct op *op, struct local_hold *hold,
			   struct local_raw_out *raw, struct err *err)
{
	struct local_writer *w = &store->writer;

	pthread_mutex_lock(&w->lock);
	enum rc rc = open_group(store, op, err);
	if (rc == RC_OK && hold_failed(w, hold))
		rc = not_stored(w, err);
	if (rc != RC_OK) {
		local_raw_drop(store, raw);
	} else {
		raw->next = w->open->raw_files;
		w->open->raw_files = raw;
		w->open->raw_count++;
		w->open->bytes += raw->size;
		hold_group(hold, w->open->number);
		rc = wake(store, err);
	}
	pthread_mutex_unlock(&w->lock);
	return rc;
}

/* ---- Waiting ---- */

enum rc local_wait(struct local_store *store, const struct op *op, struct local_hold *hold,
		   struct err *err)
{
	struct local_writer *w = &store->writer;
	enum rc rc = RC_OK;

	if (hold->to == 0)
		return RC_OK;
	pthread_mutex_lock(&w->lock);
	for (;;) {
		if (hold_failed(w, hold)) {
			rc = err_set(err, w->failed_rc, "%s", w->failed_err.message);
			break;
		}
		if (w->done >= hold->to)
			break;
		if (rc != RC_OK)
			break;
		if (w->wanted < hold->to)
			w->wanted = hold->to;
		rc = wake(store, err);
		if (rc == RC_OK)
			rc = cond_wait_op(&w->group_done, &w->lock, op, err);
	}
	pthread_mutex_unlock(&w->lock);
	*hold = (struct local_hold){ .from = 0 };
	return rc;
}
