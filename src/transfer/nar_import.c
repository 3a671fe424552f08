/*
 * Import of a NAR: the pipeline of tree_pipe.h, filled from the archive instead of from a walk. The
 * framing that the pipeline writes is that of the archive, byte for byte, since the reader takes
 * nothing else; so the pipeline's hash is the archive's.
 */
#include "transfer/nar.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nix/nar_reader.h"
#include "transfer/tree_build.h"
#include "transfer/tree_collect.h"
#include "transfer/tree_fill.h"
#include "transfer/tree_pipe.h"

enum { INPUT_BYTES = 256 << 10 };

struct nar_input {
	nar_source *source;
	void *context;
	struct nar_reader *reader;
	uint8_t *bytes;
	struct view left; /* of bytes: not yet taken by the reader */
	struct view data; /* of bytes: contents that the reader gave, not yet used */
	struct buf *rest; /* takes what was read beyond the end; NULL: nothing may be there */
};

/* The next event; never NAR_NEED_INPUT. */
static enum rc next_event(struct nar_input *input, struct nar_event *event, struct err *err)
{
	for (;;) {
		enum rc rc = nar_reader_next(input->reader, &input->left, event, err);
		size_t got;

		if (rc != RC_OK || event->kind != NAR_NEED_INPUT)
			return rc;
		rc = input->source(input->context, input->bytes, INPUT_BYTES, &got, err);
		if (rc != RC_OK)
			return rc;
		if (got == 0)
			return nar_reader_finish(input->reader, err);
		input->left = view_of(input->bytes, got);
	}
}

/* The next len bytes of the file that is open: they are there, or the reader fails. */
static enum rc read_contents(void *context, void *out, size_t len, struct err *err)
{
	struct nar_input *input = context;
	uint8_t *to = out;

	while (len > 0) {
		struct nar_event event;
		size_t some;
		enum rc rc;

		if (input->data.len == 0) {
			rc = next_event(input, &event, err);
			if (rc != RC_OK)
				return rc;
			input->data = event.data;
		}
		some = len < input->data.len ? len : input->data.len;
		memcpy(to, input->data.ptr, some);
		input->data = view_slice(input->data, some, input->data.len - some);
		to += some;
		len -= some;
	}
	return RC_OK;
}

static enum rc fill_file(struct tree_fill *fill, struct nar_input *input,
			 const struct nar_event *event, bool *stopped, struct err *err)
{
	uint8_t name[NODE_NAME_MAX];
	struct tree_fill_file file = { .name = { name, event->name.len },
				       .size = event->size,
				       .executable = event->executable };
	struct tree_entry *entry;
	struct nar_event end;
	enum rc rc;

	if (event->name.len > 0)
		memcpy(name, event->name.ptr, event->name.len);
	if (file.size > TREE_FILE_SMALL) {
		rc = tree_fill_large(fill, &file, read_contents, input, stopped, err);
	} else {
		*stopped = !tree_fill_small(fill, &file, &entry);
		if (*stopped)
			return RC_OK;
		rc = read_contents(input, fill->block->bytes + entry->at, (size_t)file.size, err);
	}
	if (rc != RC_OK || *stopped)
		return rc;
	return next_event(input, &end, err); /* NAR_FILE_END */
}

/* Nothing may follow, unless the caller takes it. */
static enum rc check_end(struct nar_input *input, struct err *err)
{
	size_t got = input->left.len;
	enum rc rc = RC_OK;

	if (input->rest) {
		buf_append_view(input->rest, input->left);
		return RC_OK;
	}
	if (got == 0)
		rc = input->source(input->context, input->bytes, INPUT_BYTES, &got, err);
	if (rc == RC_OK && got > 0)
		rc = err_set(err, RC_INVALID, "bad NAR: something follows its end at offset %llu",
			     (unsigned long long)nar_reader_offset(input->reader));
	return rc;
}

static enum rc fill_event(struct tree_fill *fill, struct nar_input *input,
			  const struct nar_event *event, bool *stopped, struct err *err)
{
	switch (event->kind) {
	case NAR_DIRECTORY_BEGIN:
		*stopped = !tree_fill_directory(fill, event->name);
		return RC_OK;
	case NAR_DIRECTORY_END:
		*stopped = !tree_fill_directory_end(fill);
		return RC_OK;
	case NAR_SYMLINK:
		*stopped = !tree_fill_symlink(fill, event->name, event->target);
		return RC_OK;
	case NAR_FILE_BEGIN:
		return fill_file(fill, input, event, stopped, err);
	case NAR_END:
		return check_end(input, err);
	case NAR_FILE_DATA:
	case NAR_FILE_END:
	case NAR_NEED_INPUT:
		break;
	}
	return RC_OK;
}

static void fill_from_nar(struct tree_pipe *pipe, void *context)
{
	struct nar_input *input = context;
	struct nar_event event = { .kind = NAR_NEED_INPUT };
	struct err err = ERR_INIT;
	struct tree_fill fill;
	bool stopped = false;
	enum rc rc = RC_OK;

	tree_fill_init(&fill, pipe, false);
	while (rc == RC_OK && !stopped && event.kind != NAR_END) {
		rc = next_event(input, &event, &err);
		if (rc == RC_OK)
			rc = fill_event(&fill, input, &event, &stopped, &err);
	}
	tree_fill_finish(&fill, rc, &err);
}

static enum rc run_pipeline(const struct services *services, const struct op *op,
			    struct nar_input *input, struct tree_build *build,
			    struct nar_facts *facts, struct err *err)
{
	struct blob_batch *batch AUTO_BLOB_BATCH = NULL;
	struct tree_source source = { .fill = fill_from_nar, .context = input };
	struct tree_taker taker = { .build = build };
	struct import_progress stats = { 0 };
	struct tree_report report = { 0 };
	struct tree_pipe pipe;
	enum rc rc = blob_service_open_batch(services->blobs, op, &batch, err);

	if (rc != RC_OK)
		return rc;
	tree_pipe_init(&pipe, op, batch, source, 0, 0);
	tree_pipe_start(&pipe);
	rc = tree_collect(&pipe, &taker, &report, &stats, err);
	if (rc == RC_OK)
		rc = tree_pipe_finish(&pipe, facts, err);
	tree_pipe_release(&pipe);
	return rc == RC_OK ? blob_batch_commit(batch, op, err) : rc;
}

enum rc nar_import(const struct services *services, const struct op *op, nar_source *source,
		   void *context, struct node *root, struct nar_facts *facts, struct err *err)
{
	return nar_import_front(services, op, source, context, NULL, root, facts, err);
}

enum rc nar_import_front(const struct services *services, const struct op *op, nar_source *source,
			 void *context, struct buf *rest, struct node *root,
			 struct nar_facts *facts, struct err *err)
{
	struct tree_build *build = tree_build_new(services->directories);
	struct nar_input input = { .source = source,
				   .context = context,
				   .reader = nar_reader_new(),
				   .bytes = mem_alloc(INPUT_BYTES),
				   .rest = rest };
	enum rc rc;

	*root = (struct node){ 0 };
	memset(facts, 0, sizeof(*facts));
	rc = run_pipeline(services, op, &input, build, facts, err);
	if (rc == RC_OK)
		rc = tree_build_commit(build, op, err);
	if (rc == RC_OK && services->nar_facts)
		rc = nar_facts_store_put(services->nar_facts, op, tree_build_root(build), facts,
					 err);
	if (rc == RC_OK)
		node_copy(root, tree_build_root(build));
	else
		memset(facts, 0, sizeof(*facts));
	tree_build_free(build);
	nar_reader_free(input.reader);
	free(input.bytes);
	return rc;
}
