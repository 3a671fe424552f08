/*
 * Is what the index names still there, as it was written? Asked by whoever would otherwise leave
 * something out that "is stored already": what is damaged is absent to a writer, so that storing the
 * same bytes again heals. Thread-safe.
 *
 * A pack whose file was not changed since castor last wrote to it (by its ctime, see
 * docs/decisions/0020-damage.md) is believed; of any other the record is read and its CRC checked.
 */
#ifndef CASTOR_LOCAL_SOUND_H
#define CASTOR_LOCAL_SOUND_H

#include "local/local_internal.h"

/* What was found out of the pack that was asked for last; zeroed at first. Of one thread. */
struct local_sound {
	uint32_t pack; /* 0: none yet */
	enum { LOCAL_SOUND_GONE, LOCAL_SOUND_BELIEVED, LOCAL_SOUND_DOUBTFUL } state;
	uint64_t end;
};

/* RC_OK; RC_NOT_FOUND without a sentence: it must be stored again. Others: it could not be found out. */
enum rc local_sound_place(struct local_store *store, struct local_sound *sound,
			  enum local_record_kind kind, const struct digest *digest,
			  const struct local_place_value *value, struct err *err) MUST_USE;
/* local_find_place, and that. */
enum rc local_find_sound(struct local_store *store, struct local_sound *sound,
			 enum local_table table, const struct digest *digest,
			 struct local_place_value *out, struct err *err) MUST_USE;

/* The stamp of a file, as the index keeps it of a pack; 0: none. */
uint64_t local_stamp(int fd);

#endif
