/*
 * Rebuilds the index from packs and raw files alone.
 *
 * First every pack is scanned, up to its last commit record: chunks and directories go into the new
 * index as they are met; lists of chunks and path infos are noted. Then each list is checked for
 * its chunks, and last each path info for its closure; what is not whole is left out. Of several
 * records of one path the one with the highest sequence number that is whole wins. The new index
 * takes the old one's name when it is on disk.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "local/pack_scan.h"
#include "local/rebuild_internal.h"
#include "local/sound.h"

size_t local_rebuild_flush_entries = 64 << 10;

/* ---- What a scan has met since the last commit record ---- */

static void entries_clear(struct rebuild *rebuild)
{
	for (size_t i = 0; i < rebuild->entry_count; i++)
		buf_release(&rebuild->entries[i].payload);
	rebuild->entry_count = rebuild->committed = 0;
}

static struct rebuild_entry *entry_add(struct rebuild *rebuild)
{
	if (rebuild->entry_count == rebuild->entry_room) {
		rebuild->entry_room = rebuild->entry_room ? rebuild->entry_room * 2 : 1024;
		rebuild->entries = mem_realloc_array(rebuild->entries, rebuild->entry_room,
						     sizeof(rebuild->entries[0]));
	}
	struct rebuild_entry *entry = &rebuild->entries[rebuild->entry_count++];
	*entry = (struct rebuild_entry){ .payload = BUF_INIT };
	return entry;
}

static int compare_entries(const void *a, const void *b)
{
	const struct rebuild_entry *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	int by_key = digest_compare(&x->digest, &y->digest);
	if (by_key != 0)
		return by_key;
	return (x->place.offset > y->place.offset) - (x->place.offset < y->place.offset);
}

static enum rc put_place(struct rebuild *rebuild, struct local_write *write, enum local_table table,
			 const struct rebuild_entry *entry, struct err *err)
{
	struct local_place_value value = { .place = entry->place, .day = rebuild->day };
	uint8_t bytes[LOCAL_PLACE_VALUE_MAX];
	size_t len = local_place_value_encode(&value, bytes);
	bool added;

	return local_write_add(write, table, view_of(entry->digest.bytes, DIGEST_SIZE),
			       view_of(bytes, len), &added, err);
}

static enum rc put_facts(struct local_write *write, const struct rebuild_entry *entry,
			 struct err *err)
{
	struct view key = view_of(entry->digest.bytes, DIGEST_SIZE), view;
	struct local_facts_value old, value = { .seq = entry->seq };
	struct local_nar_facts facts;
	uint8_t bytes[LOCAL_FACTS_VALUE_SIZE];

	if (local_nar_facts_decode(buf_view(&entry->payload), &facts, NULL) != RC_OK)
		return RC_OK;
	enum rc rc = local_write_get(write, LOCAL_TABLE_FACTS, key, &view, err);
	if (rc == RC_OK)
		rc = local_facts_value_decode(view, &old, err);
	if (rc == RC_OK && old.seq > entry->seq)
		return RC_OK;
	if (rc != RC_OK && rc != RC_NOT_FOUND)
		return rc;
	value.nar_size = facts.nar_size;
	memcpy(value.nar_sha256, facts.nar_sha256, sizeof(value.nar_sha256));
	local_facts_value_encode(&value, bytes);
	return local_write_put(write, LOCAL_TABLE_FACTS, key, view_of(bytes, sizeof(bytes)), err);
}

struct pack_state {
	uint32_t id;
	struct local_pack_head head;
	uint64_t stamp;       /* of the file, before it was read */
	uint64_t end;         /* after the last commit record */
	uint64_t damaged_end; /* of the scan's damage, what lies before it */
	uint64_t records;     /* since the last commit record */
	struct buf payload;
};

static enum rc flush_change(struct local_write *write, void *context, struct err *err)
{
	struct rebuild *rebuild = context;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < rebuild->committed; i++) {
		const struct rebuild_entry *entry = &rebuild->entries[i];

		if (entry->kind == LOCAL_RECORD_CHUNK)
			rc = put_place(rebuild, write, LOCAL_TABLE_CHUNKS, entry, err);
		else if (entry->kind == LOCAL_RECORD_DIRECTORY)
			rc = put_place(rebuild, write, LOCAL_TABLE_DIRECTORIES, entry, err);
		else if (entry->kind == LOCAL_RECORD_NAR_FACTS)
			rc = put_facts(write, entry, err);
	}
	return rc;
}

/* Takes what lies before the pack's last commit record so far, and nothing else. */
static enum rc flush(struct rebuild *rebuild, const struct pack_state *pack, struct err *err)
{
	for (size_t i = 0; i < rebuild->committed; i++)
		assert(local_place_end(&rebuild->entries[i].place) <= pack->end);
	if (rebuild->committed > 0)
		qsort(rebuild->entries, rebuild->committed, sizeof(rebuild->entries[0]),
		      compare_entries);
	enum rc rc = local_index_write(rebuild->index, &op_none, flush_change, rebuild, err);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < rebuild->committed; i++) {
		const struct rebuild_entry *entry = &rebuild->entries[i];

		if (entry->kind == LOCAL_RECORD_CHUNK_LIST)
			rebuild_note_list(rebuild, entry);
		else if (entry->kind == LOCAL_RECORD_PATH_INFO)
			rebuild_note_path(rebuild, entry);
	}
	/* None lies behind the commit record that was just met; at the pack's end all are dropped. */
	entries_clear(rebuild);
	return RC_OK;
}

/* ---- Packs ---- */

static bool has_payload(uint8_t kind)
{
	return kind == LOCAL_RECORD_CHUNK_LIST || kind == LOCAL_RECORD_NAR_FACTS ||
	       kind == LOCAL_RECORD_COMMIT;
}

/* False: the record is damaged in spite of its CRC. */
static bool decode_payload(struct rebuild *rebuild, const struct local_scanned *record,
			   struct buf *out)
{
	buf_clear(out);
	if (!buf_try_reserve(out, record->header.raw + (size_t)1))
		return false;
	if (local_frame_decode(rebuild->codec, record->frame, record->header.raw, out->ptr, NULL) !=
	    RC_OK)
		return false;
	out->len = record->header.raw;
	return true;
}

static enum rc take_commit(struct rebuild *rebuild, struct pack_state *pack,
			   const struct local_scan *scan, const struct local_scanned *record,
			   struct err *err)
{
	struct local_commit commit;

	if (local_commit_decode(buf_view(&pack->payload), &commit, NULL) != RC_OK ||
	    commit.end != record->offset)
		return RC_OK;
	pack->end = scan->at;
	pack->damaged_end = scan->damaged;
	rebuild->stats->records += pack->records;
	pack->records = 0;
	rebuild->committed = rebuild->entry_count;
	return rebuild->committed >= rebuild->flush_entries ? flush(rebuild, pack, err) : RC_OK;
}

static enum rc take_record(struct rebuild *rebuild, struct pack_state *pack,
			   struct local_scan *scan, const struct local_scanned *record,
			   struct err *err)
{
	const struct local_record_header *header = &record->header;

	pack->records++;
	if (header->seq > rebuild->max_seq)
		rebuild->max_seq = header->seq;
	if (has_payload(header->kind) && !decode_payload(rebuild, record, &pack->payload)) {
		scan->damaged++;
		return RC_OK;
	}
	switch (header->kind) {
	case LOCAL_RECORD_COMMIT:
		return take_commit(rebuild, pack, scan, record, err);
	case LOCAL_RECORD_CHUNK:
	case LOCAL_RECORD_CHUNK_LIST:
	case LOCAL_RECORD_DIRECTORY:
	case LOCAL_RECORD_PATH_INFO:
	case LOCAL_RECORD_NAR_FACTS: {
		struct rebuild_entry *entry = entry_add(rebuild);

		entry->kind = header->kind;
		entry->digest = header->digest;
		entry->seq = header->seq;
		entry->place = (struct local_place){
			.pack = pack->id,
			.offset = record->offset,
			.stored = header->stored,
			.raw = header->raw,
		};
		if (has_payload(header->kind))
			buf_append_view(&entry->payload, buf_view(&pack->payload));
		return RC_OK;
	}
	default:
		return RC_OK; /* the first, or of a later castor */
	}
}

static enum rc put_pack(struct local_write *write, void *context, struct err *err)
{
	const struct pack_state *pack = context;
	struct local_pack_value value = {
		.class = (uint8_t)pack->head.class,
		.end = pack->end,
		.stamp = pack->stamp,
	};
	uint8_t key[LOCAL_PACK_KEY_SIZE], bytes[LOCAL_PACK_VALUE_SIZE];

	local_pack_key_encode(pack->id, key);
	local_pack_value_encode(&value, bytes);
	return local_write_put(write, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)),
			       view_of(bytes, sizeof(bytes)), err);
}

/* No first record that is whole, and no commit record at the end. */
static enum rc check_headless(struct rebuild *rebuild, int fd, const char *name, struct err *err)
{
	uint8_t bytes[LOCAL_RECORD_HEADER_SIZE + LOCAL_PACK_HEAD_SIZE_1];
	static const uint8_t zeros[sizeof(bytes)];
	size_t got;
	enum rc rc = file_pread_full(fd, bytes, sizeof(bytes), 0, &got, name, err);

	if (rc == RC_OK && got == sizeof(bytes) && memcmp(bytes, zeros, got) != 0) {
		log_warning("pack %s cannot be read: its beginning and its end are damaged", name);
		rebuild->stats->damaged_records++;
	}
	return rc;
}

static enum rc scan_pack(struct rebuild *rebuild, struct pack_state *pack, int fd, const char *name,
			 struct err *err)
{
	struct local_scan scan;
	struct local_scanned record;
	bool end = false;
	enum rc rc = local_scan_init(&scan, fd, name, 0, err);

	pack->head = scan.head;
	pack->stamp = local_stamp(fd);
	/* One that was never committed may have no beginning, or one of zeros. */
	if (rc == RC_OK && scan.head.id == 0 && scan.size > 0)
		rc = check_headless(rebuild, fd, name, err);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (rc == RC_OK) {
		rc = op_check(rebuild->op, err);
		if (rc == RC_OK)
			rc = local_scan_next(&scan, &record, &end, err);
		if (rc != RC_OK || end)
			break;
		rc = take_record(rebuild, pack, &scan, &record, err);
	}
	local_scan_release(&scan);
	if (rc != RC_OK)
		return err_context(err, rc, "pack %s", name);
	rebuild->stats->damaged_records += pack->damaged_end;
	/* Behind the last commit record lies what nobody was promised. */
	rc = flush(rebuild, pack, err);
	entries_clear(rebuild);
	/* Without a commit it is nobody's: the next writer makes it its own. */
	if (rc == RC_OK && pack->end > 0) {
		rebuild->stats->packs++;
		rc = local_index_write(rebuild->index, &op_none, put_pack, pack, err);
	}
	return rc;
}

static enum rc read_pack(struct rebuild *rebuild, uint32_t id, struct err *err)
{
	struct pack_state pack = { .id = id, .payload = BUF_INIT };
	char name[LOCAL_PACK_NAME_MAX];

	local_pack_name(id, name);
	AUTO_FD int fd = openat(rebuild->layout.packs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, errno, "pack %s", name);
	enum rc rc = scan_pack(rebuild, &pack, fd, name, err);
	buf_release(&pack.payload);
	if (id >= rebuild->next_pack)
		rebuild->next_pack = id + 1;
	if (rc == RC_OK && pack.head.id != 0 && pack.head.id != id)
		log_warning("pack %s calls itself %08x", name, pack.head.id);
	return rc;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static enum rc list_packs(const struct rebuild *rebuild, uint32_t **ids, size_t *count,
			  struct err *err)
{
	int fd = openat(rebuild->layout.packs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	size_t room = 0;

	if (!dir) {
		enum rc rc = err_errno(err, errno, "packs");

		if (fd >= 0)
			close(fd);
		return rc;
	}
	while ((entry = readdir(dir))) {
		char name[LOCAL_PACK_NAME_MAX];
		unsigned id;

		if (sscanf(entry->d_name, "%8x", &id) != 1 || id == 0 || id == UINT32_MAX)
			continue;
		local_pack_name(id, name);
		if (strcmp(name, entry->d_name) != 0)
			continue;
		if (*count == room) {
			room = room ? room * 2 : 64;
			*ids = mem_realloc_array(*ids, room, sizeof(**ids));
		}
		(*ids)[(*count)++] = id;
	}
	closedir(dir);
	if (*count > 0)
		qsort(*ids, *count, sizeof(**ids), compare_ids);
	return RC_OK;
}

static enum rc read_packs(struct rebuild *rebuild, struct err *err)
{
	AUTO_FREE uint32_t *ids = NULL;
	size_t count = 0;
	enum rc rc = list_packs(rebuild, &ids, &count, err);

	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = read_pack(rebuild, ids[i], err);
	return rc;
}

/* ---- The whole ---- */

static enum rc put_counters(struct local_write *write, void *context, struct err *err)
{
	const struct rebuild *rebuild = context;
	struct local_counters counters = {
		.version = LOCAL_INDEX_VERSION,
		.next_pack = rebuild->next_pack,
		.next_seq = rebuild->max_seq + 1,
		.generation = (uint64_t)clock_realtime_ns(),
	};
	uint8_t bytes[LOCAL_COUNTERS_SIZE];

	local_counters_encode(&counters, bytes);
	return local_write_put(write, LOCAL_TABLE_COUNTERS, view_of_string("counters"),
			       view_of(bytes, sizeof(bytes)), err);
}

static enum rc count_tables(struct rebuild *rebuild, struct err *err)
{
	struct local_rebuild_stats *stats = rebuild->stats;
	struct local_read *read;
	enum rc rc = local_index_read(rebuild->index, &read, err);

	if (rc != RC_OK)
		return rc;
	rc = local_read_count(read, LOCAL_TABLE_CHUNKS, &stats->chunks, err);
	if (rc == RC_OK)
		rc = local_read_count(read, LOCAL_TABLE_BLOBS, &stats->blobs, err);
	if (rc == RC_OK)
		rc = local_read_count(read, LOCAL_TABLE_DIRECTORIES, &stats->directories, err);
	if (rc == RC_OK)
		rc = local_read_count(read, LOCAL_TABLE_PATHS, &stats->path_infos, err);
	local_read_end(read);
	return rc;
}

static void remove_new(const struct local_layout *layout)
{
	(void)unlinkat(layout->dir_fd, "index.new", 0);
	(void)unlinkat(layout->dir_fd, "index.new-lock", 0);
}

static enum rc build(struct rebuild *rebuild, struct err *err)
{
	AUTO_FREE char *path = mem_printf("%s/index.new", rebuild->layout.dir);
	enum rc rc;

	remove_new(&rebuild->layout);
	rc = local_index_open(path, LOCAL_INDEX_BUILD, rebuild->layout.file_mode, &rebuild->index,
			      err);
	if (rc == RC_OK)
		rc = read_packs(rebuild, err);
	if (rc == RC_OK)
		rc = rebuild_lists(rebuild, err);
	if (rc == RC_OK)
		rc = rebuild_paths(rebuild, err);
	if (rc == RC_OK)
		rc = local_index_write(rebuild->index, &op_none, put_counters, rebuild, err);
	if (rc == RC_OK)
		rc = count_tables(rebuild, err);
	if (rc == RC_OK)
		rc = local_index_sync(rebuild->index, err);
	local_index_close(rebuild->index);
	rebuild->index = NULL;
	return rc;
}

static enum rc put_in_place(const struct local_layout *layout, struct err *err)
{
	(void)unlinkat(layout->dir_fd, "index.new-lock", 0);
	if (renameat(layout->dir_fd, "index.new", layout->dir_fd, "index.mdb") != 0)
		return err_errno(err, errno, "store %s: cannot put the new index in place",
				 layout->dir);
	/* It speaks of readers of the old index; the next opener makes a new one. */
	(void)unlinkat(layout->dir_fd, "index.mdb-lock", 0);
	return file_sync_dir(layout->dir_fd, layout->dir, err);
}

enum rc local_store_rebuild_index(const char *dir, const struct op *op,
				  struct local_rebuild_stats *stats, struct err *err)
{
	struct rebuild rebuild = {
		.op = op,
		.flush_entries = local_rebuild_flush_entries,
		.stats = stats,
		.next_pack = 1,
		.day = (uint16_t)clock_day(),
	};

	memset(stats, 0, sizeof(*stats));
	enum rc rc = local_layout_open(dir, LOCAL_LAYOUT_REBUILD, NULL, NULL, &rebuild.layout, err);
	if (rc != RC_OK)
		return rc;
	rebuild.codec = local_codec_new(&rebuild.layout.policy);
	rebuild.packs =
		local_packs_new(rebuild.layout.packs_fd, rebuild.layout.raw_fd, rebuild.codec);
	rebuild_init(&rebuild);
	rc = build(&rebuild, err);
	if (rc == RC_OK)
		rc = put_in_place(&rebuild.layout, err);
	else
		remove_new(&rebuild.layout);
	if (rc == RC_OK)
		rc = local_layout_complete(&rebuild.layout, err);
	entries_clear(&rebuild);
	free(rebuild.entries);
	rebuild_release(&rebuild);
	local_packs_free(rebuild.packs);
	local_codec_free(rebuild.codec);
	local_layout_close(&rebuild.layout);
	if (rc != RC_OK)
		memset(stats, 0, sizeof(*stats));
	return rc;
}
