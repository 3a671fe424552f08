/*
 * Reads a NAR piece by piece: does no I/O, keeps a stack of its own (never recursion): 10 KiB and
 * the names on the way to where it is, 265 KiB at most. Limits are checked before anything is kept:
 * nodes NODE_DEPTH_MAX deep (the root is 1), names NODE_NAME_MAX, targets NODE_TARGET_MAX, tags 32
 * bytes, contents 2^63-1; entries strictly ascending; padding zero.
 */
#ifndef CASTOR_NIX_NAR_READER_H
#define CASTOR_NIX_NAR_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum nar_event_kind {
	NAR_NEED_INPUT,      /* the input is used up; call again with more */
	NAR_DIRECTORY_BEGIN, /* name: empty for the root */
	NAR_DIRECTORY_END,
	NAR_FILE_BEGIN, /* name, executable, size */
	NAR_FILE_DATA,  /* data: borrowed from the input, never empty */
	NAR_FILE_END,
	NAR_SYMLINK, /* name, target */
	NAR_END,     /* the archive is complete; what is left of the input is not its own */
};

struct nar_event {
	enum nar_event_kind kind;
	struct view name; /* valid until the next call */
	struct view target;
	struct view data;
	uint64_t size;
	bool executable;
};

struct nar_reader;
struct nar_reader *nar_reader_new(void);
void nar_reader_free(struct nar_reader *reader);
/* Takes from the front of *input, and moves it. RC_INVALID names the offset in the archive and what
 * was expected there, RC_TOO_LARGE where it is nested too deep; after a failure every call fails the
 * same way. */
enum rc nar_reader_next(struct nar_reader *reader, struct view *input, struct nar_event *out,
			struct err *err) MUST_USE;
/* The archive ended here: RC_INVALID unless NAR_END was returned. */
enum rc nar_reader_finish(const struct nar_reader *reader, struct err *err) MUST_USE;
uint64_t nar_reader_offset(const struct nar_reader *reader); /* bytes taken so far */

#endif
