/* The NAR of a stored node. */
#include "transfer/nar.h"

#include "nix/nar_writer.h"
#include "transfer/tree_read.h"

/* Structure and small contents are gathered; contents from DIRECT_MIN up go to the sink as they
 * are. */
enum { GATHER_BYTES = 64 << 10, DIRECT_MIN = 8 << 10 };

struct nar_out {
	struct buf gathered;
	nar_sink *sink;
	void *context;
};

static enum rc flush(struct nar_out *out, struct err *err)
{
	enum rc rc = RC_OK;

	if (out->gathered.len > 0)
		rc = out->sink(out->context, buf_view(&out->gathered), err);
	buf_clear(&out->gathered);
	return rc;
}

static enum rc write_data(struct nar_out *out, struct view data, struct err *err)
{
	enum rc rc;

	if (data.len < DIRECT_MIN) {
		buf_append_view(&out->gathered, data);
		return RC_OK;
	}
	rc = flush(out, err);
	return rc == RC_OK ? out->sink(out->context, data, err) : rc;
}

/* `depth` is the number of directories that are open before the event. */
static enum rc write_event(struct nar_out *out, const struct tree_event *event, unsigned *depth,
			   struct err *err)
{
	struct buf *buf = &out->gathered;
	bool begins = event->kind == TREE_DIRECTORY || event->kind == TREE_FILE ||
		      event->kind == TREE_SYMLINK;
	bool ends = event->kind == TREE_DIRECTORY_END || event->kind == TREE_FILE_END ||
		    event->kind == TREE_SYMLINK;

	if (begins && *depth > 0)
		nar_entry_begin(buf, event->node->name);
	switch (event->kind) {
	case TREE_DIRECTORY:
		nar_directory_begin(buf);
		++*depth;
		break;
	case TREE_DIRECTORY_END:
		nar_directory_end(buf);
		--*depth;
		break;
	case TREE_FILE:
		nar_file_begin(buf, event->node->executable, event->node->size);
		break;
	case TREE_DATA:
		return write_data(out, event->data, err);
	case TREE_FILE_END:
		nar_file_end(buf, event->node->size);
		break;
	case TREE_SYMLINK:
		nar_symlink(buf, event->node->target);
		break;
	case TREE_END:
		return flush(out, err);
	}
	if (ends && *depth > 0)
		nar_entry_end(buf);
	return buf->len < GATHER_BYTES ? RC_OK : flush(out, err);
}

enum rc nar_export(const struct services *services, const struct op *op, const struct node *node,
		   nar_sink *sink, void *context, struct err *err)
{
	AUTO_TREE_READER struct tree_reader *reader = tree_reader_new(services, op, node);
	struct nar_out out = { .gathered = BUF_INIT, .sink = sink, .context = context };
	struct tree_event event;
	unsigned depth = 0;
	enum rc rc;

	nar_begin(&out.gathered);
	do {
		rc = tree_reader_next(reader, &event, err);
		if (rc == RC_OK)
			rc = write_event(&out, &event, &depth, err);
	} while (rc == RC_OK && event.kind != TREE_END);
	buf_release(&out.gathered);
	return rc;
}
