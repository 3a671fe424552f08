/*
 * The blob service: bytes by their BLAKE3 digest.
 *
 * A backend embeds struct blob_service (first what it is asked, then its own state), fills one
 * static const ops table with every slot, and exports a constructor `blob_<backend>_new` or
 * `_open`. Callers use the wrappers below, never a slot: the wrappers clear outputs, count, trace,
 * and check every chunk that is read against its digest, so that no backend can forget to.
 *
 * Threads: a service is thread-safe. A reader belongs to one thread at a time. A batch has its own
 * rule, below. Calls block, until the op's deadline or cancel flag.
 *
 * Outcomes that every call can have, beside its own: RC_IO, RC_CORRUPT, RC_UNAVAILABLE,
 * RC_DEADLINE, RC_CANCELLED, RC_NO_MEMORY, RC_DENIED. RC_NOT_FOUND always means: the backend is
 * well, and does not have it. On failure outputs are NULL or zero.
 *
 * The empty blob exists everywhere, without having been put: the wrappers see to it.
 *
 * Readers and batches hold a reference on their service (the wrappers see to that too).
 */
#ifndef CASTOR_SERVICE_BLOB_BLOB_SERVICE_H
#define CASTOR_SERVICE_BLOB_BLOB_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "castore/blob_chunk.h"
#include "castore/chunker.h"
#include "castore/digest.h"
#include "service/call.h"

#define BLOB_SIZE_UNKNOWN UINT64_MAX

struct blob_service;
struct blob_reader;
struct blob_batch;
struct blob_encoded;
struct blob_frames;

/* Hands over blob i of a get_many; rc not RC_OK: this one failed, bytes is empty. The wrapper
 * checks the bytes against their digest before the caller sees them; backends need not. */
typedef void blob_done(void *context, size_t i, enum rc rc, struct view bytes);
/* Blobs above this are not for get_many (RC_TOO_LARGE): 1 MiB. */
enum { BLOB_GET_MANY_MAX = 1 << 20 };

/* How long a call may be expected to take: tells the filesystem which of its threads may make it.
 */
enum blob_latency {
	BLOB_LATENCY_MEMORY, /* never waits for anything but locks */
	BLOB_LATENCY_DISK,   /* may wait for a local disk */
	BLOB_LATENCY_REMOTE, /* may wait for another machine or process, however long */
};

struct blob_service_ops {
	const char *name; /* "memory", "local", …: for logs */
	enum blob_latency latency;
	void (*free)(struct blob_service *service);
	/* out[i]: is digests[i] there, whole? One pass over the backend, not count calls. Also for
	 * the digest of a chunk. Counts as being asked for. */
	enum rc (*has_many)(struct blob_service *service, const struct op *op,
			    const struct digest *digests, size_t count, bool *out, struct err *err);
	/* The blob's size (BLOB_SIZE_UNKNOWN where the backend would have to read the blob to
	 * tell), and its chunks where the backend keeps them. RC_NOT_FOUND. Also for the digest of
	 * a chunk that some list named (its own list is empty). list may be NULL. */
	enum rc (*stat)(struct blob_service *service, const struct op *op,
			const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			struct err *err);
	/* RC_NOT_FOUND. `size` may be BLOB_SIZE_UNKNOWN; a known size saves a backend a question,
	 * and RC_CORRUPT is right where it is contradicted. */
	enum rc (*open_read)(struct blob_service *service, const struct op *op,
			     const struct digest *digest, uint64_t size, struct blob_reader **out,
			     struct err *err);
	enum rc (*open_batch)(struct blob_service *service, const struct op *op,
			      struct blob_batch **out, struct err *err);
	/* Optional: many small blobs, in whatever order they are read fastest. Calls done once for
	 * each i, in this thread; bytes are valid during the call only. A failure of the whole call
	 * (a deadline) may leave some without. NULL: made of open_read by the wrapper. */
	enum rc (*get_many)(struct blob_service *service, const struct op *op,
			    const struct digest *digests, size_t count, blob_done *done,
			    void *context, struct err *err);
	/* Optional: chunks as they are stored; see below. Fills stored[] and its own state. NULL: it
	 * keeps none. */
	enum rc (*open_frames)(struct blob_service *service, const struct op *op,
			       const struct digest *chunks, size_t count, struct blob_frames **out,
			       struct err *err);
	/* Optional: bytes that everything in the backend takes on disk. NULL: it cannot tell. */
	enum rc (*usage)(struct blob_service *service, const struct op *op, uint64_t *out,
			 struct err *err);
};

struct blob_service {
	const struct blob_service_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

/* For backends: asserts that every slot is filled, sets the count to one. */
void blob_service_init(struct blob_service *service, const struct blob_service_ops *ops);
struct blob_service *blob_service_ref(struct blob_service *service);
void blob_service_unref(struct blob_service *service); /* NULL is fine */
enum blob_latency blob_service_latency(const struct blob_service *service);

enum rc blob_service_has_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, bool *out,
			      struct err *err) MUST_USE;
enum rc blob_service_stat(struct blob_service *service, const struct op *op,
			  const struct digest *digest, uint64_t *size, struct blob_chunk_list *list,
			  struct err *err) MUST_USE;
enum rc blob_service_open_read(struct blob_service *service, const struct op *op,
			       const struct digest *digest, uint64_t size, struct blob_reader **out,
			       struct err *err) MUST_USE;

enum rc blob_service_get_many(struct blob_service *service, const struct op *op,
			      const struct digest *digests, size_t count, blob_done *done,
			      void *context, struct err *err) MUST_USE;

/* Bytes on disk, of all that is kept. RC_UNSUPPORTED where the backend cannot tell. */
enum rc blob_service_usage(struct blob_service *service, const struct op *op, uint64_t *out,
			   struct err *err) MUST_USE;

/* ---- Reading ---- */

struct blob_reader_ops {
	void (*free)(struct blob_reader *reader);
	/* The chunk that covers offset (less than the blob's size). A backend without chunks
	 * answers stretches of at most 512 KiB without digest, or the whole blob as one chunk if it
	 * has at most 1 MiB. Cheap after the first call. */
	enum rc (*locate)(struct blob_reader *reader, const struct op *op, uint64_t offset,
			  struct blob_chunk *out, struct err *err);
	/* The bytes of that whole chunk into out (chunk->size bytes). The wrapper checks the
	 * digest. Of a stretch without digest, `chunk` may be any part. */
	enum rc (*read_chunk)(struct blob_reader *reader, const struct op *op,
			      const struct blob_chunk *chunk, void *out, struct err *err);
	/* Optional capabilities; NULL where a backend has none. */
	/* A descriptor of a file that holds exactly the blob's bytes, for the kernel to read
	 * itself. Borrowed, valid while the reader lives. -1: not for this blob. */
	int (*fd)(struct blob_reader *reader);
	/* The chunk as it is stored: one self-contained zstd frame that decodes to exactly that
	 * chunk; its header tells the length. Appends. RC_UNSUPPORTED: not for this chunk. Not
	 * checked. */
	enum rc (*read_frame)(struct blob_reader *reader, const struct op *op,
			      const struct blob_chunk *chunk, struct buf *out, struct err *err);
	/* Start to bring [offset, offset+len) nearer, without waiting. */
	void (*will_need)(struct blob_reader *reader, uint64_t offset, uint64_t len);
	/* Where the chunk is kept, in words for the sentence about its damage. Appends. */
	void (*place)(struct blob_reader *reader, const struct blob_chunk *chunk, struct buf *out);
};

struct blob_reader {
	const struct blob_reader_ops *ops;
	struct blob_service *service; /* the wrapper's */
	struct digest digest;
	uint64_t size;
	/* The last chunk that blob_reader_pread had to decode only in part; owned by the wrapper.
	 */
	struct blob_chunk last;
	uint8_t *last_bytes;
};

/* For backends: asserts the required slots. */
void blob_reader_init(struct blob_reader *reader, const struct blob_reader_ops *ops,
		      const struct digest *digest, uint64_t size);
/* Of the empty blob: what the wrapper answers with. */
struct blob_reader *blob_reader_new_empty(void);
void blob_reader_free(struct blob_reader *reader); /* NULL is fine */
void blob_reader_cleanup(struct blob_reader **reader);
#define AUTO_BLOB_READER CLEANUP(blob_reader_cleanup)
uint64_t blob_reader_size(const struct blob_reader *reader);
/* Up to len bytes from offset; *got is smaller only at the end of the blob. Checked. */
enum rc blob_reader_pread(struct blob_reader *reader, const struct op *op, void *out, size_t len,
			  uint64_t offset, size_t *got, struct err *err) MUST_USE;
enum rc blob_reader_locate(struct blob_reader *reader, const struct op *op, uint64_t offset,
			   struct blob_chunk *out, struct err *err) MUST_USE;
/* A chunk as locate gave it. Checked against chunk->digest: RC_CORRUPT names both digests. */
enum rc blob_reader_read_chunk(struct blob_reader *reader, const struct op *op,
			       const struct blob_chunk *chunk, void *out, struct err *err) MUST_USE;
/* Gives up the chunk that the last pread kept because it took only a part of it. */
void blob_reader_forget(struct blob_reader *reader);
int blob_reader_fd(struct blob_reader *reader); /* -1: none */
enum rc blob_reader_read_frame(struct blob_reader *reader, const struct op *op,
			       const struct blob_chunk *chunk, struct buf *out,
			       struct err *err) MUST_USE;
void blob_reader_will_need(struct blob_reader *reader, uint64_t offset, uint64_t len);

/* ---- Frames ----
 *
 * Many chunks as they are stored, found once and read often: for a server that sends them on unread.
 * What was found can be read as long as the object lives, even if the store is rewritten meanwhile.
 * Any number of threads may read at once.
 */
struct blob_frames_ops {
	void (*free)(struct blob_frames *frames);
	/* Frames first to first+count-1, one behind the other, to out. Each is a zstd frame that
	 * decodes to its chunk; nothing but its place is checked. */
	enum rc (*read)(struct blob_frames *frames, const struct op *op, size_t first, size_t count,
			void *out, struct err *err);
};
struct blob_frames {
	const struct blob_frames_ops *ops;
	size_t count;
	uint32_t *stored; /* the length of each; 0: this chunk is not kept as a frame */
	uint32_t *raw;    /* what it decodes to */
};
/* RC_NOT_FOUND names the first chunk that is not there, RC_UNSUPPORTED: the service has no frames. */
enum rc blob_service_open_frames(struct blob_service *service, const struct op *op,
				 const struct digest *chunks, size_t count,
				 struct blob_frames **out, struct err *err) MUST_USE;
/* All of them must be frames. */
enum rc blob_frames_read(struct blob_frames *frames, const struct op *op, size_t first,
			 size_t count, void *out, struct err *err) MUST_USE;
void blob_frames_free(struct blob_frames *frames); /* NULL is fine */

/* A whole small blob. RC_TOO_LARGE past max. Appends. */
enum rc blob_service_get(struct blob_service *service, const struct op *op,
			 const struct digest *digest, size_t max, struct buf *out,
			 struct err *err) MUST_USE;

/* ---- Writing ----
 *
 * A batch takes blobs in an order of the caller's choice, and keeps them in that order where order
 * means something (a pack). It splits the work of a put so that the dear half runs in parallel:
 *
 *  - encode, by any thread, many at once: hashes one chunk, looks whether the backend has it, and
 *    compresses it if not. Copies what it needs of the bytes.
 *  - add_chunk and add_blob, by one thread at a time: the chunks of one blob one after the other,
 *    then the blob itself, with the list of all of them. A blob of one chunk is add_chunk and
 *    add_blob too (same digest); the empty blob is add_blob alone.
 *  - commit: all that was added is durable and visible to every process when it returns. A batch
 *    may be committed more than once, and is empty again after each.
 *
 * Added but uncommitted blobs may become visible earlier; they are harmless (nothing refers to
 * them). After a failure of add or commit a batch is only good for free. Freeing an uncommitted
 * batch gives up what was not committed: it may or may not be kept.
 */
struct blob_batch_ops {
	void (*free)(struct blob_batch *batch);
	enum rc (*encode)(struct blob_batch *batch, const struct op *op, struct view chunk,
			  struct blob_encoded **out, struct err *err);
	/* Takes *chunk over, also on failure. */
	enum rc (*add_chunk)(struct blob_batch *batch, const struct op *op,
			     struct blob_encoded *chunk, struct err *err);
	enum rc (*add_blob)(struct blob_batch *batch, const struct op *op,
			    const struct digest *digest, uint64_t size,
			    const struct blob_chunk *chunks, size_t count, struct err *err);
	enum rc (*commit)(struct blob_batch *batch, const struct op *op, struct err *err);
	void (*free_encoded)(struct blob_encoded *chunk);
};

struct blob_batch {
	const struct blob_batch_ops *ops;
	/* The wrapper's. */
	struct blob_service *service;
	/* For the check that add_blob names just the chunks that were added before it. */
	uint64_t pending_bytes;
	uint64_t pending_chunks;
	bool failed; /* by add or commit */
	/* The backend's. Not 0: the other end cuts its own chunks, and any pieces of up to so many
	 * bytes do here. */
	uint32_t pieces;
};

/* An encoded chunk; a backend embeds it. It may outlive nothing but its batch. `size` is its length
 * before compression; `cost` the memory it holds, for the caller's budget; `known` true where the
 * backend had it already. */
struct blob_encoded {
	struct digest digest;
	uint32_t size;
	size_t cost;
	bool known;
};

void blob_batch_init(struct blob_batch *batch, const struct blob_batch_ops *ops);
enum rc blob_service_open_batch(struct blob_service *service, const struct op *op,
				struct blob_batch **out, struct err *err) MUST_USE;
/* How blobs for this batch are to be cut. */
void blob_batch_init_chunker(const struct blob_batch *batch, struct chunker *chunker);
void blob_batch_free(struct blob_batch *batch); /* NULL is fine */
void blob_batch_cleanup(struct blob_batch **batch);
#define AUTO_BLOB_BATCH CLEANUP(blob_batch_cleanup)
enum rc blob_batch_encode(struct blob_batch *batch, const struct op *op, struct view chunk,
			  struct blob_encoded **out, struct err *err) MUST_USE;
enum rc blob_batch_add_chunk(struct blob_batch *batch, const struct op *op,
			     struct blob_encoded *chunk, struct err *err) MUST_USE;
enum rc blob_batch_add_blob(struct blob_batch *batch, const struct op *op,
			    const struct digest *digest, uint64_t size,
			    const struct blob_chunk *chunks, size_t count,
			    struct err *err) MUST_USE;
enum rc blob_batch_commit(struct blob_batch *batch, const struct op *op, struct err *err) MUST_USE;
/* Gives up a chunk that was not added. NULL is fine. */
void blob_batch_free_encoded(struct blob_batch *batch, struct blob_encoded *chunk);

/* A stream into a batch, by one thread: cuts, encodes and adds as bytes come; blob_writer.c. */
struct blob_writer;
struct pool;
enum rc blob_writer_open(struct blob_batch *batch, struct blob_writer **out,
			 struct err *err) MUST_USE;
/* From now on chunks are encoded by the pool's threads, a few at once. The op of a write must then
 * live until the writer is closed or freed. */
void blob_writer_encode_on(struct blob_writer *writer, struct pool *pool);
enum rc blob_writer_write(struct blob_writer *writer, const struct op *op, struct view bytes,
			  struct err *err) MUST_USE;
/* The blob is added (not committed). */
enum rc blob_writer_close(struct blob_writer *writer, const struct op *op, struct digest *digest,
			  uint64_t *size, struct err *err) MUST_USE;
void blob_writer_free(struct blob_writer *writer); /* NULL is fine */

/* One small blob, committed when it returns; calls from many threads share their commits. */
enum rc blob_service_put(struct blob_service *service, const struct op *op, struct view bytes,
			 struct digest *digest, struct err *err) MUST_USE;

#endif
