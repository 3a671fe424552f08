/*
 * The FUSE protocol, version 7.45, as far as a read-only filesystem meets it. Facts of the kernel's
 * UAPI header include/uapi/linux/fuse.h, written down here because stable distributions ship an
 * older one (do not include both). All fields are in the byte order of the machine.
 */
#ifndef CASTOR_FS_FUSE_WIRE_H
#define CASTOR_FS_FUSE_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum {
	FUSE_KERNEL_VERSION = 7,
	FUSE_KERNEL_MINOR_VERSION = 45,
	FUSE_ROOT_ID = 1,
	FUSE_MIN_READ_BUFFER = 8192,
	/* The kernel asks that a read from /dev/fuse has room for the headers of a WRITE beside
	 * max_write: fuse_in_header + fuse_write_in. */
	FUSE_REQUEST_HEADROOM = 80,
};

enum fuse_opcode {
	FUSE_LOOKUP = 1,
	FUSE_FORGET = 2, /* no reply */
	FUSE_GETATTR = 3,
	FUSE_SETATTR = 4,
	FUSE_READLINK = 5,
	FUSE_SYMLINK = 6,
	FUSE_MKNOD = 8,
	FUSE_MKDIR = 9,
	FUSE_UNLINK = 10,
	FUSE_RMDIR = 11,
	FUSE_RENAME = 12,
	FUSE_LINK = 13,
	FUSE_OPEN = 14,
	FUSE_READ = 15,
	FUSE_WRITE = 16,
	FUSE_STATFS = 17,
	FUSE_RELEASE = 18,
	FUSE_FSYNC = 20,
	FUSE_SETXATTR = 21,
	FUSE_GETXATTR = 22,
	FUSE_LISTXATTR = 23,
	FUSE_REMOVEXATTR = 24,
	FUSE_FLUSH = 25,
	FUSE_INIT = 26,
	FUSE_OPENDIR = 27,
	FUSE_READDIR = 28,
	FUSE_RELEASEDIR = 29,
	FUSE_FSYNCDIR = 30,
	FUSE_GETLK = 31,
	FUSE_SETLK = 32,
	FUSE_SETLKW = 33,
	FUSE_ACCESS = 34,
	FUSE_CREATE = 35,
	FUSE_INTERRUPT = 36, /* no reply */
	FUSE_BMAP = 37,
	FUSE_DESTROY = 38,
	FUSE_IOCTL = 39,
	FUSE_POLL = 40,
	FUSE_NOTIFY_REPLY = 41, /* no reply */
	FUSE_BATCH_FORGET = 42, /* no reply */
	FUSE_FALLOCATE = 43,
	FUSE_READDIRPLUS = 44,
	FUSE_RENAME2 = 45,
	FUSE_LSEEK = 46,
	FUSE_COPY_FILE_RANGE = 47,
	FUSE_SETUPMAPPING = 48,
	FUSE_REMOVEMAPPING = 49,
	FUSE_SYNCFS = 50,
	FUSE_TMPFILE = 51,
	FUSE_STATX = 52,
	FUSE_COPY_FILE_RANGE_64 = 53,
	FUSE_OPCODE_COUNT_,
};

enum fuse_notify_code {
	FUSE_NOTIFY_POLL = 1,
	FUSE_NOTIFY_INVAL_INODE = 2,
	FUSE_NOTIFY_INVAL_ENTRY = 3,
	FUSE_NOTIFY_STORE = 4,
	FUSE_NOTIFY_RETRIEVE = 5,
	FUSE_NOTIFY_DELETE = 6,
	FUSE_NOTIFY_RESEND = 7,
	FUSE_NOTIFY_INC_EPOCH = 8,
	FUSE_NOTIFY_PRUNE = 9,
};

/* INIT flags, in both directions. From bit 32 on they travel in flags2 if INIT_EXT is set. */
#define FUSE_ASYNC_READ          (UINT64_C(1) << 0)
#define FUSE_AUTO_INVAL_DATA     (UINT64_C(1) << 12)
#define FUSE_DO_READDIRPLUS      (UINT64_C(1) << 13)
#define FUSE_READDIRPLUS_AUTO    (UINT64_C(1) << 14)
#define FUSE_ASYNC_DIO           (UINT64_C(1) << 15)
#define FUSE_NO_OPEN_SUPPORT     (UINT64_C(1) << 17)
#define FUSE_PARALLEL_DIROPS     (UINT64_C(1) << 18)
#define FUSE_ABORT_ERROR         (UINT64_C(1) << 21)
#define FUSE_MAX_PAGES           (UINT64_C(1) << 22)
#define FUSE_CACHE_SYMLINKS      (UINT64_C(1) << 23)
#define FUSE_NO_OPENDIR_SUPPORT  (UINT64_C(1) << 24)
#define FUSE_EXPLICIT_INVAL_DATA (UINT64_C(1) << 25)
#define FUSE_INIT_EXT            (UINT64_C(1) << 30)
#define FUSE_PASSTHROUGH         (UINT64_C(1) << 37)
#define FUSE_NO_EXPORT_SUPPORT   (UINT64_C(1) << 38)
#define FUSE_HAS_RESEND          (UINT64_C(1) << 39)
#define FUSE_ALLOW_IDMAP         (UINT64_C(1) << 40)
#define FUSE_OVER_IO_URING       (UINT64_C(1) << 41)
#define FUSE_REQUEST_TIMEOUT     (UINT64_C(1) << 42)

/* Set in fuse_in_header.unique of a request that the kernel sends a second time. */
#define FUSE_UNIQUE_RESEND (UINT64_C(1) << 63)

/* fuse_open_out.open_flags */
#define FOPEN_KEEP_CACHE  (UINT32_C(1) << 1)
#define FOPEN_CACHE_DIR   (UINT32_C(1) << 3)
#define FOPEN_NOFLUSH     (UINT32_C(1) << 5)
#define FOPEN_PASSTHROUGH (UINT32_C(1) << 7)

struct fuse_in_header {
	uint32_t len; /* of the whole request */
	uint32_t opcode;
	uint64_t unique;
	uint64_t nodeid;
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint16_t total_extlen; /* of the extensions at its end, in units of 8 bytes */
	uint16_t padding;
};

struct fuse_out_header {
	uint32_t len; /* of the whole reply */
	int32_t error;
	uint64_t unique;
};

struct fuse_attr {
	uint64_t ino;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes */
	uint64_t atime;
	uint64_t mtime;
	uint64_t ctime;
	uint32_t atimensec;
	uint32_t mtimensec;
	uint32_t ctimensec;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev;
	uint32_t blksize;
	uint32_t flags;
};

struct fuse_entry_out {
	uint64_t nodeid; /* 0: a negative entry */
	uint64_t generation;
	uint64_t entry_valid; /* seconds */
	uint64_t attr_valid;  /* seconds */
	uint32_t entry_valid_nsec;
	uint32_t attr_valid_nsec;
	struct fuse_attr attr;
};

struct fuse_attr_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t dummy;
	struct fuse_attr attr;
};

struct fuse_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2; /* from 7.36 on */
	uint32_t unused[11];
};

struct fuse_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran; /* of timestamps, nanoseconds */
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint16_t request_timeout;
	uint16_t unused[11];
};

/* What 7.5 to 7.22 take of a fuse_init_out. */
enum { FUSE_COMPAT_22_INIT_OUT_SIZE = 24 };

struct fuse_forget_in {
	uint64_t nlookup;
};

struct fuse_forget_one {
	uint64_t nodeid;
	uint64_t nlookup;
};

struct fuse_batch_forget_in {
	uint32_t count;
	uint32_t dummy;
};

struct fuse_getattr_in {
	uint32_t getattr_flags;
	uint32_t dummy;
	uint64_t fh;
};

struct fuse_open_in {
	uint32_t flags; /* of open(2) */
	uint32_t open_flags;
};

struct fuse_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};

struct fuse_release_in {
	uint64_t fh;
	uint32_t flags;
	uint32_t release_flags;
	uint64_t lock_owner;
};

struct fuse_read_in { /* READ, READDIR, READDIRPLUS */
	uint64_t fh;
	uint64_t offset;
	uint32_t size;
	uint32_t read_flags;
	uint64_t lock_owner;
	uint32_t flags;
	uint32_t padding;
};

struct fuse_kstatfs {
	uint64_t blocks;
	uint64_t bfree;
	uint64_t bavail;
	uint64_t files;
	uint64_t ffree;
	uint32_t bsize;
	uint32_t namelen;
	uint32_t frsize;
	uint32_t padding;
	uint32_t spare[6];
};

struct fuse_getxattr_in {
	uint32_t size; /* 0: how large is it? */
	uint32_t padding;
};

struct fuse_getxattr_out {
	uint32_t size;
	uint32_t padding;
};

struct fuse_access_in {
	uint32_t mask; /* of access(2) */
	uint32_t padding;
};

struct fuse_interrupt_in {
	uint64_t unique;
};

struct fuse_poll_in {
	uint64_t fh;
	uint64_t kh;
	uint32_t flags;
	uint32_t events;
};

struct fuse_poll_out {
	uint32_t revents;
	uint32_t padding;
};

struct fuse_lseek_in {
	uint64_t fh;
	uint64_t offset;
	uint32_t whence;
	uint32_t padding;
};

struct fuse_lseek_out {
	uint64_t offset;
};

struct fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct fuse_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fuse_sx_time atime;
	struct fuse_sx_time btime;
	struct fuse_sx_time ctime;
	struct fuse_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t spare2[14];
};

struct fuse_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct fuse_statx stat;
};

struct fuse_dirent {
	uint64_t ino;
	uint64_t off; /* where to go on after this entry */
	uint32_t namelen;
	uint32_t type; /* DT_… of readdir(3) */
		       /* the name follows, then zeros up to a multiple of 8 */
};

struct fuse_direntplus {
	struct fuse_entry_out entry_out;
	struct fuse_dirent dirent;
};

#define FUSE_REC_ALIGN(size) (((size) + 7) & ~(size_t)7)

struct fuse_notify_store_out {
	uint64_t nodeid;
	uint64_t offset;
	uint32_t size;
	uint32_t padding;
};

struct fuse_notify_inval_inode_out {
	uint64_t nodeid;
	int64_t offset; /* negative: no pages, only the attributes */
	int64_t length;
};

struct fuse_notify_inval_entry_out {
	uint64_t parent;
	uint32_t namelen;
	uint32_t flags;
};

_Static_assert(sizeof(struct fuse_in_header) == 40, "fuse_in_header");
_Static_assert(sizeof(struct fuse_out_header) == 16, "fuse_out_header");
_Static_assert(sizeof(struct fuse_attr) == 88, "fuse_attr");
_Static_assert(sizeof(struct fuse_entry_out) == 128, "fuse_entry_out");
_Static_assert(sizeof(struct fuse_attr_out) == 104, "fuse_attr_out");
_Static_assert(sizeof(struct fuse_init_in) == 64, "fuse_init_in");
_Static_assert(sizeof(struct fuse_init_out) == 64, "fuse_init_out");
_Static_assert(sizeof(struct fuse_read_in) == 40, "fuse_read_in");
_Static_assert(sizeof(struct fuse_kstatfs) == 80, "fuse_kstatfs");
_Static_assert(sizeof(struct fuse_statx) == 256, "fuse_statx");
_Static_assert(sizeof(struct fuse_statx_in) == 24, "fuse_statx_in");
_Static_assert(sizeof(struct fuse_statx_out) == 288, "fuse_statx_out");
_Static_assert(sizeof(struct fuse_dirent) == 24, "fuse_dirent");
_Static_assert(sizeof(struct fuse_direntplus) == 152, "fuse_direntplus");
_Static_assert(sizeof(struct fuse_notify_store_out) == 24, "fuse_notify_store_out");
_Static_assert(sizeof(struct fuse_notify_inval_inode_out) == 24, "fuse_notify_inval_inode_out");

#endif
