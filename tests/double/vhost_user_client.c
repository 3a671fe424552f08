/* A vhost-user front-end and a guest's driver in one. */
#include "double/vhost_user_client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/fuse_wire.h"

enum { RINGS_ROOM = 65536, PAGE = 4096 };

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Memory */

static void ring_place(struct vu_client *client, unsigned index, unsigned slots, size_t reply_room,
		       size_t slice)
{
	struct vu_ring *ring = &client->rings[index];
	uint8_t *at = client->first + index * slice;
	ring->index = index;
	ring->slots = slots;
	ring->size = 16;
	while (ring->size < slots * 4)
		ring->size = (uint16_t)(ring->size * 2);
	ring->descriptors = (void *)at;
	ring->available = (void *)(at + 1024 * sizeof(struct vu_descriptor));
	ring->used = (void *)(at + RINGS_ROOM / 2);
	ring->requests = VU_GUEST_BASE + index * slice + RINGS_ROOM;
	ring->replies = ring->requests + (uint64_t)slots * PAGE;
	ring->reply_room = reply_room;
	ring->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->error = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(ring->kick >= 0 && ring->call >= 0 && ring->error >= 0);
}

void vu_open(struct vu_client *client, int fd, unsigned rings, unsigned slots, size_t reply_room)
{
	MUST(rings <= VU_RINGS_MAX && slots > 0 && slots * 4 <= 1024);
	memset(client, 0, sizeof(*client));
	client->fd = fd;
	client->ring_count = rings;
	reply_room = (reply_room + PAGE - 1) / PAGE * PAGE;
	size_t slice = RINGS_ROOM + slots * (PAGE + reply_room);
	client->first_size = rings * slice;
	client->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	MUST(client->memory_fd >= 0);
	size_t second_at = client->first_size + VU_HOLE;
	MUST(ftruncate(client->memory_fd, (off_t)(second_at + VU_SECOND_SIZE)) == 0);
	client->first = mmap(NULL, client->first_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			     client->memory_fd, 0);
	client->second = mmap(NULL, VU_SECOND_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			      client->memory_fd, (off_t)second_at);
	MUST(client->first != MAP_FAILED && client->second != MAP_FAILED);
	for (unsigned i = 0; i < rings; i++)
		ring_place(client, i, slots, reply_room, slice);
}

void vu_close(struct vu_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	munmap(client->first, client->first_size);
	munmap(client->second, VU_SECOND_SIZE);
	close(client->memory_fd);
	for (unsigned i = 0; i < client->ring_count; i++) {
		close(client->rings[i].kick);
		close(client->rings[i].call);
		close(client->rings[i].error);
	}
}

void *vu_at(struct vu_client *client, uint64_t address)
{
	uint64_t at = address - VU_GUEST_BASE;
	return at < client->first_size ? client->first + at
				       : client->second + (at - client->first_size);
}

uint64_t vu_user_address(const struct vu_client *client, const void *here)
{
	(void)client;
	return (uintptr_t)here;
}

/* Messages */

bool vu_send_message(int fd, const struct vhost_user_header *header, struct view body,
		     const int *fds, unsigned fd_count, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[] = {
		{ .iov_base = (void *)(uintptr_t)header, .iov_len = sizeof(*header) },
		{ .iov_base = (void *)(uintptr_t)body.ptr, .iov_len = body.len },
	};
	struct msghdr out = { .msg_iov = iov, .msg_iovlen = 2 };
	MUST(fd_count <= VU_FDS_MAX);
	memset(&control, 0, sizeof(control));
	if (fd_count) {
		out.msg_control = control.bytes;
		out.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&out);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
	}
	return sendmsg(fd, &out, flags | MSG_NOSIGNAL) == (ssize_t)(sizeof(*header) + body.len);
}

void vu_send(struct vu_client *client, uint32_t request, uint32_t flags, const void *body,
	     size_t len, const int *fds, unsigned fd_count)
{
	struct vhost_user_header header = { .request = request,
					    .flags = VHOST_USER_VERSION | flags,
					    .size = (uint32_t)len };
	/* Where the back-end has hung up, what waits for an answer sees it. */
	vu_send_message(client->fd, &header, view_of(body, len), fds, fd_count, 0);
}

static bool receive_all(int fd, void *out, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct pollfd poller = { .fd = fd, .events = POLLIN };
		if (poll(&poller, 1, VU_PATIENCE_MS) != 1)
			return false;
		ssize_t got = read(fd, (uint8_t *)out + done, len - done);
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

int vu_receive(struct vu_client *client, union vhost_user_body *out)
{
	struct vhost_user_header header;
	if (!receive_all(client->fd, &header, sizeof(header)))
		return -1;
	MUST(header.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY));
	MUST(header.size <= sizeof(*out));
	return receive_all(client->fd, out, header.size) ? (int)header.size : -1;
}

uint64_t vu_get(struct vu_client *client, uint32_t request)
{
	union vhost_user_body body;
	vu_send(client, request, 0, NULL, 0, NULL, 0);
	return vu_receive(client, &body) == sizeof(body.u64) ? body.u64 : 0;
}

int vu_ask(struct vu_client *client, uint32_t request, const void *body, size_t len, const int *fds,
	   unsigned fd_count)
{
	union vhost_user_body answer;
	vu_send(client, request, VHOST_USER_NEED_REPLY, body, len, fds, fd_count);
	return vu_receive(client, &answer) == sizeof(answer.u64) ? (int)answer.u64 : -1;
}

/* Setting up */

void vu_negotiate(struct vu_client *client, uint64_t features)
{
	uint64_t offered = vu_get(client, VHOST_USER_GET_FEATURES);
	MUST((offered & features) == features);
	MUST(offered & VHOST_USER_F_PROTOCOL_FEATURES);
	client->features = features | VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
	client->protocol_features = vu_get(client, VHOST_USER_GET_PROTOCOL_FEATURES);
	vu_send(client, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &client->protocol_features, 8, NULL,
		0);
	vu_send(client, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	MUST(vu_ask(client, VHOST_USER_SET_FEATURES, &client->features, 8, NULL, 0) == 0);
	for (unsigned i = 0; i < client->ring_count; i++)
		client->rings[i].event_index = features & VIRTIO_RING_F_EVENT_IDX;
}

int vu_set_memory(struct vu_client *client)
{
	struct vhost_user_memory_table table = {
		.count = 2,
		.regions = { { .guest_address = VU_GUEST_BASE,
			       .size = client->first_size,
			       .user_address = (uintptr_t)client->first },
			     { .guest_address = VU_GUEST_BASE + client->first_size,
			       .size = VU_SECOND_SIZE,
			       .user_address = (uintptr_t)client->second,
			       .offset = client->first_size + VU_HOLE } },
	};
	int fds[] = { client->memory_fd, client->memory_fd };
	return vu_ask(client, VHOST_USER_SET_MEM_TABLE, &table, 8 + 2 * sizeof(table.regions[0]),
		      fds, 2);
}

int vu_ring_set_addresses(struct vu_client *client, unsigned index, uint64_t descriptors,
			  uint64_t available, uint64_t used)
{
	struct vhost_user_vring_addr address = {
		.index = index, .descriptors = descriptors, .available = available, .used = used
	};
	return vu_ask(client, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address), NULL, 0);
}

void vu_ring_reset(struct vu_client *client, unsigned index)
{
	struct vu_ring *ring = &client->rings[index];
	uint64_t count;
	memset(ring->descriptors, 0, RINGS_ROOM);
	ring->next_available = ring->seen_used = ring->told_available = 0;
	if (read(ring->error, &count, sizeof(count)) < 0)
		return; /* it was not signalled */
}

void vu_ring_start(struct vu_client *client, unsigned index, uint16_t base)
{
	struct vu_ring *ring = &client->rings[index];
	struct vhost_user_vring_state state = { .index = index, .value = ring->size };
	uint64_t number = index;
	MUST(vu_ask(client, VHOST_USER_SET_VRING_NUM, &state, sizeof(state), NULL, 0) == 0);
	state.value = base;
	MUST(vu_ask(client, VHOST_USER_SET_VRING_BASE, &state, sizeof(state), NULL, 0) == 0);
	MUST(vu_ring_set_addresses(client, index, vu_user_address(client, ring->descriptors),
				   vu_user_address(client, ring->available),
				   vu_user_address(client, ring->used)) == 0);
	MUST(vu_ask(client, VHOST_USER_SET_VRING_CALL, &number, 8, &ring->call, 1) == 0);
	MUST(vu_ask(client, VHOST_USER_SET_VRING_ERR, &number, 8, &ring->error, 1) == 0);
	MUST(vu_ask(client, VHOST_USER_SET_VRING_KICK, &number, 8, &ring->kick, 1) == 0);
	state.value = 1;
	MUST(vu_ask(client, VHOST_USER_SET_VRING_ENABLE, &state, sizeof(state), NULL, 0) == 0);
}

int vu_ring_stop(struct vu_client *client, unsigned index)
{
	struct vhost_user_vring_state state = { .index = index };
	union vhost_user_body answer;
	vu_send(client, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
	if (vu_receive(client, &answer) != sizeof(state))
		return -1;
	return (int)answer.state.value;
}

void vu_start(struct vu_client *client, uint64_t features)
{
	vu_negotiate(client, features);
	MUST(vu_set_memory(client) == 0);
	for (unsigned i = 0; i < client->ring_count; i++)
		vu_ring_start(client, i, 0);
}

/* Rings */

void vu_describe(struct vu_ring *ring, unsigned i, uint64_t address, uint32_t len, unsigned flags,
		 unsigned next)
{
	ring->descriptors[i] = (struct vu_descriptor){
		.address = address, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next
	};
}

void vu_offer(struct vu_ring *ring, uint16_t head)
{
	ring->available[2 + ring->next_available % ring->size] = head;
	ring->next_available++;
	__atomic_store_n(&ring->available[1], ring->next_available, __ATOMIC_SEQ_CST);
}

void vu_kick_always(struct vu_ring *ring)
{
	uint64_t one = 1;
	MUST(write(ring->kick, &one, sizeof(one)) == sizeof(one));
}

void vu_kick(struct vu_ring *ring)
{
	if (ring->event_index) {
		uint16_t event = __atomic_load_n(&ring->used[2 + ring->size * 4], __ATOMIC_SEQ_CST);
		uint16_t before = ring->told_available;
		ring->told_available = ring->next_available;
		if ((uint16_t)(ring->next_available - event - 1) >=
		    (uint16_t)(ring->next_available - before))
			return;
	} else if (__atomic_load_n(&ring->used[0], __ATOMIC_SEQ_CST) & 1) {
		return;
	}
	vu_kick_always(ring);
}

bool vu_poll_used(struct vu_ring *ring, struct vu_used *out)
{
	if (__atomic_load_n(&ring->used[1], __ATOMIC_SEQ_CST) == ring->seen_used)
		return false;
	const uint8_t *elements = (const uint8_t *)(ring->used + 2);
	memcpy(out, elements + (size_t)(ring->seen_used % ring->size) * sizeof(*out), sizeof(*out));
	ring->seen_used++;
	return true;
}

bool vu_wait_used(struct vu_ring *ring, struct vu_used *out, int milliseconds)
{
	while (!vu_poll_used(ring, out)) {
		struct pollfd poller = { .fd = ring->call, .events = POLLIN };
		uint64_t count;
		/* Asks for an interrupt, then looks again, as a driver does. */
		__atomic_store_n(&ring->available[2 + ring->size], ring->seen_used,
				 __ATOMIC_SEQ_CST);
		if (vu_poll_used(ring, out))
			return true;
		if (poll(&poller, 1, milliseconds) != 1)
			return vu_poll_used(ring, out);
		MUST(read(ring->call, &count, sizeof(count)) == sizeof(count));
	}
	return true;
}

bool vu_ring_is_broken(struct vu_ring *ring, int milliseconds)
{
	struct pollfd poller = { .fd = ring->error, .events = POLLIN };
	return poll(&poller, 1, milliseconds) == 1;
}

/* FUSE */

static void describe_chain(struct vu_descriptor *table, unsigned first, uint64_t request,
			   size_t len, uint64_t reply, size_t reply_max, bool wants_reply)
{
	/* The header and the body are buffers of their own, as Linux does it. */
	size_t body = len - sizeof(struct fuse_in_header);
	unsigned count = 0;
	struct vu_descriptor parts[4];
	parts[count++] = (struct vu_descriptor){ request, sizeof(struct fuse_in_header), 0, 0 };
	if (body)
		parts[count++] = (struct vu_descriptor){ request + sizeof(struct fuse_in_header),
							 (uint32_t)body, 0, 0 };
	if (wants_reply)
		parts[count++] = (struct vu_descriptor){ reply, sizeof(struct fuse_out_header),
							 VU_WRITE, 0 };
	if (wants_reply && reply_max)
		parts[count++] = (struct vu_descriptor){ reply + sizeof(struct fuse_out_header),
							 (uint32_t)reply_max, VU_WRITE, 0 };
	for (unsigned i = 0; i < count; i++) {
		if (i + 1 < count) {
			parts[i].flags |= VU_NEXT;
			parts[i].next = (uint16_t)(first + i + 1);
		}
		table[first + i] = parts[i];
	}
}

static bool wants_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

void vu_put_request(struct vu_client *client, struct vu_ring *ring, unsigned slot, bool indirect,
		    uint32_t opcode, uint64_t nodeid, const void *body, size_t len,
		    size_t reply_max)
{
	uint64_t request = ring->requests + (uint64_t)slot * PAGE;
	uint64_t reply = ring->replies + (uint64_t)slot * ring->reply_room;
	uint8_t *here = vu_at(client, request);
	struct fuse_in_header header = {
		.len = (uint32_t)(sizeof(header) + len),
		.opcode = opcode,
		.unique = __atomic_add_fetch(&client->unique, 2, __ATOMIC_RELAXED),
		.nodeid = nodeid,
	};
	ring->unique = header.unique;
	MUST(sizeof(header) + len <= PAGE - 128);
	MUST(reply_max + sizeof(struct fuse_out_header) <= ring->reply_room);
	memcpy(here, &header, sizeof(header));
	if (len)
		memcpy(here + sizeof(header), body, len);
	if (indirect) {
		struct vu_descriptor *table = (void *)(here + PAGE - 64);
		describe_chain(table, 0, request, sizeof(header) + len, reply, reply_max,
			       wants_reply(opcode));
		vu_describe(ring, slot * 4, request + PAGE - 64, 64, VU_INDIRECT, 0);
	} else {
		describe_chain(ring->descriptors, slot * 4, request, sizeof(header) + len, reply,
			       reply_max, wants_reply(opcode));
	}
	vu_offer(ring, (uint16_t)(slot * 4));
}

int vu_fuse(struct vu_client *client, unsigned index, uint32_t opcode, uint64_t nodeid,
	    const void *body, size_t len, size_t reply_max, struct buf *out)
{
	struct vu_ring *ring = &client->rings[index];
	struct fuse_out_header header;
	struct vu_used used;
	bool indirect = client->features & VIRTIO_RING_F_INDIRECT_DESC;
	vu_put_request(client, ring, 0, indirect, opcode, nodeid, body, len, reply_max);
	vu_kick(ring);
	if (!vu_wait_used(ring, &used, VU_PATIENCE_MS))
		return VU_TIMEOUT;
	MUST(used.head == 0);
	if (used.written == 0)
		return VU_NO_REPLY;
	memcpy(&header, vu_at(client, ring->replies), sizeof(header));
	MUST(header.len == used.written && header.len >= sizeof(header));
	MUST(header.len <= sizeof(header) + reply_max);
	MUST(header.unique == ring->unique);
	if (out)
		buf_append(out, (uint8_t *)vu_at(client, ring->replies) + sizeof(header),
			   header.len - sizeof(header));
	return header.error;
}

int vu_init(struct vu_client *client, unsigned ring)
{
	uint64_t flags = UINT64_MAX & ~FUSE_PASSTHROUGH & ~FUSE_OVER_IO_URING;
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION,
				     .minor = FUSE_KERNEL_MINOR_VERSION,
				     .max_readahead = 131072,
				     .flags = (uint32_t)flags,
				     .flags2 = (uint32_t)(flags >> 32) };
	return vu_fuse(client, ring, FUSE_INIT, 0, &init, sizeof(init),
		       sizeof(struct fuse_init_out), NULL);
}

uint64_t vu_lookup(struct vu_client *client, unsigned ring, uint64_t parent, const char *name,
		   uint64_t *size)
{
	CLEANUP(buf_release) struct buf reply = BUF_INIT;
	struct fuse_entry_out entry = { .nodeid = 0 };
	if (vu_fuse(client, ring, FUSE_LOOKUP, parent, name, strlen(name) + 1, sizeof(entry),
		    &reply) == 0 &&
	    reply.len == sizeof(entry))
		memcpy(&entry, reply.ptr, sizeof(entry));
	if (size)
		*size = entry.attr.size;
	return entry.nodeid;
}
