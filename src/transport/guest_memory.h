/*
 * The memory of a guest, as a vhost-user front-end shares it: regions, each a piece of a file that
 * is mapped here.
 *
 * A table never changes: adding or removing a region makes another one, and the mappings that both
 * have are shared. Whoever works on guest memory holds a reference, so that a change of the table
 * takes nothing away under its feet. Thread-safe.
 *
 * Everything found in this memory may change at any time: copy it once, then look at the copy. A
 * file that is too short from the beginning is refused; one that is made shorter later is lost
 * (guest_fault.h).
 */
#ifndef CASTOR_TRANSPORT_GUEST_MEMORY_H
#define CASTOR_TRANSPORT_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct guest_memory;

struct guest_region {
	uint64_t guest_address; /* as the guest counts */
	uint64_t size;
	uint64_t user_address; /* where the front-end has it, as rings are told of */
	uint64_t offset;       /* in the file */
};

enum { GUEST_REGIONS_MAX = 256 };

/* No regions. */
struct guest_memory *guest_memory_new(void);
struct guest_memory *guest_memory_ref(struct guest_memory *memory);
void guest_memory_unref(struct guest_memory *memory); /* NULL is fine */
size_t guest_memory_regions(const struct guest_memory *memory);
/* Some of it was gone when it was touched: what is in it means nothing any more. */
bool guest_memory_lost(const struct guest_memory *memory);

/* The same with one region more, mapped from fd (borrowed). RC_INVALID where it is empty, wraps, or
 * overlaps another; RC_TOO_LARGE past GUEST_REGIONS_MAX. */
enum rc guest_memory_with(const struct guest_memory *memory, const struct guest_region *region,
			  int fd, struct guest_memory **out, struct err *err) MUST_USE;
/* The same without that region (its offset does not matter). RC_NOT_FOUND. */
enum rc guest_memory_without(const struct guest_memory *memory, const struct guest_region *region,
			     struct guest_memory **out, struct err *err) MUST_USE;

/* Where the guest's bytes from address on lie here. *len is cut to what one region has of them; NULL
 * where there is none, or *len is 0. */
void *guest_memory_piece(const struct guest_memory *memory, uint64_t address, size_t *len);
/* Bytes that a front-end names by its own addresses, all in one region; else NULL. */
void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user_address, size_t len);

#endif
