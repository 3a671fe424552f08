/*
 * A back-end in a thread of this process, and a front-end with its guest at the other end of a
 * socket. What the guest sees: /readme, /tool (executable), /link, /dir/inner, /big (BIG_SIZE bytes
 * of a pattern), /many (300 files).
 */
#ifndef CASTOR_TESTS_GUEST_H
#define CASTOR_TESTS_GUEST_H

#include "unit/fs/fake.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "threads.h"
#include "double/double.h"
#include "double/vhost_user_client.h"
#include "transport/vhost_user.h"

enum { BIG_SIZE = 3000000, MANY = 300, GUEST_RINGS = 3 };
#define ALL_RING_FEATURES (VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_RING_F_EVENT_IDX)

struct guest {
	struct fake_store inner, store;
	struct double_plan plan; /* for blobs and directories: "far" services where it is wanted */
	struct fs *fs;
	struct vhost_user *vhost;
	int stop;
	pthread_t thread;
	bool serving;
	int backend_fd; /* for the thread */
	enum rc served; /* how it ended */
	struct err served_err;
	struct vu_client client;
};

static inline uint8_t guest_big_byte(size_t at)
{
	return (uint8_t)(at ^ (at >> 8) * 7 ^ (at >> 16) * 31);
}

static inline void guest_roots(struct guest *guest, struct roots **roots)
{
	struct err err = ERR_INIT;
	struct directory *directories[2];
	struct node inner, top[6], *many = mem_array(MANY, sizeof(*many));
	char(*names)[16] = mem_array(MANY, sizeof(*names));
	uint8_t *big = mem_alloc(BIG_SIZE);
	for (size_t i = 0; i < BIG_SIZE; i++)
		big[i] = guest_big_byte(i);
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "file-%03d", i);
		many[i] = fake_file(&guest->inner, names[i], names[i], 8, false);
	}
	inner = fake_file(&guest->inner, "inner", "inside", 6, false);
	top[0] = fake_file(&guest->inner, "readme", "hello, world", 12, false);
	top[1] = fake_file(&guest->inner, "tool", "hello, world", 12, true);
	top[2] = fake_symlink("link", "readme");
	top[3] = fake_directory("dir", &inner, 1, &directories[0]);
	top[4] = fake_directory("many", many, MANY, &directories[1]);
	top[5] = fake_file(&guest->inner, "big", big, BIG_SIZE, false);
	/* One put, one root. */
	fake_store_put(&guest->inner, &directories[0], 1);
	fake_store_put(&guest->inner, &directories[1], 1);
	assert_ok(roots_list_new(top, 6, roots, &err), &err);
	directory_unref(directories[0]);
	directory_unref(directories[1]);
	free(big);
	free(many);
	free(names);
}

static inline void *guest_serve(void *arg)
{
	struct guest *guest = arg;
	guest->served =
		vhost_user_serve(guest->vhost, guest->backend_fd, guest->stop, &guest->served_err);
	return NULL;
}

/* A front-end that has said nothing yet. */
static inline void guest_connect_rings(struct guest *guest, unsigned rings, unsigned slots,
				       size_t reply_room)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	guest->backend_fd = ends[1];
	guest->served_err = (struct err)ERR_INIT;
	guest->thread = testing_thread("back-end", guest_serve, guest);
	guest->serving = true;
	vu_open(&guest->client, ends[0], rings, slots, reply_room);
}

static inline void guest_connect(struct guest *guest, unsigned slots, size_t reply_room)
{
	guest_connect_rings(guest, GUEST_RINGS, slots, reply_room);
}

/* far: services that the plan can disturb, and that are never waited for. */
static inline void guest_prepare(struct guest *guest, const struct fs_options *options,
				 const struct vhost_user_options *vhost_options, bool far)
{
	static const struct vhost_user_options none = { .threads = 2 };
	struct err err = ERR_INIT;
	struct roots *roots;
	memset(guest, 0, sizeof(*guest));
	log_set_level(LOG_LEVEL_ERROR);
	fake_store_open(&guest->inner);
	guest->store = guest->inner;
	if (far) {
		guest->store.blobs = double_blob_new(guest->inner.blobs, &guest->plan);
		guest->store.directories =
			double_directory_new(guest->inner.directories, &guest->plan);
	}
	guest_roots(guest, &roots);
	assert_ok(fs_new(guest->store.blobs, guest->store.directories, roots, options, &guest->fs,
			 &err),
		  &err);
	assert_ok(vhost_user_new(guest->fs, vhost_options ? vhost_options : &none, &guest->vhost,
				 &err),
		  &err);
	guest->stop = eventfd(0, EFD_CLOEXEC);
	assert_true(guest->stop >= 0);
}

static inline void guest_open(struct guest *guest, const struct fs_options *options, bool far)
{
	guest_prepare(guest, options, NULL, far);
	guest_connect(guest, 4, 1 << 17);
	vu_start(&guest->client, ALL_RING_FEATURES);
	assert_int_equal(vu_init(&guest->client, 1), 0);
}

/* Hangs up, and waits for the back-end; how that ended. */
static inline enum rc guest_hang_up(struct guest *guest)
{
	vu_close(&guest->client);
	pthread_join(guest->thread, NULL);
	guest->serving = false;
	return guest->served;
}

static inline void guest_release(struct guest *guest)
{
	vhost_user_free(guest->vhost);
	fs_free(guest->fs);
	if (guest->store.blobs != guest->inner.blobs)
		fake_store_close(&guest->store);
	fake_store_close(&guest->inner);
	close(guest->stop);
}

static inline void guest_close(struct guest *guest)
{
	assert_int_equal(guest_hang_up(guest), RC_OK);
	guest_release(guest);
}

/* That ring answers as it should. */
static inline void guest_works(struct guest *guest, unsigned ring)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fuse_read_in read = { .size = 100 };
	uint64_t nodeid = vu_lookup(&guest->client, ring, FUSE_ROOT_ID, "readme", NULL);
	assert_true(nodeid != 0);
	assert_int_equal(
		vu_fuse(&guest->client, ring, FUSE_READ, nodeid, &read, sizeof(read), 100, &got),
		0);
	assert_view_equal(buf_view(&got), view_of_string("hello, world"));
}

/* Reads [offset, offset + len) of /big over a ring, and compares. */
static inline void guest_reads_big(struct guest *guest, unsigned ring, uint64_t nodeid,
				   uint64_t offset, uint32_t len)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fuse_read_in read = { .offset = offset, .size = len };
	assert_int_equal(
		vu_fuse(&guest->client, ring, FUSE_READ, nodeid, &read, sizeof(read), len, &got),
		0);
	size_t expected = BIG_SIZE - offset < len ? BIG_SIZE - offset : len;
	assert_int_equal(got.len, expected);
	for (size_t i = 0; i < got.len; i++)
		if (got.ptr[i] != guest_big_byte(offset + i))
			fail_msg("byte %zu of a read at %" PRIu64, i, offset);
}

#endif
