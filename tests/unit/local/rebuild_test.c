/* The rebuilt index equals the one that was lost; what is damaged or not whole is left out. */
#include "store_fixture.h"

#include <fcntl.h>

#include "castore/directory.h"

/* ---- The index as text, for comparing ---- */

static bool print_entry(void *context, struct view key, struct view value)
{
	struct buf *out = context;

	for (size_t i = 0; i < key.len; i++)
		buf_printf(out, "%02x", key.ptr[i]);
	buf_append_byte(out, ' ');
	for (size_t i = 0; i < value.len; i++)
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

	assert_ok(local_store_open(dir, policy, &store, &err), &err);
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
	assert_int_equal(local_store_open(dir, NULL, &store, &err), RC_CORRUPT);
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

/* The pack of a class, or "" */
static char *pack_of(const char *dir, enum local_pack_class class)
{
	for (uint32_t id = 1; id < 100; id++) {
		char name[LOCAL_PACK_NAME_MAX];
		uint8_t bytes[256];

		local_pack_name(id, name);
		char *path = mem_printf("%s/packs/%s", dir, name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			struct local_record_header header;
			struct local_pack_head head;
			uint8_t payload[LOCAL_PACK_HEAD_SIZE];

			assert_true(read(fd, bytes, sizeof(bytes)) > 0);
			close(fd);
			assert_int_equal(
				local_record_header_decode(view_of(bytes, LOCAL_RECORD_HEADER_SIZE),
							   &header, NULL),
				RC_OK);
			assert_true(local_raw_frame_decode(
				view_of(bytes + LOCAL_RECORD_HEADER_SIZE, header.stored),
				header.raw, payload));
			assert_int_equal(local_pack_head_decode(view_of(payload, sizeof(payload)),
								&head, NULL),
					 RC_OK);
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
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
