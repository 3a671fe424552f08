/* Builds messages, right and wrong ones, byte by byte. */
#ifndef CASTOR_TESTS_CASTORE_MESSAGES_H
#define CASTOR_TESTS_CASTORE_MESSAGES_H

#include "unit/testing.h"

#include "base/wire.h"
#include "castore/directory.h"

static inline struct digest some_digest(uint8_t byte)
{
	struct digest digest;

	memset(digest.bytes, byte, DIGEST_SIZE);
	return digest;
}

static inline struct node a_file(const char *name, uint64_t size, bool executable)
{
	return (struct node){ .kind = NODE_FILE,
			      .executable = executable,
			      .size = size,
			      .digest = some_digest(7),
			      .name = view_of_string(name) };
}

static inline struct node a_symlink(const char *name, const char *target)
{
	return (struct node){ .kind = NODE_SYMLINK,
			      .name = view_of_string(name),
			      .target = view_of_string(target) };
}

static inline struct node a_directory(const char *name, const struct directory *dir)
{
	return (struct node){ .kind = NODE_DIRECTORY,
			      .size = directory_size(dir),
			      .digest = *directory_digest(dir),
			      .name = view_of_string(name) };
}

/* Made, or the test fails. */
static inline struct directory *make_directory(const struct node *nodes, size_t count)
{
	struct directory *dir;
	struct err err = ERR_INIT;

	assert_ok(directory_from_nodes(nodes, count, &dir, &err), &err);
	return dir;
}

/* The body of a DirectoryNode or FileNode, its digest of any length; checks nothing. */
static inline void append_body(struct buf *out, const char *name, size_t digest_len, uint64_t size,
			       uint64_t executable)
{
	uint8_t digest[64];

	memset(digest, 7, sizeof(digest));
	wire_append_bytes(out, 1, view_of_string(name));
	wire_append_bytes(out, 2, view_of(digest, digest_len));
	wire_append_u64(out, 3, size);
	wire_append_u64(out, 4, executable);
}

/* That body as the element of a list (1: directories, 2: files). */
static inline void append_entry(struct buf *out, uint32_t list, const char *name, size_t digest_len,
				uint64_t size)
{
	CLEANUP(buf_release) struct buf body = BUF_INIT;

	append_body(&body, name, digest_len, size, 0);
	wire_append_element(out, list, buf_view(&body));
}

static inline void append_symlink(struct buf *out, const char *name, const char *target)
{
	CLEANUP(buf_release) struct buf body = BUF_INIT;

	wire_append_bytes(&body, 1, view_of_string(name));
	wire_append_bytes(&body, 2, view_of_string(target));
	wire_append_element(out, 3, buf_view(&body));
}

#endif
