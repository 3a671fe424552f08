/*
 * The inodes of one connection (inode_table.h). One lock, held for a few lookups in memory at a
 * time and never while anything else is called.
 *
 * Both indexes are open-addressing tables of {hash bits, position in the array}; removal shifts
 * the following entries back, so there are no tombstones.
 */
#include "fs/inode_table.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

_Static_assert(sizeof(struct inode) == 88, "inode_table.h states the memory of an inode");

enum {
	SLAB_BYTES = 64 << 10,
	SLAB_INODES = SLAB_BYTES / (int)sizeof(struct inode),
	INDEX_MIN_SLOTS = 512,
	READ_AGAIN_MAX = 64,
	NTH_BITS = 4,
};

/* position is one more than the place in the array; 0 is a free slot. */
struct slot {
	uint32_t hash;
	uint32_t position;
};

struct index {
	struct slot *slots;
	size_t count; /* of slots: a power of two */
};

struct inode_table {
	size_t max;
	struct inode_table_options options;
	pthread_mutex_t lock; /* guards all that follows */
	uint64_t next_nodeid;
	size_t count;
	struct inode **slabs;
	size_t slab_count;
	struct index by_nodeid, by_identity;
	uint8_t epoch;       /* see struct inode's stored */
	unsigned read_again; /* files, in this epoch */
};

const struct inode inode_root = {
	.nodeid = INODE_ROOT_NODEID,
	.ino = INODE_ROOT_INO,
	.parent_ino = INODE_ROOT_INO,
	.kind = NODE_DIRECTORY,
};

static struct inode *at(const struct inode_table *table, size_t i)
{
	return &table->slabs[i / SLAB_INODES][i % SLAB_INODES];
}

static uint32_t hash_nodeid(uint64_t nodeid)
{
	/* nodeids are ours, so nobody can make them collide: Fibonacci hashing is enough. */
	return (uint32_t)((nodeid * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

/* The 28 bits of a 32-bit inode number that come from its hash. Never 0: 0 and 1 are no numbers. */
static uint32_t home_of(const struct inode *inode)
{
	uint32_t bits = (uint32_t)inode->ino & ((UINT32_C(1) << (32 - NTH_BITS)) - 1);

	return bits ? bits : 1;
}

/* Identities can be chosen by whoever fills the store: hash them with the process's key. */
static uint32_t hash_identity(const struct inode_table *table, const struct inode *inode)
{
	uint64_t key[2] = { inode->ino, inode->tag };

	/* Those that have the same 28 bits have one hash, so that they are found. */
	if (table->options.inode32)
		key[0] = key[1] = home_of(inode);
	return (uint32_t)hashmap_hash(key, sizeof(key));
}

static bool same_identity(const struct inode *a, const struct inode *b)
{
	return a->ino == b->ino && a->tag == b->tag && a->kind == b->kind;
}

/* ---- The indexes ---- */

static void index_init(struct index *index, size_t slots)
{
	index->count = slots;
	index->slots = mem_pages_alloc(slots * sizeof(struct slot));
	if (!index->slots)
		abort(); /* as mem_alloc: castor bounds this itself */
	memset(index->slots, 0, slots * sizeof(struct slot));
}

static void index_release(struct index *index)
{
	mem_pages_free(index->slots, index->count * sizeof(struct slot));
	index->slots = NULL;
}

static void index_insert(struct index *index, uint32_t hash, size_t place)
{
	size_t i = hash & (index->count - 1);

	while (index->slots[i].position)
		i = (i + 1) & (index->count - 1);
	index->slots[i] = (struct slot){ .hash = hash, .position = (uint32_t)place + 1 };
}

/* The slot of that hash whose position is `place`; it must be there. */
static size_t index_slot_of(const struct index *index, uint32_t hash, size_t place)
{
	size_t i = hash & (index->count - 1);

	while (index->slots[i].position != place + 1) {
		assert(index->slots[i].position);
		i = (i + 1) & (index->count - 1);
	}
	return i;
}

static void index_remove(struct index *index, uint32_t hash, size_t place)
{
	size_t mask = index->count - 1;
	size_t hole = index_slot_of(index, hash, place);

	for (size_t i = (hole + 1) & mask; index->slots[i].position; i = (i + 1) & mask) {
		size_t home = index->slots[i].hash & mask;

		/* May the entry at i stand in the hole? Only if that is not before its home. */
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		index->slots[hole] = index->slots[i];
		hole = i;
	}
	index->slots[hole] = (struct slot){ 0 };
}

static void index_resize(struct index *index, size_t slots)
{
	struct index bigger;

	index_init(&bigger, slots);
	for (size_t i = 0; i < index->count; i++)
		if (index->slots[i].position)
			index_insert(&bigger, index->slots[i].hash, index->slots[i].position - 1);
	index_release(index);
	*index = bigger;
}

/* Between 30 % and 80 % full, so that memory follows the number of inodes. */
static void index_fit(struct index *index, size_t entries)
{
	if (entries * 10 > index->count * 8)
		index_resize(index, index->count * 2);
	else if (index->count > INDEX_MIN_SLOTS && entries * 10 < index->count * 3)
		index_resize(index, index->count / 2);
}

/* ---- The array ---- */

static struct inode *push_inode(struct inode_table *table)
{
	if (table->count == table->slab_count * SLAB_INODES) {
		struct inode *slab = mem_pages_alloc(SLAB_BYTES);

		if (!slab)
			return NULL;
		table->slabs = mem_realloc_array(table->slabs, table->slab_count + 1,
						 sizeof(*table->slabs));
		table->slabs[table->slab_count++] = slab;
	}
	return at(table, table->count++);
}

/* One empty slab is kept, so that a count at a slab's edge does not map and unmap. */
static void trim_slabs(struct inode_table *table)
{
	size_t needed = (table->count + SLAB_INODES - 1) / SLAB_INODES;
	size_t keep = table->count ? needed + 1 : 0;

	while (table->slab_count > keep)
		mem_pages_free(table->slabs[--table->slab_count], SLAB_BYTES);
}

static struct inode *find_nodeid(const struct inode_table *table, uint64_t nodeid)
{
	const struct index *index = &table->by_nodeid;
	uint32_t hash = hash_nodeid(nodeid);

	for (size_t i = hash & (index->count - 1); index->slots[i].position;
	     i = (i + 1) & (index->count - 1)) {
		struct inode *inode;

		if (index->slots[i].hash != hash)
			continue;
		inode = at(table, index->slots[i].position - 1);
		if (inode->nodeid == nodeid)
			return inode;
	}
	return NULL;
}

static struct inode *find_identity(const struct inode_table *table, const struct inode *wanted,
				   uint32_t hash)
{
	const struct index *index = &table->by_identity;

	for (size_t i = hash & (index->count - 1); index->slots[i].position;
	     i = (i + 1) & (index->count - 1)) {
		struct inode *inode;

		if (index->slots[i].hash != hash)
			continue;
		inode = at(table, index->slots[i].position - 1);
		if (same_identity(inode, wanted))
			return inode;
	}
	return NULL;
}

/* Gives it the first number that no other has. False: there is none. */
static bool choose_nth(const struct inode_table *table, struct inode *inode, uint32_t hash)
{
	const struct index *index = &table->by_identity;
	uint32_t taken = 0;

	for (size_t i = hash & (index->count - 1); index->slots[i].position;
	     i = (i + 1) & (index->count - 1)) {
		const struct inode *other = at(table, index->slots[i].position - 1);

		if (index->slots[i].hash == hash && home_of(other) == home_of(inode))
			taken |= UINT32_C(1) << other->nth;
	}
	while (taken >> inode->nth & 1)
		inode->nth++;
	return inode->nth < 1 << NTH_BITS;
}

static struct inode *add_inode(struct inode_table *table, struct inode *described, uint32_t hash)
{
	struct inode *inode;

	if (table->count >= table->max ||
	    (table->options.inode32 && !choose_nth(table, described, hash)))
		return NULL;
	inode = push_inode(table);
	if (!inode)
		return NULL;
	*inode = *described;
	inode->nodeid = table->next_nodeid++;
	inode->lookups = 0;
	if (inode->at_root && inode->kind == NODE_SYMLINK)
		inode->target = mem_strndup(view_of(described->target, described->size));
	index_fit(&table->by_nodeid, table->count);
	index_fit(&table->by_identity, table->count);
	index_insert(&table->by_nodeid, hash_nodeid(inode->nodeid), table->count - 1);
	index_insert(&table->by_identity, hash, table->count - 1);
	return inode;
}

static size_t place_of(const struct inode_table *table, const struct inode *inode)
{
	const struct index *index = &table->by_nodeid;
	uint32_t hash = hash_nodeid(inode->nodeid);
	size_t i = hash & (index->count - 1);

	while (index->slots[i].hash != hash || at(table, index->slots[i].position - 1) != inode)
		i = (i + 1) & (index->count - 1);
	return index->slots[i].position - 1;
}

static void drop_inode(struct inode_table *table, struct inode *inode)
{
	size_t place = place_of(table, inode);
	size_t last = table->count - 1;
	struct inode *moved = at(table, last);

	if (inode->at_root && inode->kind == NODE_SYMLINK)
		free(inode->target);
	index_remove(&table->by_nodeid, hash_nodeid(inode->nodeid), place);
	index_remove(&table->by_identity, hash_identity(table, inode), place);
	if (place != last) {
		uint32_t nodeid_hash = hash_nodeid(moved->nodeid);
		uint32_t identity_hash = hash_identity(table, moved);
		size_t i = index_slot_of(&table->by_nodeid, nodeid_hash, last);
		size_t j = index_slot_of(&table->by_identity, identity_hash, last);

		table->by_nodeid.slots[i].position = (uint32_t)place + 1;
		table->by_identity.slots[j].position = (uint32_t)place + 1;
		*inode = *moved;
	}
	table->count--;
	trim_slabs(table);
	index_fit(&table->by_nodeid, table->count);
	index_fit(&table->by_identity, table->count);
}

/* ---- What others call ---- */

struct inode_table *inode_table_new(size_t max, const struct inode_table_options *options)
{
	struct inode_table *table = mem_zalloc(sizeof(*table));

	if (options)
		table->options = *options;
	table->max = max < UINT32_MAX - 1 ? max : UINT32_MAX - 1;
	table->next_nodeid = INODE_ROOT_NODEID + 1;
	table->epoch = 1;
	pthread_mutex_init(&table->lock, NULL);
	index_init(&table->by_nodeid, INDEX_MIN_SLOTS);
	index_init(&table->by_identity, INDEX_MIN_SLOTS);
	return table;
}

static void drop_all(struct inode_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct inode *inode = at(table, i);

		if (inode->at_root && inode->kind == NODE_SYMLINK)
			free(inode->target);
	}
	table->count = 0;
	trim_slabs(table);
	free(table->slabs);
	table->slabs = NULL;
	index_release(&table->by_nodeid);
	index_release(&table->by_identity);
}

void inode_table_free(struct inode_table *table)
{
	if (!table)
		return;
	drop_all(table);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

void inode_table_clear(struct inode_table *table)
{
	pthread_mutex_lock(&table->lock);
	drop_all(table);
	index_init(&table->by_nodeid, INDEX_MIN_SLOTS);
	index_init(&table->by_identity, INDEX_MIN_SLOTS);
	pthread_mutex_unlock(&table->lock);
}

static uint64_t load_u64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

/* 0 is no inode number to readdir(3), and 1 is the root's. */
static uint64_t as_ino(uint64_t hash)
{
	return hash > INODE_ROOT_INO ? hash : hash + 2;
}

static bool shares(const struct inode_table *table, const struct inode *inode)
{
	/* An empty file has no pages to share. */
	return table->options.share_files && inode->kind == NODE_FILE && inode->size > 0;
}

uint64_t inode_number(const struct inode_table *table, const struct inode *inode)
{
	if (!table->options.inode32 || inode->nodeid == INODE_ROOT_NODEID)
		return inode->ino;
	return (uint64_t)home_of(inode) << NTH_BITS | inode->nth;
}

uint32_t inode_links(const struct inode_table *table, const struct inode *inode)
{
	/* How many there are would take all of the store to tell. Two is what makes programs look for
	 * others: overlayfs copies up the one that is written to, tar and cp link those they meet. */
	return shares(table, inode) ? 2 : 1;
}

static void put_u64(uint8_t *out, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

/* The hash of a place, or of a file wherever it stands (then parent is NULL). */
static void hash_identity_of(const struct inode *parent, const struct node *node, struct inode *out)
{
	enum { WORDS = 3 * 8, HEAD = 1 + WORDS + 2 };
	/* As long as a head, a name and a digest can be. */
	uint8_t key[HEAD + NODE_NAME_MAX + DIGEST_SIZE];
	struct view name = parent ? node->name : view_of(NULL, 0);
	size_t len = HEAD;
	struct hasher hasher;
	struct digest digest;

	key[0] = (uint8_t)((unsigned)node->kind | (out->executable ? 0x80 : 0));
	put_u64(key + 1, parent ? parent->ino : 0);
	put_u64(key + 9, parent ? parent->tag : 0);
	put_u64(key + 17, out->size);
	key[25] = (uint8_t)name.len;
	key[26] = (uint8_t)(name.len >> 8);
	if (name.len)
		memcpy(key + len, name.ptr, name.len);
	len += name.len;
	hasher_init(&hasher);
	if (node->kind == NODE_SYMLINK) {
		hasher_update(&hasher, key, len);
		hasher_update(&hasher, node->target.ptr, node->target.len);
	} else {
		memcpy(key + len, node->digest.bytes, DIGEST_SIZE);
		hasher_update(&hasher, key, len + DIGEST_SIZE);
	}
	digest = hasher_final(&hasher);
	out->ino = as_ino(load_u64(digest.bytes));
	out->tag = load_u64(digest.bytes + 8);
}

void inode_describe(const struct inode_table *table, const struct inode *parent,
		    const struct digest *directory, const struct node *node, uint32_t index,
		    struct inode *out)
{
	memset(out, 0, sizeof(*out));
	out->kind = (uint8_t)node->kind;
	out->index = index;
	switch (node->kind) {
	case NODE_FILE:
		out->executable = node->executable;
		out->digest = node->digest;
		out->size = node->size;
		out->place = directory ? parent->nodeid : 0;
		break;
	case NODE_DIRECTORY:
		out->digest = node->digest;
		out->size = node->size;
		out->parent_ino = inode_number(table, parent);
		break;
	case NODE_SYMLINK:
		out->size = node->target.len;
		if (directory) {
			out->digest = *directory;
		} else {
			out->at_root = true;
			out->target = (char *)(uintptr_t)node->target.ptr;
		}
		break;
	}
	hash_identity_of(shares(table, out) ? NULL : parent, node, out);
}

size_t inode_table_intern(struct inode_table *table, struct inode *inodes, size_t count)
{
	size_t done;

	pthread_mutex_lock(&table->lock);
	for (done = 0; done < count; done++) {
		struct inode *wanted = &inodes[done];
		uint32_t hash = hash_identity(table, wanted);
		struct inode *inode = find_identity(table, wanted, hash);

		if (!inode)
			inode = add_inode(table, wanted, hash);
		if (!inode)
			break;
		inode->lookups++;
		if (inode->kind == NODE_FILE) {
			inode->place = wanted->place;
			inode->index = wanted->index;
		}
		wanted->nodeid = inode->nodeid;
		wanted->nth = inode->nth;
	}
	pthread_mutex_unlock(&table->lock);
	return done;
}

bool inode_table_get(struct inode_table *table, uint64_t nodeid, struct inode *out)
{
	const struct inode *inode;

	if (nodeid == INODE_ROOT_NODEID) {
		*out = inode_root;
		return true;
	}
	pthread_mutex_lock(&table->lock);
	inode = find_nodeid(table, nodeid);
	if (inode)
		*out = *inode;
	pthread_mutex_unlock(&table->lock);
	if (!inode)
		memset(out, 0, sizeof(*out));
	else if (out->at_root)
		out->target = NULL;
	return inode != NULL;
}

bool inode_table_target(struct inode_table *table, uint64_t nodeid, struct buf *out)
{
	const struct inode *inode;
	bool found;

	pthread_mutex_lock(&table->lock);
	inode = find_nodeid(table, nodeid);
	found = inode && inode->kind == NODE_SYMLINK && inode->at_root;
	if (found)
		buf_append(out, inode->target, inode->size);
	pthread_mutex_unlock(&table->lock);
	return found;
}

uint64_t inode_table_claim_file(struct inode_table *table, const struct inode *file, bool claim)
{
	struct inode *inode;
	uint64_t nodeid = 0;

	assert(file->kind == NODE_FILE);
	pthread_mutex_lock(&table->lock);
	inode = find_identity(table, file, hash_identity(table, file));
	if (inode && inode->stored != table->epoch) {
		if (claim)
			inode->stored = table->epoch;
		nodeid = inode->nodeid;
	}
	pthread_mutex_unlock(&table->lock);
	return nodeid;
}

void inode_table_note_read(struct inode_table *table, uint64_t nodeid)
{
	struct inode *inode;

	pthread_mutex_lock(&table->lock);
	inode = find_nodeid(table, nodeid);
	if (inode && inode->stored == table->epoch && ++table->read_again == READ_AGAIN_MAX) {
		table->read_again = 0;
		table->epoch = table->epoch == UINT8_MAX ? 1 : table->epoch + 1;
	}
	if (inode)
		inode->stored = table->epoch;
	pthread_mutex_unlock(&table->lock);
}

void inode_table_forget(struct inode_table *table, uint64_t nodeid, uint64_t lookups)
{
	struct inode *inode;

	pthread_mutex_lock(&table->lock);
	inode = find_nodeid(table, nodeid);
	if (inode) {
		if (inode->lookups > lookups)
			inode->lookups -= lookups;
		else
			drop_inode(table, inode);
	}
	pthread_mutex_unlock(&table->lock);
}

size_t inode_table_count(struct inode_table *table)
{
	size_t count;

	pthread_mutex_lock(&table->lock);
	count = table->count;
	pthread_mutex_unlock(&table->lock);
	return count;
}

size_t inode_table_bytes(struct inode_table *table)
{
	size_t bytes;

	pthread_mutex_lock(&table->lock);
	bytes = table->slab_count * (SLAB_BYTES + sizeof(*table->slabs)) +
		(table->by_nodeid.count + table->by_identity.count) * sizeof(struct slot);
	pthread_mutex_unlock(&table->lock);
	return bytes;
}
