/* The back-end by its socket and its rings, with a front-end that behaves, and with some that do not.
 */
#include "unit/transport/guest.h"

#include <sys/un.h>

#include "transport/guest_fault.h"

static void set_up(struct guest *guest)
{
	guest_open(guest, NULL, false);
}

static void serves_on_every_ring(void **state)
{
	static const uint64_t features[] = { 0, VIRTIO_RING_F_INDIRECT_DESC,
					     VIRTIO_RING_F_EVENT_IDX, ALL_RING_FEATURES };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		struct guest guest;
		guest_prepare(&guest, NULL, NULL, false);
		guest_connect(&guest, 4, 1 << 17);
		vu_start(&guest.client, features[i]);
		assert_int_equal(vu_init(&guest.client, 2), 0);
		for (unsigned ring = 0; ring < GUEST_RINGS; ring++)
			for (int again = 0; again < 100; again++)
				guest_works(&guest, ring);
		guest_close(&guest);
	}
}

static void negotiates(void **state)
{
	(void)state;
	struct guest guest;
	union vhost_user_body body = { .config = { .size = sizeof(struct virtio_fs_config) } };
	guest_prepare(&guest, NULL, &(struct vhost_user_options){ .threads = 3, .tag = "store" },
		      false);
	guest_connect(&guest, 4, 4096);
	vu_negotiate(&guest.client, ALL_RING_FEATURES);
	assert_int_equal(guest.client.protocol_features,
			 VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK |
				 VHOST_USER_PROTOCOL_F_BACKEND_REQ | VHOST_USER_PROTOCOL_F_RESET |
				 VHOST_USER_PROTOCOL_F_MEM_SLOTS | VHOST_USER_PROTOCOL_F_CONFIG);
	assert_int_equal(vu_get(&guest.client, VHOST_USER_GET_QUEUE_NUM), 64);
	assert_true(vu_get(&guest.client, VHOST_USER_GET_MAX_MEM_SLOTS) >= 32);
	vu_send(&guest.client, VHOST_USER_GET_CONFIG, 0, &body, 12 + body.config.size, NULL, 0);
	assert_int_equal(vu_receive(&guest.client, &body), 12 + 40);
	struct virtio_fs_config config;
	memcpy(&config, body.config.bytes, sizeof(config));
	assert_string_equal(config.tag, "store");
	assert_int_equal(config.num_request_queues, 3);
	/* What was not offered is refused. */
	uint64_t packed = guest.client.features | UINT64_C(1) << 34;
	assert_int_equal(vu_ask(&guest.client, VHOST_USER_SET_FEATURES, &packed, 8, NULL, 0), 1);
	/* A channel for requests of ours. */
	int fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(vu_ask(&guest.client, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &fd, 1), 0);
	assert_int_equal(vu_ask(&guest.client, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &fd, 1), 0);
	close(fd);
	guest_close(&guest);

	struct err err = ERR_INIT;
	struct vhost_user *none;
	const struct vhost_user_options long_tag = {
		.tag = "a tag of thirty-seven bytes, too long"
	};
	assert_rc(RC_INVALID, vhost_user_new(NULL, &long_tag, &none, &err), &err);
	/* Without a tag there is no configuration. */
	guest_prepare(&guest, NULL, NULL, false);
	guest_connect(&guest, 4, 4096);
	vu_negotiate(&guest.client, 0);
	assert_false(guest.client.protocol_features & VHOST_USER_PROTOCOL_F_CONFIG);
	guest_close(&guest);
}

static void large_reads(void **state)
{
	(void)state;
	struct guest guest;
	guest_prepare(&guest, NULL, NULL, false);
	guest_connect(&guest, 1, (1 << 20) + 4096);
	vu_start(&guest.client, ALL_RING_FEATURES);
	assert_int_equal(vu_init(&guest.client, 1), 0);
	uint64_t size;
	uint64_t big = vu_lookup(&guest.client, 1, FUSE_ROOT_ID, "big", &size);
	assert_int_equal(size, BIG_SIZE);
	guest_reads_big(&guest, 1, big, 0, 1 << 20);
	guest_reads_big(&guest, 1, big, 1, 1 << 20);
	guest_reads_big(&guest, 1, big, 2500000, 1 << 20);
	guest_reads_big(&guest, 1, big, BIG_SIZE - 1, 4096);
	guest_reads_big(&guest, 1, big, 262143, 2);
	guest_close(&guest);
}

/* A reply into pieces of odd sizes, some of them across two regions. */
static void scattered_reply(void **state)
{
	(void)state;
	struct guest guest;
	set_up(&guest);
	struct vu_client *client = &guest.client;
	struct vu_ring *ring = &client->rings[1];
	uint64_t big = vu_lookup(client, 1, FUSE_ROOT_ID, "big", NULL);
	uint64_t second = VU_GUEST_BASE + client->first_size;
	struct {
		struct fuse_in_header header;
		struct fuse_read_in body;
	} request = { .header = { .len = sizeof(request),
				  .opcode = FUSE_READ,
				  .unique = 77,
				  .nodeid = big },
		      .body = { .offset = 1000, .size = 30000 } };
	/* The request crosses, too: its last 20 bytes are in the second region. */
	uint64_t at = second - sizeof(request) + 20;
	memcpy(vu_at(client, at), &request, sizeof(request) - 20);
	memcpy(vu_at(client, second), (uint8_t *)&request + sizeof(request) - 20, 20);
	static const uint32_t pieces[] = { 1, 14, 7, 0, 4096, 1, 9999, 15898 };
	vu_describe(ring, 0, at, sizeof(request), VU_NEXT, 1);
	uint64_t reply = second - 5000;
	/* Below the request. */
	reply -= sizeof(request);
	uint64_t to = second + 100;
	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		bool last = i + 1 == ARRAY_LEN(pieces);
		vu_describe(ring, i + 1, to, pieces[i], VU_WRITE | (last ? 0 : VU_NEXT), i + 2);
		to += pieces[i];
	}
	vu_offer(ring, 0);
	vu_kick(ring);
	struct vu_used used;
	assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
	assert_int_equal(used.written, 16 + 30000);
	const uint8_t *got = vu_at(client, second + 100);
	struct fuse_out_header header;
	memcpy(&header, got, sizeof(header));
	assert_int_equal(header.unique, 77);
	assert_int_equal(header.error, 0);
	for (size_t i = 0; i < 30000; i++)
		assert_int_equal(got[16 + i], guest_big_byte(1000 + i));

	/* One buffer of which the beginning lies in the first region. */
	vu_describe(ring, 1, reply, 16 + 30000, VU_WRITE, 0);
	vu_offer(ring, 0);
	vu_kick(ring);
	assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
	for (size_t i = 0; i < 30000; i++) {
		/* The request lay there until it was copied. */
		const uint8_t *byte = vu_at(client, reply + 16 + i);
		assert_int_equal(*byte, guest_big_byte(1000 + i));
	}
	guest_close(&guest);
}

static uint64_t reads_taken(struct guest *guest)
{
	struct fs_stats stats;
	fs_get_stats(guest->fs, &stats);
	return stats.by_opcode[FUSE_READ];
}

/* Of the largest size, and with more requests than are taken at a time: IN_WORK (castor-virtiofs(1)
 * says so) hang in the services, the others wait on the ring, and none is answered meanwhile. */
static void large_ring(void **state)
{
	enum { SIZE = 32768, REQUESTS = 3000, IN_WORK = 1024 };
	(void)state;
	struct guest guest;
	struct vu_used used;
	bool answered[REQUESTS] = { false };
	guest_open(&guest, NULL, true);
	struct vu_client *client = &guest.client;
	struct vu_ring *ring = &client->rings[1];
	assert_true(vu_ring_stop(client, 1) >= 0);
	ring->descriptors = (void *)client->second;
	ring->available = (void *)(client->second + SIZE * sizeof(struct vu_descriptor));
	ring->used = (void *)((uint8_t *)ring->available + 3 * SIZE);
	ring->next_available = ring->seen_used = ring->told_available = 0;
	ring->size = SIZE;
	vu_ring_start(client, 1, 0);
	guest_works(&guest, 1);
	uint64_t big = vu_lookup(client, 1, FUSE_ROOT_ID, "big", NULL);
	struct {
		struct fuse_in_header header;
		struct fuse_read_in body;
	} request = { .header = { .len = sizeof(request),
				  .opcode = FUSE_READ,
				  .unique = 1 << 20,
				  .nodeid = big },
		      .body = { .size = 16 } };
	memcpy(vu_at(client, ring->requests), &request, sizeof(request));
	uint64_t replies = VU_GUEST_BASE + client->first_size + (1 << 20);
	uint64_t before = reads_taken(&guest);
	atomic_store(&guest.plan.hang, true);
	for (unsigned i = 0; i < REQUESTS; i++) {
		vu_describe(ring, 2 * i, ring->requests, sizeof(request), VU_NEXT, 2 * i + 1);
		vu_describe(ring, 2 * i + 1, replies + 32 * i, 32, VU_WRITE, 0);
		vu_offer(ring, (uint16_t)(2 * i));
	}
	vu_kick_always(ring);
	int64_t until = clock_monotonic_ns() + VU_PATIENCE_MS * NS_PER_MS;
	while (reads_taken(&guest) - before < IN_WORK && clock_monotonic_ns() < until)
		clock_sleep_ns(NS_PER_MS);
	assert_true(double_plan_wait_hanging(&guest.plan, 100));
	assert_true(vu_lookup(client, 2, FUSE_ROOT_ID, "tool", NULL) != 0);
	assert_int_equal(reads_taken(&guest) - before, IN_WORK);
	assert_false(vu_poll_used(ring, &used));
	atomic_store(&guest.plan.hang, false);
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_true(vu_wait_used(ring, &used, VU_PATIENCE_MS));
		assert_int_equal(used.written, 32);
		assert_in_range(used.head, 0, 2 * REQUESTS - 2);
		assert_false(answered[used.head / 2]);
		answered[used.head / 2] = true;
	}
	assert_int_equal(reads_taken(&guest) - before, REQUESTS);
	assert_false(vu_ring_is_broken(ring, 0));
	guest_works(&guest, 1);
	guest_close(&guest);
}

/* Puts the ring at `at` of the second region, with `count` READs of 16 bytes. */
static void flood(struct guest *guest, unsigned index, uint8_t *at, uint16_t size, unsigned count)
{
	struct vu_client *client = &guest->client;
	struct vu_ring *ring = &client->rings[index];
	uint64_t big = vu_lookup(client, index, FUSE_ROOT_ID, "big", NULL);
	struct {
		struct fuse_in_header header;
		struct fuse_read_in body;
	} request = { .header = { .len = sizeof(request),
				  .opcode = FUSE_READ,
				  .unique = 1 << 20,
				  .nodeid = big },
		      .body = { .size = 16 } };
	memcpy(vu_at(client, ring->requests), &request, sizeof(request));
	assert_true(vu_ring_stop(client, index) >= 0);
	ring->descriptors = (void *)at;
	ring->available = (void *)(at + size * sizeof(struct vu_descriptor));
	ring->used = (void *)((uint8_t *)ring->available + 3 * size);
	ring->next_available = ring->seen_used = ring->told_available = 0;
	ring->size = size;
	vu_ring_start(client, index, 0);
	for (unsigned i = 0; i < count; i++) {
		vu_describe(ring, 2 * i, ring->requests, sizeof(request), VU_NEXT, 2 * i + 1);
		vu_describe(ring, 2 * i + 1, ring->replies, 32, VU_WRITE, 0);
		vu_offer(ring, (uint16_t)(2 * i));
	}
	vu_kick_always(ring);
}

/* Many rings together have 4096 requests in work, and each may have some in any case. */
static void many_rings(void **state)
{
	enum { RINGS = 8, SIZE = 4096, REQUESTS = 1200, IN_WORK = 4096, SURE = 16 };
	(void)state;
	struct guest guest;
	struct vu_used used;
	guest_prepare(&guest, NULL, NULL, true);
	guest_connect_rings(&guest, RINGS, 4, 1 << 17);
	struct vu_client *client = &guest.client;
	vu_start(client, ALL_RING_FEATURES);
	assert_int_equal(vu_init(client, 1), 0);
	guest_works(&guest, 7);
	uint64_t before = reads_taken(&guest);
	atomic_store(&guest.plan.hang, true);
	for (unsigned i = 1; i < 7; i++)
		flood(&guest, i, client->second + i * (256 << 10), SIZE, REQUESTS);
	int64_t until = clock_monotonic_ns() + VU_PATIENCE_MS * NS_PER_MS;
	while (reads_taken(&guest) - before < IN_WORK && clock_monotonic_ns() < until)
		clock_sleep_ns(NS_PER_MS);
	assert_true(vu_lookup(client, 7, FUSE_ROOT_ID, "tool", NULL) != 0);
	clock_sleep_ns(100 * NS_PER_MS);
	print_message("%u in work\n", (unsigned)(reads_taken(&guest) - before));
	assert_in_range(reads_taken(&guest) - before, IN_WORK, IN_WORK + (SURE + 1) * RINGS);
	atomic_store(&guest.plan.hang, false);
	for (unsigned i = 1; i < 7; i++)
		for (unsigned k = 0; k < REQUESTS; k++) {
			assert_true(vu_wait_used(&client->rings[i], &used, VU_PATIENCE_MS));
			assert_int_equal(used.written, 32);
		}
	assert_int_equal(reads_taken(&guest) - before, 6 * REQUESTS);
	guest_close(&guest);
}

struct reader {
	struct guest *guest;
	unsigned ring;
	unsigned failed;
};

/* Keeps every slot of its ring busy with READs of 4 KiB. */
static void *read_much(void *arg)
{
	struct reader *reader = arg;
	struct vu_client *client = &reader->guest->client;
	struct vu_ring *ring = &client->rings[reader->ring];
	uint64_t big = 0;
	for (int i = 0; i < 600;) {
		struct vu_used used;
		struct fuse_read_in read[4];
		if (!big)
			big = vu_lookup(client, reader->ring, FUSE_ROOT_ID, "big", NULL);
		for (unsigned slot = 0; slot < ring->slots; slot++) {
			read[slot] = (struct fuse_read_in){
				.offset = (uint64_t)(i * 7919 + (int)slot * 262143) % 2900000,
				.size = 4096
			};
			vu_put_request(client, ring, slot, true, FUSE_READ, big, &read[slot],
				       sizeof(read[slot]), 4096);
		}
		vu_kick(ring);
		for (unsigned slot = 0; slot < ring->slots; slot++, i++) {
			if (!vu_wait_used(ring, &used, VU_PATIENCE_MS) || used.written != 4112) {
				reader->failed++;
				return NULL;
			}
			unsigned which = used.head / 4;
			const uint8_t *got =
				(uint8_t *)vu_at(client, ring->replies + which * ring->reply_room);
			for (size_t at = 0; at < 4096; at += 61)
				if (got[16 + at] != guest_big_byte(read[which].offset + at))
					reader->failed++;
		}
	}
	return NULL;
}

static void rings_at_once(void **state)
{
	(void)state;
	struct guest guest;
	struct reader readers[GUEST_RINGS];
	pthread_t threads[GUEST_RINGS];
	set_up(&guest);
	for (unsigned i = 0; i < GUEST_RINGS; i++) {
		readers[i] = (struct reader){ .guest = &guest, .ring = i };
		threads[i] = testing_thread("reader", read_much, &readers[i]);
	}
	for (unsigned i = 0; i < GUEST_RINGS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(readers[i].failed, 0);
	}
	guest_close(&guest);
}

static void stops_and_goes_on(void **state)
{
	(void)state;
	struct guest guest;
	set_up(&guest);
	struct vu_client *client = &guest.client;
	guest_works(&guest, 1);
	int base = vu_ring_stop(client, 1);
	assert_int_equal(base, client->rings[1].next_available);
	/* A stopped ring takes nothing; started again it takes what lies there. */
	struct fuse_getattr_in get = { 0 };
	struct vu_used used;
	vu_put_request(client, &client->rings[1], 0, true, FUSE_GETATTR, 1, &get, sizeof(get),
		       sizeof(struct fuse_attr_out));
	vu_kick_always(&client->rings[1]);
	assert_false(vu_wait_used(&client->rings[1], &used, 50));
	guest_works(&guest, 2);
	vu_ring_start(client, 1, (uint16_t)base);
	assert_true(vu_wait_used(&client->rings[1], &used, VU_PATIENCE_MS));
	guest_works(&guest, 1);

	/* Not enabled: the same. */
	struct vhost_user_vring_state state_ = { .index = 1, .value = 0 };
	assert_int_equal(vu_ask(client, VHOST_USER_SET_VRING_ENABLE, &state_, 8, NULL, 0), 0);
	vu_put_request(client, &client->rings[1], 0, true, FUSE_GETATTR, 1, &get, sizeof(get),
		       sizeof(struct fuse_attr_out));
	vu_kick_always(&client->rings[1]);
	assert_false(vu_wait_used(&client->rings[1], &used, 50));
	state_.value = 1;
	assert_int_equal(vu_ask(client, VHOST_USER_SET_VRING_ENABLE, &state_, 8, NULL, 0), 0);
	assert_true(vu_wait_used(&client->rings[1], &used, VU_PATIENCE_MS));
	guest_works(&guest, 1);
	guest_close(&guest);
}

static void resets(void **state)
{
	(void)state;
	struct guest guest;
	set_up(&guest);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(vu_ask(&guest.client,
					i % 2 ? VHOST_USER_RESET_DEVICE : VHOST_USER_RESET_OWNER,
					NULL, 0, NULL, 0),
				 0);
		/* As after a guest's reboot: nothing of the rings is left, and INIT comes again. */
		for (unsigned ring = 0; ring < GUEST_RINGS; ring++) {
			assert_true(vu_ring_stop(&guest.client, ring) >= 0);
			vu_ring_reset(&guest.client, ring);
			vu_ring_start(&guest.client, ring, 0);
		}
		assert_int_equal(vu_init(&guest.client, 1), 0);
		guest_works(&guest, 1);
		guest_works(&guest, 2);
	}
	guest_close(&guest);
}

static void front_ends_come_and_go(void **state)
{
	(void)state;
	struct guest guest;
	struct fs_stats stats;
	guest_prepare(&guest, NULL, NULL, false);
	for (int i = 0; i < 5; i++) {
		guest_connect(&guest, 4, 1 << 17);
		vu_start(&guest.client, ALL_RING_FEATURES);
		assert_int_equal(vu_init(&guest.client, 1), 0);
		guest_works(&guest, 1);
		assert_int_equal(guest_hang_up(&guest), RC_OK);
		/* It left nothing behind. */
		fs_get_stats(guest.fs, &stats);
		assert_int_equal(stats.inodes, 0);
	}
	/* And an end by ourselves. */
	guest_connect(&guest, 4, 4096);
	vu_start(&guest.client, 0);
	uint64_t one = 1;
	assert_int_equal(write(guest.stop, &one, 8), 8);
	pthread_join(guest.thread, NULL);
	assert_int_equal(guest.served, RC_CANCELLED);
	vu_close(&guest.client);
	guest_release(&guest);
}

static void memory_changes_while_it_serves(void **state)
{
	(void)state;
	struct guest guest;
	struct reader reader = { .guest = &guest, .ring = 2 };
	set_up(&guest);
	pthread_t thread = testing_thread("reader", read_much, &reader);
	struct vhost_user_memory_slot slot = {
		.region = { .guest_address = 0x100000, .size = 1 << 20, .user_address = 0x100000 }
	};
	for (int i = 0; i < 100; i++) {
		assert_int_equal(vu_set_memory(&guest.client), 0);
		assert_int_equal(vu_ask(&guest.client, VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot),
					&guest.client.memory_fd, 1),
				 0);
		assert_int_equal(vu_ask(&guest.client, VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot),
					&guest.client.memory_fd, 1),
				 1); /* it is there */
		assert_int_equal(
			vu_ask(&guest.client, VHOST_USER_REM_MEM_REG, &slot, sizeof(slot), NULL, 0),
			0);
		assert_int_equal(vu_ask(&guest.client, VHOST_USER_REM_MEM_REG, &slot, sizeof(slot),
					&guest.client.memory_fd, 1),
				 1);
	}
	pthread_join(thread, NULL);
	assert_int_equal(reader.failed, 0);
	guest_close(&guest);
}

/* A front-end that makes its memory shorter loses its queues; another one is served as before, and so
 * is the next. */
static void memory_becomes_shorter(void **state)
{
	(void)state;
	struct guest guest, other;
	guest_fault_install(); /* each test begins with cmocka's */
	set_up(&other);
	for (unsigned left = 0; left < 2; left++) {
		guest_open(&guest, NULL, true);
		struct vu_client *client = &guest.client;
		uint64_t big = vu_lookup(client, 1, FUSE_ROOT_ID, "big", NULL);
		struct fuse_read_in read = { .size = 65536 };
		/* Requests in flight find no place for their answers. */
		atomic_store(&guest.plan.hang, true);
		for (unsigned slot = 0; slot < 4; slot++)
			vu_put_request(client, &client->rings[1], slot, true, FUSE_READ, big, &read,
				       sizeof(read), 65536);
		vu_kick(&client->rings[1]);
		assert_true(double_plan_wait_hanging(&guest.plan, 4));
		/* All of it is gone, or all but the first ring. */
		off_t kept = (uint8_t *)client->rings[1].descriptors - client->first;
		assert_int_equal(ftruncate(client->memory_fd, left ? kept : 0), 0);
		for (unsigned i = 1; i < GUEST_RINGS; i++) {
			vu_kick_always(&client->rings[i]);
			assert_true(vu_ring_is_broken(&client->rings[i], VU_PATIENCE_MS));
		}
		atomic_store(&guest.plan.hang, false);
		guest_works(&other, 1);
		assert_int_equal(guest_hang_up(&guest), RC_OK);
		guest_connect(&guest, 4, 1 << 17);
		vu_start(&guest.client, ALL_RING_FEATURES);
		assert_int_equal(vu_init(&guest.client, 1), 0);
		guest_works(&guest, 1);
		guest_close(&guest);
	}
	guest_works(&other, 2);
	guest_close(&other);
}

/* A service that hangs holds up neither other requests nor, for long, a stop. */
static void stop_while_a_service_hangs(void **state)
{
	(void)state;
	struct guest guest;
	guest_open(&guest, NULL, true);
	struct vu_client *client = &guest.client;
	uint64_t big = vu_lookup(client, 1, FUSE_ROOT_ID, "big", NULL);
	struct fuse_read_in read = { .size = 4096 };
	atomic_store(&guest.plan.hang, true);
	for (unsigned slot = 0; slot < 4; slot++)
		vu_put_request(client, &client->rings[1], slot, true, FUSE_READ, big, &read,
			       sizeof(read), 4096);
	vu_kick(&client->rings[1]);
	assert_true(double_plan_wait_hanging(&guest.plan, 4));
	/* The root's names need no service. */
	assert_true(vu_lookup(client, 2, FUSE_ROOT_ID, "tool", NULL) != 0);
	int64_t before = clock_monotonic_ns();
	assert_true(vu_ring_stop(client, 1) >= 0);
	assert_true(clock_monotonic_ns() - before < 20 * NS_PER_S);
	struct vu_used used;
	for (unsigned slot = 0; slot < 4; slot++) {
		struct fuse_out_header header;
		assert_true(vu_wait_used(&client->rings[1], &used, 0));
		memcpy(&header,
		       vu_at(client, client->rings[1].replies +
					     used.head / 4 * client->rings[1].reply_room),
		       sizeof(header));
		assert_int_equal(header.error, -EINTR);
	}
	/* And none that hangs up. */
	for (unsigned slot = 0; slot < 4; slot++)
		vu_put_request(client, &client->rings[2], slot, true, FUSE_READ, big, &read,
			       sizeof(read), 4096);
	vu_kick(&client->rings[2]);
	assert_true(double_plan_wait_hanging(&guest.plan, 4));
	before = clock_monotonic_ns();
	guest_close(&guest);
	assert_true(clock_monotonic_ns() - before < 4 * NS_PER_S);
}

static unsigned open_fds(void)
{
	unsigned count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static const struct vhost_user_memory_table nine = { .count = 9 };
static const struct vhost_user_vring_state far = { .index = 64, .value = 16 };
static const uint64_t far_kick = 200, no_fd = VHOST_USER_NO_FD;

static const struct bad_message {
	uint32_t request;
	const void *body;
	size_t len;
	unsigned fds;
} bad_messages[] = {
	{ 0, NULL, 0, 0 },
	{ 99, NULL, 0, 0 },
	{ 4000000000u, NULL, 0, 0 },
	{ VHOST_USER_SET_FEATURES, &far, 7, 0 },
	{ VHOST_USER_SET_FEATURES, &far, 8, 1 },
	{ VHOST_USER_GET_FEATURES, NULL, 0, 8 },
	/* More descriptors than any message may have. */
	{ VHOST_USER_GET_FEATURES, NULL, 0, 9 },
	{ VHOST_USER_SET_MEM_TABLE, &nine, sizeof(nine), 60 },
	{ VHOST_USER_SET_MEM_TABLE, &nine, sizeof(nine), 8 },
	{ VHOST_USER_SET_MEM_TABLE, &nine, 8, 0 },
	{ VHOST_USER_ADD_MEM_REG, &nine, 40, 0 },
	{ VHOST_USER_SET_VRING_NUM, &far, 8, 0 },
	{ VHOST_USER_SET_VRING_BASE, &far, 8, 0 },
	{ VHOST_USER_GET_VRING_BASE, &far, 8, 0 },
	{ VHOST_USER_SET_VRING_ENABLE, &far, 8, 0 },
	{ VHOST_USER_SET_VRING_ADDR, &nine, 40, 0 }, /* index 9: fine, until it starts */
	{ VHOST_USER_SET_VRING_KICK, &far_kick, 8, 1 },
	{ VHOST_USER_SET_VRING_KICK, &no_fd, 8, 0 }, /* polling */
	{ VHOST_USER_SET_VRING_KICK, &no_fd, 8, 1 },
	{ VHOST_USER_SET_VRING_CALL, &far_kick, 8, 1 },
	{ VHOST_USER_SET_VRING_CALL, &nine, 8, 0 },
	{ VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, 0 },
	{ VHOST_USER_GET_CONFIG, &nine, 12, 0 }, /* was not offered */
};

/* The back-end has ended the connection, and says why. */
static void refused(struct guest *guest)
{
	pthread_join(guest->thread, NULL);
	assert_int_not_equal(guest->served, RC_OK);
	assert_true(guest->served_err.message[0] != '\0');
	vu_close(&guest->client);
}

/* Each is the end of its connection, and leaves no descriptor open. */
static void bad_messages_end_it(void **state)
{
	(void)state;
	struct guest guest;
	int fds[60];
	guest_prepare(&guest, NULL, NULL, false);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = guest.stop;
	unsigned before = open_fds();
	for (size_t i = 0; i < ARRAY_LEN(bad_messages); i++) {
		const struct bad_message *bad = &bad_messages[i];
		union vhost_user_body body;
		guest_connect(&guest, 4, 4096);
		vu_send(&guest.client, bad->request, 0, bad->body, bad->len, fds, bad->fds);
		if (bad->request == VHOST_USER_SET_VRING_ADDR) {
			/* No memory, no size. */
			uint64_t nine_ = 9;
			vu_send(&guest.client, VHOST_USER_SET_VRING_KICK, 0, &nine_, 8, fds, 1);
		}
		if (vu_receive(&guest.client, &body) != -1)
			fail_msg("message %zu was answered", i);
		refused(&guest);
		assert_int_equal(open_fds(), before);
	}
	guest_release(&guest);
}

/* A version that there is not, a length that lies, half a message. */
static void bad_headers_end_it(void **state)
{
	(void)state;
	const struct vhost_user_header bad[] = {
		{ VHOST_USER_GET_FEATURES, 2, 0 },
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, UINT32_MAX },
		{ VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 },
	};
	struct guest guest;
	guest_prepare(&guest, NULL, NULL, false);
	unsigned before = open_fds();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		guest_connect(&guest, 4, 4096);
		assert_int_equal(write(guest.client.fd, &bad[i], sizeof(bad[i])), sizeof(bad[i]));
		shutdown(guest.client.fd, SHUT_WR);
		refused(&guest);
		assert_int_equal(open_fds(), before);
	}
	guest_release(&guest);
}

/* Where acknowledgements were agreed on, the connection survives a refusal. */
static void refusals_are_acknowledged(void **state)
{
	(void)state;
	struct guest guest;
	set_up(&guest);
	struct vu_client *client = &guest.client;
	struct vhost_user_vring_state size = { .index = 1, .value = 17 };
	assert_int_equal(vu_ask(client, VHOST_USER_SET_VRING_NUM, &size, 8, NULL, 0), 1);
	assert_true(vu_ring_stop(client, 1) >= 0);
	static const uint32_t sizes[] = { 0, 17, 49152, 65536 };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size.value = sizes[i];
		assert_int_equal(vu_ask(client, VHOST_USER_SET_VRING_NUM, &size, 8, NULL, 0), 1);
	}
	size.value = 65536;
	assert_int_equal(vu_ask(client, VHOST_USER_SET_VRING_BASE, &size, 8, NULL, 0), 1);
	assert_int_equal(vu_ask(client, 99, NULL, 0, NULL, 0), 1);
	guest_works(&guest, 2);
	guest_close(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_on_every_ring),
		cmocka_unit_test(negotiates),
		cmocka_unit_test(large_reads),
		cmocka_unit_test(scattered_reply),
		cmocka_unit_test(large_ring),
		cmocka_unit_test(many_rings),
		cmocka_unit_test(rings_at_once),
		cmocka_unit_test(stops_and_goes_on),
		cmocka_unit_test(resets),
		cmocka_unit_test(front_ends_come_and_go),
		cmocka_unit_test(memory_changes_while_it_serves),
		cmocka_unit_test(memory_becomes_shorter),
		cmocka_unit_test(stop_while_a_service_hangs),
		cmocka_unit_test(bad_messages_end_it),
		cmocka_unit_test(bad_headers_end_it),
		cmocka_unit_test(refusals_are_acknowledged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
