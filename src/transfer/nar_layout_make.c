/*
 * Computes the layout of a NAR. A walk over the directories writes the NAR's structure into a text,
 * with room left for the contents of small files, which are then brought many at once; a text becomes
 * a literal frame when a large file comes, or when it is long enough. Chunks of large files are noted,
 * and looked up all at once at the end.
 */
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/mem.h"
#include "castore/chunker.h"
#include "local/pack_format.h"
#include "nix/nar_writer.h"
#include "transfer/nar_layout.h"

enum {
	LEVEL = 6,
	SMALL_AT_ONCE = 512, /* blobs brought by one call */
};

/* A directory that is being walked. */
struct open_directory {
	struct directory *dir;
	size_t next; /* the entry that comes next */
};

/* Room in the text for a small blob. */
struct hole {
	struct digest digest;
	size_t at, size;
};

/* What comes one behind the other: a literal that is already compressed, or a chunk. */
struct piece {
	uint64_t stored; /* of a literal */
	uint64_t raw;
	uint32_t source; /* of a literal: where in literals; of a chunk: its number */
	bool literal;
};

struct maker {
	const struct services *services;
	const struct op *op;
	struct nar_layout *layout;
	ZSTD_CCtx *zstd;
	struct buf text; /* of the literal frame that is being gathered */
	struct hole *holes;
	size_t hole_count, hole_room;
	struct piece *pieces;
	size_t piece_count, piece_room;
	struct digest *chunks;    /* of the chunks, in order */
	struct nar_slice *slices; /* where each chunk lies in its blob */
	size_t chunk_count, chunk_room;
	struct open_directory stack[NODE_DEPTH_MAX];
	unsigned depth;
};

static void maker_free(struct maker *maker)
{
	while (maker->depth > 0)
		directory_unref(maker->stack[--maker->depth].dir);
	ZSTD_freeCCtx(maker->zstd);
	buf_release(&maker->text);
	free(maker->holes);
	free(maker->pieces);
	free(maker->chunks);
	free(maker->slices);
	nar_layout_unref(maker->layout);
	free(maker);
}

/* ---- Literals ---- */

struct filling {
	struct maker *maker;
	struct hole *first;
	struct digest failed; /* of the first that could not be had */
	size_t done;
	enum rc rc;
};

static void fill_hole(void *context, size_t i, enum rc rc, struct view bytes)
{
	struct filling *filling = context;
	struct hole *hole = &filling->first[i];

	filling->done++;
	if (rc == RC_OK && bytes.len != hole->size)
		rc = RC_CORRUPT;
	if (rc == RC_OK)
		memcpy(filling->maker->text.ptr + hole->at, bytes.ptr, bytes.len);
	else if (filling->rc == RC_OK) {
		filling->rc = rc;
		filling->failed = hole->digest;
	}
}

static enum rc fill_holes(struct maker *maker, struct err *err)
{
	struct digest digests[SMALL_AT_ONCE];
	char hex[DIGEST_HEX_MAX];

	for (size_t at = 0; at < maker->hole_count;) {
		struct filling filling = { .maker = maker, .first = &maker->holes[at] };
		size_t n = maker->hole_count - at;

		if (n > SMALL_AT_ONCE)
			n = SMALL_AT_ONCE;
		for (size_t i = 0; i < n; i++)
			digests[i] = filling.first[i].digest;
		enum rc rc = blob_service_get_many(maker->services->blobs, maker->op, digests, n,
						   fill_hole, &filling, err);
		if (rc != RC_OK)
			return rc;
		if (filling.rc != RC_OK) {
			digest_hex(&filling.failed, hex);
			rc = filling.rc == RC_NOT_FOUND ? RC_CORRUPT : filling.rc;
			return err_set(err, rc, "blob %s of a NAR: %s", hex, rc_name(filling.rc));
		}
		at += n;
	}
	maker->hole_count = 0;
	return RC_OK;
}

static struct piece *add_piece(struct maker *maker)
{
	maker->pieces = mem_grow(maker->pieces, maker->piece_count, &maker->piece_room, 64,
				 sizeof(maker->pieces[0]));
	return &maker->pieces[maker->piece_count++];
}

/* Makes a literal frame of the text. */
static enum rc flush(struct maker *maker, struct err *err)
{
	struct buf *literals = &maker->layout->literals;
	enum rc rc = fill_holes(maker, err);
	size_t start = literals->len, len;

	if (rc != RC_OK || maker->text.len == 0)
		return rc;
	if (start > UINT32_MAX - ZSTD_compressBound(maker->text.len) ||
	    maker->text.len > UINT32_MAX)
		return err_set(err, RC_TOO_LARGE, "a NAR with too long a list of names");
	if (!buf_try_reserve(literals, ZSTD_compressBound(maker->text.len)))
		return err_set(err, RC_NO_MEMORY, "no memory for the layout of a NAR");
	len = ZSTD_compress2(maker->zstd, literals->ptr + start, literals->cap - start,
			     maker->text.ptr, maker->text.len);
	if (ZSTD_isError(len))
		return err_set(err, RC_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(len));
	literals->len += len;
	*add_piece(maker) = (struct piece){
		.stored = len, .raw = maker->text.len, .source = (uint32_t)start, .literal = true
	};
	buf_clear(&maker->text);
	return RC_OK;
}

/* ---- Files ---- */

static void add_small(struct maker *maker, const struct node *node)
{
	size_t size = (size_t)node->size;

	maker->holes = mem_grow(maker->holes, maker->hole_count, &maker->hole_room, 64,
				sizeof(maker->holes[0]));
	maker->holes[maker->hole_count++] =
		(struct hole){ .digest = node->digest, .at = maker->text.len, .size = size };
	buf_append_zeros(&maker->text, size);
}

static enum rc add_chunk(struct maker *maker, const struct node *node, const struct digest *digest,
			 uint64_t offset, uint64_t size, struct err *err)
{
	if (maker->chunk_count >= UINT32_MAX || size == 0)
		return err_set(err, RC_TOO_LARGE, "a NAR of too many chunks");
	if (maker->chunk_count == maker->chunk_room) {
		maker->chunk_room = maker->chunk_room ? 2 * maker->chunk_room : 64;
		maker->chunks = mem_realloc_array(maker->chunks, maker->chunk_room,
						  sizeof(maker->chunks[0]));
		maker->slices = mem_realloc_array(maker->slices, maker->chunk_room,
						  sizeof(maker->slices[0]));
	}
	*add_piece(maker) = (struct piece){ .raw = size, .source = (uint32_t)maker->chunk_count };
	maker->chunks[maker->chunk_count] = *digest;
	maker->slices[maker->chunk_count++] = (struct nar_slice){ .blob = node->digest,
								  .blob_size = node->size,
								  .offset = offset };
	return RC_OK;
}

/* A blob of chunks, or one that is cut anywhere: its parts are then no frames. */
static enum rc add_chunks(struct maker *maker, const struct node *node,
			  const struct blob_chunk_list *list, struct err *err)
{
	uint64_t offset = 0;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < list->count; i++) {
		const struct blob_chunk *chunk = &list->chunks[i];

		rc = add_chunk(maker, node, chunk->has_digest ? &chunk->digest : &node->digest,
			       chunk->offset, chunk->size, err);
	}
	if (list->count > 0)
		return rc;
	if (node->size <= BLOB_GET_MANY_MAX)
		return add_chunk(maker, node, &node->digest, 0, node->size, err);
	for (; rc == RC_OK && offset < node->size; offset += NAR_LAYOUT_SLICE) {
		uint64_t left = node->size - offset;

		rc = add_chunk(maker, node, &node->digest, offset,
			       left < NAR_LAYOUT_SLICE ? left : NAR_LAYOUT_SLICE, err);
	}
	return rc;
}

static enum rc add_large(struct maker *maker, const struct node *node, struct err *err)
{
	struct blob_chunk_list list CLEANUP(blob_chunk_list_release) = { NULL, 0 };
	char hex[DIGEST_HEX_MAX];
	uint64_t size;
	enum rc rc = flush(maker, err);

	if (rc == RC_OK)
		rc = blob_service_stat(maker->services->blobs, maker->op, &node->digest, &size,
				       &list, err);
	if (rc != RC_OK)
		return rc;
	if (size != BLOB_SIZE_UNKNOWN && size != node->size) {
		digest_hex(&node->digest, hex);
		return err_set(err, RC_CORRUPT, "blob %s has another size than its node says", hex);
	}
	return add_chunks(maker, node, &list, err);
}

static enum rc add_file(struct maker *maker, const struct node *node, struct err *err)
{
	uint64_t small = maker->layout->literals.len < NAR_LAYOUT_LITERALS ? NAR_LAYOUT_SMALL : 0;
	enum rc rc = RC_OK;

	nar_file_begin(&maker->text, node->executable, node->size);
	if (node->size > small)
		rc = add_large(maker, node, err);
	else if (node->size > 0)
		add_small(maker, node);
	nar_file_end(&maker->text, node->size);
	return rc;
}

/* ---- The walk ---- */

static enum rc begin_node(struct maker *maker, const struct node *node, struct err *err)
{
	struct directory *dir;
	enum rc rc;

	switch (node->kind) {
	case NODE_SYMLINK:
		nar_symlink(&maker->text, node->target);
		return RC_OK;
	case NODE_FILE:
		return add_file(maker, node, err);
	case NODE_DIRECTORY:
		break;
	}
	if (maker->depth == NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "a tree of more than %d levels", NODE_DEPTH_MAX);
	rc = directory_service_get(maker->services->directories, maker->op, &node->digest, &dir,
				   err);
	if (rc != RC_OK)
		return rc;
	maker->stack[maker->depth++] = (struct open_directory){ .dir = dir };
	nar_directory_begin(&maker->text);
	return RC_OK;
}

static enum rc walk(struct maker *maker, const struct node *root, struct err *err)
{
	enum rc rc;

	nar_begin(&maker->text);
	rc = begin_node(maker, root, err);
	while (rc == RC_OK && maker->depth > 0) {
		struct open_directory *top = &maker->stack[maker->depth - 1];

		if (top->next == directory_count(top->dir)) {
			directory_unref(top->dir);
			maker->depth--;
			nar_directory_end(&maker->text);
			if (maker->depth > 0)
				nar_entry_end(&maker->text);
			continue;
		}
		const struct node *node = directory_at(top->dir, top->next++);
		nar_entry_begin(&maker->text, node->name);
		rc = begin_node(maker, node, err);
		if (rc == RC_NOT_FOUND)
			rc = RC_CORRUPT;
		if (rc == RC_OK && node->kind != NODE_DIRECTORY)
			nar_entry_end(&maker->text);
		if (rc == RC_OK && maker->text.len >= NAR_LAYOUT_LITERAL_RAW)
			rc = flush(maker, err);
	}
	return rc == RC_OK ? flush(maker, err) : rc;
}

/* ---- The list of frames ---- */

static enum rc add_slice(struct maker *maker, const struct piece *piece, struct err *err)
{
	struct nar_layout *layout = maker->layout;
	uint32_t number = (uint32_t)layout->slice_count;

	layout->slices[layout->slice_count++] = maker->slices[piece->source];
	return nar_layout_add(layout, NAR_FRAME_SLICE, number,
			      local_raw_frame_size((size_t)piece->raw), piece->raw, err);
}

/* Frames of those chunks that are stored as such; the others are slices of their blobs. */
static enum rc list_frames(struct maker *maker, const struct blob_frames *stored, struct err *err)
{
	struct nar_layout *layout = maker->layout;
	enum rc rc = RC_OK;

	layout->chunks = mem_array(maker->chunk_count, sizeof(layout->chunks[0]));
	layout->slices = mem_array(maker->chunk_count, sizeof(layout->slices[0]));
	for (size_t i = 0; rc == RC_OK && i < maker->piece_count; i++) {
		const struct piece *piece = &maker->pieces[i];

		if (piece->literal) {
			rc = nar_layout_add(layout, NAR_FRAME_LITERAL, piece->source, piece->stored,
					    piece->raw, err);
		} else if (stored && stored->stored[piece->source] > 0 &&
			   stored->raw[piece->source] == piece->raw) {
			uint32_t number = (uint32_t)layout->chunk_count;

			layout->chunks[layout->chunk_count++] = maker->chunks[piece->source];
			rc = nar_layout_add(layout, NAR_FRAME_STORED, number,
					    stored->stored[piece->source], piece->raw, err);
		} else {
			rc = add_slice(maker, piece, err);
		}
	}
	return rc;
}

static enum rc finish(struct maker *maker, struct err *err)
{
	struct nar_layout *layout = maker->layout;
	struct blob_frames *stored = NULL;
	enum rc rc = RC_OK;

	if (maker->chunk_count > 0)
		rc = blob_service_open_frames(maker->services->blobs, maker->op, maker->chunks,
					      maker->chunk_count, &stored, err);
	if (rc == RC_NOT_FOUND)
		return RC_CORRUPT;
	if (rc != RC_OK && rc != RC_UNSUPPORTED)
		return rc;
	rc = list_frames(maker, stored, err);
	if (rc == RC_OK && layout->chunk_count == maker->chunk_count) {
		layout->stored = stored;
	} else {
		blob_frames_free(stored);
		if (rc == RC_OK && layout->chunk_count > 0)
			rc = blob_service_open_frames(maker->services->blobs, maker->op,
						      layout->chunks, layout->chunk_count,
						      &layout->stored, err);
	}
	/* What was reserved in vain. */
	if (rc == RC_OK && layout->literals.len > 0) {
		layout->literals.cap = layout->literals.len;
		layout->literals.ptr =
			mem_realloc_array(layout->literals.ptr, layout->literals.cap, 1);
	}
	return rc == RC_OK ? nar_layout_finish(layout, err) : rc;
}

enum rc nar_layout_make(const struct services *services, const struct op *op,
			const struct node *node, struct nar_layout **out, struct err *err)
{
	struct maker *maker = mem_zalloc(sizeof(*maker));
	enum rc rc = RC_OK;

	*out = NULL;
	maker->services = services;
	maker->op = op;
	maker->layout = nar_layout_new();
	maker->zstd = ZSTD_createCCtx();
	if (!maker->zstd)
		rc = err_set(err, RC_NO_MEMORY, "no memory for zstd");
	else
		(void)ZSTD_CCtx_setParameter(maker->zstd, ZSTD_c_compressionLevel, LEVEL);
	if (rc == RC_OK)
		rc = walk(maker, node, err);
	/* Of a lone file nothing is there that could be damaged: there is no such node. */
	if (rc == RC_CORRUPT && node->kind == NODE_FILE)
		rc = RC_NOT_FOUND;
	if (rc == RC_OK)
		rc = finish(maker, err);
	if (rc == RC_OK) {
		*out = maker->layout;
		maker->layout = NULL;
	}
	maker_free(maker);
	return rc;
}
