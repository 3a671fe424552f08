/* The second half of a rebuild: which blobs and which path infos are whole. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "castore/directory.h"
#include "local/rebuild_internal.h"
#include "nix/path_info.h"

/* The segments of a blob's list, as they were met. */
struct rebuild_list {
	uint64_t size;
	uint64_t chunks;
	uint32_t segments;
	uint32_t met;
	bool raw_file;
	struct local_blob_segment *at; /* place.pack 0: not met */
};

void rebuild_init(struct rebuild *rebuild)
{
	hashmap_init(&rebuild->lists, DIGEST_SIZE);
	hashmap_init(&rebuild->directories, DIGEST_SIZE);
}

static void list_free(struct rebuild_list *list)
{
	if (list)
		free(list->at);
	free(list);
}

void rebuild_release(struct rebuild *rebuild)
{
	void *list;

	for (size_t at = 0; hashmap_next(&rebuild->lists, &at, NULL, &list);)
		list_free(list);
	hashmap_release(&rebuild->lists);
	hashmap_release(&rebuild->directories);
	free(rebuild->paths);
}

/* ---- Blobs ---- */

void rebuild_note_list(struct rebuild *rebuild, const struct rebuild_entry *entry)
{
	struct local_segment segment;

	if (local_segment_decode(buf_view(&entry->payload), &segment, NULL) != RC_OK) {
		rebuild->stats->damaged_records++;
		return;
	}
	struct rebuild_list *list = hashmap_get(&rebuild->lists, entry->digest.bytes);
	/* A list that was written twice, once in another form: the later one. */
	if (list && (list->size != segment.blob_size || list->chunks != segment.chunks ||
		     list->segments != segment.segments || list->raw_file != segment.raw_file)) {
		list_free(hashmap_remove(&rebuild->lists, entry->digest.bytes));
		list = NULL;
	}
	if (!list) {
		list = mem_zalloc(sizeof(*list));
		list->size = segment.blob_size;
		list->chunks = segment.chunks;
		list->segments = segment.segments;
		list->raw_file = segment.raw_file;
		/* As many as the chunks they hold: a list cannot claim more memory than that. */
		list->at = mem_try_alloc(list->segments * sizeof(list->at[0]));
		if (!list->at || list->segments != (list->chunks - 1) / LOCAL_SEGMENT_CHUNKS + 1) {
			list_free(list);
			rebuild->stats->damaged_records++;
			return;
		}
		memset(list->at, 0, list->segments * sizeof(list->at[0]));
		hashmap_put(&rebuild->lists, entry->digest.bytes, list);
	}
	struct local_blob_segment *at = &list->at[segment.number];
	if (at->place.pack == 0)
		list->met++;
	at->start = segment.start;
	at->place = entry->place;
}

static enum rc has_key(struct local_read *read, enum local_table table, const struct digest *digest,
		       bool *out, struct err *err)
{
	struct view value;
	enum rc rc = local_read_get(read, table, view_of(digest->bytes, DIGEST_SIZE), &value, err);

	*out = rc == RC_OK;
	return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc has_chunks(struct rebuild *rebuild, const struct local_segment *segment, bool *out,
			  struct err *err)
{
	struct local_read *read;
	enum rc rc = local_index_read(rebuild->index, &read, err);

	if (rc != RC_OK)
		return rc;
	*out = true;
	for (uint32_t i = 0; rc == RC_OK && *out && i < segment->count; i++) {
		struct digest digest;
		uint32_t size;

		local_segment_entry(segment, i, &digest, &size);
		rc = has_key(read, LOCAL_TABLE_CHUNKS, &digest, out, err);
	}
	local_read_end(read);
	return rc;
}

struct raw_chunks {
	struct rebuild *rebuild;
	const struct digest *blob;
	const struct local_segment *segment;
};

static enum rc put_raw_chunks(struct local_write *write, void *context, struct err *err)
{
	const struct raw_chunks *raw = context;
	uint64_t offset = raw->segment->start;
	enum rc rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < raw->segment->count; i++) {
		struct local_place_value value = {
			.day = raw->rebuild->day,
			.raw_of = *raw->blob,
		};
		uint8_t bytes[LOCAL_PLACE_VALUE_MAX];
		struct digest digest;
		bool added;

		local_segment_entry(raw->segment, i, &digest, &value.place.raw);
		value.place.stored = value.place.raw;
		value.place.offset = offset;
		offset += value.place.raw;
		size_t len = local_place_value_encode(&value, bytes);
		rc = local_write_add(write, LOCAL_TABLE_CHUNKS, view_of(digest.bytes, DIGEST_SIZE),
				     view_of(bytes, len), &added, err);
	}
	return rc;
}

/* Are the segment's chunks what the raw file holds there? */
static enum rc check_raw(struct rebuild *rebuild, int fd, const struct local_segment *segment,
			 bool *out, struct err *err)
{
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	uint64_t offset = segment->start;
	enum rc rc = RC_OK;

	*out = true;
	for (uint32_t i = 0; rc == RC_OK && *out && i < segment->count; i++) {
		struct digest want, have;
		uint32_t size;
		size_t got;

		local_segment_entry(segment, i, &want, &size);
		buf_clear(&bytes);
		if (!buf_try_reserve(&bytes, size))
			return err_set(err, RC_NO_MEMORY, "no memory to check a raw file");
		rc = op_check(rebuild->op, err);
		if (rc == RC_OK)
			rc = file_pread_full(fd, bytes.ptr, size, offset, &got, "raw file", err);
		if (rc != RC_OK)
			return rc;
		have = digest_of(view_of(bytes.ptr, got));
		*out = got == size && digest_equal(&want, &have);
		offset += size;
	}
	return rc;
}

/* Reads segment i; *out false where it cannot be used. */
static enum rc read_segment(struct rebuild *rebuild, const struct digest *digest,
			    const struct rebuild_list *list, uint32_t i, struct buf *payload,
			    struct local_segment *segment, bool *out, struct err *err)
{
	buf_clear(payload);
	enum rc rc = local_packs_meta(rebuild->packs, &list->at[i].place, LOCAL_RECORD_CHUNK_LIST,
				      digest, payload, err);

	if (rc == RC_OK)
		rc = local_segment_decode(buf_view(payload), segment, err);
	*out = rc == RC_OK;
	return rc == RC_CORRUPT ? RC_OK : rc;
}

/* Does the segments' order hold, and is every chunk there? With a raw file (fd >= 0), its chunks
 * are put into the index. */
static enum rc check_list(struct rebuild *rebuild, const struct digest *digest,
			  const struct rebuild_list *list, int fd, bool *whole, struct err *err)
{
	struct buf payload CLEANUP(buf_release) = BUF_INIT;
	uint64_t offset = 0;
	enum rc rc = RC_OK;

	*whole = list->met == list->segments;
	for (uint32_t i = 0; rc == RC_OK && *whole && i < list->segments; i++) {
		struct raw_chunks raw = { .rebuild = rebuild, .blob = digest };
		struct local_segment segment;

		rc = read_segment(rebuild, digest, list, i, &payload, &segment, whole, err);
		if (rc != RC_OK || !*whole)
			break;
		raw.segment = &segment;
		*whole = segment.start == offset;
		for (uint32_t k = 0; k < segment.count; k++) {
			struct digest chunk;
			uint32_t size;

			local_segment_entry(&segment, k, &chunk, &size);
			offset += size;
		}
		if (fd < 0 && *whole)
			rc = has_chunks(rebuild, &segment, whole, err);
		else if (*whole)
			rc = check_raw(rebuild, fd, &segment, whole, err);
		if (rc == RC_OK && *whole && fd >= 0)
			rc = local_index_write(rebuild->index, &op_none, put_raw_chunks, &raw, err);
	}
	return rc;
}

struct blob_put {
	const struct digest *digest;
	struct buf value;
};

static enum rc put_blob(struct local_write *write, void *context, struct err *err)
{
	const struct blob_put *put = context;

	return local_write_put(write, LOCAL_TABLE_BLOBS, view_of(put->digest->bytes, DIGEST_SIZE),
			       buf_view(&put->value), err);
}

static enum rc rebuild_list(struct rebuild *rebuild, const struct digest *digest,
			    struct rebuild_list *list, struct err *err)
{
	AUTO_FD int fd = -1;
	bool whole = false;
	enum rc rc = RC_OK;

	if (list->raw_file) {
		rc = local_packs_raw_file(rebuild->packs, digest, &fd, err);
		if (rc == RC_OK)
			rc = check_list(rebuild, digest, list, fd, &whole, err);
		else if (rc == RC_NOT_FOUND)
			rc = RC_OK;
	}
	/* Without its raw file a blob may still be whole in the packs. */
	if (rc == RC_OK && !whole) {
		list->raw_file = false;
		rc = check_list(rebuild, digest, list, -1, &whole, err);
	}
	if (rc != RC_OK || !whole)
		return rc;
	struct local_blob_value value = {
		.day = rebuild->day,
		.raw_file = list->raw_file,
		.size = list->size,
		.chunks = list->chunks,
	};
	struct blob_put put = { .digest = digest, .value = BUF_INIT };
	local_blob_value_begin(&value, &put.value);
	for (uint32_t i = 0; i < list->segments; i++)
		local_blob_value_append(&put.value, &list->at[i]);
	rc = local_index_write(rebuild->index, &op_none, put_blob, &put, err);
	buf_release(&put.value);
	return rc;
}

enum rc rebuild_lists(struct rebuild *rebuild, struct err *err)
{
	const void *key;
	void *list;
	enum rc rc = RC_OK;

	for (size_t at = 0; rc == RC_OK && hashmap_next(&rebuild->lists, &at, &key, &list);) {
		struct digest digest;

		memcpy(digest.bytes, key, DIGEST_SIZE);
		rc = op_check(rebuild->op, err);
		if (rc == RC_OK)
			rc = rebuild_list(rebuild, &digest, list, err);
	}
	return rc;
}

/* ---- Closures ---- */

/* Values of rebuild->directories. */
static char whole_mark, broken_mark;

struct frame {
	struct directory *dir;
	size_t next;
	bool broken;
};

static enum rc find_directory(struct rebuild *rebuild, const struct digest *digest,
			      struct directory **out, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct local_place_value value;
	struct local_read *read;
	struct view bytes;

	*out = NULL;
	if (digest_equal(digest, &digest_empty))
		return directory_decode(view_of(NULL, 0), out, err);
	enum rc rc = local_index_read(rebuild->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = local_read_get(read, LOCAL_TABLE_DIRECTORIES, view_of(digest->bytes, DIGEST_SIZE),
			    &bytes, err);
	if (rc == RC_OK)
		rc = local_place_value_decode(bytes, &value, err);
	local_read_end(read);
	if (rc == RC_OK)
		rc = local_packs_meta(rebuild->packs, &value.place, LOCAL_RECORD_DIRECTORY, digest,
				      &message, err);
	if (rc == RC_OK)
		rc = directory_decode(buf_view(&message), out, err);
	if (rc == RC_OK && !digest_equal(directory_digest(*out), digest)) {
		directory_unref(*out);
		*out = NULL;
	}
	/* Whatever is wrong with it: it is not there. */
	return rc == RC_NOT_FOUND || rc == RC_CORRUPT || rc == RC_INVALID ? RC_OK : rc;
}

static enum rc has_blob(struct rebuild *rebuild, const struct digest *digest, bool *out,
			struct err *err)
{
	struct local_read *read;

	*out = digest_equal(digest, &digest_empty);
	if (*out)
		return RC_OK;
	enum rc rc = local_index_read(rebuild->index, &read, err);
	if (rc != RC_OK)
		return rc;
	rc = has_key(read, LOCAL_TABLE_CHUNKS, digest, out, err);
	if (rc == RC_OK && !*out)
		rc = has_key(read, LOCAL_TABLE_BLOBS, digest, out, err);
	local_read_end(read);
	return rc;
}

/* Steps into a directory that was not checked before; else sets *broken where it is. */
static enum rc enter(struct rebuild *rebuild, const struct digest *digest, struct frame *stack,
		     size_t *depth, bool *broken, struct err *err)
{
	const void *mark = hashmap_get(&rebuild->directories, digest->bytes);
	struct directory *dir;

	if (mark || *depth == NODE_DEPTH_MAX) {
		*broken |= mark != &whole_mark;
		return RC_OK;
	}
	enum rc rc = find_directory(rebuild, digest, &dir, err);
	if (rc != RC_OK)
		return rc;
	if (dir)
		stack[(*depth)++] = (struct frame){ .dir = dir };
	else
		*broken = true;
	return RC_OK;
}

static enum rc check_tree(struct rebuild *rebuild, const struct digest *root, bool *whole,
			  struct err *err)
{
	AUTO_FREE struct frame *stack = mem_array(NODE_DEPTH_MAX, sizeof(*stack));
	bool root_broken = false;
	size_t depth = 0;

	enum rc rc = enter(rebuild, root, stack, &depth, &root_broken, err);
	while (rc == RC_OK && depth > 0) {
		struct frame *top = &stack[depth - 1];

		if (top->next < directory_count(top->dir)) {
			const struct node *node = directory_at(top->dir, top->next++);
			bool there = true;

			if (node->kind == NODE_FILE)
				rc = has_blob(rebuild, &node->digest, &there, err);
			else if (node->kind == NODE_DIRECTORY)
				rc = enter(rebuild, &node->digest, stack, &depth, &top->broken,
					   err);
			top->broken |= !there;
			continue;
		}
		hashmap_put(&rebuild->directories, directory_digest(top->dir)->bytes,
			    top->broken ? &broken_mark : &whole_mark);
		bool *above = depth > 1 ? &stack[depth - 2].broken : &root_broken;
		*above |= top->broken;
		directory_unref(top->dir);
		depth--;
	}
	while (depth > 0)
		directory_unref(stack[--depth].dir);
	*whole = !root_broken;
	return rc;
}

/* ---- Path infos ---- */

void rebuild_note_path(struct rebuild *rebuild, const struct rebuild_entry *entry)
{
	if (rebuild->path_count == rebuild->path_room) {
		rebuild->path_room = rebuild->path_room ? rebuild->path_room * 2 : 256;
		rebuild->paths = mem_realloc_array(rebuild->paths, rebuild->path_room,
						   sizeof(rebuild->paths[0]));
	}
	struct rebuild_path *path = &rebuild->paths[rebuild->path_count++];
	memcpy(path->hash, entry->digest.bytes, sizeof(path->hash));
	path->seq = entry->seq;
	path->place = entry->place;
}

/* By hash; of one hash the newest first. */
static int compare_paths(const void *a, const void *b)
{
	const struct rebuild_path *x = a, *y = b;
	int by_hash = memcmp(x->hash, y->hash, sizeof(x->hash));

	if (by_hash != 0)
		return by_hash;
	if (x->seq != y->seq)
		return x->seq > y->seq ? -1 : 1;
	return (x->place.offset < y->place.offset) - (x->place.offset > y->place.offset);
}

static enum rc check_path(struct rebuild *rebuild, const struct rebuild_path *path, bool *whole,
			  struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct digest key = { .bytes = { 0 } };
	struct path_info info;

	*whole = false;
	memcpy(key.bytes, path->hash, sizeof(path->hash));
	enum rc rc = local_packs_meta(rebuild->packs, &path->place, LOCAL_RECORD_PATH_INFO, &key,
				      &message, err);
	if (rc == RC_OK)
		rc = path_info_decode(buf_view(&message), &info, err);
	if (rc != RC_OK)
		return rc == RC_CORRUPT || rc == RC_INVALID ? RC_OK : rc;
	*whole = memcmp(info.path.hash, path->hash, sizeof(path->hash)) == 0;
	if (*whole && info.node.kind == NODE_FILE)
		rc = has_blob(rebuild, &info.node.digest, whole, err);
	else if (*whole && info.node.kind == NODE_DIRECTORY)
		rc = check_tree(rebuild, &info.node.digest, whole, err);
	if (rc == RC_OK && !*whole) {
		char base[STORE_PATH_BASENAME_MAX + 1];

		store_path_basename(&info.path, base);
		log_warning("%s is not whole, and is left out", base);
	}
	path_info_release(&info);
	return rc;
}

struct path_put {
	const struct rebuild *rebuild;
	const struct rebuild_path *path;
};

static enum rc put_path(struct local_write *write, void *context, struct err *err)
{
	const struct path_put *put = context;
	struct local_path_value value = { put->path->place, put->rebuild->day, put->path->seq };
	uint8_t bytes[LOCAL_PATH_VALUE_SIZE];

	local_path_value_encode(&value, bytes);
	return local_write_put(write, LOCAL_TABLE_PATHS,
			       view_of(put->path->hash, sizeof(put->path->hash)),
			       view_of(bytes, sizeof(bytes)), err);
}

enum rc rebuild_paths(struct rebuild *rebuild, struct err *err)
{
	enum rc rc = RC_OK;

	if (rebuild->path_count > 0)
		qsort(rebuild->paths, rebuild->path_count, sizeof(rebuild->paths[0]),
		      compare_paths);
	for (size_t i = 0; rc == RC_OK && i < rebuild->path_count;) {
		const struct rebuild_path *first = &rebuild->paths[i];
		bool whole = false;

		for (; i < rebuild->path_count &&
		       memcmp(rebuild->paths[i].hash, first->hash, sizeof(first->hash)) == 0;
		     i++) {
			struct path_put put = { rebuild, &rebuild->paths[i] };

			if (whole || rc != RC_OK)
				continue;
			rc = op_check(rebuild->op, err);
			if (rc == RC_OK)
				rc = check_path(rebuild, put.path, &whole, err);
			if (rc == RC_OK && whole)
				rc = local_index_write(rebuild->index, &op_none, put_path, &put,
						       err);
		}
		if (!whole)
			rebuild->stats->dropped_path_infos++;
	}
	return rc;
}
