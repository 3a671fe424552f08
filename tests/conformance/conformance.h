/*
 * One suite per kind of service (two for blobs), run over every backend. A backend joins by one
 * line in backends.c.
 *
 * Each case gets a service of its own, in a temporary directory of its own. What it draws by chance
 * comes from a seed that is printed (CASTOR_TEST_SEED repeats a run).
 */
#ifndef CASTOR_TESTS_CONFORMANCE_H
#define CASTOR_TESTS_CONFORMANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/services.h"

struct backend {
	const char *name;
	/* Fills what this backend has, leaves the rest NULL. */
	enum rc (*open)(const char *dir, struct services *out, struct err *err);
	/* After the services were released; NULL: nothing is left to close. */
	void (*close)(void);
	bool persistent;  /* opening the same directory again shows what was put before */
	bool descriptors; /* large blobs have them */
};
extern const struct backend backends[];
extern const size_t backend_count;

struct fixture {
	const struct backend *backend;
	char dir[64];
	struct services services;
};

struct conformance_case {
	const char *name;
	void (*run)(struct fixture *fixture);
};

/* Runs every case over every backend for which `has` is true. Returns a process's exit status. */
int conformance_run(const char *suite, const struct conformance_case *cases, size_t count,
		    bool (*has)(const struct services *services));

/* Closes the services and opens them again; skips the case where a backend forgets. */
void fixture_reopen(struct fixture *fixture);
/* Closes them, finds these bytes in the files of the backend (it fails where they are not), damages
 * them, and opens again. Skips the case where a backend forgets. */
void fixture_damage(struct fixture *fixture, struct view marker);

/* Puts an empty filesystem of that size under the fixture, and opens the backend there. False where
 * the machine does not let us, or the backend keeps nothing on disk. */
bool fixture_small_disk(struct fixture *fixture, size_t bytes);

/* The sentence of the last `must` or `expect`. */
extern _Thread_local struct err last_err;
/* The call, which takes &last_err, has that outcome. */
#define expect(wanted, call) expect_(wanted, call, #call, __FILE__, __LINE__)
#define must(call)           expect(RC_OK, call)
void expect_(enum rc wanted, enum rc found, const char *call, const char *file, int line);

/* Bytes that do not compress. The same number gives the same bytes. */
void random_bytes(uint64_t number, void *out, size_t len);
uint64_t random_below(uint64_t limit); /* for this thread */
/* Bytes of which half compress well; owned by the caller. */
uint8_t *test_content(uint64_t number, size_t len);

/* An op whose deadline has passed, and one that was cancelled. */
extern const struct op op_late, op_cancelled;

#endif
