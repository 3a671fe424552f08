/*
 * A back-end by whatever a front-end may say on the socket. The input is a sequence of messages: the
 * request's number (255: one that is too large), a byte of flags, one of descriptors (their count in
 * the low four bits, their kind in the high ones), the body's length (u16, little-endian), and the
 * body. The flags: 8 asks for an acknowledgement, 64 is another version, 128 claims a length of 4 GiB.
 *
 * The memory that is shared has a ring with one FUSE INIT in it, so that a queue that starts has
 * work. However the connection ends, every descriptor is closed then.
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/log.h"
#include "base/mem.h"
#include "double/vhost_user_client.h"
#include "fs/fuse_wire.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "transport/vhost_user.h"
#include "transport/vhost_user_wire.h"

enum {
	MESSAGES_MAX = 40,
	BODY_MAX = 512,
	FDS_MAX = 15,
	MEMORY = 1 << 17,
	AVAILABLE_AT = 4096, /* after the descriptors, before the used ring */
	REQUEST_AT = 3 * 4096,
	REPLY_AT = 4 * 4096,
};

static struct vhost_user *the_back_end(void)
{
	static struct vhost_user *vhost;
	const struct vhost_user_options options = { .threads = 1, .tag = "fuzz" };
	const struct fs_options fs_options = { .show_xattr = false };
	struct roots *roots;
	struct fs *fs;

	if (vhost)
		return vhost;
	log_set_level(LOG_LEVEL_ERROR);
	struct blob_service *blobs = blob_memory_new();
	struct directory_service *directories = directory_memory_new();
	struct node link = { .kind = NODE_SYMLINK,
			     .name = view_of_string("link"),
			     .target = view_of_string("file") };
	FUZZ_CHECK(roots_list_new(&link, 1, &roots, NULL) == RC_OK);
	FUZZ_CHECK(fs_new(blobs, directories, roots, &fs_options, &fs, NULL) == RC_OK);
	FUZZ_CHECK(vhost_user_new(fs, &options, &vhost, NULL) == RC_OK);
	blob_service_unref(blobs);
	directory_service_unref(directories);
	return vhost;
}

static int make_memory(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	const uint16_t available[] = { 0, 1, 0 };
	const struct {
		struct fuse_in_header header;
		struct fuse_init_in init;
	} request = { .header = { .len = sizeof(request), .opcode = FUSE_INIT, .unique = 1 },
		      .init = { .major = 7, .minor = 31, .max_readahead = 1 << 17 } };
	const struct vu_descriptor chain[] = {
		{ REQUEST_AT, sizeof(request), VU_NEXT, 1 },
		{ REPLY_AT, 4096, VU_WRITE, 0 },
	};
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, MEMORY) == 0);
	FUZZ_CHECK(pwrite(fd, chain, sizeof(chain), 0) == sizeof(chain));
	FUZZ_CHECK(pwrite(fd, available, sizeof(available), AVAILABLE_AT) == sizeof(available));
	FUZZ_CHECK(pwrite(fd, &request, sizeof(request), REQUEST_AT) == sizeof(request));
	return fd;
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");
	FUZZ_CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* The next message of the input; false: there is none, or no more room in the socket. */
static bool send_next(int fd, const int kinds[4], struct view *input)
{
	if (input->len < 5)
		return false;
	const uint8_t *at = input->ptr;
	size_t len = (size_t)at[3] | (size_t)at[4] << 8;
	if (len > input->len - 5)
		len = input->len - 5;
	if (len > BODY_MAX)
		len = BODY_MAX;
	struct vhost_user_header header = {
		.request = at[0] == 255 ? UINT32_MAX - 1 : at[0],
		.flags = (at[1] & 64 ? 2 : VHOST_USER_VERSION) | (at[1] & VHOST_USER_NEED_REPLY),
		.size = at[1] & 128 ? UINT32_MAX : (uint32_t)len,
	};
	*input = view_of(at + 5 + len, input->len - 5 - len);
	int fds[FDS_MAX];
	for (int i = 0; i < FDS_MAX; i++)
		fds[i] = kinds[at[2] >> 4 & 3];
	return vu_send_message(fd, &header, view_of(at + 5, len), fds, at[2] & FDS_MAX,
			       MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct vhost_user *vhost = the_back_end();
	struct view input = view_of(bytes, len);
	struct err err = ERR_INIT;
	unsigned before = open_descriptors();
	int ends[2], stop = eventfd(0, EFD_CLOEXEC);
	int kinds[] = { make_memory(), eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
			open("/dev/null", O_RDWR | O_CLOEXEC), stop };

	FUZZ_CHECK(stop >= 0 && kinds[1] >= 0 && kinds[2] >= 0);
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	for (int i = 0; i < MESSAGES_MAX && send_next(ends[0], kinds, &input); i++)
		;
	shutdown(ends[0], SHUT_WR);
	/* Not a stop: nobody has asked for one, and nobody writes to what was passed. */
	enum rc rc = vhost_user_serve(vhost, ends[1], stop, &err);
	FUZZ_CHECK(rc != RC_CANCELLED || err.message[0] != '\0');
	FUZZ_CHECK(rc == RC_OK || err.message[0] != '\0');
	close(ends[0]);
	for (int i = 0; i < 4; i++)
		close(kinds[i]);
	FUZZ_CHECK(open_descriptors() == before);
	return 0;
}
