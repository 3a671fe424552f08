/* Regions sorted by guest address; mappings counted apart from the tables that name them. */
#include "transport/guest_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/refcount.h"
#include "transport/guest_fault.h"

struct mapping {
	struct refcount refs;
	void *base;
	size_t len;
	struct guest_guard *guard;
};

struct entry {
	struct guest_region region;
	struct mapping *mapping;
	uint8_t *bytes; /* of the region's first byte */
};

struct guest_memory {
	struct refcount refs;
	size_t count;
	struct entry entries[];
};

static void mapping_unref(struct mapping *mapping)
{
	if (!refcount_unref(&mapping->refs))
		return;
	guest_guard_release(mapping->guard);
	munmap(mapping->base, mapping->len);
	free(mapping);
}

static struct guest_memory *allocate(size_t count)
{
	struct guest_memory *memory =
		mem_zalloc(sizeof(*memory) + count * sizeof(memory->entries[0]));
	refcount_init(&memory->refs);
	memory->count = count;
	return memory;
}

struct guest_memory *guest_memory_new(void)
{
	return allocate(0);
}

struct guest_memory *guest_memory_ref(struct guest_memory *memory)
{
	refcount_ref(&memory->refs);
	return memory;
}

void guest_memory_unref(struct guest_memory *memory)
{
	if (!memory || !refcount_unref(&memory->refs))
		return;
	for (size_t i = 0; i < memory->count; i++)
		mapping_unref(memory->entries[i].mapping);
	free(memory);
}

size_t guest_memory_regions(const struct guest_memory *memory)
{
	return memory->count;
}

bool guest_memory_lost(const struct guest_memory *memory)
{
	for (size_t i = 0; i < memory->count; i++)
		if (guest_guard_lost(memory->entries[i].mapping->guard))
			return true;
	return false;
}

/* Mapping */

/* Huge pages are mapped and unmapped in wholes. */
static enum rc page_of(int fd, uint64_t *page, struct err *err)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return err_errno(err, errno, "a memory region's file");
	*page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
		*page = (uint64_t)fs.f_bsize;
	return RC_OK;
}

static enum rc check_file(int fd, const struct guest_region *region, struct err *err)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return err_errno(err, errno, "a memory region's file");
	if (S_ISREG(status.st_mode) && (uint64_t)status.st_size < region->offset + region->size)
		return err_set(err, RC_INVALID,
			       "a memory region ends at %" PRIu64 " of a file of %" PRIu64 " bytes",
			       region->offset + region->size, (uint64_t)status.st_size);
	return RC_OK;
}

static enum rc map(const struct guest_region *region, int fd, struct entry *out, struct err *err)
{
	uint64_t page = 0;
	enum rc rc = check_file(fd, region, err);
	if (rc == RC_OK)
		rc = page_of(fd, &page, err);
	if (rc != RC_OK)
		return rc;
	uint64_t start = region->offset / page * page;
	uint64_t end = region->offset + region->size;
	if (end > INT64_MAX - page)
		return err_set(err, RC_INVALID, "a memory region ends past all files");
	end = (end + page - 1) / page * page;
	void *base = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			  (off_t)start);
	if (base == MAP_FAILED)
		return err_errno(err, errno, "cannot map a memory region of %" PRIu64 " bytes",
				 region->size);
	struct guest_guard *guard;
	rc = guest_guard_take(base, end - start, &guard, err);
	if (rc != RC_OK) {
		munmap(base, end - start);
		return rc;
	}
	struct mapping *mapping = mem_zalloc(sizeof(*mapping));
	refcount_init(&mapping->refs);
	mapping->base = base;
	mapping->len = end - start;
	mapping->guard = guard;
	*out = (struct entry){ .region = *region,
			       .mapping = mapping,
			       .bytes = (uint8_t *)base + (region->offset - start) };
	return RC_OK;
}

/* Tables */

static bool wraps(uint64_t address, uint64_t size)
{
	return size > UINT64_MAX - address;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static enum rc check_region(const struct guest_memory *memory, const struct guest_region *region,
			    struct err *err)
{
	if (memory->count >= GUEST_REGIONS_MAX)
		return err_set(err, RC_TOO_LARGE, "more than %d memory regions", GUEST_REGIONS_MAX);
	if (region->size == 0 || wraps(region->guest_address, region->size) ||
	    wraps(region->user_address, region->size) || wraps(region->offset, region->size))
		return err_set(err, RC_INVALID,
			       "a memory region of %" PRIu64 " bytes at %" PRIx64 " is empty or "
			       "wraps",
			       region->size, region->guest_address);
	for (size_t i = 0; i < memory->count; i++) {
		const struct guest_region *other = &memory->entries[i].region;
		if (overlap(region->guest_address, region->size, other->guest_address,
			    other->size) ||
		    overlap(region->user_address, region->size, other->user_address, other->size))
			return err_set(err, RC_INVALID,
				       "the memory regions at %" PRIx64 " and %" PRIx64 " overlap",
				       region->guest_address, other->guest_address);
	}
	return RC_OK;
}

static void copy_entry(struct entry *to, const struct entry *from)
{
	*to = *from;
	refcount_ref(&to->mapping->refs);
}

enum rc guest_memory_with(const struct guest_memory *memory, const struct guest_region *region,
			  int fd, struct guest_memory **out, struct err *err)
{
	struct entry added;
	*out = NULL;
	enum rc rc = check_region(memory, region, err);
	if (rc == RC_OK)
		rc = map(region, fd, &added, err);
	if (rc != RC_OK)
		return rc;
	struct guest_memory *changed = allocate(memory->count + 1);
	size_t at = 0;
	while (at < memory->count &&
	       memory->entries[at].region.guest_address < region->guest_address) {
		copy_entry(&changed->entries[at], &memory->entries[at]);
		at++;
	}
	changed->entries[at] = added;
	for (; at < memory->count; at++)
		copy_entry(&changed->entries[at + 1], &memory->entries[at]);
	*out = changed;
	return RC_OK;
}

static bool same_place(const struct guest_region *a, const struct guest_region *b)
{
	return a->guest_address == b->guest_address && a->size == b->size &&
	       a->user_address == b->user_address;
}

enum rc guest_memory_without(const struct guest_memory *memory, const struct guest_region *region,
			     struct guest_memory **out, struct err *err)
{
	*out = NULL;
	size_t gone = 0;
	while (gone < memory->count && !same_place(&memory->entries[gone].region, region))
		gone++;
	if (gone == memory->count)
		return err_set(err, RC_NOT_FOUND,
			       "there is no memory region of %" PRIu64 " bytes at %" PRIx64,
			       region->size, region->guest_address);
	struct guest_memory *changed = allocate(memory->count - 1);
	for (size_t i = 0; i < changed->count; i++)
		copy_entry(&changed->entries[i], &memory->entries[i < gone ? i : i + 1]);
	*out = changed;
	return RC_OK;
}

/* Finding */

void *guest_memory_piece(const struct guest_memory *memory, uint64_t address, size_t *len)
{
	size_t low = 0, high = memory->count;
	/* The last region that does not begin after the address. */
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		if (memory->entries[middle].region.guest_address <= address)
			low = middle;
		else
			high = middle;
	}
	if (memory->count == 0 || *len == 0)
		return NULL;
	const struct entry *entry = &memory->entries[low];
	if (address < entry->region.guest_address ||
	    address - entry->region.guest_address >= entry->region.size)
		return NULL;
	uint64_t at = address - entry->region.guest_address;
	if (*len > entry->region.size - at)
		*len = entry->region.size - at;
	return entry->bytes + at;
}

void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user_address, size_t len)
{
	for (size_t i = 0; i < memory->count; i++) {
		const struct entry *entry = &memory->entries[i];
		uint64_t at = user_address - entry->region.user_address;
		if (user_address >= entry->region.user_address && at < entry->region.size &&
		    len <= entry->region.size - at)
			return entry->bytes + at;
	}
	return NULL;
}
