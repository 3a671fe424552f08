/*
 * One store, several processes: everything that each acknowledged is there, once, in the end; a
 * process that dies takes nothing along; a reader sees what others add without opening again.
 *
 * The program starts itself again as a helper (nothing of castor survives a fork).
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "threads.h"
#include "local/shared_commit.h"

static const char *self;

enum { BLOBS = 160, SHARED = 80 };

/* Blob i of a writer: the first are the same for all writers. */
static struct view blob_of(unsigned writer, unsigned i, uint8_t *space, size_t max)
{
	uint64_t seed = i < SHARED ? i : (uint64_t)writer * 100000 + i;
	size_t len = 1 + (size_t)((seed * 7919) % max);

	testing_fill_seeded(seed, space, len);
	return view_of(space, len);
}

static void helper_write(const char *dir, unsigned writer)
{
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	uint8_t space[5000];
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < BLOBS; i++) {
		struct view bytes = blob_of(writer, i, space, sizeof(space));
		struct digest digest;
		struct path_info info;

		assert_ok(blob_service_put(blobs, &op_none, bytes, &digest, &err), &err);
		if (i % 20 != 0)
			continue;
		/* One path that all of them fight for, and one of its own. */
		fixture_info(&info, &digest, bytes.len, 1);
		assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
		path_info_release(&info);
		fixture_info(&info, &digest, bytes.len, 1000 + (uint64_t)writer * BLOBS + i);
		assert_ok(path_info_service_put(infos, &op_none, &info, NULL, &err), &err);
		path_info_release(&info);
	}
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);
}

/* Adds until it is killed; prints a line for each blob that is acknowledged. */
static void helper_until_killed(const char *dir, unsigned writer)
{
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	uint8_t space[200000];
	struct err err = ERR_INIT;

	for (unsigned i = SHARED;; i++) {
		struct view bytes = blob_of(writer, i, space, sizeof(space));
		struct digest digest;

		assert_ok(blob_service_put(blobs, &op_none, bytes, &digest, &err), &err);
		dprintf(STDOUT_FILENO, "%u\n", i);
	}
}

static enum rc stop_here(struct local_write *write, void *context, struct err *err)
{
	(void)write;
	(void)context;
	(void)err;
	raise(SIGSTOP);
	return RC_OK;
}

/* Is stopped within a transaction of the index, then ends it. */
static void helper_stop(const char *dir)
{
	struct local_store *store = fixture_open(dir);
	struct err err = ERR_INIT;

	assert_ok(local_index_write(store->index, &op_none, stop_here, NULL, &err), &err);
	local_store_unref(store);
}

static enum rc put_much(struct local_write *write, void *context, struct err *err)
{
	static uint8_t value[1 << 20];
	unsigned count = *(const unsigned *)context;
	enum rc rc = RC_OK;

	for (uint32_t i = 0; rc == RC_OK && i < count; i++)
		rc = local_write_put(write, LOCAL_TABLE_PENDING, view_of(&i, sizeof(i)),
				     view_of(value, sizeof(value)), err);
	return rc;
}

/* Opens the index, with as much address space as it has then and `writer` MiB more, and for each byte that it
 * is sent looks into it ('k': and keeps what it sees) or writes much to it ('w'). 'f': frees it of the limit
 * first. */
static void helper_look(const char *dir, unsigned writer)
{
	struct local_store *store;
	struct rlimit limit;
	struct err err = ERR_INIT;
	unsigned long pages = 0;
	char byte;

	FILE *statm = fopen("/proc/self/statm", "r");
	assert_int_equal(fscanf(statm, "%lu", &pages), 1);
	fclose(statm);
	assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = pages * 4096 + ((rlim_t)writer << 20);
	limit.rlim_cur = writer > 0 ? limit.rlim_cur : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	store = fixture_open(dir);
	dprintf(STDOUT_FILENO, "open\n");
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		struct local_read *reading = NULL;
		unsigned count = 100;
		enum rc rc;

		limit.rlim_cur = byte == 'f' ? limit.rlim_max : limit.rlim_cur;
		assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
		if (byte == 'w')
			rc = local_index_write(store->index, &op_none, put_much, &count, &err);
		else
			rc = local_index_read(store->index, &reading, &err);
		dprintf(STDOUT_FILENO, "%s\n", rc_name(rc));
		if (byte != 'k')
			local_read_end(reading);
	}
	_exit(0);
}

static pid_t start(const char *what, const char *dir, unsigned writer, int out)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", writer);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		execl(self, self, what, dir, number, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_writer(struct blob_service *blobs, struct path_info_service *infos,
			 unsigned writer)
{
	uint8_t space[5000];
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < BLOBS; i++) {
		struct view bytes = blob_of(writer, i, space, sizeof(space));
		struct digest digest = digest_of(bytes);
		struct path_info info;

		fixture_check(blobs, &digest, bytes);
		if (i % 20 != 0)
			continue;
		fixture_info(&info, &digest, bytes.len, 1000 + (uint64_t)writer * BLOBS + i);
		struct path_info got;
		assert_ok(path_info_service_get(infos, &op_none, info.path.hash, &got, &err), &err);
		assert_true(node_equal(&info.node, &got.node));
		path_info_release(&info);
		path_info_release(&got);
	}
}

/* What everybody fought for is the same before and after a rebuild. */
static struct digest winner(const char *dir)
{
	struct local_store *store = fixture_open(dir);
	struct path_info_service *infos = path_info_local_new(store);
	struct path_info info, got;
	struct err err = ERR_INIT;

	fixture_info(&info, &digest_empty, 0, 1);
	assert_ok(path_info_service_get(infos, &op_none, info.path.hash, &got, &err), &err);
	struct digest digest = got.node.digest;
	path_info_release(&info);
	path_info_release(&got);
	path_info_service_unref(infos);
	local_store_unref(store);
	return digest;
}

static void test_writers(void **state)
{
	enum { WRITERS = 3 };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;
	pid_t pids[WRITERS];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++)
		pids[i] = start("write", dir, i + 1, -1);
	for (unsigned i = 0; i < WRITERS; i++)
		finish(pids[i]);
	/* This process had it open all the while. */
	for (unsigned i = 0; i < WRITERS; i++)
		check_writer(blobs, infos, i + 1);
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);

	struct digest before = winner(dir);
	assert_ok(local_store_rebuild_index(dir, &op_none, &stats, &err), &err);
	assert_int_equal(stats.path_infos, WRITERS * BLOBS / 20 + 1);
	assert_int_equal(stats.dropped_path_infos, 0);
	assert_int_equal(stats.damaged_records, 0);
	assert_int_equal(stats.chunks, SHARED + WRITERS * (BLOBS - SHARED));
	struct digest after = winner(dir);
	assert_true(digest_equal(&before, &after));
}

/* A path info whose commit is waited for last is the one that is there, in the index and in the packs. */
static void test_superseded(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	struct path_info_service *infos = path_info_local_new(store);
	struct shared_commit *commit = shared_commit_new(store);
	struct op op = { .commit = commit };
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;
	struct path_info info;
	struct digest ours;

	(void)state;
	assert_ok(blob_service_put(blobs, &op, view_of_string("ours"), &ours, &err), &err);
	fixture_info(&info, &ours, 4, 1);
	assert_ok(path_info_service_put(infos, &op, &info, NULL, &err), &err);
	path_info_release(&info);
	finish(start("write", dir, 1, -1));
	struct digest theirs = winner(dir);
	assert_false(digest_equal(&theirs, &ours));
	assert_ok(shared_commit_wait(commit, &op_none, &err), &err);
	shared_commit_free(commit);
	path_info_service_unref(infos);
	blob_service_unref(blobs);
	local_store_unref(store);

	struct digest found = winner(dir);
	assert_true(digest_equal(&found, &ours));
	assert_ok(local_store_rebuild_index(dir, &op_none, &stats, &err), &err);
	found = winner(dir);
	assert_true(digest_equal(&found, &ours));
}

static void test_packs_are_taken_over(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;

	(void)state;
	/* One after the other: the packs of the first are everybody's. */
	for (unsigned i = 1; i <= 3; i++)
		finish(start("write", dir, i, -1));
	assert_ok(local_store_rebuild_index(dir, &op_none, &stats, &err), &err);
	assert_int_equal(stats.packs, 2);
	assert_int_equal(stats.chunks, SHARED + 3 * (BLOBS - SHARED));
}

static void test_killed(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	uint8_t space[200000];
	struct local_rebuild_stats stats;
	struct err err = ERR_INIT;
	unsigned long acknowledged[6] = { 0 };

	(void)state;
	for (unsigned round = 0; round < ARRAY_LEN(acknowledged); round++) {
		int ends[2];
		unsigned i;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid_t pid = start("until-killed", dir, round + 1, ends[1]);
		close(ends[1]);
		FILE *lines = fdopen(ends[0], "r");
		while (fscanf(lines, "%u", &i) == 1 && i < SHARED + 10 + round * 7)
			acknowledged[round] = i;
		assert_int_equal(kill(pid, SIGKILL), 0);
		while (fscanf(lines, "%u", &i) == 1)
			acknowledged[round] = i;
		fclose(lines);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_true(acknowledged[round] > SHARED);
	}
	for (int again = 0; again < 2; again++) {
		struct local_store *store = fixture_open(dir);
		struct blob_service *blobs = blob_local_new(store);

		for (unsigned round = 0; round < ARRAY_LEN(acknowledged); round++) {
			for (unsigned i = SHARED; i <= acknowledged[round]; i++) {
				struct view bytes = blob_of(round + 1, i, space, sizeof(space));
				struct digest digest = digest_of(bytes);

				fixture_check(blobs, &digest, bytes);
			}
		}
		blob_service_unref(blobs);
		local_store_unref(store);
		assert_ok(local_store_rebuild_index(dir, &op_none, &stats, &err), &err);
		assert_int_equal(stats.damaged_records, 0);
	}
	/* Each took over what the one before had begun, unless that was killed when its pack was synced and
	 * the index did not know yet: what is behind such a commit is left alone. */
	assert_in_range(stats.packs, 2, 2 + ARRAY_LEN(acknowledged));
}

struct caller {
	struct blob_service *blobs;
	struct op op;
	enum rc rc;
	unsigned number;
};

static void *call(void *arg)
{
	struct caller *caller = arg;
	struct digest digest;
	uint8_t space[1000];
	struct view bytes = blob_of(7, SHARED + caller->number, space, sizeof(space));

	caller->rc = blob_service_put(caller->blobs, &caller->op, bytes, &digest, NULL);
	return NULL;
}

/* Whoever waits for a process that was stopped within its transaction waits for as long as its op lasts.
 * `before`: a call that ended before the other process was stopped, so that this one has its numbers. */
static void calls_end(bool before)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	atomic_bool cancel = false;
	struct caller callers[3] = { { .number = 1 }, { .number = 2 }, { .number = 3 } };
	pthread_t threads[3];
	struct err err = ERR_INIT;
	struct digest digest;
	uint8_t space[1000];
	int status;

	callers[0].blobs = blob_local_new(store);
	if (before)
		assert_ok(blob_service_put(callers[0].blobs, &op_none, view_of_string("before"),
					   &digest, &err),
			  &err);
	pid_t pid = start("stop", dir, 0, -1);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	for (unsigned i = 0; i < ARRAY_LEN(callers); i++) {
		callers[i].blobs = callers[0].blobs;
		callers[i].op.cancel = &cancel;
		if (i == 2)
			callers[i].op.deadline_ns = clock_monotonic_ns() + 50 * NS_PER_MS;
		threads[i] = testing_thread("caller", call, &callers[i]);
	}
	/* What is there is read all the same. */
	if (before)
		fixture_check(callers[0].blobs, &digest, view_of_string("before"));
	pthread_join(threads[2], NULL);
	assert_int_equal(callers[2].rc, RC_DEADLINE);
	atomic_store(&cancel, true);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	assert_int_equal(callers[0].rc, RC_CANCELLED);
	assert_int_equal(callers[1].rc, RC_CANCELLED);
	/* Nor does the store's end wait. */
	blob_service_unref(callers[0].blobs);
	local_store_unref(store);

	assert_int_equal(kill(pid, SIGCONT), 0);
	finish(pid);
	store = fixture_open(dir);
	struct blob_service *blobs = blob_local_new(store);
	for (unsigned i = 0; i < ARRAY_LEN(callers); i++) {
		struct view bytes = blob_of(7, SHARED + i, space, sizeof(space));

		assert_ok(blob_service_put(blobs, &op_none, bytes, &digest, &err), &err);
		fixture_check(blobs, &digest, bytes);
	}
	blob_service_unref(blobs);
	local_store_unref(store);
}

struct looker {
	pid_t pid;
	int to;
	FILE *from;
};

static void looker_says(struct looker *looker, const char *what)
{
	char line[64] = "";

	assert_non_null(fgets(line, sizeof(line), looker->from));
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(line, what);
}

static void looker_start(struct looker *looker, const char *dir, unsigned more)
{
	int in[2], out[2], before = dup(STDIN_FILENO);

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	dup2(in[0], STDIN_FILENO);
	looker->pid = start("look", dir, more, out[1]);
	dup2(before, STDIN_FILENO);
	close(before);
	close(in[0]);
	close(out[1]);
	looker->to = in[1];
	looker->from = fdopen(out[0], "r");
	looker_says(looker, "open");
}

static void looker_look(struct looker *looker, char how, const char *says)
{
	assert_int_equal(write(looker->to, &how, 1), 1);
	looker_says(looker, says);
}

static void looker_end(struct looker *looker, int signal)
{
	int status;

	if (signal)
		kill(looker->pid, signal);
	close(looker->to);
	fclose(looker->from);
	assert_int_equal(waitpid(looker->pid, &status, 0), looker->pid);
	assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
}

/* An index that grows past the address space that a reader has: the reader is told so. */
static void test_outgrown(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)state;
	skip(); /* they take terabytes of address space */
#endif
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct looker looker;
	struct err err = ERR_INIT;
	unsigned count = 90;

	(void)state;
	alarm(100);
	looker_start(&looker, dir, 40);
	looker_look(&looker, 'e', "ok");
	looker_look(&looker, 'w', "out of memory");
	looker_look(&looker, 'e', "ok");
	assert_ok(local_index_write(store->index, &op_none, put_much, &count, &err), &err);
	looker_look(&looker, 'e', "out of memory");
	looker_look(&looker, 'e', "out of memory");
	/* It lost nothing by that. */
	looker_look(&looker, 'f', "ok");
	looker_look(&looker, 'w', "ok");
	looker_end(&looker, 0);
	/* One with enough of it follows. */
	looker_start(&looker, dir, 500);
	looker_look(&looker, 'e', "ok");
	count = 120;
	assert_ok(local_index_write(store->index, &op_none, put_much, &count, &err), &err);
	looker_look(&looker, 'e', "ok");
	looker_end(&looker, 0);
	local_store_unref(store);
}

static off_t index_size(const char *dir)
{
	AUTO_FREE char *path = mem_printf("%s/index.mdb", dir);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* A reader that was killed keeps nobody from writing over what it saw. */
static void test_stale_reader(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct local_store *store = fixture_open(dir);
	struct looker looker;
	struct err err = ERR_INIT;
	unsigned count = 1;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_ok(local_index_write(store->index, &op_none, put_much, &count, &err), &err);
	off_t before = index_size(dir);
	looker_start(&looker, dir, 0);
	looker_look(&looker, 'k', "ok");
	looker_end(&looker, SIGKILL);
	for (int i = 0; i < 20; i++)
		assert_ok(local_index_write(store->index, &op_none, put_much, &count, &err), &err);
	assert_in_range(index_size(dir), 1, (uintmax_t)before + (4 << 20));
	local_store_unref(store);
}

static void test_stopped(void **state)
{
	(void)state;
	alarm(60);
	calls_end(false);
	calls_end(true);
	alarm(0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writers),
		cmocka_unit_test(test_superseded),
		cmocka_unit_test(test_packs_are_taken_over),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_outgrown),
		cmocka_unit_test(test_stale_reader),
	};

	self = "/proc/self/exe";
	if (argc == 4) {
		unsigned writer = (unsigned)atoi(argv[3]);

		if (strcmp(argv[1], "write") == 0)
			helper_write(argv[2], writer);
		else if (strcmp(argv[1], "stop") == 0)
			helper_stop(argv[2]);
		else if (strcmp(argv[1], "look") == 0)
			helper_look(argv[2], writer);
		else
			helper_until_killed(argv[2], writer);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
