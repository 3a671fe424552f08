/* Operations with little behind them. */
#include <errno.h>
#include <string.h>

#include "fs/internal.h"

int fs_op_read_only(struct fs_request *request, struct cursor *in)
{
	(void)request;
	(void)in;
	return -EROFS;
}

/* There is nothing to write back, and no handle to let go. */
int fs_op_nothing(struct fs_request *request, struct cursor *in)
{
	(void)in;
	if (request->opcode == FUSE_NOTIFY_REPLY)
		return fs_done(request);
	return fs_reply_empty(request);
}

/* No service says how much it holds, and nothing can be written: no blocks, none of them free. */
int fs_op_statfs(struct fs_request *request, struct cursor *in)
{
	struct fuse_kstatfs out = {
		.bsize = FS_PAGE,
		.frsize = FS_PAGE,
		.namelen = NODE_NAME_MAX,
	};

	(void)in;
	return fs_reply(request, &out, sizeof(out));
}
