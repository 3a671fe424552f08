/* The last stage of an import (tree_pipe.h): in the calling thread. */
#ifndef CASTOR_TRANSFER_TREE_COLLECT_H
#define CASTOR_TRANSFER_TREE_COLLECT_H

#include "transfer/tree_build.h"
#include "transfer/tree_pipe.h"

/* Called at most ten times a second. */
struct tree_report {
	import_progress_fn *progress; /* may be NULL */
	void *context;
	int64_t last_ns;
};
void tree_report(struct tree_report *report, const struct import_progress *stats);

/* What hears of everything that was stored. */
struct tree_taker {
	struct tree_build *build; /* NULL where the source is bare */
	/* Each file of a bare source, in its order; the name is what `fill` gave. */
	void (*file)(void *context, const struct node *node);
	void *context;
};

/* Runs the pipeline to its end: every blob is added to the batch, every directory to the build,
 * every file to the pipeline's cache. Commits nothing. */
enum rc tree_collect(struct tree_pipe *pipe, const struct tree_taker *taker,
		     struct tree_report *report, struct import_progress *stats,
		     struct err *err) MUST_USE;

#endif
