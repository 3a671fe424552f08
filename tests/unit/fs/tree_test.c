/*
 * Random trees: what the wire shows is what the directories say, however it is asked for. Listings
 * go on at any offset, and with buffers of any size.
 */
#include "unit/fs/fake.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum { MAX_DIRECTORIES = 200, MAX_ENTRIES = 40 };

/* A tree in memory services, made from the leaves up. */
struct tree {
	struct fake_store store;
	struct directory *directories[MAX_DIRECTORIES];
	size_t count;
};

static struct node random_node(struct tree *tree, struct testing_random *random, size_t number,
			       char *name, char *target)
{
	size_t kind = testing_below(random, 10);
	uint8_t bytes[300];

	snprintf(name, 40, "%zx-%.*s", testing_below(random, 1 << 20) << 8 | number,
		 (int)testing_below(random, 12), "\xff\x01 odd\nname");
	if (kind < 3 && tree->count) {
		struct directory *child = tree->directories[testing_below(random, tree->count)];

		return (struct node){ .kind = NODE_DIRECTORY,
				      .name = view_of_string(name),
				      .digest = *directory_digest(child),
				      .size = directory_size(child) };
	}
	if (kind < 5) {
		snprintf(target, 40, "to/%zu", testing_below(random, 1000));
		return fake_symlink(name, target);
	}
	/* Few contents, so that there are twins. */
	memset(bytes, (int)testing_below(random, 20), sizeof(bytes));
	return fake_file(&tree->store, name, bytes, testing_below(random, 3) * 100,
			 testing_below(random, 2));
}

static void make_tree(struct tree *tree, struct testing_random *random)
{
	fake_store_open(&tree->store);
	tree->count = 0;
	while (tree->count < MAX_DIRECTORIES) {
		struct node nodes[MAX_ENTRIES];
		char names[MAX_ENTRIES][40], targets[MAX_ENTRIES][40];
		size_t count = testing_below(random, MAX_ENTRIES);
		struct err err = ERR_INIT;

		for (size_t i = 0; i < count; i++)
			nodes[i] = random_node(tree, random, i, names[i], targets[i]);
		assert_ok(directory_from_nodes(nodes, count, &tree->directories[tree->count], &err),
			  &err);
		tree->count++;
	}
}

/* A put wants every directory but the last to be referred to: each is put with its closure. */
static void store_tree(struct tree *tree)
{
	struct directory *top;
	struct node *nodes = mem_array(tree->count, sizeof(*nodes));
	struct directory *all[MAX_DIRECTORIES + 1];
	char names[MAX_DIRECTORIES][24];

	for (size_t i = 0; i < tree->count; i++) {
		snprintf(names[i], sizeof(names[i]), "%04zu", i);
		nodes[i] = (struct node){ .kind = NODE_DIRECTORY,
					  .name = view_of_string(names[i]),
					  .digest = *directory_digest(tree->directories[i]),
					  .size = directory_size(tree->directories[i]) };
		all[i] = tree->directories[i];
	}
	fake_directory("top", nodes, tree->count, &top);
	all[tree->count] = top;
	fake_store_put(&tree->store, all, tree->count + 1);
	directory_unref(top);
	free(nodes);
}

static void free_tree(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		directory_unref(tree->directories[i]);
	fake_store_close(&tree->store);
}

static uint32_t type_of(const struct node *node)
{
	return node->kind == NODE_DIRECTORY ? DT_DIR : node->kind == NODE_FILE ? DT_REG : DT_LNK;
}

static void check_attr(const struct node *node, const struct fuse_attr *attr)
{
	switch (node->kind) {
	case NODE_DIRECTORY:
		assert_int_equal(attr->mode, S_IFDIR | 0555);
		break;
	case NODE_FILE:
		assert_int_equal(attr->mode, S_IFREG | (node->executable ? 0555 : 0444));
		assert_int_equal(attr->size, node->size);
		break;
	case NODE_SYMLINK:
		assert_int_equal(attr->mode, S_IFLNK | 0444);
		assert_int_equal(attr->size, node->target.len);
		break;
	}
	assert_int_equal(attr->uid, 0);
	assert_int_equal(attr->mtime, 1);
}

/* The record at `at` of a listing: its name, its offset and, of READDIRPLUS, its entry. */
static size_t take_record(struct view bytes, size_t at, bool plus, struct fuse_entry_out *entry,
			  struct fuse_dirent *dirent, struct view *name)
{
	size_t start = at;

	memset(entry, 0, sizeof(*entry));
	if (plus) {
		assert_true(at + sizeof(*entry) <= bytes.len);
		memcpy(entry, bytes.ptr + at, sizeof(*entry));
		at += sizeof(*entry);
	}
	assert_true(at + sizeof(*dirent) <= bytes.len);
	memcpy(dirent, bytes.ptr + at, sizeof(*dirent));
	at += sizeof(*dirent);
	assert_true(at + dirent->namelen <= bytes.len);
	*name = view_of(bytes.ptr + at, dirent->namelen);
	return start + FUSE_REC_ALIGN(at + dirent->namelen - start);
}

/* Lists a directory from an offset on with buffers of `size`, and compares all that comes. */
static void check_listing(struct fake *fake, uint64_t nodeid, const struct directory *directory,
			  uint64_t offset, uint32_t size, bool plus)
{
	size_t expected = offset < 2 ? 0 : offset - 2;
	bool end = false;

	while (!end) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;
		size_t at = 0;

		assert_int_equal(fake_read(fake, plus ? FUSE_READDIRPLUS : FUSE_READDIR, nodeid,
					   offset, size, &got),
				 0);
		end = got.len == 0;
		while (at < got.len) {
			struct fuse_entry_out entry;
			struct fuse_dirent dirent;
			const struct node *node;
			struct view name;

			at = take_record(buf_view(&got), at, plus, &entry, &dirent, &name);
			if (offset < 2) {
				assert_true(view_equal_string(name, offset ? ".." : "."));
				assert_int_equal(entry.nodeid, 0);
				assert_int_equal(dirent.type, DT_DIR);
				offset = dirent.off;
				continue;
			}
			assert_true(expected < directory_count(directory));
			node = directory_at(directory, expected++);
			assert_view_equal(name, node->name);
			assert_int_equal(dirent.type, type_of(node));
			if (plus) {
				check_attr(node, &entry.attr);
				assert_int_equal(entry.attr.ino, dirent.ino);
				fake_forget(fake, entry.nodeid, 1);
			}
			offset = dirent.off;
		}
	}
	assert_int_equal(expected, directory_count(directory));
}

static void check_content(struct fake *fake, const struct node *node, uint64_t nodeid)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct digest digest;

	if (node->kind == NODE_FILE) {
		assert_int_equal(fake_read(fake, FUSE_READ, nodeid, 0, 4096, &got), 0);
		digest = digest_of(buf_view(&got));
		assert_true(digest_equal(&digest, &node->digest));
	} else if (node->kind == NODE_SYMLINK) {
		AUTO_CALL struct fake_call call;

		assert_int_equal(fake_ask(fake, &call, FUSE_READLINK, nodeid, NULL, 0), 0);
		assert_view_equal(buf_view(&call.out), node->target);
	}
}

static void random_trees(void **state)
{
	struct testing_random random = testing_random_from_env();
	struct tree tree;
	struct node root[2];
	struct fs_stats stats;
	struct fake *fake;

	(void)state;
	make_tree(&tree, &random);
	store_tree(&tree);
	for (int round = 0; round < 30; round++) {
		struct directory *directory = tree.directories[testing_below(&random, tree.count)];
		uint64_t top, other;

		root[0] = (struct node){ .kind = NODE_DIRECTORY,
					 .name = view_of_string("a"),
					 .digest = *directory_digest(directory),
					 .size = directory_size(directory) };
		root[1] = root[0];
		root[1].name = view_of_string("b");
		fake = fake_open_nodes(&tree.store, root, 2, NULL);
		top = fake_find(fake, 1, "a");
		other = fake_find(fake, 1, "b");
		for (size_t offset = 0; offset <= directory_count(directory) + 2; offset++) {
			check_listing(fake, top, directory, offset, 512, offset % 2);
			check_listing(fake, top, directory, offset, 65536, offset % 2 == 0);
		}
		for (size_t i = 0; i < directory_count(directory); i++) {
			const struct node *node = directory_at(directory, i);
			struct fuse_entry_out a, b;

			assert_int_equal(fake_lookup(fake, top, node->name, &a), 0);
			assert_int_equal(fake_lookup(fake, other, node->name, &b), 0);
			check_attr(node, &a.attr);
			check_content(fake, node, a.nodeid);
			/* Two places are two inodes. */
			assert_int_not_equal(a.nodeid, b.nodeid);
			assert_int_not_equal(a.attr.ino, b.attr.ino);
			fake_forget(fake, a.nodeid, 1);
			fake_forget(fake, b.nodeid, 1);
		}
		fake_forget(fake, top, 1);
		fake_forget(fake, other, 1);
		fs_get_stats(fake->fs, &stats);
		assert_int_equal(stats.inodes, 0);
		fake_close(fake);
	}
	free_tree(&tree);
}

/* Too small a buffer for one entry: nothing, rather than half of one. */
static void tiny_buffers(void **state)
{
	struct testing_random random = testing_random_of(1);
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct tree tree;
	struct node root;
	struct fake *fake;
	uint64_t top;

	(void)state;
	make_tree(&tree, &random);
	store_tree(&tree);
	root = (struct node){ .kind = NODE_DIRECTORY,
			      .name = view_of_string("a"),
			      .digest = *directory_digest(tree.directories[150]),
			      .size = directory_size(tree.directories[150]) };
	fake = fake_open_nodes(&tree.store, &root, 1, NULL);
	top = fake_find(fake, 1, "a");
	for (uint32_t size = 0; size < 160; size++) {
		buf_clear(&got);
		assert_int_equal(fake_read(fake, FUSE_READDIRPLUS, top, 0, size, &got), 0);
		assert_int_equal(got.len, 0);
	}
	assert_int_equal(fake_read(fake, FUSE_READDIR, top, UINT64_MAX, 4096, &got), 0);
	assert_int_equal(got.len, 0);
	assert_int_equal(fake_read(fake, FUSE_READDIR, 1, UINT64_MAX, 4096, &got), 0);
	assert_int_equal(got.len, 0);
	fake_close(fake);
	free_tree(&tree);
}

/* What is missing from the store is EIO, and nothing else is disturbed. */
static void missing_objects(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fake_store store;
	struct fuse_entry_out entry;
	struct node nodes[3];
	struct fake *fake;
	uint64_t directory;

	(void)state;
	fake_store_open(&store);
	nodes[0] = fake_file(&store, "good", "good", 4, false);
	nodes[1] = (struct node){ .kind = NODE_FILE,
				  .name = view_of_string("no-blob"),
				  .size = 3,
				  .digest = digest_of(view_of_string("x")) };
	nodes[2] = (struct node){ .kind = NODE_DIRECTORY,
				  .name = view_of_string("no-directory"),
				  .size = 2,
				  .digest = digest_of(view_of_string("y")) };
	fake = fake_open_nodes(&store, nodes, 3, NULL);
	assert_int_equal(fake_read(fake, FUSE_READ, fake_find(fake, 1, "no-blob"), 0, 4096, &got),
			 -EIO);
	directory = fake_find(fake, 1, "no-directory");
	assert_int_equal(fake_lookup(fake, directory, view_of_string("x"), &entry), -EIO);
	assert_int_equal(fake_read(fake, FUSE_READDIR, directory, 0, 4096, &got), -EIO);
	assert_int_equal(fake_read(fake, FUSE_READ, fake_find(fake, 1, "good"), 0, 4096, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("good"));
	fake_close(fake);
	fake_store_close(&store);
}

/* A directory that claims another size for a blob than it has. */
static void wrong_size(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fake_store store;
	struct node nodes[2];
	struct fake *fake;

	(void)state;
	fake_store_open(&store);
	nodes[0] = fake_file(&store, "liar", "four", 4, false);
	nodes[1] = nodes[0];
	nodes[0].size = 5000;
	nodes[1].name = view_of_string("true");
	fake = fake_open_nodes(&store, nodes, 2, NULL);
	assert_int_equal(fake_read(fake, FUSE_READ, fake_find(fake, 1, "liar"), 0, 9999, &got),
			 -EIO);
	assert_int_equal(fake_read(fake, FUSE_READ, fake_find(fake, 1, "true"), 0, 9999, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("four"));
	fake_close(fake);
	fake_store_close(&store);
}

/* READs that cross chunks, at random places, while the cache holds only a few of them. */
static void large_file(void **state)
{
	enum { SIZE = 6 << 20 };
	struct testing_random random = testing_random_from_env();
	struct fs_options options = { .chunk_cache = 1 << 20 };
	AUTO_FREE uint8_t *bytes = mem_alloc(SIZE);
	struct fake_store store;
	struct fs_stats stats;
	struct node node;
	struct fake *fake;
	uint64_t nodeid;

	(void)state;
	testing_fill(&random, bytes, SIZE);
	fake_store_open(&store);
	node = fake_file(&store, "big", bytes, SIZE - 1, false);
	fake = fake_open_nodes(&store, &node, 1, &options);
	nodeid = fake_find(fake, 1, "big");
	for (uint64_t offset = 0; offset < SIZE; offset += 1 << 17) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;

		assert_int_equal(fake_read(fake, FUSE_READ, nodeid, offset, 1 << 17, &got), 0);
		assert_int_equal(got.len, offset + (1 << 17) < SIZE ? 1 << 17 : (1 << 17) - 1);
		assert_memory_equal(got.ptr, bytes + offset, got.len);
	}
	for (int i = 0; i < 300; i++) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;
		size_t offset = testing_below(&random, SIZE - 1);
		size_t len = testing_below(&random, 1 << 20);
		size_t left = SIZE - 1 - offset;

		assert_int_equal(fake_read(fake, FUSE_READ, nodeid, offset, (uint32_t)len, &got),
				 0);
		assert_int_equal(got.len, len < left ? len : left);
		assert_memory_equal(got.ptr, bytes + offset, got.len);
	}
	fs_get_stats(fake->fs, &stats);
	print_message("%zu bytes of chunks kept\n", stats.chunk_bytes);
	assert_true(stats.chunk_bytes <= 2 << 20);
	fs_trim(fake->fs);
	fs_get_stats(fake->fs, &stats);
	assert_int_equal(stats.chunk_bytes, 0);
	assert_int_equal(stats.directory_bytes, 0);
	fake_close(fake);
	fake_store_close(&store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees),    cmocka_unit_test(tiny_buffers),
		cmocka_unit_test(missing_objects), cmocka_unit_test(wrong_size),
		cmocka_unit_test(large_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
