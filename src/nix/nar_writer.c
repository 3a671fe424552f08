/* NAR structure: every word is a u64 length, its bytes, and zeros up to a multiple of eight. */
#include "nix/nar_writer.h"

static void padding(struct buf *out, uint64_t len)
{
	buf_append_zeros(out, (size_t)(-len & 7));
}

static void word(struct buf *out, struct view bytes)
{
	buf_append_u64le(out, bytes.len);
	buf_append_view(out, bytes);
	padding(out, bytes.len);
}

/* Words that always come together, already encoded. */
#define WORD1(c)  "\1\0\0\0\0\0\0\0" c "\0\0\0\0\0\0\0"
#define WORD4(s)  "\4\0\0\0\0\0\0\0" s "\0\0\0\0"
#define WORD5(s)  "\5\0\0\0\0\0\0\0" s "\0\0\0"
#define WORD6(s)  "\6\0\0\0\0\0\0\0" s "\0\0"
#define WORD7(s)  "\7\0\0\0\0\0\0\0" s "\0"
#define WORD8(s)  "\10\0\0\0\0\0\0\0" s
#define WORD9(s)  "\11\0\0\0\0\0\0\0" s "\0\0\0\0\0\0\0"
#define WORD10(s) "\12\0\0\0\0\0\0\0" s "\0\0\0\0\0\0"
#define WORD13(s) "\15\0\0\0\0\0\0\0" s "\0\0\0"
#define NO_WORD   "\0\0\0\0\0\0\0\0"

#define APPEND(out, words) buf_append(out, words, sizeof(words) - 1)

void nar_begin(struct buf *out)
{
	APPEND(out, WORD13("nix-archive-1"));
}

void nar_directory_begin(struct buf *out)
{
	APPEND(out, WORD1("(") WORD4("type") WORD9("directory"));
}

void nar_entry_begin(struct buf *out, struct view name)
{
	APPEND(out, WORD5("entry") WORD1("(") WORD4("name"));
	word(out, name);
	APPEND(out, WORD4("node"));
}

void nar_entry_end(struct buf *out)
{
	APPEND(out, WORD1(")"));
}

void nar_directory_end(struct buf *out)
{
	APPEND(out, WORD1(")"));
}

void nar_symlink(struct buf *out, struct view target)
{
	APPEND(out, WORD1("(") WORD4("type") WORD7("symlink") WORD6("target"));
	word(out, target);
	APPEND(out, WORD1(")"));
}

void nar_file_begin(struct buf *out, bool executable, uint64_t size)
{
	APPEND(out, WORD1("(") WORD4("type") WORD7("regular"));
	if (executable)
		APPEND(out, WORD10("executable") NO_WORD);
	APPEND(out, WORD8("contents"));
	buf_append_u64le(out, size);
}

void nar_file_end(struct buf *out, uint64_t size)
{
	padding(out, size);
	APPEND(out, WORD1(")"));
}
