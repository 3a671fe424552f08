/*
 * Imports a directory into a store, and reads a file back out of it.
 *
 *	cc import-and-read.c $(pkg-config --cflags --libs libcastor) -o import-and-read
 *	./import-and-read local:///tmp/store /usr/share/doc/git copyright
 */
#include <castor/castor.h>

#include <stdio.h>

static int failed(const char *what, enum castor_rc rc, const struct castor_error *error)
{
	fprintf(stderr, "%s: %s: %s\n", what, castor_rc_name(rc), error->message);
	return 1;
}

int main(int argc, char **argv)
{
	struct castor_addresses addresses = { .store = argc == 4 ? argv[1] : NULL };
	struct castor_store *store = NULL;
	struct castor_path_info *info = NULL;
	struct castor_blob *blob = NULL;
	struct castor_error error;
	char path[4096], bytes[65536];
	enum castor_rc rc;
	size_t got = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: %s STORE DIRECTORY FILE-IN-IT\n", argv[0]);
		return 2;
	}
	rc = castor_store_open(&addresses, &store, &error);
	if (rc == CASTOR_OK)
		rc = castor_import(store, NULL, argv[2], NULL, &info, NULL, &error);
	if (rc != CASTOR_OK)
		return failed(argv[2], rc, &error);
	fprintf(stderr, "%s\n", castor_path_info_path(info));

	snprintf(path, sizeof(path), "%s/%s", castor_path_info_path(info), argv[3]);
	rc = castor_blob_open(store, NULL, path, &blob, &error);
	for (uint64_t at = 0; rc == CASTOR_OK; at += got) {
		rc = castor_blob_read(blob, NULL, bytes, sizeof(bytes), at, &got, &error);
		if (rc == CASTOR_OK && fwrite(bytes, 1, got, stdout) < sizeof(bytes))
			break;
	}
	if (rc != CASTOR_OK)
		return failed(path, rc, &error);
	castor_blob_close(blob);
	castor_path_info_free(info);
	castor_store_close(store);
	return fflush(stdout) == 0 ? 0 : 1;
}
