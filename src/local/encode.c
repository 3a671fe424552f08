/* The dear half of a put: hashing, finding out what is known, compressing. Runs in many threads. */
#include "local/local_internal.h"
#include "local/sound.h"

/* The claimer's part: *state is how the claim ends. */
static enum rc make(struct local_store *store, const struct digest *digest, struct view chunk,
		    struct local_insert *insert, enum local_insert_state *state, struct err *err)
{
	struct local_sound sound = { .pack = 0 };
	struct local_place_value value;
	enum rc rc = local_find_sound(store, &sound, LOCAL_TABLE_CHUNKS, digest, &value, err);

	*state = LOCAL_INSERT_FAILED;
	if (rc == RC_OK) {
		*state = LOCAL_INSERT_STORED;
		local_touch(store, LOCAL_TABLE_CHUNKS, view_of(digest->bytes, DIGEST_SIZE),
			    value.day);
	} else if (rc == RC_NOT_FOUND) {
		/* It was not there; or it is damaged, and found by nobody who would hang on it. */
		insert->heals = value.place.raw != 0;
		rc = local_record_make(store->codec, LOCAL_RECORD_CHUNK, digest, chunk,
				       &insert->record, err);
		if (rc == RC_OK)
			*state = LOCAL_INSERT_READY;
	}
	return rc;
}

enum rc local_encode_chunk(struct local_store *store, struct view chunk, struct local_insert **out,
			   size_t *stored, bool *known, struct err *err)
{
	struct digest digest = digest_of(chunk);
	enum local_insert_state state;
	enum rc rc;
	bool mine;

	*out = NULL;
	*stored = 0;
	*known = true;
	/* Claimed before the index is asked, so that of two threads with the same chunk only one
	 * compresses it. */
	struct local_insert *insert = local_insert_claim(&store->inserts, LOCAL_TABLE_CHUNKS,
							 digest.bytes, DIGEST_SIZE, &mine);
	if (mine) {
		rc = make(store, &digest, chunk, insert, &state, err);
		*known = state == LOCAL_INSERT_STORED;
		if (state == LOCAL_INSERT_READY)
			*stored = local_record_size(&insert->record);
		local_insert_settle(&store->inserts, insert, state);
		if (rc != RC_OK) {
			local_insert_unref(&store->inserts, insert);
			return rc;
		}
	}
	*out = insert;
	return RC_OK;
}
