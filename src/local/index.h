/*
 * The index of a store: an LMDB environment in one file. Knows transactions and tables, not what
 * they mean (index_format.h). Thread-safe; a read or a write belongs to one thread. One process
 * opens an index once (local_store.c sees to it), and never uses it across a fork.
 */
#ifndef CASTOR_LOCAL_INDEX_H
#define CASTOR_LOCAL_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"

enum local_table {
	LOCAL_TABLE_CHUNKS,
	LOCAL_TABLE_BLOBS, /* those that have a list of chunks */
	LOCAL_TABLE_DIRECTORIES,
	LOCAL_TABLE_PATHS,
	LOCAL_TABLE_FACTS,
	LOCAL_TABLE_PACKS,
	LOCAL_TABLE_COUNTERS,
	LOCAL_TABLE_PENDING, /* uploads that wait for their narinfo; no record stands for these */
	LOCAL_TABLES_,
};

struct local_index;

enum local_index_mode {
	LOCAL_INDEX_OPEN,   /* an existing one */
	LOCAL_INDEX_CREATE, /* a new one; path must not exist */
	LOCAL_INDEX_BUILD,  /* a new one that nobody sees yet: syncs only in local_index_sync */
};

/* RC_CORRUPT where the file is damaged as far as can be told, naming the rebuild. */
enum rc local_index_open(const char *path, enum local_index_mode mode, mode_t file_mode,
			 struct local_index **out, struct err *err) MUST_USE;
/* For who may only read the file: what is committed now, of a private copy, for others write to the file
 * without knowing of such readers. Changes are RC_DENIED. */
enum rc local_index_open_copy(const char *path, struct local_index **out, struct err *err) MUST_USE;
void local_index_close(struct local_index *index); /* NULL is fine */
enum rc local_index_sync(struct local_index *index, struct err *err) MUST_USE;

/* A read sees one committed state. It is short: nothing is read from a pack while one is open. */
struct local_read;
enum rc local_index_read(struct local_index *index, struct local_read **out,
			 struct err *err) MUST_USE;
void local_read_end(struct local_read *read); /* NULL is fine */
/* RC_NOT_FOUND sets no sentence. The value is borrowed until the end of the read. */
enum rc local_read_get(struct local_read *read, enum local_table table, struct view key,
		       struct view *value, struct err *err) MUST_USE;
/* Calls each for every entry whose key is above `after` (len 0: for all), in order, until it
 * returns false. */
typedef bool local_read_each(void *context, struct view key, struct view value);
enum rc local_read_scan(struct local_read *read, enum local_table table, struct view after,
			local_read_each *each, void *context, struct err *err) MUST_USE;

/* Runs change inside the write transaction, and commits durably if it returns RC_OK. It may run
 * more than once (after the map had to grow), each time on a fresh transaction. Waits for writers
 * of other threads and processes for as long as the op lasts. */
struct local_write;
typedef enum rc local_change(struct local_write *write, void *context, struct err *err);
enum rc local_index_write(struct local_index *index, const struct op *op, local_change *change,
			  void *context, struct err *err) MUST_USE;
enum rc local_write_get(struct local_write *write, enum local_table table, struct view key,
			struct view *value, struct err *err) MUST_USE;
enum rc local_write_put(struct local_write *write, enum local_table table, struct view key,
			struct view value, struct err *err) MUST_USE;
/* Keeps what is there: *added false. */
enum rc local_write_add(struct local_write *write, enum local_table table, struct view key,
			struct view value, bool *added, struct err *err) MUST_USE;
enum rc local_write_delete(struct local_write *write, enum local_table table, struct view key,
			   struct err *err) MUST_USE;

/* The number of entries of a table, about. */
enum rc local_read_count(struct local_read *read, enum local_table table, uint64_t *out,
			 struct err *err) MUST_USE;

#endif
