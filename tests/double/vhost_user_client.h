/*
 * A vhost-user front-end and a guest's driver in one, for tests and benchmarks: it speaks the socket
 * and the rings directly, so that it can do all that a virtual machine monitor and a guest do, and
 * what they never would. Aborts where the machine itself fails it. One thread at a time, but that
 * rings may be used by a thread each.
 *
 * The guest's memory is two regions that lie side by side for the guest, and apart in the file and
 * here. Each ring has a slice of the first region for itself: its rings, then a page of requests for
 * each slot, then room for replies; the second region is for tests.
 */
#ifndef CASTOR_TESTS_VHOST_USER_CLIENT_H
#define CASTOR_TESTS_VHOST_USER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "transport/vhost_user_wire.h"

enum {
	VU_RINGS_MAX = 8,
	VU_FDS_MAX = 64,            /* that go with a message */
	VU_GUEST_BASE = 0x40000000, /* where the first region is for the guest */
	VU_SECOND_SIZE = 4 << 20,   /* of the second region */
	VU_HOLE = 1 << 20,          /* between them, in the file */
	VU_TIMEOUT = -1000,         /* no answer came */
	VU_NO_REPLY = -1001,        /* the chain came back without one */
	VU_PATIENCE_MS = 10000,
	VU_NEXT = 1,
	VU_WRITE = 2,
	VU_INDIRECT = 4, /* flags of descriptors */
};

struct vu_descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct vu_used {
	uint32_t head, written;
};

struct vu_ring {
	unsigned index;
	uint16_t size;
	struct vu_descriptor *descriptors; /* all of these here, in our mapping */
	uint16_t *available, *used;
	uint16_t next_available, seen_used;
	uint16_t told_available; /* next_available when it was last looked whether to kick */
	int kick, call, error;   /* eventfds */
	bool event_index;
	uint64_t requests, replies; /* the guest's addresses: 4 KiB, and reply_room a slot */
	size_t reply_room;
	unsigned slots;
	uint64_t unique; /* of the request put last */
};

struct vu_client {
	int fd; /* the socket */
	int memory_fd;
	uint8_t *first, *second;
	size_t first_size;
	uint64_t features, protocol_features;
	unsigned ring_count;
	struct vu_ring rings[VU_RINGS_MAX];
	uint64_t unique;
};

/* Takes fd over. Memory for so many rings of so many slots, each with that room for replies. */
void vu_open(struct vu_client *client, int fd, unsigned rings, unsigned slots, size_t reply_room);
void vu_close(struct vu_client *client);

/* Messages. */
/* Whatever the header says. flags: of sendmsg. False: it did not go out, or not all of it. */
bool vu_send_message(int fd, const struct vhost_user_header *header, struct view body,
		     const int *fds, unsigned fd_count, int flags);
void vu_send(struct vu_client *client, uint32_t request, uint32_t flags, const void *body,
	     size_t len, const int *fds, unsigned fd_count);
/* The body's length, or -1 where the back-end hung up or says nothing for VU_PATIENCE_MS. */
int vu_receive(struct vu_client *client, union vhost_user_body *out);
uint64_t vu_get(struct vu_client *client, uint32_t request);
/* Sends with NEED_REPLY: 0, the back-end's refusal, or -1. */
int vu_ask(struct vu_client *client, uint32_t request, const void *body, size_t len, const int *fds,
	   unsigned fd_count);

/* Features, memory and rings, as a monitor sets them up; features: of VIRTIO_RING_F_…. */
void vu_start(struct vu_client *client, uint64_t features);
void vu_negotiate(struct vu_client *client, uint64_t features);
int vu_set_memory(struct vu_client *client);
void vu_ring_reset(struct vu_client *client, unsigned index); /* forgets all that is in it */
int vu_ring_set_addresses(struct vu_client *client, unsigned index, uint64_t descriptors,
			  uint64_t available, uint64_t used);
void vu_ring_start(struct vu_client *client, unsigned index, uint16_t base);
int vu_ring_stop(struct vu_client *client, unsigned index); /* the base, or -1 */

/* Where the guest's address lies here. */
void *vu_at(struct vu_client *client, uint64_t address);
uint64_t vu_user_address(const struct vu_client *client, const void *here);

/* Rings. */
void vu_describe(struct vu_ring *ring, unsigned i, uint64_t address, uint32_t len, unsigned flags,
		 unsigned next);
void vu_offer(struct vu_ring *ring, uint16_t head); /* into the available ring; no kick */
void vu_kick(struct vu_ring *ring);                 /* if the back-end asks for it */
void vu_kick_always(struct vu_ring *ring);
bool vu_poll_used(struct vu_ring *ring, struct vu_used *out);
bool vu_wait_used(struct vu_ring *ring, struct vu_used *out, int milliseconds);
/* The error eventfd was signalled. */
bool vu_ring_is_broken(struct vu_ring *ring, int milliseconds);

/* FUSE. Writes a request into slot's page, and describes a chain for it: by descriptors from 4 * slot
 * on, or by an indirect table in the page. offers it. */
void vu_put_request(struct vu_client *client, struct vu_ring *ring, unsigned slot, bool indirect,
		    uint32_t opcode, uint64_t nodeid, const void *body, size_t len,
		    size_t reply_max);
/* One request over the ring's slot 0: 0 and the reply appended to out, or a negative errno, or
 * VU_TIMEOUT, VU_NO_REPLY. */
int vu_fuse(struct vu_client *client, unsigned ring, uint32_t opcode, uint64_t nodeid,
	    const void *body, size_t len, size_t reply_max, struct buf *out);
int vu_init(struct vu_client *client, unsigned ring);
/* The nodeid of a name, 0 where there is none. */
uint64_t vu_lookup(struct vu_client *client, unsigned ring, uint64_t parent, const char *name,
		   uint64_t *size);

#endif
