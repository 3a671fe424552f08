/*
 * The table of FUSE operations: name, smallest size, handler. Everything in a request is checked
 * for its length here, and read through a cursor by its handler.
 */
#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "fs/internal.h"

struct opcode {
	const char *name;
	size_t smallest; /* bytes after the fuse_in_header */
	fs_handler *handle;
	bool no_reply;
	bool before_init;
};

static const struct opcode opcodes[FUSE_OPCODE_COUNT_] = {
	[FUSE_INIT] = { "INIT", 16, fs_op_init, .before_init = true },
	[FUSE_DESTROY] = { "DESTROY", 0, fs_op_destroy },
	[FUSE_INTERRUPT] = { "INTERRUPT", sizeof(struct fuse_interrupt_in), fs_op_interrupt,
			     .no_reply = true },
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", 0, fs_op_nothing, .no_reply = true },

	[FUSE_LOOKUP] = { "LOOKUP", 2, fs_op_lookup },
	[FUSE_FORGET] = { "FORGET", sizeof(struct fuse_forget_in), fs_op_forget, .no_reply = true },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", sizeof(struct fuse_batch_forget_in),
				fs_op_batch_forget, .no_reply = true },
	[FUSE_GETATTR] = { "GETATTR", sizeof(struct fuse_getattr_in), fs_op_getattr },
	[FUSE_STATX] = { "STATX", sizeof(struct fuse_statx_in), fs_op_statx },
	[FUSE_READLINK] = { "READLINK", 0, fs_op_readlink },
	[FUSE_ACCESS] = { "ACCESS", sizeof(struct fuse_access_in), fs_op_access },

	[FUSE_OPENDIR] = { "OPENDIR", sizeof(struct fuse_open_in), fs_op_opendir },
	[FUSE_READDIR] = { "READDIR", sizeof(struct fuse_read_in), fs_op_readdir },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", sizeof(struct fuse_read_in), fs_op_readdirplus },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", sizeof(struct fuse_release_in), fs_op_nothing },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", 0, fs_op_nothing },

	[FUSE_OPEN] = { "OPEN", sizeof(struct fuse_open_in), fs_op_open },
	[FUSE_READ] = { "READ", sizeof(struct fuse_read_in), fs_op_read },
	[FUSE_RELEASE] = { "RELEASE", sizeof(struct fuse_release_in), fs_op_release },
	[FUSE_LSEEK] = { "LSEEK", sizeof(struct fuse_lseek_in), fs_op_lseek },
	[FUSE_POLL] = { "POLL", sizeof(struct fuse_poll_in), fs_op_poll },
	[FUSE_FSYNC] = { "FSYNC", 0, fs_op_nothing },
	[FUSE_SYNCFS] = { "SYNCFS", 0, fs_op_nothing },

	[FUSE_GETXATTR] = { "GETXATTR", sizeof(struct fuse_getxattr_in) + 2, fs_op_getxattr },
	[FUSE_LISTXATTR] = { "LISTXATTR", sizeof(struct fuse_getxattr_in), fs_op_listxattr },
	[FUSE_STATFS] = { "STATFS", 0, fs_op_statfs },

	[FUSE_SETATTR] = { "SETATTR", 0, fs_op_read_only },
	[FUSE_SYMLINK] = { "SYMLINK", 0, fs_op_read_only },
	[FUSE_MKNOD] = { "MKNOD", 0, fs_op_read_only },
	[FUSE_MKDIR] = { "MKDIR", 0, fs_op_read_only },
	[FUSE_UNLINK] = { "UNLINK", 0, fs_op_read_only },
	[FUSE_RMDIR] = { "RMDIR", 0, fs_op_read_only },
	[FUSE_RENAME] = { "RENAME", 0, fs_op_read_only },
	[FUSE_RENAME2] = { "RENAME2", 0, fs_op_read_only },
	[FUSE_LINK] = { "LINK", 0, fs_op_read_only },
	[FUSE_WRITE] = { "WRITE", 0, fs_op_read_only },
	[FUSE_SETXATTR] = { "SETXATTR", 0, fs_op_read_only },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", 0, fs_op_read_only },
	[FUSE_CREATE] = { "CREATE", 0, fs_op_read_only },
	[FUSE_TMPFILE] = { "TMPFILE", 0, fs_op_read_only },
	[FUSE_FALLOCATE] = { "FALLOCATE", 0, fs_op_read_only },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", 0, fs_op_read_only },
	[FUSE_COPY_FILE_RANGE_64] = { "COPY_FILE_RANGE_64", 0, fs_op_read_only },
	/* ENOSYS lets the kernel do them itself, or without: FLUSH, the locks, BMAP, IOCTL,
	 * SETUPMAPPING, REMOVEMAPPING, and all that is not known. */
};

_Static_assert((int)FUSE_OPCODE_COUNT_ <= (int)FS_OPCODES, "struct fs_stats counts by opcode");

const char *fs_opcode_name(unsigned opcode)
{
	return opcode < FUSE_OPCODE_COUNT_ ? opcodes[opcode].name : NULL;
}

static int refuse(struct fs_request *request, const struct opcode *opcode, int error)
{
	return opcode && opcode->no_reply ? fs_done(request) : error;
}

int fs_dispatch(struct fs_request *request)
{
	const struct opcode *opcode = NULL;
	struct cursor in = cursor_of(request->in);
	struct fuse_in_header header;
	size_t body, extensions;

	cursor_copy(&in, &header, sizeof(header));
	if (header.opcode < FUSE_OPCODE_COUNT_ && opcodes[header.opcode].handle)
		opcode = &opcodes[header.opcode];
	if (header.len < sizeof(header) || header.len > request->in.len)
		return refuse(request, opcode, -EINVAL);
	if (!opcode)
		return -ENOSYS;
	body = header.len - sizeof(header);
	extensions = header.total_extlen * (size_t)8;
	if (extensions > body || body - extensions < opcode->smallest)
		return refuse(request, opcode, -EINVAL);
	if (!opcode->before_init && !atomic_load(&request->session->ready))
		return refuse(request, opcode, -EIO);
	in = cursor_of(view_slice(request->in, sizeof(header), body - extensions));
	return opcode->handle(request, &in);
}
