/* Lock order: one lock, taken alone. */
#include "local/codec.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/crc32c.h"
#include "base/mem.h"

enum {
	/* A context is made for inputs of about one size: one that serves tiny and large ones in
	 * turn keeps reallocating its tables. */
	SMALL_INPUT = 32 << 10,
	POOL_MAX = 64,
};

struct encoder {
	struct encoder *next;
	ZSTD_CCtx *small;
	ZSTD_CCtx *large;
	uint8_t *scratch;
	size_t scratch_size;
};

struct decoder {
	struct decoder *next;
	ZSTD_DCtx *ctx;
};

struct local_codec {
	struct local_policy policy;
	pthread_mutex_t lock;
	struct encoder *encoders; /* idle ones */
	struct decoder *decoders;
};

void local_record_release(struct local_record *record)
{
	free(record->bytes);
	memset(record, 0, sizeof(*record));
}

struct local_codec *local_codec_new(const struct local_policy *policy)
{
	struct local_codec *codec = mem_zalloc(sizeof(*codec));

	codec->policy = *policy;
	pthread_mutex_init(&codec->lock, NULL);
	return codec;
}

static void encoder_free(struct encoder *encoder)
{
	ZSTD_freeCCtx(encoder->small);
	ZSTD_freeCCtx(encoder->large);
	free(encoder->scratch);
	free(encoder);
}

void local_codec_free(struct local_codec *codec)
{
	if (!codec)
		return;
	while (codec->encoders) {
		struct encoder *encoder = codec->encoders;

		codec->encoders = encoder->next;
		encoder_free(encoder);
	}
	while (codec->decoders) {
		struct decoder *decoder = codec->decoders;

		codec->decoders = decoder->next;
		ZSTD_freeDCtx(decoder->ctx);
		free(decoder);
	}
	pthread_mutex_destroy(&codec->lock);
	free(codec);
}

struct setting {
	ZSTD_cParameter parameter;
	int value;
};

static bool set_all(ZSTD_CCtx *ctx, const struct setting *settings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (ZSTD_isError(
			    ZSTD_CCtx_setParameter(ctx, settings[i].parameter, settings[i].value)))
			return false;
	}
	return true;
}

static ZSTD_CCtx *new_cctx(int level)
{
	/* The content size is always written (readers rely on it); the record has a CRC. */
	const struct setting always[] = {
		{ ZSTD_c_compressionLevel, level },
		{ ZSTD_c_contentSizeFlag, 1 },
		{ ZSTD_c_checksumFlag, 0 },
	};
	/* Level 3's own tables outgrow the nearest caches for inputs of our size. Smaller ones with
	 * shorter matches take three quarters of the time, for one percent more bytes:
	 * docs/decisions/0010-zstd-parameters.md */
	static const struct setting level_3[] = {
		{ ZSTD_c_hashLog, 14 },
		{ ZSTD_c_chainLog, 13 },
		{ ZSTD_c_minMatch, 4 },
	};
	ZSTD_CCtx *ctx = ZSTD_createCCtx();

	if (!ctx)
		return NULL;
	if (!set_all(ctx, always, ARRAY_LEN(always)) ||
	    (level == 3 && !set_all(ctx, level_3, ARRAY_LEN(level_3)))) {
		ZSTD_freeCCtx(ctx);
		return NULL;
	}
	return ctx;
}

static struct encoder *encoder_take(struct local_codec *codec)
{
	pthread_mutex_lock(&codec->lock);
	struct encoder *encoder = codec->encoders;
	if (encoder)
		codec->encoders = encoder->next;
	pthread_mutex_unlock(&codec->lock);
	if (encoder)
		return encoder;
	encoder = mem_zalloc(sizeof(*encoder));
	encoder->small = new_cctx(codec->policy.level);
	encoder->large = new_cctx(codec->policy.level);
	if (!encoder->small || !encoder->large) {
		encoder_free(encoder);
		return NULL;
	}
	return encoder;
}

static void encoder_give(struct local_codec *codec, struct encoder *encoder)
{
	pthread_mutex_lock(&codec->lock);
	encoder->next = codec->encoders;
	codec->encoders = encoder;
	pthread_mutex_unlock(&codec->lock);
}

/* Makes scratch hold the compressed data; *len 0: it does not shrink. */
static enum rc compress(struct encoder *encoder, struct view data, size_t *len, struct err *err)
{
	size_t bound = ZSTD_compressBound(data.len);

	*len = 0;
	if (encoder->scratch_size < bound) {
		free(encoder->scratch);
		encoder->scratch_size = 0;
		encoder->scratch = mem_try_alloc(bound);
		if (!encoder->scratch)
			return err_set(err, RC_NO_MEMORY, "no memory to compress a chunk");
		encoder->scratch_size = bound;
	}
	ZSTD_CCtx *ctx = data.len <= SMALL_INPUT ? encoder->small : encoder->large;
	size_t got =
		ZSTD_compress2(ctx, encoder->scratch, encoder->scratch_size, data.ptr, data.len);
	if (ZSTD_isError(got))
		return err_set(err, RC_NO_MEMORY, "compressing a chunk failed: %s",
			       ZSTD_getErrorName(got));
	if (got < data.len)
		*len = got;
	return RC_OK;
}

static bool record_begin(struct local_record *out, enum local_record_kind kind,
			 const struct digest *digest, size_t raw, size_t stored)
{
	memset(out, 0, sizeof(*out));
	out->bytes = mem_try_alloc(LOCAL_RECORD_HEADER_SIZE + stored);
	if (!out->bytes)
		return false;
	out->kind = (uint8_t)kind;
	out->digest = *digest;
	out->raw = (uint32_t)raw;
	out->stored = (uint32_t)stored;
	return true;
}

static void record_end(struct local_record *record)
{
	record->frame_crc = crc32c(0, record->bytes + LOCAL_RECORD_HEADER_SIZE, record->stored);
}

static bool record_raw(enum local_record_kind kind, const struct digest *digest, struct view data,
		       struct local_record *out)
{
	if (!record_begin(out, kind, digest, data.len, local_raw_frame_size(data.len)))
		return false;
	local_raw_frame_encode(data, out->bytes + LOCAL_RECORD_HEADER_SIZE);
	record_end(out);
	return true;
}

enum rc local_record_make(struct local_codec *codec, enum local_record_kind kind,
			  const struct digest *digest, struct view data, struct local_record *out,
			  struct err *err)
{
	size_t len = 0;

	memset(out, 0, sizeof(*out));
	if (data.len > LOCAL_RECORD_RAW_MAX)
		return err_set(err, RC_TOO_LARGE, "a record of %zu bytes is more than %d", data.len,
			       LOCAL_RECORD_RAW_MAX);
	if (codec->policy.compression == LOCAL_COMPRESSION_ZSTD && data.len > 0) {
		struct encoder *encoder = encoder_take(codec);

		if (!encoder)
			return err_set(err, RC_NO_MEMORY, "no memory to compress");
		enum rc rc = compress(encoder, data, &len, err);
		if (rc == RC_OK && len > 0) {
			if (record_begin(out, kind, digest, data.len, len)) {
				memcpy(out->bytes + LOCAL_RECORD_HEADER_SIZE, encoder->scratch,
				       len);
				record_end(out);
			} else {
				rc = err_set(err, RC_NO_MEMORY, "no memory for a chunk");
			}
		}
		encoder_give(codec, encoder);
		if (rc != RC_OK || len > 0)
			return rc;
	}
	if (!record_raw(kind, digest, data, out))
		return err_set(err, RC_NO_MEMORY, "no memory for a chunk");
	return RC_OK;
}

void local_record_make_raw(enum local_record_kind kind, const struct digest *digest,
			   struct view data, struct local_record *out)
{
	if (!record_raw(kind, digest, data, out))
		abort();
}

static struct decoder *decoder_take(struct local_codec *codec)
{
	pthread_mutex_lock(&codec->lock);
	struct decoder *decoder = codec->decoders;
	if (decoder)
		codec->decoders = decoder->next;
	pthread_mutex_unlock(&codec->lock);
	if (decoder)
		return decoder;
	decoder = mem_zalloc(sizeof(*decoder));
	decoder->ctx = ZSTD_createDCtx();
	if (!decoder->ctx) {
		free(decoder);
		return NULL;
	}
	return decoder;
}

enum rc local_frame_decode(struct local_codec *codec, struct view frame, uint32_t raw, void *out,
			   struct err *err)
{
	if (frame.len > raw) {
		if (!local_raw_frame_decode(frame, raw, out))
			return err_set(err, RC_CORRUPT, "its frame of raw blocks is damaged");
		return RC_OK;
	}
	struct decoder *decoder = decoder_take(codec);
	if (!decoder)
		return err_set(err, RC_NO_MEMORY, "no memory to decompress");
	size_t got = ZSTD_decompressDCtx(decoder->ctx, out, raw, frame.ptr, frame.len);
	pthread_mutex_lock(&codec->lock);
	decoder->next = codec->decoders;
	codec->decoders = decoder;
	pthread_mutex_unlock(&codec->lock);
	if (ZSTD_isError(got))
		return err_set(err, RC_CORRUPT, "its zstd frame is damaged (%s)",
			       ZSTD_getErrorName(got));
	if (got != raw)
		return err_set(err, RC_CORRUPT, "its zstd frame holds %zu bytes instead of %u", got,
			       raw);
	return RC_OK;
}
