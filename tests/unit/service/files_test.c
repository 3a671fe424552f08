/* What blob/files.c leaves on disk, and what it makes of what others left there. */
#include "unit/testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "service/blob/files.h"

static struct err err;
static char *dir;
static struct blob_service *blobs;

static int set_up(void **state)
{
	(void)state;
	dir = testing_dir();
	return blob_files_open(dir, &blobs, &err) == RC_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	blob_service_unref(blobs);
	testing_dir_cleanup(&dir);
	return 0;
}

static struct digest put(const void *bytes, size_t len)
{
	struct digest digest;

	assert_int_equal(blob_service_put(blobs, &op_none, view_of(bytes, len), &digest, &err),
			 RC_OK);
	return digest;
}

static void path_of(const struct digest *digest, char out[160])
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(digest, hex);
	snprintf(out, 160, "%s/%.2s/%s", dir, hex, hex);
}

/* How many names lie in a directory under dir. */
static unsigned count_names(const char *below)
{
	char path[160];
	unsigned count = 0;
	DIR *stream;

	snprintf(path, sizeof(path), "%s/%s", dir, below);
	stream = opendir(path);
	assert_non_null(stream);
	for (const struct dirent *entry; (entry = readdir(stream));)
		count += entry->d_name[0] != '.';
	closedir(stream);
	return count;
}

static enum rc get(const struct digest *digest, struct buf *out)
{
	return blob_service_get(blobs, &op_none, digest, 8 << 20, out, &err);
}

static void layout(void **state)
{
	struct digest digest = put("content", 7);
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	char path[160];
	struct stat st;

	(void)state;
	path_of(&digest, path);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 0222, 0);
	assert_int_equal(file_read_path(-1, path, 100, &out, &err), RC_OK);
	assert_true(view_equal_string(buf_view(&out), "content"));
	assert_int_equal(count_names("tmp"), 0);
}

static void what_is_there_stays(void **state)
{
	struct stat before, after;
	char path[160];
	uint8_t *big = mem_zalloc(3 << 20);
	struct digest small_digest = put("content", 7), big_digest = put(big, 3 << 20);

	(void)state;
	for (int i = 0; i < 2; i++) {
		path_of(i ? &big_digest : &small_digest, path);
		assert_int_equal(stat(path, &before), 0);
		put(i ? (void *)big : "content", i ? 3 << 20 : 7);
		assert_int_equal(stat(path, &after), 0);
		assert_int_equal(before.st_ino, after.st_ino);
	}
	assert_int_equal(count_names("tmp"), 0);
	free(big);
}

/* Many in one commit go by another way of syncing. */
static void many_in_a_batch(void **state)
{
	enum { COUNT = 100 };
	struct blob_batch *batch;
	struct digest digests[COUNT];
	bool has[COUNT];

	(void)state;
	assert_int_equal(blob_service_open_batch(blobs, &op_none, &batch, &err), RC_OK);
	for (unsigned i = 0; i < COUNT; i++) {
		struct blob_writer *writer;
		uint64_t size;

		assert_int_equal(blob_writer_open(batch, &writer, &err), RC_OK);
		assert_int_equal(blob_writer_write(writer, &op_none, view_of(&i, sizeof(i)), &err),
				 RC_OK);
		assert_int_equal(blob_writer_close(writer, &op_none, &digests[i], &size, &err),
				 RC_OK);
		blob_writer_free(writer);
	}
	assert_int_equal(blob_service_has_many(blobs, &op_none, digests, COUNT, has, &err), RC_OK);
	for (unsigned i = 0; i < COUNT; i++)
		assert_false(has[i]); /* a name stands for what is durable */
	assert_int_equal(blob_batch_commit(batch, &op_none, &err), RC_OK);
	assert_int_equal(blob_service_has_many(blobs, &op_none, digests, COUNT, has, &err), RC_OK);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(has[i]);
	blob_batch_free(batch);
	assert_int_equal(count_names("tmp"), 0);
}

/* What a dead process left goes when the next one opens; what a living one writes stays. */
static void left_behind(void **state)
{
	struct blob_service *again;
	struct blob_batch *batch;
	char path[160];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/tmp/dead", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/tmp/dead/1", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(blob_service_open_batch(blobs, &op_none, &batch, &err), RC_OK);
	assert_int_equal(count_names("tmp"), 2);
	assert_int_equal(blob_files_open(dir, &again, &err), RC_OK);
	assert_int_equal(count_names("tmp"), 1);
	blob_batch_free(batch);
	assert_int_equal(count_names("tmp"), 0);
	blob_service_unref(again);
}

static void truncate_to(const struct digest *digest, off_t size)
{
	char path[160];

	path_of(digest, path);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, size), 0);
}

static void truncated_files(void **state)
{
	uint8_t *big = mem_zalloc(3 << 20);
	struct digest small_digest = put("content", 7), big_digest = put(big, 3 << 20);
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct blob_reader *reader;
	size_t got;

	(void)state;
	truncate_to(&small_digest, 3);
	assert_int_equal(get(&small_digest, &out), RC_CORRUPT);
	/* Putting it again mends it. */
	put("content", 7);
	assert_int_equal(get(&small_digest, &out), RC_OK);
	/* A large one has no digest to check, but its size may be known, */
	assert_int_equal(
		blob_service_open_read(blobs, &op_none, &big_digest, 3 << 20, &reader, &err),
		RC_OK);
	truncate_to(&big_digest, 2 << 20);
	/* or it ends while it is being read. */
	assert_int_equal(blob_reader_pread(reader, &op_none, big, 3 << 20, 0, &got, &err),
			 RC_CORRUPT);
	blob_reader_free(reader);
	assert_int_equal(
		blob_service_open_read(blobs, &op_none, &big_digest, 3 << 20, &reader, &err),
		RC_CORRUPT);
	memset(big, 0, 3 << 20);
	put(big, 3 << 20);
	buf_clear(&out);
	assert_int_equal(get(&big_digest, &out), RC_OK);
	assert_int_equal(out.len, 3 << 20);
	free(big);
}

static void strange_things_under_a_name(void **state)
{
	struct digest digest = put("content", 7);
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	char path[160];
	uint64_t size;

	(void)state;
	path_of(&digest, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get(&digest, &out), RC_NOT_FOUND);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(get(&digest, &out), RC_CORRUPT);
	assert_int_equal(blob_service_stat(blobs, &op_none, &digest, &size, NULL, &err),
			 RC_CORRUPT);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_int_not_equal(get(&digest, &out), RC_OK);
	assert_int_not_equal(get(&digest, &out), RC_NOT_FOUND);
}

static void bad_places(void **state)
{
	struct blob_service *none = blobs;
	char path[160];

	(void)state;
	assert_int_not_equal(blob_files_open("/dev/null/x", &none, &err), RC_OK);
	assert_null(none);
	snprintf(path, sizeof(path), "%s/made/with/parents", dir);
	assert_int_equal(blob_files_open(path, &none, &err), RC_OK);
	blob_service_unref(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(layout, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_there_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_in_a_batch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(left_behind, set_up, tear_down),
		cmocka_unit_test_setup_teardown(truncated_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(strange_things_under_a_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_places, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
