/* The order of directories in a stream, and the check of it. Iterative and bounded. */
#ifndef CASTOR_CASTORE_CLOSURE_H
#define CASTOR_CASTORE_CLOSURE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "castore/directory.h"

/*
 * Leaves first, as DirectoryService.Put takes them: a directory may refer only to those already
 * added; all but the last new one must be referred to; repeats are skipped; size fields of child
 * nodes must be right by either rule; depth at most NODE_DEPTH_MAX. Holds about 100 bytes a
 * directory, not the directories.
 */
struct closure_upload;
struct closure_upload *closure_upload_new(void);
void closure_upload_free(struct closure_upload *upload);
/* *fresh: false for a repeat. RC_INVALID, RC_TOO_LARGE of what is too deep: names the directory and what is
 * wrong. */
enum rc closure_upload_add(struct closure_upload *upload, const struct directory *dir, bool *fresh,
			   struct err *err) MUST_USE;
/* RC_INVALID if nothing was added, or directories are left that nothing refers to. */
enum rc closure_upload_finish(const struct closure_upload *upload, struct digest *root,
			      struct err *err) MUST_USE;

/*
 * Root first, as a recursive Get sends them: the root, then each directory after one that refers to
 * it, each digest once. Checks a stream that comes in, the size fields of child nodes included; not
 * its depth, which the order does not tell: whoever walks the tree limits that.
 */
struct closure_download;
struct closure_download *closure_download_new(const struct digest *root);
void closure_download_free(struct closure_download *download);
/* RC_CORRUPT: names the directory and what is wrong. */
enum rc closure_download_add(struct closure_download *download, const struct directory *dir,
			     struct err *err) MUST_USE;
/* RC_CORRUPT, naming one, if a directory that was referred to never came. */
enum rc closure_download_finish(const struct closure_download *download, struct err *err) MUST_USE;

#endif
