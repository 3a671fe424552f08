/* A store on disk with path infos of which one is damaged. */
#ifndef CASTOR_TESTS_DAMAGED_PATHS_H
#define CASTOR_TESTS_DAMAGED_PATHS_H

#include <dirent.h>
#include <fcntl.h>

#include "testing.h"

#include "nix/nixbase32.h"
#include "store/open.h"

enum { DAMAGED_PATHS = 5, DAMAGED_PATH = 2 };

/* Hash i begins with the byte 16 * i + 1. */
static inline void damaged_paths_hash(unsigned i, uint8_t hash[STORE_PATH_HASH_SIZE])
{
	memset(hash, 0xa7, STORE_PATH_HASH_SIZE);
	hash[0] = (uint8_t)(16 * i + 1);
}

/* Does a byte that comes after these bytes belong to a file in that directory? Changes it. */
static inline void damaged_paths_change(const char *dir, const uint8_t *bytes, size_t len)
{
	DIR *entries = opendir(dir);
	const struct dirent *entry;
	unsigned changed = 0;

	assert_non_null(entries);
	while ((entry = readdir(entries))) {
		static uint8_t content[4 << 20];
		char *path AUTO_FREE = mem_printf("%s/%s", dir, entry->d_name);
		int fd = open(path, O_RDWR);
		ssize_t got = fd < 0 ? 0 : read(fd, content, sizeof(content));
		uint8_t *found = got > 0 ? memmem(content, (size_t)got, bytes, len) : NULL;

		if (found) {
			uint8_t byte = found[len] ^ 0x55;

			assert_int_equal(pwrite(fd, &byte, 1, found + len - content), 1);
			changed++;
		}
		if (fd >= 0)
			close(fd);
	}
	closedir(entries);
	assert_int_equal(changed, 1);
}

static inline struct services damaged_paths_open(const char *dir)
{
	char *address AUTO_FREE = mem_printf("local://%s/store?compression=none", dir);
	char *packs AUTO_FREE = mem_printf("%s/store/packs", dir);
	struct store_addresses addresses = { .store = address };
	struct services services;
	uint8_t hash[STORE_PATH_HASH_SIZE];
	struct err err = ERR_INIT;

	assert_ok(store_open(&addresses, STORE_WRITE, &services, &err), &err);
	for (unsigned i = 0; i < DAMAGED_PATHS; i++) {
		struct path_info info = { .nar_size = 8, .path.name = "x" };
		char basename[STORE_PATH_BASENAME_MAX + 1];

		damaged_paths_hash(i, info.path.hash);
		store_path_basename(&info.path, basename);
		info.node = (struct node){ .kind = NODE_SYMLINK,
					   .name = view_of_string(basename),
					   .target = view_of_string("y") };
		assert_ok(path_info_service_put(services.path_infos, &op_none, &info, NULL, &err),
			  &err);
	}
	services_release(&services);
	damaged_paths_hash(DAMAGED_PATH, hash);
	{
		char name[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];

		nixbase32_encode(hash, sizeof(hash), name);
		damaged_paths_change(packs, (const uint8_t *)name, strlen(name));
	}
	assert_ok(store_open(&addresses, STORE_WRITE, &services, &err), &err);
	return services;
}

/* Is it named? */
static inline void damaged_paths_says(const struct err *err)
{
	char name[NIXBASE32_LEN(STORE_PATH_HASH_SIZE) + 1];
	uint8_t hash[STORE_PATH_HASH_SIZE];

	damaged_paths_hash(DAMAGED_PATH, hash);
	nixbase32_encode(hash, sizeof(hash), name);
	assert_says(err, name);
}

#endif
