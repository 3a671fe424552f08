#include "unit/testing.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/file.h"
#include "threads.h"

static int open_new(const char *dir, const char *name)
{
	AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void vectors_of_any_length(void **state)
{
	enum { PIECES = IOV_MAX * 2 + 17 };
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FD int fd = open_new(dir, "vectors");
	AUTO_FREE struct iovec *iov = mem_array(PIECES, sizeof(*iov));
	CLEANUP(buf_release) struct buf expected = BUF_INIT;
	CLEANUP(buf_release) struct buf back = BUF_INIT;
	static char source[] = "0123456789abcdef";
	struct err err = ERR_INIT;
	size_t got;

	(void)state;
	for (size_t i = 0; i < PIECES; i++) {
		/* Every seventh is empty, the last ones too. */
		size_t len = i % 7 == 0 || i > PIECES - 4 ? 0 : i % 16;

		iov[i] = (struct iovec){ .iov_base = source, .iov_len = len };
		buf_append(&expected, source, len);
	}
	assert_ok(file_pwritev_all(fd, iov, PIECES, 10, "x", &err), &err);
	buf_append_zeros(&back, expected.len + 100);
	assert_ok(file_pread_full(fd, back.ptr, back.len, 10, &got, "x", &err), &err);
	assert_int_equal(got, expected.len);
	back.len = got;
	assert_view_equal(buf_view(&back), buf_view(&expected));
	assert_ok(file_pwritev_all(fd, iov, 0, 0, "x", &err), &err);
	assert_ok(file_pwrite_all(fd, NULL, 0, 0, "x", &err), &err);
}

static void reads_to_the_end(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FD int fd = open_new(dir, "file");
	struct err err = ERR_INIT;
	char out[16];
	size_t got;

	(void)state;
	assert_ok(file_write_all(fd, "0123456789", 10, "x", &err), &err);
	assert_ok(file_pwrite_all(fd, "ab", 2, 4, "x", &err), &err);
	assert_ok(file_pread_full(fd, out, 16, 3, &got, "x", &err), &err);
	assert_int_equal(got, 7);
	assert_memory_equal(out, "3ab6789", 7);
	assert_ok(file_pread_full(fd, out, 16, 100, &got, "x", &err), &err);
	assert_int_equal(got, 0);
	lseek(fd, 8, SEEK_SET);
	assert_ok(file_read_full(fd, out, 16, &got, "x", &err), &err);
	assert_int_equal(got, 2);
}

/* Writes more than a pipe holds, in pieces. */
static void *feed(void *arg)
{
	int fd = *(int *)arg;
	static char chunk[50000];

	for (int i = 0; i < 4; i++)
		if (file_write_all(fd, chunk, sizeof(chunk), "pipe", NULL) != RC_OK)
			abort();
	close(fd);
	return NULL;
}

static void pipes_come_in_pieces(void **state)
{
	AUTO_FREE char *out = mem_alloc(300000);
	struct err err = ERR_INIT;
	int ends[2];
	pthread_t feeder;
	size_t got;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	feeder = testing_thread("feeder", feed, &ends[1]);
	assert_ok(file_read_full(ends[0], out, 150000, &got, "pipe", &err), &err);
	assert_int_equal(got, 150000);
	assert_ok(file_read_full(ends[0], out, 150000, &got, "pipe", &err), &err);
	assert_int_equal(got, 50000);
	pthread_join(feeder, NULL);
	close(ends[0]);
}

static void failures_name_the_file(void **state)
{
	AUTO_FD int readable = open("/dev/null", O_RDONLY | O_CLOEXEC);
	AUTO_FD int writable = open("/dev/null", O_WRONLY | O_CLOEXEC);
	AUTO_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct err err = ERR_INIT;
	size_t got = 7;
	char byte = 0;

	(void)state;
	assert_rc(RC_IO, file_write_all(readable, "x", 1, "some/file", &err), &err);
	assert_says(&err, "some/file: cannot write: ");
	assert_rc(RC_IO, file_pwrite_all(readable, "x", 1, 77, "some/file", &err), &err);
	assert_says(&err, "at 77");
	assert_rc(RC_NO_SPACE, file_write_all(full, "x", 1, "some/file", &err), &err);
	assert_rc(RC_IO, file_pread_full(writable, &byte, 1, 5, &got, "some/file", &err), &err);
	assert_says(&err, "some/file: cannot read at 5: ");
	assert_int_equal(got, 0);
	got = 7;
	assert_rc(RC_IO, file_read_full(writable, &byte, 1, &got, "some/file", &err), &err);
	assert_int_equal(got, 0);
	assert_rc(RC_INVALID, file_sync_dir(full, "some/dir", &err), &err);
	assert_says(&err, "some/dir");
}

static void whole_files(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *path = mem_printf("%s/file", dir);
	AUTO_FD int fd = open_new(dir, "file");
	AUTO_FD int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(buf_release) struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	buf_append_string(&out, "before ");
	assert_ok(file_read_path(dirfd, "file", 0, &out, &err), &err);
	assert_string_equal(buf_string(&out), "before ");
	assert_ok(file_write_all(fd, "0123456789", 10, path, &err), &err);
	assert_ok(file_read_path(dirfd, "file", 10, &out, &err), &err);
	assert_string_equal(buf_string(&out), "before 0123456789");
	assert_rc(RC_TOO_LARGE, file_read_path(AT_FDCWD, path, 9, &out, &err), &err);
	assert_rc(RC_TOO_LARGE, file_read_path(AT_FDCWD, path, 0, &out, &err), &err);
	assert_rc(RC_NOT_FOUND, file_read_path(dirfd, "absent", 9, &out, &err), &err);
	assert_says(&err, "absent: cannot open");
	assert_rc(RC_INVALID, file_read_path(AT_FDCWD, dir, 9, &out, &err), &err);
	assert_string_equal(buf_string(&out), "before 0123456789");
	/* Its size is said to be 0. */
	buf_clear(&out);
	assert_ok(file_read_path(AT_FDCWD, "/proc/self/status", 1 << 20, &out, &err), &err);
	assert_non_null(strstr(buf_string(&out), "Threads:"));
	assert_ok(file_sync_dir(dirfd, dir, &err), &err);
}

static void directories(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_FREE char *deep = mem_printf("%s/a//b/c/", dir);
	AUTO_FREE char *inside = mem_printf("%s/file/x", dir);
	AUTO_FREE char *file = mem_printf("%s/file", dir);
	AUTO_FREE char *dangling = mem_printf("%s/dangling", dir);
	AUTO_FD int fd = open_new(dir, "file");
	struct err err = ERR_INIT;
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	assert_ok(file_mkdirs(deep, 0700, &err), &err);
	assert_int_equal(stat(deep, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_ok(file_mkdirs(deep, 0755, &err), &err);
	assert_ok(file_mkdirs("/", 0755, &err), &err);
	assert_ok(file_mkdirs("/proc/self", 0755, &err), &err);
	assert_rc(RC_EXISTS, file_mkdirs(file, 0755, &err), &err);
	assert_says(&err, "not a directory");
	assert_rc(RC_NOT_FOUND, file_mkdirs(inside, 0755, &err), &err);
	assert_rc(RC_NOT_FOUND, file_mkdirs("", 0755, &err), &err);
	assert_int_equal(symlink("nowhere", dangling), 0);
	assert_rc(RC_NOT_FOUND, file_mkdirs(dangling, 0755, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_of_any_length), cmocka_unit_test(reads_to_the_end),
		cmocka_unit_test(pipes_come_in_pieces),  cmocka_unit_test(failures_name_the_file),
		cmocka_unit_test(whole_files),           cmocka_unit_test(directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
