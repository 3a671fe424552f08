/*
 * What the files of the on-disk store share, and what the local backends of the services call.
 * Nobody else includes it.
 *
 * How writing goes. Everything that is to be stored becomes a *insert*: a key of one table of the
 * index, and the record that belongs to it. A insert is claimed (inserts.c), made (encode.c),
 * appended to a pack (writer.c) in the open *group*, and is stored when the group is committed
 * (commit.c): one fdatasync of each pack that was written, one transaction of the index. Whoever
 * waits for a group waits together.
 *
 * Lock order: registry_lock (local_store.c) → write_lock → inserts_lock; touch_lock is taken alone.
 * The sync thread holds no lock while it syncs and while the index commits.
 */
#ifndef CASTOR_LOCAL_LOCAL_INTERNAL_H
#define CASTOR_LOCAL_LOCAL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hashmap.h"
#include "base/op.h"
#include "castore/digest.h"
#include "local/codec.h"
#include "local/index.h"
#include "local/index_format.h"
#include "local/layout.h"
#include "local/local_store.h"
#include "local/pack_format.h"
#include "local/packs.h"

/* ---- Inserts ---- */

enum local_insert_state {
	LOCAL_INSERT_MAKING, /* its claimer is at work */
	LOCAL_INSERT_READY,  /* the record is there, whoever adds it first appends it */
	LOCAL_INSERT_ADDED,  /* in a group that is not committed yet */
	LOCAL_INSERT_STORED, /* the index has it */
	LOCAL_INSERT_FAILED, /* could not be made, or its group failed */
};

struct local_insert {
	/* Fixed when it is claimed. */
	enum local_table table;
	uint8_t key[DIGEST_SIZE]; /* path infos use the first 20 bytes */

	/* Under inserts_lock. */
	bool mapped; /* others find it by its key */
	unsigned refs;
	enum local_insert_state state;

	/* Belong to the claimer while MAKING, then to whoever appends it (under write_lock), then
	 * to the group's commit. */
	struct local_record record; /* until it is appended; none where it lies in a raw file */
	struct local_place place;
	struct digest raw_of; /* for place.pack 0, which is set when it is made */
	bool heals;           /* what the index has is damaged: it is replaced */
	struct buf value;     /* of tables whose value is not a place: made before it is added */
	uint64_t seq;
	uint64_t group;
	bool superseded; /* a path info that a newer record of another process was there before */
	struct local_insert *next;
};

enum { LOCAL_INSERT_KEY = DIGEST_SIZE + 1 };

struct local_inserts {
	pthread_mutex_t lock;
	pthread_cond_t made; /* some insert is not MAKING any more */
	struct hashmap map;  /* {table, key} → insert; holds no reference */
};

void local_inserts_init(struct local_inserts *inserts);
void local_inserts_release(struct local_inserts *inserts);
/* The insert of that key; *mine: it is new, and the caller must settle it. A reference. */
struct local_insert *local_insert_claim(struct local_inserts *inserts, enum local_table table,
					const uint8_t *key, size_t key_size, bool *mine);
/* One that no other caller can find. */
struct local_insert *local_insert_new(enum local_table table, const uint8_t *key, size_t key_size);
/* The claimer's end: READY, STORED or FAILED. */
void local_insert_settle(struct local_inserts *inserts, struct local_insert *insert,
			 enum local_insert_state state);
/* Waits while it is MAKING. *stored: it is STORED. */
enum rc local_insert_await(struct local_inserts *inserts, const struct op *op,
			   struct local_insert *insert, bool *stored, struct err *err) MUST_USE;
/* For the holder of write_lock. If it is READY it becomes ADDED, *append is true, and the caller
 * appends it to the open group. */
enum local_insert_state local_insert_take(struct local_inserts *inserts,
					  struct local_insert *insert, bool *append);
void local_insert_ref(struct local_inserts *inserts, struct local_insert *insert);
void local_insert_unref(struct local_inserts *inserts, struct local_insert *insert);
/* Ends a list of ADDED inserts, giving up the group's references. */
void local_inserts_finish(struct local_inserts *inserts, struct local_insert *list,
			  enum local_insert_state state);
/* The value of an ADDED insert, or false: what is put and not yet committed. */
bool local_inserts_peek(struct local_inserts *inserts, enum local_table table, const uint8_t *key,
			struct buf *value);

/* ---- Appending ---- */

struct local_pack_out { /* a pack that this process writes, and holds the lock of */
	unsigned refs;  /* under write_lock */
	int fd;
	struct local_pack_head head;
	bool trusted; /* nobody else changed the file since castor last wrote to it */
};

struct local_appender {
	struct local_pack_out *out; /* NULL: none yet */
	uint64_t end;               /* of the pack, what is buffered included */
	uint64_t written;           /* what write calls have had */
	uint64_t kicked;            /* what the kernel was asked to write back */
	uint64_t sealed;            /* the end of the last group that was sealed */
	uint64_t committed;         /* the end of the last group that was committed */
	bool fresh;                 /* the file's name is not yet known to be durable */
	uint8_t *buffer;
	size_t buffered;
};

struct local_raw_out { /* a raw file that is written and has not its name yet */
	struct local_raw_out *next;
	int fd;
	uint64_t size;
	uint64_t kicked; /* what the kernel was asked to write back */
	struct digest blob;
	char temporary[64];
};

struct local_group_pack {
	struct local_pack_out *out; /* NULL: the group has nothing in this class */
	uint64_t end;
	uint64_t stamp; /* once it is synced */
	bool fresh;
};

struct local_group {
	uint64_t number;
	struct local_insert *inserts;
	size_t count;
	uint64_t bytes;
	int64_t opened_ns; /* when the first insert was added; 0: empty */
	struct local_raw_out *raw_files;
	size_t raw_count;
	struct local_group_pack packs[LOCAL_PACK_CLASSES_]; /* filled when it is sealed */
	uint64_t seq; /* of the records that are appended now */
};

enum { LOCAL_SEQ_STOCK = 64, LOCAL_ID_STOCK = 8, LOCAL_FAILED_MAX = 64 };

/* Numbers that the index has given to this process, and that nobody else gets. */
struct local_numbers {
	uint64_t next_seq, seq_end;
	uint32_t next_id, id_end;
};

struct local_writer {
	pthread_mutex_t lock;      /* "write_lock" */
	pthread_cond_t work;       /* for the sync thread */
	pthread_cond_t group_done; /* a group is done, numbers are there, or the thread ended */
	pthread_t thread;
	bool started;
	bool stopping;
	bool ended;
	atomic_bool give_up; /* the thread's changes of the index wait no longer */

	struct local_appender appenders[LOCAL_PACK_CLASSES_];
	struct local_group *open;
	uint64_t last;   /* the number of the newest group */
	bool syncing;    /* a sealed group is on its way */
	uint64_t done;   /* the last group that was committed */
	uint64_t wanted; /* somebody waits for this group */
	struct local_numbers numbers;
	bool fans_synced[256]; /* of raw files; the sync thread's */
	bool reserving;        /* a thread is getting new ones */

	/* The groups that failed last, by number; those up to `forgotten` may have. */
	uint64_t failed[LOCAL_FAILED_MAX];
	size_t failed_count;
	uint64_t forgotten;
	enum rc failed_rc;
	struct err failed_err;
};

struct local_store {
	unsigned refs; /* under registry_lock */
	struct local_store *next;
	struct local_layout layout;
	struct local_index *index;
	struct local_codec *codec;
	struct local_packs *packs;
	struct local_inserts inserts;
	struct local_writer writer;

	pthread_mutex_t touch_lock;
	struct hashmap
		touched;    /* {table, key} → anything: asked for today, the index says earlier */
	int64_t touched_ns; /* when the first of them came; 0: none */
};
enum { LOCAL_TOUCHED_MAX = 1 << 16 };

/* All under write_lock. The record is appended and released, on success and on failure. */
enum rc local_append(struct local_store *store, const struct op *op, enum local_pack_class class,
		     struct local_record *record, struct local_place *place,
		     struct err *err) MUST_USE;
/* Appends commit records, hands everything to the kernel, and fills group->packs. */
enum rc local_append_seal(struct local_store *store, struct local_group *group,
			  struct err *err) MUST_USE;
/* Goes back to what was sealed; or, if `committed`, to what was committed, and gives the packs up.
 */
void local_append_reset(struct local_store *store, bool committed);
void local_append_close(struct local_store *store);
void local_pack_out_unref(struct local_pack_out *out);
/* Makes sure that numbers are there, for a new pack of each class too. The first call of a process
 * writes to the index, and gives write_lock up meanwhile. */
enum rc local_reserve(struct local_store *store, const struct op *op, struct err *err) MUST_USE;
/* Inside a change of the index: takes fresh numbers out of its counters. */
void local_numbers_take(struct local_counters *counters, struct local_numbers *out);
bool local_numbers_low(const struct local_numbers *numbers);

/* RC_DENIED for a store that is open read-only. */
enum rc local_check_writable(const struct local_store *store, struct err *err) MUST_USE;

/* ---- Groups ---- */

/* What a batch hangs on: the groups that its parts are in. Zeroed is empty. */
struct local_hold {
	uint64_t from, to; /* 0: nothing */
};

void local_writer_init(struct local_writer *writer);
/* Commits what is there, ends the thread, closes the packs. What nobody waited for is given up where
 * another process has been writing to the index for long. */
void local_writer_stop(struct local_store *store);
/* Wakes the sync thread, starting it where there is none. */
void local_writer_wake(struct local_store *store);
/* Adds a insert (READY, or somebody else's) to the open group. */
enum rc local_add(struct local_store *store, const struct op *op, struct local_hold *hold,
		  enum local_pack_class class, struct local_insert *insert,
		  struct err *err) MUST_USE;
/* The same for a blob's list of chunks: appends its segments, and makes the insert's value. */
struct local_list_segment {
	uint64_t start;
	struct local_record record;
};
enum rc local_add_list(struct local_store *store, const struct op *op, struct local_hold *hold,
		       struct local_insert *insert, const struct local_blob_value *value,
		       struct local_list_segment *segments, size_t count, struct err *err) MUST_USE;
/* Hands a written raw file to the open group, which syncs and names it; takes it over, also on
 * failure. What is added with the same hold after it is committed with it or after it. */
enum rc local_add_raw_file(struct local_store *store, const struct op *op, struct local_hold *hold,
			   struct local_raw_out *raw, struct err *err) MUST_USE;
/* Waits until all of the hold is durable and visible, and empties it. */
enum rc local_wait(struct local_store *store, const struct op *op, struct local_hold *hold,
		   struct err *err) MUST_USE;

/* ---- Waiting alone or together (shared_commit.c) ---- */

/* As local_wait, or the op's shared commit does that. */
enum rc local_finish(struct local_store *store, const struct op *op, struct local_hold *hold,
		     struct err *err) MUST_USE;
/* Appends the record of a path info, and finishes. */
enum rc local_put_path_info(struct local_store *store, const struct op *op,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct view message,
			    struct err *err) MUST_USE;

/* ---- Raw files (raw_file.c) ---- */

enum rc local_raw_begin(struct local_store *store, struct local_raw_out **out,
			struct err *err) MUST_USE;
enum rc local_raw_write(struct local_raw_out *raw, struct view bytes, struct err *err) MUST_USE;
/* Gives up one that was not handed to a group. NULL is fine. */
void local_raw_drop(struct local_store *store, struct local_raw_out *raw);
/* For the sync thread: durable under its own name. */
enum rc local_raw_name_it(struct local_store *store, const struct local_raw_out *raw,
			  struct err *err) MUST_USE;
/* Removes what crashed writers left. */
void local_raw_clear(struct local_store *store);

/* ---- Looking up ---- */

/* Opens a short read of its own. RC_NOT_FOUND sets no sentence. Does not count as being asked for:
 * local_touch does, with the day that was found. */
enum rc local_find_place(struct local_store *store, enum local_table table,
			 const struct digest *digest, struct local_place_value *out,
			 struct err *err) MUST_USE;
/* Calls `use` with a copy of what the index has under that key. Where it says RC_NOT_FOUND, the pack
 * was rewritten since: once more, with what the index has now, and what is missing then is
 * RC_CORRUPT. RC_NOT_FOUND without a sentence: the index has no such key. */
typedef enum rc local_use_value(void *context, struct view value, struct err *err);
enum rc local_with_value(struct local_store *store, enum local_table table, struct view key,
			 local_use_value *use, void *context, struct err *err) MUST_USE;
void local_touch(struct local_store *store, enum local_table table, struct view key, uint16_t day);
/* For the sync thread: when the first touch came (0: none); takes them all; writes them. */
int64_t local_touched_since(struct local_store *store);
void local_touched_take(struct local_store *store, struct hashmap *out);
enum rc local_touched_write(struct local_write *write, const struct hashmap *touched,
			    struct err *err) MUST_USE;

/* ---- Encoding (encode.c) ---- */

/* Hashes a chunk, finds out whether it is stored or on its way, compresses it if not. *stored: the
 * bytes of memory that its record takes; *known: nothing had to be made. */
enum rc local_encode_chunk(struct local_store *store, struct view chunk, struct local_insert **out,
			   size_t *stored, bool *known, struct err *err) MUST_USE;

#endif
