/*
 * Guests that break every rule. Each kind is one test: the back-end neither dies nor hangs; the ring
 * that was broken says so and, after a reset, works again; the other rings never notice.
 */
#include "unit/transport/guest.h"

#include <sys/mman.h>

enum { EVIL = 1, GOOD = 2 };

/* From the beginning, as after a guest's reset. */
static void restart(struct vu_client *client, unsigned index)
{
	assert_true(vu_ring_stop(client, index) >= 0);
	vu_ring_reset(client, index);
	vu_ring_start(client, index, 0);
}

/* The ring takes nothing more; after a reset it works again. */
static void broke(struct guest *guest)
{
	struct vu_client *client = &guest->client;
	struct vu_ring *ring = &client->rings[EVIL];
	struct vu_used used;
	if (!vu_ring_is_broken(ring, VU_PATIENCE_MS))
		fail_msg("the ring is not broken");
	guest_works(guest, GOOD);
	/* Nothing came back, and nothing will. */
	vu_describe(ring, 0, ring->requests, 40, 0, 0);
	vu_offer(ring, 0);
	vu_kick_always(ring);
	assert_false(vu_wait_used(ring, &used, 10));
	restart(client, EVIL);
	guest_works(guest, EVIL);
}

/* Offers the chain that begins at 0. */
static void offer(struct guest *guest)
{
	struct vu_ring *ring = &guest->client.rings[EVIL];
	vu_offer(ring, 0);
	vu_kick_always(ring);
}

static struct vu_ring *evil(struct guest *guest)
{
	return &guest->client.rings[EVIL];
}

/* The guest's address of a table of its own, and where it lies here. */
static uint64_t table_at(struct guest *guest, struct vu_descriptor **table)
{
	uint64_t address = VU_GUEST_BASE + guest->client.first_size + 65536;
	*table = vu_at(&guest->client, address);
	return address;
}

static void descriptor_loops(void **state)
{
	(void)state;
	struct guest guest;
	struct vu_descriptor *table;
	guest_open(&guest, NULL, false);
	uint64_t at = evil(&guest)->requests;
	/* One that follows itself. */
	vu_describe(evil(&guest), 0, at, 8, VU_NEXT, 0);
	offer(&guest);
	broke(&guest);
	/* A long one. */
	for (unsigned i = 0; i < evil(&guest)->size; i++)
		vu_describe(evil(&guest), i, at, 8, VU_NEXT, (i + 1) % evil(&guest)->size);
	offer(&guest);
	broke(&guest);
	/* Of empty buffers. */
	for (unsigned i = 0; i < evil(&guest)->size; i++)
		vu_describe(evil(&guest), i, at, 0, VU_NEXT, (i + 1) % evil(&guest)->size);
	offer(&guest);
	broke(&guest);
	/* In an indirect table. */
	uint64_t address = table_at(&guest, &table);
	table[0] = (struct vu_descriptor){ at, 8, VU_NEXT, 1 };
	table[1] = (struct vu_descriptor){ at, 8, VU_NEXT, 0 };
	vu_describe(evil(&guest), 0, address, 32, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	guest_close(&guest);
}

static void chains_too_long(void **state)
{
	(void)state;
	struct guest guest;
	struct vu_descriptor *table;
	guest_open(&guest, NULL, false);
	uint64_t at = evil(&guest)->requests;
	uint64_t address = table_at(&guest, &table);
	for (unsigned i = 0; i < 4096; i++)
		table[i] = (struct vu_descriptor){ at, 1, VU_NEXT, (uint16_t)(i + 1) };
	vu_describe(evil(&guest), 0, address, 1025 * 16, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	vu_describe(evil(&guest), 0, address, 0xfffffff0, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	/* As many as may be, but each of them two pieces. */
	uint64_t edge = VU_GUEST_BASE + guest.client.first_size - 1;
	for (unsigned i = 0; i < 1024; i++)
		table[i] = (struct vu_descriptor){ edge, 2, i < 1023 ? VU_NEXT : 0,
						   (uint16_t)(i + 1) };
	vu_describe(evil(&guest), 0, address, 1024 * 16, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	/* As long as may be: no FUSE request, but a chain. */
	for (unsigned i = 0; i < 1024; i++)
		table[i].len = 1;
	vu_describe(evil(&guest), 0, address, 1024 * 16, VU_INDIRECT, 0);
	offer(&guest);
	struct vu_used used;
	assert_true(vu_wait_used(evil(&guest), &used, VU_PATIENCE_MS));
	assert_int_equal(used.written, 0);
	guest_works(&guest, EVIL);
	guest_close(&guest);
}

static void indirect_in_indirect(void **state)
{
	(void)state;
	struct guest guest;
	struct vu_descriptor *table;
	guest_open(&guest, NULL, false);
	uint64_t address = table_at(&guest, &table);
	table[0] = (struct vu_descriptor){ address, 16, VU_INDIRECT, 0 };
	vu_describe(evil(&guest), 0, address, 16, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	table[0] = (struct vu_descriptor){ address, 8, VU_NEXT, 1 };
	table[1] = (struct vu_descriptor){ address + 512, 16, VU_INDIRECT, 0 };
	vu_describe(evil(&guest), 0, address, 32, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	guest_close(&guest);
}

static void bad_indirect_tables(void **state)
{
	(void)state;
	struct guest guest;
	struct vu_descriptor *table;
	guest_open(&guest, NULL, false);
	uint64_t address = table_at(&guest, &table);
	uint64_t end = VU_GUEST_BASE + guest.client.first_size + VU_SECOND_SIZE;
	static const uint32_t lengths[] = { 0, 8, 17, 15 };
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		vu_describe(evil(&guest), 0, address, lengths[i], VU_INDIRECT, 0);
		offer(&guest);
		broke(&guest);
	}
	/* Where there is no memory: none of it, the second half of a descriptor, all but the first. */
	const uint64_t places[] = { 0, end, end - 8, end - 16, UINT64_MAX - 15, UINT64_MAX - 20 };
	struct vu_descriptor *last = vu_at(&guest.client, end - 16);
	*last = (struct vu_descriptor){ address, 8, VU_NEXT, 1 };
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		vu_describe(evil(&guest), 0, places[i], 32, VU_INDIRECT, 0);
		offer(&guest);
		broke(&guest);
	}
	vu_describe(evil(&guest), 0, address, 16, VU_INDIRECT | VU_NEXT, 1);
	offer(&guest);
	broke(&guest);
	/* It leads out of its table. */
	table[0] = (struct vu_descriptor){ address, 8, VU_NEXT, 7 };
	vu_describe(evil(&guest), 0, address, 32, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	/* At an odd address it is unusual, but a table: a GETATTR in four buffers. */
	uint64_t odd = address + 4 * 16 + 3;
	vu_put_request(&guest.client, evil(&guest), 0, true, FUSE_GETATTR, 1,
		       &(struct fuse_getattr_in){ 0 }, 16, sizeof(struct fuse_attr_out));
	memcpy(vu_at(&guest.client, odd),
	       vu_at(&guest.client, evil(&guest)->descriptors[0].address), 64);
	evil(&guest)->descriptors[0].address = odd;
	vu_kick(evil(&guest));
	struct vu_used used;
	assert_true(vu_wait_used(evil(&guest), &used, VU_PATIENCE_MS));
	assert_int_equal(used.written, 16 + sizeof(struct fuse_attr_out));
	guest_close(&guest);

	/* Not agreed on. */
	guest_prepare(&guest, NULL, NULL, false);
	guest_connect(&guest, 4, 4096);
	vu_start(&guest.client, 0);
	assert_int_equal(vu_init(&guest.client, EVIL), 0);
	vu_describe(evil(&guest), 0, evil(&guest)->requests, 16, VU_INDIRECT, 0);
	offer(&guest);
	broke(&guest);
	guest_close(&guest);
}

static void lengths_past_the_region(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	uint64_t end = VU_GUEST_BASE + guest.client.first_size + VU_SECOND_SIZE;
	static const uint32_t lengths[] = { 41, 4097, 1 << 30, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		vu_describe(evil(&guest), 0, end - 40, lengths[i], 0, 0);
		offer(&guest);
		broke(&guest);
		vu_describe(evil(&guest), 0, evil(&guest)->requests, 40, VU_NEXT, 1);
		vu_describe(evil(&guest), 1, end - 40, lengths[i], VU_WRITE, 0);
		offer(&guest);
		broke(&guest);
	}
	guest_close(&guest);
}

static void addresses_that_cross_regions(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	uint64_t first_end = VU_GUEST_BASE + guest.client.first_size;
	uint64_t end = first_end + VU_SECOND_SIZE;
	/* Regions that lie side by side may be crossed (vhost_user_test.c: scattered_reply), holes
	 * not. */
	const struct {
		uint64_t address;
		uint32_t len;
	} bad[] = {
		{ VU_GUEST_BASE - 1, 2 },
		{ VU_GUEST_BASE - 4096, 4097 },
		{ end - 1, 2 },
		{ end, 1 },
		{ first_end - 1, VU_SECOND_SIZE + 2 },
		{ 0, 1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		vu_describe(evil(&guest), 0, bad[i].address, bad[i].len, 0, 0);
		offer(&guest);
		broke(&guest);
	}
	guest_close(&guest);
}

static void addresses_that_wrap(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	const struct {
		uint64_t address;
		uint32_t len;
	} bad[] = {
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 4095, 4097 },
		{ UINT64_MAX - 100, UINT32_MAX },
		{ UINT64_MAX - UINT32_MAX + 1, UINT32_MAX },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		vu_describe(evil(&guest), 0, bad[i].address, bad[i].len, 0, 0);
		offer(&guest);
		broke(&guest);
	}
	guest_close(&guest);
}

static void chains_of_the_wrong_shape(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_ring *ring = evil(&guest);
	/* It begins outside, it leads outside. */
	vu_offer(ring, ring->size);
	vu_kick_always(ring);
	broke(&guest);
	vu_offer(ring, UINT16_MAX);
	vu_kick_always(ring);
	broke(&guest);
	vu_describe(ring, 0, ring->requests, 40, VU_NEXT, ring->size);
	offer(&guest);
	broke(&guest);
	vu_describe(ring, 0, ring->requests, 40, VU_NEXT, UINT16_MAX);
	offer(&guest);
	broke(&guest);
	/* To be read after what is to be written. */
	vu_describe(ring, 0, ring->requests, 40, VU_NEXT | VU_WRITE, 1);
	vu_describe(ring, 1, ring->requests, 40, 0, 0);
	offer(&guest);
	broke(&guest);
	/* Nothing in it, nothing to read, nothing to write, too little to write: given back. */
	static const struct {
		uint32_t read, write;
	} small[] = { { 0, 0 }, { 0, 4096 }, { 39, 4096 }, { 40, 0 }, { 56, 15 } };
	for (size_t i = 0; i < ARRAY_LEN(small); i++) {
		struct fuse_in_header header = { .len = 56, .opcode = FUSE_GETATTR, .nodeid = 1 };
		struct vu_used used;
		memcpy(vu_at(&guest.client, ring->requests), &header, sizeof(header));
		vu_describe(ring, 0, ring->requests, small[i].read, VU_NEXT, 1);
		vu_describe(ring, 1, ring->replies, small[i].write, VU_WRITE, 0);
		offer(&guest);
		assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
		assert_int_equal(used.head, 0);
		assert_int_equal(used.written, 0);
	}
	guest_works(&guest, EVIL);
	guest_close(&guest);
}

/* To another place in memory: it goes on there. */
static void rings_moved_while_running(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	struct vu_ring *ring = evil(&guest);
	guest_works(&guest, EVIL);
	uint8_t *elsewhere = client->second + (1 << 20);
	memcpy(elsewhere, ring->descriptors, 65536);
	ptrdiff_t by = elsewhere - (uint8_t *)ring->descriptors;
	ring->descriptors = (void *)((uint8_t *)ring->descriptors + by);
	ring->available = (void *)((uint8_t *)ring->available + by);
	ring->used = (void *)((uint8_t *)ring->used + by);
	assert_int_equal(vu_ring_set_addresses(client, EVIL,
					       vu_user_address(client, ring->descriptors),
					       vu_user_address(client, ring->available),
					       vu_user_address(client, ring->used)),
			 0);
	guest_works(&guest, EVIL);
	guest_close(&guest);
}

/* Out of memory, across its end, to odd addresses. */
static void rings_moved_away(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	struct vu_ring *ring = evil(&guest);
	uint64_t good = vu_user_address(client, ring->descriptors);
	/* For us the regions may lie side by side. */
	uint64_t end = vu_user_address(client, client->second) + VU_SECOND_SIZE;
	if (client->first > client->second)
		end = vu_user_address(client, client->first) + client->first_size;
	const uint64_t bad[][3] = {
		{ 0, good, good },        { good, 0, good },          { good, good, 0 },
		{ end, good, good },      { end - 16, good, good },   { good, good, end - 4 },
		{ good, end - 2, good },  { good + 1, good, good },   { good, good + 1, good },
		{ good, good, good + 2 }, { UINT64_MAX, good, good },
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vu_used used;
		assert_int_equal(
			vu_ring_set_addresses(client, EVIL, bad[i][0], bad[i][1], bad[i][2]), 1);
		assert_true(vu_ring_is_broken(ring, VU_PATIENCE_MS));
		guest_works(&guest, GOOD);
		vu_put_request(client, ring, 0, true, FUSE_GETATTR, 1,
			       &(struct fuse_getattr_in){ 0 }, 16, sizeof(struct fuse_attr_out));
		vu_kick_always(ring);
		assert_false(vu_wait_used(ring, &used, 5));
		restart(client, EVIL);
		guest_works(&guest, EVIL);
	}
	guest_close(&guest);
}

/* All memory is taken from under rings that run. */
static void memory_taken_away(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	struct vhost_user_memory_table none = { .count = 0 };
	guest_works(&guest, EVIL);
	assert_int_equal(vu_ask(client, VHOST_USER_SET_MEM_TABLE, &none, 8, NULL, 0), 0);
	assert_true(vu_ring_is_broken(evil(&guest), VU_PATIENCE_MS));
	assert_true(vu_ring_is_broken(&client->rings[GOOD], VU_PATIENCE_MS));
	assert_int_equal(vu_set_memory(client), 0);
	for (unsigned i = 0; i < GUEST_RINGS; i++)
		restart(client, i);
	guest_works(&guest, EVIL);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

static void used_ring_full(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_ring *ring = evil(&guest);
	/* More available than the ring has places. */
	ring->next_available = (uint16_t)(ring->next_available + ring->size + 1);
	ring->available[1] = ring->next_available;
	vu_kick_always(ring);
	broke(&guest);
	ring->next_available = (uint16_t)(ring->next_available - 1);
	ring->available[1] = ring->next_available;
	vu_kick_always(ring);
	broke(&guest);
	guest_close(&guest);

	/* The same chain again and again, while none of them can be answered. */
	guest_open(&guest, NULL, true);
	ring = evil(&guest);
	uint64_t big = vu_lookup(&guest.client, EVIL, FUSE_ROOT_ID, "big", NULL);
	struct fuse_read_in read = { .size = 4096 };
	atomic_store(&guest.plan.hang, true);
	for (unsigned i = 0; i < ring->size; i++)
		vu_put_request(&guest.client, ring, 0, true, FUSE_READ, big, &read, sizeof(read),
			       4096);
	vu_kick_always(ring);
	assert_true(double_plan_wait_hanging(&guest.plan, ring->size));
	assert_false(vu_ring_is_broken(ring, 0));
	vu_put_request(&guest.client, ring, 0, true, FUSE_READ, big, &read, sizeof(read), 4096);
	vu_kick_always(ring);
	assert_true(vu_ring_is_broken(ring, VU_PATIENCE_MS));
	assert_true(vu_lookup(&guest.client, GOOD, FUSE_ROOT_ID, "tool", NULL) != 0);
	atomic_store(&guest.plan.hang, false);
	/* Those that were taken come back. */
	for (unsigned i = 0; i < ring->size; i++) {
		struct vu_used used;
		assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
		assert_int_equal(used.head, 0);
	}
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

/* Sends a request as it is: the error, or VU_NO_REPLY. */
static int send_raw(struct guest *guest, const void *bytes, size_t len)
{
	struct vu_ring *ring = evil(guest);
	struct fuse_out_header header;
	struct vu_used used;
	memset(vu_at(&guest->client, ring->requests), 0, 4096);
	memcpy(vu_at(&guest->client, ring->requests), bytes, len);
	vu_describe(ring, 0, ring->requests, (uint32_t)len, VU_NEXT, 1);
	vu_describe(ring, 1, ring->replies, 8192, VU_WRITE, 0);
	offer(guest);
	assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
	if (used.written == 0)
		return VU_NO_REPLY;
	memcpy(&header, vu_at(&guest->client, ring->replies), sizeof(header));
	assert_int_equal(header.len, used.written);
	return header.error;
}

static void fuse_lengths_that_lie(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct {
		struct fuse_in_header header;
		uint8_t body[3000];
	} request;
	static const uint32_t opcodes[] = { FUSE_LOOKUP,      FUSE_GETATTR,  FUSE_READ,
					    FUSE_READDIRPLUS, FUSE_GETXATTR, FUSE_STATX,
					    FUSE_BATCH_FORGET };
	static const uint32_t lies[] = { 0, 1, 39, 3041, 65536, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++) {
		bool forget = opcodes[i] == FUSE_BATCH_FORGET;
		memset(&request, 0xff, sizeof(request));
		request.header = (struct fuse_in_header){ .opcode = opcodes[i], .nodeid = 1 };
		for (size_t j = 0; j < ARRAY_LEN(lies); j++) {
			request.header.len = lies[j];
			assert_int_equal(send_raw(&guest, &request, sizeof(request)),
					 forget ? VU_NO_REPLY : -EINVAL);
		}
		/* A body that is shorter than its opcode needs. */
		request.header.len = sizeof(request.header);
		assert_int_equal(send_raw(&guest, &request, sizeof(request)),
				 forget ? VU_NO_REPLY : -EINVAL);
		/* Extensions longer than the request. */
		request.header.len = sizeof(request);
		request.header.total_extlen = UINT16_MAX;
		assert_int_equal(send_raw(&guest, &request, sizeof(request)),
				 forget ? VU_NO_REPLY : -EINVAL);
	}
	/* A count of forgets that are not there. */
	request.header = (struct fuse_in_header){ .len = sizeof(request.header) + 8 + 32,
						  .opcode = FUSE_BATCH_FORGET };
	struct fuse_batch_forget_in batch = { .count = UINT32_MAX };
	memcpy(request.body, &batch, sizeof(batch));
	assert_int_equal(send_raw(&guest, &request, request.header.len), VU_NO_REPLY);
	guest_works(&guest, EVIL);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

/* More is asked for than there is room for. */
static void replies_too_large(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	uint64_t big = vu_lookup(client, EVIL, FUSE_ROOT_ID, "big", NULL);
	struct fuse_read_in read = { .size = UINT32_MAX };
	assert_int_equal(vu_fuse(client, EVIL, FUSE_READ, big, &read, sizeof(read), 100, &got), 0);
	assert_int_equal(got.len, 100);
	buf_clear(&got);
	assert_int_equal(vu_fuse(client, EVIL, FUSE_READ, big, &read, sizeof(read), 0, &got), 0);
	assert_int_equal(got.len, 0);
	uint64_t many = vu_lookup(client, EVIL, FUSE_ROOT_ID, "many", NULL);
	for (size_t room = 0; room < 500; room += 7) {
		buf_clear(&got);
		assert_int_equal(vu_fuse(client, EVIL, FUSE_READDIRPLUS, many, &read, sizeof(read),
					 room, &got),
				 0);
		assert_true(got.len <= room);
	}
	assert_true(vu_fuse(client, EVIL, FUSE_GETATTR, 1, &(struct fuse_getattr_in){ 0 }, 16, 8,
			    &got) < 0);
	assert_true(vu_fuse(client, EVIL, FUSE_LOOKUP, 1, "readme", 7, 8, &got) < 0);
	uint64_t link = vu_lookup(client, EVIL, FUSE_ROOT_ID, "link", NULL);
	assert_int_equal(vu_fuse(client, EVIL, FUSE_READLINK, link, NULL, 0, 3, &got),
			 -ENAMETOOLONG);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

static void opcodes_unknown(void **state)
{
	static const uint32_t opcodes[] = { 0, 7, 19, 54, 63, 64, 4096, 1u << 20, UINT32_MAX };
	(void)state;
	struct guest guest;
	uint8_t body[256] = { 0 };
	guest_open(&guest, NULL, false);
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++)
		assert_int_equal(
			vu_fuse(&guest.client, EVIL, opcodes[i], 1, body, sizeof(body), 4096, NULL),
			-ENOSYS);
	/* DAX windows: not here. */
	assert_int_equal(
		vu_fuse(&guest.client, EVIL, FUSE_SETUPMAPPING, 1, body, sizeof(body), 4096, NULL),
		-ENOSYS);
	assert_int_equal(
		vu_fuse(&guest.client, EVIL, FUSE_REMOVEMAPPING, 1, body, sizeof(body), 4096, NULL),
		-ENOSYS);
	guest_works(&guest, EVIL);
	guest_close(&guest);
}

static void nodeids_never_handed_out(void **state)
{
	static const uint64_t nodeids[] = { 0, 2, 4711, UINT32_MAX, INT64_MAX, UINT64_MAX };
	static const uint32_t opcodes[] = { FUSE_LOOKUP,   FUSE_GETATTR, FUSE_READ,
					    FUSE_READLINK, FUSE_READDIR, FUSE_READDIRPLUS,
					    FUSE_STATX,    FUSE_ACCESS,  FUSE_OPEN,
					    FUSE_OPENDIR,  FUSE_LSEEK,   FUSE_POLL };
	(void)state;
	struct guest guest;
	uint8_t body[256] = "name";
	guest_open(&guest, NULL, false);
	for (size_t i = 0; i < ARRAY_LEN(nodeids); i++) {
		for (size_t j = 0; j < ARRAY_LEN(opcodes); j++)
			assert_int_equal(vu_fuse(&guest.client, EVIL, opcodes[j], nodeids[i], body,
						 sizeof(body), 4096, NULL),
					 -ESTALE);
		struct fuse_forget_in forget = { .nlookup = UINT64_MAX };
		assert_int_equal(vu_fuse(&guest.client, 0, FUSE_FORGET, nodeids[i], &forget,
					 sizeof(forget), 0, NULL),
				 VU_NO_REPLY);
	}
	/* Forgotten more often than known. */
	uint64_t tool = vu_lookup(&guest.client, EVIL, FUSE_ROOT_ID, "tool", NULL);
	struct fuse_forget_in forget = { .nlookup = UINT64_MAX };
	assert_int_equal(
		vu_fuse(&guest.client, 0, FUSE_FORGET, tool, &forget, sizeof(forget), 0, NULL),
		VU_NO_REPLY);
	assert_int_equal(vu_fuse(&guest.client, EVIL, FUSE_GETATTR, tool, body, 16, 4096, NULL),
			 -ESTALE);
	guest_works(&guest, EVIL);
	guest_close(&guest);
}

static void requests_before_init(void **state)
{
	(void)state;
	struct guest guest;
	uint8_t body[64] = "readme";
	guest_prepare(&guest, NULL, NULL, false);
	guest_connect(&guest, 4, 1 << 17);
	vu_start(&guest.client, ALL_RING_FEATURES);
	static const uint32_t opcodes[] = { FUSE_LOOKUP,      FUSE_GETATTR, FUSE_READ,
					    FUSE_READDIRPLUS, FUSE_STATFS,  FUSE_DESTROY };
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++)
		assert_int_equal(
			vu_fuse(&guest.client, EVIL, opcodes[i], 1, body, sizeof(body), 4096, NULL),
			-EIO);
	assert_int_equal(vu_init(&guest.client, EVIL), 0);
	guest_works(&guest, GOOD);
	assert_int_equal(vu_fuse(&guest.client, EVIL, FUSE_DESTROY, 0, NULL, 0, 0, NULL), 0);
	assert_int_equal(vu_fuse(&guest.client, GOOD, FUSE_GETATTR, 1, body, 16, 4096, NULL), -EIO);
	assert_int_equal(vu_init(&guest.client, EVIL), 0);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

static void floods_of_lookups(void **state)
{
	(void)state;
	struct guest guest;
	const struct fs_options options = { .inodes_max = 100 };
	guest_open(&guest, &options, false);
	struct vu_client *client = &guest.client;
	uint64_t readme = vu_lookup(client, GOOD, FUSE_ROOT_ID, "readme", NULL);
	uint64_t many = vu_lookup(client, EVIL, FUSE_ROOT_ID, "many", NULL);
	unsigned refused = 0;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < MANY; i++) {
			char name[16];
			snprintf(name, sizeof(name), "file-%03d", i);
			refused += vu_lookup(client, EVIL, many, name, NULL) == 0;
		}
	}
	assert_int_equal(refused, 20 * (MANY - 98));
	struct fuse_read_in read = { .size = 131000 };
	for (int i = 0; i < 100; i++)
		assert_true(vu_fuse(client, EVIL, FUSE_READDIRPLUS, many, &read, sizeof(read),
				    131000, NULL) != VU_TIMEOUT);
	struct fs_stats stats;
	fs_get_stats(guest.fs, &stats);
	assert_true(stats.inodes <= 100);
	/* What is known goes on, and forgetting makes room. */
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	assert_int_equal(vu_fuse(client, GOOD, FUSE_READ, readme, &read, sizeof(read), 100, &got),
			 0);
	assert_view_equal(buf_view(&got), view_of_string("hello, world"));
	assert_int_equal(vu_lookup(client, GOOD, FUSE_ROOT_ID, "tool", NULL), 0);
	uint64_t first = vu_lookup(client, EVIL, many, "file-000", NULL);
	struct fuse_forget_in forget = { .nlookup = UINT64_MAX };
	assert_int_equal(vu_fuse(client, 0, FUSE_FORGET, first, &forget, sizeof(forget), 0, NULL),
			 VU_NO_REPLY);
	assert_true(vu_lookup(client, GOOD, FUSE_ROOT_ID, "tool", NULL) != 0);
	guest_close(&guest);
}

static void floods_of_kicks_and_resets(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	uint64_t big = vu_lookup(client, EVIL, FUSE_ROOT_ID, "big", NULL);
	struct fuse_read_in read = { .size = 65536 };
	for (int i = 0; i < 10000; i++)
		vu_kick_always(evil(&guest));
	guest_works(&guest, EVIL);
	for (int round = 0; round < 100; round++) {
		for (unsigned slot = 0; slot < 4; slot++)
			vu_put_request(client, evil(&guest), slot, true, FUSE_READ, big, &read,
				       sizeof(read), 65536);
		vu_kick_always(evil(&guest));
		assert_true(vu_ring_stop(client, EVIL) >= 0);
		vu_ring_reset(client, EVIL);
		vu_ring_start(client, EVIL, 0);
	}
	guest_works(&guest, EVIL);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

struct changer {
	/* Mapped for itself, so that a checker of races sees none between it and this test. */
	volatile uint64_t *descriptors, *requests;
	atomic_bool stop;
};

/* Another processor of the guest, which changes everything while it is looked at. */
static void *change_everything(void *arg)
{
	struct changer *changer = arg;
	uint64_t random = 88172645463325252u;
	while (!atomic_load(&changer->stop)) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		changer->descriptors[random % 32] ^= random >> 40 & 0xff;
		changer->descriptors[1 + 2 * (random >> 5) % 16] ^= (random >> 48 & 7) << 32;
		changer->requests[(random >> 10) % (4 * 512)] ^= random >> 50;
	}
	return NULL;
}

static void changes_while_it_is_read(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, false);
	struct vu_client *client = &guest.client;
	uint8_t *mapped = mmap(NULL, client->first_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			       client->memory_fd, 0);
	assert_true(mapped != MAP_FAILED);
	uint8_t *rings = mapped + ((uint8_t *)evil(&guest)->descriptors - client->first);
	uint8_t *requests = mapped + (evil(&guest)->requests - VU_GUEST_BASE);
	struct changer changer = { .descriptors = (void *)rings, .requests = (void *)requests };
	atomic_init(&changer.stop, false);
	pthread_t thread = testing_thread("changer", change_everything, &changer);
	int64_t until = clock_monotonic_ns() + 2 * NS_PER_S;
	unsigned resets = 0, answered = 0;
	while (clock_monotonic_ns() < until) {
		struct fuse_read_in read = { .size = 4096 };
		struct vu_used used;
		for (unsigned slot = 0; slot < 4; slot++)
			vu_put_request(client, evil(&guest), slot, slot % 2, FUSE_READDIRPLUS, 1,
				       &read, sizeof(read), 4096);
		vu_kick_always(evil(&guest));
		for (unsigned slot = 0; slot < 4; slot++)
			answered += vu_wait_used(evil(&guest), &used, 2);
		if (vu_ring_is_broken(evil(&guest), 0)) {
			restart(client, EVIL);
			resets++;
		}
		/* Somebody may have said DESTROY. */
		assert_int_equal(vu_init(client, GOOD), 0);
	}
	atomic_store(&changer.stop, true);
	pthread_join(thread, NULL);
	munmap(mapped, client->first_size);
	print_message("%u answers, %u resets\n", answered, resets);
	assert_true(answered > 0);
	assert_int_equal(vu_init(client, GOOD), 0);
	guest_works(&guest, GOOD);
	guest_close(&guest);
}

static void hangs_up_in_the_middle(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct guest guest;
		guest_open(&guest, NULL, true);
		struct vu_client *client = &guest.client;
		uint64_t big = vu_lookup(client, EVIL, FUSE_ROOT_ID, "big", NULL);
		struct fuse_read_in read = { .size = 65536 };
		atomic_store(&guest.plan.hang, i % 2 == 0);
		for (unsigned slot = 0; slot < 4; slot++)
			vu_put_request(client, evil(&guest), slot, true, FUSE_READ, big, &read,
				       sizeof(read), 65536);
		vu_kick_always(evil(&guest));
		if (i % 4 == 0)
			assert_true(double_plan_wait_hanging(&guest.plan, 1));
		guest_close(&guest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptor_loops),
		cmocka_unit_test(chains_too_long),
		cmocka_unit_test(indirect_in_indirect),
		cmocka_unit_test(bad_indirect_tables),
		cmocka_unit_test(lengths_past_the_region),
		cmocka_unit_test(addresses_that_cross_regions),
		cmocka_unit_test(addresses_that_wrap),
		cmocka_unit_test(chains_of_the_wrong_shape),
		cmocka_unit_test(rings_moved_while_running),
		cmocka_unit_test(rings_moved_away),
		cmocka_unit_test(memory_taken_away),
		cmocka_unit_test(used_ring_full),
		cmocka_unit_test(fuse_lengths_that_lie),
		cmocka_unit_test(replies_too_large),
		cmocka_unit_test(opcodes_unknown),
		cmocka_unit_test(nodeids_never_handed_out),
		cmocka_unit_test(requests_before_init),
		cmocka_unit_test(floods_of_lookups),
		cmocka_unit_test(floods_of_kicks_and_resets),
		cmocka_unit_test(changes_while_it_is_read),
		cmocka_unit_test(hangs_up_in_the_middle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
