/* What opening a store makes of it, and of a place where there is none. */
#include "store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static void expect_open(const char *dir, enum local_store_use use, enum rc rc, const char *words)
{
	struct local_store *store;
	struct err err = ERR_INIT;

	assert_int_equal(local_store_open(dir, use, NULL, &store, &err), rc);
	assert_null(store);
	if (!strstr(err.message, words))
		fail_msg("no \"%s\" in: %s", words, err.message);
}

static char *below(const char *dir, const char *name)
{
	return mem_printf("%s/%s", dir, name);
}

static bool exists(const char *dir, const char *name)
{
	AUTO_FREE char *path = below(dir, name);

	return access(path, F_OK) == 0;
}

static void remove_file(const char *dir, const char *name)
{
	AUTO_FREE char *path = below(dir, name);

	assert_int_equal(unlink(path), 0);
}

static unsigned count_names(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static off_t size_of(const char *dir, const char *name)
{
	AUTO_FREE char *path = below(dir, name);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* Puts a file and its path info. */
static struct digest put(struct local_store *store, uint64_t seed)
{
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	uint8_t *bytes = make_bytes(1000, seed);
	struct digest digest = fixture_put(blobs, view_of(bytes, 1000));
	struct path_info info;
	struct err err = ERR_INIT;

	free(bytes);
	fixture_info(&info, &digest, 1000, seed);
	assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
	path_info_release(&info);
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	return digest;
}

static void put_alone(const char *dir, uint64_t seed)
{
	struct local_store *store = fixture_open(dir);

	(void)put(store, seed);
	local_store_unref(store);
}

static bool has(struct local_store *store, uint64_t seed)
{
	struct path_info_service *infos = path_info_local_new(store);
	struct path_info wanted, info;
	struct err err = ERR_INIT;

	fixture_info(&wanted, &digest_empty, 0, seed);
	enum rc rc = path_info_service_get(infos, &op_none, wanted.path.hash, &info, &err);
	path_info_release(&wanted);
	if (rc == RC_OK)
		path_info_release(&info);
	path_info_service_unref(infos);
	return rc == RC_OK;
}

static void rebuild(const char *dir, unsigned paths)
{
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;

	assert_ok(local_store_rebuild_index(dir, &op_none, &stats, &err), &err);
	assert_int_equal(stats.path_infos, paths);
	assert_int_equal(stats.damaged_records, 0);
}

/* Reading makes no store of anything. */
static void test_reading_makes_none(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *nothing = below(dir, "no/where");

	(void)state;
	expect_open(nothing, LOCAL_STORE_READ, RC_NOT_FOUND, nothing);
	expect_open(dir, LOCAL_STORE_READ, RC_NOT_FOUND, dir);
	assert_int_equal(count_names(dir), 0);
	put_alone(nothing, 1);
	struct local_store *store;
	struct err err = ERR_INIT;
	assert_ok(local_store_open(nothing, LOCAL_STORE_READ, NULL, &store, &err), &err);
	assert_false(local_store_read_only(store));
	assert_true(has(store, 1));
	local_store_unref(store);
}

/* Packs without the rest are a store that was lost, and are never begun anew. */
static void test_lost_format(void **state)
{
	static const char *const others[] = { "lock", "index.mdb", "index.mdb-lock", "raw" };
	AUTO_TESTING_DIR char *dir = testing_dir();

	(void)state;
	put_alone(dir, 1);
	put_alone(dir, 2);
	remove_file(dir, "format");
	for (size_t i = 0; i <= ARRAY_LEN(others); i++) {
		off_t before = size_of(dir, "packs/00000001.pack");
		bool had = exists(dir, "index.mdb");

		expect_open(dir, LOCAL_STORE_READ, RC_CORRUPT, "castor index rebuild");
		expect_open(dir, LOCAL_STORE_WRITE, RC_CORRUPT, "castor index rebuild");
		assert_int_equal(size_of(dir, "packs/00000001.pack"), before);
		assert_true(exists(dir, "index.mdb") == had);
		if (i < ARRAY_LEN(others)) {
			AUTO_FREE char *path = below(dir, others[i]);

			assert_int_equal(remove(path), 0);
		}
	}
	rebuild(dir, 2);
	put_alone(dir, 3);
	rebuild(dir, 3);
}

/* Raw files alone say how a store whose `format` was lost is to be read. */
static void test_lost_format_raw(void **state)
{
	static const struct local_policy policy = {
		.compression = LOCAL_COMPRESSION_ZSTD,
		.level = 3,
		.raw_files = 1000,
	};
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, &policy, &store, &err), &err);
	struct digest digest = put(store, 1);
	local_store_unref(store);
	remove_file(dir, "format");
	remove_file(dir, "index.mdb");
	rebuild(dir, 1);
	store = fixture_open(dir);
	assert_true(local_store_policy(store).raw_files != 0);
	struct blob_service *blobs = blob_local_new(store);
	uint8_t *bytes = make_bytes(1000, 1);
	fixture_check(blobs, &digest, view_of(bytes, 1000));
	free(bytes);
	blob_service_unref(blobs);
	local_store_unref(store);
}

static void copy_file(const char *dir, const char *from, const char *to)
{
	AUTO_FREE char *a = below(dir, from), *b = below(dir, to);
	struct buf bytes CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;

	assert_ok(file_read_path(AT_FDCWD, a, 1 << 26, &bytes, &err), &err);
	AUTO_FD int fd = open(b, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(file_write_all(fd, bytes.ptr, bytes.len, b, &err), &err);
}

/* An index that is older than the packs, as after half a backup was restored. */
static void check_old_index(unsigned newer, enum rc expected)
{
	AUTO_TESTING_DIR char *dir = testing_dir();

	put_alone(dir, 1);
	copy_file(dir, "index.mdb", "format.new");
	for (uint64_t i = 0; i < newer; i++)
		put_alone(dir, 2 + i);
	copy_file(dir, "format.new", "index.mdb");
	remove_file(dir, "format.new");
	if (expected == RC_OK) {
		/* Nothing that comes later takes it away. */
		put_alone(dir, 100);
		put_alone(dir, 101);
		rebuild(dir, newer + 3);
		return;
	}
	expect_open(dir, LOCAL_STORE_READ, expected, "castor index rebuild");
	expect_open(dir, LOCAL_STORE_WRITE, expected, "castor index rebuild");
	rebuild(dir, newer + 1);
	put_alone(dir, 100);
	rebuild(dir, newer + 2);
}

static void test_old_index(void **state)
{
	(void)state;
	check_old_index(5, RC_CORRUPT);
	check_old_index(2, RC_CORRUPT);
	/* This may also be a writer that was killed between its packs and the index. */
	check_old_index(1, RC_OK);
}

/* What a killed import left takes no space after the next opening. */
static void test_leftovers(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *pack = below(dir, "packs/00000001.pack");
	AUTO_FREE char *raw = below(dir, "raw/.new-1-2-3");

	(void)state;
	put_alone(dir, 1);
	off_t before = size_of(dir, "packs/00000001.pack");
	int fd = open(pack, O_WRONLY | O_APPEND | O_CLOEXEC);
	static const char tail[50] = "what a killed writer left";
	assert_int_equal(write(fd, tail, sizeof(tail)), sizeof(tail));
	close(fd);
	fd = open(raw, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	struct local_store *store = fixture_open(dir);
	assert_int_equal(size_of(dir, "packs/00000001.pack"), before);
	assert_int_not_equal(access(raw, F_OK), 0);
	assert_true(has(store, 1));
	local_store_unref(store);
}

/* A store of version 1 is read, and not written to. */
static void test_earlier_version(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *archive = testing_golden("store-version-1.tar.gz");
	AUTO_FREE char *command = mem_printf("tar -C '%s' -xzf '%s'", dir, archive);
	AUTO_FREE char *path = below(dir, "store");
	struct local_store *store;
	struct err err = ERR_INIT;
	uint64_t paths;
	struct local_read *read;

	(void)state;
	assert_int_equal(system(command), 0);
	expect_open(path, LOCAL_STORE_WRITE, RC_UNSUPPORTED, "castor copy --all");
	assert_ok(local_store_open(path, LOCAL_STORE_READ, NULL, &store, &err), &err);
	assert_true(local_store_read_only(store));
	assert_ok(local_index_read(store->index, &read, &err), &err);
	assert_ok(local_read_count(read, LOCAL_TABLE_PATHS, &paths, &err), &err);
	assert_int_equal(paths, 2);
	local_read_end(read);
	/* The directories that are checked by CRC, too. */
	struct path_info_service *infos = path_info_local_new(store);
	struct path_info_iter *iter;
	struct path_info info;
	bool end = false;
	assert_ok(path_info_service_list(infos, &op_none, NULL, &iter, &err), &err);
	for (unsigned i = 0; i < 2; i++) {
		assert_ok(path_info_iter_next(iter, &op_none, &info, &end, &err), &err);
		assert_false(end);
		path_info_release(&info);
	}
	path_info_iter_free(iter);
	/* And nothing is stored there. */
	fixture_info(&info, &digest_empty, 0, 5);
	assert_int_equal(path_info_service_put(infos, &op_none, &info, NULL, &err), RC_DENIED);
	path_info_release(&info);
	path_info_service_unref(infos);
	/* Who opened it to read cannot be asked to write. */
	struct local_store *again;
	assert_int_equal(local_store_open(path, LOCAL_STORE_WRITE, NULL, &again, &err), RC_DENIED);
	local_store_unref(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_makes_none), cmocka_unit_test(test_lost_format),
		cmocka_unit_test(test_lost_format_raw),    cmocka_unit_test(test_old_index),
		cmocka_unit_test(test_leftovers),          cmocka_unit_test(test_earlier_version),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
