/*
 * Extended attributes: the digests, where --show-xattr asks for them. Otherwise ENOSYS, after which
 * the kernel asks no more.
 */
#include <errno.h>
#include <string.h>

#include "fs/internal.h"

#define BLOB_DIGEST      "user.castor.blob.digest"
#define DIRECTORY_DIGEST "user.castor.directory.digest"

/* The one attribute that an inode has, or NULL. */
static const char *attribute_of(const struct inode *inode)
{
	if (inode->nodeid == FUSE_ROOT_ID || inode->kind == NODE_SYMLINK)
		return NULL;
	return inode->kind == NODE_FILE ? BLOB_DIGEST : DIRECTORY_DIGEST;
}

/* Size 0 asks for the length. */
static int reply_value(struct fs_request *request, uint32_t size, const void *value, size_t len)
{
	struct fuse_getxattr_out out = { .size = (uint32_t)len };

	if (size == 0)
		return fs_reply(request, &out, sizeof(out));
	if (len > size)
		return -ERANGE;
	return fs_reply(request, value, len);
}

int fs_op_getxattr(struct fs_request *request, struct cursor *in)
{
	char hex[DIGEST_HEX_MAX];
	struct inode inode;
	const char *attribute;
	struct fuse_getxattr_in get;
	struct view name;
	int result;

	if (!request->session->fs->options.show_xattr)
		return -ENOSYS;
	result = fs_inode(request, &inode);
	if (result)
		return result;
	cursor_copy(in, &get, sizeof(get));
	if (!cursor_until(in, 0, &name))
		return -EINVAL;
	attribute = attribute_of(&inode);
	if (!attribute || !view_equal_string(name, attribute))
		return -ENODATA;
	digest_hex(&inode.digest, hex);
	return reply_value(request, get.size, hex, strlen(hex));
}

int fs_op_listxattr(struct fs_request *request, struct cursor *in)
{
	struct inode inode;
	struct fuse_getxattr_in list;
	const char *attribute;
	int result;

	if (!request->session->fs->options.show_xattr)
		return -ENOSYS;
	result = fs_inode(request, &inode);
	if (result)
		return result;
	cursor_copy(in, &list, sizeof(list));
	attribute = attribute_of(&inode);
	return reply_value(request, list.size, attribute, attribute ? strlen(attribute) + 1 : 0);
}
