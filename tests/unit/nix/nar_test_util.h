/* What the tests of NARs share: words by hand, and an archive turned into lines of text. */
#ifndef CASTOR_TESTS_NAR_TEST_UTIL_H
#define CASTOR_TESTS_NAR_TEST_UTIL_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "nix/nar_reader.h"

/* One word, whatever it holds. */
static inline void put_word(struct buf *out, const void *bytes, size_t len)
{
	buf_append_u64le(out, len);
	buf_append(out, bytes, len);
	buf_append_zeros(out, -len & 7);
}

/* "( type regular contents @ )": words by spaces; @ is the empty word. */
static inline void put_words(struct buf *out, const char *words)
{
	while (*words) {
		size_t len = strcspn(words, " ");

		if (len == 1 && *words == '@')
			put_word(out, "", 0);
		else
			put_word(out, words, len);
		words += len;
		while (*words == ' ')
			words++;
	}
}

/*
 * Feeds the archive `step` bytes at a time and writes one line an event into `lines` (contents of a
 * file as one line, however they came). The outcome is that of the reader, with finish called at
 * the end of the input; bytes after the archive are left in *rest.
 */
static inline enum rc nar_lines(struct view nar, size_t step, struct buf *lines, size_t *rest,
				struct err *err)
{
	struct nar_reader *reader = nar_reader_new();
	size_t at = 0;
	struct view input = view_of(nar.ptr, 0);
	struct nar_event event;
	enum rc rc;

	while ((rc = nar_reader_next(reader, &input, &event, err)) == RC_OK) {
		if (event.kind == NAR_END)
			break;
		switch (event.kind) {
		case NAR_NEED_INPUT:
			if (at == nar.len)
				goto finish;
			input = view_of(nar.ptr + at, nar.len - at < step ? nar.len - at : step);
			at += input.len;
			break;
		case NAR_DIRECTORY_BEGIN:
			buf_printf(lines, "directory \"%.*s\"\n", (int)event.name.len,
				   (const char *)event.name.ptr);
			break;
		case NAR_DIRECTORY_END:
			buf_printf(lines, "end\n");
			break;
		case NAR_FILE_BEGIN:
			buf_printf(lines, "file \"%.*s\" %d %llu ", (int)event.name.len,
				   (const char *)event.name.ptr, event.executable,
				   (unsigned long long)event.size);
			break;
		case NAR_FILE_DATA:
			buf_append_view(lines, event.data);
			break;
		case NAR_FILE_END:
			buf_printf(lines, "\n");
			break;
		case NAR_SYMLINK:
			buf_printf(lines, "symlink \"%.*s\" -> \"%.*s\"\n", (int)event.name.len,
				   (const char *)event.name.ptr, (int)event.target.len,
				   (const char *)event.target.ptr);
			break;
		case NAR_END:
			break;
		}
	}
finish:
	if (rc == RC_OK)
		rc = nar_reader_finish(reader, err);
	if (rc == RC_OK && nar_reader_offset(reader) != at - input.len)
		rc = err_set(err, RC_INVALID, "the reader's offset is wrong");
	if (rest)
		*rest = nar.len - at + input.len;
	nar_reader_free(reader);
	return rc;
}

#endif
