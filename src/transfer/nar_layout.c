/* Layouts as values: their frames, their id, their bytes. nar_layout_make.c computes them. */
#include "transfer/nar_layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "base/text.h"
#include "castore/chunker.h"
#include "local/pack_format.h"

/* At the front of an encoded layout; another number for another form, or another way to make one. */
#define MAGIC      "castorL1"
#define MAGIC_SIZE 8

enum { FRAMES_MAX = 1 << 26 };

struct nar_layout *nar_layout_new(void)
{
	struct nar_layout *layout = mem_zalloc(sizeof(*layout));

	refcount_init(&layout->ref);
	layout->frames = mem_array(1, sizeof(layout->frames[0]));
	return layout;
}

struct nar_layout *nar_layout_ref(struct nar_layout *layout)
{
	refcount_ref(&layout->ref);
	return layout;
}

void nar_layout_unref(struct nar_layout *layout)
{
	if (!layout || !refcount_unref(&layout->ref))
		return;
	blob_frames_free(layout->stored);
	buf_release(&layout->literals);
	free(layout->frames);
	free(layout->chunks);
	free(layout->slices);
	free(layout);
}

void nar_layout_cleanup(struct nar_layout **layout)
{
	nar_layout_unref(*layout);
}

uint64_t nar_layout_size(const struct nar_layout *layout)
{
	return layout->frames[layout->count].at;
}

uint64_t nar_layout_nar_size(const struct nar_layout *layout)
{
	return layout->frames[layout->count].nar_at;
}

size_t nar_layout_raw_size(const struct nar_layout *layout, size_t frame)
{
	return (size_t)(layout->frames[frame + 1].nar_at - layout->frames[frame].nar_at);
}

void nar_layout_id(const struct nar_layout *layout, char out[NAR_LAYOUT_ID_HEX + 1])
{
	hex_encode(layout->id, sizeof(layout->id), out);
}

size_t nar_layout_cost(const struct nar_layout *layout)
{
	/* A stored frame also has its digest, place and file in struct blob_frames. */
	return sizeof(*layout) + layout->count * sizeof(layout->frames[0]) + layout->literals.cap +
	       layout->chunk_count * (2 * sizeof(struct digest) + 48) +
	       layout->slice_count * sizeof(layout->slices[0]);
}

size_t nar_layout_find(const struct nar_layout *layout, bool nar, uint64_t offset)
{
	size_t low = 0, high = layout->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		uint64_t at = nar ? layout->frames[middle].nar_at : layout->frames[middle].at;

		if (at <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Room grows by half whenever the count passes a power of two. */
enum rc nar_layout_add(struct nar_layout *layout, enum nar_frame_kind kind, uint32_t source,
		       uint64_t stored, uint64_t raw, struct err *err)
{
	struct nar_frame *frame;

	if (layout->count >= FRAMES_MAX)
		return err_set(err, RC_TOO_LARGE, "a NAR of more than %d frames", FRAMES_MAX);
	if ((layout->count & (layout->count + 1)) == 0)
		layout->frames = mem_realloc_array(layout->frames, 2 * (layout->count + 1),
						   sizeof(layout->frames[0]));
	frame = &layout->frames[layout->count++];
	frame->kind = (uint8_t)kind;
	frame->source = source;
	frame[1] = (struct nar_frame){ .at = frame->at + stored, .nar_at = frame->nar_at + raw };
	if (frame[1].at < frame->at || frame[1].nar_at < frame->nar_at)
		return err_set(err, RC_TOO_LARGE, "a NAR of more than 2^64 bytes");
	return RC_OK;
}

static struct view literal_of(const struct nar_layout *layout, size_t i)
{
	const struct nar_frame *frame = &layout->frames[i];

	return view_of(layout->literals.ptr + frame->source, (size_t)(frame[1].at - frame->at));
}

/* What a frame is, without the bytes of a literal: kind, lengths, and where its data comes from. */
static void append_frame(const struct nar_layout *layout, size_t i, struct buf *out)
{
	const struct nar_frame *frame = &layout->frames[i];
	const struct nar_slice *slice;

	buf_append_byte(out, frame->kind);
	buf_append_u32le(out, (uint32_t)(frame[1].at - frame->at));
	buf_append_u32le(out, (uint32_t)(frame[1].nar_at - frame->nar_at));
	if (frame->kind == NAR_FRAME_STORED) {
		buf_append(out, layout->chunks[frame->source].bytes, DIGEST_SIZE);
	} else if (frame->kind == NAR_FRAME_SLICE) {
		slice = &layout->slices[frame->source];
		buf_append(out, slice->blob.bytes, DIGEST_SIZE);
		buf_append_u64le(out, slice->blob_size);
		buf_append_u64le(out, slice->offset);
	}
}

enum rc nar_layout_finish(struct nar_layout *layout, struct err *err)
{
	struct buf list CLEANUP(buf_release) = BUF_INIT;
	uint8_t sha256[EVP_MAX_MD_SIZE];

	for (size_t i = 0; i < layout->count; i++) {
		append_frame(layout, i, &list);
		if (layout->frames[i].kind == NAR_FRAME_LITERAL) {
			struct digest digest = digest_of(literal_of(layout, i));

			buf_append(&list, digest.bytes, DIGEST_SIZE);
		}
	}
	if (EVP_Digest(list.ptr, list.len, sha256, NULL, EVP_sha256(), NULL) != 1)
		return err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	memcpy(layout->id, sha256, sizeof(layout->id));
	return RC_OK;
}

/*
 * Encoded: the magic, the BLAKE3 of all that follows, u64 number of frames, the frames, the literals.
 */
void nar_layout_encode(const struct nar_layout *layout, struct buf *out)
{
	size_t start = out->len + MAGIC_SIZE + DIGEST_SIZE;
	struct digest digest;

	buf_append(out, MAGIC, MAGIC_SIZE);
	buf_append_zeros(out, DIGEST_SIZE);
	buf_append_u64le(out, layout->count);
	for (size_t i = 0; i < layout->count; i++)
		append_frame(layout, i, out);
	buf_append_view(out, buf_view(&layout->literals));
	digest = digest_of(view_of(out->ptr + start, out->len - start));
	memcpy(out->ptr + start - DIGEST_SIZE, digest.bytes, DIGEST_SIZE);
}

static enum rc bad(struct err *err)
{
	return err_set(err, RC_CORRUPT, "a NAR layout that was kept is damaged");
}

static enum rc decode_frame(struct nar_layout *layout, struct cursor *cursor, uint64_t *literals,
			    struct err *err)
{
	uint32_t stored, raw;
	uint64_t source;
	uint8_t kind;

	if (!cursor_u8(cursor, &kind) || !cursor_u32le(cursor, &stored) ||
	    !cursor_u32le(cursor, &raw) || stored == 0 || raw == 0)
		return bad(err);
	switch (kind) {
	case NAR_FRAME_LITERAL:
		source = *literals;
		*literals += stored;
		if (*literals > UINT32_MAX)
			return bad(err);
		break;
	case NAR_FRAME_STORED:
		source = layout->chunk_count++;
		if (!cursor_copy(cursor, layout->chunks[source].bytes, DIGEST_SIZE))
			return bad(err);
		break;
	case NAR_FRAME_SLICE: {
		struct nar_slice *slice = &layout->slices[source = layout->slice_count++];

		if (!cursor_copy(cursor, slice->blob.bytes, DIGEST_SIZE) ||
		    !cursor_u64le(cursor, &slice->blob_size) ||
		    !cursor_u64le(cursor, &slice->offset) || slice->offset > slice->blob_size ||
		    raw > slice->blob_size - slice->offset || raw > CHUNK_MAX_EVER ||
		    stored != local_raw_frame_size(raw))
			return bad(err);
		break;
	}
	default:
		return bad(err);
	}
	return nar_layout_add(layout, (enum nar_frame_kind)kind, (uint32_t)source, stored, raw,
			      err);
}

/* The stored frames must be as long as they were when the layout was made. */
static enum rc open_stored(const struct services *services, const struct op *op,
			   struct nar_layout *layout, struct err *err)
{
	enum rc rc = RC_OK;

	if (layout->chunk_count > 0)
		rc = blob_service_open_frames(services->blobs, op, layout->chunks,
					      layout->chunk_count, &layout->stored, err);
	if (rc == RC_NOT_FOUND || rc == RC_UNSUPPORTED)
		return RC_CORRUPT;
	for (size_t i = 0; rc == RC_OK && i < layout->count; i++) {
		const struct nar_frame *frame = &layout->frames[i];

		if (frame->kind == NAR_FRAME_STORED &&
		    (layout->stored->stored[frame->source] != frame[1].at - frame->at ||
		     layout->stored->raw[frame->source] != frame[1].nar_at - frame->nar_at))
			return err_set(err, RC_CORRUPT, "chunks were compressed again");
	}
	return rc;
}

static enum rc decode(struct nar_layout *layout, struct view bytes, struct err *err)
{
	struct cursor cursor = cursor_of(bytes);
	uint64_t count, literals = 0;
	struct digest digest, want;
	struct view magic, rest;

	if (!cursor_view(&cursor, MAGIC_SIZE, &magic) || !view_equal_string(magic, MAGIC) ||
	    !cursor_copy(&cursor, want.bytes, DIGEST_SIZE))
		return bad(err);
	digest = digest_of(view_slice(bytes, cursor.at, cursor_left(&cursor)));
	if (!digest_equal(&digest, &want) || !cursor_u64le(&cursor, &count) || count == 0 ||
	    count > cursor_left(&cursor) / 9 || count > FRAMES_MAX)
		return bad(err);
	layout->chunks = mem_array((size_t)count, sizeof(layout->chunks[0]));
	layout->slices = mem_array((size_t)count, sizeof(layout->slices[0]));
	for (uint64_t i = 0; i < count; i++) {
		enum rc rc = decode_frame(layout, &cursor, &literals, err);

		if (rc != RC_OK)
			return rc;
	}
	if (cursor_left(&cursor) != literals || !cursor_view(&cursor, (size_t)literals, &rest))
		return bad(err);
	buf_append_view(&layout->literals, rest);
	layout->chunks =
		mem_realloc_array(layout->chunks, layout->chunk_count, sizeof(layout->chunks[0]));
	layout->slices =
		mem_realloc_array(layout->slices, layout->slice_count, sizeof(layout->slices[0]));
	return RC_OK;
}

enum rc nar_layout_decode(const struct services *services, const struct op *op, struct view bytes,
			  struct nar_layout **out, struct err *err)
{
	struct nar_layout *layout = nar_layout_new();
	enum rc rc = decode(layout, bytes, err);

	*out = NULL;
	if (rc == RC_OK)
		rc = open_stored(services, op, layout, err);
	if (rc == RC_OK)
		rc = nar_layout_finish(layout, err);
	if (rc == RC_OK)
		*out = layout;
	else
		nar_layout_unref(layout);
	return rc;
}
