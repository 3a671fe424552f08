/*
 * The NAR writer: the archive of the vectors tree, whose size and hash nix computed
 * (tests/golden/README.md), and back through the reader.
 */
#include "nix/nar_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "base/text.h"
#include "nar_test_util.h"
#include "unit/testing.h"

static void append_file(struct buf *out, const char *path, const struct stat *st)
{
	FILE *file = fopen(path, "rb");
	uint8_t bytes[8192];
	size_t got;

	assert_non_null(file);
	nar_file_begin(out, st->st_mode & 0100, (uint64_t)st->st_size);
	while ((got = fread(bytes, 1, sizeof(bytes), file)) > 0)
		buf_append(out, bytes, got);
	nar_file_end(out, (uint64_t)st->st_size);
	fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void append_path(struct buf *out, const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	if (S_ISREG(st.st_mode)) {
		append_file(out, path, &st);
	} else if (S_ISLNK(st.st_mode)) {
		char target[PATH_MAX];
		ssize_t len = readlink(path, target, sizeof(target));

		assert_true(len > 0);
		nar_symlink(out, view_of(target, (size_t)len));
	} else {
		struct dirent **entries;
		int count = scandir(path, &entries, no_dots, by_name);

		assert_true(count >= 0);
		nar_directory_begin(out);
		for (int i = 0; i < count; i++) {
			char child[PATH_MAX];

			assert_true(snprintf(child, sizeof(child), "%s/%s", path,
					     entries[i]->d_name) < PATH_MAX);
			nar_entry_begin(out, view_of_string(entries[i]->d_name));
			append_path(out, child);
			nar_entry_end(out);
			free(entries[i]);
		}
		free(entries);
		nar_directory_end(out);
	}
}

static void vectors_tree(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char command[512], hex[65];
	CLEANUP(buf_release) struct buf nar = BUF_INIT;
	CLEANUP(buf_release) struct buf lines = BUF_INIT;
	struct err err = ERR_INIT;
	static const char first[] = "directory \"\"\nfile \"big\" 0 3145728 ";
	uint8_t hash[32];
	char path[64];

	(void)state;
	snprintf(command, sizeof(command), "%s/make-vectors-tree %s/vectors",
		 getenv("CASTOR_GOLDEN"), dir);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/vectors", dir);
	nar_begin(&nar);
	append_path(&nar, path);

	assert_int_equal(nar.len, 3148504);
	assert_int_equal(EVP_Digest(nar.ptr, nar.len, hash, NULL, EVP_sha256(), NULL), 1);
	hex_encode(hash, sizeof(hash), hex);
	assert_string_equal(hex,
			    "9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d");
	if (nar_lines(buf_view(&nar), 65536, &lines, NULL, &err) != RC_OK)
		fail_msg("%s", err.message);
	assert_memory_equal(lines.ptr, first, sizeof(first) - 1);
}

/* The two small NARs of the golden narinfos: 120 bytes, and 168. */
static void small_files(void **state)
{
	static const struct {
		const char *text;
		size_t size;
	} files[] = {
		{ "hello\n", 120 },
		{ "see /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", 168 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		CLEANUP(buf_release) struct buf nar = BUF_INIT;
		size_t len = strlen(files[i].text);

		nar_begin(&nar);
		nar_file_begin(&nar, false, len);
		buf_append_string(&nar, files[i].text);
		nar_file_end(&nar, len);
		assert_int_equal(nar.len, files[i].size);
	}
}

/* Every structure is what the grammar spells out in words. */
static void same_as_word_by_word(void **state)
{
	CLEANUP(buf_release) struct buf nar = BUF_INIT;
	CLEANUP(buf_release) struct buf words = BUF_INIT;

	(void)state;
	nar_begin(&nar);
	nar_directory_begin(&nar);
	nar_entry_begin(&nar, view_of_string("file"));
	nar_file_begin(&nar, true, 3);
	buf_append_string(&nar, "abc");
	nar_file_end(&nar, 3);
	nar_entry_end(&nar);
	nar_entry_begin(&nar, view_of_string("link"));
	nar_symlink(&nar, view_of_string("eight888"));
	nar_entry_end(&nar);
	nar_directory_end(&nar);
	put_words(&words, "nix-archive-1 ( type directory "
			  "entry ( name file node ( type regular executable @ contents abc ) ) "
			  "entry ( name link node ( type symlink target eight888 ) ) )");
	assert_int_equal(nar.len, words.len);
	assert_memory_equal(nar.ptr, words.ptr, nar.len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_tree),
		cmocka_unit_test(small_files),
		cmocka_unit_test(same_as_word_by_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
