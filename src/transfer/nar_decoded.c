#include "transfer/nar_decoded.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/lru.h"
#include "base/mem.h"

struct nar_decoded {
	struct lru *lru; /* struct key → struct nar_stretch */
	size_t budget;
	atomic_uint refused; /* counts those that found no room */
};

/* Bytes without padding: it is hashed. */
struct key {
	uint8_t id[DIGEST_SIZE];
	uint32_t frame;
};

static void *stretch_ref(void *value)
{
	struct nar_stretch *stretch = value;

	refcount_ref(&stretch->ref);
	return stretch;
}

void nar_stretch_unref(struct nar_stretch *stretch)
{
	if (stretch && refcount_unref(&stretch->ref))
		free(stretch);
}

static void stretch_unref(void *value)
{
	nar_stretch_unref(value);
}

static const struct lru_ops stretch_lru = { .ref = stretch_ref, .unref = stretch_unref };

struct nar_decoded *nar_decoded_new(size_t budget)
{
	struct nar_decoded *decoded = mem_zalloc(sizeof(*decoded));

	decoded->lru = lru_new(sizeof(struct key), budget, &stretch_lru);
	decoded->budget = budget;
	return decoded;
}

void nar_decoded_free(struct nar_decoded *decoded)
{
	if (!decoded)
		return;
	lru_free(decoded->lru);
	free(decoded);
}

static struct key key_of(const struct nar_layout *layout, size_t frame)
{
	const struct nar_frame *at = &layout->frames[frame];
	struct key key = { .frame = 0 };

	if (at->kind == NAR_FRAME_STORED) {
		memcpy(key.id, layout->chunks[at->source].bytes, DIGEST_SIZE);
	} else {
		memcpy(key.id, layout->id, sizeof(layout->id));
		key.frame = (uint32_t)frame + 1;
	}
	return key;
}

struct nar_stretch *nar_decoded_get(struct nar_decoded *decoded, const struct nar_layout *layout,
				    size_t frame)
{
	size_t raw = nar_layout_raw_size(layout, frame);
	struct nar_stretch *stretch;
	struct key key;

	if (raw < NAR_DECODED_MIN)
		return NULL;
	key = key_of(layout, frame);
	stretch = lru_get(decoded->lru, &key);
	/* A chunk has one length only; who claims another finds out when it decodes it. */
	if (stretch && stretch->len != raw) {
		nar_stretch_unref(stretch);
		return NULL;
	}
	return stretch;
}

static size_t cost_of(size_t len)
{
	return sizeof(struct nar_stretch) + sizeof(struct key) + 128 + len;
}

void nar_decoded_offer(struct nar_decoded *decoded, const struct nar_layout *layout, size_t frame,
		       struct view bytes)
{
	size_t cost = cost_of(bytes.len);
	struct nar_stretch *stretch;
	struct key key;

	if (bytes.len < NAR_DECODED_MIN || cost > decoded->budget)
		return;
	if (lru_cost(decoded->lru) > decoded->budget - cost &&
	    atomic_fetch_add(&decoded->refused, 1) % NAR_DECODED_ADMIT != NAR_DECODED_ADMIT - 1)
		return;
	stretch = malloc(sizeof(*stretch) + bytes.len);
	if (!stretch)
		return;
	refcount_init(&stretch->ref);
	stretch->len = bytes.len;
	memcpy(stretch->bytes, bytes.ptr, bytes.len);
	key = key_of(layout, frame);
	lru_put(decoded->lru, &key, stretch, cost);
	nar_stretch_unref(stretch);
}
