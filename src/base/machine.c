#include "base/machine.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

/* ---- cgroups ---- */

/* The least of what `parse` makes of that file in this process's cgroup and those around it; 0, which is
 * also what parse says of no limit, for none. */
static uint64_t least_limit(const char *name, uint64_t (*parse)(struct view text))
{
	CLEANUP(buf_release) struct buf groups = BUF_INIT;
	AUTO_FREE char *path = NULL;
	uint64_t least = 0;
	const char *line;

	if (file_read_path(AT_FDCWD, "/proc/self/cgroup", 1 << 16, &groups, NULL) != RC_OK)
		return 0;
	line = strstr(buf_string(&groups), "0::/");
	if (!line || (line != (const char *)groups.ptr && line[-1] != '\n'))
		return 0;
	path = mem_strndup(view_of(line + 3, strcspn(line + 3, "\n")));
	for (;;) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;
		char *slash = strrchr(path, '/');
		AUTO_FREE char *file = mem_printf("/sys/fs/cgroup%s/%s", path, name);

		if (file_read_path(AT_FDCWD, file, 256, &text, NULL) == RC_OK) {
			uint64_t limit = parse(buf_view(&text));

			if (limit && (!least || limit < least))
				least = limit;
		}
		if (!slash)
			break;
		*slash = '\0';
	}
	return least;
}

static struct view without_newline(struct view text)
{
	if (text.len && text.ptr[text.len - 1] == '\n')
		text.len--;
	return text;
}

/* "max 100000" or "150000 100000" (quota and period), rounded up. */
static uint64_t parse_cpu_max(struct view text)
{
	const uint8_t *space = text.len ? memchr(text.ptr, ' ', text.len) : NULL;
	uint64_t quota, period;
	size_t split;

	if (!space)
		return 0;
	split = (size_t)(space - text.ptr);
	if (!text_parse_u64(view_slice(text, 0, split), &quota))
		return 0;
	text = without_newline(view_slice(text, split + 1, text.len - split - 1));
	if (!text_parse_u64(text, &period) || period == 0 || quota == 0)
		return 0;
	return (quota - 1) / period + 1;
}

/* "max" or a number of bytes. */
static uint64_t parse_memory_max(struct view text)
{
	uint64_t bytes;

	return text_parse_u64(without_newline(text), &bytes) ? bytes : 0;
}

/* ---- The machine ---- */

static unsigned affinity_cpus(void)
{
	cpu_set_t set;
	long online;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	/* More processors than a cpu_set_t counts. */
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

unsigned machine_cpus(void)
{
	unsigned cpus = affinity_cpus();
	uint64_t quota = least_limit("cpu.max", parse_cpu_max);

	if (quota && quota < cpus)
		cpus = (unsigned)quota;
	return cpus ? cpus : 1;
}

uint64_t machine_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 1;
	uint64_t limit = least_limit("memory.max", parse_memory_max);

	return limit && limit < memory ? limit : memory;
}
