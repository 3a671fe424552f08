/* What the files of the rebuild share: rebuild.c scans, rebuild_check.c checks what is whole. */
#ifndef CASTOR_LOCAL_REBUILD_INTERNAL_H
#define CASTOR_LOCAL_REBUILD_INTERNAL_H

#include "base/hashmap.h"
#include "local/local_internal.h"

/* A record that was scanned. */
struct rebuild_entry {
	uint8_t kind;
	struct digest digest;
	uint64_t seq;
	struct local_place place;
	struct buf payload; /* chunk lists and NAR facts */
};

/* A path info that was met. */
struct rebuild_path {
	uint8_t hash[20];
	uint64_t seq;
	struct local_place place;
};

/* How many entries are taken into the index at once; a test makes it small. */
extern size_t local_rebuild_flush_entries;

struct rebuild {
	const struct op *op;
	struct local_layout layout;
	struct local_index *index; /* the new one */
	struct local_codec *codec;
	struct local_packs *packs;
	struct local_rebuild_stats *stats;
	uint16_t day;
	uint64_t max_seq;
	uint32_t next_pack;

	struct rebuild_entry *entries; /* of the pack at hand, not yet in the index */
	size_t entry_count, entry_room;
	size_t flush_entries; /* so many committed ones go into the index at once */
	size_t committed;     /* how many of them lie before a commit record */

	struct hashmap lists; /* blob digest → struct rebuild_list */
	struct rebuild_path *paths;
	size_t path_count, path_room;
	struct hashmap directories; /* digest → whole or broken, as far as checked */
};

void rebuild_init(struct rebuild *rebuild);
void rebuild_release(struct rebuild *rebuild);
void rebuild_note_list(struct rebuild *rebuild, const struct rebuild_entry *entry);
void rebuild_note_path(struct rebuild *rebuild, const struct rebuild_entry *entry);
/* Puts the blobs that are whole, and the stretches of raw files, into the index. */
enum rc rebuild_lists(struct rebuild *rebuild, struct err *err) MUST_USE;
/* Puts the path infos whose closure is whole into the index. */
enum rc rebuild_paths(struct rebuild *rebuild, struct err *err) MUST_USE;

#endif
