/*
 * Damaged stores: a damaged index is noticed when it is opened, or reads end in an error, never in
 * a signal; damaged packs and raw files give RC_CORRUPT that names digest and place; stores of
 * newer versions are refused.
 *
 * The program starts itself again as a reader, to see how that ends.
 */
#include "store_fixture.h"

#include "service/scratch/scratch_store.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <lmdb.h>

enum { SMALL_BLOBS = 600, PATHS = 40 };

static size_t size_of(unsigned i)
{
	return i == 0 ? 3 << 20 : 10 + i;
}

static void fill(const char *dir, const struct local_policy *policy)
{
	struct local_store *store;
	struct err err = ERR_INIT;

	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, policy, &store, &err), &err);
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	struct blob_batch *batch;
	struct digest digest;
	assert_ok(blob_service_open_batch(blobs, &op_none, &batch, &err), &err);
	for (unsigned i = 0; i < SMALL_BLOBS; i++) {
		uint8_t *bytes = make_bytes(size_of(i), i);

		assert_ok(fixture_add(batch, view_of(bytes, size_of(i)), &digest, &err), &err);
		free(bytes);
	}
	assert_ok(blob_batch_commit(batch, &op_none, &err), &err);
	blob_batch_free(batch);
	for (unsigned i = 0; i < PATHS; i++) {
		struct path_info info;

		fixture_info(&info, &digest, size_of(SMALL_BLOBS - 1), i);
		assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
		path_info_release(&info);
	}
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);
}

/* ---- The reader ---- */

enum { READ_WELL = 0, READ_REFUSED = 10, READ_DAMAGED = 11, READ_WRONG = 12 };

static void note(int *worst, enum rc rc)
{
	if (rc != RC_OK && *worst == READ_WELL)
		*worst = READ_DAMAGED;
}

/* Reads everything that fill stored, and adds a blob. */
static int helper_read(const char *dir)
{
	struct local_store *store;
	struct err err = ERR_INIT;
	int worst = READ_WELL;
	enum rc rc = local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err);

	if (rc != RC_OK)
		return rc == RC_CORRUPT && strstr(err.message, "castor index rebuild")
			       ? READ_REFUSED
			       : READ_WRONG;
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	for (unsigned i = 0; i < SMALL_BLOBS; i++) {
		uint8_t *bytes = make_bytes(size_of(i), i);
		struct digest digest = digest_of(view_of(bytes, size_of(i)));
		struct buf got = BUF_INIT;

		rc = blob_service_get(blobs, &op_none, &digest, SIZE_MAX, &got, &err);
		note(&worst, rc);
		if (rc == RC_OK && !view_equal(buf_view(&got), view_of(bytes, size_of(i))))
			worst = READ_WRONG;
		buf_release(&got);
		free(bytes);
	}
	struct path_info_iter *iter = NULL;
	bool end = false;
	rc = path_info_service_list(infos, &op_none, NULL, &iter, &err);
	while (rc == RC_OK && !end) {
		struct path_info info;

		rc = path_info_iter_next(iter, &op_none, &info, &end, &err);
		if (rc == RC_OK && !end)
			path_info_release(&info);
	}
	note(&worst, rc);
	path_info_iter_free(iter);
	struct digest digest;
	note(&worst, blob_service_put(blobs, &op_none, view_of_string("one more"), &digest, &err));
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);
	return worst;
}

static int read_elsewhere(const char *dir)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/proc/self/exe", "damage", "read", dir, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("the reader ended by signal %d", WTERMSIG(status));
	assert_int_not_equal(WEXITSTATUS(status), 127);
	return WEXITSTATUS(status);
}

/* ---- The index ---- */

static void copy_index(const char *from, const char *to)
{
	AUTO_FREE char *command = mem_printf("rm -rf '%s' && cp -r '%s' '%s'", to, from, to);

	assert_int_equal(system(command), 0);
}

static void damage_file(struct testing_random *random, const char *path, unsigned kind)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	uint8_t bytes[4096];

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	off_t page = (off_t)(testing_next(random) % (uint64_t)(st.st_size / 4096)) * 4096;
	assert_int_equal(pread(fd, bytes, sizeof(bytes), page), sizeof(bytes));
	if (kind == 0) {
		testing_fill(random, bytes, sizeof(bytes));
	} else if (kind == 1) {
		memset(bytes, 0, sizeof(bytes));
	} else if (kind == 2) {
		/* Where the structure is: the head of the page. */
		for (int i = 0; i < 3; i++)
			bytes[testing_next(random) % 64] = (uint8_t)testing_next(random);
	} else {
		for (int i = 0; i < 8; i++)
			bytes[testing_next(random) % sizeof(bytes)] ^=
				(uint8_t)(1 + testing_next(random) % 255);
	}
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), page), sizeof(bytes));
	close(fd);
}

static void test_index(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_TESTING_DIR char *copy = mem_printf("%s.copy", dir);
	struct testing_random random = testing_random_from_env();
	AUTO_FREE char *index = mem_printf("%s/index.mdb", copy);
	unsigned ends[16] = { 0 };

	(void)state;
	fill(dir, NULL);
	for (unsigned round = 0; round < 60; round++) {
		copy_index(dir, copy);
		damage_file(&random, index, round % 4);
		int end = read_elsewhere(copy);
		assert_int_not_equal(end, READ_WRONG);
		assert_true(end < 16);
		ends[end]++;
	}
	print_message("%u unharmed, %u refused, %u with errors\n", ends[READ_WELL],
		      ends[READ_REFUSED], ends[READ_DAMAGED]);
	assert_true(ends[READ_REFUSED] >= 5);

	for (unsigned part = 0; part < 8; part++) {
		struct stat st;

		copy_index(dir, copy);
		assert_int_equal(stat(index, &st), 0);
		assert_int_equal(truncate(index, st.st_size * part / 8), 0);
		assert_int_equal(read_elsewhere(copy), READ_REFUSED);
	}
}

static void change_word(struct testing_random *random, const char *path, off_t at, unsigned kind)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint64_t word;

	assert_int_equal(pread(fd, &word, sizeof(word), at), sizeof(word));
	if (kind == 0)
		word = word ? 0 : UINT64_MAX;
	else if (kind == 1)
		word = testing_next(random);
	else if (kind == 2)
		word ^= UINT64_C(1) << testing_below(random, 64);
	else
		word += 1 + testing_below(random, 3);
	assert_int_equal(pwrite(fd, &word, sizeof(word), at), sizeof(word));
	close(fd);
}

/* What LMDB reads first, and trusts: each word of both meta pages. */
static void test_index_start(void **state)
{
	enum { PAGE = 4096, WORDS = 21, KINDS = 4 };
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_TESTING_DIR char *copy = mem_printf("%s.copy", dir);
	AUTO_FREE char *index = mem_printf("%s/index.mdb", copy);
	struct testing_random random = testing_random_from_env();
	unsigned refused = 0;

	(void)state;
	fill(dir, NULL);
	for (unsigned i = 0; i < 2 * WORDS * KINDS; i++) {
		off_t at = PAGE * (i / KINDS / WORDS) + 8 * (i / KINDS % WORDS);

		copy_index(dir, copy);
		change_word(&random, index, at, i % KINDS);
		int end = read_elsewhere(copy);
		if (end == READ_WRONG)
			fail_msg("kind %u at %jd", i % KINDS, (intmax_t)at);
		refused += end == READ_REFUSED;
	}
	print_message("%u of %d refused\n", refused, 2 * WORDS * KINDS);
	assert_true(refused >= 20);
}

/* ---- Packs and raw files ---- */

/* Every blob: right, or RC_CORRUPT with its digest. Returns how many were damaged. */
static unsigned count_damaged(const char *dir, const char *place)
{
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	unsigned damaged = 0;

	for (unsigned i = 0; i < SMALL_BLOBS; i++) {
		uint8_t *bytes = make_bytes(size_of(i), i);
		struct digest digest = digest_of(view_of(bytes, size_of(i)));
		struct buf got = BUF_INIT;
		struct err err = ERR_INIT;

		enum rc rc = blob_service_get(blobs, &op_none, &digest, SIZE_MAX, &got, &err);
		if (rc == RC_OK) {
			assert_true(view_equal(buf_view(&got), view_of(bytes, size_of(i))));
		} else {
			char hex[DIGEST_HEX_MAX];

			damaged++;
			assert_int_equal(rc, RC_CORRUPT);
			digest_hex(&digest, hex);
			if (i > 0 && !strstr(err.message, hex))
				fail_msg("no digest in: %s", err.message);
			if (!strstr(err.message, place))
				fail_msg("no \"%s\" in: %s", place, err.message);
		}
		buf_release(&got);
		free(bytes);
	}
	blob_service_unref(blobs);
	local_store_unref(store);
	return damaged;
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void check_packs(const struct local_policy *policy)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct stat st;

	fill(dir, policy);
	for (unsigned id = 1; id <= 3; id++) {
		AUTO_FREE char *path = mem_printf("%s/packs/%08x.pack", dir, id);
		AUTO_FREE char *name = mem_printf("pack %08x.pack", id);
		unsigned damaged = 0;

		assert_int_equal(stat(path, &st), 0);
		for (off_t at = 97; at < st.st_size; at += st.st_size / 13) {
			flip(path, at);
			damaged += count_damaged(dir, name);
			flip(path, at);
		}
		assert_int_equal(count_damaged(dir, name), 0);
		print_message("pack %u: %u\n", id, damaged);
		assert_true(damaged > 0 || id == 2);
		/* Cut short. */
		AUTO_FREE char *copy = mem_printf("%s.copy", path);
		AUTO_FREE char *command = mem_printf("cp '%s' '%s'", path, copy);
		assert_int_equal(system(command), 0);
		assert_int_equal(truncate(path, st.st_size / 2), 0);
		assert_true(count_damaged(dir, name) > 0 || id == 2);
		assert_int_equal(rename(copy, path), 0);
	}
}

static void test_packs(void **state)
{
	(void)state;
	check_packs(NULL);
}

static void test_packs_not_compressed(void **state)
{
	static const struct local_policy policy = { .compression = LOCAL_COMPRESSION_NONE };

	(void)state;
	check_packs(&policy);
}

static void test_raw_file(void **state)
{
	static const struct local_policy policy = {
		.compression = LOCAL_COMPRESSION_ZSTD,
		.level = 3,
		.raw_files = 1 << 20,
	};
	AUTO_TESTING_DIR char *dir = testing_dir();
	char name[LOCAL_RAW_NAME_MAX];
	uint8_t *bytes = make_bytes(size_of(0), 0);
	struct digest digest = digest_of(view_of(bytes, size_of(0)));

	(void)state;
	free(bytes);
	fill(dir, &policy);
	local_raw_name(&digest, name);
	AUTO_FREE char *path = mem_printf("%s/raw/%s", dir, name);
	assert_int_equal(count_damaged(dir, "raw file"), 0);
	flip(path, 2000000);
	assert_int_equal(count_damaged(dir, "raw file"), 1);
	flip(path, 2000000);
	assert_int_equal(truncate(path, 1000000), 0);
	assert_int_equal(count_damaged(dir, "raw file"), 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(count_damaged(dir, "raw file"), 1);
}

/* ---- Versions, and what is no store ---- */

static void write_file(const char *dir, const char *name, const char *text)
{
	AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void expect_open(const char *dir, enum rc rc, const char *words)
{
	struct local_store *store;
	struct err err = ERR_INIT;

	assert_int_equal(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err), rc);
	assert_null(store);
	if (!strstr(err.message, words))
		fail_msg("no \"%s\" in: %s", words, err.message);
}

static void test_versions(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct err err = ERR_INIT;
	struct local_rebuild_stats stats;

	(void)state;
	fill(dir, NULL);
	write_file(dir, "format", "castor local store\nversion 3\nwhat else\n");
	expect_open(dir, RC_UNSUPPORTED, "version 3");
	assert_int_equal(local_store_rebuild_index(dir, &op_none, &stats, &err), RC_UNSUPPORTED);
	write_file(dir, "format", "something else\n");
	expect_open(dir, RC_CORRUPT, "format");
	write_file(dir, "format", "castor local store\nversion 2\ncompression zstd:3\nraw-files");
	expect_open(dir, RC_CORRUPT, "format");
}

static void test_no_store(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();

	(void)state;
	write_file(dir, "mine", "");
	expect_open(dir, RC_FAILED_PRECONDITION, "mine");
}

/* An index of a castor that knew no scratch gets its tables. */
static void test_no_scratch(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *path = mem_printf("%s/index.mdb", dir);
	struct digest key = digest_of(view_of_string("key"));
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct scratch_store *scratch;
	struct local_store *store;
	struct err err = ERR_INIT;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	(void)state;
	fill(dir, NULL);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
	/* Not the size that the file wishes for: a sanitizer leaves less address space. */
	assert_int_equal(mdb_env_set_mapsize(env, (size_t)1 << 26), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "pending-uploads", 0, &dbi), 0);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);

	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &store, &err), &err);
	scratch = scratch_local_new(store);
	assert_ok(scratch_store_put(scratch, &op_none, SCRATCH_PENDING_UPLOADS, &key,
				    view_of_string("value"), &err),
		  &err);
	assert_ok(scratch_store_get(scratch, &op_none, SCRATCH_PENDING_UPLOADS, &key, &out, &err),
		  &err);
	scratch_store_unref(scratch);
	local_store_unref(store);
}

/* What is not wished for stays as it is; what is must be so. */
static void test_wishes(void **state)
{
	static const struct local_policy made = { .compression = LOCAL_COMPRESSION_ANY,
						  .raw_files = 1 << 20 },
					 level = { .compression = LOCAL_COMPRESSION_ZSTD,
						   .level = 3,
						   .raw_files = LOCAL_RAW_FILES_ANY },
					 other = { .compression = LOCAL_COMPRESSION_ZSTD,
						   .level = 4,
						   .raw_files = LOCAL_RAW_FILES_ANY };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, &made, &store, &err), &err);
	assert_int_equal(local_store_policy(store).compression, LOCAL_COMPRESSION_ZSTD);
	assert_int_equal(local_store_policy(store).level, 3);
	local_store_unref(store);
	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, &level, &store, &err), &err);
	assert_int_equal(local_store_policy(store).raw_files, 1 << 20);
	local_store_unref(store);
	assert_int_equal(local_store_open(dir, LOCAL_STORE_WRITE, &other, &store, &err),
			 RC_FAILED_PRECONDITION);
	assert_non_null(strstr(err.message, "compression"));
	assert_int_equal(
		local_store_open(dir, LOCAL_STORE_WRITE, &local_policy_default, &store, &err),
		RC_FAILED_PRECONDITION);
	assert_non_null(strstr(err.message, "raw-files"));
}

static void test_policies(void **state)
{
	static const struct local_policy none = { .compression = LOCAL_COMPRESSION_NONE };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store, *again;
	struct err err = ERR_INIT;

	(void)state;
	for (int open = 0; open < 2; open++) {
		assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, &none, &store, &err), &err);
		assert_int_equal(local_store_policy(store).compression, LOCAL_COMPRESSION_NONE);
		/* Also while it is open, and whatever it is if nothing is asked for. */
		assert_int_equal(local_store_open(dir, LOCAL_STORE_WRITE, &local_policy_default,
						  &again, &err),
				 RC_FAILED_PRECONDITION);
		assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, NULL, &again, &err), &err);
		local_store_unref(again);
		local_store_unref(store);
		assert_int_equal(local_store_open(dir, LOCAL_STORE_WRITE, &local_policy_default,
						  &again, &err),
				 RC_FAILED_PRECONDITION);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index),    cmocka_unit_test(test_index_start),
		cmocka_unit_test(test_packs),    cmocka_unit_test(test_packs_not_compressed),
		cmocka_unit_test(test_raw_file), cmocka_unit_test(test_versions),
		cmocka_unit_test(test_no_store), cmocka_unit_test(test_policies),
		cmocka_unit_test(test_wishes),   cmocka_unit_test(test_no_scratch),
	};

	if (argc == 3)
		return helper_read(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
