/*
 * The pipeline of an import. A tree becomes a sequence of blocks: stretches of its NAR of about a
 * megabyte, in order, each with a list of what the stretch holds. A block goes through
 *
 *	fill      one thread: takes the tree from its source (tree_scan.c: a walk; nar_import.c: a
 *	          NAR), writes the framing, leaves room for small files, cuts large ones (tree_fill.c)
 *	load      many threads, for they wait for the disk: read the small files into their room
 *	hash      one thread, in order: SHA-256 of the block's bytes, which is that of the NAR
 *	encode    as many threads as processors: cut, hash and compress the chunks
 *	collect   one thread, in order: adds chunks, blobs and directories (tree_collect.c)
 *
 * and is then used again. The memory of all blocks is bounded, so the stages wait for each other;
 * only `fill` takes memory, and it does so in the order in which `collect` gives it back, so no
 * stage can wait for a later block: there is no deadlock.
 *
 * The threads of all stages but `fill` start with the second block: a tree that has none goes through
 * them in the thread of `fill`.
 */
#ifndef CASTOR_TRANSFER_TREE_PIPE_H
#define CASTOR_TRANSFER_TREE_PIPE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "nix/reference_scan.h"
#include "nix/store_path.h"
#include "service/blob/blob_service.h"
#include "service/path_info/nar_facts.h"
#include "transfer/stat_cache.h"
#include "transfer/tree_in.h"
#include "transfer/tree_walk.h"

enum {
	TREE_BLOCK_SIZE = 2 << 20,
	/* Content after which a block goes on its way. */
	TREE_BLOCK_FULL = 1 << 20,
	/* Files up to this lie in one block, and are cut by `encode`; larger ones by `fill`. */
	TREE_FILE_SMALL = 1 << 20,
	TREE_ENTRIES_MAX = 512,
	/* Different directories in a block; bounds descriptors. */
	TREE_DIRS_MAX = 32,
	TREE_MEMORY_DEFAULT = 64 << 20,
};

/* A chunk of a block's bytes. */
struct tree_chunk {
	size_t at, len;
	struct blob_encoded *encoded; /* NULL before `encode`, and after `collect` took it */
};

enum tree_entry_kind {
	TREE_ENTRY_BEGIN, /* of a directory */
	TREE_ENTRY_END,
	TREE_ENTRY_SYMLINK,
	TREE_ENTRY_FILE, /* small and whole */
	TREE_ENTRY_PART, /* cut chunks of a large file */
};

struct tree_entry {
	enum tree_entry_kind kind;
	bool executable, quiet;
	bool last; /* of the parts of a large file: name, digest, size and stat are there */
	uint32_t name_at, name_len, target_at, target_len; /* in text */
	uint32_t open_at;                                  /* in text, NUL-terminated */
	struct tree_dir *dir;                              /* a reference, until loaded */
	struct tree_stat stat;
	uint64_t size; /* of the file */
	size_t at;     /* of a small file's content in the block */
	size_t first_chunk, chunk_count;
	struct digest digest; /* of a file; by `encode`, or `fill` for a large one */
};

struct tree_block {
	uint8_t *bytes; /* NAR */
	size_t len, size;
	size_t content; /* of files in it */
	struct tree_entry *entries;
	size_t entry_count;
	struct tree_chunk *chunks;
	size_t chunk_count, chunk_cap;
	struct buf text; /* names, targets */
	size_t dir_count;
	struct tree_dir *last_dir; /* compared, never used */
	bool needs_load;
	/* Progress; under pipe->lock once the block was published. */
	bool load_taken, loaded, encode_taken, encoded, hashed;
};

struct tree_pipe;

/* Where a tree comes from. */
struct tree_source {
	/* The `fill` stage, in a thread of its own; ends with tree_fill_finish. */
	void (*fill)(struct tree_pipe *pipe, void *context);
	void *context;
	bool loads; /* leaves work to `load` */
	bool bare;  /* brings no NAR, but blobs alone: nothing to hash */
};

struct tree_pipe {
	/* Constant. */
	const struct op *op; /* its cancel flag is looked at by `collect` alone, and by backends */
	struct blob_batch *batch;
	struct tree_source source;
	struct reference_scan *references; /* sees the NAR; borrowed; NULL: nobody does */
	struct stat_cache_writer *cache;   /* borrowed; NULL: nothing is remembered */
	size_t memory;
	unsigned descriptors_max;
	unsigned load_threads, encode_threads;

	/* Seen by progress; any thread. */
	atomic_uint_fast64_t files, directories, symlinks, bytes, bytes_read;

	pthread_mutex_t lock;
	/* All of the rest is under lock. Blocks [done, filled) are on their way, in ring[n & mask].
	 */
	struct tree_block **ring;
	size_t mask;
	uint64_t filled, loading, encoding, hashing, done;
	bool complete; /* nothing will be filled any more */
	bool failed;
	enum rc rc;
	struct err err;
	size_t in_use;            /* bytes of blocks being filled or on their way */
	struct tree_block **idle; /* of TREE_BLOCK_SIZE */
	size_t idle_count;
	pthread_cond_t fill_cond, load_cond, hash_cond, encode_cond, collect_cond;

	struct nar_facts facts;       /* by `hash`, once it has seen all */
	struct evp_md_ctx_st *sha256; /* of the NAR; of the hashing thread, once it is there */
	pthread_t fill_thread;
	bool filling;
	pthread_t *threads; /* of the other stages; NULL: none were started yet */
	unsigned thread_count;
};

/* memory 0: the default. */
void tree_pipe_init(struct tree_pipe *pipe, const struct op *op, struct blob_batch *batch,
		    struct tree_source source, unsigned threads, size_t memory);
void tree_pipe_start(struct tree_pipe *pipe);
/* Stops what still runs, waits for it, frees everything. */
void tree_pipe_release(struct tree_pipe *pipe);
/* The first failure wins; all stages end soon after. Returns rc. */
enum rc tree_pipe_fail(struct tree_pipe *pipe, enum rc rc, const struct err *err);

/* For `fill`. NULL: the import failed. A block of at least `size` bytes. */
struct tree_block *tree_pipe_new_block(struct tree_pipe *pipe, size_t size);
void tree_pipe_publish(struct tree_pipe *pipe, struct tree_block *block);
void tree_pipe_complete(struct tree_pipe *pipe);
/* Waits until few enough directories are open. False: the import failed. */
bool tree_pipe_wait_dirs(struct tree_pipe *pipe, const struct tree_walk *walk);

/* For `collect`. RC_OK with NULL: that was all. RC_OK without a block but with *tick set: nothing
 * new for a tenth of a second. */
enum rc tree_pipe_collect(struct tree_pipe *pipe, struct tree_block **out, bool *tick,
			  struct err *err) MUST_USE;
void tree_pipe_recycle(struct tree_pipe *pipe, struct tree_block *block);

/* After the last block: the NAR's size and hash. */
enum rc tree_pipe_finish(struct tree_pipe *pipe, struct nar_facts *facts, struct err *err) MUST_USE;

/* The stages. */
enum rc tree_load(struct tree_pipe *pipe, struct tree_block *block,
		  struct err *err); /* tree_load.c */
enum rc tree_encode(struct tree_pipe *pipe, struct tree_block *block,
		    struct err *err); /* tree_load.c */

struct tree_chunk *tree_block_new_chunk(struct tree_block *block, size_t at, size_t len);
static inline struct view tree_block_text(const struct tree_block *block, uint32_t at, uint32_t len)
{
	return (struct view){ len ? block->text.ptr + at : NULL, len };
}

#endif
