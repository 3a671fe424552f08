/* What is damaged is absent to a writer: storing the same bytes again makes it whole. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "castore/directory.h"
#include "local/sound.h"

enum { SMALL, LARGE, BLOBS };
static const size_t sizes[BLOBS] = { [SMALL] = 5000, [LARGE] = 3 << 20 };

static struct directory *make_directory(const struct digest *digest)
{
	struct node file = { .kind = NODE_FILE,
			     .name = view_of_string("file"),
			     .digest = *digest,
			     .size = sizes[SMALL] };
	struct directory *dir;
	struct err err = ERR_INIT;

	assert_ok(directory_from_nodes(&file, 1, &dir, &err), &err);
	return dir;
}

/* Blobs and a directory, as an import brings them. */
static void put_all(const char *dir, const struct local_policy *policy,
		    struct digest digests[BLOBS])
{
	struct local_store *store;
	struct directory_put *put;
	struct err err = ERR_INIT;

	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, policy, &store, &err), &err);
	struct blob_service *blobs = blob_local_new(store);
	struct directory_service *dirs = directory_local_new(store);
	for (int i = 0; i < BLOBS; i++) {
		uint8_t *bytes = make_bytes(sizes[i], (uint64_t)i);

		digests[i] = fixture_put(blobs, view_of(bytes, sizes[i]));
		free(bytes);
	}
	struct directory *directory = make_directory(&digests[SMALL]);
	assert_ok(directory_service_open_put(dirs, &op_none, &put, &err), &err);
	assert_ok(directory_put_add(put, &op_none, directory, &err), &err);
	struct digest root = *directory_digest(directory);
	assert_ok(directory_put_close(put, &op_none, &root, &err), &err);
	directory_put_free(put);
	directory_unref(directory);
	directory_service_unref(dirs);
	blob_service_unref(blobs);
	local_store_unref(store);
}

/* What a writer is told to be there. */
static unsigned known(const char *dir, const struct digest digests[BLOBS])
{
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct directory_service *dirs = directory_local_new(store);
	struct directory *directory = make_directory(&digests[SMALL]);
	bool there[BLOBS + 1];
	struct err err = ERR_INIT;
	unsigned count = 0;

	assert_ok(blob_service_has_many(blobs, &op_none, digests, BLOBS, there, &err), &err);
	assert_ok(directory_service_has_many(dirs, &op_none, directory_digest(directory), 1,
					     there + BLOBS, &err),
		  &err);
	for (size_t i = 0; i <= BLOBS; i++)
		count += there[i];
	directory_unref(directory);
	directory_service_unref(dirs);
	blob_service_unref(blobs);
	local_store_unref(store);
	return count;
}

static void check_readable(const char *dir, const struct digest digests[BLOBS])
{
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct directory_service *dirs = directory_local_new(store);
	struct directory *directory = make_directory(&digests[SMALL]), *got;
	struct err err = ERR_INIT;

	for (int i = 0; i < BLOBS; i++) {
		uint8_t *bytes = make_bytes(sizes[i], (uint64_t)i);

		fixture_check(blobs, &digests[i], view_of(bytes, sizes[i]));
		free(bytes);
	}
	assert_ok(directory_service_get(dirs, &op_none, directory_digest(directory), &got, &err),
		  &err);
	directory_unref(got);
	directory_unref(directory);
	directory_service_unref(dirs);
	blob_service_unref(blobs);
	local_store_unref(store);
}

enum harm { FLIP, CUT, REMOVE, HARMS };

static void harm_file(const char *path, enum harm harm)
{
	struct stat st;
	uint8_t byte;

	assert_int_equal(stat(path, &st), 0);
	usleep(20000); /* a tick of the clock of files */
	if (harm == REMOVE) {
		assert_int_equal(unlink(path), 0);
	} else if (harm == CUT) {
		assert_int_equal(truncate(path, st.st_size / 4), 0);
	} else {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
		close(fd);
	}
}

static void test_packs(void **state)
{
	(void)state;
	for (uint32_t id = 1; id <= LOCAL_PACK_CLASSES_; id++) {
		for (int harm = 0; harm < HARMS; harm++) {
			AUTO_TESTING_DIR char *dir = testing_dir();
			char name[LOCAL_PACK_NAME_MAX];
			struct digest digests[BLOBS];

			put_all(dir, NULL, digests);
			assert_int_equal(known(dir, digests), BLOBS + 1);
			local_pack_name(id, name);
			AUTO_FREE char *path = mem_printf("%s/packs/%s", dir, name);
			harm_file(path, (enum harm)harm);
			assert_true(known(dir, digests) < BLOBS + 1);
			put_all(dir, NULL, digests);
			assert_int_equal(known(dir, digests), BLOBS + 1);
			check_readable(dir, digests);
		}
	}
}

static void test_raw_files(void **state)
{
	static const struct local_policy policy = {
		.compression = LOCAL_COMPRESSION_ZSTD,
		.level = 3,
		.raw_files = 1 << 20,
	};

	(void)state;
	for (int harm = 0; harm < HARMS; harm++) {
		AUTO_TESTING_DIR char *dir = testing_dir();
		struct digest digests[BLOBS];
		char name[LOCAL_RAW_NAME_MAX];

		put_all(dir, &policy, digests);
		assert_int_equal(known(dir, digests), BLOBS + 1);
		local_raw_name(&digests[LARGE], name);
		AUTO_FREE char *path = mem_printf("%s/raw/%s", dir, name);
		harm_file(path, (enum harm)harm);
		assert_int_equal(known(dir, digests), BLOBS);
		put_all(dir, &policy, digests);
		assert_int_equal(known(dir, digests), BLOBS + 1);
		check_readable(dir, digests);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packs),
		cmocka_unit_test(test_raw_files),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
