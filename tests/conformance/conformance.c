/* The runner of the conformance suites, and what they share. */
#include "conformance/conformance.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

_Thread_local struct err last_err;

static const atomic_bool set = true;
const struct op op_late = { .deadline_ns = 1 };
const struct op op_cancelled = { .cancel = &set };

void expect_(enum rc wanted, enum rc found, const char *call, const char *file, int line)
{
	if (found == wanted)
		return;
	print_error("%s\n  %s (%s), not %s\n", call, rc_name(found), last_err.message,
		    rc_name(wanted));
	_fail(file, line);
}

/* ---- Chance ---- */

static uint64_t seed;

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void random_bytes(uint64_t number, void *out, size_t len)
{
	uint64_t state = seed + number * UINT64_C(0x2545f4914f6cdd1d);
	uint8_t *bytes = out;

	for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
		uint64_t word = next_random(&state);

		memcpy(bytes + at, &word, len - at < sizeof(word) ? len - at : sizeof(word));
	}
}

uint64_t random_below(uint64_t limit)
{
	static _Thread_local uint64_t state;

	if (state == 0)
		state = seed ^ 1;
	return next_random(&state) % limit;
}

uint8_t *test_content(uint64_t number, size_t len)
{
	enum { BLOCK = 4096 };
	uint8_t *bytes = mem_alloc(len);
	char text[BLOCK];

	for (size_t i = 0; i < BLOCK; i++)
		text[i] = "castor "[i % 7];
	/* Every second block repeats a short text. */
	for (size_t at = 0; at < len; at += BLOCK) {
		size_t block = len - at < BLOCK ? len - at : BLOCK;

		if (at / BLOCK % 2)
			memcpy(bytes + at, text, block);
		else
			random_bytes(number * 65536 + at / BLOCK, bytes + at, block);
	}
	return bytes;
}

/* ---- Fixtures ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	remove(path);
	return 0;
}

/* A server that was told to end may still be removing its socket. */
static void remove_tree(const char *dir)
{
	for (int i = 0; i < 100 && access(dir, F_OK) == 0; i++) {
		if (i > 0)
			clock_sleep_ns(10 * NS_PER_MS);
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static void close_services(const struct backend *backend, struct services *services)
{
	services_release(services);
	if (backend->close)
		backend->close();
}

static void open_services(struct fixture *fixture)
{
	must(fixture->backend->open(fixture->dir, &fixture->services, &last_err));
}

void fixture_reopen(struct fixture *fixture)
{
	if (!fixture->backend->persistent)
		skip();
	close_services(fixture->backend, &fixture->services);
	open_services(fixture);
}

static struct view damage_marker;
static unsigned damaged;

static int damage_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	struct buf content CLEANUP(buf_release) = BUF_INIT;
	const uint8_t *found;
	FILE *file;

	(void)ftw;
	if (kind != FTW_F || st->st_size == 0)
		return 0;
	must(file_read_path(-1, path, 64 << 20, &content, &last_err));
	found = memmem(content.ptr, content.len, damage_marker.ptr, damage_marker.len);
	if (!found)
		return 0;
	assert_int_equal(chmod(path, 0600), 0);
	file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, found - content.ptr, SEEK_SET), 0);
	assert_int_equal(fputc(*found ^ 1, file), *found ^ 1);
	assert_int_equal(fclose(file), 0);
	damaged++;
	return 0;
}

void fixture_damage(struct fixture *fixture, struct view marker)
{
	if (!fixture->backend->persistent)
		skip();
	close_services(fixture->backend, &fixture->services);
	damage_marker = marker;
	damaged = 0;
	assert_int_equal(nftw(fixture->dir, damage_one, 16, FTW_PHYS), 0);
	assert_int_not_equal(damaged, 0);
	open_services(fixture);
}

bool fixture_small_disk(struct fixture *fixture, size_t bytes)
{
	char options[32];

	if (!fixture->backend->persistent)
		return false;
	snprintf(options, sizeof(options), "size=%zu", bytes);
	close_services(fixture->backend, &fixture->services);
	if (mount("tmpfs", fixture->dir, "tmpfs", MS_NOSUID | MS_NODEV, options))
		return false;
	open_services(fixture);
	return true;
}

/* ---- The runner ---- */

struct run {
	const struct backend *backend;
	const struct conformance_case *which;
	char name[96];
};

static void run_one(void **state)
{
	const struct run *run = *state;
	struct fixture fixture = { .backend = run->backend };

	snprintf(fixture.dir, sizeof(fixture.dir), "/tmp/castor-conformance-XXXXXX");
	assert_non_null(mkdtemp(fixture.dir));
	*state = mem_dup(&fixture, sizeof(fixture));
	open_services(*state);
	run->which->run(*state);
}

static int clean_one(void **state)
{
	struct fixture *fixture = *state;

	close_services(fixture->backend, &fixture->services);
	umount2(fixture->dir, MNT_DETACH); /* of a small disk */
	remove_tree(fixture->dir);
	free(fixture);
	return 0;
}

/* What a backend has shows only when it is open. */
static bool backend_has(const struct backend *backend, bool (*has)(const struct services *services))
{
	char dir[] = "/tmp/castor-conformance-XXXXXX";
	struct services services = { 0 };
	struct err err = ERR_INIT;
	bool yes;

	if (!mkdtemp(dir) || backend->open(dir, &services, &err) != RC_OK) {
		fprintf(stderr, "%s: %s\n", backend->name, err.message);
		exit(1);
	}
	yes = has(&services);
	close_services(backend, &services);
	remove_tree(dir);
	return yes;
}

int conformance_run(const char *suite, const struct conformance_case *cases, size_t count,
		    bool (*has)(const struct services *services))
{
	const char *given = getenv("CASTOR_TEST_SEED");
	struct CMUnitTest *tests = mem_array(backend_count * count, sizeof(*tests));
	struct run *runs = mem_array(backend_count * count, sizeof(*runs));
	size_t total = 0;
	int failed;

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)clock_realtime_ns();
	printf("CASTOR_TEST_SEED=%" PRIu64 "\n", seed);
	for (size_t b = 0; b < backend_count; b++) {
		if (!backend_has(&backends[b], has))
			continue;
		for (size_t c = 0; c < count; c++) {
			struct run *run = &runs[total];

			run->backend = &backends[b];
			run->which = &cases[c];
			snprintf(run->name, sizeof(run->name), "%s: %s", run->backend->name,
				 run->which->name);
			tests[total++] = (struct CMUnitTest){
				.name = run->name,
				.test_func = run_one,
				.teardown_func = clean_one,
				.initial_state = run,
			};
		}
	}
	failed = _cmocka_run_group_tests(suite, tests, total, NULL, NULL);
	free(tests);
	free(runs);
	return total == 0 || failed ? 1 : 0;
}
