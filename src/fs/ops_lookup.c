/* Names and attributes: LOOKUP, FORGET, GETATTR, STATX, READLINK, ACCESS. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "castore/directory.h"
#include "fs/internal.h"

/* Nix's canonical time. */
enum { EPOCH_SECOND = 1 };

int fs_inode(struct fs_request *request, struct inode *out)
{
	return inode_table_get(request->session->inodes, request->nodeid, out) ? 0 : -ESTALE;
}

uint32_t fs_mode(const struct inode *inode)
{
	switch ((enum node_kind)inode->kind) {
	case NODE_DIRECTORY:
		return S_IFDIR | 0555;
	case NODE_SYMLINK:
		return S_IFLNK | 0444;
	case NODE_FILE:
		break;
	}
	return S_IFREG | (inode->executable ? 0555 : 0444);
}

void fs_fill_attr(struct fs_session *session, const struct inode *inode, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = inode_number(session->inodes, inode),
		.size = inode->size,
		.atime = EPOCH_SECOND,
		.mtime = EPOCH_SECOND,
		.ctime = EPOCH_SECOND,
		.mode = fs_mode(inode),
		/* 1 of a directory: "its links are not counted" to find(1) */
		.nlink = inode_links(session->inodes, inode),
		.blksize = FS_PAGE,
	};
	struct fs *fs = session->fs;

	/* As a disk of such blocks has them, so that du(1) counts alike. */
	if (inode->kind == NODE_FILE)
		out->blocks = (inode->size / FS_PAGE + (inode->size % FS_PAGE != 0)) *
			      (FS_PAGE / FS_BLOCK_SIZE);
	else if (inode->kind == NODE_DIRECTORY)
		out->blocks = FS_PAGE / FS_BLOCK_SIZE;
	if (inode->nodeid == FUSE_ROOT_ID && !fs->roots->ops->fixed) {
		int64_t mtime = fs_root_show(session);

		out->mtime = out->ctime = (uint64_t)(mtime / NS_PER_S);
		out->mtimensec = out->ctimensec = (uint32_t)(mtime % NS_PER_S);
	}
}

/* How long attributes stay true: only the root's ever change, and whoever can be is told. */
static void fill_validity(const struct fs_session *session, const struct inode *inode,
			  uint64_t *seconds, uint32_t *nanoseconds)
{
	bool for_ever = inode->nodeid != FUSE_ROOT_ID || session->fs->roots->ops->fixed ||
			session->ops->notify;

	*seconds = for_ever ? FS_FOREVER : 0;
	*nanoseconds = for_ever ? 0 : FS_ROOT_ATTR_NS;
}

void fs_fill_entry(struct fs_session *session, const struct inode *inode, bool root_entry,
		   struct fuse_entry_out *out)
{
	struct fs *fs = session->fs;

	*out = (struct fuse_entry_out){
		.nodeid = inode->nodeid,
		.entry_valid =
			root_entry && !fs->roots->ops->fixed ? FS_ROOT_ENTRY_SECONDS : FS_FOREVER,
		.attr_valid = FS_FOREVER,
	};
	fs_fill_attr(session, inode, &out->attr);
}

/* ---- LOOKUP ---- */

static int reply_entry(struct fs_request *request, struct inode *described, bool root_entry)
{
	struct fs_session *session = request->session;
	struct fuse_entry_out out;

	if (request->reply_max < sizeof(out))
		return -EINVAL;
	if (!inode_table_intern(session->inodes, described, 1))
		return -ENOMEM;
	fs_fill_entry(session, described, root_entry, &out);
	return fs_reply(request, &out, sizeof(out));
}

/* "Not there", which the kernel may remember. */
static int reply_negative(struct fs_request *request)
{
	struct fuse_entry_out out = { .nodeid = 0, .entry_valid = FS_FOREVER };

	return fs_reply(request, &out, sizeof(out));
}

static int lookup_root(struct fs_request *request, struct view name)
{
	struct roots *roots = request->session->fs->roots;
	struct op op = request->op;
	struct err err = ERR_INIT;
	struct inode inode;
	struct node node;
	enum rc rc;
	int result;

	if (roots->ops->remote && !request->may_wait)
		return FS_DEFER;
	if (roots->ops->ingests)
		op.deadline_ns = 0;
	rc = roots->ops->lookup(roots, &op, name, &node, &err);
	if (rc == RC_INVALID || (rc == RC_NOT_FOUND && roots->ops->fixed))
		return reply_negative(request);
	if (rc == RC_NOT_FOUND)
		return -ENOENT;
	if (rc != RC_OK) {
		if (rc != RC_CANCELLED)
			log_error("a root could not be looked up: %s",
				  err.message[0] ? err.message : rc_name(rc));
		return fs_errno(rc);
	}
	inode_describe(request->session->inodes, &inode_root, NULL, &node, 0, &inode);
	result = reply_entry(request, &inode, true);
	node_release(&node);
	return result;
}

static bool find_entry(const struct directory *directory, struct view name, size_t *index)
{
	size_t low = 0;
	size_t high = directory_count(directory);

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = view_compare(name, directory_at(directory, middle)->name);

		if (order == 0) {
			*index = middle;
			return true;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

static int lookup_below(struct fs_request *request, const struct inode *parent, struct view name)
{
	AUTO_DIRECTORY struct directory *directory = NULL;
	struct inode inode;
	size_t index;
	int result = fs_directory(request, &parent->digest, &directory);

	if (result)
		return result;
	if (!find_entry(directory, name, &index))
		return reply_negative(request);
	inode_describe(request->session->inodes, parent, &parent->digest,
		       directory_at(directory, index), (uint32_t)index, &inode);
	return reply_entry(request, &inode, false);
}

int fs_op_lookup(struct fs_request *request, struct cursor *in)
{
	struct inode parent;
	struct view name;
	int result = fs_inode(request, &parent);

	if (result)
		return result;
	if (parent.kind != NODE_DIRECTORY)
		return -ENOTDIR;
	if (!cursor_until(in, 0, &name) || name.len == 0)
		return -EINVAL;
	if (name.len > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (parent.nodeid == FUSE_ROOT_ID)
		return lookup_root(request, name);
	return lookup_below(request, &parent, name);
}

/* ---- FORGET ---- */

int fs_op_forget(struct fs_request *request, struct cursor *in)
{
	struct fuse_forget_in forget;

	cursor_copy(in, &forget, sizeof(forget));
	inode_table_forget(request->session->inodes, request->nodeid, forget.nlookup);
	return fs_done(request);
}

int fs_op_batch_forget(struct fs_request *request, struct cursor *in)
{
	struct fuse_batch_forget_in batch;
	struct fuse_forget_one one;

	cursor_copy(in, &batch, sizeof(batch));
	for (; batch.count && cursor_copy(in, &one, sizeof(one)); batch.count--)
		inode_table_forget(request->session->inodes, one.nodeid, one.nlookup);
	return fs_done(request);
}

/* ---- Attributes ---- */

int fs_op_getattr(struct fs_request *request, struct cursor *in)
{
	struct fuse_attr_out out = { 0 };
	struct inode inode;
	int result = fs_inode(request, &inode);

	(void)in;
	if (!result && inode.nodeid == FUSE_ROOT_ID)
		result = fs_root_refresh(request->session->fs, &request->op);
	if (result)
		return result;
	fill_validity(request->session, &inode, &out.attr_valid, &out.attr_valid_nsec);
	fs_fill_attr(request->session, &inode, &out.attr);
	return fs_reply(request, &out, sizeof(out));
}

int fs_op_statx(struct fs_request *request, struct cursor *in)
{
	struct fuse_statx_out out = { 0 };
	struct fuse_attr attr;
	struct inode inode;
	int result = fs_inode(request, &inode);

	(void)in;
	if (!result && inode.nodeid == FUSE_ROOT_ID)
		result = fs_root_refresh(request->session->fs, &request->op);
	if (result)
		return result;
	fs_fill_attr(request->session, &inode, &attr);
	fill_validity(request->session, &inode, &out.attr_valid, &out.attr_valid_nsec);
	out.stat = (struct fuse_statx){
		.mask = STATX_BASIC_STATS | STATX_BTIME,
		.blksize = attr.blksize,
		.nlink = attr.nlink,
		.mode = (uint16_t)attr.mode,
		.ino = attr.ino,
		.size = attr.size,
		.blocks = attr.blocks,
		.atime = { .tv_sec = (int64_t)attr.atime },
		.btime = { .tv_sec = EPOCH_SECOND },
		.ctime = { .tv_sec = (int64_t)attr.ctime, .tv_nsec = attr.ctimensec },
		.mtime = { .tv_sec = (int64_t)attr.mtime, .tv_nsec = attr.mtimensec },
	};
	return fs_reply(request, &out, sizeof(out));
}

int fs_op_access(struct fs_request *request, struct cursor *in)
{
	struct fuse_access_in access;
	struct inode inode;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	cursor_copy(in, &access, sizeof(access));
	if (access.mask & W_OK)
		return -EROFS;
	if (access.mask & X_OK && !(fs_mode(&inode) & 0111))
		return -EACCES;
	return fs_reply_empty(request);
}

/* ---- READLINK ---- */

static int reply_target(struct fs_request *request, struct view target)
{
	if (target.len > request->reply_max)
		return -ENAMETOOLONG;
	return fs_reply(request, target.ptr, target.len);
}

/* A symlink knows its directory and its place in it, not its target. */
int fs_op_readlink(struct fs_request *request, struct cursor *in)
{
	AUTO_DIRECTORY struct directory *directory = NULL;
	CLEANUP(buf_release) struct buf target = BUF_INIT;
	struct inode inode;
	int result = fs_inode(request, &inode);

	(void)in;
	if (result)
		return result;
	if (inode.kind != NODE_SYMLINK)
		return -EINVAL;
	if (inode.at_root) {
		if (!inode_table_target(request->session->inodes, inode.nodeid, &target))
			return -ESTALE;
		return reply_target(request, buf_view(&target));
	}
	result = fs_directory(request, &inode.digest, &directory);
	if (result)
		return result;
	if (inode.index >= directory_count(directory) ||
	    directory_at(directory, inode.index)->kind != NODE_SYMLINK)
		return -EIO;
	return reply_target(request, directory_at(directory, inode.index)->target);
}
