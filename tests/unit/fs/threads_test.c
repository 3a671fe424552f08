/* Many threads on one session, as transports are: everything stays right, and nothing is left. */
#include "unit/fs/fake.h"

#include <errno.h>

#include "threads.h"

enum { THREADS = 6, STEPS = 1500, FILES = 60, BIG = 3 << 20 };

struct shared {
	struct fake *fake;
	struct directory *directory;
	uint64_t top;
	uint8_t *big;
};

struct worker {
	struct shared *shared;
	uint64_t seed;
};

static void look_and_read(struct shared *shared, struct testing_random *random)
{
	size_t i = testing_below(random, FILES);
	const struct node *node = directory_at(shared->directory, i);
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct fuse_entry_out entry;
	struct digest digest;

	assert_int_equal(fake_lookup(shared->fake, shared->top, node->name, &entry), 0);
	assert_int_equal(fake_read(shared->fake, FUSE_READ, entry.nodeid, 0, 65536, &got), 0);
	digest = digest_of(buf_view(&got));
	assert_true(digest_equal(&digest, &node->digest));
	fake_forget(shared->fake, entry.nodeid, 1);
}

static void list(struct shared *shared)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;

	assert_int_equal(fake_read(shared->fake, FUSE_READDIRPLUS, shared->top, 2, 65536, &got), 0);
	for (size_t at = 0; at < got.len;) {
		struct fuse_direntplus entry;

		memcpy(&entry, got.ptr + at, sizeof(entry));
		at += FUSE_REC_ALIGN(sizeof(entry) + entry.dirent.namelen);
		fake_forget(shared->fake, entry.entry_out.nodeid, 1);
	}
}

static void read_big(struct shared *shared, struct testing_random *random)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	uint64_t nodeid = fake_find(shared->fake, 1, "big");
	size_t offset = testing_below(random, BIG - 4096);

	assert_int_equal(fake_read(shared->fake, FUSE_READ, nodeid, offset, 4096, &got), 0);
	assert_memory_equal(got.ptr, shared->big + offset, 4096);
	fake_forget(shared->fake, nodeid, 1);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct testing_random random = testing_random_of(worker->seed);

	for (int step = 0; step < STEPS; step++) {
		switch (testing_below(&random, 8)) {
		case 0:
			list(worker->shared);
			break;
		case 1:
		case 2:
			read_big(worker->shared, &random);
			break;
		default:
			look_and_read(worker->shared, &random);
		}
	}
	return NULL;
}

static void all_at_once(void **state)
{
	struct fs_options options = { .chunk_cache = 1 << 20, .directory_cache = 1 << 16 };
	struct testing_random random = testing_random_from_env();
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct node nodes[FILES], top[2];
	char names[FILES][8];
	struct shared shared;
	struct fake_store store;
	struct fs_stats stats;

	(void)state;
	fake_store_open(&store);
	shared.big = mem_alloc(BIG);
	testing_fill(&random, shared.big, BIG);
	for (int i = 0; i < FILES; i++) {
		snprintf(names[i], sizeof(names[i]), "%03d", i % 1000);
		nodes[i] = fake_file(&store, names[i], shared.big + i * 100,
				     testing_below(&random, 60000) + 1, i % 2);
	}
	top[0] = fake_directory("d", nodes, FILES, &shared.directory);
	fake_store_put(&store, &shared.directory, 1);
	top[1] = fake_file(&store, "big", shared.big, BIG, false);
	shared.fake = fake_open_nodes(&store, top, 2, &options);
	shared.top = fake_find(shared.fake, 1, "d");
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ &shared, testing_next(&random) };
		threads[i] = testing_thread("worker", work, &workers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fs_get_stats(shared.fake->fs, &stats);
	assert_int_equal(stats.inodes, 1);
	print_message("%" PRIu64 " requests, %" PRIu64 " pushes\n", stats.requests, stats.pushes);
	fake_close(shared.fake);
	directory_unref(shared.directory);
	fake_store_close(&store);
	free(shared.big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
