/*
 * Reads packs and raw files. Keeps descriptors open (at most a quarter of what the process may have) and the last windows of meta
 * packs in memory, so that a walk over directories costs few system calls. Thread-safe.
 */
#ifndef CASTOR_LOCAL_PACKS_H
#define CASTOR_LOCAL_PACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/digest.h"
#include "local/codec.h"
#include "local/index_format.h"
#include "local/pack_format.h"

enum { LOCAL_PACK_NAME_MAX = 16, LOCAL_RAW_NAME_MAX = 72 };
/* "0000002a.pack" */
void local_pack_name(uint32_t id, char out[LOCAL_PACK_NAME_MAX]);
/* "af/af1349…": the directory, then the whole digest. */
void local_raw_name(const struct digest *blob, char out[LOCAL_RAW_NAME_MAX]);

struct local_packs;
/* Borrows the descriptors of the two directories, and the codec. */
struct local_packs *local_packs_new(int packs_fd, int raw_fd, struct local_codec *codec);
void local_packs_free(struct local_packs *packs); /* NULL is fine */

/* All of these: RC_NOT_FOUND means that the pack is not there any more (look the place up again);
 * RC_CORRUPT names digest and place. What is read is not checked against its digest, but its
 * header and form are; meta records are checked by their CRC. */
/* The data of a chunk, place->raw bytes. */
enum rc local_packs_chunk(struct local_packs *packs, const struct local_place_value *value,
			  const struct digest *digest, void *out, struct err *err) MUST_USE;
/* The frames of chunks as they are stored, one behind the other: the sum of their stored lengths.
 * Neighbours are read at once. RC_UNSUPPORTED for a stretch of a raw file. */
enum rc local_packs_frames(struct local_packs *packs, const struct local_place *places,
			   const struct digest *digests, size_t count, uint8_t *out,
			   struct err *err) MUST_USE;
/* The data of a record of a meta pack; appends. */
enum rc local_packs_meta(struct local_packs *packs, const struct local_place *place,
			 enum local_record_kind kind, const struct digest *digest, struct buf *out,
			 struct err *err) MUST_USE;

/* Many chunks, each of which lies in a pack, in the order of their places. */
struct local_many {
	struct local_place_value value;
	const struct digest *digest;
	size_t i; /* the caller's */
};
typedef void local_many_done(void *context, size_t i, enum rc rc, struct view bytes,
			     const struct err *err);
/* Sorts items by place, reads neighbours at once, calls done for each. RC_NOT_FOUND for an item
 * whose pack is gone. */
void local_packs_many(struct local_packs *packs, struct local_many *items, size_t count,
		      local_many_done *done, void *context);

/* Starts to read a place, without waiting. */
void local_packs_will_need(struct local_packs *packs, const struct local_place_value *value);
/* A new descriptor of a raw file. RC_NOT_FOUND. */
enum rc local_packs_raw_file(struct local_packs *packs, const struct digest *blob, int *fd,
			     struct err *err) MUST_USE;

#endif
