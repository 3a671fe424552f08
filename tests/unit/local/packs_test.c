/*
 * Reading packs: places that a damaged or forged index gives, reads that the kernel does in parts,
 * and more packs than descriptors.
 */
#include "store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* In place of the C library's: at most that many bytes a call, every other one interrupted. */
static size_t part; /* 0: all of it */
static unsigned calls;

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	struct iovec some[1024];
	size_t left = part ? part : SIZE_MAX;
	int n = 0;

	if (part && calls++ % 2 == 0) {
		errno = EINTR;
		return -1;
	}
	for (; n < count && left > 0; n++) {
		some[n] = iov[n];
		if (some[n].iov_len > left)
			some[n].iov_len = left;
		left -= some[n].iov_len;
	}
	return syscall(SYS_preadv, fd, some, n, (long)offset, 0L);
}

enum { BLOBS = 200 };

struct env {
	char *dir;
	struct local_store *store;
	struct blob_service *blobs;
	struct digest digests[BLOBS];
};

static size_t size_of(unsigned i)
{
	return 100 + i * 37;
}

static void env_open(struct env *env)
{
	env->dir = testing_dir();
	env->store = fixture_open(env->dir);
	env->blobs = blob_local_new(env->store);
	struct blob_batch *batch;
	struct err err = ERR_INIT;
	assert_ok(blob_service_open_batch(env->blobs, &op_none, &batch, &err), &err);
	for (unsigned i = 0; i < BLOBS; i++) {
		uint8_t *bytes = make_bytes(size_of(i), i);

		assert_ok(fixture_add(batch, view_of(bytes, size_of(i)), &env->digests[i], &err),
			  &err);
		free(bytes);
	}
	assert_ok(blob_batch_commit(batch, &op_none, &err), &err);
	blob_batch_free(batch);
}

static void env_close(struct env *env)
{
	blob_service_unref(env->blobs);
	local_store_unref(env->store);
	testing_dir_cleanup(&env->dir);
}

static struct local_place_value place_of(struct env *env, unsigned i)
{
	struct local_place_value value;
	struct err err = ERR_INIT;

	assert_ok(local_find_place(env->store, LOCAL_TABLE_CHUNKS, &env->digests[i], &value, &err),
		  &err);
	return value;
}

struct seen {
	unsigned ok, corrupt, other;
	char message[ERR_MESSAGE_MAX];
};

static void note(void *context, size_t i, enum rc rc, struct view bytes, const struct err *err)
{
	struct seen *seen = context;

	if (rc == RC_OK) {
		uint8_t *want = make_bytes(size_of((unsigned)i), i);

		assert_true(view_equal(bytes, view_of(want, size_of((unsigned)i))));
		free(want);
		seen->ok++;
	} else if (rc == RC_CORRUPT) {
		snprintf(seen->message, sizeof(seen->message), "%s", err->message);
		seen->corrupt++;
	} else {
		seen->other++;
	}
}

static void patch(struct env *env, const struct local_place *place, off_t at, uint32_t word)
{
	char name[LOCAL_PACK_NAME_MAX];

	local_pack_name(place->pack, name);
	AUTO_FREE char *path = mem_printf("%s/packs/%s", env->dir, name);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &word, sizeof(word), (off_t)place->offset + at), sizeof(word));
}

/* A chunk whose place and header claim what goes far past its neighbours: it alone is damaged. */
static void test_overlapping(void **state)
{
	enum { RAW_AT = 24, STORED_AT = 28, LONG = 48 << 20 };
	struct env env;
	struct local_many items[BLOBS];
	struct seen seen = { 0 };

	(void)state;
	env_open(&env);
	for (unsigned i = 0; i < BLOBS; i++)
		items[i] = (struct local_many){ place_of(&env, i), &env.digests[i], i };
	patch(&env, &items[20].value.place, RAW_AT, LONG);
	patch(&env, &items[20].value.place, STORED_AT, LONG);
	items[20].value.place.raw = items[20].value.place.stored = LONG;
	/* And two at one place, one of which is a lie. */
	items[60].value = items[61].value;
	local_packs_many(env.store->packs, items, BLOBS, note, &seen);
	assert_int_equal(seen.ok, BLOBS - 2);
	assert_int_equal(seen.corrupt, 2);
	assert_non_null(strstr(seen.message, "at offset"));

	/* The same of frames, which go where the caller says. */
	struct local_place places[3] = { place_of(&env, 3).place, place_of(&env, 4).place,
					 place_of(&env, 3).place };
	struct digest digests[3] = { env.digests[3], env.digests[4], env.digests[3] };
	size_t first = places[0].stored, len = 2 * first + places[1].stored;
	uint8_t *frames = malloc(len);
	struct err err = ERR_INIT;
	assert_ok(local_packs_frames(env.store->packs, places, digests, 3, frames, &err), &err);
	assert_memory_equal(frames, frames + len - first, first);
	places[1].offset = places[0].offset + 7;
	assert_int_equal(local_packs_frames(env.store->packs, places, digests, 3, frames, &err),
			 RC_CORRUPT);
	assert_non_null(strstr(err.message, "at offset"));
	free(frames);
	env_close(&env);
}

/* What the kernel reads in parts, or not at all because of a signal, is not damage. */
static void test_parts(void **state)
{
	struct env env;
	struct local_many items[BLOBS];
	struct seen seen = { 0 };

	(void)state;
	env_open(&env);
	uint8_t *large = malloc(3 << 20);
	testing_fill_seeded(7, large, 3 << 20);
	struct digest digest = fixture_put(env.blobs, view_of(large, 3 << 20));
	part = 777;
	for (unsigned i = 0; i < BLOBS; i++)
		items[i] = (struct local_many){ place_of(&env, i), &env.digests[i], i };
	local_packs_many(env.store->packs, items, BLOBS, note, &seen);
	assert_int_equal(seen.ok, BLOBS);
	part = 70001; /* the list, and frames of raw blocks */
	fixture_check(env.blobs, &digest, view_of(large, 3 << 20));
	part = 0;
	assert_true(calls > 100);
	free(large);
	env_close(&env);
}

static enum rc count_looks(void *context, struct view value, struct err *err)
{
	unsigned *looks = context;

	(void)err;
	assert_true(value.len > 0);
	return ++*looks < 2 ? RC_NOT_FOUND : RC_OK;
}

static enum rc never_there(void *context, struct view value, struct err *err)
{
	(void)value;
	++*(unsigned *)context;
	return err_set(err, RC_NOT_FOUND, "no pack");
}

/* What was rewritten is looked up twice, and what is not even there then is damage. */
static void test_looks(void **state)
{
	struct env env;
	struct err err = ERR_INIT;
	unsigned looks = 0, others = 0;

	(void)state;
	env_open(&env);
	struct view key = view_of(env.digests[0].bytes, DIGEST_SIZE);
	struct digest missing = digest_of(view_of_string("missing"));
	assert_ok(local_with_value(env.store, LOCAL_TABLE_CHUNKS, key, count_looks, &looks, &err),
		  &err);
	assert_int_equal(looks, 2);
	assert_int_equal(
		local_with_value(env.store, LOCAL_TABLE_CHUNKS, key, never_there, &others, &err),
		RC_CORRUPT);
	assert_int_equal(others, 2);
	assert_int_equal(local_with_value(env.store, LOCAL_TABLE_CHUNKS,
					  view_of(missing.bytes, DIGEST_SIZE), never_there, &others,
					  &err),
			 RC_NOT_FOUND);
	assert_int_equal(others, 2);
	env_close(&env);
}

static unsigned open_packs(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	for (struct dirent *entry; (entry = readdir(dir));) {
		char to[4096];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1);

		to[len > 0 ? len : 0] = 0;
		count += strstr(to, ".pack") != NULL;
	}
	closedir(dir);
	return count;
}

static enum rc move_all(struct local_write *write, void *context, struct err *err)
{
	struct env *env = context;
	enum rc rc = RC_OK;

	for (unsigned i = 0; rc == RC_OK && i < BLOBS; i++) {
		struct view key = view_of(env->digests[i].bytes, DIGEST_SIZE), value;
		uint8_t bytes[LOCAL_PLACE_VALUE_MAX];
		struct local_place_value place;

		rc = local_write_get(write, LOCAL_TABLE_CHUNKS, key, &value, err);
		if (rc == RC_OK)
			rc = local_place_value_decode(value, &place, err);
		place.place.pack = 0x10000 + i;
		if (rc == RC_OK)
			rc = local_write_put(
				write, LOCAL_TABLE_CHUNKS, key,
				view_of(bytes, local_place_value_encode(&place, bytes)), err);
	}
	return rc;
}

/* Every blob in a pack of its own: names of one file, as nobody would notice. */
static void scatter(struct env *env)
{
	AUTO_FREE char *from =
		mem_printf("%s/packs/%08x.pack", env->dir, place_of(env, 0).place.pack);
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < BLOBS; i++) {
		AUTO_FREE char *to = mem_printf("%s/packs/%08x.pack", env->dir, 0x10000 + i);

		assert_int_equal(link(from, to), 0);
	}
	assert_int_equal(unlink(from), 0);
	assert_ok(local_index_write(env->store->index, &op_none, move_all, env, &err), &err);
}

static void check_frames(struct env *env, struct blob_frames *frames)
{
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < BLOBS; i++) {
		uint8_t *want = make_bytes(size_of(i), i);
		AUTO_FREE uint8_t *frame = malloc(frames->stored[i]);
		AUTO_FREE uint8_t *got = malloc(frames->raw[i]);

		assert_int_equal(frames->raw[i], size_of(i));
		assert_ok(blob_frames_read(frames, &op_none, i, 1, frame, &err), &err);
		assert_ok(local_frame_decode(env->store->codec, view_of(frame, frames->stored[i]),
					     frames->raw[i], got, &err),
			  &err);
		assert_memory_equal(got, want, size_of(i));
		free(want);
	}
}

/* Many bodies that lie in many packs need few open files; one that was opened before its packs were
 * rewritten finds them. */
static void test_many_packs(void **state)
{
	enum { LIMIT = 80, BODIES = 4 };
	struct env env;
	struct rlimit before, low;
	struct blob_frames *early, *frames[BODIES];
	struct blob_reader *reader;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = LIMIT;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	env_open(&env);
	assert_ok(blob_service_open_frames(env.blobs, &op_none, env.digests, BLOBS, &early, &err),
		  &err);
	assert_ok(blob_service_open_read(env.blobs, &op_none, &env.digests[9], size_of(9), &reader,
					 &err),
		  &err);
	scatter(&env);
	check_frames(&env, early);
	for (unsigned k = 0; k < BODIES; k++) {
		assert_ok(blob_service_open_frames(env.blobs, &op_none, env.digests, BLOBS,
						   &frames[k], &err),
			  &err);
		check_frames(&env, frames[k]);
	}
	assert_in_range(open_packs(), 1, LIMIT / 4 + 1); /* and the one that is written */
	for (unsigned k = 0; k < BODIES; k++)
		blob_frames_free(frames[k]);

	/* As many others as there can be, and still one is opened. */
	int others[LIMIT], n = 0;
	while ((others[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	check_frames(&env, early);
	while (n > 0)
		close(others[--n]);
	blob_frames_free(early);
	uint8_t got[1024], *want = make_bytes(size_of(9), 9);
	size_t len;
	assert_ok(blob_reader_pread(reader, &op_none, got, size_of(9), 0, &len, &err), &err);
	assert_memory_equal(got, want, size_of(9));
	free(want);
	blob_reader_free(reader);
	for (unsigned i = 0; i < BLOBS; i++) {
		AUTO_FREE char *name = mem_printf("%s/packs/%08x.pack", env.dir, 0x10000 + i);

		assert_int_equal(unlink(name), 0);
	}
	struct buf bytes = BUF_INIT;
	/* What is in no pack any more is damage, by name, not something that never was. */
	unsigned corrupt = 0;
	for (unsigned i = 0; i < BLOBS; i++) {
		buf_clear(&bytes);
		corrupt += blob_service_get(env.blobs, &op_none, &env.digests[i], SIZE_MAX, &bytes,
					    &err) == RC_CORRUPT;
	}
	assert_in_range(corrupt, BLOBS - LIMIT / 4, BLOBS);
	buf_release(&bytes);
	env_close(&env);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlapping),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_looks),
		cmocka_unit_test(test_many_packs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
