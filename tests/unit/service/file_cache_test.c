#include "unit/testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "service/scratch/file_cache.h"

enum { SIZE = 8000, MANY = 100 };

static struct digest key_of(unsigned number)
{
	return digest_of(view_of(&number, sizeof(number)));
}

static bool has(struct file_cache *cache, unsigned number)
{
	struct digest key = key_of(number);
	struct buf out CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;
	enum rc rc = file_cache_get(cache, &key, SIZE, &out, &err);

	if (rc != RC_NOT_FOUND)
		assert_ok(rc, &err);
	for (size_t i = 0; i < out.len; i++)
		assert_int_equal(out.ptr[i], (uint8_t)number);
	return rc == RC_OK;
}

static void put(struct file_cache *cache, unsigned number)
{
	struct digest key = key_of(number);
	uint8_t bytes[SIZE];
	struct err err = ERR_INIT;

	memset(bytes, (int)number, sizeof(bytes));
	assert_ok(file_cache_put(cache, &key, view_of(bytes, sizeof(bytes)), &err), &err);
}

static void set_age(int dir, unsigned number, int seconds)
{
	struct timespec times[2] = { { .tv_sec = time(NULL) - seconds } };
	char name[96] = "cache/";

	times[1] = times[0];
	hex_encode(key_of(number).bytes, DIGEST_SIZE, name + strlen(name));
	assert_int_equal(utimensat(dir, name, times, 0), 0);
}

static uint64_t bytes_in(int dir)
{
	DIR *files = fdopendir(openat(dir, "cache", O_RDONLY | O_DIRECTORY));
	struct dirent *entry;
	struct stat st;
	uint64_t total = 0;

	while ((entry = readdir(files))) {
		assert_int_equal(fstatat(dirfd(files), entry->d_name, &st, 0), 0);
		if (S_ISREG(st.st_mode))
			total += (uint64_t)st.st_size;
	}
	closedir(files);
	return total;
}

static void the_budget_holds(void **state)
{
	AUTO_TESTING_DIR char *path = testing_dir();
	AUTO_FD int dir = open(path, O_RDONLY | O_DIRECTORY);
	const uint64_t budget = MANY / 4 * SIZE;
	struct file_cache *cache = file_cache_new(dir, "cache", 0700, budget);
	/* As another process would. */
	struct file_cache *other = file_cache_new(dir, "cache", 0700, budget);
	struct digest key = key_of(1);
	struct err err = ERR_INIT;
	struct stat st;

	(void)state;
	assert_false(has(cache, 1));
	assert_ok(file_cache_remove(cache, &key, &err), &err);
	put(cache, 1);
	assert_int_equal(fstatat(dir, "cache", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(has(other, 1));
	put(cache, 2);
	assert_ok(file_cache_remove(other, &key, &err), &err);
	assert_false(has(cache, 1));

	/* What is used stays; what is not goes, the oldest first. */
	put(cache, 1);
	set_age(dir, 1, 100000);
	set_age(dir, 2, 90000);
	assert_true(has(cache, 1));
	AUTO_FD int left = openat(dir, "cache/.new-left", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(futimens(left, (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 1 } }),
			 0);
	for (unsigned i = 3; i < MANY; i++) {
		put(i % 2 ? cache : other, i);
		set_age(dir, i, 50000 - (int)i);
		assert_in_range(bytes_in(dir), SIZE, budget + budget / 4 + 2 * SIZE);
	}
	assert_true(has(cache, 1));
	assert_false(has(cache, 2));
	assert_true(has(cache, MANY - 1));
	assert_false(has(cache, 10));
	assert_int_equal(faccessat(dir, "cache/.new-left", F_OK, 0), -1);
	file_cache_free(cache);
	file_cache_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_budget_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
