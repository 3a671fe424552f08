/*
 * One front-end against castor virtiofs, or the kernel's own way against a mount: requests a second
 * and MB/s, without a guest's noise.
 *
 *	virtiofs SOCKET DIRECTORY LARGE-FILE [RINGS]
 *	virtiofs MOUNT DIRECTORY LARGE-FILE [THREADS]
 *
 * DIRECTORY and LARGE-FILE are paths below the root. Over each ring, by a thread, with 16 requests in
 * flight, or by that many threads with one: GETATTR of the directory; READs of 4 KiB of the file;
 * READs of 128 KiB from its beginning to its end. Of a mount, too, each call is one request: the
 * kernel is told not to use its caches. Prints one line each: what, rings or threads, requests a
 * second, MB/s.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"
#include "double/vhost_user_client.h"
#include "fs/fuse_wire.h"

enum { SLOTS = 16, ROOM = (1 << 17) + 4096, THREADS_MAX = 64 };

struct load {
	struct vu_client *client; /* NULL: of a mount */
	int file, directory;      /* then */
	unsigned ring;
	uint32_t opcode;
	uint64_t nodeid, directory_nodeid, size;
	uint32_t read_size;
	uint64_t requests; /* to be made */
	uint64_t first;    /* number of the first */
	uint64_t bytes;    /* that came */
};

static void die(const char *what)
{
	fprintf(stderr, "virtiofs: %s\n", what);
	exit(1);
}

static void put(struct load *load, unsigned slot, uint64_t number)
{
	struct vu_ring *ring = &load->client->rings[load->ring];
	struct fuse_getattr_in get = { .fh = 0 };
	struct fuse_read_in read = { .size = load->read_size };

	if (load->opcode == FUSE_GETATTR) {
		vu_put_request(load->client, ring, slot, true, FUSE_GETATTR, load->directory_nodeid,
			       &get, sizeof(get), sizeof(struct fuse_attr_out));
		return;
	}
	read.offset = number * load->read_size % (load->size / load->read_size * load->read_size);
	vu_put_request(load->client, ring, slot, true, FUSE_READ, load->nodeid, &read, sizeof(read),
		       load->read_size);
}

static void *run(void *arg)
{
	struct load *load = arg;
	struct vu_ring *ring = &load->client->rings[load->ring];
	uint64_t put_count = 0;

	for (unsigned slot = 0; slot < SLOTS && put_count < load->requests; slot++)
		put(load, slot, load->first + put_count++);
	vu_kick(ring);
	for (uint64_t got = 0; got < load->requests; got++) {
		struct vu_used used;

		if (!vu_wait_used(ring, &used, VU_PATIENCE_MS))
			die("no answer");
		if (used.written < sizeof(struct fuse_out_header))
			die("an answer without a header");
		load->bytes += used.written - sizeof(struct fuse_out_header);
		if (put_count < load->requests) {
			put(load, used.head / 4, load->first + put_count++);
			vu_kick(ring);
		}
	}
	return NULL;
}

static void *run_on_mount(void *arg)
{
	struct load *load = arg;
	uint64_t whole = load->opcode == FUSE_READ ? load->size / load->read_size : 0;
	void *buffer = NULL;

	if (posix_memalign(&buffer, 4096, 1 << 17) != 0)
		die("no memory");
	for (uint64_t i = 0; i < load->requests; i++) {
		struct statx status;
		ssize_t got = 0;

		if (load->opcode == FUSE_GETATTR) {
			if (statx(load->directory, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
				  STATX_BASIC_STATS, &status) < 0)
				die("statx");
		} else {
			got = pread(load->file, buffer, load->read_size,
				    (off_t)((load->first + i) % whole * load->read_size));
		}
		if (got < 0)
			die("pread");
		load->bytes += (uint64_t)got;
	}
	free(buffer);
	return NULL;
}

/* Rings 1 to `rings`, or so many threads, share the requests. */
static void measure(struct vu_client *client, const char *what, unsigned rings,
		    const struct load *shape, uint64_t requests)
{
	pthread_t threads[THREADS_MAX];
	struct load loads[THREADS_MAX];
	uint64_t bytes = 0;
	int64_t start = clock_monotonic_ns();

	for (unsigned i = 0; i < rings; i++) {
		loads[i] = *shape;
		loads[i].client = client;
		loads[i].ring = i + 1;
		loads[i].requests = requests / rings;
		loads[i].first = i * (requests / rings);
		threads[i] = thread_start("load", client ? run : run_on_mount, &loads[i]);
	}
	for (unsigned i = 0; i < rings; i++) {
		pthread_join(threads[i], NULL);
		bytes += loads[i].bytes;
	}
	double seconds = (double)(clock_monotonic_ns() - start) / NS_PER_S;
	printf("%s\t%u\t%.0f\t%.1f\n", what, rings, (double)(requests / rings * rings) / seconds,
	       (double)bytes / seconds / 1e6);
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

static void measure_all(struct vu_client *client, unsigned count, const struct load *base)
{
	struct load attributes = *base, small = *base, large = *base;

	attributes.opcode = FUSE_GETATTR;
	small.opcode = large.opcode = FUSE_READ;
	small.read_size = 4096;
	large.read_size = 1 << 17;
	measure(client, "sequential 128 KiB, first", count, &large, base->size >> 17);
	measure(client, "sequential 128 KiB, again", count, &large, base->size >> 17);
	measure(client, "GETATTR", count, &attributes, 400000);
	measure(client, "READ 4 KiB", count, &small, 400000);
}

static int over_mount(char **argv, unsigned threads)
{
	struct load base = { .client = NULL };
	struct stat status;
	int root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);

	base.directory = openat(root, argv[2], O_RDONLY | O_CLOEXEC);
	base.file = openat(root, argv[3], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (base.directory < 0 || base.file < 0 || fstat(base.file, &status) < 0)
		die(strerror(errno));
	base.size = (uint64_t)status.st_size;
	if (base.size < 1 << 20 || threads < 1 || threads > THREADS_MAX)
		die("a file of a MiB, 1 to 64 threads");
	measure_all(NULL, threads, &base);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static struct vu_client client;
	struct load base = { .client = &client };
	struct stat status;
	unsigned count = argc > 4 ? (unsigned)atoi(argv[4]) : 1;

	if (argc < 4 || strlen(argv[1]) >= sizeof(address.sun_path))
		die("SOCKET|MOUNT DIRECTORY LARGE-FILE [RINGS|THREADS]");
	if (stat(argv[1], &status) == 0 && S_ISDIR(status.st_mode))
		return over_mount(argv, count);
	if (count < 1 || count >= VU_RINGS_MAX)
		die("1 to 7 rings");
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(strerror(errno));
	vu_open(&client, fd, count + 1, SLOTS, ROOM);
	vu_start(&client, VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX);
	if (vu_init(&client, 1) != 0)
		die("INIT failed");
	uint64_t directory = find(&client, argv[2], NULL);
	base.nodeid = find(&client, argv[3], &base.size);
	if (base.size < 1 << 20)
		die("the file is too small");
	base.directory_nodeid = directory;
	measure_all(&client, count, &base);
	vu_close(&client);
	return 0;
}
