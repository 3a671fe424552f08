/*
 * A NAR. Fed at once and in small pieces it gives the same; what is accepted, written again from
 * its events, is the same bytes.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "castore/node.h"
#include "nix/nar_reader.h"
#include "nix/nar_writer.h"

struct rewrite {
	struct buf out;
	unsigned depth;
	uint64_t size;
};

static void write_again(struct rewrite *rewrite, const struct nar_event *event)
{
	struct buf *out = &rewrite->out;
	bool begins = event->kind == NAR_DIRECTORY_BEGIN || event->kind == NAR_FILE_BEGIN ||
		      event->kind == NAR_SYMLINK;
	bool ends = event->kind == NAR_DIRECTORY_END || event->kind == NAR_FILE_END ||
		    event->kind == NAR_SYMLINK;

	if (begins) {
		FUZZ_CHECK((rewrite->depth == 0) == (event->name.len == 0));
		if (rewrite->depth > 0)
			nar_entry_begin(out, event->name);
	}
	switch (event->kind) {
	case NAR_DIRECTORY_BEGIN:
		nar_directory_begin(out);
		FUZZ_CHECK(++rewrite->depth <= NODE_DEPTH_MAX);
		break;
	case NAR_DIRECTORY_END:
		nar_directory_end(out);
		rewrite->depth--;
		break;
	case NAR_FILE_BEGIN:
		nar_file_begin(out, event->executable, event->size);
		rewrite->size = event->size;
		break;
	case NAR_FILE_DATA:
		FUZZ_CHECK(event->data.len > 0);
		buf_append_view(out, event->data);
		break;
	case NAR_FILE_END:
		nar_file_end(out, rewrite->size);
		break;
	case NAR_SYMLINK:
		FUZZ_CHECK(node_check_target(event->target, NULL) == RC_OK);
		nar_symlink(out, event->target);
		break;
	case NAR_NEED_INPUT:
	case NAR_END:
		break;
	}
	if (ends && rewrite->depth > 0)
		nar_entry_end(out);
}

static enum rc read_nar(struct view nar, size_t step, struct rewrite *rewrite, struct err *err)
{
	struct nar_reader *reader = nar_reader_new();
	struct view input = view_of(nar.ptr, 0);
	size_t at = 0;
	struct nar_event event;
	enum rc rc;

	nar_begin(&rewrite->out);
	while ((rc = nar_reader_next(reader, &input, &event, err)) == RC_OK) {
		if (event.kind == NAR_END)
			break;
		if (event.kind == NAR_NEED_INPUT) {
			FUZZ_CHECK(input.len == 0);
			if (at == nar.len)
				break;
			input = view_of(nar.ptr + at, nar.len - at < step ? nar.len - at : step);
			at += input.len;
		}
		write_again(rewrite, &event);
	}
	if (rc == RC_OK)
		rc = nar_reader_finish(reader, err);
	if (rc == RC_OK)
		FUZZ_CHECK(nar_reader_offset(reader) == at - input.len &&
			   nar_reader_offset(reader) == rewrite->out.len);
	nar_reader_free(reader);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct rewrite whole = { .out = BUF_INIT }, pieces = { .out = BUF_INIT };
	struct err err = ERR_INIT, again_err = ERR_INIT;
	enum rc rc = read_nar(view_of(bytes, len), len + 1, &whole, &err);
	enum rc again = read_nar(view_of(bytes, len), len % 13 + 1, &pieces, &again_err);

	FUZZ_CHECK(rc == RC_OK || rc == RC_INVALID);
	FUZZ_CHECK(rc == again);
	FUZZ_CHECK(strcmp(err.message, again_err.message) == 0);
	FUZZ_CHECK((rc == RC_OK) == (err.message[0] == '\0'));
	FUZZ_CHECK(view_equal(buf_view(&whole.out), buf_view(&pieces.out)));
	if (rc == RC_OK)
		FUZZ_CHECK(memcmp(whole.out.ptr, bytes, whole.out.len) == 0);
	buf_release(&whole.out);
	buf_release(&pieces.out);
	return 0;
}
