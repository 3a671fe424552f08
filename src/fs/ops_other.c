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

/* As many blocks as the blobs take on disk, where their service can tell; as nothing can be
 * written, none of them is free. */
int fs_op_statfs(struct fs_request *request, struct cursor *in)
{
	struct fs *fs = request->session->fs;
	struct fuse_kstatfs out = {
		.bsize = FS_PAGE,
		.frsize = FS_PAGE,
		.namelen = NODE_NAME_MAX,
	};

	struct err err = ERR_INIT;
	uint64_t bytes;

	(void)in;
	if (!request->may_wait && blob_service_latency(fs->blobs) != BLOB_LATENCY_MEMORY)
		return FS_DEFER;
	if (blob_service_usage(fs->blobs, &request->op, &bytes, &err) == RC_OK)
		out.blocks = (bytes + FS_PAGE - 1) / FS_PAGE;
	return fs_reply(request, &out, sizeof(out));
}
