/* The rebuilt index equals the one that was lost; what is damaged or not whole is left out. */
#include "store_fixture.h"

#include <fcntl.h>

#include "base/crc32c.h"
#include "castore/directory.h"
#include "local/pack_scan.h"
#include "local/rebuild_internal.h"

/* ---- The index as text, for comparing ---- */

static bool print_entry(void *context, struct view key, struct view value)
{
	struct buf *out = context;

	for (size_t i = 0; i < key.len; i++)
		buf_printf(out, "%02x", key.ptr[i]);
	buf_append_byte(out, ' ');
	/* But for the stamps of packs: tests change files behind castor's back. */
	size_t len = value.len == LOCAL_PACK_VALUE_SIZE ? value.len - 8 : value.len;
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", value.ptr[i]);
	buf_append_byte(out, '\n');
	return true;
}

/* Everything but the counters. */
static void dump(const char *dir, struct buf *out)
{
	struct local_store *store = fixture_open(dir);
	struct local_read *read;
	struct err err = ERR_INIT;

	buf_clear(out);
	assert_ok(local_index_read(store->index, &read, &err), &err);
	for (int table = 0; table < LOCAL_TABLE_COUNTERS; table++) {
		buf_printf(out, "table %d\n", table);
		assert_ok(local_read_scan(read, (enum local_table)table, view_of(NULL, 0),
					  print_entry, out, &err),
			  &err);
	}
	local_read_end(read);
	local_store_unref(store);
}

static void rebuild(const char *dir, struct local_rebuild_stats *stats)
{
	struct err err = ERR_INIT;

	assert_ok(local_store_rebuild_index(dir, &op_none, stats, &err), &err);
}

/* ---- Filling ---- */

static struct digest put_directory(struct directory_service *dirs, const struct node *nodes,
				   size_t count, struct directory_put *put)
{
	struct directory *dir;
	struct err err = ERR_INIT;

	(void)dirs;
	assert_ok(directory_from_nodes(nodes, count, &dir, &err), &err);
	struct digest digest = *directory_digest(dir);
	assert_ok(directory_put_add(put, &op_none, dir, &err), &err);
	directory_unref(dir);
	return digest;
}

/* A tree of two directories with a small and a large file, and its path info. */
static void put_tree(struct local_store *store, uint64_t seed)
{
	struct blob_service *blobs = blob_local_new(store);
	struct directory_service *dirs = directory_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	struct nar_facts_store *facts = nar_facts_local_new(store);
	size_t sizes[2] = { 1000 + seed, (2 << 20) + seed * 1000 };
	struct digest digests[2];
	struct directory_put *put;
	struct err err = ERR_INIT;

	for (int i = 0; i < 2; i++) {
		uint8_t *bytes = make_bytes(sizes[i], seed * 2 + (uint64_t)i);

		digests[i] = fixture_put(blobs, view_of(bytes, sizes[i]));
		free(bytes);
	}
	assert_ok(directory_service_open_put(dirs, &op_none, &put, &err), &err);
	struct node file = { .kind = NODE_FILE,
			     .name = view_of_string("small"),
			     .digest = digests[0],
			     .size = sizes[0] };
	struct digest below = put_directory(dirs, &file, 1, put);
	struct node nodes[2] = { { .kind = NODE_DIRECTORY,
				   .name = view_of_string("below"),
				   .digest = below,
				   .size = 2 },
				 { .kind = NODE_FILE,
				   .name = view_of_string("large"),
				   .digest = digests[1],
				   .size = sizes[1] } };
	struct digest root = put_directory(dirs, nodes, 2, put);
	assert_ok(directory_put_close(put, &op_none, &root, &err), &err);
	directory_put_free(put);

	struct path_info info;
	fixture_info(&info, &digests[0], sizes[0], seed);
	info.node.kind = NODE_DIRECTORY;
	info.node.digest = root;
	info.node.size = 6;
	struct nar_facts fact = { .nar_size = seed };
	assert_ok(nar_facts_store_put(facts, &op_none, &info.node, &fact, &err), &err);
	assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
	path_info_release(&info);
	nar_facts_store_unref(facts);
	path_info_service_unref(infos);
	directory_service_unref(dirs);
	blob_service_unref(blobs);
}

static void fill(const char *dir, const struct local_policy *policy, unsigned trees)
{
	struct local_store *store;
	struct err err = ERR_INIT;

	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, policy, &store, &err), &err);
	for (unsigned i = 1; i <= trees; i++)
		put_tree(store, i);
	local_store_unref(store);
}

static void check_equal(const struct local_policy *policy)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *index = mem_printf("%s/index.mdb", dir);
	struct buf before = BUF_INIT, after = BUF_INIT;
	struct local_rebuild_stats stats;

	fill(dir, policy, 5);
	dump(dir, &before);
	assert_int_equal(unlink(index), 0);
	struct local_store *store;
	struct err err = ERR_INIT;
	assert_int_equal(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err), RC_CORRUPT);
	assert_non_null(strstr(err.message, "castor index rebuild"));
	rebuild(dir, &stats);
	dump(dir, &after);
	assert_string_equal(buf_string(&before), buf_string(&after));
	assert_int_equal(stats.path_infos, 5);
	assert_int_equal(stats.directories, 10);
	assert_int_equal(stats.dropped_path_infos, 0);
	assert_int_equal(stats.damaged_records, 0);
	/* And it goes on from there. */
	store = fixture_open(dir);
	put_tree(store, 99);
	local_store_unref(store);
	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 6);
	buf_release(&before);
	buf_release(&after);
}

static void test_equal(void **state)
{
	(void)state;
	check_equal(NULL);
}

static void test_equal_raw_files(void **state)
{
	static const struct local_policy policy = {
		.compression = LOCAL_COMPRESSION_ZSTD,
		.level = 3,
		.raw_files = 64 << 10,
	};

	(void)state;
	check_equal(&policy);
}

static void test_equal_not_compressed(void **state)
{
	static const struct local_policy policy = { .compression = LOCAL_COMPRESSION_NONE };

	(void)state;
	check_equal(&policy);
}

static uint64_t file_size(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

/* The pack of a class, or "" */
static char *pack_of(const char *dir, enum local_pack_class class)
{
	for (uint32_t id = 1; id < 100; id++) {
		char name[LOCAL_PACK_NAME_MAX];

		local_pack_name(id, name);
		char *path = mem_printf("%s/packs/%s", dir, name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			struct local_pack_head head;

			assert_int_equal(local_pack_head_read(fd, file_size(fd), &head, NULL),
					 RC_OK);
			close(fd);
			if (head.class == class)
				return path;
		}
		free(path);
	}
	fail_msg("no pack of class %d", class);
	return NULL;
}

static void append(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

/* What lies behind the last commit: half a record, a whole one, garbage. */
static void test_tail(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct buf before = BUF_INIT, after = BUF_INIT;
	struct local_rebuild_stats stats;

	(void)state;
	fill(dir, NULL, 3);
	dump(dir, &before);
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		AUTO_FREE char *path = pack_of(dir, (enum local_pack_class)i);
		uint8_t bytes[1000];
		FILE *file = fopen(path, "r");

		/* The first records again, without a commit after them. */
		assert_non_null(file);
		size_t got = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		append(path, bytes, got);
		testing_fill_seeded(5, bytes, sizeof(bytes));
		append(path, bytes, sizeof(bytes));
	}
	rebuild(dir, &stats);
	dump(dir, &after);
	assert_string_equal(buf_string(&before), buf_string(&after));
	assert_int_equal(stats.damaged_records, 0);
	/* The next writer cuts the tails off. */
	struct local_store *store = fixture_open(dir);
	put_tree(store, 50);
	local_store_unref(store);
	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 4);
	assert_int_equal(stats.damaged_records, 0);
	buf_release(&before);
	buf_release(&after);
}

/* A flipped byte in any place of a pack costs at most what lies there. */
static void test_damage(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_rebuild_stats stats;

	(void)state;
	fill(dir, NULL, 3);
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		AUTO_FREE char *path = pack_of(dir, (enum local_pack_class)i);
		struct stat st;

		assert_int_equal(stat(path, &st), 0);
		for (off_t at = 0; at < st.st_size; at += st.st_size / 23 + 1) {
			int fd = open(path, O_RDWR | O_CLOEXEC);
			uint8_t byte;

			assert_int_equal(pread(fd, &byte, 1, at), 1);
			byte ^= 0x10;
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			rebuild(dir, &stats);
			assert_true(stats.path_infos + stats.dropped_path_infos <= 3);
			/* The last record of a pack is its commit. */
			assert_true(stats.path_infos >= 1 || i == LOCAL_PACK_META ||
				    stats.damaged_records <= 1);
			byte ^= 0x10;
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			close(fd);
		}
	}
	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 3);
}

/* A lost pack: path infos that need it are dropped, others stay. */
static void test_lost_pack(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_rebuild_stats stats;

	(void)state;
	fill(dir, NULL, 3);
	AUTO_FREE char *path = pack_of(dir, LOCAL_PACK_LARGE);
	assert_int_equal(unlink(path), 0);
	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 0);
	assert_int_equal(stats.dropped_path_infos, 3);
	assert_int_equal(stats.blobs, 0);
	assert_int_equal(stats.directories, 6);
}

/* Of two path infos of one path the later wins; if it is not whole, the earlier does. */
static void test_replaced(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	struct digest digest = fixture_put(blobs, view_of_string("here"));
	struct digest absent = digest_of(view_of_string("not here"));
	struct path_info info;
	struct err err = ERR_INIT;
	struct local_rebuild_stats stats;
	uint8_t hash[STORE_PATH_HASH_SIZE];

	(void)state;
	for (int i = 0; i < 3; i++) {
		fixture_info(&info, i == 2 ? &absent : &digest, 4, 7);
		info.nar_size = (uint64_t)i + 100;
		memcpy(hash, info.path.hash, sizeof(hash));
		assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
		path_info_release(&info);
	}
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);

	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 1);
	assert_int_equal(stats.dropped_path_infos, 0);
	store = fixture_open(dir);
	infos = path_info_local_new(store);
	assert_ok(path_info_service_get(infos, &op_none, hash, &info, &err), &err);
	assert_int_equal(info.nar_size, 101);
	path_info_release(&info);
	path_info_service_unref(infos);
	local_store_unref(store);
}

/* ---- What was never committed ---- */

struct ends {
	struct local_read *read;
	size_t places;
};

static void check_end(struct ends *ends, const struct local_place *place)
{
	struct local_pack_value pack;
	uint8_t key[LOCAL_PACK_KEY_SIZE];
	struct view value;

	if (place->pack == 0)
		return;
	local_pack_key_encode(place->pack, key);
	assert_int_equal(local_read_get(ends->read, LOCAL_TABLE_PACKS, view_of(key, sizeof(key)),
					&value, NULL),
			 RC_OK);
	assert_int_equal(local_pack_value_decode(value, &pack, NULL), RC_OK);
	assert_true(local_place_end(place) <= pack.end);
	ends->places++;
}

static bool check_place_end(void *context, struct view key, struct view bytes)
{
	struct local_place_value value;

	(void)key;
	assert_int_equal(local_place_value_decode(bytes, &value, NULL), RC_OK);
	check_end(context, &value.place);
	return true;
}

static bool check_path_end(void *context, struct view key, struct view bytes)
{
	struct local_path_value value;

	(void)key;
	assert_int_equal(local_path_value_decode(bytes, &value, NULL), RC_OK);
	check_end(context, &value.place);
	return true;
}

static bool check_blob_end(void *context, struct view key, struct view bytes)
{
	struct local_blob_value value;

	(void)key;
	assert_int_equal(local_blob_value_decode(bytes, &value, NULL), RC_OK);
	for (uint32_t i = 0; i < value.segments; i++) {
		struct local_blob_segment segment;

		local_blob_segment(&value, i, &segment);
		check_end(context, &segment.place);
	}
	return true;
}

/* Every place lies within what is committed of its pack. */
static void check_ends(const char *dir)
{
	struct local_store *store = fixture_open(dir);
	struct ends ends = { .places = 0 };
	struct err err = ERR_INIT;

	assert_ok(local_index_read(store->index, &ends.read, &err), &err);
	assert_ok(local_read_scan(ends.read, LOCAL_TABLE_CHUNKS, view_of(NULL, 0), check_place_end,
				  &ends, &err),
		  &err);
	assert_ok(local_read_scan(ends.read, LOCAL_TABLE_DIRECTORIES, view_of(NULL, 0),
				  check_place_end, &ends, &err),
		  &err);
	assert_ok(local_read_scan(ends.read, LOCAL_TABLE_BLOBS, view_of(NULL, 0), check_blob_end,
				  &ends, &err),
		  &err);
	assert_ok(local_read_scan(ends.read, LOCAL_TABLE_PATHS, view_of(NULL, 0), check_path_end,
				  &ends, &err),
		  &err);
	local_read_end(ends.read);
	assert_true(ends.places > 0);
	local_store_unref(store);
}

/* A commit that a flush follows, and then records without one: they do not count. */
static void test_flush(void **state)
{
	static const size_t sizes[] = { 1, 3, 5, 1000 };
	size_t before = local_rebuild_flush_entries;
	struct local_rebuild_stats stats;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		AUTO_TESTING_DIR char *dir = testing_dir();

		fill(dir, NULL, 4);
		for (int class = 0; class < LOCAL_PACK_CLASSES_; class ++) {
			AUTO_FREE char *path = pack_of(dir, (enum local_pack_class) class);
			struct stat st;

			/* Before the last commit record. */
			assert_int_equal(stat(path, &st), 0);
			assert_int_equal(truncate(path, st.st_size - LOCAL_RECORD_HEADER_SIZE -
								(off_t)local_raw_frame_size(
									LOCAL_COMMIT_SIZE)),
					 0);
		}
		local_rebuild_flush_entries = sizes[i];
		rebuild(dir, &stats);
		local_rebuild_flush_entries = before;
		assert_int_equal(stats.path_infos, 3);
		check_ends(dir);
		/* So the next writer takes nothing away. */
		struct local_store *store = fixture_open(dir);
		put_tree(store, 4);
		put_tree(store, 5);
		local_store_unref(store);
		check_ends(dir);
		rebuild(dir, &stats);
		assert_int_equal(stats.path_infos, 5);
		assert_int_equal(stats.dropped_path_infos, 0);
	}
}

/* ---- Stored bytes that look like records ---- */

/* A record of an empty blob's data, as somebody would forge it. */
static void forge(struct buf *out, uint8_t kind, uint64_t seq, uint64_t salt)
{
	uint8_t frame[64], header[LOCAL_RECORD_HEADER_SIZE];
	size_t size = local_raw_frame_size(0);
	struct local_record_header forged = {
		.kind = kind, .seq = seq, .raw = 0, .stored = (uint32_t)size
	};

	memset(forged.digest.bytes, 0xee, DIGEST_SIZE);
	local_raw_frame_encode(view_of(NULL, 0), frame);
	local_record_seal(&forged, crc32c(0, frame, size), salt, header);
	buf_append(out, header, sizeof(header));
	buf_append(out, frame, size);
}

/* How many records of that kind and of the forger's digest a scan finds. */
static unsigned count_forged(const char *path, uint64_t *max_seq)
{
	struct local_scanned record;
	struct local_scan scan;
	struct err err = ERR_INIT;
	unsigned found = 0;
	bool end = false;
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_ok(local_scan_init(&scan, fd, path, 0, &err), &err);
	for (;;) {
		assert_ok(local_scan_next(&scan, &record, &end, &err), &err);
		if (end)
			break;
		found += record.header.digest.bytes[0] == 0xee &&
			 record.header.digest.bytes[31] == 0xee;
		*max_seq = record.header.seq > *max_seq ? record.header.seq : *max_seq;
	}
	assert_true(scan.damaged > 0);
	local_scan_release(&scan);
	return found;
}

static void check_forged(uint8_t kind, uint64_t seq, bool knows_salt, unsigned expected)
{
	static const struct local_policy policy = { .compression = LOCAL_COMPRESSION_NONE };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	struct local_pack_head head = { .salt = 0 };
	struct local_rebuild_stats stats;
	uint64_t max_seq = 0;

	fill(dir, &policy, 1);
	AUTO_FREE char *path = pack_of(dir, LOCAL_PACK_SMALL);
	AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(local_pack_head_read(fd, file_size(fd), &head, NULL), RC_OK);
	uint64_t at = file_size(fd);
	for (int i = 0; i < 100; i++)
		forge(&bytes, kind, seq, knows_salt ? head.salt : 0);
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	(void)fixture_put(blobs, buf_view(&bytes));
	blob_service_unref(blobs);
	local_store_unref(store);
	/* The header of the chunk that holds them. */
	assert_int_equal(pwrite(fd, "", 1, (off_t)at), 1);
	assert_int_equal(count_forged(path, &max_seq), expected);
	assert_true(expected > 0 || max_seq < 1000);
	rebuild(dir, &stats);
	assert_int_equal(stats.path_infos, 1);
	store = fixture_open(dir);
	put_tree(store, 2);
	local_store_unref(store);
}

static void test_forged(void **state)
{
	(void)state;
	check_forged(LOCAL_RECORD_CHUNK, 5, false, 0);
	check_forged(LOCAL_RECORD_PATH_INFO, UINT64_C(1) << 40, false, 0);
	check_forged(LOCAL_RECORD_COMMIT, 5, false, 0);
	/* Those who can read the packs know the salt. */
	check_forged(LOCAL_RECORD_PATH_INFO, 5, true, 0);
	check_forged(LOCAL_RECORD_PACK, 5, true, 0);
	check_forged(LOCAL_RECORD_CHUNK, UINT64_MAX, true, 0);
	/* So that it is not something else that hides them. */
	check_forged(LOCAL_RECORD_CHUNK, 5, true, 100);
}

/* Two packs never have one salt. */
static void test_salts(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	uint64_t salts[LOCAL_PACK_CLASSES_];

	(void)state;
	fill(dir, NULL, 1);
	for (int i = 0; i < LOCAL_PACK_CLASSES_; i++) {
		AUTO_FREE char *path = pack_of(dir, (enum local_pack_class)i);
		AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
		struct local_pack_head head, again;

		assert_int_equal(local_pack_head_read(fd, file_size(fd), &head, NULL), RC_OK);
		assert_int_equal(head.version, 2);
		salts[i] = head.salt;
		for (int k = 0; k < i; k++)
			assert_true(salts[k] != salts[i]);
		/* The commit at its end says the same, where the beginning is damaged. */
		assert_int_equal(pwrite(fd, "x", 1, 70), 1);
		assert_int_equal(local_pack_head_read(fd, file_size(fd), &again, NULL), RC_OK);
		assert_true(again.salt == head.salt && again.id == head.id &&
			    again.class == head.class);
		assert_int_equal(pwrite(fd, "x", 1, (off_t)file_size(fd) - 1), 1);
		assert_int_equal(local_pack_head_read(fd, file_size(fd), &again, NULL), RC_CORRUPT);
		assert_int_equal(unlink(path), 0);
	}
}

static void test_busy(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(local_store_rebuild_index(dir, &op_none, &stats, &err), RC_BUSY);
	local_store_unref(store);
	rebuild(dir, &stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_equal_raw_files),
		cmocka_unit_test(test_equal_not_compressed),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_lost_pack),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_salts),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
