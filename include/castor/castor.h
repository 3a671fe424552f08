/*
 * libcastor: a content-addressed store for Nix-like package trees.
 *
 * Outcomes. A call that can fail returns an enum castor_rc (CASTOR_OK is 0), and puts a sentence
 * for a person into its struct castor_error, which may be NULL. After a failure, what a call would
 * have given out is NULL or zero.
 *
 * Ownership. What a call gives out through a `struct castor_… **` is the caller's, to be given back
 * to the function that is named there. Objects hold what they need: a blob, a node or a mount stays
 * good when its store was closed. Strings that come from an object live as long as the object.
 *
 * Threads. A store may be used by many threads at once, and so may a cancel. Everything else
 * belongs to one thread at a time. Calls block; threads run only inside objects that the caller
 * opened. The library installs no signal handler. A process must not fork between opening a store
 * and closing it, except to exec.
 *
 * Text. A PATH is a store path ("/nix/store/<hash>-<name>", or without "/nix/store/"), or a node as
 * `castor info` prints it ("directory:<hex>:<size>", "file:<hex>:<bytes>[:x]", a bare hex digest of
 * a directory), each perhaps with a path below it: "/nix/store/…-hello/bin/hello". Symlinks on the
 * way are not followed.
 *
 * Growth. Structures that the caller fills are to be zeroed first: zero means the default, and
 * `reserved` has to stay zero.
 */
#ifndef CASTOR_CASTOR_H
#define CASTOR_CASTOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CASTOR_API      __attribute__((visibility("default")))
#define CASTOR_MUST_USE __attribute__((warn_unused_result))
#else
#define CASTOR_API
#define CASTOR_MUST_USE
#endif

/* ---- Outcomes ---- */

enum castor_rc {
	CASTOR_OK = 0,
	CASTOR_NOT_FOUND,           /* it was looked for, and is not there */
	CASTOR_EXISTS,              /* something else is already there */
	CASTOR_INVALID,             /* the caller's input is malformed */
	CASTOR_FAILED_PRECONDITION, /* well-formed, but something else has to happen first */
	CASTOR_CORRUPT,             /* stored data contradicts its digest or its format */
	CASTOR_IO,                  /* the operating system failed to read or write */
	CASTOR_UNAVAILABLE,         /* a store cannot be reached at the moment */
	CASTOR_DEADLINE,            /* the call's timeout passed */
	CASTOR_BUSY,                /* held by another process; later it may work */
	CASTOR_DENIED,              /* the operating system refuses access */
	CASTOR_NOT_PERMITTED,       /* castor's own policy refuses it */
	CASTOR_UNSUPPORTED,         /* this castor, or this store, does not do this */
	CASTOR_TOO_LARGE,           /* past a stated limit */
	CASTOR_NO_SPACE,            /* the disk, or a quota, is full */
	CASTOR_NO_MEMORY,
	CASTOR_CANCELLED,  /* the call's cancel was set, or a callback said so */
	CASTOR_CERTIFICATE /* a certificate, or its key, cannot be used or is not trusted */
};

#define CASTOR_ERROR_MAX 1024

struct castor_error {
	char message[CASTOR_ERROR_MAX]; /* NUL-terminated; no newline at its end */
};

/* "not found", "corrupt", …; static storage. */
CASTOR_API const char *castor_rc_name(enum castor_rc rc);
/* "0.1.0"; static storage. */
CASTOR_API const char *castor_version(void);

/* Log lines (what nobody asked for, such as damage met by a mount) go to stderr, or to this
 * function, from any thread. level: 0 error, 1 warning, 2 info, 3 debug. NULL: stderr again. For
 * the whole process. */
typedef void castor_log_fn(void *context, int level, const char *sentence);
CASTOR_API void castor_set_log(castor_log_fn *log, void *context);

/* ---- How long a call may take ---- */

/* A flag that another thread may set, to end calls that wait. */
struct castor_cancel;
CASTOR_API struct castor_cancel *castor_cancel_new(void);
CASTOR_API void castor_cancel_set(struct castor_cancel *cancel);
/* No call may be using it any more. NULL is fine. */
CASTOR_API void castor_cancel_free(struct castor_cancel *cancel);

/* For one call. Wherever one is taken, NULL means: as long as it takes. */
struct castor_op {
	int64_t timeout_ms;                 /* milliseconds from the start of the call; 0: none */
	const struct castor_cancel *cancel; /* NULL: none */
};

/* ---- Stores ---- */

struct castor_store;

/* Addresses of stores, such as "local:///var/lib/castor" or "memory:". What is NULL is taken from
 * the environment as the program castor does it, then from the default store. */
struct castor_addresses {
	const char *store; /* of all services that are not named below */
	const char *blobs;
	const char *directories;
	const char *path_infos;
	const char *reserved[4];
};

/* Opens a store; a local one is made where there is nothing or an empty directory. addresses may be NULL: the default store.
 * Give it back by castor_store_close. CASTOR_INVALID: a bad address; CASTOR_CORRUPT: a damaged
 * index. */
CASTOR_API enum castor_rc castor_store_open(const struct castor_addresses *addresses,
					    struct castor_store **out,
					    struct castor_error *error) CASTOR_MUST_USE;
/* Puts another store, or a Nix binary cache ("https://…?trusted-public-keys=…"), behind an open one: what
 * the store does not have is looked for there. What comes from a cache is kept in the store, what
 * comes from another store is not. Before the store is used by another thread. castor(1) tells more of
 * such addresses. */
CASTOR_API enum castor_rc castor_store_add_upstream(struct castor_store *store, const char *address,
						    struct castor_error *error) CASTOR_MUST_USE;
/* NULL is fine. */
CASTOR_API void castor_store_close(struct castor_store *store);

/* ---- Nodes: what a name stands for ---- */

enum castor_node_kind { CASTOR_DIRECTORY, CASTOR_FILE, CASTOR_SYMLINK };

#define CASTOR_DIGEST_SIZE 32
/* BLAKE3, of a file's bytes or of a directory's canonical message. */
struct castor_digest {
	uint8_t bytes[CASTOR_DIGEST_SIZE];
};

struct castor_node {
	enum castor_node_kind kind;
	int executable;              /* files: 1 or 0 */
	uint64_t size;               /* of a file: bytes. Of a directory: see its format */
	struct castor_digest digest; /* files and directories; else zero */
	const char *name;   /* bytes without NUL or '/', in no certain encoding; may be "" */
	const char *target; /* symlinks; else "" */
};

/* What a PATH stands for. Give it back by castor_node_free. CASTOR_NOT_FOUND; CASTOR_INVALID where
 * a symlink is on the way. */
CASTOR_API enum castor_rc castor_lookup(struct castor_store *store, const struct castor_op *op,
					const char *path, struct castor_node **out,
					struct castor_error *error) CASTOR_MUST_USE;
CASTOR_API void castor_node_free(struct castor_node *node);
/* As `castor info` prints it, without the name: itself a PATH. NUL-terminated, to be freed by
 * castor_string_free. */
CASTOR_API char *castor_node_text(const struct castor_node *node);
CASTOR_API void castor_string_free(char *string);

/* The entries of a directory, sorted bytewise by name. */
struct castor_directory;
/* Give it back by castor_directory_close. CASTOR_INVALID where PATH is none. */
CASTOR_API enum castor_rc castor_directory_open(struct castor_store *store,
						const struct castor_op *op, const char *path,
						struct castor_directory **out,
						struct castor_error *error) CASTOR_MUST_USE;
CASTOR_API size_t castor_directory_count(const struct castor_directory *directory);
/* index: below the count. */
CASTOR_API const struct castor_node *castor_directory_at(const struct castor_directory *directory,
							 size_t index);
CASTOR_API void castor_directory_close(struct castor_directory *directory);

/* ---- Reading files ---- */

/* The bytes of a file. Everything that is read is checked against its digest, but for large files
 * that a store keeps as they are (raw files): they were checked when they were written. */
struct castor_blob;
/* By PATH of a file. Give it back by castor_blob_close. */
CASTOR_API enum castor_rc castor_blob_open(struct castor_store *store, const struct castor_op *op,
					   const char *path, struct castor_blob **out,
					   struct castor_error *error) CASTOR_MUST_USE;
CASTOR_API enum castor_rc castor_blob_open_digest(struct castor_store *store,
						  const struct castor_op *op,
						  const struct castor_digest *digest,
						  struct castor_blob **out,
						  struct castor_error *error) CASTOR_MUST_USE;
/* Bytes. */
CASTOR_API uint64_t castor_blob_size(const struct castor_blob *blob);
/* Reads up to `length` bytes from `offset`. *got is smaller only at the end of the file (0 past
 * it). CASTOR_CORRUPT: what is stored is damaged. */
CASTOR_API enum castor_rc castor_blob_read(struct castor_blob *blob, const struct castor_op *op,
					   void *buffer, size_t length, uint64_t offset,
					   size_t *got, struct castor_error *error) CASTOR_MUST_USE;
CASTOR_API void castor_blob_close(struct castor_blob *blob);

/* ---- Path infos: what is known of a store path ---- */

struct castor_path_info;

/* By store path, or the 32 characters of its hash. Give it back by castor_path_info_free. */
CASTOR_API enum castor_rc castor_path_info_get(struct castor_store *store,
					       const struct castor_op *op, const char *path,
					       struct castor_path_info **out,
					       struct castor_error *error) CASTOR_MUST_USE;
CASTOR_API void castor_path_info_free(struct castor_path_info *info);

/* Called for each path of the store; info is good until it returns. Anything but CASTOR_OK ends the
 * listing with that outcome. */
typedef enum castor_rc castor_path_info_fn(void *context, const struct castor_path_info *info);
/* All of them, in ascending order of the hash, `each` being called in this thread. Those that are damaged
 * are left out, and are the outcome behind the others. */
CASTOR_API enum castor_rc castor_path_info_list(struct castor_store *store,
						const struct castor_op *op,
						castor_path_info_fn *each, void *context,
						struct castor_error *error) CASTOR_MUST_USE;

/* "/nix/store/<hash>-<name>" */
CASTOR_API const char *castor_path_info_path(const struct castor_path_info *info);
CASTOR_API const struct castor_node *castor_path_info_node(const struct castor_path_info *info);
/* Bytes of the NAR, and its SHA-256 (32 bytes). */
CASTOR_API uint64_t castor_path_info_nar_size(const struct castor_path_info *info);
CASTOR_API const uint8_t *castor_path_info_nar_sha256(const struct castor_path_info *info);
/* Store paths that it refers to; index: below the count. */
CASTOR_API size_t castor_path_info_reference_count(const struct castor_path_info *info);
CASTOR_API const char *castor_path_info_reference(const struct castor_path_info *info,
						  size_t index);
/* "name:base64" */
CASTOR_API size_t castor_path_info_signature_count(const struct castor_path_info *info);
CASTOR_API const char *castor_path_info_signature(const struct castor_path_info *info,
						  size_t index);
/* The store path of the deriver (with ".drv"), and the content address ("fixed:r:sha256:…"); NULL:
 * it has none. */
CASTOR_API const char *castor_path_info_deriver(const struct castor_path_info *info);
CASTOR_API const char *castor_path_info_ca(const struct castor_path_info *info);

/* ---- In ---- */

/* What an import has seen so far. */
struct castor_import_progress {
	uint64_t files, directories, symlinks;
	uint64_t bytes;        /* of content */
	uint64_t bytes_read;   /* of them really read: the rest is known to be unchanged */
	uint64_t bytes_stored; /* of them new to the store, before compression */
};
/* At most ten times a second, from a thread of the import. */
typedef void castor_import_progress_fn(void *context,
				       const struct castor_import_progress *progress);

struct castor_import_options {
	const char *name; /* of the store path; NULL: the last component of the path */
	int no_cache;     /* 1: reads every file, and remembers none */
	unsigned threads; /* 0: chosen from the processors */
	size_t memory;    /* bytes of content in flight at most; 0: 64 MiB */
	castor_import_progress_fn *progress; /* NULL: none */
	void *progress_context;
	int references; /* 1: finds the store paths that it refers to; reads every file */
	uint64_t reserved[4];
};

/* Imports a directory, file or symlink of this machine, with the store path that
 * `nix-store --add` gives it. Durable when it returns; nothing is published unless all of it
 * succeeded. options, *out and stats may be NULL. Give *out back by castor_path_info_free.
 * CASTOR_UNSUPPORTED: a socket, device or fifo; CASTOR_FAILED_PRECONDITION: a file changed
 * meanwhile; CASTOR_DENIED, CASTOR_TOO_LARGE (too deep), CASTOR_INVALID (a name that no store path
 * can have). */
CASTOR_API enum castor_rc
castor_import(struct castor_store *store, const struct castor_op *op, const char *path,
	      const struct castor_import_options *options, struct castor_path_info **out,
	      struct castor_import_progress *stats, struct castor_error *error) CASTOR_MUST_USE;

/* Fills bytes with up to `length`; *got 0: the end. Anything but CASTOR_OK ends the call with that
 * outcome. */
typedef enum castor_rc castor_source_fn(void *context, void *bytes, size_t length, size_t *got);
/* Imports one NAR, with the store path of its content and that name, and without references. `source`
 * is called by another thread, one call at a time, until this returns. out may be NULL.
 * CASTOR_INVALID: it is no NAR, it ends early, or something follows it. */
CASTOR_API enum castor_rc castor_nar_import(struct castor_store *store, const struct castor_op *op,
					    castor_source_fn *source, void *context,
					    const char *name, struct castor_path_info **out,
					    struct castor_error *error) CASTOR_MUST_USE;
/* The same of a tar archive, compressed or not, that is read from a descriptor. CASTOR_INVALID: no such
 * archive, or one with paths that lead out of it; CASTOR_UNSUPPORTED: devices and fifos. */
CASTOR_API enum castor_rc castor_tar_import(struct castor_store *store, const struct castor_op *op,
					    int fd, const char *name, struct castor_path_info **out,
					    struct castor_error *error) CASTOR_MUST_USE;

/* ---- Out ---- */

/* Makes `destination` (CASTOR_EXISTS where something is there) from a PATH, as a tree of files. */
CASTOR_API enum castor_rc castor_export(struct castor_store *store, const struct castor_op *op,
					const char *path, const char *destination,
					struct castor_error *error) CASTOR_MUST_USE;

/* Takes the next bytes. Anything but CASTOR_OK ends the call with that outcome. */
typedef enum castor_rc castor_sink_fn(void *context, const void *bytes, size_t length);
/* The NAR of a PATH, front to back, `sink` being called in this thread. */
CASTOR_API enum castor_rc castor_nar_dump(struct castor_store *store, const struct castor_op *op,
					  const char *path, castor_sink_fn *sink, void *context,
					  struct castor_error *error) CASTOR_MUST_USE;

/* ---- Mounts ---- */

/* A name directly under the mount point, and the PATH that stands there. */
struct castor_root {
	const char *name;
	const char *path;
};

struct castor_mount_options {
	/* What is shown; root_count 0: every store path of the store, by its name. */
	const struct castor_root *roots;
	size_t root_count;
	int list_root;    /* 1: the store's paths may be listed (given roots always may) */
	int allow_other;  /* 1: other users may use it */
	int passthrough;  /* 1: raw files are handed to the kernel (needs rights) */
	int show_xattr;   /* 1: digests are shown as extended attributes */
	unsigned threads; /* 0: chosen from the processors */
	uint64_t reserved[4];
};

struct castor_mount;
/* Mounts a read-only filesystem at a directory, and serves it by threads of its own, until it is
 * given back by castor_mount_stop. options may be NULL. CASTOR_BUSY: something is mounted there;
 * CASTOR_DEADLINE: a filesystem on the way there does not answer;
 * CASTOR_UNSUPPORTED: this castor was built without fuse. */
CASTOR_API enum castor_rc castor_mount_start(struct castor_store *store, const char *directory,
					     const struct castor_mount_options *options,
					     struct castor_mount **out,
					     struct castor_error *error) CASTOR_MUST_USE;
/* A descriptor that is readable when the mount has ended from outside. It stays the mount's. */
CASTOR_API int castor_mount_ended_fd(const struct castor_mount *mount);
/* Unmounts, and waits for its threads. NULL is fine. */
CASTOR_API void castor_mount_stop(struct castor_mount *mount);

#ifdef __cplusplus
}
#endif

#endif
