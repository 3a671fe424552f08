/*
 * The device's side of a split virtqueue in guest memory.
 * Source of the format: OASIS virtio 1.2, section 2.7 (all of it little-endian).
 *
 * The guest writes the rings, and whatever is in them may be wrong or change while we look: each
 * value is copied once, and the copy is checked. A guest that breaks the rules of its ring gets
 * RC_INVALID, from then on for ever: a driver that wants to go on has to reset the queue.
 *
 * Not thread-safe: one lock around all calls. The pieces of a chain may be read and written without
 * it, while the memory is held.
 */
#ifndef CASTOR_TRANSPORT_VIRTQUEUE_H
#define CASTOR_TRANSPORT_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "transport/guest_memory.h"

enum {
	VIRTQUEUE_SIZE_MAX =
		32768, /* of the standard; crosvm wants so many if not told otherwise */
	/* Of one chain, and of an indirect table; more are refused. */
	VIRTQUEUE_DESCRIPTORS_MAX = 1024,
	/* A buffer that crosses regions is as many pieces. */
	VIRTQUEUE_PIECES_MAX = VIRTQUEUE_DESCRIPTORS_MAX + 64,
	/* Whether the driver may use them was agreed. */
	VIRTQUEUE_INDIRECT = 1,
	VIRTQUEUE_EVENT_INDEX = 2,
};

struct virtqueue_config {
	uint16_t size;                         /* a power of two */
	unsigned features;                     /* VIRTQUEUE_… */
	uint64_t descriptors, available, used; /* where the front-end has them */
	uint16_t base;                         /* the next of the available ring */
};

struct virtqueue_descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct virtqueue {
	struct guest_memory *memory; /* a reference */
	struct virtqueue_config config;
	/* In guest memory. */
	uint64_t *descriptors;
	uint16_t *available, *used;
	/* Ours. */
	uint16_t next_available; /* counts up, and wraps */
	uint16_t next_used;
	uint16_t in_flight; /* chains that were taken and not given back */
	uint16_t told_used; /* next_used when it was last looked whether to interrupt */
	bool told;
	bool broken;
};

/* What a driver wants done. The first `readable` pieces are for us to read, the others to write. */
struct virtqueue_chain {
	uint16_t head;
	unsigned readable, writable;
	size_t readable_bytes, writable_bytes;
	struct iovec pieces[VIRTQUEUE_PIECES_MAX];
};

/* Takes a reference on memory. RC_INVALID where the rings do not lie in it. */
enum rc virtqueue_init(struct virtqueue *queue, struct guest_memory *memory,
		       const struct virtqueue_config *config, struct err *err) MUST_USE;
void virtqueue_release(struct virtqueue *queue);
/* The rings are elsewhere from now on, or the memory is mapped elsewhere; what is in flight stays so.
 * The config's size, features and base are not looked at. After a failure the queue is broken. */
enum rc virtqueue_move(struct virtqueue *queue, struct guest_memory *memory,
		       const struct virtqueue_config *config, struct err *err) MUST_USE;

/* The next chain. RC_NOT_FOUND, without a sentence: there is none; RC_INVALID: broken. */
enum rc virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *out,
		      struct err *err) MUST_USE;
/* Whether the driver says that there are more; a hint. */
bool virtqueue_has_more(const struct virtqueue *queue);
/* Gives a chain back, with so many bytes written. */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);
/* After pushes: does the driver want an interrupt for them? */
bool virtqueue_wants_interrupt(struct virtqueue *queue);
/* Says that kicks are not needed, or that they are. After the latter look for chains once more. */
void virtqueue_set_kicks(struct virtqueue *queue, bool wanted);

/* Copies from the chain's readable part, to at most max bytes; how many. */
size_t virtqueue_chain_read(const struct virtqueue_chain *chain, void *out, size_t max);

#endif
