/*
 * A pack that is open for reading, shared by reference count: its descriptor, and what the kernel
 * was asked to read of it beforehand. Thread-safe.
 */
#ifndef CASTOR_LOCAL_PACK_FILE_H
#define CASTOR_LOCAL_PACK_FILE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/refcount.h"

struct pack_file {
	struct refcount ref;
	uint32_t id;
	int fd;
	uint64_t salt; /* of its records */
	/* Sequential readers are met halfway: see pack_file_read_ahead. */
	_Atomic uint64_t last;    /* where the last read ended */
	_Atomic uint64_t advised; /* up to where the kernel was asked to read */
};

/* Takes the descriptor over, and finds the salt. */
struct pack_file *pack_file_new(uint32_t id, int fd);
struct pack_file *pack_file_ref(struct pack_file *file);
void pack_file_unref(struct pack_file *file); /* NULL is fine */
void pack_file_cleanup(struct pack_file **file);
#define AUTO_PACK_FILE CLEANUP(pack_file_cleanup)

/* Starts to read those bytes, without waiting. */
void pack_file_advise(const struct pack_file *file, uint64_t from, uint64_t to);
/* Called before [offset, offset+len) is read. A reader that goes forward with small gaps, as one in
 * NAR order does, finds the pack in memory before it asks, even where each read is a call of its
 * own from another thread. */
void pack_file_read_ahead(struct pack_file *file, uint64_t offset, uint64_t len);

#endif
