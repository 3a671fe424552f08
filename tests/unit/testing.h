/*
 * What unit tests share. Include it instead of <cmocka.h>: it brings what that header needs.
 *
 *	static void round_trip(void **state)
 *	{
 *		AUTO_TESTING_DIR char *dir = testing_dir();
 *		struct testing_random random = testing_random_from_env();
 *		struct err err = ERR_INIT;
 *
 *		assert_ok(thing_open(dir, &thing, &err), &err);
 *		assert_rc(RC_NOT_FOUND, thing_find(thing, "x", &err), &err);
 *	}
 */
#ifndef CASTOR_TESTS_TESTING_H
#define CASTOR_TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/mem.h"
#include "base/text.h"

/* The outcome that was expected, or the test fails and prints the sentence of the one that came. */
#define assert_rc(expected, call, err)                                                             \
	testing_assert_rc((expected), (call), (err), #call, __FILE__, __LINE__)
#define assert_ok(call, err) assert_rc(RC_OK, call, err)
/* The sentence of the last failure holds this text. */
#define assert_says(err, text)  testing_assert_says((err), (text), __FILE__, __LINE__)
#define assert_view_equal(a, b) testing_assert_view_equal((a), (b), __FILE__, __LINE__)

static inline void testing_assert_rc(enum rc expected, enum rc rc, const struct err *err,
				     const char *call, const char *file, int line)
{
	if (rc == expected)
		return;
	print_error("%s: '%s', not '%s': %s\n", call, rc_name(rc), rc_name(expected),
		    err ? err->message : "");
	_fail(file, line);
}

static inline void testing_assert_says(const struct err *err, const char *text, const char *file,
				       int line)
{
	if (strstr(err->message, text))
		return;
	print_error("the error does not say '%s': %s\n", text, err->message);
	_fail(file, line);
}

static inline void testing_assert_view_equal(struct view a, struct view b, const char *file,
					     int line)
{
	if (view_equal(a, b))
		return;
	for (size_t i = 0; i < a.len && i < b.len; i++) {
		if (a.ptr[i] != b.ptr[i]) {
			print_error("byte %zu: 0x%02x, not 0x%02x\n", i, a.ptr[i], b.ptr[i]);
			break;
		}
	}
	print_error("%zu bytes differ from %zu bytes\n", a.len, b.len);
	_fail(file, line);
}

/* A new directory of its own, removed with everything in it by testing_dir_cleanup. */
static inline char *testing_dir(void)
{
	const char *parent = getenv("TMPDIR");
	char *dir = mem_printf("%s/castor-test-XXXXXX", parent && *parent ? parent : "/tmp");

	if (!mkdtemp(dir)) {
		print_error("cannot make %s: %s\n", dir, strerror(errno));
		abort();
	}
	return dir;
}

static inline int testing_remove_one(const char *path, const struct stat *st, int kind,
				     struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline void testing_dir_cleanup(char **dir)
{
	if (*dir)
		nftw(*dir, testing_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(*dir);
	*dir = NULL;
}
#define AUTO_TESTING_DIR CLEANUP(testing_dir_cleanup)

/* Numbers that look random (splitmix64); the same ones for the same seed. */
struct testing_random {
	uint64_t state;
};

static inline struct testing_random testing_random_of(uint64_t seed)
{
	return (struct testing_random){ .state = seed };
}

/* Seeded from CASTOR_TEST_SEED, else from the clock; prints the seed. */
static inline struct testing_random testing_random_from_env(void)
{
	const char *wanted = getenv("CASTOR_TEST_SEED");
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = wanted ? strtoull(wanted, NULL, 0)
		      : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	print_message("CASTOR_TEST_SEED=%" PRIu64 "\n", seed);
	return testing_random_of(seed);
}

static inline uint64_t testing_next(struct testing_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0 … limit-1 */
static inline size_t testing_below(struct testing_random *random, size_t limit)
{
	return (size_t)(testing_next(random) % limit);
}

static inline void testing_fill(struct testing_random *random, void *out, size_t len)
{
	uint8_t *bytes = (uint8_t *)out;

	while (len) {
		uint64_t word = testing_next(random);
		size_t n = len < sizeof(word) ? len : sizeof(word);

		memcpy(bytes, &word, n);
		bytes += n;
		len -= n;
	}
}

static inline void testing_fill_seeded(uint64_t seed, void *out, size_t len)
{
	struct testing_random random = testing_random_of(seed);

	testing_fill(&random, out, len);
}

/* Appends the bytes that hexadecimal digits stand for; fails the test where they are none. */
static inline void testing_unhex(const char *digits, struct buf *out)
{
	size_t len = strlen(digits) / 2;

	buf_reserve(out, len);
	assert_true(hex_decode(view_of_string(digits), out->ptr + out->len, len));
	out->len += len;
}

/* The path of a file in tests/golden/; the caller frees it. */
static inline char *testing_golden(const char *name)
{
	const char *golden = getenv("CASTOR_GOLDEN");

	assert_non_null(golden);
	return mem_printf("%s/%s", golden, name);
}

#endif
