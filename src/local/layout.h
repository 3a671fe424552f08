/*
 * The directory of a store: its files, their modes, the file `format`, and the store lock.
 *
 *	format          text: the version, and the policies
 *	lock            shared by every opener, exclusive for a rebuild
 *	index.mdb       LMDB (index.mdb-lock beside it)
 *	packs/<id>.pack
 *	raw/<2 hex>/<64 hex>
 */
#ifndef CASTOR_LOCAL_LAYOUT_H
#define CASTOR_LOCAL_LAYOUT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "local/local_store.h"

struct local_layout {
	char *dir; /* as the caller named it */
	char *index_path;
	int dir_fd, lock_fd, packs_fd, raw_fd;
	dev_t dev;
	ino_t ino;
	mode_t dir_mode, file_mode;
	struct local_policy policy;
	unsigned version; /* of the format */
	bool read_only;   /* nothing is written, be it locks: see local_store_open */
};

enum local_layout_use {
	LOCAL_LAYOUT_READ,    /* an existing one; read_only where this user cannot write to it */
	LOCAL_LAYOUT_WRITE,   /* open it, make it where there is nothing */
	LOCAL_LAYOUT_REBUILD, /* exclusively; packs are enough, the rest is made */
};

/* Holds the store lock until local_layout_close. A new store is whole when its `format` is there;
 * make_index is called before that. Outcomes: local_store.h. */
typedef enum rc local_make_index(const struct local_layout *layout, struct err *err);
enum rc local_layout_open(const char *dir, enum local_layout_use use,
			  const struct local_policy *policy, local_make_index *make_index,
			  struct local_layout *out, struct err *err) MUST_USE;
/* The end of a rebuild: writes the file `format`, where it was lost. */
enum rc local_layout_complete(struct local_layout *layout, struct err *err) MUST_USE;
void local_layout_close(struct local_layout *layout);

/* Is it what was wished (NULL: nothing was)? RC_FAILED_PRECONDITION. */
enum rc local_layout_check_policy(const struct local_layout *layout,
				  const struct local_policy *wish, struct err *err) MUST_USE;

/* The device and inode of a directory that may not be there: false. */
bool local_layout_identity(const char *dir, dev_t *dev, ino_t *ino);

#endif
