/* What is pushed into the kernel's cache, and what is not. */
#include "unit/fs/fake.h"

#include <fcntl.h>

#include "base/clock.h"

enum { FILES = 200 };

/* /d holds FILES small files of different content, "000" and on. */
static struct fake *open_files_with(struct fake_store *store, struct directory **directory,
				    bool twins, const struct fs_options *options)
{
	struct node nodes[FILES], top;
	char names[FILES][8];
	struct fake *fake;

	fake_store_open(store);
	for (int i = 0; i < FILES; i++) {
		char content[40];

		snprintf(names[i], sizeof(names[i]), "%03d", i % 1000);
		snprintf(content, sizeof(content), "content of %d", twins ? i % 10 : i);
		nodes[i] = fake_file(store, names[i], content, strlen(content), false);
	}
	top = fake_directory("d", nodes, FILES, directory);
	fake_store_put(store, directory, 1);
	fake = fake_open_nodes(store, &top, 1, options);
	return fake;
}

static struct fake *open_files(struct fake_store *store, struct directory **directory, bool twins)
{
	return open_files_with(store, directory, twins, NULL);
}

static void close_files(struct fake *fake, struct fake_store *store, struct directory *directory)
{
	fake_close(fake);
	directory_unref(directory);
	fake_store_close(store);
}

/* As a kernel does before the reader goes on; each entry counts as looked up. */
static void list_plus(struct fake *fake, uint64_t nodeid, uint64_t *nodeids)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	size_t at = 0;

	assert_int_equal(fake_read(fake, FUSE_READDIRPLUS, nodeid, 2, 1 << 20, &got), 0);
	for (size_t i = 0; at < got.len; i++) {
		struct fuse_direntplus entry;

		memcpy(&entry, got.ptr + at, sizeof(entry));
		nodeids[i] = entry.entry_out.nodeid;
		at += FUSE_REC_ALIGN(sizeof(entry) + entry.dirent.namelen);
	}
}

static void read_first_byte(struct fake *fake, uint64_t nodeid)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;

	assert_int_equal(fake_read(fake, FUSE_READ, nodeid, 0, 4096, &got), 0);
}

static size_t pushes(struct fake *fake)
{
	size_t count;

	pthread_mutex_lock(&fake->lock);
	count = fake->push_count;
	pthread_mutex_unlock(&fake->lock);
	return count;
}

/* Waits until no more come. */
static size_t settled_pushes(struct fake *fake)
{
	size_t before, now = pushes(fake);

	do {
		before = now;
		clock_sleep_ns(50 * NS_PER_MS);
		now = pushes(fake);
	} while (now != before);
	return now;
}

static void files_in_order(void **state)
{
	uint64_t nodeids[FILES];
	struct directory *directory;
	struct fake_store store;
	struct fake *fake = open_files(&store, &directory, false);
	size_t reads = 0, seen;
	bool had[FILES] = { false };

	(void)state;
	list_plus(fake, fake_find(fake, 1, "d"), nodeids);
	/* A reader that goes through all of them asks only for what was not pushed. */
	for (int i = 0; i < FILES; i++) {
		if (had[i])
			continue;
		read_first_byte(fake, nodeids[i]);
		reads++;
		had[i] = true;
		seen = settled_pushes(fake);
		for (size_t p = 0; p < seen; p++) {
			struct fake_push *push = &fake->pushes[p];

			for (int n = 0; n < FILES; n++)
				if (nodeids[n] == push->head.nodeid)
					had[n] = true;
		}
	}
	print_message("%zu reads, %zu pushes\n", reads, pushes(fake));
	assert_int_equal(reads + pushes(fake), FILES);
	assert_true(reads <= 8);
	for (size_t p = 0; p < pushes(fake); p++) {
		struct fake_push *push = &fake->pushes[p];
		struct digest digest = digest_of(buf_view(&push->bytes));
		int n = 0;

		while (nodeids[n] != push->head.nodeid)
			n++;
		assert_int_equal(push->head.offset, 0);
		assert_true(digest_equal(&digest, &directory_at(directory, (size_t)n)->digest));
	}
	close_files(fake, &store, directory);
}

/* Equal files have pages of their own, unless they are one inode. */
static void twins(void **state)
{
	const struct fs_options shared = { .share_files = true };

	(void)state;
	for (int share = 0; share < 2; share++) {
		uint64_t nodeids[FILES];
		struct directory *directory;
		struct fake_store store;
		struct fake *fake =
			open_files_with(&store, &directory, true, share ? &shared : NULL);

		list_plus(fake, fake_find(fake, 1, "d"), nodeids);
		assert_int_equal(nodeids[0] == nodeids[10], share);
		read_first_byte(fake, nodeids[0]);
		if (share)
			assert_int_equal(settled_pushes(fake), 9);
		else
			assert_true(settled_pushes(fake) > 20);
		close_files(fake, &store, directory);
	}
}

static void only_what_the_kernel_knows(void **state)
{
	struct directory *directory;
	struct fake_store store;
	struct fake *fake = open_files(&store, &directory, false);
	uint64_t top = fake_find(fake, 1, "d");

	(void)state;
	read_first_byte(fake, fake_find(fake, top, "000"));
	assert_int_equal(settled_pushes(fake), 0);
	fake_find(fake, top, "005");
	fake_find(fake, top, "007");
	read_first_byte(fake, fake_find(fake, top, "001"));
	assert_true(settled_pushes(fake) <= 2);
	close_files(fake, &store, directory);
}

static void not_in_order(void **state)
{
	uint64_t nodeids[FILES];
	struct directory *directory;
	struct fake_store store;
	struct fake *fake = open_files(&store, &directory, false);
	size_t first;

	(void)state;
	list_plus(fake, fake_find(fake, 1, "d"), nodeids);
	read_first_byte(fake, nodeids[0]);
	first = settled_pushes(fake);
	/* Far behind what was pushed: not the next of anything. */
	read_first_byte(fake, nodeids[199]);
	assert_int_equal(settled_pushes(fake), first);
	close_files(fake, &store, directory);
}

/* A kernel that has forgotten, or takes none: the files are read as ever. */
static void refused_pushes(void **state)
{
	uint64_t nodeids[FILES];
	struct directory *directory;
	struct fake_store store;
	struct fake *fake = open_files(&store, &directory, false);
	struct fs_stats stats;

	(void)state;
	fake->push_result = -2;
	list_plus(fake, fake_find(fake, 1, "d"), nodeids);
	for (int i = 0; i < FILES; i++)
		read_first_byte(fake, nodeids[i]);
	assert_int_equal(settled_pushes(fake), 0);
	fs_get_stats(fake->fs, &stats);
	assert_int_equal(stats.pushes, 0);
	close_files(fake, &store, directory);
}

enum { BIG_SIZE = 8 << 20 };

/* A filesystem with nothing in it but one large file. */
struct big {
	struct testing_random random;
	uint8_t *bytes;
	struct fake_store store;
	struct fake *fake;
	uint64_t nodeid;
};

/* size: of the file, BIG_SIZE or a bit less. */
static void big_open(struct big *big, uint64_t seed, size_t size)
{
	struct node node;

	big->random = testing_random_of(seed);
	big->bytes = mem_alloc(BIG_SIZE);
	testing_fill(&big->random, big->bytes, BIG_SIZE);
	fake_store_open(&big->store);
	node = fake_file(&big->store, "big", big->bytes, size, false);
	big->fake = fake_open_nodes(&big->store, &node, 1, NULL);
	big->nodeid = fake_find(big->fake, 1, "big");
}

static void big_close(struct big *big)
{
	fake_close(big->fake);
	fake_store_close(&big->store);
	free(big->bytes);
}

static void read_here_and_there(void **state)
{
	struct big big;
	bool had[BIG_SIZE / 4096] = { false };
	size_t reads = 0, count;
	struct fs_stats stats;

	(void)state;
	big_open(&big, 5, BIG_SIZE - 10);
	for (int i = 0; i < 500; i++) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;
		size_t page = testing_below(&big.random, BIG_SIZE / 4096);

		if (had[page])
			continue;
		assert_int_equal(
			fake_read(big.fake, FUSE_READ, big.nodeid, page * 4096, 4096, &got), 0);
		had[page] = true;
		reads++;
		count = i % 16 ? pushes(big.fake) : settled_pushes(big.fake);
		pthread_mutex_lock(&big.fake->lock);
		for (size_t p = 0; p < count; p++) {
			struct fake_push *push = &big.fake->pushes[p];
			uint64_t end = push->head.offset + push->head.size;

			assert_int_equal(push->head.nodeid, big.nodeid);
			assert_int_equal(push->head.offset % 4096, 0);
			assert_true(end % 4096 == 0 || end == BIG_SIZE - 10);
			assert_memory_equal(push->bytes.ptr, big.bytes + push->head.offset,
					    push->head.size);
			for (uint64_t at = push->head.offset / 4096; at * 4096 < end; at++)
				had[at] = true;
		}
		pthread_mutex_unlock(&big.fake->lock);
	}
	print_message("%zu reads of 500, %zu pushes\n", reads, pushes(big.fake));
	assert_true(pushes(big.fake) > 0);
	assert_true(reads < 250);
	settled_pushes(big.fake);
	fs_get_stats(big.fake->fs, &stats);
	print_message("%zu bytes of chunks kept\n", stats.chunk_bytes);
	big_close(&big);
}

/* Past the page cache: nothing is put there, and what was decoded is kept here, however often it is read. */
static void read_directly(void **state)
{
	struct big big;
	struct fs_stats stats;

	(void)state;
	big_open(&big, 7, BIG_SIZE);
	for (int i = 0; i < 4000; i++) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;
		uint64_t offset = testing_below(&big.random, BIG_SIZE / 4096) * 4096;

		assert_int_equal(fake_read_opened(big.fake, FUSE_READ, big.nodeid, O_DIRECT, offset,
						  4096, &got),
				 0);
		assert_memory_equal(got.ptr, big.bytes + offset, 4096);
	}
	assert_int_equal(settled_pushes(big.fake), 0);
	fs_get_stats(big.fake->fs, &stats);
	assert_true(stats.chunk_bytes >= BIG_SIZE);
	big_close(&big);
}

/* A sequential reader finds its chunks decoded; nothing of the file is pushed. */
static void read_in_order(void **state)
{
	struct big big;

	(void)state;
	big_open(&big, 6, BIG_SIZE);
	for (uint64_t offset = 0; offset < BIG_SIZE; offset += 65536) {
		CLEANUP(buf_release) struct buf got = BUF_INIT;

		assert_int_equal(fake_read(big.fake, FUSE_READ, big.nodeid, offset, 65536, &got),
				 0);
		assert_memory_equal(got.ptr, big.bytes + offset, 65536);
	}
	assert_int_equal(settled_pushes(big.fake), 0);
	big_close(&big);
}

/* virtiofs has no notifications. */
static void no_notifications(void **state)
{
	struct directory *directory;
	struct fake_store store;
	struct fake *fake = open_files(&store, &directory, false);
	struct fs_session *pushing = fake->session;
	struct fuse_init_out out;
	uint64_t nodeids[FILES];

	(void)state;
	fake->session = fs_session_new(fake->fs, &fake_plain_ops, fake);
	fs_session_free(pushing);
	fake_init(fake, UINT64_MAX, &out);
	list_plus(fake, fake_find(fake, 1, "d"), nodeids);
	read_first_byte(fake, nodeids[0]);
	assert_int_equal(settled_pushes(fake), 0);
	close_files(fake, &store, directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_in_order),
		cmocka_unit_test(twins),
		cmocka_unit_test(only_what_the_kernel_knows),
		cmocka_unit_test(not_in_order),
		cmocka_unit_test(refused_pushes),
		cmocka_unit_test(read_here_and_there),
		cmocka_unit_test(read_directly),
		cmocka_unit_test(read_in_order),
		cmocka_unit_test(no_notifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
