/*
 * One line on standard error about what an import has done so far, redrawn in place; nothing at
 * all where standard error is no terminal. The calls belong to one import at a time.
 */
#ifndef CASTOR_CLI_PROGRESS_H
#define CASTOR_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "transfer/tree_in.h"

struct progress {
	bool on;
	bool drawn; /* a line stands there now */
	int64_t start_ns, drawn_ns;
	uint64_t drawn_bytes; /* at drawn_ns: for the rate */
	double rate;          /* bytes a second, smoothed */
};

void progress_start(struct progress *progress);
/* An import_progress_fn; context is the struct progress. */
void progress_draw(void *context, const struct import_progress *now);
/* Takes the line away, so that something else can be printed. */
void progress_clear(struct progress *progress);
/* The same, and leaves a sentence about the whole. */
void progress_finish(struct progress *progress, const struct import_progress *total);

#endif
