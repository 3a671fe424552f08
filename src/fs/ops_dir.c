/*
 * Listings: OPENDIR, READDIR, READDIRPLUS.
 *
 * The offset of an entry is where to go on after it: 1 is ".", 2 is "..", and entry i of a
 * directory has i + 3. Directories never change, so any offset is good at any time. In the root it
 * is the provider's cursor + 2.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "castore/directory.h"
#include "fs/internal.h"

enum {
	DOT_OFFSET = 1,
	DOT_DOT_OFFSET = 2,
	BATCH = 32, /* entries that are interned under one lock */
	/* Replies up to this are made on the stack. */
	STACK_BYTES = 8192,
};

/* A reply that grows entry by entry. */
struct listing {
	struct fs_session *session;
	bool plus;
	bool root;
	uint8_t *bytes;
	size_t len, max;
};

static uint32_t type_of(const struct inode *inode)
{
	return inode->kind == NODE_DIRECTORY ? DT_DIR : inode->kind == NODE_FILE ? DT_REG : DT_LNK;
}

static size_t entry_size(const struct listing *listing, size_t name_len)
{
	size_t head = listing->plus ? sizeof(struct fuse_direntplus) : sizeof(struct fuse_dirent);

	return FUSE_REC_ALIGN(head + name_len);
}

static bool fits(const struct listing *listing, size_t already, size_t name_len)
{
	return entry_size(listing, name_len) <= listing->max - listing->len - already;
}

/* There must be room. counted: the kernel gets the inode with the entry, and its lookup has been
 * counted. */
static void append(struct listing *listing, const struct inode *inode, uint64_t number,
		   struct view name, uint64_t next, bool counted)
{
	struct fuse_dirent dirent = {
		.ino = number, .off = next, .namelen = (uint32_t)name.len, .type = type_of(inode)
	};
	size_t size = entry_size(listing, name.len);
	uint8_t *at = listing->bytes + listing->len;
	uint8_t *end = at + size;

	if (listing->plus) {
		struct fuse_entry_out entry = { 0 };

		if (counted)
			fs_fill_entry(listing->session, inode, listing->root, &entry);
		memcpy(at, &entry, sizeof(entry));
		at += sizeof(entry);
	}
	memcpy(at, &dirent, sizeof(dirent));
	at += sizeof(dirent);
	memcpy(at, name.ptr, name.len);
	at += name.len;
	memset(at, 0, (size_t)(end - at));
	listing->len += size;
}

/* "." and "..": in READDIRPLUS without an inode, as the kernel wants them. */
static void append_dots(struct listing *listing, const struct inode *directory, uint64_t *offset)
{
	uint64_t number = inode_number(listing->session->inodes, directory);

	if (*offset == 0 && fits(listing, 0, 1)) {
		append(listing, directory, number, view_of_string("."), DOT_OFFSET, false);
		*offset = DOT_OFFSET;
	}
	if (*offset == DOT_OFFSET && fits(listing, 0, 2)) {
		append(listing, directory, directory->parent_ino, view_of_string(".."),
		       DOT_DOT_OFFSET, false);
		*offset = DOT_DOT_OFFSET;
	}
}

/* Entries that are described but not interned. */
struct batch {
	struct inode inodes[BATCH];
	const struct node *nodes[BATCH];
	uint64_t next[BATCH];
	size_t count;
	size_t bytes; /* that they will take */
};

static bool batch_add(struct listing *listing, struct batch *batch, const struct inode *parent,
		      const struct digest *digest, const struct node *node, uint32_t index,
		      uint64_t next)
{
	if (batch->count == BATCH || !fits(listing, batch->bytes, node->name.len))
		return false;
	inode_describe(listing->session->inodes, parent, digest, node, index,
		       &batch->inodes[batch->count]);
	batch->nodes[batch->count] = node;
	batch->next[batch->count++] = next;
	batch->bytes += entry_size(listing, node->name.len);
	return true;
}

/* False: the inode table is full. */
static bool batch_flush(struct listing *listing, struct batch *batch)
{
	size_t count = batch->count;

	if (listing->plus)
		count = inode_table_intern(listing->session->inodes, batch->inodes, count);
	for (size_t i = 0; i < count; i++)
		append(listing, &batch->inodes[i],
		       inode_number(listing->session->inodes, &batch->inodes[i]),
		       batch->nodes[i]->name, batch->next[i], listing->plus);
	if (count < batch->count)
		return false;
	batch->count = batch->bytes = 0;
	return true;
}

static int list_below(struct fs_request *request, struct listing *listing,
		      const struct inode *inode, uint64_t offset)
{
	AUTO_DIRECTORY struct directory *directory = NULL;
	struct batch batch = { .count = 0 };
	int result = fs_directory(request, &inode->digest, &directory);
	size_t i;

	if (result)
		return result;
	append_dots(listing, inode, &offset);
	if (offset < DOT_DOT_OFFSET)
		return 0;
	i = offset - DOT_DOT_OFFSET;
	do {
		while (i < directory_count(directory) &&
		       batch_add(listing, &batch, inode, &inode->digest, directory_at(directory, i),
				 (uint32_t)i, i + 1 + DOT_DOT_OFFSET))
			i++;
		if (!batch_flush(listing, &batch))
			return listing->len ? 0 : -ENOMEM;
	} while (i < directory_count(directory) &&
		 fits(listing, 0, directory_at(directory, i)->name.len));
	return 0;
}

static int roots_error(enum rc rc, const struct err *err)
{
	if (rc == RC_NOT_PERMITTED)
		return -EPERM;
	if (rc != RC_CANCELLED)
		log_error("the roots could not be listed: %s",
			  err->message[0] ? err->message : rc_name(rc));
	return fs_errno(rc);
}

/* One batch from the provider; *more: there may be others, and room for them. */
static int list_some_roots(struct fs_request *request, struct listing *listing, uint64_t *after,
			   bool *more)
{
	struct roots *roots = request->session->fs->roots;
	struct root_entry entries[BATCH] = { 0 };
	struct batch batch = { .count = 0 };
	struct err err = ERR_INIT;
	size_t got = 0;
	enum rc rc = roots->ops->list(roots, &request->op, *after, entries, BATCH, &got, &err);
	int result = 0;

	*more = false;
	if (rc != RC_OK)
		return roots_error(rc, &err);
	for (size_t i = 0; i < got; i++) {
		if (!batch_add(listing, &batch, &inode_root, NULL, &entries[i].node, 0,
			       entries[i].next + DOT_DOT_OFFSET))
			break;
		*after = entries[i].next;
	}
	*more = got > 0 && batch.count == got;
	if (!batch_flush(listing, &batch)) {
		*more = false;
		result = -ENOMEM;
	}
	for (size_t i = 0; i < got; i++)
		node_release(&entries[i].node);
	return result;
}

static int list_roots(struct fs_request *request, struct listing *listing, uint64_t offset)
{
	struct fs *fs = request->session->fs;
	uint64_t after;
	bool more = true;
	int result = 0;

	if (fs->roots->ops->remote && !request->may_wait)
		return FS_DEFER;
	if (offset > ROOT_CURSOR_MAX + DOT_DOT_OFFSET)
		return 0;
	append_dots(listing, &inode_root, &offset);
	if (offset < DOT_DOT_OFFSET)
		return 0;
	after = offset - DOT_DOT_OFFSET;
	while (more && !result)
		result = list_some_roots(request, listing, &after, &more);
	/* Listing is refused as a whole, dots and all; a later error comes with the next call. */
	return listing->len && result != -EPERM ? 0 : result;
}

static int read_directory(struct fs_request *request, struct cursor *in, bool plus)
{
	uint8_t stack[STACK_BYTES];
	AUTO_FREE void *heap = NULL;
	struct listing listing = { .session = request->session, .plus = plus, .bytes = stack };
	struct fuse_read_in read;
	struct inode inode;
	int result = fs_inode(request, &inode);

	if (result)
		return result;
	if (inode.kind != NODE_DIRECTORY)
		return -ENOTDIR;
	cursor_copy(in, &read, sizeof(read));
	listing.max = read.size < FS_MAX_READ ? read.size : FS_MAX_READ;
	if (listing.max > request->reply_max)
		listing.max = request->reply_max;
	if (listing.max > sizeof(stack)) {
		heap = mem_try_alloc(listing.max);
		if (!heap)
			return -ENOMEM;
		listing.bytes = heap;
	}
	listing.root = inode.nodeid == FUSE_ROOT_ID;
	if (listing.root)
		result = list_roots(request, &listing, read.offset);
	else
		result = list_below(request, &listing, &inode, read.offset);
	if (result)
		return result;
	if (plus && !listing.root && read.offset > DOT_DOT_OFFSET)
		read_ahead_listed(request->session, &inode);
	return fs_reply(request, listing.bytes, listing.len);
}

int fs_op_readdir(struct fs_request *request, struct cursor *in)
{
	return read_directory(request, in, false);
}

int fs_op_readdirplus(struct fs_request *request, struct cursor *in)
{
	return read_directory(request, in, true);
}

int fs_op_opendir(struct fs_request *request, struct cursor *in)
{
	struct fs_session *session = request->session;
	struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR };
	struct inode inode;
	int result = fs_inode(request, &inode);

	(void)in;
	if (result)
		return result;
	if (inode.kind != NODE_DIRECTORY)
		return -ENOTDIR;
	if (atomic_load(&session->flags) & FUSE_NO_OPENDIR_SUPPORT)
		return -ENOSYS;
	return fs_reply(request, &out, sizeof(out));
}
