/* Documents: every backend gives back what was put; files are whole or not there. */
#include "service/document/document_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../testing.h"
#include "base/file.h"
#include "base/mem.h"

struct fixture {
	char *dir;
	int fd;
	struct document_store *store;
	struct err err;
};

static void open_files(struct fixture *fixture)
{
	*fixture = (struct fixture){ .dir = testing_dir() };
	fixture->fd = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fixture->fd >= 0);
	assert_ok(
		document_files_new(fixture->fd, "documents", 0700, &fixture->store, &fixture->err),
		&fixture->err);
}

static void close_files(struct fixture *fixture)
{
	document_store_unref(fixture->store);
	close(fixture->fd);
	testing_dir_cleanup(&fixture->dir);
}

static void put(struct document_store *store, const char *name, struct view content)
{
	struct err err = ERR_INIT;

	assert_ok(document_store_put(store, &op_none, view_of_string(name), content, &err), &err);
}

static void has(struct document_store *store, const char *name, struct view content)
{
	struct buf got CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;

	buf_append_string(&got, "before ");
	assert_ok(document_store_get(store, &op_none, view_of_string(name), &got, &err), &err);
	assert_true(view_equal(view_slice(buf_view(&got), 7, got.len - 7), content));
}

static enum rc lacks(struct document_store *store, const char *name)
{
	struct buf got CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;
	enum rc rc = document_store_get(store, &op_none, view_of_string(name), &got, &err);

	assert_int_equal(got.len, 0);
	return rc;
}

static void check(struct document_store *store)
{
	struct buf large CLEANUP(buf_release) = BUF_INIT;
	char name[DOCUMENT_NAME_MAX + 2];
	struct err err = ERR_INIT;

	assert_int_equal(lacks(store, "log/x"), RC_NOT_FOUND);
	put(store, "log/x", view_of_string("one"));
	has(store, "log/x", view_of_string("one"));
	put(store, "log/x", view_of_string("two, and longer"));
	has(store, "log/x", view_of_string("two, and longer"));
	put(store, "log/y", view_of("", 0));
	has(store, "log/y", view_of("", 0));
	put(store, "realisations/sha256:00!out.doi", view_of("\0\xff", 2));
	has(store, "realisations/sha256:00!out.doi", view_of("\0\xff", 2));
	buf_append_zeros(&large, 3 << 20);
	memcpy(large.ptr + (1 << 20), "not zero", 8);
	put(store, "log/large", buf_view(&large));
	has(store, "log/large", buf_view(&large));
	memset(name, 'n', sizeof(name));
	name[DOCUMENT_NAME_MAX + 1] = '\0';
	assert_rc(RC_INVALID,
		  document_store_put(store, &op_none, view_of_string(name), view_of("", 0), &err),
		  &err);
	assert_int_equal(lacks(store, ""), RC_INVALID);
	name[DOCUMENT_NAME_MAX] = '\0';
	put(store, name, view_of_string("the longest name"));
	has(store, name, view_of_string("the longest name"));
	assert_rc(RC_TOO_LARGE,
		  document_store_put(store, &op_none, view_of_string("log/z"),
				     view_of(large.ptr, (size_t)DOCUMENT_MAX + 1), &err),
		  &err);
}

static void in_memory(void **state)
{
	struct document_store *store = document_memory_new();

	(void)state;
	check(store);
	document_store_unref(store);
}

static void in_files(void **state)
{
	struct fixture fixture;
	struct document_store *again;

	(void)state;
	open_files(&fixture);
	check(fixture.store);
	assert_ok(document_files_new(fixture.fd, "documents", 0700, &again, &fixture.err),
		  &fixture.err);
	has(again, "log/x", view_of_string("two, and longer"));
	document_store_unref(again);
	close_files(&fixture);
}

/* The one file of all, as a path below the fixture's directory. */
static char *only_file(const struct fixture *fixture)
{
	char *command AUTO_FREE = mem_printf("find %s/documents -type f", fixture->dir);
	FILE *find = popen(command, "r");
	char line[4096];

	assert_non_null(find);
	assert_non_null(fgets(line, sizeof(line), find));
	pclose(find);
	line[strcspn(line, "\n")] = '\0';
	return mem_strdup(line);
}

static void damage_is_noticed(void **state)
{
	struct fixture fixture;
	struct buf whole CLEANUP(buf_release) = BUF_INIT;

	(void)state;
	open_files(&fixture);
	put(fixture.store, "log/x", view_of_string("something that is kept"));
	char *path AUTO_FREE = only_file(&fixture);
	assert_ok(file_read_path(AT_FDCWD, path, 1 << 20, &whole, &fixture.err), &fixture.err);
	for (size_t i = 0; i < whole.len; i++) {
		int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

		whole.ptr[i] ^= 0x10;
		assert_true(fd >= 0 && write(fd, whole.ptr, whole.len) == (ssize_t)whole.len);
		close(fd);
		assert_int_equal(lacks(fixture.store, "log/x"), RC_CORRUPT);
		whole.ptr[i] ^= 0x10;
		assert_int_equal(truncate(path, (off_t)i), 0);
		assert_int_equal(lacks(fixture.store, "log/x"), RC_CORRUPT);
	}
	close_files(&fixture);
}

/* What a killed writer left is nobody's, and goes. */
static void left_overs_go(void **state)
{
	struct fixture fixture;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };

	(void)state;
	open_files(&fixture);
	put(fixture.store, "log/x", view_of_string("one"));
	char *path AUTO_FREE = only_file(&fixture);
	*strrchr(path, '/') = '\0';
	char *stale AUTO_FREE = mem_printf("%s/.new-1-1-1", path);
	char *fresh AUTO_FREE = mem_printf("%s/.new-1-1-2", path);
	close(open(stale, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	close(open(fresh, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
	put(fixture.store, "log/x", view_of_string("two"));
	assert_int_not_equal(access(stale, F_OK), 0);
	assert_int_equal(access(fresh, F_OK), 0);
	close_files(&fixture);
}

static void near_and_far(void **state)
{
	struct document_store *near = document_memory_new(), *far = document_memory_new();
	struct document_store *both = document_combined_new(near, far);

	(void)state;
	put(far, "log/x", view_of_string("far"));
	has(both, "log/x", view_of_string("far"));
	assert_int_equal(lacks(near, "log/x"), RC_NOT_FOUND);
	put(both, "log/x", view_of_string("near"));
	has(both, "log/x", view_of_string("near"));
	has(near, "log/x", view_of_string("near"));
	has(far, "log/x", view_of_string("far"));
	assert_int_equal(lacks(both, "log/y"), RC_NOT_FOUND);
	document_store_unref(both);
	document_store_unref(near);
	document_store_unref(far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),         cmocka_unit_test(in_files),
		cmocka_unit_test(damage_is_noticed), cmocka_unit_test(left_overs_go),
		cmocka_unit_test(near_and_far),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
