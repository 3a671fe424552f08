/*
 * The layout of a NAR: the list of zstd frames that decode to it, one behind the other. Contents of
 * larger files are the frames of their chunks as the store has them; the NAR's own structure, and the
 * contents of small files, are literal frames, compressed once and kept with the layout. So a NAR
 * compressed can be sent without compressing anything, its length is known, and any range of it can be
 * sent. nar_body.h sends; nar_layouts.h keeps layouts by root node.
 *
 * A layout is immutable, shared by reference count, and holds the frames that it needs open.
 */
#ifndef CASTOR_TRANSFER_NAR_LAYOUT_H
#define CASTOR_TRANSFER_NAR_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "castore/node.h"
#include "service/services.h"

enum {
	NAR_LAYOUT_ID_SIZE = 16,
	NAR_LAYOUT_ID_HEX = 2 * NAR_LAYOUT_ID_SIZE,
	/* Files up to this size are put into literal frames, as long as the literals of the layout
	 * stay under NAR_LAYOUT_LITERALS. */
	NAR_LAYOUT_SMALL = 128 << 10,
	NAR_LAYOUT_LITERALS = 48 << 20,
	/* The data of one literal frame. */
	NAR_LAYOUT_LITERAL_RAW = 2 << 20,
	/* What of a blob without frames is sent at once. */
	NAR_LAYOUT_SLICE = 256 << 10,
};

enum nar_frame_kind {
	NAR_FRAME_LITERAL = 1, /* source: where its bytes are in `literals` */
	NAR_FRAME_STORED = 2,  /* source: its number in `stored` */
	NAR_FRAME_SLICE = 3,   /* source: its number in `slices`; sent as a frame of raw blocks */
};

struct nar_frame {
	uint64_t at;     /* where it begins in the body of frames */
	uint64_t nar_at; /* where what it decodes to begins in the NAR */
	uint32_t source;
	uint8_t kind; /* enum nar_frame_kind */
};

/* A part of a blob that is not stored as frames. */
struct nar_slice {
	struct digest blob;
	uint64_t blob_size, offset;
};

struct nar_layout {
	struct refcount ref;
	/* Of this very list of frames: another level of compression, another id. */
	uint8_t id[NAR_LAYOUT_ID_SIZE];
	struct nar_frame *frames; /* one more than count: where all of it ends */
	size_t count;
	struct buf literals;
	struct digest *chunks; /* of the stored frames */
	size_t chunk_count;
	struct blob_frames *stored; /* NULL: none are */
	struct nar_slice *slices;
	size_t slice_count;
};

struct nar_layout *nar_layout_ref(struct nar_layout *layout);
void nar_layout_unref(struct nar_layout *layout); /* NULL is fine */
void nar_layout_cleanup(struct nar_layout **layout);
#define AUTO_NAR_LAYOUT CLEANUP(nar_layout_cleanup)

/* The length of the body of frames, and of the NAR. */
uint64_t nar_layout_size(const struct nar_layout *layout);
uint64_t nar_layout_nar_size(const struct nar_layout *layout);
/* What that frame decodes to, in bytes. */
size_t nar_layout_raw_size(const struct nar_layout *layout, size_t frame);
/* NAR_LAYOUT_ID_HEX digits and a NUL. */
void nar_layout_id(const struct nar_layout *layout, char out[NAR_LAYOUT_ID_HEX + 1]);
/* Memory that it holds. */
size_t nar_layout_cost(const struct nar_layout *layout);
/* The frame that covers that offset, of the body of frames or (nar) of the NAR; less than its size.
 */
size_t nar_layout_find(const struct nar_layout *layout, bool nar, uint64_t offset);

/* Computes it: reads directories and small files. RC_NOT_FOUND: the root is not there; RC_CORRUPT:
 * something below it is missing or has another size, naming it; RC_TOO_LARGE. */
enum rc nar_layout_make(const struct services *services, const struct op *op,
			const struct node *node, struct nar_layout **out, struct err *err) MUST_USE;

/* To bytes and back, for the scratch table; appends. */
void nar_layout_encode(const struct nar_layout *layout, struct buf *out);
/* Finds its frames again. RC_CORRUPT: not a layout, or not of frames that are there now. */
enum rc nar_layout_decode(const struct services *services, const struct op *op, struct view bytes,
			  struct nar_layout **out, struct err *err) MUST_USE;

/* For nar_layout_make and _decode: adds frames in order, then finishes. */
enum rc nar_layout_add(struct nar_layout *layout, enum nar_frame_kind kind, uint32_t source,
		       uint64_t stored, uint64_t raw, struct err *err) MUST_USE;
struct nar_layout *nar_layout_new(void);
/* Computes the id. */
enum rc nar_layout_finish(struct nar_layout *layout, struct err *err) MUST_USE;

#endif
