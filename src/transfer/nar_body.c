/* Sends a layout. Whole frames go straight to where the caller wants them, as many as fit; of what
 * does not fit, the frame is held here, or where the cache of decoded frames has it. */
#include "transfer/nar_body.h"

#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/mem.h"
#include "local/pack_format.h"

struct nar_body {
	struct nar_layout *layout;
	struct blob_service *blobs;
	bool plain;
	uint64_t at, end;
	size_t frame;                /* the one that covers `at` */
	struct nar_decoded *decoded; /* borrowed; NULL: there is no such cache */
	struct buf held;             /* the data of one frame */
	struct nar_stretch *stretch; /* the same, of the cache: then `held` is not used */
	size_t held_frame;           /* which one; SIZE_MAX: none */
	struct buf scratch;          /* stored frames that are being decoded */
	struct blob_reader *blob;    /* of the last slice, or NULL */
	ZSTD_DCtx *zstd;
};

struct nar_body *nar_body_new(struct nar_layout *layout, struct blob_service *blobs, bool plain,
			      uint64_t at, uint64_t end)
{
	struct nar_body *body = mem_zalloc(sizeof(*body));

	body->layout = nar_layout_ref(layout);
	body->blobs = blob_service_ref(blobs);
	body->plain = plain;
	body->at = at;
	body->end = end;
	body->held_frame = SIZE_MAX;
	if (at < end)
		body->frame = nar_layout_find(layout, plain, at);
	return body;
}

void nar_body_use(struct nar_body *body, struct nar_decoded *decoded)
{
	if (body->plain)
		body->decoded = decoded;
}

void nar_body_free(struct nar_body *body)
{
	if (!body)
		return;
	nar_stretch_unref(body->stretch);
	blob_reader_free(body->blob);
	nar_layout_unref(body->layout);
	blob_service_unref(body->blobs);
	buf_release(&body->held);
	buf_release(&body->scratch);
	ZSTD_freeDCtx(body->zstd);
	free(body);
}

static uint64_t start_of(const struct nar_body *body, size_t frame)
{
	const struct nar_frame *at = &body->layout->frames[frame];

	return body->plain ? at->nar_at : at->at;
}

static size_t stored_size(const struct nar_layout *layout, size_t frame)
{
	return (size_t)(layout->frames[frame + 1].at - layout->frames[frame].at);
}

static enum rc decode(struct nar_body *body, const uint8_t *from, size_t stored, uint8_t *out,
		      size_t raw, struct err *err)
{
	size_t got;

	if (!body->zstd && !(body->zstd = ZSTD_createDCtx()))
		return err_set(err, RC_NO_MEMORY, "no memory for zstd");
	got = ZSTD_decompressDCtx(body->zstd, out, raw, from, stored);
	if (ZSTD_isError(got))
		return err_set(err, RC_CORRUPT, "a stored frame is damaged: %s",
			       ZSTD_getErrorName(got));
	if (got != raw)
		return err_set(err, RC_CORRUPT, "a stored frame has another length");
	return RC_OK;
}

/* ---- One kind each: `count` frames from that one, to out ---- */

static enum rc read_stored(struct nar_body *body, const struct op *op, size_t frame, size_t count,
			   uint8_t *out, struct err *err)
{
	const struct nar_layout *layout = body->layout;
	const struct nar_frame *frames = &layout->frames[frame];
	size_t len = (size_t)(frames[count].at - frames[0].at), at = 0;
	enum rc rc;

	if (!body->plain)
		return blob_frames_read(layout->stored, op, frames[0].source, count, out, err);
	buf_clear(&body->scratch);
	if (!buf_try_reserve(&body->scratch, len))
		return err_set(err, RC_NO_MEMORY, "no memory to read %zu bytes", len);
	rc = blob_frames_read(layout->stored, op, frames[0].source, count, body->scratch.ptr, err);
	for (size_t i = frame; rc == RC_OK && i < frame + count; i++) {
		rc = decode(body, body->scratch.ptr + at, stored_size(layout, i), out,
			    nar_layout_raw_size(layout, i), err);
		at += stored_size(layout, i);
		out += nar_layout_raw_size(layout, i);
	}
	return rc;
}

static enum rc read_literal(struct nar_body *body, size_t frame, uint8_t *out, struct err *err)
{
	const struct nar_layout *layout = body->layout;
	const uint8_t *from = layout->literals.ptr + layout->frames[frame].source;
	size_t stored = stored_size(layout, frame);

	if (body->plain)
		return decode(body, from, stored, out, nar_layout_raw_size(layout, frame), err);
	memcpy(out, from, stored);
	return RC_OK;
}

static enum rc read_slice(struct nar_body *body, const struct op *op, size_t frame, uint8_t *out,
			  struct err *err)
{
	const struct nar_slice *slice = &body->layout->slices[body->layout->frames[frame].source];
	size_t raw = nar_layout_raw_size(body->layout, frame), got = 0;
	uint8_t *to = out;
	enum rc rc = RC_OK;

	if (body->blob && !digest_equal(&body->blob->digest, &slice->blob)) {
		blob_reader_free(body->blob);
		body->blob = NULL;
	}
	if (!body->blob)
		rc = blob_service_open_read(body->blobs, op, &slice->blob, slice->blob_size,
					    &body->blob, err);
	if (rc == RC_OK && !body->plain) {
		buf_clear(&body->scratch);
		if (!buf_try_reserve(&body->scratch, raw))
			return err_set(err, RC_NO_MEMORY, "no memory to read %zu bytes", raw);
		to = body->scratch.ptr;
	}
	if (rc == RC_OK)
		rc = blob_reader_pread(body->blob, op, to, raw, slice->offset, &got, err);
	if (rc == RC_OK && got != raw)
		rc = err_set(err, RC_CORRUPT, "a blob ends before its node says");
	if (rc == RC_OK && !body->plain)
		local_raw_frame_encode(view_of(to, raw), out);
	return rc;
}

static enum rc make_frames(struct nar_body *body, const struct op *op, size_t frame, size_t count,
			   uint8_t *out, struct err *err)
{
	switch (body->layout->frames[frame].kind) {
	case NAR_FRAME_LITERAL:
		return read_literal(body, frame, out, err);
	case NAR_FRAME_STORED:
		return read_stored(body, op, frame, count, out, err);
	default:
		return read_slice(body, op, frame, out, err);
	}
}

/* NULL: the cache lacks it, or there is no cache. */
static struct nar_stretch *find_frame(const struct nar_body *body, size_t frame)
{
	return body->decoded ? nar_decoded_get(body->decoded, body->layout, frame) : NULL;
}

/* Of a frame that find_frame did not find. */
static enum rc make_frame(struct nar_body *body, const struct op *op, size_t frame, uint8_t *out,
			  struct err *err)
{
	enum rc rc = make_frames(body, op, frame, 1, out, err);

	if (rc == RC_OK && body->decoded)
		nar_decoded_offer(body->decoded, body->layout, frame,
				  view_of(out, nar_layout_raw_size(body->layout, frame)));
	return rc;
}

/* With a cache, `count` is 1. */
static enum rc read_frames(struct nar_body *body, const struct op *op, size_t frame, size_t count,
			   uint8_t *out, struct err *err)
{
	struct nar_stretch *stretch;

	if (!body->decoded)
		return make_frames(body, op, frame, count, out, err);
	stretch = find_frame(body, frame);
	if (!stretch)
		return make_frame(body, op, frame, out, err);
	memcpy(out, stretch->bytes, stretch->len);
	nar_stretch_unref(stretch);
	return RC_OK;
}

/* How many frames from the one at `at`, which begins there, fit whole into room: stored ones many at
 * once, others alone. */
static size_t fitting(const struct nar_body *body, uint64_t room)
{
	const struct nar_frame *frames = body->layout->frames;
	uint64_t start = start_of(body, body->frame);
	size_t frame = body->frame;

	do {
		if (start_of(body, frame + 1) - start > room)
			break;
		frame++;
	} while (!body->decoded && frame < body->layout->count &&
		 frames[frame].kind == NAR_FRAME_STORED &&
		 frames[frame - 1].kind == NAR_FRAME_STORED);
	return frame - body->frame;
}

/* Brings the frame that covers `at` into held, or stretch. */
static enum rc hold(struct nar_body *body, const struct op *op, struct err *err)
{
	size_t len = (size_t)(start_of(body, body->frame + 1) - start_of(body, body->frame));
	enum rc rc;

	if (body->held_frame == body->frame)
		return RC_OK;
	body->held_frame = SIZE_MAX;
	nar_stretch_unref(body->stretch);
	body->stretch = find_frame(body, body->frame);
	if (body->stretch) {
		body->held_frame = body->frame;
		return RC_OK;
	}
	buf_clear(&body->held);
	if (!buf_try_reserve(&body->held, len))
		return err_set(err, RC_NO_MEMORY, "no memory for %zu bytes of a NAR", len);
	rc = make_frame(body, op, body->frame, body->held.ptr, err);
	if (rc == RC_OK)
		body->held_frame = body->frame;
	return rc;
}

static const uint8_t *held_bytes(const struct nar_body *body)
{
	return body->stretch ? body->stretch->bytes : body->held.ptr;
}

enum rc nar_body_read(struct nar_body *body, const struct op *op, void *out, size_t len,
		      size_t *got, struct err *err)
{
	uint8_t *to = out;

	*got = 0;
	while (body->at < body->end && *got < len) {
		uint64_t start = start_of(body, body->frame), left = body->end - body->at;
		uint64_t room = len - *got < left ? len - *got : left;
		size_t count = body->at == start ? fitting(body, room) : 0, here;
		enum rc rc;

		if (count > 0) {
			here = (size_t)(start_of(body, body->frame + count) - start);
			rc = read_frames(body, op, body->frame, count, to + *got, err);
			body->frame += count;
		} else {
			uint64_t frame_end = start_of(body, body->frame + 1);

			/* It fits whole into the next call's room, most likely. */
			if (*got > 0 && body->held_frame != body->frame &&
			    frame_end - start <= len && frame_end <= body->end)
				break;
			rc = hold(body, op, err);
			here = (size_t)(frame_end - body->at < room ? frame_end - body->at : room);
			if (rc == RC_OK)
				memcpy(to + *got, held_bytes(body) + (body->at - start), here);
			if (body->at + here == frame_end)
				body->frame++;
		}
		if (rc != RC_OK)
			return rc;
		body->at += here;
		*got += here;
	}
	return RC_OK;
}

enum rc nar_body_check(const struct nar_layout *layout, struct blob_service *blobs,
		       const struct op *op, struct err *err)
{
	AUTO_FREE struct digest *digests = mem_array(layout->slice_count, sizeof(*digests));
	AUTO_FREE bool *there = mem_array(layout->slice_count, sizeof(*there));
	char hex[DIGEST_HEX_MAX];
	size_t count = 0;
	enum rc rc;

	for (size_t i = 0; i < layout->slice_count; i++) {
		const struct digest *blob = &layout->slices[i].blob;

		if (count == 0 || !digest_equal(&digests[count - 1], blob))
			digests[count++] = *blob;
	}
	if (count == 0)
		return RC_OK;
	rc = blob_service_has_many(blobs, op, digests, count, there, err);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		if (there[i])
			continue;
		digest_hex(&digests[i], hex);
		rc = err_set(err, RC_NOT_FOUND, "blob %s of a NAR is not there", hex);
	}
	return rc;
}
