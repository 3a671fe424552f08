/* Reading files. */
#include "lib/lib.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "transfer/lookup.h"

struct castor_blob {
	struct blob_reader *reader;
};

static enum castor_rc open_blob(struct castor_store *store, const struct op *op,
				const struct digest *digest, uint64_t size,
				struct castor_blob **out, struct castor_error *error)
{
	struct blob_reader *reader;
	struct err err = ERR_INIT;
	enum rc rc = blob_service_open_read(store->services.blobs, op, digest, size, &reader, &err);

	if (rc == RC_OK) {
		*out = mem_alloc(sizeof(**out));
		(*out)->reader = reader;
	}
	return lib_result(rc, &err, error);
}

enum castor_rc castor_blob_open(struct castor_store *store, const struct castor_op *op,
				const char *path, struct castor_blob **out,
				struct castor_error *error)
{
	struct node node CLEANUP(node_release) = { 0 };
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc;

	*out = NULL;
	rc = lookup(&store->services, &inner, path, &node, NULL, &err);
	if (rc == RC_OK && node.kind != NODE_FILE)
		rc = err_set(&err, RC_INVALID, "%s is not a file", path);
	if (rc != RC_OK)
		return lib_result(rc, &err, error);
	return open_blob(store, &inner, &node.digest, node.size, out, error);
}

enum castor_rc castor_blob_open_digest(struct castor_store *store, const struct castor_op *op,
				       const struct castor_digest *digest, struct castor_blob **out,
				       struct castor_error *error)
{
	struct op inner = lib_op(op);
	struct digest copy;

	*out = NULL;
	memcpy(copy.bytes, digest->bytes, DIGEST_SIZE);
	return open_blob(store, &inner, &copy, BLOB_SIZE_UNKNOWN, out, error);
}

uint64_t castor_blob_size(const struct castor_blob *blob)
{
	return blob_reader_size(blob->reader);
}

enum castor_rc castor_blob_read(struct castor_blob *blob, const struct castor_op *op, void *buffer,
				size_t length, uint64_t offset, size_t *got,
				struct castor_error *error)
{
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	enum rc rc = blob_reader_pread(blob->reader, &inner, buffer, length, offset, got, &err);

	return lib_result(rc, &err, error);
}

void castor_blob_close(struct castor_blob *blob)
{
	if (!blob)
		return;
	blob_reader_free(blob->reader);
	free(blob);
}
