/* Open packs. See the header. */
#include "local/pack_file.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "local/pack_scan.h"

enum {
	/* The kernel cuts one request for read-ahead at the device's largest transfer. */
	ADVISE_STEP = 512 << 10,
	AHEAD_WINDOW = 4 << 20,
	AHEAD_NEAR = 1 << 20,
};

struct pack_file *pack_file_new(uint32_t id, int fd)
{
	struct pack_file *file = mem_zalloc(sizeof(*file));
	struct local_pack_head head;
	struct stat st;

	refcount_init(&file->ref);
	file->id = id;
	file->fd = fd;
	/* Where that is damaged, the records that are checked by it are, too. */
	if (fstat(fd, &st) == 0 &&
	    local_pack_head_read(fd, (uint64_t)st.st_size, &head, NULL) == RC_OK)
		file->salt = head.salt;
	return file;
}

struct pack_file *pack_file_ref(struct pack_file *file)
{
	refcount_ref(&file->ref);
	return file;
}

void pack_file_unref(struct pack_file *file)
{
	if (!file || !refcount_unref(&file->ref))
		return;
	close(file->fd);
	free(file);
}

void pack_file_cleanup(struct pack_file **file)
{
	pack_file_unref(*file);
	*file = NULL;
}

void pack_file_advise(const struct pack_file *file, uint64_t from, uint64_t to)
{
	for (; from < to; from += ADVISE_STEP) {
		uint64_t len = to - from < ADVISE_STEP ? to - from : ADVISE_STEP;

		(void)posix_fadvise(file->fd, (off_t)from, (off_t)len, POSIX_FADV_WILLNEED);
	}
}

void pack_file_read_ahead(struct pack_file *file, uint64_t offset, uint64_t len)
{
	uint64_t last = atomic_exchange_explicit(&file->last, offset + len, memory_order_relaxed);
	uint64_t advised = atomic_load_explicit(&file->advised, memory_order_relaxed);

	bool forward = offset + AHEAD_NEAR >= last && offset <= last + AHEAD_NEAR && last != 0;
	if (!forward)
		return;
	if (advised >= offset && advised <= offset + len + 2 * AHEAD_WINDOW &&
	    advised >= offset + len + AHEAD_WINDOW / 2)
		return;
	uint64_t from =
		advised > offset && advised < offset + len + AHEAD_WINDOW ? advised : offset + len;
	uint64_t to = offset + len + AHEAD_WINDOW;
	if (atomic_compare_exchange_strong(&file->advised, &advised, to))
		pack_file_advise(file, from, to);
}
