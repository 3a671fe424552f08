/*
 * The inodes that one connection's kernel knows: by nodeid, and by what they are. Thread-safe.
 *
 * nodeids count up from 2 and are never reused; the root is 1 and is not kept here. Every place of
 * the tree is an inode of its own, whatever stands at others: its identity is a hash of (the parent's
 * identity, name, kind, executable bit, size, digest or target), so that inode numbers are the same
 * in every mount. Programs take two names of one inode for one file: overlayfs writes to both.
 *
 * A table that shares files makes equal ones (digest, executable bit, and the size that their
 * directories claim; not empty) one inode, so that the kernel keeps one copy of their pages. They
 * must then be shown as hard links.
 *
 * 32-bit inode numbers, for programs that have no room for more, are 28 bits of the hash and 4 that
 * tell apart those inodes, known at the same time, that have the same 28: as a rule they are the same
 * in every mount, too, but of two that collide the one that is looked up first gets the first number.
 * (An entry that is listed without its inode has the first one.) The seventeenth finds no room.
 *
 * Memory: 88 bytes an inode in a dense array of slabs, and two index tables of 8 bytes a slot that
 * are 30 % to 80 % full: 108 to 142 bytes an inode in all. The last inode moves into the place of
 * one that is forgotten, so slabs empty from the end and go back to the system, and the tables
 * shrink. Nobody holds a pointer to an inode: callers get copies.
 */
#ifndef CASTOR_FS_INODE_TABLE_H
#define CASTOR_FS_INODE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "castore/node.h"

struct inode_table;

enum { INODE_ROOT_NODEID = 1, INODE_ROOT_INO = 1 };

struct inode {
	uint64_t nodeid;
	uint64_t lookups; /* how often the kernel was told, less what it forgot */
	uint64_t ino;     /* the identity's first half; st_ino but for 32-bit numbers */
	uint64_t tag;     /* the identity's second half */
	uint64_t size;    /* a file's bytes, a directory's size field, a symlink's target length */
	union {
		struct digest digest; /* of the file; of the directory; of a symlink's parent */
		char *target;         /* of a symlink at the root; owned by the table */
	};
	union {
		uint64_t parent_ino; /* directories: st_ino of the parent */
		uint64_t place; /* files: nodeid of the directory in which it was last listed, 0 */
	};
	uint32_t index; /* files, symlinks: which entry of that directory */
	uint8_t kind;   /* enum node_kind */
	bool executable : 1;
	bool at_root : 1; /* symlinks: `target` is set instead of `digest` */
	uint8_t nth;      /* of those that have the same 28 bits: for 32-bit numbers */
	uint8_t stored;   /* files: the epoch in which the kernel got the content; 0: not yet */
};

struct inode_table_options {
	bool share_files; /* equal files are one inode */
	bool inode32;     /* inode numbers of 32 bits */
};
/* At most `max` inodes. options may be NULL. */
struct inode_table *inode_table_new(size_t max, const struct inode_table_options *options);
void inode_table_free(struct inode_table *table);
/* Forgets everything; nodeids go on counting. */
void inode_table_clear(struct inode_table *table);

/* The root as an inode, whose children have identities of their own. */
extern const struct inode inode_root;

/* What the node at entry `index` of the directory `parent` is, not yet interned (nodeid and lookups
 * are 0). directory: the digest of the directory that holds it, NULL at the root; then a symlink's
 * target is borrowed from the node. */
void inode_describe(const struct inode_table *table, const struct inode *parent,
		    const struct digest *directory, const struct node *node, uint32_t index,
		    struct inode *out);
/* st_ino of a described or interned inode. */
uint64_t inode_number(const struct inode_table *table, const struct inode *inode);
/* How many names it may have, as far as st_nlink is to tell. */
uint32_t inode_links(const struct inode_table *table, const struct inode *inode);

/* Finds or makes each described inode, counts one lookup for each, and fills in nodeid and nth. Returns how
 * many, from the front: fewer than count where the table is full. */
size_t inode_table_intern(struct inode_table *table, struct inode *inodes, size_t count);
/* False: never handed out, or forgotten. The root is always known. A root symlink's target is not
 * copied: ask inode_table_target. */
bool inode_table_get(struct inode_table *table, uint64_t nodeid, struct inode *out);
/* Appends the target of a symlink at the root. */
bool inode_table_target(struct inode_table *table, uint64_t nodeid, struct buf *out);
/* The nodeid of a described file that the kernel knows, but whose content it has not got yet as far
 * as is known; else 0. claim: from now on it counts as got. */
uint64_t inode_table_claim_file(struct inode_table *table, const struct inode *file, bool claim);
/* A READ asks for its beginning: it counts as got. Kernels drop pages under memory pressure: where
 * enough files are asked for again, all count as not got. */
void inode_table_note_read(struct inode_table *table, uint64_t nodeid);
/* Takes `lookups` off; the inode goes when none is left. More than there are is taken as all of
 * them; an unknown nodeid is ignored (the kernel's count may not be trusted). */
void inode_table_forget(struct inode_table *table, uint64_t nodeid, uint64_t lookups);

size_t inode_table_count(struct inode_table *table);
size_t inode_table_bytes(struct inode_table *table);

#endif
