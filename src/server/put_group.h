/*
 * Commits the uploads of many calls together: one that is done does not hold a thread while it is
 * made durable, and those that end close to each other share one sync of the disk.
 */
#ifndef CASTOR_SERVER_PUT_GROUP_H
#define CASTOR_SERVER_PUT_GROUP_H

#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "service/blob/blob_service.h"

struct put_group;

/* NULL where the system has no thread for it. */
struct put_group *put_group_new(void);
void put_group_free(struct put_group *group); /* when every upload has left; NULL is fine */

/* An upload begins: the group waits a little for its end before it commits others. */
void put_group_enter(struct put_group *group);
/* The upload is given up before it was handed to put_group_commit. */
void put_group_leave(struct put_group *group);

/* An upload that is whole. Until `done` it belongs to the group. */
struct put_commit {
	struct put_commit *next; /* the group's */
	struct blob_batch *batch;
	const struct op *op;
	enum rc rc; /* of the commit */
	struct err err;
	void (*done)(struct put_commit *commit); /* in the group's thread; must not block */
};
void put_group_commit(struct put_group *group, struct put_commit *commit);

#endif
