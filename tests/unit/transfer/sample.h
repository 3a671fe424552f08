/* What the tests of transfer share: services in memory, and trees made in them by hand. */
#ifndef CASTOR_TESTS_TRANSFER_SAMPLE_H
#define CASTOR_TESTS_TRANSFER_SAMPLE_H

#include "unit/testing.h"

#include "castore/directory.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"
#include "service/services.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

struct sample {
	struct services services;
	struct blob_batch *batch;
	struct directory_put *put;
};

static inline void sample_init(struct sample *sample)
{
	struct err err = ERR_INIT;

	sample->services = (struct services){
		.blobs = blob_memory_new(),
		.directories = directory_memory_new(),
		.path_infos = path_info_memory_new(),
		.nar_facts = nar_facts_memory_new(),
	};
	assert_ok(blob_service_open_batch(sample->services.blobs, &op_none, &sample->batch, &err),
		  &err);
	assert_ok(directory_service_open_put(sample->services.directories, &op_none, &sample->put,
					     &err),
		  &err);
}

static inline void sample_release(struct sample *sample)
{
	blob_batch_free(sample->batch);
	directory_put_free(sample->put);
	services_release(&sample->services);
}

/* All that was made becomes visible. The last directory must be the root of all the others. */
static inline void sample_commit(struct sample *sample, bool has_directories)
{
	struct err err = ERR_INIT;
	struct digest root;

	assert_ok(blob_batch_commit(sample->batch, &op_none, &err), &err);
	if (has_directories)
		assert_ok(directory_put_close(sample->put, &op_none, &root, &err), &err);
}

/* The name is borrowed, here and below. */
static inline struct node sample_file(struct sample *sample, const char *name, struct view bytes,
				      bool executable)
{
	struct node node = { .kind = NODE_FILE,
			     .executable = executable,
			     .name = view_of_string(name) };
	struct blob_writer *writer;
	struct err err = ERR_INIT;

	assert_ok(blob_writer_open(sample->batch, &writer, &err), &err);
	assert_ok(blob_writer_write(writer, &op_none, bytes, &err), &err);
	assert_ok(blob_writer_close(writer, &op_none, &node.digest, &node.size, &err), &err);
	blob_writer_free(writer);
	return node;
}

static inline struct node sample_symlink(const char *name, const char *target)
{
	return (struct node){ .kind = NODE_SYMLINK,
			      .name = view_of_string(name),
			      .target = view_of_string(target) };
}

static inline struct node sample_directory(struct sample *sample, const char *name,
					   const struct node *nodes, size_t count)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	struct err err = ERR_INIT;

	assert_ok(directory_from_nodes(nodes, count, &dir, &err), &err);
	assert_ok(directory_put_add(sample->put, &op_none, dir, &err), &err);
	return (struct node){ .kind = NODE_DIRECTORY,
			      .name = view_of_string(name),
			      .digest = *directory_digest(dir),
			      .size = directory_size(dir) };
}

/* A tree of that many levels: directories named "d" and a file in the innermost. */
static inline struct node sample_nest(struct sample *sample, size_t depth)
{
	struct node node = sample_file(sample, "f", view_of_string("deep"), false);

	for (size_t level = depth - 1; level > 0; level--)
		node = sample_directory(sample, level > 1 ? "d" : "", &node, 1);
	return node;
}

#endif
