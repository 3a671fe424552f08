/* Trees on disk for tests: made at random, and their NAR written by the plainest code there is. */
#ifndef CASTOR_TESTS_TREE_TEST_UTIL_H
#define CASTOR_TESTS_TREE_TEST_UTIL_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "testing.h"

#include <openssl/evp.h>

#include "nix/nar_writer.h"
#include "nix/store_path.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"
#include "service/services.h"
#include "transfer/tree_in.h"

static inline struct services tree_test_services(void)
{
	return (struct services){ .blobs = blob_memory_new(),
				  .directories = directory_memory_new(),
				  .path_infos = path_info_memory_new(),
				  .nar_facts = nar_facts_memory_new() };
}

static inline void tree_test_write(const char *dir, const char *name, const void *bytes, size_t len)
{
	char *path AUTO_FREE = mem_printf("%s/%s", dir, name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

/* Half of it compressible. */
static inline void tree_test_write_random(const char *dir, const char *name, size_t len,
					  struct testing_random *random)
{
	uint8_t *bytes AUTO_FREE = mem_zalloc(len + 1);

	for (size_t at = 0; at < len; at += 4096)
		testing_fill(random, bytes + at, len - at < 2048 ? len - at : 2048);
	tree_test_write(dir, name, bytes, len);
}

/* A name of odd bytes, perhaps of the greatest length. */
static inline void tree_test_name(struct testing_random *random, char out[NAME_MAX + 1])
{
	size_t len = testing_below(random, 20) == 0 ? NAME_MAX : 1 + testing_below(random, 12);

	for (size_t i = 0; i < len; i++) {
		do
			out[i] = (char)testing_next(random);
		while (out[i] == '\0' || out[i] == '/');
	}
	out[len] = '\0';
	if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
		strcpy(out, "dots");
}

static inline size_t tree_test_size(struct testing_random *random)
{
	static const size_t edges[] = {
		0, 1, 4096, 128 << 10, (128 << 10) + 1, 512 << 10, 1 << 20, (1 << 20) + 1, 2 << 20
	};

	switch (testing_below(random, 12)) {
	case 0:
		return edges[testing_below(random, ARRAY_LEN(edges))];
	case 1:
		return testing_below(random, 600 << 10);
	case 2:
		return testing_below(random, 4) == 0 ? testing_below(random, 5 << 20) : 7;
	default:
		return testing_below(random, 3000);
	}
}

/* Entries into dir, some of them directories, `depth` deep. *last: a file to link to. */
static inline void tree_test_fill(const char *dir, unsigned depth, struct testing_random *random,
				  char **last)
{
	size_t count = testing_below(random, 12);

	for (size_t i = 0; i < count; i++) {
		char name[NAME_MAX + 1];
		char *path AUTO_FREE = NULL;
		struct stat st;

		tree_test_name(random, name);
		path = mem_printf("%s/%s", dir, name);
		if (lstat(path, &st) == 0)
			continue;
		switch (testing_below(random, 8)) {
		case 0:
		case 1:
			assert_int_equal(mkdir(path, 0755), 0);
			if (depth > 0)
				tree_test_fill(path, depth - 1, random, last);
			break;
		case 2:
			assert_int_equal(symlink("../somewhere else", path), 0);
			break;
		case 3:
			if (*last) {
				assert_int_equal(link(*last, path), 0);
				break;
			}
			__attribute__((fallthrough));
		default:
			tree_test_write_random(dir, name, tree_test_size(random), random);
			if (testing_below(random, 4) == 0)
				assert_int_equal(chmod(path, 0755), 0);
			free(*last);
			*last = mem_strdup(path);
		}
	}
}

/* ---- The NAR, serially, straight from the disk ---- */

struct tree_test_nar {
	EVP_MD_CTX *sha;
	struct buf buf;
	uint64_t size;
};

static inline void tree_test_nar_flush(struct tree_test_nar *nar)
{
	assert_true(EVP_DigestUpdate(nar->sha, nar->buf.ptr, nar->buf.len));
	nar->size += nar->buf.len;
	buf_clear(&nar->buf);
}

static inline int tree_test_by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static inline void tree_test_nar_node(struct tree_test_nar *nar, const char *path)
{
	struct stat st;
	char target[PATH_MAX];
	ssize_t len;

	assert_int_equal(lstat(path, &st), 0);
	if (S_ISLNK(st.st_mode)) {
		len = readlink(path, target, sizeof(target));
		nar_symlink(&nar->buf, view_of(target, (size_t)len));
	} else if (S_ISREG(st.st_mode)) {
		uint8_t *bytes AUTO_FREE = mem_zalloc((size_t)st.st_size + 1);
		FILE *file = fopen(path, "rb");

		assert_non_null(file);
		assert_int_equal(fread(bytes, 1, (size_t)st.st_size, file), st.st_size);
		fclose(file);
		nar_file_begin(&nar->buf, st.st_mode & 0100, (uint64_t)st.st_size);
		buf_append(&nar->buf, bytes, (size_t)st.st_size);
		nar_file_end(&nar->buf, (uint64_t)st.st_size);
	} else {
		struct dirent **names;
		int count = scandir(path, &names, NULL, tree_test_by_name);

		assert_true(count >= 0);
		nar_directory_begin(&nar->buf);
		for (int i = 0; i < count; i++) {
			char *child AUTO_FREE = mem_printf("%s/%s", path, names[i]->d_name);

			if (strcmp(names[i]->d_name, ".") != 0 &&
			    strcmp(names[i]->d_name, "..") != 0) {
				nar_entry_begin(&nar->buf, view_of_string(names[i]->d_name));
				tree_test_nar_node(nar, child);
				nar_entry_end(&nar->buf);
			}
			free(names[i]);
		}
		free(names);
		nar_directory_end(&nar->buf);
	}
	tree_test_nar_flush(nar);
}

static inline struct nar_facts tree_test_nar(const char *path)
{
	struct tree_test_nar nar = { .sha = EVP_MD_CTX_new() };
	struct nar_facts facts;

	assert_true(EVP_DigestInit_ex(nar.sha, EVP_sha256(), NULL));
	nar_begin(&nar.buf);
	tree_test_nar_node(&nar, path);
	assert_true(EVP_DigestFinal_ex(nar.sha, facts.nar_sha256.bytes, NULL));
	facts.nar_size = nar.size;
	EVP_MD_CTX_free(nar.sha);
	buf_release(&nar.buf);
	return facts;
}

/* Imports, and checks the NAR's size and hash against the disk. out: the path info, or NULL. */
static inline struct import_progress tree_test_import(const struct services *services,
						      const char *path,
						      const struct import_options *options,
						      struct path_info *out)
{
	struct path_info own AUTO_PATH_INFO = { 0 }, *info = out ? out : &own;
	struct import_progress stats;
	struct nar_facts facts = tree_test_nar(path);
	struct err err = ERR_INIT;

	assert_ok(tree_import(services, &op_none, path, options, info, &stats, &err), &err);
	assert_int_equal(info->nar_size, facts.nar_size);
	assert_memory_equal(info->nar_sha256.bytes, facts.nar_sha256.bytes, 32);
	return stats;
}

#endif
