/*
 * Reads a stretch of a NAR by its layout, front to back: as frames (the zstd body) or plain. A body
 * belongs to one thread at a time.
 */
#ifndef CASTOR_TRANSFER_NAR_BODY_H
#define CASTOR_TRANSFER_NAR_BODY_H

#include <stdbool.h>

#include "transfer/nar_decoded.h"
#include "transfer/nar_layout.h"

struct nar_body;

/* Bytes from `at` up to `end` (at most the size of the body). Takes references on both. */
struct nar_body *nar_body_new(struct nar_layout *layout, struct blob_service *blobs, bool plain,
			      uint64_t at, uint64_t end);
/* Of a plain body: decoded frames come from there and go there. Borrowed. Before the first read. */
void nar_body_use(struct nar_body *body, struct nar_decoded *decoded);
void nar_body_free(struct nar_body *body); /* NULL is fine */
/* Up to len bytes; *got may be smaller at any time, and is 0 at the end only. Chunks are not checked
 * against their digests: who asked for a NAR checks its hash. */
enum rc nar_body_read(struct nar_body *body, const struct op *op, void *out, size_t len,
		      size_t *got, struct err *err) MUST_USE;
/* That everything a body of it needs can be read, as far as can be told without reading it. Frames that
 * are held open need no question. RC_NOT_FOUND. */
enum rc nar_body_check(const struct nar_layout *layout, struct blob_service *blobs,
		       const struct op *op, struct err *err) MUST_USE;

#endif
