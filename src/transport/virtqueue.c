/*
 * Split virtqueues.
 *
 * Layout: descriptors, 16 bytes each: address, len, flags, next. Available ring: flags, idx, then
 * `size` heads, then used_event. Used ring: flags, idx, then `size` times {u32 head, u32 written},
 * then avail_event. The two events are there if the event index was agreed.
 */
#include "transport/virtqueue.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <string.h>

enum {
	FLAG_NEXT = 1,
	FLAG_WRITE = 2,
	FLAG_INDIRECT = 4,
	AVAILABLE_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	DESCRIPTOR_BYTES = 16,
	USED_ELEMENT_BYTES = 8,
};

/* The only ways to the guest's memory, apart from the contents of buffers. */

static uint16_t load16(const uint16_t *at, int order)
{
	return le16toh(__atomic_load_n(at, order));
}

static void store16(uint16_t *at, uint16_t value, int order)
{
	__atomic_store_n(at, htole16(value), order);
}

static uint16_t *available_idx(const struct virtqueue *queue)
{
	return queue->available + 1;
}

static uint16_t *used_event(const struct virtqueue *queue)
{
	return queue->available + 2 + queue->config.size;
}

static uint16_t *used_idx(const struct virtqueue *queue)
{
	return queue->used + 1;
}

static uint16_t *avail_event(const struct virtqueue *queue)
{
	return queue->used + 2 + queue->config.size * (USED_ELEMENT_BYTES / sizeof(uint16_t));
}

/* Setting up */

static enum rc locate(const struct guest_memory *memory, const char *what, uint64_t address,
		      size_t len, size_t alignment, void **out, struct err *err)
{
	*out = guest_memory_at_user(memory, address, len);
	if (!*out)
		return err_set(err, RC_INVALID,
			       "the %s at %" PRIx64 " is not in the guest's memory", what, address);
	if ((uintptr_t)*out % alignment != 0)
		return err_set(err, RC_INVALID, "the %s at %" PRIx64 " is not aligned", what,
			       address);
	return RC_OK;
}

static enum rc locate_rings(struct virtqueue *queue, const struct virtqueue_config *config,
			    struct err *err)
{
	size_t size = queue->config.size;
	size_t event = queue->config.features & VIRTQUEUE_EVENT_INDEX ? sizeof(uint16_t) : 0;
	void *descriptors, *available, *used = NULL;
	enum rc rc = locate(queue->memory, "descriptor table", config->descriptors,
			    size * DESCRIPTOR_BYTES, 16, &descriptors, err);
	if (rc == RC_OK)
		rc = locate(queue->memory, "available ring", config->available,
			    2 * sizeof(uint16_t) + size * sizeof(uint16_t) + event, 2, &available,
			    err);
	if (rc == RC_OK)
		rc = locate(queue->memory, "used ring", config->used,
			    2 * sizeof(uint16_t) + size * USED_ELEMENT_BYTES + event, 4, &used,
			    err);
	if (rc != RC_OK)
		return rc;
	queue->descriptors = descriptors;
	queue->available = available;
	queue->used = used;
	queue->config.descriptors = config->descriptors;
	queue->config.available = config->available;
	queue->config.used = config->used;
	return RC_OK;
}

enum rc virtqueue_init(struct virtqueue *queue, struct guest_memory *memory,
		       const struct virtqueue_config *config, struct err *err)
{
	*queue = (struct virtqueue){ .config = *config, .next_available = config->base };
	if (config->size == 0 || config->size > VIRTQUEUE_SIZE_MAX ||
	    (config->size & (config->size - 1)) != 0)
		return err_set(err, RC_INVALID,
			       "a queue of %u descriptors: it has to be a power of two, at most %d",
			       config->size, VIRTQUEUE_SIZE_MAX);
	queue->memory = guest_memory_ref(memory);
	enum rc rc = locate_rings(queue, config, err);
	if (rc != RC_OK) {
		virtqueue_release(queue);
		return rc;
	}
	queue->next_used = load16(used_idx(queue), __ATOMIC_RELAXED);
	return RC_OK;
}

void virtqueue_release(struct virtqueue *queue)
{
	guest_memory_unref(queue->memory);
	*queue = (struct virtqueue){ .broken = true };
}

enum rc virtqueue_move(struct virtqueue *queue, struct guest_memory *memory,
		       const struct virtqueue_config *config, struct err *err)
{
	const struct virtqueue_config wanted = *config; /* it may be the queue's own */
	struct guest_memory *before = queue->memory;
	queue->memory = guest_memory_ref(memory);
	enum rc rc = locate_rings(queue, &wanted, err);
	if (rc != RC_OK) {
		/* What is mapped stays mapped, for pushes that still come. */
		guest_memory_unref(queue->memory);
		queue->memory = before;
		queue->broken = true;
		return rc;
	}
	guest_memory_unref(before);
	return RC_OK;
}

/* Taking chains */

static enum rc broken(struct virtqueue *queue, struct err *err, const char *what)
{
	queue->broken = true;
	return err_set(err, RC_INVALID, "%s", what);
}

/* table: NULL where it has to be looked up piece by piece. */
struct table {
	const uint64_t *mapped;
	uint64_t address; /* the guest's, where !mapped */
	unsigned count;
};

/* 16 bytes that may cross regions. */
static bool copy_descriptor(const struct guest_memory *memory, uint64_t address, uint64_t out[2])
{
	uint8_t *bytes = (uint8_t *)out;
	for (size_t done = 0; done < DESCRIPTOR_BYTES;) {
		size_t len = DESCRIPTOR_BYTES - done;
		const uint8_t *piece = guest_memory_piece(memory, address + done, &len);
		if (!piece)
			return false;
		for (size_t i = 0; i < len; i++)
			bytes[done + i] = __atomic_load_n(&piece[i], __ATOMIC_RELAXED);
		done += len;
	}
	return true;
}

static bool read_descriptor(const struct virtqueue *queue, const struct table *table, unsigned i,
			    struct virtqueue_descriptor *out)
{
	uint64_t words[2];
	if (table->mapped) {
		words[0] = __atomic_load_n(&table->mapped[2 * i], __ATOMIC_RELAXED);
		words[1] = __atomic_load_n(&table->mapped[2 * i + 1], __ATOMIC_RELAXED);
	} else if (!copy_descriptor(queue->memory, table->address + (uint64_t)i * DESCRIPTOR_BYTES,
				    words)) {
		return false;
	}
	uint64_t rest = le64toh(words[1]);
	*out = (struct virtqueue_descriptor){ .address = le64toh(words[0]),
					      .len = (uint32_t)rest,
					      .flags = (uint16_t)(rest >> 32),
					      .next = (uint16_t)(rest >> 48) };
	return true;
}

static enum rc open_indirect(struct virtqueue *queue, const struct virtqueue_descriptor *descriptor,
			     struct table *out, struct err *err)
{
	if (!(queue->config.features & VIRTQUEUE_INDIRECT))
		return broken(queue, err, "an indirect table, which was not agreed");
	if (descriptor->flags & FLAG_NEXT)
		return broken(queue, err, "a descriptor after an indirect table");
	if (descriptor->len == 0 || descriptor->len % DESCRIPTOR_BYTES != 0)
		return broken(queue, err, "an indirect table that is no whole descriptors");
	if (descriptor->len / DESCRIPTOR_BYTES > VIRTQUEUE_DESCRIPTORS_MAX)
		return broken(queue, err, "an indirect table that is too long");
	if (descriptor->address > UINT64_MAX - descriptor->len)
		return broken(queue, err, "an indirect table that wraps");
	size_t len = descriptor->len;
	const void *piece = guest_memory_piece(queue->memory, descriptor->address, &len);
	bool whole = piece && len == descriptor->len && (uintptr_t)piece % sizeof(uint64_t) == 0;
	*out = (struct table){ .mapped = whole ? piece : NULL,
			       .address = descriptor->address,
			       .count = descriptor->len / DESCRIPTOR_BYTES };
	return RC_OK;
}

static enum rc add_buffer(struct virtqueue *queue, const struct virtqueue_descriptor *descriptor,
			  struct virtqueue_chain *chain, struct err *err)
{
	bool write = descriptor->flags & FLAG_WRITE;
	if (!write && chain->writable)
		return broken(queue, err, "a readable buffer after a writable one");
	if (descriptor->address > UINT64_MAX - descriptor->len)
		return broken(queue, err, "a buffer that wraps");
	for (size_t done = 0; done < descriptor->len;) {
		size_t len = descriptor->len - done;
		void *piece = guest_memory_piece(queue->memory, descriptor->address + done, &len);
		if (!piece)
			return broken(queue, err, "a buffer that is not in the guest's memory");
		unsigned count = chain->readable + chain->writable;
		if (count == VIRTQUEUE_PIECES_MAX)
			return broken(queue, err, "a chain of too many pieces");
		chain->pieces[count] = (struct iovec){ .iov_base = piece, .iov_len = len };
		if (write)
			chain->writable++;
		else
			chain->readable++;
		done += len;
	}
	if (write)
		chain->writable_bytes += descriptor->len;
	else
		chain->readable_bytes += descriptor->len;
	return RC_OK;
}

/* A chain may be a few descriptors, and then one that names a table with the rest. */
static enum rc follow(struct virtqueue *queue, struct virtqueue_chain *chain, struct err *err)
{
	struct table table = { .mapped = queue->descriptors, .count = queue->config.size };
	bool indirect = false;
	unsigned at = chain->head;
	for (unsigned steps = 0; steps < table.count; steps++) {
		struct virtqueue_descriptor descriptor;
		enum rc rc;
		if (!read_descriptor(queue, &table, at, &descriptor))
			return broken(queue, err,
				      "an indirect table that is not in the guest's memory");
		if (descriptor.flags & FLAG_INDIRECT) {
			if (indirect)
				return broken(queue, err, "an indirect table in another one");
			rc = open_indirect(queue, &descriptor, &table, err);
			if (rc != RC_OK)
				return rc;
			indirect = true;
			at = 0;
			steps = (unsigned)-1; /* counts the new table's own */
			continue;
		}
		rc = add_buffer(queue, &descriptor, chain, err);
		if (rc != RC_OK || !(descriptor.flags & FLAG_NEXT))
			return rc;
		if (descriptor.next >= table.count)
			return broken(queue, err, "a chain that leads out of its table");
		at = descriptor.next;
	}
	return broken(queue, err, "a chain of descriptors that is a loop");
}

enum rc virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *out, struct err *err)
{
	if (queue->broken)
		return err_set(err, RC_INVALID, "the queue is broken");
	uint16_t idx = load16(available_idx(queue), __ATOMIC_SEQ_CST);
	uint16_t waiting = (uint16_t)(idx - queue->next_available);
	if (waiting == 0)
		return RC_NOT_FOUND;
	if (waiting > queue->config.size)
		return broken(queue, err, "more chains available than the ring has places");
	if (queue->in_flight == queue->config.size)
		return broken(queue, err, "more chains in flight than the used ring has places");
	uint16_t place = queue->next_available & (uint16_t)(queue->config.size - 1);
	out->head = load16(queue->available + 2 + place, __ATOMIC_RELAXED);
	if (out->head >= queue->config.size)
		return broken(queue, err, "a chain that begins outside of the descriptor table");
	out->readable = out->writable = 0;
	out->readable_bytes = out->writable_bytes = 0;
	enum rc rc = follow(queue, out, err);
	if (rc != RC_OK)
		return rc;
	queue->next_available++;
	queue->in_flight++;
	return RC_OK;
}

bool virtqueue_has_more(const struct virtqueue *queue)
{
	return load16(available_idx(queue), __ATOMIC_RELAXED) != queue->next_available;
}

size_t virtqueue_chain_read(const struct virtqueue_chain *chain, void *out, size_t max)
{
	size_t got = 0;
	for (unsigned i = 0; i < chain->readable && got < max; i++) {
		const struct iovec *piece = &chain->pieces[i];
		size_t len = piece->iov_len < max - got ? piece->iov_len : max - got;
		memcpy((uint8_t *)out + got, piece->iov_base, len);
		got += len;
	}
	return got;
}

/* Giving them back */

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
	assert(queue->in_flight > 0);
	queue->in_flight--;
	uint16_t place = queue->next_used & (uint16_t)(queue->config.size - 1);
	uint32_t *element = (uint32_t *)(void *)(queue->used + 2) + (size_t)place * 2;
	__atomic_store_n(&element[0], htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&element[1], htole32(written), __ATOMIC_RELAXED);
	queue->next_used++;
	store16(used_idx(queue), queue->next_used, __ATOMIC_SEQ_CST);
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
	if (!(queue->config.features & VIRTQUEUE_EVENT_INDEX))
		return !(load16(queue->available, __ATOMIC_SEQ_CST) & AVAILABLE_NO_INTERRUPT);
	uint16_t before = queue->told_used;
	bool told = queue->told;
	uint16_t event = load16(used_event(queue), __ATOMIC_SEQ_CST);
	queue->told_used = queue->next_used;
	queue->told = true;
	/* Did next_used pass the event since the last look? */
	return !told ||
	       (uint16_t)(queue->next_used - event - 1) < (uint16_t)(queue->next_used - before);
}

void virtqueue_set_kicks(struct virtqueue *queue, bool wanted)
{
	if (queue->broken)
		return;
	if (!(queue->config.features & VIRTQUEUE_EVENT_INDEX))
		store16(queue->used, wanted ? 0 : USED_NO_NOTIFY, __ATOMIC_SEQ_CST);
	else if (wanted)
		store16(avail_event(queue), queue->next_available, __ATOMIC_SEQ_CST);
	/* Else the event stays where it was, behind what the driver adds. */
}
