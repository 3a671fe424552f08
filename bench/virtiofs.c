/*
 * One front-end against castor virtiofs, or the kernel's own way against a mount: requests a second
 * and MB/s, without a guest's noise.
 *
 *	virtiofs SOCKET DIRECTORY LARGE-FILE [IN-FLIGHT [RINGS]]
 *	virtiofs MOUNT DIRECTORY LARGE-FILE [IN-FLIGHT]
 *
 * DIRECTORY and LARGE-FILE are paths below the root. The same requests either way, in the same order,
 * with the same number of them in flight: over rings, each with a thread that keeps its share there; of
 * a mount by that many threads with one each, and each call is one request, for the kernel is told not
 * to use its caches. GETATTR of the directory; READs of 4 KiB and of 128 KiB from the file's beginning
 * to its end; and, over rings, READs of 128 KiB of what castor has decoded, which of a mount the kernel
 * answers without castor. Prints one line each: what, requests a second, MB/s.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "double/vhost_user_client.h"
#include "fs/fuse_wire.h"
#include "threads.h"

enum {
	ROOM = (1 << 17) + 4096,
	IN_FLIGHT_MAX = 64,
	DECODED = 16 << 20, /* castor's cache holds more */
};

struct load {
	struct vu_client *client; /* NULL: of a mount */
	int file, directory;      /* then */
	unsigned ring, slots;
	uint32_t opcode;
	uint64_t nodeid, directory_nodeid, size;
	uint32_t read_size;
	uint64_t requests;          /* to be made, by all together */
	atomic_uint_fast64_t *next; /* of them */
	uint64_t bytes;             /* that came */
};

static void die(const char *what)
{
	fprintf(stderr, "virtiofs: %s\n", what);
	exit(1);
}

static bool take(struct load *load, uint64_t *number)
{
	*number = atomic_fetch_add(load->next, 1);
	return *number < load->requests;
}

static uint64_t offset_of(const struct load *load, uint64_t number)
{
	return number % (load->size / load->read_size) * load->read_size;
}

/* The next request into that slot; false: there are no more. */
static bool put(struct load *load, unsigned slot)
{
	struct vu_ring *ring = &load->client->rings[load->ring];
	struct fuse_getattr_in get = { .fh = 0 };
	struct fuse_read_in read = { .size = load->read_size };
	uint64_t number;

	if (!take(load, &number))
		return false;
	if (load->opcode == FUSE_GETATTR) {
		vu_put_request(load->client, ring, slot, true, FUSE_GETATTR, load->directory_nodeid,
			       &get, sizeof(get), sizeof(struct fuse_attr_out));
		return true;
	}
	read.offset = offset_of(load, number);
	vu_put_request(load->client, ring, slot, true, FUSE_READ, load->nodeid, &read, sizeof(read),
		       load->read_size);
	return true;
}

static void *run(void *arg)
{
	struct load *load = arg;
	struct vu_ring *ring = &load->client->rings[load->ring];
	unsigned waiting = 0;

	while (waiting < load->slots && put(load, waiting))
		waiting++;
	vu_kick(ring);
	while (waiting > 0) {
		struct vu_used used;

		if (!vu_wait_used(ring, &used, VU_PATIENCE_MS))
			die("no answer");
		if (used.written < sizeof(struct fuse_out_header))
			die("an answer without a header");
		load->bytes += used.written - sizeof(struct fuse_out_header);
		if (put(load, used.head / 4))
			vu_kick(ring);
		else
			waiting--;
	}
	return NULL;
}

static void *run_on_mount(void *arg)
{
	struct load *load = arg;
	void *buffer = NULL;
	uint64_t number;

	if (posix_memalign(&buffer, 4096, 1 << 17) != 0)
		die("no memory");
	while (take(load, &number)) {
		struct statx status;
		ssize_t got = 0;

		if (load->opcode == FUSE_GETATTR) {
			if (statx(load->directory, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
				  STATX_BASIC_STATS, &status) < 0)
				die("statx");
		} else {
			got = pread(load->file, buffer, load->read_size,
				    (off_t)offset_of(load, number));
		}
		if (got < 0)
			die("pread");
		load->bytes += (uint64_t)got;
	}
	free(buffer);
	return NULL;
}

/* By rings 1 to `threads`, or by so many threads. */
static void measure(const char *what, unsigned threads, const struct load *shape, uint64_t requests)
{
	pthread_t ids[IN_FLIGHT_MAX];
	struct load loads[IN_FLIGHT_MAX];
	atomic_uint_fast64_t next = 0;
	uint64_t bytes = 0;
	int64_t start = clock_monotonic_ns();

	for (unsigned i = 0; i < threads; i++) {
		loads[i] = *shape;
		loads[i].ring = i + 1;
		loads[i].requests = requests;
		loads[i].next = &next;
		ids[i] = testing_thread("load", shape->client ? run : run_on_mount, &loads[i]);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		bytes += loads[i].bytes;
	}
	double seconds = (double)(clock_monotonic_ns() - start) / NS_PER_S;
	printf("%s\t%.0f\t%.1f\n", what, (double)requests / seconds,
	       shape->opcode == FUSE_READ ? (double)bytes / seconds / 1e6 : 0);
	fflush(stdout);
}

static uint64_t find(struct vu_client *client, char *path, uint64_t *size)
{
	uint64_t nodeid = FUSE_ROOT_ID;

	for (char *name = strtok(path, "/"); name; name = strtok(NULL, "/")) {
		nodeid = vu_lookup(client, 1, nodeid, name, size);
		if (!nodeid)
			die("no such file");
	}
	return nodeid;
}

static void measure_all(const struct load *base, unsigned threads)
{
	struct load load = *base;

	load.opcode = FUSE_GETATTR;
	measure("GETATTR", threads, &load, 200000);
	load.opcode = FUSE_READ;
	load.read_size = 4096;
	measure("READ 4 KiB", threads, &load, load.size / load.read_size);
	load.read_size = 1 << 17;
	measure("READ 128 KiB", threads, &load, 2 * (load.size / load.read_size));
	if (!load.client)
		return;
	load.size = DECODED;
	measure("READ 128 KiB, decoded", threads, &load, 20000);
}

static int over_mount(char **argv, unsigned in_flight)
{
	struct load base = { .client = NULL };
	struct stat status;
	int root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);

	base.directory = openat(root, argv[2], O_RDONLY | O_CLOEXEC);
	base.file = openat(root, argv[3], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (base.directory < 0 || base.file < 0 || fstat(base.file, &status) < 0)
		die(strerror(errno));
	base.size = (uint64_t)status.st_size;
	if (base.size < DECODED)
		die("the file is too small");
	measure_all(&base, in_flight);
	return 0;
}

static int over_rings(char **argv, unsigned in_flight, unsigned rings)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static struct vu_client client;
	struct load base = { .client = &client, .slots = in_flight / rings };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(argv[1]) >= sizeof(address.sun_path))
		die("the socket's path is too long");
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(strerror(errno));
	vu_open(&client, fd, rings + 1, base.slots, ROOM);
	vu_start(&client, VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX);
	if (vu_init(&client, 1) != 0)
		die("INIT failed");
	base.directory_nodeid = find(&client, argv[2], NULL);
	base.nodeid = find(&client, argv[3], &base.size);
	if (base.size < DECODED)
		die("the file is too small");
	measure_all(&base, rings);
	vu_close(&client);
	return 0;
}

int main(int argc, char **argv)
{
	struct stat status;
	unsigned in_flight = argc > 4 ? (unsigned)atoi(argv[4]) : 16;
	unsigned rings = argc > 5 ? (unsigned)atoi(argv[5]) : 1;

	if (argc < 4)
		die("SOCKET|MOUNT DIRECTORY LARGE-FILE [IN-FLIGHT [RINGS]]");
	if (in_flight < 1 || in_flight > IN_FLIGHT_MAX)
		die("1 to 64 requests in flight");
	if (rings < 1 || rings >= VU_RINGS_MAX || in_flight % rings != 0)
		die("1 to 7 rings, with as many requests each");
	if (stat(argv[1], &status) == 0 && S_ISDIR(status.st_mode))
		return over_mount(argv, in_flight);
	return over_rings(argv, in_flight, rings);
}
