/*
 * A virtqueue over whatever a guest may have written. The input is: one byte of features, one that
 * chooses the queue's size, two of where it begins, little-endian, then the guest's memory from its
 * first byte on, where the rings lie: descriptors, available ring, used ring. The memory is two
 * regions that lie side by side for the guest, and a hole behind them. Every piece of every chain has
 * to lie in the memory, and no chain may be longer than is allowed.
 */
#include "fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/virtqueue.h"

enum {
	REGION = 32768, /* of each */
	AVAILABLE_AT = 4096,
	USED_AT = 8192,
	SIZES = 9, /* 1 to 256 */
	POPS_MAX = 600,
};

static const uint64_t guest_base = 0x10000, user_base = 0x7000000;

static struct guest_memory *memory;
static uint8_t *first, *second; /* where they are mapped for the queue */

static void make_memory(void)
{
	/* Apart in the file, and in the other order. */
	const struct guest_region regions[] = {
		{ guest_base, REGION, user_base, 2 * REGION },
		{ guest_base + REGION, REGION, user_base + 4 * REGION, 0 },
	};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, 3 * REGION) == 0);
	memory = guest_memory_new();
	for (int i = 0; i < 2; i++) {
		struct guest_memory *longer;
		FUZZ_CHECK(guest_memory_with(memory, &regions[i], fd, &longer, NULL) == RC_OK);
		guest_memory_unref(memory);
		memory = longer;
	}
	close(fd);
	first = guest_memory_at_user(memory, user_base, REGION);
	second = guest_memory_at_user(memory, user_base + 4 * REGION, REGION);
	FUZZ_CHECK(first && second);
}

static bool lies_in(const struct iovec *piece, const uint8_t *region)
{
	const uint8_t *at = piece->iov_base;
	return at >= region && at < region + REGION &&
	       piece->iov_len <= (size_t)(region + REGION - at);
}

static void check_chain(const struct virtqueue_chain *chain, uint16_t size)
{
	size_t readable = 0, writable = 0;
	FUZZ_CHECK(chain->head < size);
	FUZZ_CHECK(chain->readable + chain->writable <= VIRTQUEUE_PIECES_MAX);
	for (unsigned i = 0; i < chain->readable + chain->writable; i++) {
		const struct iovec *piece = &chain->pieces[i];
		FUZZ_CHECK(piece->iov_len > 0);
		FUZZ_CHECK(lies_in(piece, first) || lies_in(piece, second));
		if (i < chain->readable)
			readable += piece->iov_len;
		else
			writable += piece->iov_len;
	}
	FUZZ_CHECK(readable == chain->readable_bytes);
	FUZZ_CHECK(writable == chain->writable_bytes);
}

/* As the device does, and worse: what is written may be the rings themselves. */
static void use_chain(const struct virtqueue_chain *chain, bool scribble)
{
	uint8_t bytes[4096];
	size_t got = virtqueue_chain_read(chain, bytes, sizeof(bytes));
	FUZZ_CHECK(got ==
		   (chain->readable_bytes < sizeof(bytes) ? chain->readable_bytes : sizeof(bytes)));
	for (unsigned i = 0; scribble && i < chain->writable; i++) {
		const struct iovec *piece = &chain->pieces[chain->readable + i];
		memset(piece->iov_base, got ? bytes[0] : 0, piece->iov_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct virtqueue_chain chain;
	struct virtqueue queue;
	uint16_t held[POPS_MAX];
	unsigned count = 0;
	enum rc rc = RC_OK;

	if (!memory)
		make_memory();
	if (len < 4)
		return 0;
	uint8_t features = bytes[0];
	struct virtqueue_config config = {
		.size = (uint16_t)(1u << bytes[1] % SIZES),
		.features = features & (VIRTQUEUE_INDIRECT | VIRTQUEUE_EVENT_INDEX),
		.descriptors = user_base,
		.available = user_base + AVAILABLE_AT,
		.used = user_base + USED_AT,
		.base = (uint16_t)(bytes[2] | bytes[3] << 8),
	};
	len = len - 4 < REGION ? len - 4 : REGION;
	memset(first, 0, REGION);
	memset(second, 0x11, REGION);
	memcpy(first, bytes + 4, len);
	FUZZ_CHECK(virtqueue_init(&queue, memory, &config, NULL) == RC_OK);
	for (int i = 0; i < POPS_MAX && rc == RC_OK; i++) {
		virtqueue_set_kicks(&queue, i % 2);
		rc = virtqueue_pop(&queue, &chain, NULL);
		if (rc != RC_OK)
			break;
		check_chain(&chain, config.size);
		use_chain(&chain, features & 0x80);
		held[count++] = chain.head;
		FUZZ_CHECK(count <= config.size);
		/* Some are given back at once, some later. */
		if (features & 0x40 || i % 3) {
			virtqueue_push(&queue, held[--count], 1);
			(void)virtqueue_wants_interrupt(&queue);
		}
	}
	FUZZ_CHECK(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_INVALID);
	/* What is broken stays broken. */
	FUZZ_CHECK(rc != RC_INVALID || virtqueue_pop(&queue, &chain, NULL) == RC_INVALID);
	while (count > 0)
		virtqueue_push(&queue, held[--count], 0);
	FUZZ_CHECK(queue.in_flight == 0);
	virtqueue_release(&queue);
	return 0;
}
