#include "unit/testing.h"

#include <errno.h>

static void sentences(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&err, RC_INVALID, "entry %d", 3), RC_INVALID);
	assert_string_equal(err.message, "entry 3");
	assert_int_equal(err_context(&err, RC_INVALID, "file '%s'", "x"), RC_INVALID);
	assert_string_equal(err.message, "file 'x': entry 3");
	assert_int_equal(err_errno(&err, ENOENT, "cannot open %s", "y"), RC_NOT_FOUND);
	assert_string_equal(err.message, "cannot open y: No such file or directory");
	/* Its own sentence as an argument. */
	err_set(&err, RC_IO, "<%s>", err.message);
	assert_string_equal(err.message, "<cannot open y: No such file or directory>");
}

static void no_sentence_is_fine(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(NULL, RC_BUSY, "dropped"), RC_BUSY);
	assert_int_equal(err_errno(NULL, EACCES, "dropped"), RC_DENIED);
	assert_int_equal(err_context(NULL, RC_IO, "dropped"), RC_IO);
	err_context(&err, RC_CORRUPT, "pack 7");
	assert_string_equal(err.message, "pack 7: corrupt");
}

static void long_sentences_are_cut(void **state)
{
	struct err err = ERR_INIT;
	char text[ERR_MESSAGE_MAX + 10];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&err, RC_IO, "%s", text);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
	err_errno(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
	err_context(&err, RC_IO, "%s", text);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
	err_context(&err, RC_IO, "short");
	assert_memory_equal(err.message, "short: xxx", 10);
}

/* One row an outcome, by hand: errno, gRPC, HTTP, exit status. */
static void tables(void **state)
{
	static const struct {
		enum rc rc;
		int errnum, grpc, http, exit;
	} rows[] = {
		{ RC_OK, 0, 0, 200, 0 },
		{ RC_NOT_FOUND, ENOENT, 5, 404, 3 },
		{ RC_EXISTS, EEXIST, 6, 409, 4 },
		{ RC_INVALID, EINVAL, 3, 400, 2 },
		{ RC_FAILED_PRECONDITION, EINVAL, 9, 412, 5 },
		{ RC_CORRUPT, EIO, 15, 500, 6 },
		{ RC_IO, EIO, 13, 500, 1 },
		{ RC_UNAVAILABLE, EHOSTUNREACH, 14, 503, 7 },
		{ RC_DEADLINE, ETIMEDOUT, 4, 504, 8 },
		{ RC_BUSY, EBUSY, 10, 503, 9 },
		{ RC_DENIED, EACCES, 7, 500, 10 },
		{ RC_NOT_PERMITTED, EPERM, 7, 403, 11 },
		{ RC_UNSUPPORTED, EOPNOTSUPP, 12, 501, 12 },
		{ RC_TOO_LARGE, EFBIG, 8, 413, 13 },
		{ RC_NO_SPACE, ENOSPC, 8, 507, 14 },
		{ RC_NO_MEMORY, ENOMEM, 8, 503, 15 },
		{ RC_CANCELLED, EINTR, 1, 503, 130 },
		{ RC_CERTIFICATE, EKEYREJECTED, 14, 503, 16 },
	};

	(void)state;
	assert_int_equal(ARRAY_LEN(rows), RC_COUNT_);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(rows[i].rc, i);
		assert_int_equal(rc_to_errno(rows[i].rc), rows[i].errnum);
		assert_int_equal(rc_to_grpc(rows[i].rc), rows[i].grpc);
		assert_int_equal(rc_to_http(rows[i].rc), rows[i].http);
		assert_int_equal(rc_to_exit(rows[i].rc), rows[i].exit);
		assert_true(strlen(rc_name(rows[i].rc)) > 1);
		for (size_t j = 0; j < i; j++) {
			assert_int_not_equal(rows[i].exit, rows[j].exit);
			assert_string_not_equal(rc_name(rows[i].rc), rc_name(rows[j].rc));
		}
	}
}

static void from_errno_and_grpc(void **state)
{
	(void)state;
	for (int rc = 0; rc < RC_COUNT_; rc++) {
		/* The ones that share a number with another, or prove less from afar. */
		bool shared = rc == RC_FAILED_PRECONDITION || rc == RC_CORRUPT;

		if (!shared)
			assert_int_equal(rc_from_errno(rc_to_errno((enum rc)rc)), rc);
		if (rc == RC_CORRUPT)
			assert_int_equal(rc_from_grpc(rc_to_grpc((enum rc)rc)), RC_IO);
		else if (rc != RC_NO_SPACE && rc != RC_NO_MEMORY && rc != RC_DENIED &&
			 rc != RC_CERTIFICATE)
			assert_int_equal(rc_from_grpc(rc_to_grpc((enum rc)rc)), rc);
	}
	assert_int_equal(rc_from_errno(ENOTDIR), RC_NOT_FOUND);
	assert_int_equal(rc_from_errno(EDQUOT), RC_NO_SPACE);
	assert_int_equal(rc_from_errno(ECONNREFUSED), RC_UNAVAILABLE);
	assert_int_equal(rc_from_errno(123456), RC_IO);
	assert_int_equal(rc_from_grpc(16), RC_NOT_PERMITTED);
	assert_int_equal(rc_from_grpc(2), RC_IO);
	assert_int_equal(rc_from_grpc(-1), RC_IO);
	assert_int_equal(rc_from_grpc(99), RC_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sentences),
		cmocka_unit_test(no_sentence_is_fine),
		cmocka_unit_test(long_sentences_are_cut),
		cmocka_unit_test(tables),
		cmocka_unit_test(from_errno_and_grpc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
