/*
 * Patterns of what an import leaves out, as in a .gitignore, of the path relative to the tree's root:
 *
 *	*.o        no slash: a name, however deep
 *	/build     a slash before the end: the whole path, from the root
 *	doc/p*     too; '*', '?' and '[…]' match within one name, as in fnmatch(3); '\' quotes
 *	log/       a slash at the end: directories alone
 *	a/ ** /b   (without the blanks) any number of directories, or none
 *
 * There is no '!'. What is left out of a directory that is left out is not asked.
 */
#ifndef CASTOR_TRANSFER_TREE_EXCLUDE_H
#define CASTOR_TRANSFER_TREE_EXCLUDE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct tree_exclude;

/* Copies the patterns. RC_INVALID for an empty one, and for one that begins with '!'. */
enum rc tree_exclude_new(const char *const *patterns, size_t count, struct tree_exclude **out,
			 struct err *err) MUST_USE;
void tree_exclude_free(struct tree_exclude *exclude); /* NULL is fine */
/* names: from below the root down to the one in question. */
bool tree_exclude_matches(const struct tree_exclude *exclude, const char *const *names,
			  size_t count, bool directory);

#endif
