/* Waiting for a commit: each call by itself, or many together. */
#include "local/shared_commit.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "local/local_internal.h"

enum {
	DUE_COUNT = 256,
	DUE_S = 1,
	PUTS_MAX = 1000, /* of one path info, until no other was later */
};

/* A path info that was put: the record may have to be written again. */
struct put {
	struct local_insert *insert;
	struct buf message;
};

struct shared_commit {
	struct local_store *store;
	struct local_hold hold;
	int64_t since_ns; /* of the first call that did not wait; 0: none */
	struct put *puts;
	size_t count, room;
	enum rc rc; /* once it has failed */
	struct err err;
};

struct shared_commit *shared_commit_new(struct local_store *store)
{
	struct shared_commit *commit = mem_zalloc(sizeof(*commit));

	commit->store = store;
	return commit;
}

static void drop_puts(struct shared_commit *commit)
{
	for (size_t i = 0; i < commit->count; i++) {
		local_insert_unref(&commit->store->inserts, commit->puts[i].insert);
		buf_release(&commit->puts[i].message);
	}
	commit->count = 0;
}

void shared_commit_free(struct shared_commit *commit)
{
	if (!commit)
		return;
	drop_puts(commit);
	free(commit->puts);
	free(commit);
}

bool shared_commit_due(const struct shared_commit *commit)
{
	return !commit || !commit->since_ns || commit->count >= DUE_COUNT ||
	       clock_monotonic_ns() - commit->since_ns >= DUE_S * NS_PER_S;
}

/* That of this store, or NULL. */
static struct shared_commit *commit_of(const struct local_store *store, const struct op *op)
{
	return op->commit && op->commit->store == store ? op->commit : NULL;
}

static enum rc check(const struct shared_commit *commit, struct err *err)
{
	return commit->rc == RC_OK ? RC_OK : err_set(err, commit->rc, "%s", commit->err.message);
}

static void share(struct shared_commit *commit, struct local_hold *hold)
{
	if (hold->to == 0)
		return;
	if (commit->hold.from == 0 || hold->from < commit->hold.from)
		commit->hold.from = hold->from;
	if (hold->to > commit->hold.to)
		commit->hold.to = hold->to;
	if (!commit->since_ns)
		commit->since_ns = clock_monotonic_ns();
	*hold = (struct local_hold){ .from = 0 };
}

enum rc local_finish(struct local_store *store, const struct op *op, struct local_hold *hold,
		     struct err *err)
{
	struct shared_commit *commit = commit_of(store, op);

	if (!commit)
		return local_wait(store, op, hold, err);
	share(commit, hold);
	return check(commit, err);
}

/* ---- Path infos ---- */

static enum rc add_path_info(struct local_store *store, const struct op *op,
			     struct local_hold *hold, const uint8_t hash[STORE_PATH_HASH_SIZE],
			     struct view message, struct local_insert **out, struct err *err)
{
	struct digest key = local_path_info_key(hash);
	struct local_insert *insert =
		local_insert_new(LOCAL_TABLE_PATHS, hash, STORE_PATH_HASH_SIZE);
	enum rc rc = local_record_make(store->codec, LOCAL_RECORD_PATH_INFO, &key, message,
				       &insert->record, err);

	local_insert_settle(&store->inserts, insert,
			    rc == RC_OK ? LOCAL_INSERT_READY : LOCAL_INSERT_FAILED);
	if (rc == RC_OK)
		rc = local_add(store, op, hold, LOCAL_PACK_META, insert, err);
	*out = insert;
	return rc;
}

/* The number of a record is given out before it is committed. Where another process committed a higher
 * one for the same path meanwhile, the record is written again: so the order of the packs is the order
 * of the index. */
static enum rc put_alone(struct local_store *store, const struct op *op,
			 const uint8_t hash[STORE_PATH_HASH_SIZE], struct view message,
			 struct err *err)
{
	bool superseded = true;
	enum rc rc = RC_OK;

	for (int i = 0; rc == RC_OK && superseded; i++) {
		struct local_hold hold = { .from = 0 };
		struct local_insert *insert;

		if (i == PUTS_MAX)
			return err_set(err, RC_BUSY, "others put the same store path all the time");
		rc = add_path_info(store, op, &hold, hash, message, &insert, err);
		if (rc == RC_OK)
			rc = local_wait(store, op, &hold, err);
		superseded = rc == RC_OK && insert->superseded;
		local_insert_unref(&store->inserts, insert);
	}
	return rc;
}

static enum rc put_shared(struct shared_commit *commit, const struct op *op,
			  const uint8_t hash[STORE_PATH_HASH_SIZE], struct view message,
			  struct err *err)
{
	/* What it refers to may be in this commit: then it must not be committed without it. */
	struct local_hold hold = commit->hold;
	struct put put = { .message = BUF_INIT };
	enum rc rc = check(commit, err);

	if (rc == RC_OK)
		rc = add_path_info(commit->store, op, &hold, hash, message, &put.insert, err);
	if (rc != RC_OK) {
		local_insert_unref(&commit->store->inserts, put.insert);
		return rc;
	}
	share(commit, &hold);
	buf_append_view(&put.message, message);
	commit->puts = mem_grow(commit->puts, commit->count, &commit->room, 16, sizeof(put));
	commit->puts[commit->count++] = put;
	return RC_OK;
}

enum rc local_put_path_info(struct local_store *store, const struct op *op,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct view message,
			    struct err *err)
{
	struct shared_commit *commit = commit_of(store, op);

	return commit ? put_shared(commit, op, hash, message, err)
		      : put_alone(store, op, hash, message, err);
}

/* ---- Waiting together ---- */

static enum rc put_superseded_again(struct shared_commit *commit, const struct op *op,
				    struct err *err)
{
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < commit->count; i++) {
		const struct put *put = &commit->puts[i];

		if (put->insert->superseded)
			rc = put_alone(commit->store, op, put->insert->key, buf_view(&put->message),
				       err);
	}
	return rc;
}

enum rc shared_commit_wait(struct shared_commit *commit, const struct op *op, struct err *err)
{
	struct err own = ERR_INIT;

	if (!commit)
		return RC_OK;
	if (!err)
		err = &own;
	struct local_hold hold = commit->hold;
	enum rc rc = check(commit, err);
	if (rc == RC_OK)
		rc = local_wait(commit->store, op, &hold, err);
	if (rc == RC_OK)
		rc = put_superseded_again(commit, op, err);
	/* Then it is still on its way. */
	if (rc == RC_CANCELLED || rc == RC_DEADLINE)
		return rc;
	if (rc != RC_OK) {
		commit->rc = rc;
		commit->err = *err;
	}
	commit->hold = (struct local_hold){ .from = 0 };
	commit->since_ns = 0;
	drop_puts(commit);
	return rc;
}
