/*
 * What frames of layouts decode to, for bodies that are sent plain: a bounded cache, since decoding
 * costs several times what sending does. Stored frames are kept by their chunk, so that NARs share them.
 *
 * While there is room everything is kept. After that only one of some frames that are missing comes in:
 * who reads all NARs in turn, and more than fits, then still finds most of what did, where a plain
 * least-recently-used cache would have thrown away just what is asked for next.
 *
 * Thread-safe; none of it waits.
 */
#ifndef CASTOR_TRANSFER_NAR_DECODED_H
#define CASTOR_TRANSFER_NAR_DECODED_H

#include "base/refcount.h"
#include "transfer/nar_layout.h"

enum {
	/* Shorter frames are decoded as fast as they are found. */
	NAR_DECODED_MIN = 8 << 10,
	/* Of that many frames that find no room, one is kept in place of the coldest. */
	NAR_DECODED_ADMIT = 32,
};

struct nar_decoded;

/* A frame, decoded; immutable. */
struct nar_stretch {
	struct refcount ref;
	size_t len;
	uint8_t bytes[];
};

void nar_stretch_unref(struct nar_stretch *stretch); /* NULL is fine */

/* budget: bytes of memory. */
struct nar_decoded *nar_decoded_new(size_t budget);
void nar_decoded_free(struct nar_decoded *decoded); /* NULL is fine */
/* A new reference, or NULL. */
struct nar_stretch *nar_decoded_get(struct nar_decoded *decoded, const struct nar_layout *layout,
				    size_t frame);
/* Offers what that frame, which was not there, decodes to; copies it, if it is to be kept. */
void nar_decoded_offer(struct nar_decoded *decoded, const struct nar_layout *layout, size_t frame,
		       struct view bytes);

#endif
