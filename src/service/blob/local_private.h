/* What the files of the local blob backend share. */
#ifndef CASTOR_SERVICE_BLOB_LOCAL_PRIVATE_H
#define CASTOR_SERVICE_BLOB_LOCAL_PRIVATE_H

#include "local/local_internal.h"
#include "local/sound.h"
#include "service/blob/blob_service.h"

struct blob_local {
	struct blob_service base;
	struct local_store *store;
};

struct blob_local *blob_local_of(struct blob_service *service);
enum rc blob_local_not_found(const struct digest *digest, struct err *err);

/* How a blob is kept: as one chunk, or by a list of chunks. */
struct blob_local_found {
	bool listed;
	struct local_place_value place; /* not listed */
	struct local_blob_value blob;   /* listed; blob.encoded is bytes below */
	struct buf bytes;               /* owned copy of the encoded segments */
};
/* RC_NOT_FOUND without a sentence. Counts as being asked for. */
enum rc blob_local_find(struct local_store *store, const struct digest *digest,
			struct blob_local_found *out, struct err *err) MUST_USE;
uint64_t blob_local_found_size(const struct blob_local_found *found);

/* The slots open_read and open_batch. */
enum rc blob_local_open_read(struct blob_service *service, const struct op *op,
			     const struct digest *digest, uint64_t size, struct blob_reader **out,
			     struct err *err) MUST_USE;
enum rc blob_local_open_batch(struct blob_service *service, const struct op *op,
			      struct blob_batch **out, struct err *err) MUST_USE;

/* The slot open_frames; local_frames.c. */
enum rc blob_local_open_frames(struct blob_service *service, const struct op *op,
			       const struct digest *chunks, size_t count, struct blob_frames **out,
			       struct err *err) MUST_USE;

/* Reads segment i of a listed blob into payload (cleared first) and checks that it is the one. */
enum rc blob_local_segment(struct local_store *store, const struct digest *digest,
			   const struct local_blob_value *blob, uint32_t i, struct buf *payload,
			   struct local_segment *out, struct err *err) MUST_USE;

/* Finds a blob that can be read, as far as local/sound.h tells; RC_NOT_FOUND without a sentence. The caller
 * releases found->bytes. */
enum rc blob_local_sound(struct local_store *store, struct local_sound *sound,
			 const struct digest *digest, struct blob_local_found *found,
			 struct err *err) MUST_USE;

#endif
