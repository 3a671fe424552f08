/*
 * Remembers, of each tree that was imported, what its files were: so that importing an unchanged
 * tree again reads none of them. docs/decisions/0006-stat-cache.md says why it is kept like this.
 *
 * One file a tree, named after the root's filesystem and inode, in $XDG_CACHE_HOME/castor/trees:
 * the (mount, filesystem, inode, size, mtime, ctime) and the blob digest of every file, in the order
 * of the walk. A later walk reads it front to back beside the tree. It answers for a tree as a whole:
 * one file that differs, and the tree is read again.
 *
 * It is right because whatever changes a content later gives the file another ctime: it holds for one
 * mount, in one boot, of a kind of filesystem where the kernel stamps ctime itself; for files whose
 * ctime is more than a minute old when the import begins and whose pages were written back before
 * they were read (stat_cache_settle); and while nobody sets the clock.
 *
 * It is only a cache: nothing here fails an import, and what it says is used only after the store
 * was asked for every blob. Private to its user: a directory of others, or that others can write,
 * is not used.
 */
#ifndef CASTOR_TRANSFER_STAT_CACHE_H
#define CASTOR_TRANSFER_STAT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "castore/digest.h"
#include "transfer/tree_walk.h"

/* How long ago, in seconds, a file's ctime must be: 60. For tests, which cannot set a ctime. */
extern int stat_cache_age_s;

/* Reads what was remembered of a tree. One thread. */
struct stat_cache_reader;
/* NULL: nothing usable is remembered of the tree whose root has this stat. */
struct stat_cache_reader *stat_cache_open(const struct tree_stat *root);
/* The digest of the next file of the walk; false where it is not the file that was there. To be
 * believed only once stat_cache_finish has said yes. */
bool stat_cache_next(struct stat_cache_reader *reader, const struct tree_stat *stat,
		     struct digest *out);
/* There are no more files: was all of it seen, and is its checksum right? */
bool stat_cache_finish(struct stat_cache_reader *reader);
void stat_cache_close(struct stat_cache_reader *reader); /* NULL is fine */

/* Remembers a tree. One thread. */
struct stat_cache_writer;
/* NULL: this tree, or any, cannot be remembered. Files count as old by the time of this call. */
struct stat_cache_writer *stat_cache_create(const struct tree_stat *root);
/* Before a file is read: from here on a change of it, even through a shared mapping, is a change of
 * its ctime to a later one. False, and what tells so in *stat is cleared: it cannot be remembered.
 * Any thread; writer may be NULL. */
bool stat_cache_settle(const struct stat_cache_writer *writer, struct tree_stat *stat, int fd);
/* A file that is not settled: the tree is not remembered. */
void stat_cache_add(struct stat_cache_writer *writer, const struct tree_stat *stat,
		    const struct digest *digest);
/* Puts it in place of what was remembered before, and gives up the longest unused of too many. */
void stat_cache_commit(struct stat_cache_writer *writer);
void stat_cache_free(struct stat_cache_writer *writer); /* NULL is fine; without commit: nothing */

#endif
