/*
 * The grammar, word by word (Nix manual, "Nix Archive"):
 *
 *	archive   = "nix-archive-1" node
 *	node      = "(" "type" ( regular | symlink | directory ) ")"
 *	regular   = "regular" [ "executable" "" ] "contents" <bytes>
 *	symlink   = "symlink" "target" <bytes>
 *	directory = "directory" { "entry" "(" "name" <bytes> "node" node ")" }
 *
 * Each state below expects one word. A word is taken only when it is there as a whole: it is
 *gathered in `part` where the input cuts it. The contents of a file, the only long word, pass
 *through as they come. The stack is the last name seen in each open directory, one after the other
 *in `names`.
 */
#include "nix/nar_reader.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "castore/node.h"

enum { TAG_MAX = 32, WORD_MAX = NODE_TARGET_MAX };

enum state {
	STATE_MAGIC,
	STATE_NODE_OPEN,
	STATE_TYPE_KEY,
	STATE_TYPE,
	STATE_FILE_KEY, /* "executable" or "contents" */
	STATE_EXECUTABLE_VALUE,
	STATE_CONTENTS_KEY,
	STATE_CONTENTS_LENGTH,
	STATE_CONTENTS,
	STATE_CONTENTS_PADDING,
	STATE_FILE_CLOSE,
	STATE_TARGET_KEY,
	STATE_TARGET,
	STATE_SYMLINK_CLOSE,
	STATE_DIRECTORY_NEXT, /* "entry" or ")" */
	STATE_ENTRY_OPEN,
	STATE_NAME_KEY,
	STATE_NAME,
	STATE_NODE_KEY,
	STATE_ENTRY_CLOSE,
	STATE_END,
	STATE_FAILED,
};

struct nar_reader {
	enum state state;
	uint64_t offset;  /* of the next byte in the archive */
	uint64_t word_at; /* where the word that is expected began: what errors name */
	uint64_t left;    /* of the contents */
	uint64_t size;    /* of the contents */
	bool executable;

	uint8_t part[8 + WORD_MAX + 1]; /* a word that came in pieces, as it is encoded */
	size_t part_len;

	unsigned depth; /* open directories */
	struct buf names;
	/* Where the last name of each open directory starts in names; that of the innermost ends
	 * with it. */
	uint32_t name_at[NODE_DEPTH_MAX];

	enum rc failure;
	struct err failure_err;
};

struct nar_reader *nar_reader_new(void)
{
	return mem_zalloc(sizeof(struct nar_reader));
}

void nar_reader_free(struct nar_reader *reader)
{
	if (!reader)
		return;
	buf_release(&reader->names);
	free(reader);
}

uint64_t nar_reader_offset(const struct nar_reader *reader)
{
	return reader->offset;
}

/* ---- Failures ---- */

static enum rc fail(struct nar_reader *reader, struct err *err, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* Every call from here on fails like this. */
static enum rc fail(struct nar_reader *reader, struct err *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	err_setv(&reader->failure_err, RC_INVALID, format, args);
	va_end(args);
	reader->failure = err_context(&reader->failure_err, RC_INVALID, "bad NAR at offset %llu",
				      (unsigned long long)reader->word_at);
	reader->state = STATE_FAILED;
	return err_set(err, reader->failure, "%s", reader->failure_err.message);
}

/* "expected …, found …", the latter made safe to print. */
static enum rc fail_expected(struct nar_reader *reader, const char *expected, struct view found,
			     struct err *err)
{
	CLEANUP(buf_release) struct buf shown = BUF_INIT;

	text_printable(found, &shown);
	return fail(reader, err, "expected %s, found \"%s\"", expected, buf_string(&shown));
}

/* ---- Words ---- */

static void advance(struct nar_reader *reader, struct view *input, size_t len)
{
	if (len > 0) /* the pointer of an empty input may be NULL */
		input->ptr += len;
	input->len -= len;
	reader->offset += len;
}

static void start_word(struct nar_reader *reader)
{
	if (reader->part_len == 0)
		reader->word_at = reader->offset;
}

/* Moves input into `part` until that holds `need` bytes; false: the input is used up before. */
static bool gather(struct nar_reader *reader, struct view *input, size_t need)
{
	size_t len;

	assert(need <= sizeof(reader->part));
	if (reader->part_len >= need)
		return true;
	len = need - reader->part_len;
	if (len > input->len)
		len = input->len;
	if (len > 0)
		memcpy(reader->part + reader->part_len, input->ptr, len);
	reader->part_len += len;
	advance(reader, input, len);
	return reader->part_len == need;
}

static uint64_t length_of(const uint8_t bytes[8])
{
	uint64_t length = 0;

	for (int i = 7; i >= 0; i--)
		length = length << 8 | bytes[i];
	return length;
}

static bool all_zero(struct view bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.ptr[i] != 0)
			return false;
	}
	return true;
}

/*
 * The next word, of at most max bytes: *whole false where the input ends before it does. The word
 * is valid until the next call. `what` names it in errors.
 */
static enum rc take_word(struct nar_reader *reader, struct view *input, size_t max,
			 const char *what, struct view *word, bool *whole, struct err *err)
{
	const uint8_t *bytes = NULL;
	uint64_t length;
	size_t padded;

	*whole = false;
	start_word(reader);
	if (reader->part_len == 0 && input->len >= 8)
		bytes = input->ptr;
	else if (gather(reader, input, 8))
		bytes = reader->part;
	else
		return RC_OK;

	length = length_of(bytes);
	if (length > max)
		return fail(reader, err, "%s of %llu bytes, at most %zu are allowed", what,
			    (unsigned long long)length, max);
	padded = 8 + (((size_t)length + 7) & ~(size_t)7);
	if (bytes == input->ptr && input->len >= padded) {
		advance(reader, input, padded);
	} else {
		if (!gather(reader, input, padded))
			return RC_OK;
		bytes = reader->part;
	}
	reader->part_len = 0;
	*word = view_of(bytes + 8, (size_t)length);
	if (!all_zero(view_of(bytes + 8 + length, padded - 8 - (size_t)length)))
		return fail(reader, err, "%s is padded with other bytes than zeros", what);
	*whole = true;
	return RC_OK;
}

/* ---- Nodes ---- */

/* The name of the entry that is open: the last one of the innermost open directory. */
static struct view current_name(const struct nar_reader *reader)
{
	uint32_t at;

	if (reader->depth == 0 || reader->names.len == 0)
		return view_of(NULL, 0);
	at = reader->name_at[reader->depth - 1];
	return view_of(reader->names.ptr + at, reader->names.len - at);
}

static void enter_directory(struct nar_reader *reader, struct nar_event *out)
{
	assert(reader->depth < NODE_DEPTH_MAX); /* take_name has seen to that */
	out->kind = NAR_DIRECTORY_BEGIN;
	out->name = current_name(reader);
	reader->name_at[reader->depth++] = (uint32_t)reader->names.len;
	reader->state = STATE_DIRECTORY_NEXT;
}

static void leave_directory(struct nar_reader *reader, struct nar_event *out)
{
	out->kind = NAR_DIRECTORY_END;
	reader->names.len = reader->name_at[--reader->depth];
	reader->state = reader->depth ? STATE_ENTRY_CLOSE : STATE_END;
}

static enum rc take_name(struct nar_reader *reader, struct view name, struct err *err)
{
	struct view last = current_name(reader);
	struct err why = ERR_INIT;

	/* The root has depth 1, an entry is one deeper than the directories that are open. */
	if (reader->depth == NODE_DEPTH_MAX) {
		(void)fail(reader, err, "nested deeper than %d levels", NODE_DEPTH_MAX);
		return reader->failure = RC_TOO_LARGE;
	}
	if (node_check_name(name, &why) != RC_OK)
		return fail(reader, err, "bad name of an entry: %s", why.message);
	/* An empty name stands before the first entry. */
	if (view_compare(last, name) >= 0)
		return fail_expected(reader, "a name above that of the entry before it", name, err);
	reader->names.len -= last.len;
	buf_append_view(&reader->names, name);
	reader->state = STATE_NODE_KEY;
	return RC_OK;
}

static enum rc take_target(struct nar_reader *reader, struct view target, struct nar_event *out,
			   struct err *err)
{
	struct err why = ERR_INIT;

	if (node_check_target(target, &why) != RC_OK)
		return fail(reader, err, "bad target of a symlink: %s", why.message);
	out->kind = NAR_SYMLINK;
	out->name = current_name(reader);
	out->target = target;
	reader->state = STATE_SYMLINK_CLOSE;
	return RC_OK;
}

/* ---- Contents ---- */

static enum rc begin_contents(struct nar_reader *reader, struct view *input, struct nar_event *out,
			      struct err *err)
{
	start_word(reader);
	if (!gather(reader, input, 8))
		return RC_OK;
	reader->part_len = 0;
	reader->size = length_of(reader->part);
	if (reader->size > INT64_MAX)
		return fail(reader, err, "contents of %llu bytes",
			    (unsigned long long)reader->size);
	reader->left = reader->size;
	reader->state = STATE_CONTENTS;
	out->kind = NAR_FILE_BEGIN;
	out->name = current_name(reader);
	out->executable = reader->executable;
	out->size = reader->size;
	return RC_OK;
}

static void pass_contents(struct nar_reader *reader, struct view *input, struct nar_event *out)
{
	size_t len = input->len < reader->left ? input->len : (size_t)reader->left;

	if (len > 0) {
		out->kind = NAR_FILE_DATA;
		out->data = view_of(input->ptr, len);
		reader->left -= len;
		advance(reader, input, len);
	}
	if (reader->left == 0)
		reader->state = STATE_CONTENTS_PADDING;
}

static enum rc end_contents(struct nar_reader *reader, struct view *input, struct err *err)
{
	size_t padding = (size_t)(-reader->size & 7);

	start_word(reader);
	if (!gather(reader, input, padding))
		return RC_OK;
	reader->part_len = 0;
	if (!all_zero(view_of(reader->part, padding)))
		return fail(reader, err, "contents are padded with other bytes than zeros");
	reader->state = STATE_FILE_CLOSE;
	return RC_OK;
}

/* ---- The grammar ---- */

/* States in which exactly one tag is right. */
static const struct {
	const char *tag;
	enum state next;
} fixed_tags[] = {
	[STATE_MAGIC] = { "nix-archive-1", STATE_NODE_OPEN },
	[STATE_NODE_OPEN] = { "(", STATE_TYPE_KEY },
	[STATE_TYPE_KEY] = { "type", STATE_TYPE },
	[STATE_EXECUTABLE_VALUE] = { "", STATE_CONTENTS_KEY },
	[STATE_CONTENTS_KEY] = { "contents", STATE_CONTENTS_LENGTH },
	[STATE_FILE_CLOSE] = { ")", STATE_ENTRY_CLOSE },
	[STATE_TARGET_KEY] = { "target", STATE_TARGET },
	[STATE_SYMLINK_CLOSE] = { ")", STATE_ENTRY_CLOSE },
	[STATE_ENTRY_OPEN] = { "(", STATE_NAME_KEY },
	[STATE_NAME_KEY] = { "name", STATE_NAME },
	[STATE_NODE_KEY] = { "node", STATE_NODE_OPEN },
	[STATE_ENTRY_CLOSE] = { ")", STATE_DIRECTORY_NEXT },
};

static enum rc take_fixed_tag(struct nar_reader *reader, struct view tag, struct nar_event *out,
			      struct err *err)
{
	const char *expected = fixed_tags[reader->state].tag;

	if (!view_equal_string(tag, expected)) {
		char quoted[TAG_MAX];

		snprintf(quoted, sizeof(quoted), "\"%s\"", expected);
		return fail_expected(reader, quoted, tag, err);
	}
	if (reader->state == STATE_FILE_CLOSE)
		out->kind = NAR_FILE_END;
	reader->state = fixed_tags[reader->state].next;
	if (reader->state == STATE_ENTRY_CLOSE && reader->depth == 0)
		reader->state = STATE_END; /* the root is nobody's entry */
	return RC_OK;
}

static enum rc take_tag(struct nar_reader *reader, struct view tag, struct nar_event *out,
			struct err *err)
{
	switch (reader->state) {
	case STATE_TYPE:
		if (view_equal_string(tag, "directory"))
			enter_directory(reader, out);
		else if (view_equal_string(tag, "regular"))
			reader->state = STATE_FILE_KEY;
		else if (view_equal_string(tag, "symlink"))
			reader->state = STATE_TARGET_KEY;
		else
			return fail_expected(reader, "\"regular\", \"symlink\" or \"directory\"",
					     tag, err);
		return RC_OK;
	case STATE_FILE_KEY:
		reader->executable = view_equal_string(tag, "executable");
		if (reader->executable)
			reader->state = STATE_EXECUTABLE_VALUE;
		else if (view_equal_string(tag, "contents"))
			reader->state = STATE_CONTENTS_LENGTH;
		else
			return fail_expected(reader, "\"executable\" or \"contents\"", tag, err);
		return RC_OK;
	case STATE_DIRECTORY_NEXT:
		if (view_equal_string(tag, "entry"))
			reader->state = STATE_ENTRY_OPEN;
		else if (view_equal_string(tag, ")"))
			leave_directory(reader, out);
		else
			return fail_expected(reader, "\"entry\" or \")\"", tag, err);
		return RC_OK;
	default:
		return take_fixed_tag(reader, tag, out, err);
	}
}

static enum rc take_word_of_state(struct nar_reader *reader, struct view *input,
				  struct nar_event *out, struct err *err)
{
	size_t max = TAG_MAX;
	const char *what = "a tag";
	struct view word;
	bool whole;
	enum rc rc;

	if (reader->state == STATE_NAME) {
		max = NODE_NAME_MAX;
		what = "the name of an entry";
	} else if (reader->state == STATE_TARGET) {
		max = NODE_TARGET_MAX;
		what = "the target of a symlink";
	}
	rc = take_word(reader, input, max, what, &word, &whole, err);
	if (rc != RC_OK || !whole)
		return rc;
	if (reader->state == STATE_NAME)
		return take_name(reader, word, err);
	if (reader->state == STATE_TARGET)
		return take_target(reader, word, out, err);
	return take_tag(reader, word, out, err);
}

enum rc nar_reader_next(struct nar_reader *reader, struct view *input, struct nar_event *out,
			struct err *err)
{
	*out = (struct nar_event){ .kind = NAR_NEED_INPUT };
	for (;;) {
		enum state before = reader->state;
		enum rc rc = RC_OK;

		switch (before) {
		case STATE_FAILED:
			return err_set(err, reader->failure, "%s", reader->failure_err.message);
		case STATE_END:
			out->kind = NAR_END;
			return RC_OK;
		case STATE_CONTENTS_LENGTH:
			rc = begin_contents(reader, input, out, err);
			break;
		case STATE_CONTENTS:
			pass_contents(reader, input, out);
			break;
		case STATE_CONTENTS_PADDING:
			rc = end_contents(reader, input, err);
			break;
		default:
			rc = take_word_of_state(reader, input, out, err);
			break;
		}
		if (rc != RC_OK)
			*out = (struct nar_event){ .kind = NAR_NEED_INPUT };
		/* Without progress the input was used up inside a word. */
		if (rc != RC_OK || out->kind != NAR_NEED_INPUT || reader->state == before)
			return rc;
	}
}

enum rc nar_reader_finish(const struct nar_reader *reader, struct err *err)
{
	if (reader->state == STATE_END)
		return RC_OK;
	if (reader->state == STATE_FAILED)
		return err_set(err, reader->failure, "%s", reader->failure_err.message);
	return err_set(err, RC_INVALID, "bad NAR: it ends at offset %llu, in the middle",
		       (unsigned long long)reader->offset);
}
